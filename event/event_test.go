// This file pins when levels have episodes and what happens in them, on drawn prices.

package event

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

const hour = 3_600_000

// shown is a level that is drawn by default, with odds.
func shown(id uint64, price float64) levels.Level {
	return levels.Level{
		ID: id, Price: price, Low: price, High: price, Edge: 5, DrawnEdge: 5, TouchProbability: 0.7,
		HoldProbability: 0.6, HoldInterval: [2]float32{0.5, 0.7}, BaselineHold: 0.45, Samples: 900,
	}
}

// analysis returns an hourly analysis at a moment with levels, each on its side.
func analysis(m levels.Moment, all ...levels.Level) *service.Snapshot {
	s := &service.Snapshot{
		Key:  service.Key{Exchange: "binance", Symbol: "BTCUSDT", Interval: "1h"},
		AsOf: utc(m.AsOf), LastPrice: m.LastPrice, ATR: m.ATR, Algorithm: levels.Algorithm,
	}
	for _, l := range all {
		if l.Role = roleAt(l.Price, m.LastPrice); l.Role == levels.Support {
			s.Supports = append(s.Supports, l)
		} else {
			s.Resistances = append(s.Resistances, l)
		}
	}
	return s
}

// tester is a testing.TB or a rapid.T.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func add(t tester, c *levels.Candles, k levels.Candle) {
	t.Helper()
	if err := c.Append(k); err != nil {
		t.Fatal(err)
	}
}

// script plays prices about a level at 90 from a last price of 100, with an ATR of 4: it is
// near at 95, touched at 91, holds at 95, breaks at 87, and price is away at a close above
// 97. The steps are, separated by spaces:
//
//	c91-99=93  a closed candle: low, high, close
//	p93        a price before the next close; P93 one an hour later
//	last94     the last price at the start
//	faint, gone, back, crossed  the level in the analyses that follow
//
// It returns what happens as step:kind. A mirrored one is the same about a level at 110.
type script struct {
	t       *testing.T
	state   State
	mirror  bool
	encode  bool // restores the state before each step
	chunk   bool // closes all candles at once
	c       levels.Candles
	before  *service.Snapshot
	level   levels.Level
	present bool
	out     []Transition
}

func (s *script) price(text string) float64 {
	s.t.Helper()
	p, err := strconv.ParseFloat(text, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.mirror {
		return 200 - p
	}
	return p
}

func (s *script) analysis() *service.Snapshot {
	m := levels.Moment{AsOf: s.c.AsOf(), LastPrice: s.c.Close[s.c.Len()-1], ATR: 4}
	if !s.present {
		return analysis(m)
	}
	return analysis(m, s.level)
}

func (s *script) close() []Transition {
	after := s.analysis()
	out := s.state.Close(s.before, after, &s.c)
	s.before = after
	return out
}

func (s *script) run(steps string) string {
	s.t.Helper()
	s.c.Reset("1h", 8)
	s.level, s.present = shown(7, s.price("90")), true
	last, happened := s.price("100"), []string{}
	stepOf := map[int64]int{} // by close
	note := func(i int, ts []Transition) {
		for _, x := range ts {
			if i < 0 {
				happened = append(happened, fmt.Sprint(stepOf[x.At.UnixMilli()], ":", x.Kind))
			} else {
				happened = append(happened, fmt.Sprint(i, ":", x.Kind))
			}
		}
		s.out = append(s.out, ts...)
	}
	i := 0
	for _, step := range strings.Fields(steps) {
		switch step {
		case "faint":
			s.level.Edge = 0.5
			continue
		case "gone":
			s.present = false
			continue
		case "back":
			s.level.Edge, s.present = 5, true
			continue
		case "crossed":
			s.level.State = levels.Crossed
			continue
		}
		if strings.HasPrefix(step, "last") {
			last = s.price(step[len("last"):])
			continue
		}
		if s.c.Len() == 0 {
			add(s.t, &s.c, levels.Candle{Open: last, High: last, Low: last, Close: last})
			if out := s.close(); out != nil {
				s.t.Errorf("the first analysis: %v", out)
			}
		}
		if s.encode {
			var err error
			if s.state, err = Decode(s.state.Append(nil)); err != nil {
				s.t.Fatal(err)
			}
		}
		switch kind, rest := step[0], step[1:]; kind {
		case 'p', 'P':
			at := s.before.AsOf.Add(30 * time.Minute)
			if kind == 'P' {
				at = at.Add(time.Hour)
			}
			below, above := s.state.Alarm(s.before)
			p := s.price(rest)
			out := s.state.Price(s.before, p, at)
			if alarm := p <= below || p >= above; alarm != (len(out) > 0) {
				s.t.Errorf("step %d: alarms at %v and %v, at %v %v", i, below, above, p, out)
			}
			if again := s.state.Price(s.before, p, at); again != nil {
				s.t.Errorf("step %d: the same price again: %v", i, again)
			}
			note(i, out)
		case 'c':
			low, rest, _ := strings.Cut(rest, "-")
			high, last, _ := strings.Cut(rest, "=")
			k := levels.Candle{OpenTime: s.c.AsOf(), Low: s.price(low), High: s.price(high), Close: s.price(last)}
			if s.mirror {
				k.Low, k.High = k.High, k.Low
			}
			k.Open = k.Close
			add(s.t, &s.c, k)
			stepOf[s.c.AsOf()] = i
			if !s.chunk {
				note(i, s.close())
				if again := s.state.Close(s.before, s.before, &s.c); again != nil {
					s.t.Errorf("step %d: the same analysis again: %v", i, again)
				}
			}
		default:
			s.t.Fatalf("step %q", step)
		}
		i++
	}
	if s.chunk {
		note(-1, s.close())
	}
	return strings.Join(happened, " ")
}

var scripts = []struct{ name, steps, want string }{
	{"price stays away", "c95.1-99=98 p95.1", ""},
	{"a candle comes near", "c95-99=98", "0:approaching"},
	{"near is said once", "c95-99=96 c94-97=96 p94 c93-96=95", "0:approaching"},
	{"armed again after a close away", "c95-99=96 c96-99=97.1 c95-98=96", "0:approaching 2:approaching"},
	{"not after one less far", "c95-99=96 c96-99=97 c95-98=96", "0:approaching"},
	{"a wick is an approach of its own", "c95-99=98 c95-99=98", "0:approaching 1:approaching"},
	{"near, touched, held", "c95-99=96 c91-96=92 c92-95=94", "0:approaching 1:touched 2:held"},
	{"near, touched, broken", "c95-99=96 c91-96=92 c87-93=88", "0:approaching 1:touched 2:broke"},
	{"touched in one step", "c91-99=93", "0:touched"},
	{"touched and broken in one step", "c87-99=96", "0:touched 0:broke"},
	{"the touching candle does not hold", "c91-99=97 c94-96=95", "0:touched 1:held"},
	{"both in one candle", "c91-99=92 c86-96=90 c90-92=91 c89-94=93", "0:touched"},
	{"rests until a close away", "c91-99=92 c92-95=94 c90-96=92 c92-97=97 c90-96=92 c92-98=97.5 c91-97=92", "0:touched 1:held 6:touched"},
	{"the deciding candle closes away", "c91-99=92 c92-99=98 c91-98=93", "0:touched 1:held 2:touched"},
	{"a price comes near, another touches", "p95 p94 p91 p80 c91-99=93 c92-95=94", "0:approaching 2:touched 5:held"},
	{"a price touches in one step", "p80", "0:touched"},
	{"no candle confirms the touch", "p91 c92-99=93 c93-96=95 p90", "0:touched"},
	{"a later candle does", "p91 c92-99=93 c91-94=92 p91 c92-96=95", "0:touched 4:held"},
	{"one closes away", "p91 c92-99=98 c95-98=96", "0:touched 2:approaching"},
	{"a price after the close of the next candle", "P95 c96-99=98 c94-99=98 p94", "0:approaching 3:approaching"},
	{"broken, then held from the far side", "c91-99=92 c86-93=86 c80-87=82 c82-89=88 c84-88=86", "0:touched 1:broke 3:touched 4:flipped"},
	{"and held again", "c91-99=92 c86-93=86 c80-87=82 c82-89=88 c82-88=82 c82-89=88 c84-88=86", "0:touched 1:broke 3:touched 4:flipped 5:touched 6:held"},
	{"broken upwards again", "c91-99=92 c86-93=86 c80-87=82 c82-89=88 c88-98=98 c91-98=92 c92-95=94", "0:touched 1:broke 3:touched 4:broke 5:touched 6:flipped"},
	{"closed on the other side since it held", "c91-99=92 c92-95=94 crossed c88-94=89 c89-98=98 c91-98=93 c92-95=94", "0:touched 1:held 4:touched 5:flipped"},
	{"the analysis says that price crossed it", "crossed c91-99=92 c92-95=94", "0:touched 1:flipped"},
	{"near at the start", "last94 c93-95=94 p91 c90-94=91 c86-92=87", ""},
	{"near at the start, then away", "last94 c94-98=98 c91-98=92", "1:touched"},
	{"faint while near", "c95-99=96 faint c94-96=95 c90-96=91", "0:approaching 1:vanished"},
	{"faint after a price touched", "p91 faint c92-99=94 back c92-96=94 c91-95=92", "0:touched 1:vanished 2:appeared"},
	{"faint while touched", "c91-99=92 faint c91-93=92 c92-95=94", "0:touched 1:vanished 2:held"},
	{"gone while touched", "c91-99=92 gone c91-93=92 c87-94=88", "0:touched 1:vanished 2:broke"},
	{"gone and back while it rests", "c91-99=92 c92-95=94 gone c92-95=94 back c92-95=94 c90-94=91", "0:touched 1:held 2:vanished 3:appeared"},
	{"appears near", "gone c93-99=94 back c93-96=94 c94-95=94 c91-95=92", "1:appeared 3:touched"},
	{"appears far", "gone c96-99=98 back c97-99=98 c95-98=96", "1:appeared 2:approaching"},
	{"faint levels have no episodes", "faint c91-99=92 c92-96=94", ""},
}

func TestState_OfDrawnPrices(t *testing.T) {
	for _, test := range scripts {
		t.Run(test.name, func(t *testing.T) {
			for _, s := range []script{{}, {mirror: true}, {encode: true}, {chunk: true}} {
				if s.chunk && strings.ContainsAny(test.steps, "pPgfbr") {
					continue
				}
				s.t = t
				if got := s.run(test.steps); got != test.want {
					t.Errorf("mirrored %v, encoded %v, at once %v: %s, want %s", s.mirror, s.encode, s.chunk, got, test.want)
				}
			}
		})
	}
}

func TestState_SaysWhatWasKnown(t *testing.T) {
	s := script{t: t}
	s.run("p95 c91-96=92 c92-95=94 gone c93-95=94")
	if len(s.out) != 4 {
		t.Fatal(s.out)
	}
	l := shown(7, 90)
	candle := func(i int) *levels.Candle { k := s.c.At(i); return &k }
	for i, want := range []Transition{
		{Kind: Approaching, At: utc(hour + hour/2), Price: 95, Approach: 9. / 4},
		{Kind: Touched, At: utc(2 * hour), Candle: candle(1), Price: 92, Approach: 9. / 4},
		{Kind: Held, At: utc(3 * hour), Candle: candle(2), Price: 94, TouchedAt: utc(2 * hour), Promise: &Promise{0.7, 0.6, [2]float32{0.5, 0.7}, 0.45, 5, 900}},
		{Kind: Vanished, At: utc(4 * hour), Candle: candle(3), Price: 94},
	} {
		want.Level, want.Begun, want.ATR = l, utc(hour), 4
		if want.Kind == Vanished {
			want.Begun = want.At
		}
		if got := s.out[i]; !reflect.DeepEqual(got, want) {
			t.Errorf("%+v %+v %+v, want %+v %+v %+v", got, got.Candle, got.Promise, want, want.Candle, want.Promise)
		}
	}
}

// A price may be known before the candle that closed before it.
func TestState_ALatePriceDoesNotTouchAfterTheDecision(t *testing.T) {
	s := script{t: t}
	if got := s.run("P91 c87-99=88"); got != "0:touched 1:broke" || s.out[0].At != utc(2*hour+hour/2) || s.out[1].TouchedAt != utc(2*hour) {
		t.Errorf("%s: %+v", got, s.out)
	}
}

// After a pause price has passed the level: what was promised was for the other role.
func TestState_PromisesNothingForALevelThatPriceHasPassed(t *testing.T) {
	s := script{t: t, chunk: true}
	if got := s.run("last94 c89-95=90 c80-91=82 c82-89=88 c84-88=86"); got != "2:touched 3:flipped" {
		t.Fatal(got)
	}
	for _, x := range s.out {
		if !x.Passed || x.Level.Role != levels.Resistance || x.Promise != nil || x.Begun != utc(3*hour) {
			t.Errorf("%+v", x)
		}
	}
}

func TestState_ALevelThatReplacesAnotherInheritsItsRest(t *testing.T) {
	c := new(levels.Candles)
	c.Reset("1h", 4)
	add(t, c, levels.Candle{Open: 100, High: 100, Low: 100, Close: 100})
	var s State
	at := func(last float64) levels.Moment { return levels.Moment{AsOf: c.AsOf(), LastPrice: last, ATR: 4} }
	one := analysis(at(100), shown(7, 90))
	s.Close(nil, one, c)
	add(t, c, levels.Candle{OpenTime: hour, Open: 99, High: 99, Low: 91, Close: 92}) // touches
	heir := shown(8, 90.5)
	heir.Replaces = 7
	two := analysis(at(92), heir)
	got := s.Close(one, two, c)
	if len(got) != 3 || got[0].Kind != Touched || got[1].Kind != Vanished || got[1].Other != 8 || got[2].Kind != Appeared || got[2].Other != 7 {
		t.Fatalf("%+v", got)
	}
	if out := s.Price(two, 80, utc(2*hour)); out != nil {
		t.Errorf("%+v: the level that replaces a touched one was touched, too", out)
	}
	add(t, c, levels.Candle{OpenTime: 2 * hour, Open: 92, High: 92, Low: 87, Close: 87})
	if got = s.Close(two, analysis(at(87), heir), c); len(got) != 1 || got[0].Kind != Broke || got[0].Level.ID != 7 {
		t.Errorf("%+v, want that the old level broke", got)
	}
}

// Each of these ends a touched episode without a transition, and the level rests.
func TestState_StartsAgainAfterABreak(t *testing.T) {
	for name, change := range map[string]func(s *script, after *service.Snapshot){
		"other algorithm":           func(s *script, after *service.Snapshot) { after.Algorithm = "0" },
		"simulated prices":          func(s *script, after *service.Snapshot) { after.Simulated = true },
		"no analysis before":        func(s *script, after *service.Snapshot) { s.before = nil },
		"a state of another moment": func(s *script, after *service.Snapshot) { s.state.asOf -= hour },
		"candles that begin later":  func(s *script, after *service.Snapshot) { s.c.KeepLast(1); s.c.OpenTime[0]++ },
		"candles that end earlier":  func(s *script, after *service.Snapshot) { s.c.Truncate(s.c.Len() - 1) },
		"a damaged state":           func(s *script, after *service.Snapshot) { s.state, _ = Decode([]byte("?")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := script{t: t}
			s.run("c91-99=92")
			add(t, &s.c, levels.Candle{OpenTime: s.c.AsOf(), Open: 93, High: 95, Low: 93, Close: 94}) // would hold
			after := s.analysis()
			change(&s, after)
			if out := s.state.Close(s.before, after, &s.c); out != nil {
				t.Errorf("%+v", out)
			}
			if out := s.state.Price(after, 80, after.AsOf); out != nil {
				t.Errorf("a price below it: %+v", out)
			}
			if below, above := s.state.Alarm(after); below != 0 || !math.IsInf(above, 1) {
				t.Errorf("alarms at %v and %v", below, above)
			}
			s.before, s.c = after, levels.Candles{}
			s.c.Reset("1h", 2)
			add(t, &s.c, levels.Candle{OpenTime: after.AsOf.UnixMilli(), Open: 93, High: 95, Low: 93, Close: 94})
			next := *after
			next.AsOf = next.AsOf.Add(time.Hour)
			if out := s.state.Close(after, &next, &s.c); out != nil {
				t.Errorf("at the next close: %+v", out)
			}
		})
	}
}

func TestState_IgnoresWhatIsOlder(t *testing.T) {
	s := script{t: t}
	s.run("c96-99=98 c96-99=98")
	after, state := s.before, string(s.state.Append(nil))
	older := *after
	older.AsOf = after.AsOf.Add(-time.Hour)
	for name, out := range map[string]func() []Transition{
		"an older analysis":                   func() []Transition { return s.state.Close(after, &older, &s.c) },
		"an analysis that the state has seen": func() []Transition { return s.state.Close(&older, after, &s.c) },
		"an older price":                      func() []Transition { return s.state.Price(after, 80, after.AsOf.Add(-1)) },
		"the price of an older analysis":      func() []Transition { return s.state.Price(&older, 80, after.AsOf) },
		"not a price":                         func() []Transition { return s.state.Price(after, math.NaN(), after.AsOf) },
		"nor this":                            func() []Transition { return s.state.Price(after, -1, after.AsOf) },
	} {
		if got := out(); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
		if string(s.state.Append(nil)) != state {
			t.Errorf("%s changed the state", name)
		}
	}
}

func TestState_ForgetsLevelsThatAreGone(t *testing.T) {
	s := script{t: t}
	if s.run("c81-99=82"); len(s.state.tracks) != 1 || s.state.tracks[0].past != brokeInto(levels.Resistance) {
		t.Fatalf("%+v", s.state)
	}
	s = script{t: t}
	if s.run("c81-99=82 gone c80-82=81"); len(s.state.tracks) != 0 {
		t.Errorf("%+v", s.state)
	}
	for i := range uint64(maxTracks + 5) {
		s.state.add(track{id: i + 1})
	}
	if n := len(s.state.tracks); n != maxTracks || s.state.tracks[n-1].id != maxTracks+5 {
		t.Errorf("%d levels, the last one is %+v", n, s.state.tracks[n-1])
	}
}

func TestState_AMarketThatStandsStillHasNoEpisodes(t *testing.T) {
	c := new(levels.Candles)
	c.Reset("1h", 8)
	var s State
	var before *service.Snapshot
	for i := range 6 {
		add(t, c, levels.Candle{OpenTime: int64(i) * hour, Open: 100, High: 100, Low: 100, Close: 100})
		after := analysis(levels.Moment{AsOf: c.AsOf(), LastPrice: 100}, shown(7, 100))
		if out := append(s.Close(before, after, c), s.Price(after, 100, after.AsOf)...); out != nil {
			t.Errorf("%+v", out)
		}
		before = after
	}
}

// Price that moves about a level makes one episode, however often it crosses.
func TestState_TenThousandCrossingsAreOneEpisode(t *testing.T) {
	counts := func(out []Transition) (n [len(kinds)]int) {
		for _, x := range out {
			n[x.Kind]++
		}
		return n
	}
	t.Run("prices", func(t *testing.T) {
		s := script{t: t}
		s.run("c97-99=98")
		for i := range 10_000 {
			p := 94.0 - float64(i%7)
			s.out = append(s.out, s.state.Price(s.before, p, s.before.AsOf.Add(time.Duration(i)))...)
		}
		if n := counts(s.out); n != [len(kinds)]int{Approaching: 1, Touched: 1} {
			t.Error(n)
		}
	})
	t.Run("candles", func(t *testing.T) {
		s := script{t: t}
		s.run("c95-99=96")
		for i := range 10_000 {
			at := 92.0
			if i%2 == 1 {
				at = 88
			}
			add(t, &s.c, levels.Candle{OpenTime: s.c.AsOf(), Open: 90, High: max(at, 90), Low: min(at, 90), Close: at})
			s.c.KeepLast(2)
			s.out = append(s.out, s.close()...)
			s.out = append(s.out, s.state.Price(s.before, 180-at, s.before.AsOf)...)
		}
		if n := counts(s.out); n != [len(kinds)]int{Approaching: 1, Touched: 1} {
			t.Error(n)
		}
		add(t, &s.c, levels.Candle{OpenTime: s.c.AsOf(), Open: 90, High: 90, Low: 86, Close: 88})
		s.out = append(s.out, s.close()...)
		if n := counts(s.out); n != [len(kinds)]int{Approaching: 1, Touched: 1} { // the horizon is over
			t.Error(n)
		}
	})
}

func TestKind_NamesAreThoseOfTheContract(t *testing.T) {
	if !slices.Equal(wire.EventKinds, kinds[:]) {
		t.Errorf("package wire has %q", wire.EventKinds)
	}
}

func TestEventID_IsOfEqualFacts(t *testing.T) {
	key := service.Key{Exchange: "binance", Symbol: "BTCUSDT", Interval: "1h"}
	x := Transition{Kind: Held, Level: shown(7, 90), Begun: utc(hour), At: utc(2 * hour), Price: 93}
	const want = "3b08b58c00ef517e52f89ac345d96f2f"
	if got := EventID(key, x); got != want {
		t.Errorf("%s, want %s: stored ids must not change", got, want)
	}
	y := x
	y.Price, y.At, y.Begun = 1, utc(9*hour), utc(hour).In(time.FixedZone("", 3600))
	if EventID(key, y) != EventID(key, x) {
		t.Error("the id depends on more than the episode and the kind")
	}
	ids := map[string]bool{EventID(key, x): true}
	for _, change := range []func(k *service.Key, x *Transition){
		func(k *service.Key, x *Transition) { k.Exchange = "okx" },
		func(k *service.Key, x *Transition) { k.Exchange, k.Symbol = "binanceB", "TCUSDT" },
		func(k *service.Key, x *Transition) { k.Interval = "4h" },
		func(k *service.Key, x *Transition) { x.Level.ID++ },
		func(k *service.Key, x *Transition) { x.Begun = utc(hour + 1) },
		func(k *service.Key, x *Transition) { x.Kind = Broke },
	} {
		k, y := key, x
		change(&k, &y)
		ids[EventID(k, y)] = true
	}
	if len(ids) != 7 {
		t.Errorf("%d ids of 7 events", len(ids))
	}
}
