package wire

import (
	"encoding/json"
	"time"
)

// RuleSettings say which events are sent to which receivers. An empty list does not
// restrict.
type RuleSettings struct {
	Name      string   `json:"name"`
	Receivers []string `json:"receivers"` // names
	Exchanges []string `json:"exchanges"`
	// Pairs are ids of venues (BTCUSDT), canonical names (BTC/USDT), patterns of either in
	// which * stands for any letters (*/USDT), and names of watchlists after an @ (@majors).
	Pairs          []string   `json:"pairs"`
	Intervals      []string   `json:"intervals"`
	Kinds          []string   `json:"kinds"` // of Event
	Roles          []string   `json:"roles"` // support, resistance
	MinEdge        float64    `json:"min_edge"`
	MinQuoteVolume float64    `json:"min_quote_volume"` // of 24 h
	Quiet          *Quiet     `json:"quiet"`
	Until          *time.Time `json:"until"` // nil: for ever
	Paused         bool       `json:"paused"`
	// GroupWaitMS is how long the message about a close waits for more events of it.
	GroupWaitMS int  `json:"group_wait_ms"`
	Top         int  `json:"top"`     // events that a message shows; it counts the others
	Inhibit     bool `json:"inhibit"` // whether a level covers those of shorter intervals in its zone
}

// Quiet are hours without messages.
type Quiet struct {
	From string   `json:"from"` // 22:00
	To   string   `json:"to"`   // 07:00; before From: of the next day
	Zone string   `json:"zone"` // of the IANA time zone database
	Days []string `json:"days"` // on which From is: mon, tue, …; empty: every day
	Then string   `json:"then"` // drop, or hold: one summary at their end
}

// Rule is a rule as it is stored.
type Rule struct {
	ID string `json:"id"`
	RuleSettings
	FromFile  bool      `json:"from_file"` // it is of RULES_FILE, and cannot be changed by the API
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// SilenceSettings say which events are sent to nobody until a time. An empty list does not
// restrict, but one must not be empty.
type SilenceSettings struct {
	Exchanges []string  `json:"exchanges"`
	Pairs     []string  `json:"pairs"` // as in RuleSettings
	Intervals []string  `json:"intervals"`
	Kinds     []string  `json:"kinds"`
	Until     time.Time `json:"until"`
	Comment   string    `json:"comment"`
}

// Silence is a silence as it is stored.
type Silence struct {
	ID string `json:"id"`
	SilenceSettings
	FromFile  bool      `json:"from_file"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// WatchlistSettings are pairs under a name, for rules and silences.
type WatchlistSettings struct {
	Name  string   `json:"name"`
	Pairs []string `json:"pairs"` // as in RuleSettings, without watchlists
}

// Watchlist is a watchlist as it is stored.
type Watchlist struct {
	ID string `json:"id"`
	WatchlistSettings
	FromFile  bool      `json:"from_file"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// ReceiverSettings are where messages go. Config depends on the kind; it is sealed when it
// is stored, and never shown again.
type ReceiverSettings struct {
	Name      string          `json:"name"`
	Kind      string          `json:"kind"` // webhook, telegram, discord, slack, ntfy, matrix, email
	Config    json.RawMessage `json:"config"`
	PerMinute int             `json:"per_minute"` // most messages; one more summarises what exceeds them
	NoticesTo string          `json:"notices_to"` // name of the receiver of the notice that this one is disabled; may be empty
}

// Receiver is a receiver as it is stored.
type Receiver struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Kind      string            `json:"kind"`
	Shown     map[string]string `json:"shown"` // of Config, without secrets
	PerMinute int               `json:"per_minute"`
	NoticesTo string            `json:"notices_to"`
	State     string            `json:"state"` // new, ok, failing, disabled
	// FailingSince is the first failure after the last success; nil if there is none.
	FailingSince  *time.Time `json:"failing_since"`
	DisabledAt    *time.Time `json:"disabled_at"`
	DisabledWhy   *string    `json:"disabled_why"`
	LastSuccessAt *time.Time `json:"last_success_at"`
	FromFile      bool       `json:"from_file"`
	CreatedAt     time.Time  `json:"created_at"`
	UpdatedAt     time.Time  `json:"updated_at"`
}

// RotateRequest asks for another secret or key of a webhook.
type RotateRequest struct {
	Signature    string  `json:"signature"`     // v1: the secret; v1a: the key
	Secret       string  `json:"secret"`        // whsec_… or whsk_…; empty: the service makes one
	OverlapHours float64 `json:"overlap_hours"` // for how long the one before signs, too
}

// Rotated is a webhook with another secret or key.
type Rotated struct {
	Receiver Receiver `json:"receiver"`
	// Secret is the secret that the service has made, which is never shown again; nil if
	// there is none. Receiver has the public key of a key.
	Secret *string   `json:"secret"`
	Until  time.Time `json:"until"` // the one before signs, too
}

// Delivery is a message to a receiver.
type Delivery struct {
	ID        int64  `json:"id"`
	MessageID string `json:"message_id"` // webhook-id; the same in every attempt
	// Reason is why there is the message: event (one), close (events of one), quiet (events
	// of quiet hours), budget (what exceeded per_minute), replay, notice (a receiver is
	// disabled).
	Reason   string  `json:"reason"`
	Rule     *string `json:"rule"`     // its name; nil without one
	Receiver string  `json:"receiver"` // its name
	State    string  `json:"state"`    // gathering, pending, delivered, expired, failed, cancelled
	Title    string  `json:"title"`    // empty while it gathers
	Events   int     `json:"events"`   // that it is about
	// LeftOut counts the events that it is not about: inhibited, or expired before it was
	// queued.
	LeftOut    int        `json:"left_out"`
	Attempts   int        `json:"attempts"` // that failed, since it was queued or sent again
	Error      *string    `json:"error"`    // why it has not been delivered yet or will not be
	CreatedAt  time.Time  `json:"created_at"`
	DueAt      *time.Time `json:"due_at"`      // the next attempt, or the end of the gathering; nil after the last attempt, and while an earlier message about one of its levels is not delivered
	ExpiresAt  *time.Time `json:"expires_at"`  // nil: never
	FinishedAt *time.Time `json:"finished_at"` // nil: gathering or pending
}

// DeliveryDetail is a delivery with what was sent.
type DeliveryDetail struct {
	Delivery
	Text string          `json:"text"`
	Body json.RawMessage `json:"body"` // of webhooks; null while it gathers
	Log  []Attempt       `json:"log"`  // the last attempts, oldest first
	Seqs []int64         `json:"seqs"` // numbers of the events, at most 500
}

// Attempt is one attempt of a delivery.
type Attempt struct {
	At        time.Time `json:"at"`
	Status    int       `json:"status"` // of HTTP, or the reply code of SMTP; 0 without a response
	LatencyMS int64     `json:"latency_ms"`
	Outcome   string    `json:"outcome"` // delivered, retry, gone, refused
	Error     string    `json:"error"`   // empty if delivered
}

// Replay says what became of a replayed range of events.
type Replay struct {
	Events     int `json:"events"`     // of the range
	Matched    int `json:"matched"`    // by the rule
	Expired    int `json:"expired"`    // matched, and not sent because they are out of date
	Deliveries int `json:"deliveries"` // that were made
	// Next is the number after which the rest of the range begins; 0 if there is no rest.
	Next int64 `json:"next"`
}

// RuleList is all rules, by name.
type RuleList struct {
	Rules []Rule `json:"rules"`
}

// SilenceList is all silences, the next to end first.
type SilenceList struct {
	Silences []Silence `json:"silences"`
}

// WatchlistList is all watchlists, by name.
type WatchlistList struct {
	Watchlists []Watchlist `json:"watchlists"`
}

// ReceiverList is all receivers, by name.
type ReceiverList struct {
	Receivers []Receiver `json:"receivers"`
}

// DeliveryPage is a page of deliveries.
type DeliveryPage struct {
	Deliveries []Delivery `json:"deliveries"` // the newest first
	Next       *int64     `json:"next"`       // the parameter before of the next page; nil on the last one
}

// ReplayRequest is a range of events to send again by a rule.
type ReplayRequest struct {
	After int64 `json:"after"` // number of the event before the first
	UpTo  int64 `json:"up_to"` // number of the last
}
