package wire

import "time"

// Memory is what the process uses, in bytes. Nil is what the operating system does not
// tell, or what is not set.
type Memory struct {
	WorkingSetBytes *int64     `json:"working_set_bytes"` // of the cgroup
	RSSBytes        *int64     `json:"rss_bytes"`
	FilesBytes      *int64     `json:"files_bytes"` // the part of RSSBytes that is pages of files
	PeakRSSBytes    *int64     `json:"peak_rss_bytes"`
	HeapBytes       int64      `json:"heap_bytes"`
	LimitBytes      *int64     `json:"limit_bytes"` // of the cgroup
	BudgetBytes     *int64     `json:"budget_bytes"`
	Goroutines      int        `json:"goroutines"`
	LastBatch       *LastBatch `json:"last_batch"` // nil before the first
}

// LastBatch is the last batch the process stored.
type LastBatch struct {
	Symbols       int       `json:"symbols"`
	SymbolsFailed int       `json:"symbols_failed"`
	Seconds       float64   `json:"seconds"` // three decimals
	PeakRSSBytes  int64     `json:"peak_rss_bytes"`
	EndedAt       time.Time `json:"ended_at"`
}

// Health is the answer of /healthz.
type Health struct {
	Status  string `json:"status"` // ok
	Version string `json:"version"`
}

// Ready is the answer of /readyz while the database answers.
type Ready struct {
	Status    string `json:"status"`   // ready
	Database  string `json:"database"` // ok
	Exchange  string `json:"exchange"`
	Simulated bool   `json:"simulated"`
}

// Problem is an error (RFC 9457).
type Problem struct {
	Type      string         `json:"type"`
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail"`
	Instance  string         `json:"instance"`
	Code      string         `json:"code"` // for programs: not_analyzed, too_many_requests, ...
	RequestID string         `json:"request_id"`
	Errors    []ProblemPlace `json:"errors,omitzero"`
	Choices   []PairChoice   `json:"choices,omitzero"` // with ambiguous_symbol
	// RetryAfter is the header of that name, which is not in the document.
	RetryAfter time.Duration `json:"-"`
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// PairChoice is one of the pairs that a name means.
type PairChoice struct {
	Exchange string `json:"exchange"`
	Symbol   string `json:"symbol"` // the exchange's id
	Name     string `json:"name"`   // canonical: BASE/QUOTE or BASE/QUOTE:SETTLE
}

// ProblemPlace is where in the request a problem is: a parameter, or without one the
// pointer (RFC 6901) into the body, which is empty for the whole of it. The document has
// one of the two.
type ProblemPlace struct {
	Detail    string `json:"detail"`
	Parameter string `json:"parameter,omitzero"`
	Pointer   string `json:"pointer"`
}
