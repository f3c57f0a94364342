package alert

// These tests pin what a rule sends, what is refused and where, and what messages say.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/event/notify"
	"tidemark/wire"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) // a Saturday

func touched(change ...func(*wire.Event)) *wire.Event {
	name := "BTC/USDT"
	e := &wire.Event{
		ID: "e", Kind: "touched", Exchange: "binance", Symbol: "BTCUSDT", Name: &name, Interval: "1h", OccurredAt: noon, Price: 61300.5,
		Level: wire.EventLevel{ID: "00000000000000aa", Role: "support", Price: 61234.5, Low: 61100, High: 61400, Edge: 7.25},
	}
	for _, f := range change {
		f(e)
	}
	return e
}

// ruleFrom parses a rule for a receiver r and a watchlist majors.
func ruleFrom(t testing.TB, more string) (*Rule, error) {
	t.Helper()
	a := alerts(Configured{
		Revision:  1,
		Entries:   []Entry{{Kind: watchlists, ID: "w", Name: "majors", Body: []byte(`{"name":"majors","pairs":["BTC/*","ETHUSDT"]}`)}},
		Receivers: []StoredReceiver{{ID: "1", Name: "r"}},
	})
	return a.ParseRule(t.Context(), []byte(`{"name":"x","receivers":["r"]`+more+`}`))
}

// fixed is a store with a configuration.
type fixed struct {
	Store
	all     Configured
	entries []Entry
	put     []StoredReceiver
}

func (f *fixed) Configured(context.Context, int64) (Configured, error) { return f.all, nil }

func (f *fixed) ReplaceFile(_ context.Context, entries []Entry, receivers []StoredReceiver, _ time.Time) error {
	f.entries, f.put = entries, receivers
	return nil
}

func alerts(all Configured) *Alerts {
	sealer, err := notify.NewSealer(strings.Repeat("07", 32))
	if err != nil {
		panic(err)
	}
	return New(Config{Exchanges: []string{"binance", "okx"}, Sealer: sealer, Now: func() time.Time { return noon }},
		&fixed{all: all}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
}

func TestMatch(t *testing.T) {
	silence := newSilence(wire.Silence{SilenceSettings: wire.SilenceSettings{Pairs: []string{"BTC*"}, Kinds: []string{"touched"}, Until: noon.Add(time.Minute)}}, nil)
	old := newSilence(wire.Silence{SilenceSettings: wire.SilenceSettings{Pairs: []string{"*"}, Until: noon}}, nil)
	volume := func(exchange, symbol string) (float64, bool) {
		return map[string]float64{"BTCUSDT": 5e6}[symbol], exchange == "binance"
	}
	perp := func(e *wire.Event) { name := "BTC/USDT:USDT"; e.Name = &name }
	for _, c := range []struct {
		rule   string
		env    Env
		change func(*wire.Event)
		want   Reason
	}{
		{rule: ``},
		{rule: `,"paused":true`, want: Paused},
		{rule: `,"until":"2026-11-28T12:00:00Z"`, want: Ended},
		{rule: `,"until":"2026-11-28T12:00:00.001Z"`},
		{rule: `,"exchanges":["okx"]`, want: Exchange},
		{rule: `,"exchanges":["okx","binance"],"intervals":["4h","1h"],"kinds":["touched"],"roles":["support"]`},
		{rule: `,"intervals":["4h"]`, want: Interval},
		{rule: `,"kinds":["held"]`, want: Kind},
		{rule: `,"roles":["resistance"]`, want: Role},
		{rule: `,"min_edge":7.25`},
		{rule: `,"min_edge":7.26`, want: Edge},
		{rule: ``, change: func(e *wire.Event) { e.Level.Edge = 2.9 }, want: Edge}, // the default
		{rule: `,"min_edge":0`, change: func(e *wire.Event) { e.Level.Edge = 0 }},
		{rule: `,"pairs":["btcusdt"]`},
		{rule: `,"pairs":["BTC/USDT"]`},
		{rule: `,"pairs":["*/USDT"]`},
		{rule: `,"pairs":["*/USDT"]`, change: perp, want: Pair},
		{rule: `,"pairs":["B*/US*:USDT"]`, change: perp},
		{rule: `,"pairs":["*T*T*T*"]`, change: func(e *wire.Event) { e.Name = nil }, want: Pair},
		{rule: `,"pairs":["ETH*","@majors"]`},
		{rule: `,"pairs":["@majors"]`, change: func(e *wire.Event) { e.Symbol, e.Name = "SOLUSDT", nil }, want: Pair},
		{rule: `,"min_quote_volume":5000000`, env: Env{Volume: volume}},
		{rule: `,"min_quote_volume":5000001`, env: Env{Volume: volume}, want: Volume},
		{rule: `,"min_quote_volume":1`, env: Env{Volume: volume}, change: func(e *wire.Event) { e.Symbol = "NEWUSDT" }, want: Volume},
		{rule: `,"min_quote_volume":1`, env: Env{Volume: volume}, change: func(e *wire.Event) { e.Exchange = "okx" }}, // not known
		{rule: ``, env: Env{Silences: []*Silence{old, silence}}, want: Silenced},
		{rule: ``, env: Env{Silences: []*Silence{old, silence}}, change: func(e *wire.Event) { e.Kind = "broke" }},
		{rule: ``, env: Env{Silences: []*Silence{silence}, Now: noon.Add(time.Minute)}},
		{rule: `,"quiet":{"from":"11:00","to":"13:00","zone":"UTC","then":"drop"}`, want: QuietTime},
		{rule: `,"quiet":{"from":"12:01","to":"12:00","zone":"UTC","then":"drop"}`},
		{rule: `,"quiet":{"from":"20:59","to":"21:01","zone":"Asia/Tokyo","then":"hold"}`, want: QuietTime},
		{rule: `,"quiet":{"from":"22:00","to":"13:00","zone":"UTC","days":["fri"],"then":"drop"}`, want: QuietTime}, // since Friday
		{rule: `,"quiet":{"from":"11:00","to":"13:00","zone":"UTC","days":["fri"],"then":"drop"}`},
	} {
		r, err := ruleFrom(t, c.rule)
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
			continue
		}
		if c.env.Now.IsZero() {
			c.env.Now = noon
		}
		e := touched()
		if c.change != nil {
			c.change(e)
		}
		if ok, why := r.Match(e, c.env); why != c.want || ok != (c.want == "") {
			t.Errorf("%s: %v %q, want %q", c.rule, ok, why, c.want)
		}
	}
}

// Quiet hours follow the clock of their zone, also when summer time begins or ends.
func TestQuiet_FollowsTheClock(t *testing.T) {
	q := newQuiet(&wire.Quiet{From: "22:00", To: "07:00", Zone: "Europe/Berlin"})
	for in, want := range map[string]string{
		"2026-11-28T21:00:00Z": "2026-11-29T06:00:00Z",
		"2026-11-28T20:59:59Z": "",
		"2026-11-29T06:00:00Z": "",
		"2026-03-29T00:30:00Z": "2026-03-29T05:00:00Z", // summer time begins at 01:00
		"2026-10-25T03:00:00Z": "2026-10-25T06:00:00Z", // and ends at 01:00
	} {
		now, _ := time.Parse(time.RFC3339, in)
		end, quiet := q.until(now)
		if got := end.UTC().Format(time.RFC3339); quiet != (want != "") || quiet && got != want {
			t.Errorf("%s: %v until %s, want %q", in, quiet, got, want)
		}
	}
}

func TestParseRule_SaysWhatIsWrongAndWhere(t *testing.T) {
	for more, want := range map[string][]Problem{
		`,"min_egde":3`:          {{"/min_egde", "unknown member"}},
		`,"min_edge":"3"`:        {{"/min_edge", "must be a number"}},
		`,"pairs":[1]`:           {{"/pairs/0", "must be a string"}},
		`,"until":"tomorrow"`:    {{"/until", "must be a time such as 2026-11-28T19:00:00Z"}},
		`,"top":5,"top":6`:       {{"/top", "the name is there twice"}},
		`,"top":0,"min_edge":-1`: {{"/min_edge", "must be between 0 and 100"}, {"/top", "must be between 1 and 20"}},
		`,"pairs":["@mayors"],"kinds":["broke","broken"]`: {
			{"/pairs/0", `unknown watchlist "mayors"`},
			{"/kinds/1", `"broken" is not one of appeared, approaching, touched, held, broke, flipped, vanished`},
		},
		`,"quiet":{"from":"7","to":"08:00","zone":"Mars","then":"hold"}`: {
			{"/quiet/from", "must be a time of the day such as 22:00"}, {"/quiet/zone", `"Mars" is not a time zone such as Europe/Berlin`},
		},
		`,"exchanges":["mtgox"],"group_wait_ms":30001`: {{"/exchanges/0", `"mtgox" is not one of binance, okx`}, {"/group_wait_ms", "must be between 0 and 30000"}},
		`} {`: {{"", "something follows the JSON object"}},
	} {
		_, err := ruleFrom(t, more)
		var invalid *Invalid
		if !errors.As(err, &invalid) || !slices.Equal(invalid.Problems, want) {
			t.Errorf("%s: %v, want %v", more, err, want)
		}
	}
}

func TestLoadFile_IsCheckedWholeAndNamesLines(t *testing.T) {
	const good = `{
 "receivers": [
  {"name": "phone", "kind": "ntfy", "config": {"topic": "levels-1234"}}
 ],
 "watchlists": [{"name": "majors", "pairs": ["BTC/USDT"]}],
 "rules": [
  {"name": "touches", "receivers": ["phone"],
   "pairs": ["@majors"],
   "kinds": ["touched"]}
 ],
 "silences": [{"pairs": ["LUNA/*"], "until": "2026-12-01T00:00:00Z", "comment": "halted"}]
}`
	mine := Configured{Revision: 1, Entries: []Entry{{Kind: rules, ID: "r", Name: "mine", Body: []byte(`{"name":"mine","receivers":["phone"]}`)}}}
	a := alerts(mine)
	if err := a.LoadFile(t.Context(), []byte(good)); err != nil {
		t.Fatal(err)
	}
	store := a.store.(*fixed)
	if len(store.entries) != 3 || len(store.put) != 1 || !store.put[0].FromFile || bytes.Contains(store.put[0].Sealed, []byte("levels-1234")) {
		t.Errorf("stored: %+v, %+v", store.entries, store.put)
	}
	// the same file again: nothing has changed, and the receiver keeps its health
	store.put[0].FailingSince = noon
	first := store.put
	store.all.Receivers, store.all.Revision = first, 2
	if err := a.LoadFile(t.Context(), []byte(good)); err != nil || store.put[0].FailingSince != noon || string(store.put[0].Sealed) != string(first[0].Sealed) {
		t.Errorf("%v, %+v", err, store.put)
	}
	for change, want := range map[string]string{
		`"touched"|"tuched"`:                         `/rules/0/kinds/0: line 9: "tuched" is not one of`,
		`"@majors"|"@minors"`:                        `/rules/0/pairs/0: line 8: unknown watchlist "minors"`,
		`["phone"]|["fone"]`:                         `/rules/0/receivers/0: line 7: there is no receiver "fone"`,
		`"topic"|"topik"`:                            `/receivers/0/config: line 3: ntfy: unknown member "topik"`,
		`"watchlists"|"watchlist"`:                   `/watchlist: line 5: unknown member`,
		`"kinds": |"kinds" `:                         `line 9: not valid JSON at byte`,
		`"2026-12-01T00:00:00Z"|12`:                  `/silences/0/until: line 11: must be a time such as`,
		`"name": "touches"|"name": "mine"`:           `/rules/0/name: line 7: there is another rule "mine"`,
		`{"name": "majors", "pairs": ["BTC/USDT"]}|`: `/rules/0/pairs/0: line 8: unknown watchlist "majors"`,
	} {
		from, to, _ := strings.Cut(change, "|")
		store.entries = nil
		err := a.LoadFile(t.Context(), []byte(strings.Replace(good, from, to, 1)))
		if !errors.As(err, new(*Invalid)) || !strings.Contains(err.Error(), want) || store.entries != nil {
			t.Errorf("%s: %v, want %s", change, err, want)
		}
	}
	if err := a.LoadFile(t.Context(), []byte(`{}`)); err == nil || !strings.Contains(err.Error(), `the receiver "phone" is missing, which the rule "mine" uses`) {
		t.Errorf("without a receiver in use: %v", err)
	}
	a.cfg.Sealer = nil
	if err := a.LoadFile(t.Context(), []byte(good)); err == nil || !strings.Contains(err.Error(), "set SECRETS_KEY") {
		t.Errorf("without a key: %v", err)
	}
}

func TestRender_OneEventAndManyInTheirBounds(t *testing.T) {
	half, base, n, far := 0.62, 0.51, 4100, -0.25
	e := touched(func(e *wire.Event) {
		e.Simulated, e.DistanceATR = true, &far
		e.Level.HoldProbability, e.Level.BaselineHoldProbability, e.Level.Samples = &half, &base, &n
	})
	a := alerts(Configured{})
	sum := a.newSummary(nil, noon)
	sum.add(Numbered{7, e})
	var d StoredDelivery
	sum.render(&d, &StoredReceiver{})
	if d.Type != "level.touched" || d.Title != "BTC/USDT 1h: support 61234.5 was touched (simulated prices)" ||
		d.Text != "61300.5 at 2026-11-28 12:00:00 UTC on binance\n0.2 ATR from it, zone 61100 to 61400\n62 % to hold, 51 % of all levels, from 4100 samples\nedge 7.2" {
		t.Errorf("%s\n%s\n%s", d.Type, d.Title, d.Text)
	}
	if !sum.expires.Equal(noon.Add(time.Hour)) {
		t.Errorf("it expires at %v", sum.expires)
	}
	var body struct {
		Type string
		Data wire.Event
	}
	if err := json.Unmarshal(d.Body, &body); err != nil || body.Type != d.Type || body.Data.Seq != 7 || body.Data.Level.ID != e.Level.ID || *body.Data.Level.Samples != n {
		t.Errorf("%v %s", err, d.Body)
	}

	a.cfg.PublicURL = "https://levels.example.org/tide"
	e.Links = wire.EventLinks{Levels: "/levels/BTCUSDT?exchange=binance", Explanation: "/levels/BTCUSDT/00aa?exchange=binance", Chart: "/levels/BTCUSDT/chart.svg?exchange=binance"}
	linked := a.newSummary(nil, noon)
	linked.add(Numbered{7, e})
	linked.render(&d, &StoredReceiver{})
	if !strings.HasSuffix(d.Text, "\npicture https://levels.example.org/tide/levels/BTCUSDT/chart.png?exchange=binance\nexplanation https://levels.example.org/tide/levels/BTCUSDT/00aa?exchange=binance") ||
		linkOf(d.Body) != "https://levels.example.org/tide/?exchange=binance&interval=1h&level=00000000000000aa&symbol=BTCUSDT" ||
		!strings.Contains(string(d.Body), `"levels":"https://levels.example.org/tide/levels/BTCUSDT?`) || e.Links.Levels[0] != '/' {
		t.Errorf("with links: %s\n%s", d.Text, d.Body)
	}
	a.cfg.PublicURL = ""

	r, err := ruleFrom(t, `,"top":20`)
	if err != nil {
		t.Fatal(err)
	}
	sum = a.newSummary(r, noon)
	long := strings.Repeat("x", 2000)
	for i := range 100 {
		sum.add(Numbered{int64(i), touched(func(e *wire.Event) {
			e.Kind, e.Level.Edge, e.Links.Chart = []string{"broke", "held"}[i%2], float64(i), long
		})})
	}
	sum.add(Numbered{200, touched(func(e *wire.Event) { e.OccurredAt = noon.Add(-time.Hour) })})
	d = StoredDelivery{Reason: ForClose}
	sum.render(&d, &StoredReceiver{})
	if d.Title != "100 levels: 50 held, 50 broke (binance 1h, 2026-11-28 12:00 UTC)" || len(d.Body) > notify.MaxBody || len(d.Body) < notify.MaxBody-4000 ||
		!strings.HasPrefix(d.Text, "BTC/USDT 1h: support 61234.5 held, edge 99.0\n") || !strings.HasSuffix(d.Text, "and 80 more\n1 left out: they are out of date") || !sum.expires.IsZero() {
		t.Errorf("%d bytes\n%s\n%s", len(d.Body), d.Title, d.Text)
	}
}

func FuzzParseRule(f *testing.F) {
	f.Add(`{"name":"a","receivers":["r"],"pairs":["*/USDT","@majors"],"quiet":{"from":"22:00","to":"07:00","zone":"UTC","then":"hold"}}`)
	f.Add(`{"pairs":["**"],"until":"0000-01-01T00:00:00Z"}`)
	a := alerts(Configured{Revision: 1, Receivers: []StoredReceiver{{ID: "1", Name: "r"}}})
	f.Fuzz(func(t *testing.T, text string) {
		r, err := a.ParseRule(t.Context(), []byte(text))
		if err != nil {
			if !errors.As(err, new(*Invalid)) || err.Error() == "" {
				t.Errorf("%v", err)
			}
			return
		}
		r.Match(touched(), Env{Now: noon})
	})
}
