package simulated

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// socket is how a dialect pushes candles.
type socket struct {
	path string
	// take reads a message of the client. It returns what the client subscribes to, and
	// the answer: one message a line, or nil.
	take func(s *Server, message []byte) (subs []subscription, answer []byte)
	// push appends the message for a candle of a subscription; now in Unix ms.
	push func(dst []byte, sub *subscription, c *candle, closed bool, now int64) []byte
	// joined returns the messages that a new subscription begins with, such as an answer
	// for each and a history, or the refusal of one without a pair. It may be nil.
	joined func(s *Server, sub *subscription, now time.Time) [][]byte
	traded bool // candles without trades are not pushed
	binary bool // candles are binary messages
	gzip   bool // all messages of the server are binary, and compressed with gzip
	// another is why a second interval of a pair on a connection is refused; empty if not.
	another string
	// token is how long a token of an address is valid; 0 if an address needs none. issued
	// returns when one was issued. A connection whose token is no longer valid, or never
	// was, gets one of the messages, and is closed.
	token            time.Duration
	issued           func(token string) (time.Time, bool)
	expired, invalid string
	// greeting is the first message of a connection, and heartbeat one that is sent every
	// second without another message; empty for none.
	greeting, heartbeat string
	// goodbye is the message that announces the end of the connection; empty for none.
	goodbye string
	ping    time.Duration // between two pings of the server; 0 for none
	// call appends the message of such a ping; nil for a ping of the protocol.
	call     func(dst []byte, now int64) []byte
	lifetime time.Duration // of a connection; 0 for any
	idle     time.Duration // a connection on which the client sends nothing for so long is closed; 0 for never
	longest  int           // bytes of a message that is read; 0 for maxMessage
}

// subscription is one series that a connection gets.
type subscription struct {
	pair *pair
	iv   interval
	open int64 // Unix seconds of the candle that is forming
	// For joined: the number of the client's message, what it calls the pair, and why there
	// is none if the subscription is refused.
	id      int
	name    string
	refusal string

	// The candle that corrects one that was sent, and when it is sent; nil for none.
	right   *candle
	rightAt time.Time
}

// refuses reports whether the faults refuse subscriptions to p.
func (f *StreamFaults) refuses(p *pair) bool { return f.Refuse != "" && p.Symbol == f.Refuse }

// unlimited is the lifetime of connections that the venue does not end.
const unlimited = 365 * 24 * time.Hour

// StreamFaults are what goes wrong on sockets. The zero value is a socket without faults.
type StreamFaults struct {
	Lifetime  time.Duration // of a connection, instead of the venue's
	Cut       time.Duration // every connection is cut after so long, without a goodbye
	Silent    time.Duration // every connection sends nothing more after so long
	Slow      time.Duration // each message of a closed candle comes so much later
	Twice     bool          // messages of closed candles come twice
	Backwards bool          // the candles of a close come newest pair first, and the one before again
	Unmarked  bool          // no message says that a candle is closed
	Token     time.Duration // a token expires after so long, instead of the venue's time
	Refuse    string        // a subscription to this pair is refused
	Missing   int           // every so many closed candles one is not sent
	Corrected int           // the first message of every n-th closed candle has another close and volume
}

// StreamStats count what the sockets of a server have done.
type StreamStats struct {
	Connections, Most int // open now, and at most at once
	Accepted          int
	Subscriptions     int // asked for
	Longest           int // bytes of a client's message
	Closed, Forming   int // messages sent
}

type streamCounters struct {
	connections, most, accepted, subscriptions, longest, closed, forming atomic.Int64
}

func raise(max *atomic.Int64, v int64) {
	for old := max.Load(); v > old && !max.CompareAndSwap(old, v); old = max.Load() {
	}
}

// StreamStats returns the counts so far.
func (s *Server) StreamStats() StreamStats {
	c := &s.streams
	return StreamStats{
		int(c.connections.Load()), int(c.most.Load()), int(c.accepted.Load()), int(c.subscriptions.Load()),
		int(c.longest.Load()), int(c.closed.Load()), int(c.forming.Load()),
	}
}

// CutStreams cuts all connections at once, as a network does.
func (s *Server) CutStreams() {
	s.cutting.Lock()
	defer s.cutting.Unlock()
	for _, cut := range s.cuts {
		cut()
	}
}

// maxMessage is the longest message that Binance reads, in bytes. A longer one is ignored
// without an answer.
const maxMessage = 4_096

// stream serves a connection until it ends.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s.cutting.Lock()
	if s.cuts == nil {
		s.cuts = map[int64]func(){}
	}
	id := s.streams.accepted.Add(1)
	s.cuts[id] = func() { cancel(); conn.CloseNow() }
	s.cutting.Unlock()
	defer func() {
		s.cutting.Lock()
		delete(s.cuts, id)
		s.cutting.Unlock()
	}()
	raise(&s.streams.most, s.streams.connections.Add(1))
	defer s.streams.connections.Add(-1)

	faults, d := s.options.Stream, s.dialect.socket
	if faults.Cut > 0 {
		defer time.AfterFunc(faults.Cut, func() { cancel(); conn.CloseNow() }).Stop()
	}
	idle := cmp.Or(d.idle, math.MaxInt64)
	leave := time.AfterFunc(idle, cancel)
	defer leave.Stop()
	added := make(chan []subscription)
	began := time.Now()
	silent := func() bool { return faults.Silent > 0 && time.Since(began) > faults.Silent }
	var sent atomic.Int64 // Unix ns of the last message
	write := func(binary bool, b []byte) bool {
		sent.Store(time.Now().UnixNano())
		kind := websocket.MessageText
		if d.gzip {
			b = pack(b)
		}
		if binary || d.gzip {
			kind = websocket.MessageBinary
		}
		return silent() || conn.Write(ctx, kind, b) == nil
	}
	send := func(b []byte) bool { return write(false, b) }
	push := func(b []byte) bool { return write(d.binary, b) }
	go func() {
		defer cancel()
		for {
			leave.Reset(idle)
			_, message, err := conn.Read(ctx)
			if err != nil {
				return
			}
			raise(&s.streams.longest, int64(len(message)))
			if len(message) > cmp.Or(d.longest, maxMessage) {
				continue
			}
			more, answer := d.take(s, message)
			now := s.options.Now().Unix()
			for i := range more {
				if more[i].pair == nil {
					continue
				}
				more[i].open = more[i].iv.floor(now)
			}
			s.streams.subscriptions.Add(int64(len(more)))
			select {
			case added <- more:
			case <-ctx.Done():
				return
			}
			for line := range bytes.SplitSeq(answer, []byte("\n")) {
				if len(line) > 0 && !send(line) {
					return
				}
			}
		}
	}()
	go func() {
		for d.ping > 0 && sleep(ctx, d.ping) == nil {
			if d.call != nil {
				send(d.call(nil, s.options.Now().UnixMilli()))
			} else if !silent() && conn.Ping(ctx) != nil {
				cancel()
			}
		}
	}()

	lifetime := d.lifetime
	if faults.Lifetime > 0 {
		lifetime = faults.Lifetime
	}
	var expires time.Time
	if d.token > 0 {
		issued, ok := d.issued(r.URL.Query().Get("token"))
		if !ok {
			send([]byte(d.invalid))
			return
		}
		expires = issued.Add(cmp.Or(faults.Token, d.token))
	}
	var buf []byte
	var subs []subscription
	if d.greeting != "" && !send([]byte(d.greeting)) {
		return
	}
	nextForming := time.Now().Add(formingEvery)
	missing, closing := 0, 0
	for goodbye := false; ctx.Err() == nil; {
		if age := time.Since(began); lifetime > 0 && age > lifetime {
			return
		} else if !goodbye && d.goodbye != "" && lifetime > 0 && age > lifetime-lifetime/10 {
			goodbye = true
			send([]byte(d.goodbye))
		}
		if d.token > 0 && time.Now().After(expires) {
			send([]byte(d.expired))
			return
		}
		now := s.options.Now()
		forming := time.Now().After(nextForming)
		if forming {
			nextForming = time.Now().Add(formingEvery)
		}
		wait := formingEvery
		for n := range subs {
			i := n
			if faults.Backwards {
				i = len(subs) - 1 - n
			}
			sub := &subs[i]
			if sub.right != nil && time.Now().After(sub.rightAt) {
				buf = d.push(buf[:0], sub, sub.right, !faults.Unmarked, now.UnixMilli())
				if sub.right = nil; !push(buf) {
					return
				}
			}
			next := sub.iv.next(sub.open)
			closed := next <= now.Unix()
			if left := time.Unix(next, 0).Sub(now); !closed && left < wait {
				wait = left
			}
			if !closed && !forming {
				continue
			}
			c, ok := s.market.candleAt(sub.pair, sub.iv, sub.open, now.Unix())
			if closed {
				sub.open = next
			}
			if !ok || d.traded && c.trades == 0 {
				continue
			}
			if !closed {
				s.streams.forming.Add(1)
				s.pushed(sub, &c)
				if buf = d.push(buf[:0], sub, &c, false, now.UnixMilli()); !push(buf) {
					return
				}
				continue
			}
			if missing++; faults.Missing > 0 && missing%faults.Missing == 0 {
				continue
			}
			if faults.Slow > 0 && sleep(ctx, faults.Slow) != nil {
				return
			}
			if closing++; faults.Corrected > 0 && closing%faults.Corrected == 0 {
				right := c
				sub.right, sub.rightAt = &right, time.Now().Add(correctedAfter)
				c.c, c.volume = c.o, c.volume/2
			}
			s.streams.closed.Add(1)
			if s.options.OnClosed != nil {
				s.options.OnClosed(sub.pair.Symbol, c.open)
			}
			s.pushed(sub, &c)
			if buf = d.push(buf[:0], sub, &c, !faults.Unmarked, s.options.Now().UnixMilli()); !push(buf) {
				return
			}
			if faults.Twice && !push(buf) {
				return
			}
			if before, ok := s.market.candleAt(sub.pair, sub.iv, sub.iv.back(c.open, 1), now.Unix()); faults.Backwards && ok && !(d.traded && before.trades == 0) {
				if buf = d.push(buf[:0], sub, &before, true, now.UnixMilli()); !push(buf) {
					return
				}
			}
		}
		if d.heartbeat != "" && len(subs) > 0 && time.Since(time.Unix(0, sent.Load())) > time.Second && !send([]byte(d.heartbeat)) {
			return
		}
		select { // briefly, since a fast clock does not say how long a second is
		case more := <-added:
			for i := range more {
				if d.another != "" && slices.ContainsFunc(subs, func(old subscription) bool { return old.pair == more[i].pair && old.iv.name != more[i].iv.name }) {
					more[i].pair, more[i].refusal = nil, d.another
				}
				if d.joined != nil {
					for _, message := range d.joined(s, &more[i], s.options.Now()) {
						if !send(message) {
							return
						}
					}
				}
				if more[i].pair != nil {
					subs = append(subs, more[i])
				}
			}
		case <-time.After(min(max(wait/4, time.Millisecond), 20*time.Millisecond)):
		case <-ctx.Done():
			return
		}
	}
}

// pushed calls OnPushed.
func (s *Server) pushed(sub *subscription, c *candle) {
	if s.options.OnPushed != nil {
		s.options.OnPushed(sub.pair.Symbol, float64(c.c)/float64(pow10[sub.pair.TickDecimals]))
	}
}

var packers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// pack returns a message compressed with gzip.
func pack(message []byte) []byte {
	var packed bytes.Buffer
	w := packers.Get().(*gzip.Writer)
	defer packers.Put(w)
	w.Reset(&packed)
	w.Write(message) // to memory
	w.Close()
	return packed.Bytes()
}

// formingEvery is the time between two messages of an open candle (web-socket-streams.md).
const formingEvery = 2 * time.Second

// correctedAfter is the time after which a wrong candle is corrected.
const correctedAfter = 100 * time.Millisecond

// candleAt returns the candle of p that opens at open, as far as there is data up to now.
func (m *market) candleAt(p *pair, iv interval, open, now int64) (c candle, ok bool) {
	life := p.until(now)
	s := span{max(life.from, open), min(life.to, iv.next(open))}
	if s.from >= s.to {
		return candle{}, false
	}
	p.history.candles(iv, s, func(got *candle) bool {
		c, ok = *got, true
		return false
	})
	return c, ok
}
