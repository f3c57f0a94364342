package venues

// What every market that pushes candles must do, over a real socket: its simulated server,
// whose clock runs fast, pushes closed candles, and each must be, bit for bit, the candle
// that the same client fetches afterwards. A venue that marks no candle as closed is
// compared by the last state before the next candle. A market of the table is tested as
// soon as it implements exchange.Streamer and its dialect has a socket.

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/binance"
	"tidemark/exchange/exchangetest"
	"tidemark/exchange/htx"
	"tidemark/exchange/mexc"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

const (
	feedPairs = 5
	feedSpeed = 60 // seconds of the market in a second
)

// fastClock is a market's clock that runs feedSpeed times as fast as this machine's, until
// it is slowed down. It begins in the past, so that no stamp of it is in the future.
type fastClock struct {
	mu    sync.Mutex
	from  time.Time // of the market
	at    time.Time // when it was from
	speed time.Duration
}

func newFastClock() *fastClock {
	now := time.Now()
	return &fastClock{from: now.Add(-time.Hour).Truncate(time.Minute).Add(20 * time.Second), at: now, speed: feedSpeed}
}

func (c *fastClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.from.Add(time.Since(c.at) * c.speed)
}

func (c *fastClock) slow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.from, c.at, c.speed = c.from.Add(now.Sub(c.at)*c.speed), now, 1
}

// push is the state of a candle as the feed passed it on.
type push struct {
	candle levels.Candle
	closed bool
	number int // of what the feed passed on
}

// received is what a feed has passed on.
type received struct {
	mu      sync.Mutex
	number  int // of what came last
	pushes  map[service.Key][]push
	broken  []int // their numbers
	refused map[service.Key]string
	strange []string
}

// final returns the candles of a series that are closed, in the order of time, by the
// venue's word or by the candle that follows them. The same candle may have come again.
func (r *received) final(t *testing.T, series service.Key, marked bool) []push {
	t.Helper()
	states := map[int64]push{}
	pushes := r.pushes[series]
	for i, p := range pushes {
		open := p.candle.OpenTime
		if old, ok := states[open]; ok && marked && p.closed && old.candle != p.candle {
			t.Errorf("%s: closed with %+v, then with %+v", series.Symbol, old.candle, p.candle)
		}
		// The last state before a cut is not that of the close.
		followed := slices.ContainsFunc(pushes[i+1:], func(q push) bool {
			return q.candle.OpenTime > open && !slices.ContainsFunc(r.broken, func(n int) bool { return n > p.number && n < q.number })
		})
		if p.closed || !marked && followed {
			states[open] = p
		}
	}
	return slices.SortedFunc(maps.Values(states), func(a, b push) int { return cmp.Compare(a.candle.OpenTime, b.candle.OpenTime) })
}

// follow runs a feed of five pairs for a number of closes of the market, or longer on a machine
// that is too busy to push enough of them, and returns what it passed on and the client.
func follow(t *testing.T, v exchange.Venue, closes int, faults simulated.StreamFaults, refuse bool) (r *received, c *exchange.Client, counts exchange.FeedCounts, pairs []service.Key, market *simulated.Server) {
	t.Helper()
	clock := newFastClock()
	options := simulated.Options{Venue: v.Spec().Name, Pairs: 12, Seed: 5, LimitTimes: 1000, Now: clock.now, Stream: faults}
	// The pairs of a market are those of another of the same options.
	for _, p := range simulated.New(options).Pairs() {
		if p.Kind == simulated.Healthy && p.Status == "TRADING" && len(pairs) < feedPairs {
			pairs = append(pairs, service.Key{Exchange: v.Spec().Name, Symbol: p.Symbol, Interval: "1m"})
		}
	}
	if len(pairs) < feedPairs {
		t.Fatalf("only %d pairs", len(pairs))
	}
	if refuse {
		options.Stream.Refuse = pairs[2].Symbol
	}
	market = simulated.New(options)
	server := httptest.NewServer(market)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c = exchange.New(v, exchange.Config{BaseURL: base, Group: exchangetest.Unlimited(v)})
	t.Cleanup(c.Close)
	r = &received{pushes: map[service.Key][]push{}, refused: map[service.Key]string{}}
	feed := c.Feed(exchange.Sink{
		Candle: func(s service.Key, k levels.Candle, closed bool, _ time.Time) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.number++
			r.pushes[s] = append(r.pushes[s], push{k, closed, r.number})
			if end := s.Interval.Milliseconds() + k.OpenTime; closed && end > clock.now().UnixMilli() {
				r.strange = append(r.strange, fmt.Sprintf("%s: %+v is closed, at %v", s.Symbol, k, clock.now()))
			}
		},
		Broken: func(series []service.Key) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.number++
			r.broken = append(r.broken, r.number)
			for _, s := range series {
				if !slices.Contains(pairs, s) {
					r.strange = append(r.strange, fmt.Sprintf("%+v is broken", s))
				}
			}
		},
		Refused: func(s service.Key, reason string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if _, again := r.refused[s]; again || reason == "" {
				r.strange = append(r.strange, fmt.Sprintf("%s is refused again, or for no reason", s.Symbol))
			}
			r.refused[s] = reason
		},
	})
	if feed == nil || !feed.Has("1m") {
		t.Fatal("it pushes no minutes")
	}
	feed.Want(pairs)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); feed.Run(ctx) }()
	const least = 5 // more than any test asks for
	enough := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, p := range pairs {
			if r.refused[p] == "" && len(r.final(t, p, false)) < least {
				return false
			}
		}
		return faults.Cut == 0 || feed.Counts().Reconnects["closed"] > 1
	}
	for deadline := time.Now().Add(40 * time.Second); ; closes = 1 {
		// Until some seconds after a close, so that the next one is far.
		end := clock.now().Add(time.Duration(closes) * time.Minute).Truncate(time.Minute).Add(15 * time.Second)
		time.Sleep(end.Sub(clock.now()) / feedSpeed)
		if enough() || time.Now().After(deadline) {
			break
		}
	}
	clock.slow()
	time.Sleep(300 * time.Millisecond) // what is on its way
	counts = feed.Counts()
	stop()
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.strange {
		t.Error(s)
	}
	for s := range r.pushes {
		if !slices.Contains(pairs, s) {
			t.Errorf("%+v is pushed", s)
		}
	}
	return r, c, counts, pairs, market
}

// fetched returns the minutes of a pair since a time, as a sweep fetches them. It asks for
// earlier ones, too, for a venue that counts back from its own clock: that has run on since
// the last message.
func fetched(t *testing.T, c *exchange.Client, symbol string, from int64) []levels.Candle {
	t.Helper()
	ctx := service.Background(t.Context())
	visit := c.Visit(symbol, "1m", 100)
	defer visit.Close()
	var dst levels.Candles
	dst.Reset("1m", 0)
	if err := visit.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if err := visit.Candles(ctx, symbol, from-5*time.Minute.Milliseconds(), &dst, make([]byte, 32<<10)); err != nil {
		t.Fatal(err)
	}
	var all []levels.Candle
	for i := range dst.Len() {
		if dst.OpenTime[i] >= from {
			all = append(all, dst.At(i))
		}
	}
	return all
}

// compare checks the pushed candles of a series against the fetched ones: each must be
// equal, at least so many, and none may be missing between two of them unless the feed said
// between the two that some may be.
func (r *received) compare(t *testing.T, c *exchange.Client, series service.Key, marked bool, least int) {
	t.Helper()
	got := r.final(t, series, marked)
	if len(got) < least {
		t.Errorf("%s: %d candles are pushed, want at least %d", series.Symbol, len(got), least)
		return
	}
	want := fetched(t, c, series.Symbol, got[0].candle.OpenTime)
	last := 0 // number of the last push
	for _, p := range got {
		k := p.candle
		missing := 0
		for len(want) > 0 && want[0].OpenTime < k.OpenTime {
			if want[0].Volume > 0 { // minutes without a trade may not be pushed
				missing++
			}
			want = want[1:]
		}
		said := slices.ContainsFunc(r.broken, func(n int) bool { return n > last && n < p.number })
		if missing > 0 && !said {
			t.Errorf("%s: %d candles before %v are not pushed", series.Symbol, missing, time.UnixMilli(k.OpenTime).UTC())
		}
		last = p.number
		switch {
		case len(want) > 0 && want[0] == k:
			want = want[1:]
		case len(want) > 0 && want[0].OpenTime == k.OpenTime:
			t.Errorf("%s: %+v is pushed, %+v fetched", series.Symbol, k, want[0])
		case k.Volume > 0: // REST may leave out minutes without a trade
			t.Errorf("%s: %+v is pushed, but not fetched", series.Symbol, k)
		}
	}
}

// marks reports whether the venue marks closed candles. If it does, it marks them of every
// series.
func (r *received) marks(t *testing.T) bool {
	t.Helper()
	marked := 0
	for _, pushes := range r.pushes {
		if slices.ContainsFunc(pushes, func(p push) bool { return p.closed }) {
			marked++
		}
	}
	if marked > 0 && marked < len(r.pushes) {
		t.Errorf("%d of %d series have closed candles", marked, len(r.pushes))
	}
	return marked > 0
}

// eachFeed runs a test for each market of the table that pushes candles.
func eachFeed(t *testing.T, test func(t *testing.T, v exchange.Venue)) {
	n := 0
	var markets sync.WaitGroup
	for _, v := range All {
		if _, ok := v.(exchange.Streamer); !ok {
			continue
		}
		n++
		// all at once, however many tests may run in parallel: they mostly wait
		markets.Go(func() {
			t.Run(v.Spec().Name, func(t *testing.T) {
				if !slices.Contains(simulated.Venues(), v.Spec().Name) {
					t.Fatal("it is not simulated")
				}
				test(t, v)
			})
		})
	}
	markets.Wait()
	if n < 2 {
		t.Errorf("only %d markets", n)
	}
}

// reconnects returns how often connections were opened again, for any reason.
func reconnects(c exchange.FeedCounts) (n int64) {
	for _, of := range c.Reconnects {
		n += of
	}
	return n
}

func TestFeeds_PushTheCandlesThatAreFetched(t *testing.T) {
	t.Parallel()
	eachFeed(t, func(t *testing.T, v exchange.Venue) {
		r, c, counts, pairs, market := follow(t, v, 8, simulated.StreamFaults{}, false)
		marked := r.marks(t)
		for _, p := range pairs {
			r.compare(t, c, p, marked, 4)
		}
		if len(r.refused) > 0 || len(r.broken) != 1 || counts.Connections != 1 || counts.Subscriptions != feedPairs || reconnects(counts) > 0 {
			t.Errorf("refused %v, broken %v, %+v", r.refused, r.broken, counts)
		}
		facts := v.(exchange.Streamer).Stream()
		if s := market.StreamStats(); s.Accepted != 1 || s.Longest > facts.Message {
			t.Errorf("%+v", s)
		}
		t.Logf("closed candles are marked: %t", marked)
	})
}

// What a cut connection does not push is reported as such, and the feed goes on.
func TestFeeds_AreCut(t *testing.T) {
	t.Parallel()
	eachFeed(t, func(t *testing.T, v exchange.Venue) {
		cut := 2500 * time.Millisecond
		r, c, counts, pairs, market := follow(t, v, 14, simulated.StreamFaults{Cut: cut}, false)
		marked, least := r.marks(t), 3
		if !marked { // the last one before each cut is not compared
			least = 1
		}
		for _, p := range pairs {
			r.compare(t, c, p, marked, least)
		}
		if n := counts.Reconnects["closed"]; n < 2 || reconnects(counts) != n || len(r.broken) < 2*int(n) || len(r.refused) > 0 {
			t.Errorf("%+v, broken %v, refused %v", counts, r.broken, r.refused)
		}
		// after the last cut the next connection may not be there yet
		if s := market.StreamStats(); s.Most != 1 || int64(s.Accepted) < int64(counts.Reconnects["closed"]) {
			t.Errorf("%+v after %+v", s, counts)
		}
	})
}

// One pair that the venue refuses costs no other pair its candles, though they come late,
// twice and out of order.
func TestFeeds_LeaveOutARefusedPair(t *testing.T) {
	t.Parallel()
	faults := simulated.StreamFaults{Slow: 2 * time.Millisecond, Twice: true, Backwards: true}
	eachFeed(t, func(t *testing.T, v exchange.Venue) {
		r, c, counts, pairs, _ := follow(t, v, 8, faults, true)
		marked := r.marks(t)
		for i, p := range pairs {
			if i != 2 {
				r.compare(t, c, p, marked, 3)
			} else if r.refused[p] == "" || len(r.refused) != 1 || len(r.pushes[p]) > 0 {
				t.Errorf("refused %v, %d pushes of %s", r.refused, len(r.pushes[p]), p.Symbol)
			}
		}
		if counts.Subscriptions != feedPairs-1 || reconnects(counts) > 0 {
			t.Errorf("%+v", counts)
		}
	})
}

// Messages that are late, repeated, out of order and corrected change no candle in the end:
// of a venue that marks closed candles, one with binary messages, one with compressed ones,
// and two without.
func TestFeeds_AreUntidy(t *testing.T) {
	t.Parallel()
	faults := simulated.StreamFaults{Slow: 2 * time.Millisecond, Twice: true, Backwards: true, Corrected: 3}
	for _, v := range []exchange.Venue{binance.Spot, mexc.Spot, htx.Spot, Find("kucoin"), Find("hyperliquid")} {
		t.Run(v.Spec().Name, func(t *testing.T) {
			t.Parallel()
			r, c, counts, pairs, _ := follow(t, v, 8, faults, false)
			corrected := 0
			for _, p := range pairs {
				closed := map[int64]levels.Candle{}
				var newest, before int64 // open times
				for _, push := range r.pushes[p] {
					open := push.candle.OpenTime
					if old, ok := closed[open]; ok && push.closed && old != push.candle {
						corrected++
					}
					if push.closed {
						closed[open] = push.candle
					}
					if open > newest {
						newest, before = open, newest
					} else if open < newest {
						before = max(before, open)
					}
				}
				// The correction of the candle that closed last may be on its way.
				r.pushes[p] = slices.DeleteFunc(r.pushes[p], func(push push) bool { return push.candle.OpenTime >= before })
				r.compare(t, c, p, false, 2) // by the last state of each candle
			}
			if marked := r.marks(t); marked != (corrected > 0) || reconnects(counts) > 0 || len(r.refused) > 0 {
				t.Errorf("%d corrections of closed candles, marked: %t; %+v, refused %v", corrected, marked, counts, r.refused)
			}
		})
	}
}
