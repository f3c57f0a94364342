// Pins GET /levels/{symbol}/chart.svg and .png: that they show the stored analysis and the
// candles it was made from, are kept and told apart by their tags, and what is said
// when there is nothing to draw.
package api

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// drawn has a pair analysed and its candles kept.
func drawn(t *testing.T) *harness {
	h := start(t)
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
	keeps(h)
	return h
}

func TestChart_ShowsTheStoredAnalysis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := drawn(t)
		a := decode[analysisJSON](t, h.get("/levels/BTCUSDT"))
		time.Sleep(62 * time.Minute) // candles after the analysis are kept, and not shown
		rec := h.get("/levels/btc-usdt/chart.svg?interval=1h&exchange=simulated&theme=light&width=800&height=400&candles=100")
		want(t, rec, 200)
		body := rec.Body.String()
		for _, text := range []string{
			`width="800" height="400"`, ">BTCUSDT<", ">1h · simulated<", ">as of " + a.AsOf.Format("2006-01-02 15:04") + " UTC<", "SIMULATED: ",
			fmt.Sprintf(">%.2f  %+.1f<", a.Supports[0].Price, math.Round(10*a.Supports[0].Edge)/10), fmt.Sprintf(">%.2f<", a.LastPrice),
		} {
			if !strings.Contains(body, text) {
				t.Errorf("%q is not in %s", text, body)
			}
		}
		if strings.Contains(body, "Stale") || strings.Contains(body, "Missing") {
			t.Error(body)
		}
		if got := rec.Header().Get("Content-Security-Policy"); got != "default-src 'none'" {
			t.Errorf("policy %q", got)
		}
		time.Sleep(time.Hour)
		if stale := h.get("/levels/BTCUSDT/chart.svg").Body.String(); !strings.Contains(stale, "Stale: newer 1h candles have closed since") {
			t.Error(stale)
		}
	})
}

func TestChart_IsKeptUntilTheAnalysisIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := drawn(t)
		read, keep := 0, h.store.CandlesFunc
		h.store.CandlesFunc = func(key service.Key, from int64, dst *levels.Candles) (service.Kept, error) {
			read++
			return keep(key, from, dst)
		}
		first := h.get("/levels/BTCUSDT/chart.svg")
		tag := first.Header().Get("ETag")
		again := h.get("/levels/BTCUSDT/chart.svg?theme=dark&width=1000")
		if again.Body.String() != first.Body.String() || again.Header().Get("ETag") != tag || read != 1 {
			t.Errorf("drawn %d times", read)
		}
		for _, other := range []string{"theme=light", "width=1001", "height=561", "candles=169", "marks=false"} {
			if rec := h.get("/levels/BTCUSDT/chart.svg?" + other); rec.Code != 200 || rec.Header().Get("ETag") == tag {
				t.Errorf("%s: status %d, the same tag", other, rec.Code)
			}
		}
		if rec := h.get("/levels/BTCUSDT/chart.svg", "If-None-Match", tag); rec.Code != 304 || rec.Body.Len() != 0 {
			t.Errorf("status %d", rec.Code)
		}
		// The newer analysis reaches the store; nobody has told this process.
		snap, err := h.store.Snapshot(context.Background(), service.Key{Exchange: "simulated", Symbol: "BTCUSDT", Interval: "1h"}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		snap.ComputedAt = snap.ComputedAt.Add(time.Second)
		snap.Supports = snap.Supports[1:]
		h.store.Put(context.Background(), service.Results{Snapshots: []service.Snapshot{snap}})
		if rec := h.get("/levels/BTCUSDT/chart.svg", "If-None-Match", tag); rec.Code != 200 || rec.Header().Get("ETag") == tag {
			t.Errorf("after another analysis: status %d", rec.Code)
		}
		if rec := h.get("/levels/BTCUSDT"); rec.Header().Get("Content-Type") != "application/json" {
			t.Errorf("the levels are %s", rec.Header().Get("Content-Type"))
		}
	})
}

func TestChart_SaysWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
		for target, expected := range map[string]struct {
			status int
			code   string
		}{
			"/levels/BTCUSDT/chart.svg":              {409, "candles_not_kept"}, // the store has none
			"/levels/ETHUSDT/chart.svg":              {404, "not_analyzed"},
			"/levels/BTCUSDT/chart.svg?interval=4h":  {404, "not_analyzed"},
			"/levels/BTCUSDT/chart.svg?interval=1H":  {400, "invalid_request"},
			"/levels/BTCUSDT/chart.svg?exchange=A":   {400, "invalid_request"},
			"/levels/BTCUSDT/chart.svg?theme=pink":   {400, "invalid_request"},
			"/levels/BTCUSDT/chart.svg?width=479":    {400, "invalid_request"},
			"/levels/BTCUSDT/chart.svg?width=1601":   {400, "invalid_request"},
			"/levels/BTCUSDT/chart.svg?height=269":   {400, "invalid_request"},
			"/levels/BTCUSDT/chart.svg?height=1001":  {400, "invalid_request"},
			"/levels/BTCUSDT/chart.svg?candles=49":   {400, "invalid_request"},
			"/levels/BTCUSDT/chart.svg?candles=1001": {400, "invalid_request"},
			"/levels/BTCUSDT/chart.png":              {409, "candles_not_kept"},
			"/levels/ETHUSDT/chart.png":              {404, "not_analyzed"},
			"/levels/BTCUSDT/chart.png?width=1601":   {400, "invalid_request"},
			"/levels/BTCUSDT/chart.svg?at=now":       {400, "invalid_request"},
			"/levels/BTCUSDT/chart.svg?marks=some":   {400, "invalid_request"},
			"/levels/BTC%20USDT/chart.svg":           {400, "invalid_request"},
		} {
			rec := h.get(target)
			want(t, rec, expected.status)
			if p := problemOf(t, rec); p.Code != expected.code {
				t.Errorf("%s: %s, want %s", target, p.Code, expected.code)
			}
		}
	})
}

// While a picture is under way the next waits, and leaves when its client does.
func TestChart_IsDrawnOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := drawn(t)
		keep, until, under := h.store.CandlesFunc, make(chan struct{}), 0
		h.store.CandlesFunc = func(key service.Key, from int64, dst *levels.Candles) (service.Kept, error) {
			under++
			<-until
			return keep(key, from, dst)
		}
		done := make(chan int, 2)
		for _, theme := range []string{"dark", "light"} {
			go func() { done <- h.get("/levels/BTCUSDT/chart.svg?theme=" + theme).Code }()
		}
		synctest.Wait()
		if under != 1 {
			t.Errorf("%d pictures are under way", under)
		}
		close(until)
		if a, b := <-done, <-done; a != 200 || b != 200 {
			t.Errorf("status %d and %d", a, b)
		}
	})
}

func TestChart_IsAPNGOfTheSizeAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := drawn(t)
		svg := h.get("/levels/BTCUSDT/chart.svg?width=800&height=400")
		rec := h.get("/levels/BTCUSDT/chart.png?width=800&height=400")
		want(t, rec, 200)
		m, err := png.Decode(bytes.NewReader(rec.Body.Bytes()))
		if err != nil || m.Bounds() != image.Rect(0, 0, 800, 400) {
			t.Fatalf("%v %v", m.Bounds(), err)
		}
		tag := rec.Header().Get("ETag")
		if got := rec.Header().Get("Content-Type"); got != "image/png" || tag == svg.Header().Get("ETag") {
			t.Errorf("%s, tag %s", got, tag)
		}
		if again := h.get("/levels/BTCUSDT/chart.png?width=800&height=400", "If-None-Match", tag); again.Code != 304 {
			t.Errorf("status %d", again.Code)
		}
	})
}

// Marks are found in all candles of the analysis, drawn or not. Where only the drawn ones
// are stored, there is a picture without marks that says so.
func TestChart_DrawsMarksUnlessToldNotTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := drawn(t)
		for target, want := range map[string]bool{"": true, "&marks=true": true, "&marks=false": false} {
			body := h.get("/levels/BTCUSDT/chart.svg?candles=50" + target).Body.String()
			if got := strings.Contains(body, `fill="#c792ff" xml:space`) && strings.Contains(body, ">marks: "); got != want {
				t.Errorf("%q: marks are drawn: %v, want %v: %s", target, got, want, body)
			}
		}
		keep := h.store.CandlesFunc
		h.store.CandlesFunc = func(key service.Key, from int64, dst *levels.Candles) (service.Kept, error) {
			k, err := keep(key, from, dst)
			dst.KeepLast(60)
			return k, err
		}
		body := h.get("/levels/BTCUSDT/chart.svg?candles=51").Body.String()
		if !strings.Contains(body, ">No marks: not all candles of the analysis are stored any more.<") || strings.Contains(body, ">marks: ") {
			t.Error(body)
		}
	})
}
