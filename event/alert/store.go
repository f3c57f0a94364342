package alert

import (
	"context"
	"errors"
	"time"

	"tidemark/wire"
)

// The errors of rules, receivers, silences, watchlists and deliveries. *Invalid belongs to
// them, too.
var (
	ErrUnknown  = errors.New("there is none with this id")
	ErrTaken    = errors.New("the name is taken")
	ErrInUse    = errors.New("it is in use")
	ErrFromFile = errors.New("it is of RULES_FILE, and can only be changed there")
	// ErrNoKey: without SECRETS_KEY no receiver can be stored or used.
	ErrNoKey = errors.New("set SECRETS_KEY or SECRETS_KEY_FILE: receivers are stored encrypted with it")
	// ErrFinal: a delivery that has ended cannot be cancelled, and one that has not cannot be
	// sent again.
	ErrFinal = errors.New("the state of the delivery does not allow it")
	// ErrDisabled: the receiver must be enabled first.
	ErrDisabled = errors.New("the receiver is disabled")
)

// The kinds of entries.
const (
	rules      = "rule"
	silences   = "silence"
	watchlists = "watchlist"
)

// Entry is a stored rule, silence or watchlist.
type Entry struct {
	Kind                 string // rule, silence, watchlist
	ID                   string
	Name                 string // unique among those of the kind
	Body                 []byte // its settings in JSON
	FromFile             bool
	CreatedAt, UpdatedAt time.Time
}

// StoredReceiver is a receiver as it is stored.
type StoredReceiver struct {
	ID, Name, Kind       string
	Sealed               []byte // its configuration
	Shown                []byte // what may be shown of it: a JSON object of strings
	PerMinute            int
	NoticesTo            string // name of a receiver; may be empty
	FromFile             bool
	CreatedAt, UpdatedAt time.Time
	Health
}

// Health is the state of a receiver. Times are zero if it never happened.
type Health struct {
	SucceededAt  time.Time // the last success
	FailingSince time.Time // the first failure after it
	DisabledAt   time.Time
	DisabledWhy  string
	RetryAt      time.Time // before it the receiver wants no messages
	// Quick is set if the last attempt succeeded, and soon: its next messages are sent in
	// the quick queue.
	Quick bool
}

// The states of a delivery.
const (
	Gathering = "gathering"
	Pending   = "pending"
	Delivered = "delivered"
	Expired   = "expired"
	Failed    = "failed"
	Cancelled = "cancelled"
)

// The reasons of a delivery.
const (
	ForEvent  = "event"
	ForClose  = "close"
	ForQuiet  = "quiet"
	ForBudget = "budget"
	ForReplay = "replay"
	ForNotice = "notice"
)

// StoredDelivery is a delivery as it is stored.
type StoredDelivery struct {
	ID                     int64
	Message                string // id of the message
	Reason                 string
	Rule, RuleName         string // id and name; empty without one
	Receiver, ReceiverName string // id and name
	// Key is that of the group while the delivery gathers; else empty. There is one of a
	// key.
	Key       string
	State     string
	CreatedAt time.Time
	DueAt     time.Time // the end of the gathering or the next attempt; zero: none
	QueuedAt  time.Time // when it ceased to gather, or was sent again
	ExpiresAt time.Time // when the first of its events is out of date; zero: none ever
	FinalAt   time.Time // zero: not final
	Events    int       // without those left out
	LeftOut   int
	Type      string // of the message
	Title     string
	Text      string
	Body      []byte // JSON
	Attempts  int    // that failed
	BegunAt   time.Time
	Log       []wire.Attempt
	Error     string
}

// Final reports whether the delivery has ended.
func (d *StoredDelivery) Final() bool { return d.State != Gathering && d.State != Pending }

// DeliveryQuery selects deliveries, the newest first. Zero values select everything.
type DeliveryQuery struct {
	Before   int64 // id of the last delivery of the page before
	Rule     string
	Receiver string
	States   []string
	Reasons  []string
	Symbol   string // with an event of this pair, the venue's id
	Limit    int    // 1 or more
}

// Configured is everything that is configured.
type Configured struct {
	Revision  int64 // grows with each change
	Entries   []Entry
	Receivers []StoredReceiver
}

// Matched is an event of a delivery.
type Matched struct {
	Delivery int64
	Seq      int64
	Level    string // its id
	Symbol   string
}

// Numbered is an event with its number.
type Numbered struct {
	Seq int64
	*wire.Event
}

// Store stores what is configured, and deliveries. Its errors wrap those above or
// service.ErrStorage, or are the context's.
type Store interface {
	// Configured returns everything that is configured if it has another revision, and else
	// the revision alone.
	Configured(ctx context.Context, revision int64) (Configured, error)
	// PutEntry stores an entry by its kind and ID. It returns ErrTaken if another one has
	// the name.
	PutEntry(ctx context.Context, e Entry) error
	DeleteEntry(ctx context.Context, kind, id string) error
	// PutReceiver stores a receiver by its ID, with its Health. It returns ErrTaken if
	// another one has the name.
	PutReceiver(ctx context.Context, r StoredReceiver) error
	SetHealth(ctx context.Context, id string, h Health) error
	// DeleteReceiver deletes a receiver and cancels its deliveries.
	DeleteReceiver(ctx context.Context, id string, now time.Time) error
	// ReplaceFile stores the entries and receivers of RULES_FILE by their ids, and deletes the
	// others that are from the file.
	ReplaceFile(ctx context.Context, entries []Entry, receivers []StoredReceiver, now time.Time) error

	// Deliveries returns deliveries without Text, Body and Log.
	Deliveries(ctx context.Context, q DeliveryQuery) ([]StoredDelivery, error)
	// Delivery returns a delivery, and the numbers of its first 500 events.
	Delivery(ctx context.Context, id int64) (d StoredDelivery, seqs []int64, err error)

	// AlertsDue reports whether there is anything to dispatch: an event that was not read
	// yet while there are rules, or a delivery whose gathering has ended. next is the end of
	// the next gathering, zero if none is under way, and idle whether there are neither rules
	// nor deliveries that are not final.
	AlertsDue(ctx context.Context, now time.Time) (due bool, next time.Time, idle bool, err error)
	// Dispatch calls f in a transaction. No two calls of it, of any process, overlap.
	Dispatch(ctx context.Context, f func(tx Tx) error) error
	// DeliveryTx calls f in a transaction with a delivery. Of those of one receiver no two
	// overlap. It returns ErrUnknown without the delivery.
	DeliveryTx(ctx context.Context, id int64, f func(tx Tx, d *StoredDelivery) error) error

	// PruneDeliveries deletes deliveries that ended before a time, and returns how many.
	PruneDeliveries(ctx context.Context, before time.Time) (int, error)
}

// Tx is a transaction of a Store.
type Tx interface {
	// Position returns the number of the last event that was dispatched.
	Position() (int64, error)
	SetPosition(seq int64) error
	Configured(revision int64) (Configured, error)
	// Events calls f with the events after a number, in their order.
	Events(after int64, limit int, f func(Numbered) error) error

	// Insert stores a new delivery and sets its ID.
	Insert(d *StoredDelivery) error
	// Update stores a delivery.
	Update(d *StoredDelivery) error
	// Finish is Update of a delivery that is final, and queues the attempts of those that
	// waited for it, at a time.
	Finish(d *StoredDelivery, now time.Time) error
	// Gathering returns the delivery that gathers under a key, or nil.
	Gathering(key string) (*StoredDelivery, error)
	// Due returns deliveries whose gathering has ended, the oldest first.
	Due(now time.Time, limit int) ([]StoredDelivery, error)
	// AddEvents adds events to deliveries.
	AddEvents(all []Matched) error
	// Matched calls f with the events of a delivery, in the order of their numbers.
	Matched(delivery int64, f func(Numbered) error) error
	// DropEvents removes events from a delivery, and queues the attempts of those that waited
	// for it.
	DropEvents(d *StoredDelivery, seqs []int64, now time.Time) error
	// MoveEvents moves the events of a delivery, which ceases to exist, to another.
	MoveEvents(from, to int64, now time.Time) error
	// Related calls f with the events of the pairs of a delivery in the other deliveries of
	// the same rule to the same receiver that were made since a time.
	Related(d *StoredDelivery, since time.Time, f func(Numbered) error) error

	// Receiver returns a receiver. It returns ErrUnknown without it.
	Receiver(id string) (*StoredReceiver, error)
	SetHealth(id string, h Health) error
	// Spend counts a message to a receiver in a minute of Unix time, unless limit have been
	// counted, and reports whether it did.
	Spend(receiver string, minute int64, limit int) (bool, error)
	// Blocked reports whether an earlier delivery to the same receiver that is about one of
	// the levels of this one is not final.
	Blocked(d *StoredDelivery) (bool, error)
	// Overtakes reports whether a delivery to the same receiver that was made after d and is
	// not final is about one of the levels of events.
	Overtakes(d *StoredDelivery, events []Matched) (bool, error)
	// EndAll ends the deliveries to a receiver that are not final, but one, and returns how
	// many.
	EndAll(receiver, state, why string, except int64, now time.Time) (int, error)
	// Queue queues the attempt of a delivery that follows a number of failures.
	Queue(delivery int64, attempts int, at time.Time, l Lane) error
}

// Lane is the queue of an attempt.
type Lane int

const (
	Quick   Lane = iota // to a receiver that accepted the last message, soon
	Untried             // to one whose state is not known
	Slow                // to one that is slow
	Failing             // to one that has not accepted the last message
)
