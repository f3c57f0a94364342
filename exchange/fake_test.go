package exchange

// A small venue for the tests of this package, with any order and reach of its candles.

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// fake is a venue and its server. Candles are made up for each interval alone, so that a
// merged one is none of the venue's own.
type fake struct {
	spec       Spec
	descending bool
	cost       func(rows int) Cost

	now     func() time.Time
	listed  int64                                             // open time of the first candle
	absent  func(step, open int64) bool                       // nil: none
	shift   time.Duration                                     // of the open times
	respond func(w http.ResponseWriter, r *http.Request) bool // in place of candles; may be nil

	mu    sync.Mutex
	pages []Window // as requested
	times int      // requests for the clock
}

var fakeNow = time.Date(2026, 11, 20, 10, 30, 7, 0, time.UTC) // a Friday

// newFake returns a venue with these intervals of its own.
func newFake(reach Reach, rows int, own ...levels.Interval) *fake {
	f := &fake{
		spec: Spec{
			Name: "fake", Group: "fake", Label: "Fake", BaseURL: "http://fake.test", Quotes: []string{"USDT"}, Intervals: map[levels.Interval]Native{},
			Reach: reach, Budgets: []Budget{{Name: "requests", Kind: Rolling, Limit: 10_000, Period: time.Minute}}, Heaviest: Cost{1},
			Clock: Call{Endpoint: "time", Path: "time", Cost: Cost{1}}, Listings: 1,
		},
		cost: func(int) Cost { return Cost{1} },
	}
	for _, i := range own {
		f.spec.Intervals[i] = Native{Name: string(i), Rows: rows}
	}
	start := time.Now()
	f.now = func() time.Time { return fakeNow.Add(time.Since(start)) }
	return f
}

// client returns a client of f without sockets.
func (f *fake) client(cfg Config) *Client {
	cfg.Transport = served{f}
	cfg.WeightShare = 1
	return New(f, cfg)
}

type served struct{ h http.Handler }

func (s served) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func (f *fake) Spec() *Spec { return &f.spec }

func (f *fake) Listing(i int, _ string) Call {
	return Call{Endpoint: "list", Path: "list", Cost: Cost{1}}
}

func (f *fake) DecodeListing(_ int, s *Scanner, dst *Listing) error {
	for s.Array(); s.More(); {
		dst.Add(service.Symbol{Name: string(s.Text()), Base: "A", Quote: "USDT", Status: "on", Trading: true})
	}
	return s.End()
}

func (f *fake) Klines(symbol string, n Native, w Window) Call {
	return Call{
		Path: "klines", Cost: f.cost(w.Rows),
		Query: fmt.Sprintf("symbol=%s&interval=%s&from=%d&through=%d&rows=%d&step=%d&now=%d", symbol, n.Name, w.From, w.Through, w.Rows, w.Step, w.Now),
	}
}

func (f *fake) DecodeKlines(s *Scanner, _ Native, yield func(levels.Candle) error) error {
	for s.Array(); s.More(); {
		s.Array()
		k := levels.Candle{OpenTime: s.Int(), Open: s.Decimal(), High: s.Decimal(), Low: s.Decimal(), Close: s.Decimal(), Volume: s.Decimal()}
		s.Close()
		if s.Err() != nil {
			break
		}
		if err := yield(k); err != nil {
			return err
		}
	}
	return s.End()
}

func (f *fake) DecodeClock(s *Scanner) (int64, error) {
	t := s.Int()
	return t, s.End()
}

func (f *fake) Refuse(int, http.Header, []byte) error { return nil }

func (f *fake) Usage(http.Header, func(Usage)) {}

// candle is the candle of an interval that opens then.
func (f *fake) candle(step, open int64) levels.Candle {
	h := uint64(open/1000)*0x9e3779b97f4a7c15 ^ uint64(step)*0xbf58476d1ce4e5b9
	part := func() float64 {
		h ^= h >> 29
		h *= 0x94d049bb133111eb
		h ^= h >> 32
		return float64(h%1_000_003) / 1_000_003
	}
	low := 100 + part()
	k := levels.Candle{OpenTime: open, Low: low, High: low + 1 + part(), Volume: part() * 1e3}
	k.Open, k.Close = low+part(), low+part()
	return k
}

// between returns the candles of a native interval that opened in a range.
func (f *fake) between(i levels.Interval, from, through int64) []levels.Candle {
	step, shift := i.Milliseconds(), f.shift.Milliseconds()
	var all []levels.Candle
	open := i.Floor(max(from, f.listed)-shift) + shift
	if open < max(from, f.listed) {
		open += step
	}
	for ; open <= through; open += step {
		if f.absent == nil || !f.absent(step, open) {
			all = append(all, f.candle(step, open))
		}
	}
	return all
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", f.now().Format(http.TimeFormat))
	q := r.URL.Query()
	num := func(name string) int64 { n, _ := strconv.ParseInt(q.Get(name), 10, 64); return n }
	switch r.URL.Path {
	case "/time":
		f.mu.Lock()
		f.times++
		f.mu.Unlock()
	case "/klines":
		f.mu.Lock()
		f.pages = append(f.pages, Window{From: num("from"), Through: num("through"), Rows: int(num("rows")), Step: num("step"), Now: num("now")})
		f.mu.Unlock()
	}
	if f.respond != nil && f.respond(w, r) {
		return
	}
	switch r.URL.Path {
	case "/time":
		fmt.Fprint(w, f.now().UnixMilli())
	case "/list":
		io.WriteString(w, `["A"]`)
	case "/klines":
		i := levels.Interval(q.Get("interval"))
		from, through, rows := num("from"), num("through"), int(num("rows"))
		now := f.now().UnixMilli()
		most := f.spec.Intervals[i].Rows
		if f.spec.History > 0 {
			most = min(most, f.spec.History)
			from = max(from, i.Floor(now)-int64(f.spec.History-1)*i.Milliseconds())
		}
		var all []levels.Candle
		switch f.spec.Reach {
		case Since: // whatever is newer, as far as it goes
			all = f.between(i, from, now)
			all = all[max(0, len(all)-most):]
		case Newest:
			all = f.between(i, now-2*int64(most)*i.Milliseconds(), now)
			all = all[max(0, len(all)-min(most, rows)):]
		default:
			all = f.between(i, from, min(through, now))
			all = all[:min(len(all), most, rows)]
		}
		if f.descending {
			slices.Reverse(all)
		}
		io.WriteString(w, "[")
		for n, k := range all {
			if n > 0 {
				io.WriteString(w, ",")
			}
			fmt.Fprintf(w, "[%d,%v,%v,%v,%v,%v]", k.OpenTime, k.Open, k.High, k.Low, k.Close, k.Volume)
		}
		io.WriteString(w, "]")
	}
}

func (f *fake) requested() []Window {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.pages)
}

// merged adds up candles of a native interval, oldest first, to those of another that
// opened from then on and are closed.
func merged(parts []levels.Candle, interval levels.Interval, from, now int64) []levels.Candle {
	slices.SortFunc(parts, func(a, b levels.Candle) int { return cmp.Compare(a.OpenTime, b.OpenTime) })
	var all []levels.Candle
	for _, p := range parts {
		open := interval.Floor(p.OpenTime)
		switch n := len(all); {
		case open < from || open+interval.Milliseconds() > now:
		case n > 0 && all[n-1].OpenTime == open:
			sum := &all[n-1]
			sum.High, sum.Low, sum.Close = max(sum.High, p.High), min(sum.Low, p.Low), p.Close
			sum.Volume += p.Volume
		default:
			p.OpenTime = open
			all = append(all, p)
		}
	}
	return all
}

func listOf(c *levels.Candles) []levels.Candle {
	all := make([]levels.Candle, c.Len())
	for i := range all {
		all[i] = c.At(i)
	}
	return all
}

// fetch returns the candles from then on.
func fetch(t *testing.T, c *Client, interval levels.Interval, from int64) ([]levels.Candle, error) {
	t.Helper()
	var dst levels.Candles
	dst.Reset(interval, 0)
	err := c.Candles(t.Context(), "A", from, &dst, make([]byte, minBuffer))
	return listOf(&dst), err
}
