package event

// These tests pin what a preview of a rule says: the events are those of the analyzer at the
// same moments, without look-ahead; counts, groups and outcomes add up; a rule that picks
// levels without meaning is not called better than lines; and what is not known is said.

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
	"tidemark/wire"
)

// stocked is an exchange, a Store of service and a SeriesStore in memory: all of its candles
// are stored.
type stocked struct {
	service.Store // nil: what is not implemented is not called
	candles       map[string]*levels.Candles
	simulated     bool
	err           error // of Candles

	now      int64 // closed candles are those before it; 0: all
	snapshot *service.Snapshot
	state    []byte
}

func (s *stocked) Candles(_ context.Context, key service.Key, from int64, dst *levels.Candles, _ []byte) (service.Kept, error) {
	if s.err != nil {
		return service.Kept{}, s.err
	}
	c := s.candles[key.Symbol]
	if c == nil || s.now > 0 && s.snapshot == nil {
		return service.Kept{}, service.ErrNotAnalyzed
	}
	n := c.Len()
	if s.now > 0 {
		n, _ = slices.BinarySearch(c.OpenTime, s.snapshot.AsOf.UnixMilli())
	}
	return service.Kept{From: from, Simulated: s.simulated}, dst.AppendBlock(c.Pack(nil, 0, n))
}

func (s *stocked) Series(_ context.Context, exchange string, interval levels.Interval) (all []service.Series, err error) {
	for symbol, c := range s.candles {
		all = append(all, service.Series{Key: service.Key{Exchange: exchange, Symbol: symbol, Interval: interval}, AsOf: time.UnixMilli(c.AsOf()).UTC(), Name: "NAME/" + symbol, Tick: service.Tick{Units: 1, Decimals: 2}})
	}
	slices.SortFunc(all, func(a, b service.Series) int { return cmp.Compare(a.Symbol, b.Symbol) })
	return all, nil
}

func (s *stocked) markets() []service.StoredMarket {
	m := service.StoredMarket{Exchange: "binance", Interval: "1h"}
	for _, c := range s.candles {
		if at := time.UnixMilli(c.AsOf()); at.After(m.AsOf) {
			m.AsOf = at
		}
	}
	return []service.StoredMarket{m}
}

func (s *stocked) Put(_ context.Context, r service.Results) error {
	for i := range r.Snapshots {
		s.snapshot = &r.Snapshots[i]
	}
	for _, w := range r.Watches {
		s.state = w.State
	}
	return nil
}

func (s *stocked) Watched(context.Context, service.Key) (service.Snapshot, []byte, error) {
	if s.snapshot == nil {
		return service.Snapshot{}, nil, service.ErrNotAnalyzed
	}
	return *s.snapshot, s.state, nil
}

func (s *stocked) Writable() error { return nil }

func (s *stocked) DuePromise(context.Context, service.Key, time.Time) (p scorecard.Promise, due bool, err error) {
	return p, false, nil
}

// venue is the exchange of a stocked.
type venue struct{ *stocked }

func (v venue) Market() service.Market {
	return service.Market{Exchange: "binance", Simulated: v.simulated}
}

func (v venue) Symbol(_ context.Context, name string) (service.Symbol, error) {
	return service.Symbol{Name: name, Base: "NAME", Quote: name, Trading: true, Tick: service.Tick{Units: 1, Decimals: 2}}, nil
}
func (v venue) History(levels.Interval) int                      { return 0 }
func (v venue) Visit(string, levels.Interval, int) service.Visit { return v }
func (v venue) Now(context.Context) (time.Time, error)           { return time.UnixMilli(v.now), nil }
func (v venue) Wait(context.Context) error                       { return nil }
func (v venue) Close()                                           {}
func (v venue) Forming(context.Context, string, levels.Interval) (*service.Forming, error) {
	return nil, nil
}

func (v venue) Candles(_ context.Context, symbol string, from int64, dst *levels.Candles, _ []byte) error {
	c := v.candles[symbol]
	i, _ := slices.BinarySearch(c.OpenTime, from)
	for ; i < c.Len() && c.OpenTime[i]+c.Interval.Milliseconds() <= v.now; i++ {
		if err := dst.Append(c.At(i)); err != nil {
			return err
		}
	}
	return nil
}

func analyzer(t testing.TB, s *stocked, watch func(before, after *service.Snapshot, state []byte, c *levels.Candles) *service.Watch) *service.Analyzer {
	t.Helper()
	a := service.New(service.Config{Concurrency: 4, KlineLimit: 2000, QueueLimit: 10, Interval: "1h", Timeout: time.Minute, Watch: watch},
		[]service.Exchange{venue{s}}, s, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = a.Stop(context.Background()) })
	return a
}

// rounded returns c with prices in cents, as an exchange has them.
func rounded(t tester, c *levels.Candles) *levels.Candles {
	t.Helper()
	r := new(levels.Candles)
	r.Reset(c.Interval, c.Len())
	cents := func(p float64) float64 { return math.Round(100*p) / 100 }
	for i := range c.Len() {
		k := c.At(i)
		k.Open, k.High, k.Low, k.Close, k.Volume = cents(k.Open), cents(k.High), cents(k.Low), cents(k.Close), math.Round(k.Volume)+1
		add(t, r, k)
	}
	return r
}

// real returns candles of real markets, up to the given number of series; it skips the test
// without any.
func real(t *testing.T, most, n int) *stocked {
	shared := cmp.Or(os.Getenv("TIDEMARK_SHARED"), filepath.Join("..", "..", "shared"))
	files, err := filepath.Glob(filepath.Join(shared, "klines", "*-1h.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("no real candles under %s", shared)
	}
	s := &stocked{candles: map[string]*levels.Candles{}}
	for _, file := range files {
		if len(s.candles) == most {
			break
		}
		if c := load(t, file, n); c.Len() == n && c.Close[0] > 1 {
			// all series end at the same time
			shift := 1_700_000_000_000/hour*hour - c.AsOf()
			moved := new(levels.Candles)
			moved.Reset("1h", n)
			for i := range n {
				k := c.At(i)
				k.OpenTime += shift
				add(t, moved, k)
			}
			s.candles[strings.TrimSuffix(filepath.Base(file), "-1h.csv.gz")] = rounded(t, moved)
		}
	}
	return s
}

func walks(t testing.TB, series, n int) *stocked {
	s := &stocked{candles: map[string]*levels.Candles{}, simulated: true}
	for i := range series {
		c := rounded(t, walk(t, uint64(i), n))
		s.candles[string(rune('A'+i/26%26))+string(rune('A'+i%26))+"USDT"] = c
	}
	return s
}

func everything(*wire.Event) bool { return true }

func previewed(t testing.TB, s *stocked, days int, match func(*wire.Event) bool) wire.Preview {
	t.Helper()
	p, err := Preview(t.Context(), analyzer(t, s, nil), s, PreviewQuery{Markets: s.markets(), Days: days, Match: match})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The analyzer is asked at the moments of Replay, with a store and a clock that know no later
// candle.
func TestReplay_FindsWhatTheAnalyzerFindsAtTheSameMoments(t *testing.T) {
	s := real(t, 2, 1400)
	counts := [len(kinds)]int{}
	for _, series := range sortedSeries(s) {
		c := s.candles[series.Symbol]
		from := time.UnixMilli(c.AsOf()).AddDate(0, 0, -30)
		var moments []time.Time
		var want []Transition
		stored := &service.Stored{Series: &series, Candles: c, Finder: &levels.Finder{Faint: true}}
		err := Replay(stored, from, RedrawnEvery, func(a *service.Snapshot, _ *State, happened []Transition) {
			moments = append(moments, a.AsOf)
			if a.AsOf.UnixMilli() < c.AsOf() {
				want = append(want, happened...)
			}
		})
		if err != nil || len(moments) < 7 || !moments[0].Equal(from) || moments[len(moments)-1].UnixMilli() != c.AsOf() {
			t.Fatalf("analyses at %v, %v", moments, err)
		}

		s.snapshot, s.state = nil, nil
		var got []Transition
		a := analyzer(t, s, func(before, after *service.Snapshot, stored []byte, c *levels.Candles) *service.Watch {
			var state State
			if stored != nil {
				var err error
				if state, err = Decode(stored); err != nil {
					t.Error(err)
				}
			}
			if before != nil && stored == nil {
				state.Close(nil, before, nil)
			}
			got = append(got, state.Close(before, after, c)...)
			return &service.Watch{Key: after.Key, AsOf: after.AsOf, State: state.Append(nil)}
		})
		for _, at := range moments[:len(moments)-1] { // the last has the levels of the one before
			s.now = at.UnixMilli()
			if _, err := a.Analyze(t.Context(), service.Request{Symbol: series.Symbol, Store: true}); err != nil {
				t.Fatal(err)
			}
		}
		s.now = 0
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d transitions, the analyzer finds %d", series.Symbol, len(want), len(got))
		}
		for _, x := range want {
			counts[x.Kind]++
		}
	}
	for k, n := range counts {
		if n == 0 {
			t.Errorf("nothing was %v", Kind(k))
		}
	}
}

func sortedSeries(s *stocked) []service.Series {
	all, _ := s.Series(context.Background(), "binance", "1h")
	return all
}

func TestPreview_CountsWhatAddsUp(t *testing.T) {
	for _, s := range []*stocked{real(t, 5, 1400), walks(t, 5, 1400)} {
		p := previewed(t, s, 30, everything)
		if again := previewed(t, s, 30, everything); !reflect.DeepEqual(p, again) {
			t.Errorf("not the same twice:\n%+v\n%+v", p, again)
		}
		k, o := p.ByKind, p.Outcomes
		events, messages := 0, 0
		for _, d := range p.ByDay {
			events, messages = events+d.Events, messages+d.Messages
		}
		switch {
		case p.Series != 5 || p.Short+p.LeftOut > 0 || p.Days != 30 || p.RedrawnEvery != 120 || p.To.Sub(p.From) != 30*24*time.Hour || p.Simulated != s.simulated:
			t.Errorf("the period: %d series, %d short, %d left out, %s to %s", p.Series, p.Short, p.LeftOut, p.From, p.To)
		case p.Events != events || p.Messages != messages || p.Events != k.Appeared+k.Approaching+k.Touched+k.Held+k.Broke+k.Flipped+k.Vanished:
			t.Errorf("%d events, %d messages; by day %d and %d; %+v", p.Events, p.Messages, events, messages, k)
		case p.Messages > p.Events || p.Events < 100 || len(p.ByDay) < 30 || len(p.ByDay) > 31:
			t.Errorf("%d messages of %d events on %d days", p.Messages, p.Events, len(p.ByDay))
		case o.Touched != k.Touched || o.Held != k.Held || o.Broke != k.Broke || o.Flipped != k.Flipped || o.Touched != o.Held+o.Flipped+o.Broke+o.Undecided+o.Pending:
			t.Errorf("outcomes %+v of %+v", o, k)
		case o.HoldRate == nil || *o.HoldRate != wire.Rounded(float64(o.Held+o.Flipped)/float64(o.Held+o.Flipped+o.Broke), 4) || o.HoldInterval == nil || o.HoldInterval[0] >= *o.HoldRate || o.HoldInterval[1] <= *o.HoldRate:
			t.Errorf("rates %+v", o)
		case o.Baseline == nil || *o.Baseline < 0.3 || *o.Baseline > 0.6 || o.Odds == 0:
			t.Errorf("baseline %+v", o)
		case len(p.Last) != 50 || !slices.IsSortedFunc(p.Last, newestFirst) || *p.Last[0].Name != "NAME/"+p.Last[0].Symbol:
			t.Errorf("%d events, the newest %+v", len(p.Last), p.Last)
		case p.BusiestHour == nil || p.BusiestHour.Events < p.Events/len(p.ByDay)/24:
			t.Errorf("the busiest hour is %+v", p.BusiestHour)
		case p.Control.Levels == 0 || p.Control.Levels > o.Held+o.Flipped+o.Broke || p.Control.LineHoldRate == nil || p.Control.Lift == nil:
			t.Errorf("control %+v", p.Control)
		}

		// a rule of one kind counts the same outcomes, and its own events
		only := previewed(t, s, 30, func(e *wire.Event) bool { return e.Kind == "broke" && e.Level.Role == "support" && e.Level.Edge >= 4 })
		if only.Events != only.ByKind.Broke || only.Events == 0 || only.Outcomes.Broke != only.Events || only.Outcomes.Held == 0 || only.Messages > only.Events {
			t.Errorf("one kind: %+v", only)
		}
	}
}

func TestPreview_SaysWhatIsNotKnown(t *testing.T) {
	s := walks(t, 3, 1200)
	p := previewed(t, s, 30, func(*wire.Event) bool { return false })
	if p.Events != 0 || p.Messages != 0 || p.BusiestHour != nil || len(p.Last) != 0 || len(p.ByDay) < 30 || p.Outcomes != (wire.PreviewOutcomes{}) ||
		p.Control.Verdict != "too_few" || p.Control.HoldRate != nil || p.Control.Lift != nil || p.Series != 3 {
		t.Errorf("a rule that matches nothing: %+v", p)
	}
	s.candles["SHORTUSDT"] = rounded(t, walk(t, 99, 800))
	few, none := walk(t, 98, levels.MinOddsCandles), new(levels.Candles)
	s.candles["FEWUSDT"] = rounded(t, few)
	none.Reset("1h", 1)
	add(t, none, s.candles["SHORTUSDT"].At(0))
	s.candles["NEWUSDT"] = none
	if p := previewed(t, s, 60, everything); p.Short < 1 || p.LeftOut != 2 || !strings.Contains(strings.Join(p.Notes, " "), "2 series are left out") {
		t.Errorf("too few candles: %+v", p)
	}
	if p, err := Preview(t.Context(), analyzer(t, s, nil), s, PreviewQuery{Days: 30, Match: everything}); err != nil || p.Events != 0 || len(p.ByDay) != 0 {
		t.Errorf("without markets: %+v, %v", p, err)
	}

	if _, err := Preview(t.Context(), analyzer(t, s, nil), s, PreviewQuery{Days: MaxPreviewDays + 1, Match: everything}); !errors.Is(err, service.ErrInvalid) {
		t.Errorf("too many days: %v", err)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the client is gone")
	calls := 0
	_, err := Preview(ctx, analyzer(t, walks(t, 1, 1200), nil), s, PreviewQuery{Markets: s.markets(), Days: 30,
		Series: func(s *service.Series) bool { cancel(stop); calls++; return true }, Match: everything})
	if !errors.Is(err, stop) || calls == 0 {
		t.Errorf("cancelled: %v", err)
	}
	s.err = service.ErrStorage
	if _, err := Preview(t.Context(), analyzer(t, s, nil), s, PreviewQuery{Markets: s.markets(), Days: 30, Match: everything}); !errors.Is(err, service.ErrStorage) {
		t.Errorf("without the database: %v", err)
	}
}

// A random walk has no levels: those that are found hold as often as lines.
func TestPreview_FindsNoDifferenceOnRandomWalks(t *testing.T) {
	const series = 20
	p := previewed(t, walks(t, series, 1600), 45, everything)
	c := p.Control
	if c.Lift == nil || c.LiftInterval == nil || c.LiftInterval[0] > 0 || c.LiftInterval[1] < 0 || c.Verdict != "no_difference" || c.Levels < 10*series {
		t.Errorf("%+v", c)
	}
}
