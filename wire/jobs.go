package wire

import "time"

// Job is the work a request asked for, its progress and its results.
type Job struct {
	ID             string     `json:"id"`
	Kind           string     `json:"kind"`     // sweep, analysis
	State          string     `json:"state"`    // queued, running, completed, failed, cancelled
	Exchange       *string    `json:"exchange"` // nil for klines of one's own
	Interval       string     `json:"interval"`
	KlineLimit     int        `json:"kline_limit"`
	SymbolsTotal   int        `json:"symbols_total"` // 0 until a sweep has listed them
	SymbolsDone    int        `json:"symbols_done"`
	SymbolsFailed  int        `json:"symbols_failed"`
	SymbolsSkipped int        `json:"symbols_skipped"` // by the filter
	BatchesTotal   int        `json:"batches_total"`
	BatchesDone    int        `json:"batches_done"`
	Store          bool       `json:"store"`
	Simulated      bool       `json:"simulated"`
	CreatedAt      time.Time  `json:"created_at"`
	StartedAt      *time.Time `json:"started_at"`  // nil until it has
	FinishedAt     *time.Time `json:"finished_at"` // nil until it has
	Error          *Reason    `json:"error"`       // why a failed job failed; else nil
	Failures       []Outcome  `json:"failures"`    // one for each failed symbol
	Skips          []Outcome  `json:"skips"`       // one for each pair the filter removed
	Result         *Analysis  `json:"result"`      // of a job that does not store it; else nil
}

// Ended reports whether the job will not change any more.
func (j *Job) Ended() bool {
	return j.State == "completed" || j.State == "failed" || j.State == "cancelled"
}

// JobSummary is a job as lists and events have it: without what can be long. The fields
// here stand before those of Job with the same names, and are left out.
type JobSummary struct {
	Job
	Failures struct{} `json:"failures,omitzero"`
	Skips    struct{} `json:"skips,omitzero"`
	Result   struct{} `json:"result,omitzero"`
}

// JobList is the newest jobs.
type JobList struct {
	Jobs []JobSummary `json:"jobs"`
}

// Reason is a code for programs and a sentence for people.
type Reason struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Outcome is why a symbol was not analysed.
type Outcome struct {
	Symbol string `json:"symbol"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// ScheduleList is when sweeps begin by themselves.
type ScheduleList struct {
	Schedules []Schedule `json:"schedules"`
}

// Schedule is a sweep of all pairs that begins by itself.
type Schedule struct {
	Exchange string     `json:"exchange"`
	Interval string     `json:"interval"`
	Schedule string     `json:"schedule"` // as configured: a duration, or five cron fields in UTC
	NextRun  time.Time  `json:"next_run"` // by the exchange's clock
	LastRun  *time.Time `json:"last_run"` // nil before the first
	LastJob  *string    `json:"last_job"` // nil before the first
}
