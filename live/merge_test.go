package live

// What becomes of candles that are merged from those of a shorter interval: when they are
// merged, when the exchange is asked for them, and that both are equal to the last digit.

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
	"tidemark/service"
)

var longer = service.Key{Exchange: "x", Symbol: "BTCUSDT", Interval: "5m"}

// five returns the candle of five minutes that opens n times five minutes after candle(1).
func five(n int) levels.Candle {
	c := levels.Candle{OpenTime: candle(1 + 5*n).OpenTime, Open: 1, High: 3, Low: 0.5, Close: 2}
	for k := range 5 {
		c.Volume += float64(1 + 5*n + k)
	}
	return c
}

func fives(n ...int) *levels.Candles { return collect("5m", five, n) }

// newPair returns a Recent of a pair whose candles of a minute are known from number 1 to
// 5*known, and those of five minutes as far; nothing is queued.
func newPair(t *testing.T, sums bool, known int) *Recent {
	t.Helper()
	r := newRecent(&NewMetrics(prometheus.NewRegistry()).metrics)
	r.sums = sums
	r.set("x", append(members("BTCUSDT"), member{pair: service.Pair{Name: "BTCUSDT"}, interval: "5m", from: "1m"}), 0)
	r.settle(t, longer, fives(rangeOf(0, known)...))
	r.settle(t, key, columns(rangeOf(1, 1+5*known)...))
	if n := r.waits(); n > 0 {
		t.Fatalf("%d series are queued at the start", n)
	}
	return r
}

func rangeOf(from, to int) (all []int) {
	for n := from; n < to; n++ {
		all = append(all, n)
	}
	return all
}

// settle takes a queued series out of its queue, fetches c for it and stores its analysis.
func (r *Recent) settle(t *testing.T, of service.Key, c *levels.Candles) {
	t.Helper()
	if !r.take(of) {
		t.Fatalf("%s is not queued", of.Interval)
	}
	r.learn(of, c)
	r.stored(of, c.AsOf())
}

// take takes a series out of its queue, if it is in one.
func (r *Recent) take(of service.Key) bool {
	s := r.series[of]
	queued := s.queued
	for i := range r.queues {
		q := &r.queues[i]
		for k, other := range q.series {
			if other == s {
				q.series = append(q.series[:k:k], q.series[k+1:]...)
				break
			}
		}
	}
	s.queued = false
	return queued
}

func (r *Recent) waits() int {
	_, _, _, n := r.Counts()
	return n
}

func (r *Recent) pushAll(n ...int) {
	for _, k := range n {
		r.push(k, true)
	}
}

func (r *Recent) place(of service.Key) int {
	for i := range r.queues {
		for _, s := range r.queues[i].series {
			if s.key == of {
				return i
			}
		}
	}
	return -1
}

// polls returns how many series are asked for a while after the close of five(n).
func (r *Recent) polls(n int, after time.Duration) int {
	return r.Poll(five(n+1).OpenTime+after.Milliseconds(), pollGrace, 10)
}

func TestMerge_AddsDecimals(t *testing.T) {
	for name, c := range map[string]struct {
		volumes []float64
		want    float64 // -1: not known to the last digit
	}{
		"thirds":              {[]float64{0.1, 0.2, 0, 0, 0}, 0.3},
		"more and more":       {[]float64{1, 0.1, 0.01, 0.001, 0.00000001}, 1.11100001},
		"fewer and fewer":     {[]float64{0.00000001, 0.001, 0.01, 0.1, 1}, 1.11100001},
		"whole numbers":       {[]float64{31415926535, 8979323846, 2643383279, 50288419, 7}, 43088922086},
		"nothing":             {[]float64{0, 0, 0, 0, 0}, 0},
		"too many digits":     {[]float64{123456789.123456789, 1, 1, 1, 1}, -1},
		"a sum that is long":  {[]float64{9e14 - 1, 9e14 - 1, 1, 1, 1}, -1},
		"long beside short":   {[]float64{3e13, 0.001, 1, 1, 1}, -1},
		"no decimal fraction": {[]float64{1.0 / 3, 1, 1, 1, 1}, -1},
	} {
		var m merge
		whole := false
		for n, v := range c.volumes {
			part := candle(1 + n)
			part.Volume = v
			whole = m.add(part, minute, "5m")
		}
		if whole != (c.want >= 0) || whole && m.whole.Volume != c.want {
			t.Errorf("%s: whole is %v, the volume %v, want %v", name, whole, m.whole.Volume, c.want)
		}
	}
}

func TestMerge_NeedsAllParts(t *testing.T) {
	for name, c := range map[string]struct {
		parts []int
		whole int // how many candles
	}{
		"all":               {rangeOf(1, 11), 2},
		"one twice":         {[]int{1, 2, 2, 3, 4, 5}, 1},
		"an older one":      {[]int{1, 2, 3, 2, 4, 5}, 1},
		"one is missing":    {[]int{1, 2, 4, 5, 6, 7, 8, 9, 10}, 1},
		"begun in between":  {[]int{3, 4, 5, 6, 7, 8, 9, 10}, 1},
		"the last is lost":  {[]int{1, 2, 3, 4, 6, 7, 8, 9, 10}, 1},
		"only the last two": {[]int{4, 5}, 0},
	} {
		var m merge
		n := 0
		for _, k := range c.parts {
			if m.add(candle(k), minute, "5m") {
				if n++; m.whole != five((k-1)/5) {
					t.Errorf("%s: %+v, want %+v", name, m.whole, five((k-1)/5))
				}
			}
		}
		if n != c.whole {
			t.Errorf("%s: %d candles, want %d", name, n, c.whole)
		}
	}
}

func TestRecent_MergesPushedCandles(t *testing.T) {
	r := newPair(t, true, 2)
	r.pushAll(11, 12, 13, 14)
	if r.take(longer) {
		t.Fatal("a candle is queued before its last part")
	}
	r.pushAll(15)
	if r.place(longer) != known {
		t.Fatalf("the merged candle is in queue %d", r.place(longer))
	}
	dst := fives(0)
	if !r.append(longer, five(1).OpenTime, dst) || dst.Len() != 3 || dst.At(2) != five(2) {
		t.Errorf("%d candles are passed on", dst.Len())
	}
}

func TestRecent_AsksForLongerCandlesUntilMergedOnesAreEqual(t *testing.T) {
	r := newPair(t, false, 2)
	for n := 2; n < 2+proven; n++ {
		r.pushAll(rangeOf(1+5*n, 6+5*n)...)
		if r.polls(n, pollGrace-1) > 0 || r.polls(n, pollGrace) != 1 || r.place(longer) != missing {
			t.Fatalf("candle %d, which is not proven, is in queue %d", n, r.place(longer))
		}
		r.take(longer)
		r.fetched(longer, fives(n-1, n))
		r.take(longer)
		r.stored(longer, five(n+1).OpenTime)
	}
	r.pushAll(21, 22, 23, 24, 25)
	if _, _, merged, _ := r.Counts(); r.place(longer) != known || merged != 1 {
		t.Errorf("after %d equal candles the next is in queue %d, %d series are merged", proven, r.place(longer), merged)
	}
}

func TestRecent_AsksForLongerCandlesThatDiffer(t *testing.T) {
	r := newPair(t, false, 2)
	other := fives(1, 2)
	other.Volume[1]++ // the exchange has another volume
	r.pushAll(rangeOf(11, 16)...)
	r.polls(2, pollGrace)
	r.take(longer)
	r.fetched(longer, other)
	r.take(longer)
	r.stored(longer, five(3).OpenTime)
	for n := 3; n < 6; n++ {
		r.pushAll(rangeOf(1+5*n, 6+5*n)...)
		if r.polls(n, pollGrace); r.place(longer) != missing {
			t.Errorf("candle %d is in queue %d", n, r.place(longer))
		}
		r.take(longer)
		r.fetched(longer, fives(n-1, n))
		r.learn(longer, fives(n-1, n))
		r.take(longer)
		r.stored(longer, five(n+1).OpenTime)
	}
	if _, polled, merged, _ := r.Counts(); polled != 1 || merged != 0 {
		t.Errorf("%d series are polled and %d merged", polled, merged)
	}
}

func TestRecent_MergesWhatWasFetchedAfterAHole(t *testing.T) {
	r := newPair(t, true, 2)
	r.pushAll(11, 12)
	r.take(key)
	r.pushAll(15) // 13 and 14 were lost
	if r.place(key) != unknown || r.place(longer) != -1 {
		t.Fatalf("the series are in queues %d and %d", r.place(key), r.place(longer))
	}
	r.settle(t, key, columns(rangeOf(5, 16)...))
	if r.place(longer) != known || *r.series[longer].newest() != five(2) {
		t.Errorf("the longer series is in queue %d", r.place(longer))
	}
	if r.pushAll(16, 17, 18, 19, 20); *r.series[longer].newest() != five(3) {
		t.Error("the next candle is not merged")
	}
}

func TestRecent_AsksForALongerCandleWhosePartsDoNotExist(t *testing.T) {
	r := newPair(t, true, 2)
	r.pushAll(11, 12)
	r.take(key)
	r.learn(key, columns(11, 12)) // no trades in 13
	r.pushAll(14)
	r.take(key)
	r.learn(key, columns(14)) // none in 13
	r.pushAll(15)
	if r.polls(2, pollGrace); r.place(longer) != missing {
		t.Errorf("the longer series is in queue %d", r.place(longer))
	}
	r.take(longer)
	r.fetched(longer, fives(1)) // the exchange does not have it yet
	if r.polls(2, askAgain-time.Millisecond) > 0 || r.place(longer) != -1 {
		t.Error("it is asked for again too soon")
	}
	if r.polls(2, askAgain); r.place(longer) != missing {
		t.Error("it is not asked for a second time")
	}
}

func TestRecent_CorrectsLongerCandlesWithTheirParts(t *testing.T) {
	r := newPair(t, true, 2)
	c := candle(10) // the last part of the newest longer candle
	c.High = 4
	r.Candle(key, c, true, received(c))
	if s := r.series[longer]; r.place(longer) != unknown || s.pair.Corrected != five(1).OpenTime {
		t.Errorf("the longer series is in queue %d, corrected from %d on", r.place(longer), s.pair.Corrected)
	}

	r = newPair(t, true, 2)
	r.pushAll(11)
	r.take(key)
	c = candle(11) // of a longer candle that is not complete
	c.High = 4
	r.Candle(key, c, true, received(c))
	if r.place(longer) != -1 || r.place(key) != unknown {
		t.Errorf("the series are in queues %d and %d", r.place(key), r.place(longer))
	}
	corrected := columns(rangeOf(1, 12)...)
	corrected.High[10] = 4
	r.settle(t, key, corrected)
	r.pushAll(12, 13, 14, 15)
	want := five(2)
	want.High = 4
	if got := *r.series[longer].newest(); got != want {
		t.Errorf("merged %+v, want %+v", got, want)
	}
}

func TestRecent_MergesAcrossTwoIntervals(t *testing.T) {
	r := newRecent(&NewMetrics(prometheus.NewRegistry()).metrics)
	r.sums = true
	pair := service.Pair{Name: "BTCUSDT"}
	r.set("x", append(members("BTCUSDT"), member{pair: pair, interval: "5m", from: "1m"}, member{pair: pair, interval: "15m", from: "5m"}), 0)
	quarter := service.Key{Exchange: "x", Symbol: "BTCUSDT", Interval: "15m"}
	first := levels.Interval("15m").Floor(candle(15).OpenTime)
	n := int((first-candle(0).OpenTime)/minute) + 15 // of the first minute of the second quarter of an hour
	known := new(levels.Candles)
	known.Reset("15m", 4)
	if err := known.Append(levels.Candle{OpenTime: first, Open: 1, High: 3, Low: 0.5, Close: 2, Volume: 1}); err != nil {
		t.Fatal(err)
	}
	r.settle(t, quarter, known)
	r.settle(t, longer, fives(rangeOf((n-1)/5-3, (n-1)/5)...))
	r.settle(t, key, columns(rangeOf(n-10, n)...))
	r.pushAll(rangeOf(n, n+15)...)
	got := *r.series[quarter].newest()
	want := levels.Candle{OpenTime: candle(n).OpenTime, Open: 1, High: 3, Low: 0.5, Close: 2}
	for k := range 15 {
		want.Volume += float64(n + k)
	}
	if got != want {
		t.Errorf("merged %+v, want %+v", got, want)
	}
	if at := time.UnixMilli(got.OpenTime).UTC().Minute(); at%15 != 0 {
		t.Errorf("it opens at minute %d", at)
	}
}

func TestRecent_AsksForALongerCandleThatEndsWithoutAPart(t *testing.T) {
	r := newPair(t, true, 2)
	r.pushAll(11, 12, 13, 14)
	r.settle(t, key, columns(14))
	r.Check(candle(16).OpenTime+grace.Milliseconds(), grace, "silent") // no trades in 15
	if r.place(key) != missing || r.place(longer) != -1 {
		t.Fatalf("the series are in queues %d and %d", r.place(key), r.place(longer))
	}
	r.take(key)
	if r.fetched(key, columns(14)); r.polls(2, grace) != 1 || r.place(longer) != missing {
		t.Errorf("the longer series is in queue %d", r.place(longer))
	}
}

func TestMerge_OpensWithTheFirstTrade(t *testing.T) {
	quiet := levels.Candle{Open: 2.5, High: 2.5, Low: 2.5, Close: 2.5}
	for name, c := range map[string]struct {
		sums  bool
		quiet []int // parts without trades, at the price of the trade before
		want  bool
	}{
		"known":            {true, []int{1, 2}, true},
		"not known":        {false, []int{1, 2}, false},
		"between trades":   {false, []int{2, 3}, true},
		"nothing to trade": {false, []int{1, 2, 3, 4, 5}, true},
	} {
		m, whole := merge{sums: c.sums}, false
		var want levels.Candle
		for n := 1; n <= 5; n++ {
			part := candle(n)
			part.High, part.Low, part.Open = 2, 1, 1 // all trades are below the price before them
			if slices.Contains(c.quiet, n) {
				open := part.OpenTime
				part = quiet
				if n > 1 && !slices.Contains(c.quiet, 1) {
					part.Open, part.High, part.Low, part.Close = 2, 2, 2, 2
				}
				part.OpenTime = open
			} else if want.Volume == 0 {
				want = part
			} else {
				want.Volume += part.Volume
			}
			whole = m.add(part, minute, "5m")
		}
		if want.Volume == 0 {
			want = quiet
		}
		want.OpenTime = candle(1).OpenTime
		if whole != c.want || whole && m.whole != want {
			t.Errorf("%s: whole is %v, merged %+v, want %+v", name, whole, m.whole, want)
		}
	}
}

func TestMerge_IsNotProvenByCandlesWithoutTrades(t *testing.T) {
	var m merge
	for n := range 5 {
		quiet := levels.Candle{OpenTime: five(n).OpenTime, Open: 1, High: 1, Low: 1, Close: 1}
		m.whole = quiet
		c := new(levels.Candles)
		c.Reset("5m", 1)
		if err := c.Append(quiet); err != nil {
			t.Fatal(err)
		}
		m.prove(c)
	}
	if m.equal > 0 || m.differs {
		t.Errorf("%d are equal, one differs is %v", m.equal, m.differs)
	}
}

func TestRecent_MergesStillAfterACorrection(t *testing.T) {
	r := newPair(t, true, 2)
	r.pushAll(rangeOf(11, 16)...)
	r.take(longer)
	r.stored(longer, five(3).OpenTime)
	c := candle(15)
	c.Volume++
	r.Candle(key, c, true, received(c))
	corrected := fives(1, 2)
	corrected.Volume[1]++
	r.settle(t, longer, corrected)
	if _, polled, merged, _ := r.Counts(); polled != 0 || merged != 1 {
		t.Errorf("%d series are polled and %d merged", polled, merged)
	}
}

func TestRecent_CorrectsLongerCandlesByFetchedParts(t *testing.T) {
	for name, notice := range map[string]func(*Recent, *levels.Candles){
		"with others":            func(r *Recent, c *levels.Candles) { r.learn(key, c) },
		"with the newest candle": func(r *Recent, c *levels.Candles) { c.KeepLast(1); r.fetched(key, c) },
	} {
		r := newPair(t, true, 2)
		r.pushAll(rangeOf(11, 16)...)
		for _, k := range []service.Key{key, longer} {
			r.take(k)
			r.stored(k, five(3).OpenTime)
		}
		c := columns(rangeOf(6, 16)...)
		c.Volume[9]++ // late trades in the last part
		notice(r, c)
		if s := r.series[longer]; r.place(longer) != unknown || s.pair.Corrected != five(2).OpenTime {
			t.Errorf("%s: the longer series is in queue %d, corrected from %d on", name, r.place(longer), s.pair.Corrected)
		}
	}
}

func TestRecent_DistrustsWhatWasMergedFromDifferentCandles(t *testing.T) {
	r := newPair(t, true, 2)
	if r.distrust(key); r.place(longer) != unknown || !r.series[longer].pair.Whole {
		t.Errorf("the longer series is in queue %d", r.place(longer))
	}
}

func TestRecent_DoesNotPollARefusedSeriesThatIsMerged(t *testing.T) {
	r := newPair(t, true, 2)
	r.Refused(longer) // by a connection that has not left it out yet
	if n := r.polls(2, grace); n > 0 {
		t.Errorf("%d series are asked for", n)
	}
}
