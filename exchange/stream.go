package exchange

import (
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// Streamer is a Venue that also pushes candles over WebSockets. It builds and decodes
// messages; it sends nothing and keeps no state.
type Streamer interface {
	Venue
	// Stream returns the facts of the sockets. It is the same in every call.
	Stream() *Stream
	// Subscribe returns the message, number id of a connection, that asks for the candles
	// of series: at most Stream.Batch of them, all of one interval.
	Subscribe(id int, series []service.Key) []byte
	// DecodeFrame reads a message of the venue, in JSON, and puts what it says into f.
	// Messages that say nothing of interest are not errors.
	DecodeFrame(s *Scanner, f *Frame) error
}

// Stream holds the facts of the sockets of a market.
type Stream struct {
	URL string // wss://…
	// Access is the request for the address of the next connection, for a venue that gives
	// each a token; without a Path the address is URL. DecodeAccess reads the response.
	Access       Call
	DecodeAccess func(s *Scanner) (Address, error)
	// Greets is set if the venue reads no message before it has sent the first one.
	Greets bool
	// Intervals are the names of the candles on the wire.
	Intervals map[levels.Interval]string
	// Name returns the name of a pair on the wire, from its id in the list of pairs; "" if
	// it has none, and is not pushed. A nil Name means that it is the id.
	Name func(symbol string) string
	// Unmarked is set if the venue marks no candle as closed.
	Unmarked bool
	// OneInterval is set if a connection carries one interval of a pair.
	OneInterval bool
	Series      int // most of a connection
	Most        int // most connections at once from an address; 0 if the venue states none
	Batch       int // most of a message
	Message     int // most bytes of a message
	// Gzip is set if binary messages of the venue are JSON compressed with gzip.
	Gzip bool
	// Binary reads a binary message of the venue, as DecodeFrame reads one in JSON. It is nil
	// if there are none that are not JSON.
	Binary func(message []byte, f *Frame) error
	// Pace is the least time between two messages to the venue on a connection, and
	// Connects that between two connections from an address.
	Pace, Connects time.Duration
	// Each is added to Pace for each series that the first of the two messages asks for.
	Each time.Duration
	// Ping is a text that keeps a connection open if it is sent every PingEvery; nil if
	// the control frames of the protocol do, which the venue sends.
	Ping      []byte
	PingEvery time.Duration
	Pong      []byte // the text that answers Ping, where it is not a message like others
	// Silence is how long the venue sends nothing on a connection at most.
	Silence time.Duration
	// Lifetime is after how long the venue closes a connection; 0 if it does not.
	Lifetime time.Duration
}

// Address is where a connection goes to.
type Address struct {
	URL       string        // wss://…, with the token
	PingEvery time.Duration // instead of Stream.PingEvery; 0 for that
}

// Frame is what a message of the venue says. Decoders set its fields; the feed empties it
// before each message.
type Frame struct {
	pushes []Push
	// Reply is a message to send back, such as the answer to a ping.
	Reply []byte
	// Refused is the reason that the venue gives for refusing a subscription. RefusedID is
	// the number of the message that asked for it, RefusedSymbol and RefusedWire the
	// names of the pair and the interval on the wire, as far as the venue says.
	Refused       string
	RefusedID     int
	RefusedSymbol string
	RefusedWire   string
	// RefusedAll is set if the venue refuses all of that message because of the series that
	// it names: the feed asks for the others again. Without a reason in Refused that series
	// is pushed already.
	RefusedAll bool
	// Closing is set if the venue announces that it will close the connection.
	Closing bool
}

// Push is the state of a candle.
type Push struct {
	Symbol []byte // its name on the wire; valid until the next message
	Wire   string // the interval's name on the wire
	Candle levels.Candle
	Closed bool  // the venue says that it is closed
	At     int64 // the venue's time of the message, Unix ms; 0 if it has none
}

// Add adds the state of a candle.
func (f *Frame) Add(p Push) { f.pushes = append(f.pushes, p) }

// Pushes returns the states that were added. They are valid until the next message.
func (f *Frame) Pushes() []Push { return f.pushes }

func (f *Frame) reset() { *f = Frame{pushes: f.pushes[:0]} }

// Latest keeps the two newest of the candles that are added to it, for messages with a long
// history: older ones are fetched.
type Latest struct {
	candles [2]levels.Candle // the newest last
	n       int
}

// Add adds a candle. It replaces one with the same open time.
func (l *Latest) Add(c levels.Candle) {
	k := &l.candles
	switch {
	case l.n > 0 && c.OpenTime == k[1].OpenTime:
		k[1] = c
	case l.n == 0 || c.OpenTime > k[1].OpenTime:
		k[0], k[1] = k[1], c
		l.n = min(l.n+1, 2)
	case l.n == 1 || c.OpenTime >= k[0].OpenTime:
		k[0], l.n = c, 2
	}
}

// All returns the candles, the newest last.
func (l *Latest) All() []levels.Candle { return l.candles[2-l.n:] }
