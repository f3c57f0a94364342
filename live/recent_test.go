package live

// What becomes of the candles that are pushed: which are passed on, which show that one
// is missing, and which change nothing.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tidemark/levels"
	"tidemark/service"
)

const minute = 60_000

var discard = slog.New(slog.DiscardHandler)

var key = service.Key{Exchange: "x", Symbol: "BTCUSDT", Interval: "1m"}

// candle returns the candle that opens n minutes after a fixed time.
func candle(n int) levels.Candle {
	return levels.Candle{OpenTime: 1_700_000_040_000 + int64(n)*minute, Open: 1, High: 3, Low: 0.5, Close: 2, Volume: float64(n)}
}

func received(c levels.Candle) time.Time { return time.UnixMilli(c.OpenTime + minute + 20) }

// members returns pushed series of a minute.
func members(pairs ...string) (all []member) {
	for _, p := range pairs {
		all = append(all, member{pair: service.Pair{Name: p}, interval: "1m"})
	}
	return all
}

// newSeries returns a Recent of one live series whose queue is empty.
func newSeries(t *testing.T) *Recent {
	t.Helper()
	r := newRecent(&NewMetrics(prometheus.NewRegistry()).metrics)
	if added, gone := r.set("x", members("BTCUSDT"), 0); added != 1 || gone != 0 {
		t.Fatalf("%d series are new and %d gone", added, gone)
	}
	if s := r.next(unknown, "1m"); s == nil || r.queued() {
		t.Fatal("a new series is queued once")
	}
	r.stored(key, 0)
	return r
}

func (r *Recent) push(n int, closed bool) {
	c := candle(n)
	r.Candle(key, c, closed, received(c))
}

// queued reports whether the series is queued, and empties the queues.
func (r *Recent) queued() bool {
	s := cmp.Or(r.next(known, "1m"), r.asks())
	if s != nil {
		r.stored(s.key, s.closed())
	}
	return s != nil
}

// asks takes a series for which the exchange must be asked out of its queue.
func (r *Recent) asks() *recent {
	r.mu.Lock()
	r.fetching++
	r.mu.Unlock()
	if key, _, ok := r.nextMissing(); ok {
		r.fetching--
		return r.series[key]
	}
	return r.next(unknown, "1m")
}

func columns(n ...int) *levels.Candles { return collect("1m", candle, n) }

func collect(i levels.Interval, candle func(int) levels.Candle, numbers []int) *levels.Candles {
	c := new(levels.Candles)
	c.Reset(i, 10)
	for _, n := range numbers {
		if err := c.Append(candle(n)); err != nil {
			panic(err)
		}
	}
	return c
}

func TestRecent_PassesOnWhatIsContiguous(t *testing.T) {
	r := newSeries(t)
	r.learn(key, columns(4, 5))
	if r.queued() {
		t.Error("fetched candles are queued")
	}
	r.push(6, false)
	if r.queued() || !r.current(key, received(candle(5))) {
		t.Error("an open candle changes something")
	}
	r.push(6, true)
	if !r.queued() || !r.current(key, received(candle(6))) {
		t.Error("a closed candle is not queued")
	}
	dst := columns(4)
	if !r.append(key, candle(5).OpenTime, dst) || dst.Len() != 3 || dst.At(2) != candle(6) {
		t.Errorf("from the last kept candle on: %d candles", dst.Len())
	}
	if dst := columns(3); r.append(key, candle(4).OpenTime, dst) || dst.Len() != 1 {
		t.Error("candles older than the known ones are passed on with a hole")
	}
	if r.current(key, received(candle(7))) {
		t.Error("a candle that has closed and was not pushed is not missed")
	}
}

func TestRecent_KeepsThePriceOfTheOpenCandlePushedLast(t *testing.T) {
	r := newRecent(&NewMetrics(prometheus.NewRegistry()).metrics)
	var calls []string
	r.onPrice = func(symbol string, price float64, at time.Time) {
		r.Counts() // it may call back
		calls = append(calls, fmt.Sprint(symbol, " ", price, " ", at.UnixMilli()))
	}
	hourly := service.Key{Exchange: "x", Symbol: "BTCUSDT", Interval: "1h"}
	all := append(members("BTCUSDT", "ETHUSDT"), member{pair: service.Pair{Name: "BTCUSDT"}, interval: "1h"})
	r.set("x", all, 0)
	r.learn(key, columns(4, 5))
	push := func(of service.Key, n int, price float64, closed bool, ms int64) {
		c := candle(n)
		c.Close = price
		r.Candle(of, c, closed, time.UnixMilli(ms))
	}
	if _, at := r.Price("BTCUSDT"); !at.IsZero() {
		t.Error("there is a price before the first push")
	}
	push(key, 6, 2, false, 1000)
	push(hourly, 0, 2.5, false, 2000)
	push(key, 6, 2.5, false, 3000) // the same price, and newer
	push(key, 5, 1, false, 4000)   // of a candle that has closed
	push(key, 6, 1.5, true, 5000)  // closed: the close is stored
	push(key, 7, 3, false, 2500)   // received before the one that was noted
	push(service.Key{Exchange: "x", Symbol: "XRPUSDT", Interval: "1m"}, 6, 2, false, 6000)
	if price, at := r.Price("BTCUSDT"); price != 2.5 || at.UnixMilli() != 3000 {
		t.Errorf("the price is %v at %v", price, at)
	}
	if got := strings.Join(calls, ", "); got != "BTCUSDT 2 1000, BTCUSDT 2.5 2000" {
		t.Errorf("calls: %s", got)
	}
	r.set("x", members("BTCUSDT"), 0)
	if price, _ := r.Price("BTCUSDT"); price != 2.5 {
		t.Error("the price is lost with another interval")
	}
	if _, at := r.Price("ETHUSDT"); !at.IsZero() {
		t.Error("a pair that was never pushed has a price")
	}
	r.set("x", members("ETHUSDT"), 0)
	if _, at := r.Price("BTCUSDT"); !at.IsZero() {
		t.Error("a pair that is not live any more has a price")
	}
}

func TestRecent_IgnoresWhatComesTwiceAndLate(t *testing.T) {
	r := newSeries(t)
	r.learn(key, columns(4, 5))
	r.push(6, true)
	r.queued()
	r.push(6, true)
	r.push(5, true)
	r.push(6, false)
	if r.queued() || !r.current(key, received(candle(6))) {
		t.Error("repeated candles are queued")
	}
}

func TestRecent_AsksForWhatIsMissing(t *testing.T) {
	missing := map[string]func(r *Recent){
		"a closed candle was lost, and a later one came":   func(r *Recent) { r.push(7, true) },
		"a closed candle was lost, and its successor open": func(r *Recent) { r.push(7, false) },
		"the newest candle was corrected": func(r *Recent) {
			c := candle(5)
			c.High = 4
			r.Candle(key, c, true, received(c))
		},
		"the candle before was corrected": func(r *Recent) {
			c := candle(4)
			c.Volume++
			r.Candle(key, c, true, received(c))
			if s := r.series[key]; s.pair.Corrected != c.OpenTime {
				t.Errorf("the correction is from %d on", s.pair.Corrected)
			}
		},
		"nothing came": func(r *Recent) { r.Check(candle(7).OpenTime+6000, 5*time.Second, "silent") },
	}
	for name, lose := range missing {
		r := newSeries(t)
		r.learn(key, columns(4, 5))
		lose(r)
		if !r.queued() {
			t.Errorf("%s: not queued", name)
		}
		dst := columns(4)
		if r.append(key, candle(5).OpenTime, dst) {
			t.Errorf("%s: candles were passed on", name)
		}
	}
}

func TestRecent_AsksForTheSeriesOfABrokenConnectionOnly(t *testing.T) {
	r := newRecent(&NewMetrics(prometheus.NewRegistry()).metrics)
	r.set("x", members("A", "B"), 0)
	for s := r.next(unknown, "1m"); s != nil; s = r.next(unknown, "1m") {
		r.learn(s.key, columns(4, 5))
		r.stored(s.key, s.closed())
	}
	a := service.Key{Exchange: "x", Symbol: "A", Interval: "1m"}
	// a minute has just closed; its candle is pushed on the other connection a moment later
	r.CheckOf([]service.Key{a, {Exchange: "x", Symbol: "C", Interval: "1m"}}, candle(7).OpenTime+100, 0, "reconnect")
	if s := r.asks(); s == nil || s.key != a || r.queued() {
		t.Error("not only the series of the connection is asked for")
	}
}

func TestRecent_AsksOnceForACandleThatTheExchangeDoesNotHave(t *testing.T) {
	r := newSeries(t)
	r.learn(key, columns(4, 5))
	for range 3 {
		r.Check(candle(7).OpenTime+6000, 5*time.Second, "silent")
	}
	if !r.queued() || r.queued() {
		t.Error("it is queued not once")
	}
	r.learn(key, columns(5)) // no trade in the minute
	if r.Check(candle(7).OpenTime+7000, 5*time.Second, "silent"); r.queued() {
		t.Error("it is asked for again")
	}
	if r.Check(candle(8).OpenTime+6000, 5*time.Second, "silent"); !r.queued() {
		t.Error("the next one is not asked for")
	}
}

func TestRecent_AsksForASingleCandleWithoutASlot(t *testing.T) {
	wrong := columns(5, 6)
	wrong.Volume[0]++
	for name, c := range map[string]struct {
		fetched *levels.Candles
		pushed  bool // the candle is pushed meanwhile
		queue   int  // -1 for none
	}{
		"it is there":             {columns(5, 6), false, known},
		"it is not there yet":     {columns(5), false, -1},
		"it was pushed meanwhile": {columns(5, 6), true, unknown}, // where it was queued
		"others are missing, too": {columns(5, 7), false, known},  // which finds that they are
		"another candle before":   {wrong, false, unknown},
		"no candle":               {columns(), false, unknown},
	} {
		r := newSeries(t)
		r.learn(key, columns(4, 5))
		r.stored(key, candle(6).OpenTime)
		r.Check(candle(7).OpenTime+6000, grace, "silent")
		if n := r.fetch(3); n != 1 {
			t.Errorf("%s: %d goroutines", name, n)
		}
		of, newest, ok := r.nextMissing()
		if !ok || of != key || newest != candle(5).OpenTime {
			t.Fatalf("%s: %v since %d", name, of, newest)
		}
		if c.pushed {
			r.push(6, true)
		}
		r.fetched(key, c.fetched)
		if _, _, ok := r.nextMissing(); ok || r.fetching != 0 {
			t.Errorf("%s: %d goroutines go on", name, r.fetching)
		}
		for q := range r.queues {
			if n := len(r.queues[q].series); (n == 1) != (q == c.queue) {
				t.Errorf("%s: %d series in queue %d", name, n, q)
			}
		}
		if c.queue == known && c.fetched.At(1) == candle(6) {
			if s := r.next(known, "1m"); s == nil || !r.append(key, candle(5).OpenTime, columns(4)) {
				t.Errorf("%s: the candle is not passed on", name)
			}
		}
	}
}

func TestRecent_KeepsWhatWasPushedDuringARequest(t *testing.T) {
	r := newSeries(t)
	r.push(7, true) // before the first request ended
	r.queued()
	r.learn(key, columns(5, 6))
	dst := columns(5)
	if !r.append(key, candle(6).OpenTime, dst) || dst.Len() != 3 {
		t.Errorf("%d candles, want the pushed one after the fetched", dst.Len())
	}
	synctest.Test(t, func(t *testing.T) {
		r := newSeries(t)
		r.push(9, true)
		r.queued()
		r.learn(key, columns(5, 6)) // 7 and 8 are unknown
		if r.Check(candle(10).OpenTime+6000, grace, "silent"); r.queued() {
			t.Error("the exchange, whose responses are behind, is asked without a pause")
		}
		time.Sleep(retryAfter)
		synctest.Wait()
		if !r.queued() || r.append(key, candle(6).OpenTime, columns(5)) {
			t.Error("a hole between fetched and pushed candles is not fetched")
		}
	})
}

func TestRecent_ForgetsPairsThatAreNotLive(t *testing.T) {
	r := newSeries(t)
	r.push(3, true)
	if added, gone := r.set("x", members("ETHUSDT"), 0); added != 1 || gone != 1 {
		t.Errorf("%d series are new and %d gone", added, gone)
	}
	if s := r.next(unknown, "1m"); s == nil || s.key.Symbol != "ETHUSDT" || r.queued() {
		t.Error("a pair that is not live is still queued")
	}
	r.push(4, true)
	if r.queued() || r.current(key, received(candle(6))) {
		t.Error("a pair that is not live is followed")
	}
}

func TestKeepers_ShareThePairsAndMoveFew(t *testing.T) {
	three, two := []string{"a", "b", "c"}, []string{"a", "c"}
	counts, moved := map[string]int{}, 0
	for n := range 3000 {
		symbol := fmt.Sprintf("P%dUSDT", n)
		before, after := keeperOf(symbol, three), keeperOf(symbol, two)
		counts[before]++
		if before != "b" && before != after {
			moved++
		}
	}
	for id, n := range counts {
		if n < 900 || n > 1100 {
			t.Errorf("%s keeps %d of 3000 pairs", id, n)
		}
	}
	if moved > 0 {
		t.Errorf("%d pairs of processes that stay were moved", moved)
	}
}

// parts are a Lister, a Store, an Analyzer and a Clock.
type parts struct {
	mu      sync.Mutex
	keepers []string
	fail    int // the next so many analyses
	rate    float64
	recent  *Recent
	healed  bool     // no stored candle is wrong
	whole   []string // pairs that were fetched whole
	stored  [][]string
	trading time.Time // the exchange lists no pairs before
	halted  bool      // the exchange does not list CUSDT
	newest  *service.Snapshot
	hangs   int // so many times Put does not return before its context ends
}

func (p *parts) Pairs(context.Context, string) ([]service.Pair, error) {
	if time.Now().Before(p.trading) {
		return nil, nil
	}
	all := []service.Pair{{Name: "AUSDT"}, {Name: "BUSDT"}, {Name: "CUSDT"}}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.halted {
		return all[:2], nil
	}
	return all, nil
}
func (p *parts) KeepLive(context.Context, string) ([]string, string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.keepers) == 0 {
		return nil, "", errors.New("no answer")
	}
	return p.keepers, "me", nil
}
func (p *parts) Snapshot(context.Context, service.Key, time.Time) (service.Snapshot, error) {
	if p.newest == nil {
		return service.Snapshot{}, service.ErrNotAnalyzed
	}
	return *p.newest, nil
}
func (p *parts) LeaveLive(context.Context, string) error { p.set(nil); return nil }
func (p *parts) set(keepers []string) {
	p.mu.Lock()
	p.keepers = keepers
	p.mu.Unlock()
}
func (p *parts) took() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprint(p.stored)
}

func (p *parts) Now(context.Context) (time.Time, error) { return time.Now(), nil }
func (p *parts) Market() service.Market                 { return service.Market{Exchange: "x"} }
func (p *parts) Candles(_ context.Context, key service.Key, _ int64, dst *levels.Candles, _ []byte) (service.Kept, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	series(dst, 0, key.Symbol == "BUSDT" && !p.healed)
	return service.Kept{}, nil
}

// series appends the last closed candles, of which one may be wrong.
func series(dst *levels.Candles, from int64, wrong bool) {
	step := dst.Interval.Milliseconds()
	for n := int64(60); n > 0; n-- {
		c := levels.Candle{OpenTime: dst.Interval.Floor(time.Now().UnixMilli()) - n*step, Open: 1, High: 1, Low: 1, Close: 1}
		if wrong && n == 30 {
			c.Volume = 1
		}
		if c.OpenTime >= from {
			dst.Append(c)
		}
	}
}

// venue is an exchange: its candles are right.
type venue struct{ *parts }

func (v venue) Candles(_ context.Context, _ string, from int64, dst *levels.Candles, _ []byte) error {
	series(dst, from, false)
	return nil
}

func (p *parts) Requests(levels.Interval, int) (int, float64) {
	return 1, cmp.Or(p.rate, 1000)
}
func (p *parts) Begin() (func(), error) { return func() {}, nil }
func (p *parts) Put(ctx context.Context, r service.Results) error {
	p.mu.Lock()
	p.hangs--
	hangs := p.hangs >= 0
	p.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	var names []string
	for _, s := range r.Snapshots {
		names = append(names, s.Symbol)
	}
	slices.Sort(names)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stored = append(p.stored, names)
	return nil
}
func (p *parts) AnalyzeEach(_ context.Context, pairs iter.Seq[service.Pair], r service.Request, done func(service.Pair, service.Analysis, error)) error {
	for pair := range pairs {
		p.mu.Lock()
		fails := p.fail > 0
		p.fail--
		if pair.Whole {
			p.whole, p.healed = append(p.whole, pair.Name), true
		}
		p.mu.Unlock()
		if fails {
			done(pair, service.Analysis{}, errors.New("no answer"))
			continue
		}
		key := service.Key{Exchange: "x", Symbol: pair.Name, Interval: r.Interval}
		step := r.Interval.Milliseconds()
		var c levels.Candles
		c.Reset(r.Interval, 1)
		c.Append(levels.Candle{OpenTime: r.Interval.Floor(time.Now().UnixMilli()) - step, Open: 1, High: 1, Low: 1, Close: 1})
		p.recent.learn(key, &c)
		done(pair, service.Analysis{Snapshot: service.Snapshot{Key: key, AsOf: time.UnixMilli(c.AsOf())}}, nil)
	}
	return nil
}

func TestKeeper_StoresPairsTogetherAndTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{keepers: []string{"me"}, fail: 1}
		_, recent := Wrap(nil, NewMetrics(prometheus.NewRegistry()))
		p.recent = recent
		k := NewKeeper(Config{Exchange: "x", Intervals: []levels.Interval{"1h"}, KlineLimit: 100, BatchSize: 50}, recent, nil, venue{p}, p, p, p, discard)
		ctx, stop := context.WithCancel(t.Context())
		go k.Run(ctx)
		time.Sleep(time.Second)
		if got := p.took(); got != "[[AUSDT CUSDT]]" && got != "[[AUSDT BUSDT]]" && got != "[[BUSDT CUSDT]]" {
			t.Errorf("stored at the start: %s", got)
		}
		time.Sleep(retryAfter)
		if got := p.took(); strings.Count(got, "USDT") != 3 {
			t.Errorf("stored after the failure: %s", got)
		}
		// without a feed the exchange is asked shortly after the next close
		before := p.took()
		time.Sleep(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour + pollGrace - time.Second)))
		if got := p.took(); got != before {
			t.Errorf("stored before the close: %s", got)
		}
		time.Sleep(3 * time.Second)
		if got := p.took(); got != strings.TrimSuffix(before, "]")+" [AUSDT BUSDT CUSDT]]" {
			t.Errorf("stored after the close: %s", got)
		}
		stop()
		synctest.Wait()
		if ids, _, _ := p.KeepLive(ctx, "x"); ids != nil {
			t.Error("it does not say that it leaves")
		}
	})
}

func TestKeeper_TakesPairsOnlyAfterTheOthersHaveLeftThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{keepers: []string{"me", "other"}}
		_, recent := Wrap(nil, NewMetrics(prometheus.NewRegistry()))
		p.recent = recent
		k := NewKeeper(Config{Exchange: "x", Intervals: []levels.Interval{"1h"}, KlineLimit: 100, BatchSize: 50}, recent, nil, venue{p}, p, p, p, discard)
		ctx, stop := context.WithCancel(t.Context())
		go k.Run(ctx)
		time.Sleep(joining - time.Second)
		if n, _, _, _ := recent.Counts(); n > 0 {
			t.Errorf("%d series are kept while others may keep them", n)
		}
		time.Sleep(2*shareEvery + time.Second)
		shared, _, _, _ := recent.Counts()
		p.set([]string{"me"})
		time.Sleep(shareEvery)
		if n, _, _, _ := recent.Counts(); n != 3 || shared >= 3 {
			t.Errorf("%d of 3 series are kept with another process, %d after it has gone", shared, n)
		}
		for _, step := range []struct {
			keepers []string
			pause   time.Duration
		}{
			{[]string{"me", "other"}, shareEvery},
			{nil, 20 * time.Second}, // the database does not answer
			{[]string{"me"}, shareEvery + time.Second},
		} {
			p.set(step.keepers)
			time.Sleep(step.pause)
		}
		if n, _, _, _ := recent.Counts(); n != shared {
			t.Errorf("%d series are kept, %d with another process that has not been able to say so", n, shared)
		}
		time.Sleep(joining + shareEvery)
		if n, _, _, _ := recent.Counts(); n != 3 {
			t.Errorf("%d series are kept after it has gone", n)
		}
		stop()
		synctest.Wait()
	})
}

func TestKeeper_KeepsAHaltedPairUntilTheNextList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{keepers: []string{"me"}}
		_, recent := Wrap(nil, NewMetrics(prometheus.NewRegistry()))
		p.recent = recent
		k := NewKeeper(Config{Exchange: "x", Intervals: []levels.Interval{"1h"}, KlineLimit: 100, BatchSize: 50}, recent, nil, venue{p}, p, p, p, discard)
		ctx, stop := context.WithCancel(t.Context())
		go k.Run(ctx)
		counts := ""
		for n := range 6 {
			time.Sleep(listEvery + 2*shareEvery)
			series, _, _, _ := recent.Counts()
			counts += fmt.Sprint(series)
			p.mu.Lock()
			p.halted = n == 0 || n >= 2
			p.mu.Unlock()
		}
		if counts != "333322" {
			t.Errorf("series after each list: %s", counts)
		}
		stop()
		synctest.Wait()
	})
}

func TestKeeper_CountsWhatAnotherProcessHasStoredAsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{keepers: []string{"me", "other"}}
		_, recent := Wrap(nil, NewMetrics(prometheus.NewRegistry()))
		p.recent = recent
		k := NewKeeper(Config{Exchange: "x", Intervals: []levels.Interval{"1h"}, KlineLimit: 100, BatchSize: 50}, recent, nil, venue{p}, p, p, p, discard)
		ctx, stop := context.WithCancel(t.Context())
		go k.Run(ctx)
		time.Sleep(joining + 2*shareEvery)
		closed := time.Now().Truncate(time.Hour)
		good := service.Snapshot{AsOf: closed, Klines: 100, Algorithm: levels.Algorithm}
		old, short, former := good, good, good
		old.AsOf, short.Klines, former.Algorithm = closed.Add(-time.Hour), 99, "3"
		mine, theirs := 0, 0
		for _, pair := range []string{"AUSDT", "BUSDT", "CUSDT"} {
			key := service.Key{Exchange: "x", Symbol: pair, Interval: "1h"}
			if keeperOf(pair, p.keepers) == "me" {
				if mine++; !k.Fresh(ctx, "x", 100)(key) {
					t.Errorf("%s is not fresh", pair)
				}
				continue
			}
			theirs++
			for n, s := range []*service.Snapshot{nil, &good, &old, &short, &former} {
				p.newest = s
				if got := k.Fresh(ctx, "x", 100)(key); got != (n == 1) {
					t.Errorf("%s is fresh: %t, with %+v", pair, got, s)
				}
			}
			p.newest = &good
			other := service.Key{Exchange: "x", Symbol: pair, Interval: "4h"}
			if k.Fresh(ctx, "x", 200)(key) || k.Fresh(ctx, "x", 100)(other) {
				t.Errorf("%s is fresh of other candles", pair)
			}
		}
		if mine == 0 || theirs == 0 {
			t.Fatal("a process has no pair")
		}
		stop()
		synctest.Wait()
	})
}

func TestKeeper_DoesNotWaitForADatabaseThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{keepers: []string{"me"}, hangs: 1}
		_, recent := Wrap(nil, NewMetrics(prometheus.NewRegistry()))
		p.recent = recent
		k := NewKeeper(Config{Exchange: "x", Intervals: []levels.Interval{"1h"}, KlineLimit: 100, BatchSize: 50}, recent, nil, venue{p}, p, p, p, discard)
		ctx, stop := context.WithCancel(t.Context())
		go k.Run(ctx)
		time.Sleep(putTimeout + retryAfter + time.Second)
		if got := p.took(); got != "[[AUSDT BUSDT CUSDT]]" {
			t.Errorf("stored after the database answered again: %s", got)
		}
		stop()
		synctest.Wait()
	})
}

func TestKeeper_LooksSoonForPairsOfAHaltedExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{keepers: []string{"me"}, trading: time.Now().Add(5 * time.Minute)}
		_, recent := Wrap(nil, NewMetrics(prometheus.NewRegistry()))
		p.recent = recent
		var log strings.Builder
		k := NewKeeper(Config{Exchange: "x", Intervals: []levels.Interval{"1h"}, KlineLimit: 100, BatchSize: 50}, recent, nil, venue{p}, p, p, p, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, stop := context.WithCancel(t.Context())
		go k.Run(ctx)
		time.Sleep(7 * time.Minute)
		synctest.Wait()
		if n, _, _, _ := recent.Counts(); n != 3 || strings.Count(log.String(), "no pairs") != 1 {
			t.Errorf("%d series are kept; the log has %s", n, log.String())
		}
		stop()
		synctest.Wait()
	})
}

func TestKeeper_KeepsTheMostTradedPairsWithinTheLimits(t *testing.T) {
	var pairs []service.Pair
	for n := range 200 {
		pairs = append(pairs, service.Pair{Name: fmt.Sprintf("P%dUSDT", n)})
	}
	for name, c := range map[string]struct {
		feed                   Feed
		rate                   float64
		memory                 int
		pushed, polled, merged int
	}{
		"no feed, a high limit":       {nil, 1000, 0, 0, 200, 200},
		"no feed, 1 request a second": {nil, 1, 0, 0, 30, 30}, // 30/60 = 0.5; nothing is left for 1h alone
		"one interval pushed":         {fakeFeed{most: 500}, 0, 0, 200, 0, 200},
		"fewer connections":           {fakeFeed{most: 150}, 1, 0, 150, 30, 180},
		"little memory":               {nil, 1000, 100 * seriesBytes, 0, 50, 50},
		"closed candles not marked":   {fakeFeed{most: 500, unmarked: true}, 1, 0, 30, 0, 30}, // each is asked for
	} {
		p := &parts{rate: cmp.Or(c.rate, 1e-9)}
		k := NewKeeper(Config{Exchange: "x", Intervals: []levels.Interval{"1m", "1h"}, KlineLimit: 100, Memory: c.memory}, newRecent(&NewMetrics(prometheus.NewRegistry()).metrics), c.feed, venue{p}, p, p, p, discard)
		got := k.plan(pairs)
		pushed, polled, merged := 0, 0, 0
		for n, m := range got.members {
			switch {
			case m.from != "":
				merged++
			case m.polled:
				polled++
			default:
				pushed++
			}
			if n > 0 && slices.IndexFunc(pairs, func(p service.Pair) bool { return p.Name == m.pair.Name }) > n {
				t.Errorf("%s: series %d is of %s, which is less traded than others", name, n, m.pair.Name)
			}
		}
		if pushed != c.pushed || polled != c.polled || merged != c.merged || got.unkept != 400-pushed-polled-merged || got.share > pollShare {
			t.Errorf("%s: %d series are pushed, %d polled, %d merged, %d not kept, %.2f of the limit", name, pushed, polled, merged, got.unkept, got.share)
		}
	}
}

// fakeFeed pushes candles of a minute.
type fakeFeed struct {
	most     int
	unmarked bool
}

func (fakeFeed) Has(i levels.Interval) bool     { return i == "1m" }
func (f fakeFeed) Marks() bool                  { return !f.unmarked }
func (fakeFeed) Want([]service.Key)             {}
func (f fakeFeed) Connections(n int) (int, int) { return (n + 99) / 100, f.most }
func (fakeFeed) Run(ctx context.Context)        { <-ctx.Done() }

func TestKeeper_SpreadsPollsOverTheLimitAndAsksTwiceForALateCandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecent(&NewMetrics(prometheus.NewRegistry()).metrics)
		var all []member
		for n := range 20 {
			all = append(all, member{pair: service.Pair{Name: fmt.Sprintf("P%02d", n)}, interval: "1m", polled: true})
		}
		start := candle(1).OpenTime
		r.set("x", all, start)
		for s := r.asks(); s != nil; s = r.asks() {
			r.learn(s.key, columns(0))
			r.stored(s.key, start)
		}
		closes := start + minute
		if n := r.Poll(closes+1000, pollGrace, 20); n > 0 {
			t.Errorf("%d series are polled before the candle is there", n)
		}
		if n := r.Poll(closes+2000, pollGrace, 5); n != 5 || r.asks().key.Symbol != "P00" {
			t.Errorf("%d series are polled, want the first 5", n)
		}
		if n := r.Poll(closes+3000, pollGrace, 30); n != 15 {
			t.Errorf("%d series are polled, want the other 15", n)
		}
		// the exchange does not have the candle of the first pair yet
		first := service.Key{Exchange: "x", Symbol: "P00", Interval: "1m"}
		r.learn(first, columns(0))
		r.stored(first, start)
		for n, at := range []int64{5000, 16_000, 40_000} {
			if got := r.Poll(closes+at, pollGrace, 30); got != []int{0, 1, 0}[n] {
				t.Errorf("%d ms after the close %d series are polled", at, got)
			}
			if s := r.asks(); n == 1 {
				for s != nil && s.key != first {
					s = r.asks()
				}
				r.learn(first, columns(0))
				r.stored(first, start)
			}
		}
	})
}

func TestRecent_PollsWhatIsRefused(t *testing.T) {
	r := newRecent(&NewMetrics(prometheus.NewRegistry()).metrics)
	r.Refused(service.Key{Exchange: "x", Symbol: "A", Interval: "1m"}) // before the series are set
	r.set("x", members("A", "B", "C"), 0)
	r.Refused(service.Key{Exchange: "x", Symbol: "B", Interval: "1m"})
	if _, polled, _, _ := r.Counts(); polled != 2 {
		t.Errorf("%d series are polled, want the two refused ones", polled)
	}
	r.retry() // with the next list
	if first := r.Refused(service.Key{Exchange: "x", Symbol: "B", Interval: "1m"}); first {
		t.Error("a second refusal counts as the first")
	}
	r.set("x", members("A", "B", "C"), 0)
	r.Refused(service.Key{Exchange: "x", Symbol: "B", Interval: "1m"})
	if _, polled, _, _ := r.Counts(); polled != 1 {
		t.Errorf("%d series are polled, want the one that was refused again", polled)
	}
}

func TestRecent_CountsHolesOnlyWhereClosedCandlesAreMarked(t *testing.T) {
	for _, marked := range []bool{true, false} {
		r := newSeries(t)
		r.marked = marked
		r.learn(key, columns(4, 5))
		r.push(7, false)
		if !r.queued() {
			t.Error("the exchange is not asked")
		}
		r.learn(key, columns(5, 6))
		r.Check(candle(8).OpenTime+6000, grace, "silent")
		r.queued()
		r.learn(key, columns(6, 7))
		r.CheckOf([]service.Key{key}, candle(9).OpenTime+100, 0, "reconnect")
		counts := ""
		for _, reason := range []string{"frame", "silent", "reconnect"} {
			counts += fmt.Sprint(testutil.ToFloat64(r.metrics.holes.WithLabelValues("x", reason)))
		}
		if want := map[bool]string{true: "111", false: "001"}[marked]; counts != want {
			t.Errorf("marked %t: holes by frame, silence and reconnect are %s, want %s", marked, counts, want)
		}
	}
}

func TestRecent_KnowsWhatIsAnalysed(t *testing.T) {
	r := newSeries(t)
	r.learn(key, columns(4, 5))
	at := time.UnixMilli(candle(6).OpenTime)
	if r.fresh(key, at) {
		t.Error("fetched candles count as analysed")
	}
	if r.Check(at.UnixMilli()+6000, grace, "silent"); !r.queued() {
		t.Error("candles that were fetched for a request are never analysed")
	}
	if r.Check(at.UnixMilli()+7000, grace, "silent"); r.queued() || !r.fresh(key, at.Add(7*time.Second)) {
		t.Error("analysed candles are analysed again")
	}
	if r.fresh(key, at.Add(time.Minute)) {
		t.Error("the analysis is fresh after the next close")
	}
	r.push(6, true)
	r.next(known, "1m")
	if r.skip(key); r.fresh(key, at.Add(time.Minute)) {
		t.Error("candles that cannot be analysed count as analysed")
	}
	if r.Check(at.UnixMilli()+minute+6000, grace, "silent"); r.queued() {
		t.Error("candles that cannot be analysed are tried again")
	}
}

func TestRecent_FetchesWholeWhatWasDistrustedDuringAnAnalysis(t *testing.T) {
	r := newSeries(t)
	r.learn(key, columns(4, 5))
	r.push(6, true)
	r.next(known, "1m") // its analysis begins
	r.distrust(key)
	r.stored(key, candle(7).OpenTime)
	if s := r.next(unknown, "1m"); s == nil || !s.pair.Whole {
		t.Error("the pair is not fetched whole")
	}
}

func TestKeeper_AuditsSomeSeriesInTurnAndHealsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{keepers: []string{"me"}}
		_, recent := Wrap(nil, NewMetrics(prometheus.NewRegistry()))
		p.recent = recent
		k := NewKeeper(Config{Exchange: "x", Intervals: []levels.Interval{"1h"}, KlineLimit: 100, BatchSize: 50}, recent, nil, venue{p}, p, p, p, discard)
		ctx, stop := context.WithCancel(t.Context())
		go k.Run(ctx)
		time.Sleep(auditEvery + time.Minute)
		synctest.Wait()
		audits, differences := k.Audits()
		if audits != 3 || differences != 1 || !slices.Equal(p.whole, []string{"BUSDT"}) {
			t.Errorf("%d series were compared, %d candles differed, %v were fetched whole", audits, differences, p.whole)
		}
		time.Sleep(auditEvery)
		synctest.Wait()
		if audits, differences = k.Audits(); audits != 6 || differences != 1 || len(p.whole) != 1 {
			t.Errorf("later %d series were compared, %d candles differed, %v were fetched whole", audits, differences, p.whole)
		}
		stop()
		synctest.Wait()
	})
	r := newRecent(&NewMetrics(prometheus.NewRegistry()).metrics)
	r.set("x", members("A", "B", "C"), 0)
	some := fmt.Sprint(r.someSeries(2), r.someSeries(2), r.someSeries(5))
	if strings.Count(some, "{") != 7 || strings.Count(some, " A ") != 3 {
		t.Errorf("the series in turn are %s", some)
	}
}
