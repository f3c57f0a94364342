// Pins POST /analyze/history, and what is assumed about klines of the caller: that later
// klines have no influence on a moment, the unit of times and the tick of prices.
package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

type historyJSON = wire.History[[]wire.HistoryMoment]

// ownKlines are n rows whose prices have so many decimals from kline i on, and whose times
// are multiplied and divided.
func ownKlines(n int, decimals func(i int) int, times, over int64) string {
	var b strings.Builder
	for i, k := range klines(n) {
		d := decimals(i)
		fmt.Fprintf(&b, ",[%d,%.*f,%.*f,%.*f,\"%.*f\",%.3f]", k.OpenTime*times/over, d, k.Open, d, k.High, d, k.Low, d, k.Close, k.Volume)
	}
	return b.String()[1:]
}

func two(int) int { return 2 }

func TestHistory_AMomentIsAsIfNoLaterKlineWereThere(t *testing.T) {
	h := start(t)
	decimals := func(i int) int { // the market gets a finer tick, and at last one of no market
		return []int{1, 1, 1, 2, 2, 3, 14}[i/100]
	}
	const n, hour = 700, 3600_000
	rows := strings.SplitAfter(ownKlines(n, decimals, 1, 1), "],")
	first := klines(n)[0].OpenTime
	var moments []string
	var closed []int // klines at each moment
	for i, k := range []int{650, 55, 300, 301, 699, 0, 49, 50, 420, 301, 600} {
		at := first + int64(k)*hour
		switch i % 3 {
		case 0:
			moments = append(moments, fmt.Sprint(at))
		case 1:
			moments = append(moments, time.UnixMilli(at).UTC().Format(`"`+time.RFC3339+`"`))
		default:
			moments = append(moments, fmt.Sprint(at+hour-1)) // before the next one closes
		}
		closed = append(closed, k)
	}
	ask := func(rows []string, more string) historyJSON {
		t.Helper()
		rec := h.do("POST", "/analyze/history", `{"interval":"1h","moments":[`+strings.Join(moments, ",")+`],"klines":[`+strings.TrimSuffix(strings.Join(rows, ""), ",")+`]`+more+`}`)
		want(t, rec, 200)
		return decode[historyJSON](t, rec)
	}
	const options = `,"kline_limit":250,"faint":true`
	got := ask(rows, options)
	if got.Klines != n || got.KlineLimit != 250 || got.TimeUnit != "milliseconds" || got.TickSize != nil || len(got.Moments) != len(moments) {
		t.Fatalf("%+v", got)
	}
	if n := metric(t, h, "tidemark_history_moments_total"); n != float64(len(moments)) {
		t.Errorf("%v moments are counted", n)
	}
	shown := 0
	for i, m := range got.Moments {
		body := `{"interval":"1h","kline_limit":250,"faint":true,"klines":[` + strings.TrimSuffix(strings.Join(rows[:closed[i]], ""), ",") + `]}`
		rec := h.do("POST", "/analyze", body)
		if closed[i] < levels.MinCandles {
			p := problemOf(t, rec)
			if m.Problem == nil || m.Problem.Code != p.Code || m.Problem.Detail != p.Detail || len(m.Levels) > 0 || (m.AsOf == nil) != (closed[i] == 0) {
				t.Errorf("%d klines: %+v, want %s", closed[i], m, rec.Body)
			}
			continue
		}
		a := decode[analysisJSON](t, rec)
		var all []wire.HistoryLevel
		for role, side := range map[string][]levelJSON{"support": a.Supports, "resistance": a.Resistances} {
			for _, l := range side {
				all = append(all, wire.HistoryLevel{ID: l.ID, Role: role, Price: l.Price, Low: l.Low, High: l.High, Edge: l.Edge, Faint: l.Faint, State: l.State,
					TouchProbability: l.TouchProbability, HoldProbability: l.HoldProbability, BaselineHoldProbability: l.BaselineHoldProbability})
			}
		}
		slices.SortStableFunc(all, func(a, b wire.HistoryLevel) int { return -strings.Compare(a.Role, b.Role) }) // supports first
		if len(m.Levels) == 0 {
			m.Levels = nil
		}
		if one, other := string(appendJSON(nil, &m.Levels)), string(appendJSON(nil, &all)); one != other {
			t.Errorf("as of %d klines the levels are\n%s\nwant\n%s", closed[i], one, other)
		}
		if !m.AsOf.Equal(a.AsOf) || *m.LastPrice != a.LastPrice || *m.ATR != a.ATR || m.Klines != a.Klines || m.Problem != nil {
			t.Errorf("as of %d klines: %+v, want %+v", closed[i], m, a)
		}
		shown += len(all)
	}
	if shown < 20 {
		t.Errorf("%d levels prove little", shown)
	}

	// Other klines behind the last moment, and none at all.
	last := slices.Max(closed)
	moved := slices.Clone(rows)
	for i := last; i < n; i++ {
		moved[i] = fmt.Sprintf("[%d,1,2.123,1,2,5],", first+int64(i)*hour)
	}
	for name, changed := range map[string]historyJSON{"other klines": ask(moved, options), "no klines": ask(rows[:last], options)} {
		if !bytes.Equal(appendJSON(nil, &changed.Moments), appendJSON(nil, &got.Moments)) {
			t.Errorf("%s after the last moment change the answer", name)
		}
	}
}

func TestHistory_EveryIsTheSameMomentsWhicheverKlinesAreSent(t *testing.T) {
	h := start(t)
	times := func(from int, more string) (list []time.Time) {
		rows := strings.SplitAfter(ownKlines(300, two, 1, 1), "],")
		rec := h.do("POST", "/analyze/history", `{"interval":"1h","every":24`+more+`,"klines":[`+strings.Join(rows[from:], "")+`]}`)
		want(t, rec, 200)
		got := decode[historyJSON](t, rec)
		for _, m := range got.Moments {
			if !m.At.Equal(*m.AsOf) || m.At.Hour() != 0 {
				t.Errorf("%+v", m)
			}
			list = append(list, m.At)
		}
		return list
	}
	all := times(0, "")
	if later := times(60, ""); len(all) < 12 || len(later) < 10 || !slices.Equal(later, all[len(all)-len(later):]) {
		t.Errorf("%v and %v", all, later)
	}
	if some := times(0, fmt.Sprintf(`,"from":%q`, all[7].Format(time.RFC3339))); !slices.Equal(some, all[7:]) {
		t.Errorf("from the eighth on: %v", some)
	}
	// A least edge selects levels as in GET /levels/{symbol}.
	edges := func(more string) (list []float64) {
		got := decode[historyJSON](t, h.do("POST", "/analyze/history", `{"interval":"1h","every":8`+more+`,"klines":[`+ownKlines(500, two, 1, 1)+`]}`))
		for _, m := range got.Moments {
			for _, l := range m.Levels {
				list = append(list, l.Edge)
			}
		}
		return list
	}
	every := edges(`,"faint":true`)
	if few := edges(`,"min_edge":2`); len(few) == 0 || len(few) >= len(every) || slices.Min(few) < 2 {
		t.Errorf("%d levels with 2 points, of %d", len(few), len(every))
	}
}

func TestOwnKlines_TimesInOtherUnitsAreRecognisedAndSaid(t *testing.T) {
	h := start(t)
	var answers []string
	for _, unit := range []struct {
		name        string
		times, over int64
	}{{"milliseconds", 1, 1}, {"seconds", 1, 1000}, {"microseconds", 1000, 1}} {
		rows := ownKlines(120, two, unit.times, unit.over)
		rec := h.do("POST", "/analyze", `{"interval":"1h","klines":[`+rows+`]}`)
		want(t, rec, 200)
		if got := rec.Header().Get("Tidemark-Time-Unit"); got != unit.name || rec.Header().Get("Tidemark-Tick-Size") != "0.01" {
			t.Errorf("%s: %v", unit.name, rec.Header())
		}
		a := decode[analysisJSON](t, rec)
		a.ComputedAt = time.Time{}
		moment := (klines(120)[99].OpenTime + 3600_000) * unit.times / unit.over
		rec = h.do("POST", "/analyze/history", fmt.Sprintf(`{"interval":"1h","moments":[%d],"klines":[%s]}`, moment, rows))
		want(t, rec, 200)
		p := decode[historyJSON](t, rec)
		if p.TimeUnit != unit.name || p.Moments[0].Klines != 100 {
			t.Errorf("%s: %+v", unit.name, p)
		}
		p.TimeUnit = ""
		answers = append(answers, string(appendJSON(appendJSON(nil, &a), &p)))
	}
	if answers[0] != answers[1] || answers[0] != answers[2] {
		t.Errorf("the answer depends on the unit:\n%s", strings.Join(answers, "\n"))
	}
	rec := h.do("POST", "/analyze", `{"interval":"1h","klines":[`+ownKlines(60, two, 1, 1)+`]}`, "Prefer", "respond-async")
	if want(t, rec, 202); rec.Header().Get("Tidemark-Time-Unit") != "milliseconds" {
		t.Errorf("%v", rec.Header())
	}
	first := fmt.Sprint(klines(60)[0].OpenTime * 1000)
	for rows, says := range map[string]string{
		ownKlines(60, two, 1_000_000, 1): "divide nanoseconds by 1,000,000",
		strings.Replace(ownKlines(60, two, 1000, 1), first, first[:len(first)-1]+"7", 1): "not a whole number of milliseconds",
	} {
		rec := h.do("POST", "/analyze", `{"interval":"1h","klines":[`+rows+`]}`)
		if want(t, rec, 400); !strings.Contains(problemOf(t, rec).Detail, says) {
			t.Errorf("%s, want %s", rec.Body, says)
		}
	}
}

func TestOwnKlines_TheTickIsThatGivenOrOfTheDecimals(t *testing.T) {
	for text, decimals := range map[string]int{
		"1": 0, "100": 0, "0": 0, "1.50": 1, "61234.50000000": 1, "0.00001230": 7, "1e-05": 5, "12e-5": 5, "10e-5": 4, "1.5e2": 0, "0.000000000001": 12,
		"0.0000000000001": imprecise, "61234.50000000001": imprecise, "0.30000000000000004": imprecise, "1e99": imprecise, "-2.5": 1, "123456789012345": 0, "1234567890123456": imprecise,
	} {
		if got := decimalsOf([]byte(text)); got != decimals {
			t.Errorf("%s has %d decimals, want %d", text, got, decimals)
		}
	}
	h := start(t)
	for _, c := range []struct {
		decimals int
		more     string
		size     string
		step     float64
	}{{2, "", "0.01", 0.01}, {0, "", "1", 1}, {2, `,"tick_size":2.5`, "2.5", 2.5}, {2, `,"tick_size":1e-1`, "0.1", 0.1}, {14, "", "", 0}} {
		rec := h.do("POST", "/analyze", `{"interval":"1h","faint":true,"klines":[`+ownKlines(500, func(int) int { return c.decimals }, 1, 1)+`]`+c.more+`}`)
		want(t, rec, 200)
		if got := rec.Header().Get("Tidemark-Tick-Size"); got != c.size {
			t.Errorf("%+v: the reply says %q", c, got)
		}
		a := decode[analysisJSON](t, rec)
		all := slices.Concat(a.Supports, a.Resistances)
		if len(all) == 0 {
			t.Errorf("%+v: no levels", c)
		}
		for _, l := range all {
			for _, p := range []float64{l.Price, l.Low, l.High} {
				if n := p / c.step; c.step > 0 && wire.Rounded(n, 6) != wire.Rounded(n, 0) {
					t.Errorf("%+v: %v is not a multiple of the price step", c, p)
				}
			}
		}
	}
	for body, pointer := range map[string]string{
		`{"symbol":"BTCUSDT","tick_size":0.1}`:            "/tick_size",
		`{"interval":"1h","klines":[],"tick_size":0}`:     "/tick_size",
		`{"interval":"1h","klines":[],"tick_size":"1"}`:   "/tick_size",
		`{"interval":"1h","klines":[],"tick_size":1e-30}`: "/tick_size",
	} {
		rec := h.do("POST", "/analyze", body)
		if want(t, rec, 400); *problemOf(t, rec).Errors[0].Pointer != pointer {
			t.Errorf("%s: %s", body, rec.Body)
		}
	}
}

func TestHistory_RefusalsNameWhatIsWrong(t *testing.T) {
	h := start(t, func(c *Config, _ *service.Config) { c.ReplyBytes = historyBytes(600, 0) })
	rows := `"klines":[` + ownKlines(60, two, 1, 1) + `]`
	end := klines(60)[59].OpenTime + 2*3600_000
	open := time.Now().UnixMilli() / 3600_000 * 3600_000
	for _, c := range []struct{ body, pointer, says string }{
		{`{}`, "/klines", "needed"},
		{`{"interval":"1h","every":1,"klines":[]}`, "/klines", "empty"},
		{`{"every":1,` + rows + `}`, "/interval", "interval"},
		{`{"interval":"1M","every":1,` + rows + `}`, "/interval", "1h"},
		{`{"interval":"1h",` + rows + `}`, "", "one of moments and every"},
		{`{"interval":"1h","every":1,"moments":[0],` + rows + `}`, "/every", "only one"},
		{`{"interval":"1h","moments":[0],"from":0,` + rows + `}`, "/from", "every"},
		{`{"interval":"1h","every":0,` + rows + `}`, "/every", "whole number"},
		{`{"interval":"1h","moments":[],` + rows + `}`, "/moments", "empty"},
		{`{"interval":"1h","moments":["yesterday"],` + rows + `}`, "/moments/0", "RFC 3339"},
		{`{"interval":"1h","moments":[0,1.5],` + rows + `}`, "/moments/1", "whole number"},
		{fmt.Sprintf(`{"interval":"1h","moments":[%d,%d],%s}`, end-1, end, rows), "/moments/1", "later than the klines"},
		{`{"interval":"1h","every":1,"kline_limit":1001,` + rows + `}`, "/kline_limit", "at most 1000"},
		{`{"interval":"1h","every":1,"min_edge":"3",` + rows + `}`, "/min_edge", "points"},
		{`{"interval":"1h","every":1,"symbol":"BTCUSDT",` + rows + `}`, "/symbol", "klines, interval, moments"},
		{`{"interval":"1h","every":1,"moments":[` + strings.Repeat("1,", maxMoments) + `1]}`, "/moments/10000", "more than 10000"},
		{`{"interval":"1h","every":1,"klines":[` + ownKlines(601, two, 1, 1) + `]}`, "/klines/600", "MEMORY_BUDGET"},
		{fmt.Sprintf(`{"interval":"1h","every":1,"klines":[[%d,1,1,1,1,1]]}`, open), "-", "closes at"},
		{`{"interval":"1h","every":1,"klines":[[0,1,1,1,1,1],[0,1,1,1,1,1]]}`, "/klines/1", "repeated"},
	} {
		rec := h.do("POST", "/analyze/history", c.body)
		want(t, rec, 400)
		p := problemOf(t, rec)
		if c.pointer != "-" && *p.Errors[0].Pointer != c.pointer || !strings.Contains(p.Detail, c.says) {
			t.Errorf("%.60s: %s", c.body, rec.Body)
		}
	}
	want(t, h.do("POST", "/analyze/history?x=1", `{}`), 400)
	want(t, h.do("POST", "/analyze/history", `{}`, "Content-Type", "text/plain"), 415)
	if held := h.api.uploads.inUse() + h.api.replies.inUse(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// A client that does not read holds the memory of its candles, and nothing else; when it
// leaves, nothing more is computed.
func TestHistory_ASlowClientHoldsNoSlotAndNoFinder(t *testing.T) {
	h := start(t, func(c *Config, s *service.Config) { s.Concurrency, s.KlineLimit, c.Log = 1, 100, nil })
	addr := serving(t, h, nil)
	body := `{"interval":"1h","every":1,"faint":true,"klines":[` + ownKlines(4000, two, 1, 1) + `]}`
	res, err := http.Post("http://"+addr+"/analyze/history", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 1000)); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %v", res.Status, err)
	}
	if held, least := h.api.replies.inUse(), historyBytes(4000, 0); held != least || h.api.uploads.inUse() != 0 {
		t.Errorf("%d bytes are held by the reply, want %d; by the body %d", held, least, h.api.uploads.inUse())
	}
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
	want(t, h.do("POST", "/analyze", klinesBody(100, false)), 200)
	res.Body.Close()
	for deadline := time.Now().Add(10 * time.Second); h.api.replies.inUse() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the reply goes on without its client")
		}
	}
}

func BenchmarkHistory(b *testing.B) {
	h := start(b, quiet, func(_ *Config, s *service.Config) { s.KlineLimit = 2000 })
	for name, more := range map[string]string{"drawn": "", "faint": `,"faint":true`} {
		var moments []string
		for _, k := range klines(1000) {
			moments = append(moments, fmt.Sprint(k.OpenTime+3600_000))
		}
		body := `{"interval":"1h","moments":[` + strings.Join(moments, ",") + `],"klines":[` + ownKlines(3000, two, 1, 1) + `]` + more + `}`
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				h.api.ServeHTTP(w, localRequest("POST", "/analyze/history", strings.NewReader(body)))
				b.ReportMetric(float64(w.Body.Len()), "B/reply")
			}
		})
	}
}
