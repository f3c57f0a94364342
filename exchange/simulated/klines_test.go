package simulated

// What a form can ask of a page, for every kind of pair: which rows win, the order, the
// forming row, a cap of the history, and minutes without trades. And intervals that open
// elsewhere than at UTC.

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// plain is a form whose rows are only candles.
func plain(f form, got *[]candle) *form {
	f.head = func(dst []byte, _ *klinesQuery, _ int64) []byte { return dst }
	f.tail = func(dst []byte, _ *klinesQuery, _ summary, _ int64) []byte { return dst }
	f.row = func(dst []byte, _ *klinesQuery, c *candle, _ bool) []byte {
		*got = append(*got, *c)
		return dst
	}
	return &f
}

func TestPages_AreThoseOfTheWholeHistory(t *testing.T) {
	m := newMarket(1, 60, testTime)
	now := testTime.Unix()
	random := rand.New(rand.NewPCG(5, 6))
	for _, symbol := range []string{"BTCUSDT", m.pairs[24].Symbol, m.pairs[29].Symbol, "XENAUSDT", "XEMUSDT"} {
		p := m.byName[symbol]
		for _, iv := range []interval{every("1m", minute), every("1h", hour), every("1d", day).shifted(-8 * hour), monthly("1M", 1)} {
			// all candles of a stretch, without the code of pages
			from := max(p.life.from, iv.back(iv.floor(min(now, p.life.to-1)), 3000))
			whole := map[quiet][]candle{}
			w := walk{path: &p.path, iv: iv, span: span{from, min(p.life.to, now+1)}, limit: 1 << 40}
			w.holes = m.holes(nil, p, w.span)
			price, next := p.history.price(from-1), iv.floor(from)
			w.emit = func(c *candle) {
				for ; next < c.open; next = iv.next(next) {
					whole[quietFilled] = append(whole[quietFilled], candle{open: next, o: price, h: price, l: price, c: price})
				}
				whole[quietFilled] = append(whole[quietFilled], *c)
				whole[quietFlat] = append(whole[quietFlat], *c)
				if c.trades > 0 {
					whole[quietAbsent] = append(whole[quietAbsent], *c)
				}
				price, next = c.c, iv.next(c.open)
			}
			w.run()
			for range 40 {
				f := form{
					quiet: quiet(random.IntN(3)), descending: random.IntN(2) == 0, closedOnly: random.IntN(2) == 0,
					contains: random.IntN(2) == 0,
				}
				all := whole[f.quiet]
				if len(all) < 4 {
					continue
				}
				var got []candle
				first := random.IntN(len(all) - 2)
				last := first + random.IntN(len(all)-first)
				k := klinesQuery{
					form: plain(f, &got), pair: p, iv: iv, hasStart: true, limit: 1 + random.IntN(60), newest: random.IntN(2) == 0,
					start: all[first].open*1000 + int64(random.IntN(3)), end: all[last].open*1000 + 500,
				}
				var want []candle
				for i, c := range all[:last+1] {
					start := k.start
					if f.contains {
						start = iv.floor(k.start/1000) * 1000
					}
					if i >= first && c.open*1000 >= start && (!f.closedOnly || iv.next(c.open) <= now) {
						want = append(want, c)
					}
				}
				if n := len(want); n > k.limit && k.newest {
					want = want[n-k.limit:]
				} else if n > k.limit {
					want = want[:k.limit]
				}
				o := &out{kept: true}
				k.write(o, m.resolve(&k, now), testTime.UnixMilli(), nil)
				if f.descending {
					slices.Reverse(got)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%s %s %+v of %+v:\n%d rows %+v\nwant %d %+v", symbol, iv.name, f, k, len(got), opensOf(got), len(want), opensOf(want))
				}
			}
		}
	}
}

func opensOf(all []candle) (opens []int64) {
	for _, c := range all {
		opens = append(opens, c.open)
	}
	return opens
}

func TestPages_EndWithTheHistoryOfTheVenue(t *testing.T) {
	m := newMarket(1, 10, testTime)
	var got []candle
	k := klinesQuery{form: plain(form{history: 720, quiet: quietFilled}, &got), pair: m.byName["BTCUSDT"], iv: every("1m", minute), hasStart: true, limit: 5000, end: latestTime}
	o := &out{kept: true}
	p := m.resolve(&k, testTime.Unix())
	k.form.tail = func(dst []byte, _ *klinesQuery, s summary, _ int64) []byte {
		if s.rows != 721 || s.committed != testTime.Truncate(time.Minute).Unix()-60 {
			t.Errorf("%+v", s)
		}
		return dst
	}
	k.write(o, p, testTime.UnixMilli(), nil)
	if len(got) != 721 || got[720].open != testTime.Truncate(time.Minute).Unix() {
		t.Errorf("%d rows", len(got))
	}
}

func TestIntervals_OpenWhereTheVenueSays(t *testing.T) {
	at := time.Date(2026, 11, 22, 23, 10, 5, 0, time.UTC) // a Sunday; Monday 07:10 at UTC+8
	for _, c := range []struct {
		iv         interval
		open, next string
	}{
		{every("", day), "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"},
		{every("", day).shifted(-8 * hour), "2026-11-22T16:00:00Z", "2026-11-23T16:00:00Z"},
		{every("", week), "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"},
		{every("", week).shifted(-4 * day), "2026-11-19T00:00:00Z", "2026-11-26T00:00:00Z"},
		{every("", week).shifted(-8 * hour), "2026-11-22T16:00:00Z", "2026-11-29T16:00:00Z"},
		{monthly("", 1), "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{monthly("", 1).shifted(-8 * hour), "2026-10-31T16:00:00Z", "2026-11-30T16:00:00Z"},
		{monthly("", 3), "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{monthly("", 12), "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
	} {
		open := c.iv.floor(at.Unix())
		if got := time.Unix(open, 0).UTC().Format(time.RFC3339); got != c.open {
			t.Errorf("%+v opens at %s, want %s", c.iv, got, c.open)
		}
		if got := time.Unix(c.iv.next(open), 0).UTC().Format(time.RFC3339); got != c.next {
			t.Errorf("%+v opens next at %s, want %s", c.iv, got, c.next)
		}
		if c.iv.floor(c.iv.next(open)-1) != open || c.iv.back(c.iv.next(open), 1) != open || c.iv.slots(c.iv.back(open, 5), open) != 6 {
			t.Errorf("%+v does not fit itself", c.iv)
		}
	}
}
