package exchange

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"tidemark/levels"
	"tidemark/service"
)

// Sink receives what a Feed brings. Its functions are called from several goroutines at
// once, and must return soon: a slow reader is cut off by the venue.
type Sink struct {
	// Candle receives the state of a candle of a series that was asked for, and when it
	// was received. The feed may repeat a candle, and bring an older one late.
	Candle func(s service.Key, c levels.Candle, closed bool, received time.Time)
	// Broken receives the series whose pushes may have been missed.
	Broken func(series []service.Key)
	// Refused receives a series that the venue does not push, and the reason it gives.
	Refused func(s service.Key, reason string)
}

// Feed keeps the candles of a set of series pushed by a venue: on as few connections as
// it allows, replaced before it closes them, and opened again when they break.
type Feed struct {
	c        *Client
	venue    Streamer
	facts    *Stream
	url      string
	insecure bool // the server that stands for the venue has no TLS
	sink     Sink
	names    map[string]levels.Interval // by name on the wire
	http     *http.Client
	wake     chan struct{}
	lastDial atomic.Int64 // Unix ns; when the next connection may be opened

	mu      sync.Mutex
	want    []service.Key     // sorted
	symbols map[string]string // of want, by name on the wire
	links   []*link
	counts  FeedCounts
}

// FeedCounts counts what has happened to a feed since it was started.
type FeedCounts struct {
	Connections   int // open
	Subscriptions int // asked for on them
	Frames        int64
	Reconnects    map[string]int64 // by reason: "planned", "closed", "silent", "failed"
	LastFrame     time.Time        // zero before the first
}

// The reasons for another connection.
const (
	reasonPlanned = "planned" // before the venue closes it, or it has no room for other series
	reasonClosed  = "closed"  // the venue or the network closed it
	reasonSilent  = "silent"  // nothing came for too long
	reasonFailed  = "failed"  // it could not be opened
)

const (
	firstDelay  = 250 * time.Millisecond // before a connection is opened again
	lastDelay   = 30 * time.Second
	dialTimeout = 10 * time.Second
	maxFrame    = 1 << 20 // bytes of a message
	overlap     = 5 * time.Second
	// maxEarly is how long before its close, by the venue's clock, this machine's and the time
	// of the message, a candle may be marked as closed.
	maxEarly = 2 * time.Second
	// maxAhead is how far the time of a message may be ahead of these clocks and decide that.
	maxAhead = time.Hour
)

// Feed returns a feed of the venue, or nil if it pushes no candles. Nothing happens
// before Run.
func (c *Client) Feed(sink Sink) *Feed {
	venue, ok := c.venue.(Streamer)
	if !ok {
		return nil
	}
	transport := NewTransport(0)
	transport.DisableKeepAlives = true
	f := &Feed{c: c, venue: venue, facts: venue.Stream(), sink: sink, http: &http.Client{Transport: transport}, wake: make(chan struct{}, 1), names: map[string]levels.Interval{}}
	for i, name := range f.facts.Intervals {
		f.names[name] = i
	}
	u, err := url.Parse(f.facts.URL)
	if err != nil {
		panic(err) // of a constant
	}
	if c.elsewhere { // the server that stands for the venue pushes, too
		u = c.caller.base.JoinPath(u.Path)
		u.Scheme = map[string]string{"http": "ws", "https": "wss"}[u.Scheme]
	}
	f.url = u.String()
	f.insecure = u.Scheme == "ws"
	f.counts.Reconnects = map[string]int64{reasonPlanned: 0, reasonClosed: 0, reasonSilent: 0, reasonFailed: 0}
	return f
}

// Has reports whether the venue pushes candles of an interval.
func (f *Feed) Has(i levels.Interval) bool { return f.facts.Intervals[i] != "" }

// Marks reports whether the venue marks closed candles.
func (f *Feed) Marks() bool { return !f.facts.Unmarked }

// mostConnections is how many connections are opened at once at most, where the venue
// states no limit.
const mostConnections = 100

// Connections returns how many connections n series take, if all can be on any, and the
// most series that the connections from an address carry.
func (f *Feed) Connections(n int) (connections, most int) {
	return (n + f.facts.Series - 1) / f.facts.Series, f.facts.Series * cmp.Or(f.facts.Most, mostConnections)
}

// Address returns the address of the next connection. It asks the venue for it, within the
// venue's limits, if that gives each connection its own.
func (f *Feed) Address(ctx context.Context) (Address, error) {
	a := Address{URL: f.url}
	if f.facts.Access.Path != "" {
		err := f.c.caller.do(ctx, f.facts.Access, newEffort(), func(body io.Reader, _ http.Header) (err error) {
			a, err = f.facts.DecodeAccess(NewScanner(body, make([]byte, minBuffer)))
			return err
		})
		if err != nil {
			return Address{}, err
		}
		if u, err := url.Parse(a.URL); err != nil || u.Host == "" || u.Scheme != "wss" && !(f.insecure && u.Scheme == "ws") {
			return Address{}, fmt.Errorf("%w: the address of the feed is not one of a secure WebSocket", service.ErrExchange)
		}
	}
	a.PingEvery = cmp.Or(a.PingEvery, f.facts.PingEvery)
	return a, nil
}

// Counts returns the present counts.
func (f *Feed) Counts() FeedCounts {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.counts
	c.Reconnects = map[string]int64{}
	for reason, n := range f.counts.Reconnects {
		c.Reconnects[reason] = n
	}
	return c
}

// Want sets the series to push. Those that were wanted before keep their connections. Of
// more than the connections carry that an address may have, the first are pushed.
func (f *Feed) Want(series []service.Key) {
	want := slices.DeleteFunc(slices.Clone(series), func(s service.Key) bool {
		if f.name(s.Symbol) != "" {
			return false
		}
		f.sink.Refused(s, "the feed has no name for the pair")
		return true
	})
	if most := f.facts.Series * f.facts.Most; most > 0 && len(want) > most {
		f.c.log.Warn("the exchange pushes fewer series to an address: it is asked for the candles of the others", "series", len(want), "pushed", most)
		want = want[:most]
	}
	slices.SortFunc(want, compareSeries)
	f.mu.Lock()
	f.want = slices.Compact(want)
	f.symbols = make(map[string]string, len(f.want))
	for _, s := range f.want {
		f.symbols[f.name(s.Symbol)] = s.Symbol
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// name returns the name of a pair on the wire.
func (f *Feed) name(symbol string) string {
	if f.facts.Name == nil {
		return symbol
	}
	return f.facts.Name(symbol)
}

func compareSeries(a, b service.Key) int {
	return cmp.Or(cmp.Compare(a.Interval, b.Interval), cmp.Compare(a.Symbol, b.Symbol))
}

// Run keeps the feed until ctx is done.
func (f *Feed) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake: // once for each Want, so that a refused series is not asked for again
		}
		for _, l := range f.assign() {
			all.Go(func() { l.run(ctx) })
		}
	}
}

// assign gives the wanted series that have no connection to one, and takes away those
// that are not wanted any more. It returns connections to run.
func (f *Feed) assign() (started []*link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	have := map[service.Key]bool{}
	for _, l := range f.links {
		l.mu.Lock()
		l.series = slices.DeleteFunc(l.series, func(s service.Key) bool {
			_, wanted := slices.BinarySearchFunc(f.want, s, compareSeries)
			return !wanted // it is still pushed until the next connection, and ignored
		})
		for _, s := range l.series {
			have[s] = true
		}
		l.mu.Unlock()
	}
	missing := slices.DeleteFunc(slices.Clone(f.want), func(s service.Key) bool { return have[s] })
	for _, l := range f.links {
		l.mu.Lock()
		room, added := f.facts.Series-len(l.series), false
		missing = slices.DeleteFunc(missing, func(s service.Key) bool {
			if room <= 0 || f.facts.OneInterval && s.Interval != l.interval {
				return false
			}
			l.series = append(l.series, s)
			room, added = room-1, true
			return true
		})
		l.mu.Unlock()
		if added {
			l.wake()
		}
	}
	for len(missing) > 0 {
		n := 1
		for n < min(len(missing), f.facts.Series) && !(f.facts.OneInterval && missing[n].Interval != missing[0].Interval) {
			n++
		}
		l := &link{f: f, interval: missing[0].Interval, series: slices.Clone(missing[:n]), changed: make(chan struct{}, 1), log: f.c.log}
		f.links = append(f.links, l)
		started = append(started, l)
		missing = missing[n:]
	}
	return started
}

// link is one connection and those that follow it.
type link struct {
	f        *Feed
	interval levels.Interval // of all its series if the venue wants that
	changed  chan struct{}   // series were added
	log      *slog.Logger

	mu     sync.Mutex
	series []service.Key
}

// wake makes the connection subscribe to the series that were added.
func (l *link) wake() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// snapshot returns the series of the link.
func (l *link) snapshot() []service.Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.series)
}

// drop leaves out a series that the venue refuses, and reports whether the link had it.
func (l *link) drop(s service.Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.series)
	l.series = slices.DeleteFunc(l.series, func(other service.Key) bool { return other == s })
	return len(l.series) < n
}

// run keeps a connection open until ctx is done. A planned replacement is opened before
// the old connection is closed.
func (l *link) run(ctx context.Context) {
	delay := firstDelay
	var old *socket
	defer func() { old.close() }()
	for ctx.Err() == nil {
		s, err := l.open(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			l.f.count(reasonFailed)
			l.log.Warn("the feed cannot connect", "error", err, "again_in", delay)
			if old == nil {
				l.f.sink.Broken(l.snapshot())
			}
			if sleep(ctx, delay/2+rand.N(delay/2)) != nil {
				return
			}
			delay = min(2*delay, lastDelay)
			continue
		}
		previous := old
		old = s
		if previous.open() { // both are read for a moment, so that nothing is missed
			time.AfterFunc(overlap, previous.close)
		} else {
			previous.close()
			l.f.sink.Broken(l.snapshot())
		}
		began := time.Now()
		switch reason := s.wait(ctx); reason {
		case "":
			return
		case reasonPlanned:
			l.f.count(reason)
			l.log.Info("the feed opens a new connection in place of one that the exchange will close, or that is full")
			delay = firstDelay
		default:
			l.f.count(reason)
			l.log.Warn("the feed lost its connection", "reason", reason, "error", s.err, "after", time.Since(began).Round(time.Millisecond))
			s.close()
			old = nil
			if time.Since(began) > time.Minute {
				delay = firstDelay
			}
			l.f.sink.Broken(l.snapshot())
			if sleep(ctx, delay/2+rand.N(delay/2)) != nil {
				return
			}
			delay = min(2*delay, lastDelay)
		}
	}
}

func (f *Feed) count(reason string) {
	f.mu.Lock()
	f.counts.Reconnects[reason]++
	f.mu.Unlock()
}

// pace waits until another connection may be opened.
func (f *Feed) pace(ctx context.Context) error {
	for {
		now, last := time.Now().UnixNano(), f.lastDial.Load()
		next := max(now, last+int64(f.facts.Connects))
		if f.lastDial.CompareAndSwap(last, next) {
			return sleep(ctx, time.Duration(next-now))
		}
	}
}

// socket is an open connection.
type socket struct {
	l      *link
	conn   *websocket.Conn
	cancel context.CancelFunc
	heard  chan struct{} // closed by first, after the first message
	first  sync.Once
	done   chan struct{} // the reader has ended
	ping   time.Duration // between two pings
	end    time.Time     // when it must be replaced; zero for never
	going  atomic.Bool   // the venue has announced its end
	asked  map[int][]service.Key
	sent   int // messages
	next   time.Time
	writes sync.Mutex
	last   atomic.Int64 // Unix ns of the last message or ping
	silent atomic.Bool
	err    error // of the reader
	closed sync.Once
}

// open connects and subscribes to the series of the link.
func (l *link) open(ctx context.Context) (*socket, error) {
	address, err := l.f.Address(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.f.pace(ctx); err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	s := &socket{l: l, ping: address.PingEvery, heard: make(chan struct{}), done: make(chan struct{}), asked: map[int][]service.Key{}}
	conn, _, err := websocket.Dial(dialing, address.URL, &websocket.DialOptions{
		HTTPClient:      l.f.http,
		CompressionMode: websocket.CompressionDisabled,
		OnPingReceived:  func(context.Context, []byte) bool { s.last.Store(time.Now().UnixNano()); return true },
	})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(maxFrame)
	s.conn = conn
	s.last.Store(time.Now().UnixNano())
	ctx, s.cancel = context.WithCancel(ctx)
	if life := l.f.facts.Lifetime; life > 0 { // connections of a start do not all end at once
		s.end = time.Now().Add(life - life/20 - rand.N(life/20+1))
	}
	l.f.mu.Lock()
	l.f.counts.Connections++
	l.f.mu.Unlock()
	go s.read(ctx)
	if l.f.facts.Greets {
		select {
		case <-s.heard:
		case <-s.done: // subscribe fails
		case <-dialing.Done():
			s.close()
			return nil, fmt.Errorf("the exchange sent nothing on a new connection: %w", context.Cause(dialing))
		}
	}
	if err := s.subscribe(ctx, l.snapshot()); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// open reports whether messages may still come on the connection; not if it is nil.
func (s *socket) open() bool {
	if s == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// close ends the connection. It does nothing for nil and for a closed one.
func (s *socket) close() {
	if s == nil {
		return
	}
	s.closed.Do(func() {
		s.cancel()
		s.conn.CloseNow()
		<-s.done
		s.l.f.mu.Lock()
		s.l.f.counts.Connections--
		s.writes.Lock()
		for _, series := range s.asked {
			s.l.f.counts.Subscriptions -= len(series)
		}
		s.writes.Unlock()
		s.l.f.mu.Unlock()
	})
}

// subscribe asks for series, in messages as long and as often as the venue allows.
func (s *socket) subscribe(ctx context.Context, series []service.Key) error {
	facts := s.l.f.facts
	for len(series) > 0 {
		n := 1
		for n < len(series) && n < facts.Batch && series[n].Interval == series[0].Interval {
			n++
		}
		s.writes.Lock()
		s.sent++
		id := s.sent
		s.writes.Unlock()
		var message []byte
		for {
			if message = s.l.f.venue.Subscribe(id, series[:n]); len(message) <= facts.Message || n == 1 {
				break
			}
			n = max(1, n*facts.Message/len(message))
		}
		s.writes.Lock()
		s.asked[id] = series[:n:n]
		s.writes.Unlock()
		s.l.f.mu.Lock()
		s.l.f.counts.Subscriptions += n
		s.l.f.mu.Unlock()
		if err := s.send(ctx, message, n); err != nil {
			return err
		}
		series = series[n:]
	}
	return nil
}

// send sends a message, which asks for a number of series, at the venue's pace.
func (s *socket) send(ctx context.Context, message []byte, series int) error {
	facts := s.l.f.facts
	s.writes.Lock() // not while it waits: the reader takes it, too
	at := time.Now()
	if s.next.After(at) {
		at = s.next
	}
	s.next = at.Add(facts.Pace + time.Duration(series)*facts.Each)
	s.writes.Unlock()
	if err := sleep(ctx, time.Until(at)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, message)
}

// wait keeps the connection until it must be replaced and returns the reason; "" when ctx
// is done.
func (s *socket) wait(ctx context.Context) string {
	facts := s.l.f.facts
	ping := time.NewTicker(cmp.Or(s.ping, time.Hour))
	defer ping.Stop()
	var end <-chan time.Time
	if !s.end.IsZero() {
		timer := time.NewTimer(time.Until(s.end))
		defer timer.Stop()
		end = timer.C
	}
	check := time.NewTicker(time.Second)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-s.done:
			if ctx.Err() != nil {
				return ""
			}
			if s.silent.Load() {
				return reasonSilent
			}
			return reasonClosed
		case <-end:
			return reasonPlanned
		case <-check.C:
			if s.going.Load() {
				return reasonPlanned
			}
			if time.Since(time.Unix(0, s.last.Load())) > facts.Silence {
				s.silent.Store(true)
				s.cancel()
			}
		case <-s.l.changed:
			known := map[service.Key]bool{}
			s.writes.Lock()
			for _, asked := range s.asked {
				for _, one := range asked {
					known[one] = true
				}
			}
			s.writes.Unlock()
			added := slices.DeleteFunc(s.l.snapshot(), func(one service.Key) bool { return known[one] })
			// It still carries the series that are not wanted any more.
			if len(added) > 0 && len(known)+len(added) > facts.Series {
				return reasonPlanned
			}
			if s.subscribe(ctx, added) == nil {
				s.l.f.sink.Broken(added)
			}
		case <-ping.C:
			if facts.Ping != nil {
				s.send(ctx, facts.Ping, 0) // the reader finds a broken connection
			}
		}
	}
}

// read passes on what the venue sends until the connection ends.
func (s *socket) read(ctx context.Context) {
	defer close(s.done)
	f := s.l.f
	var frame Frame
	decode := newDecoder(f.venue)
	var message bytes.Buffer
	for {
		kind, r, err := s.conn.Reader(ctx)
		if err == nil {
			message.Reset()
			_, err = message.ReadFrom(r)
		}
		if err != nil {
			s.err = err
			return
		}
		received := time.Now()
		s.last.Store(received.UnixNano())
		if f.facts.Pong != nil && bytes.Equal(message.Bytes(), f.facts.Pong) {
			continue
		}
		if err := decode.frame(kind == websocket.MessageBinary, message.Bytes(), &frame); err != nil {
			s.err = fmt.Errorf("a message of the feed: %w", err)
			return
		}
		s.take(ctx, &frame, received)
		shrink(&message, &frame)
	}
}

// keptFrame is the most bytes of a message for which a connection keeps room, and
// keptPushes the most candles.
const (
	keptFrame  = 64 << 10
	keptPushes = 1_000
)

// shrink gives up the room of a long message.
func shrink(message *bytes.Buffer, f *Frame) {
	if message.Cap() > keptFrame {
		*message = bytes.Buffer{}
	}
	if cap(f.pushes) > keptPushes {
		f.pushes = nil
	}
}

// decoder reads the messages of a connection, one after the other, through the same buffers.
type decoder struct {
	venue Streamer
	facts *Stream
	buf   []byte
	body  bytes.Reader
	unzip *gzip.Reader // nil before the first compressed message
	plain io.LimitedReader
}

func newDecoder(v Streamer) *decoder {
	return &decoder{venue: v, facts: v.Stream(), buf: make([]byte, minBuffer)}
}

var errLongFrame = fmt.Errorf("more than %d bytes are compressed in it", maxFrame)

// frame empties f and puts what a message says into it. Compressed data is read as it is
// needed, and no more than maxFrame bytes of it.
func (d *decoder) frame(binary bool, message []byte, f *Frame) error {
	f.reset()
	if binary && d.facts.Binary != nil {
		return d.facts.Binary(message, f)
	}
	d.body.Reset(message)
	if !binary || !d.facts.Gzip {
		return d.venue.DecodeFrame(NewScanner(&d.body, d.buf), f)
	}
	if d.unzip == nil {
		d.unzip = new(gzip.Reader)
	}
	if err := d.unzip.Reset(&d.body); err != nil {
		return err
	}
	d.plain = io.LimitedReader{R: d.unzip, N: maxFrame + 1}
	err := d.venue.DecodeFrame(NewScanner(&d.plain, d.buf), f)
	if d.plain.N == 0 {
		return errLongFrame
	}
	return err
}

// take passes on what a frame says.
func (s *socket) take(ctx context.Context, frame *Frame, received time.Time) {
	f := s.l.f
	s.first.Do(func() { close(s.heard) })
	f.mu.Lock()
	f.counts.Frames++
	f.counts.LastFrame = received
	f.mu.Unlock()
	for i := range frame.pushes {
		p := &frame.pushes[i]
		interval, ok := f.names[p.Wire]
		if !ok || p.Candle.Check() != nil {
			continue
		}
		if p.At > 0 {
			_ = f.c.clock.Set(p.At, received, time.Time{}) // an implausible stamp changes nothing
		}
		closes := p.Candle.OpenTime + interval.Milliseconds()
		reached, _ := f.c.clock.Now()
		reached = max(reached, received.UnixMilli())
		if p.At > reached && p.At <= reached+maxAhead.Milliseconds() { // perhaps the others are behind
			reached = p.At
		}
		if p.Candle.OpenTime > reached+maxLead.Milliseconds() || interval.Floor(p.Candle.OpenTime) != p.Candle.OpenTime {
			// No candle of the interval, or one of the future, unless both clocks are wrong:
			// then the venue is asked for its time.
			f.c.clock.ObserveDate(time.UnixMilli(p.Candle.OpenTime))
			continue
		}
		closed := p.Closed && closes <= reached+maxEarly.Milliseconds()
		if closed { // the venue's clock has reached the close, whatever the message says
			_ = f.c.clock.Set(closes, received, time.Time{})
		}
		series := service.Key{Exchange: f.c.name, Symbol: f.intern(p.Symbol), Interval: interval}
		if series.Symbol == "" {
			continue
		}
		f.sink.Candle(series, p.Candle, closed, received)
	}
	if frame.Reply != nil {
		if err := s.send(ctx, frame.Reply, 0); err != nil {
			s.l.log.Debug("the feed cannot answer", "error", err)
		}
	}
	if frame.Closing {
		s.going.Store(true)
	}
	if frame.Refused != "" || frame.RefusedAll {
		s.refused(ctx, frame)
	}
}

// refused drops the series that a refusal is about. Of a message with several series, of
// which the venue does not say which one it refuses, each is asked for alone.
func (s *socket) refused(ctx context.Context, frame *Frame) {
	f := s.l.f
	named := func(one service.Key) bool {
		return f.name(one.Symbol) == frame.RefusedSymbol && (frame.RefusedWire == "" || f.facts.Intervals[one.Interval] == frame.RefusedWire)
	}
	var refused, others []service.Key
	removed := 0
	s.writes.Lock()
	for id, asked := range s.asked {
		if frame.RefusedID != 0 && id != frame.RefusedID || frame.RefusedID == 0 && !slices.ContainsFunc(asked, named) {
			continue
		}
		kept := asked[:0:0]
		for _, one := range asked {
			switch about := frame.RefusedSymbol == "" || named(one); {
			case about && frame.Refused != "":
				refused = append(refused, one)
			case !about && frame.RefusedAll:
				others = append(others, one)
			default:
				kept = append(kept, one)
			}
		}
		s.asked[id] = kept
		removed += len(asked) - len(kept)
	}
	s.writes.Unlock()
	f.mu.Lock()
	f.counts.Subscriptions -= removed
	f.mu.Unlock()
	switch {
	case frame.Refused == "":
	case len(refused) == 0:
		s.l.log.Warn("the exchange refuses a subscription", "reason", frame.Refused)
	case len(refused) == 1, frame.RefusedSymbol != "":
		for _, one := range refused {
			if s.l.drop(one) {
				f.sink.Refused(one, frame.Refused)
			}
		}
	default:
		go func() { // sending waits for the pace; the reader must not
			for i := range refused {
				if s.subscribe(ctx, refused[i:i+1:i+1]) != nil {
					return
				}
			}
		}()
	}
	if len(others) > 0 {
		go s.subscribe(ctx, others)
	}
}

// intern returns the id of a wanted pair from its name on the wire; "" for others.
func (f *Feed) intern(symbol []byte) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.symbols[string(symbol)]
}
