// Pins GET /levels/{symbol}/marks: the marks are those of the candles kept of the stored
// analysis, each with a record of its kind, and a refusal has a reason.

package api

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/wire"
)

func TestMarks_AreThoseOfTheKeptCandles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
		keeps(h)
		a := decode[analysisJSON](t, h.get("/levels/BTCUSDT"))
		rec := h.get("/levels/btc-usdt/marks?interval=1h&exchange=simulated")
		want(t, rec, 200)
		got := decode[wire.PriceMarks](t, rec)
		if got.Symbol != "BTCUSDT" || got.Exchange != "simulated" || got.Interval != "1h" || !got.AsOf.Equal(a.AsOf) || !got.Simulated || got.LastPrice != a.LastPrice {
			t.Errorf("%+v", got)
		}
		if len(got.Marks) < 5 || len(got.Records) != len(levels.MarkRecords()) {
			t.Errorf("%d marks and %d records", len(got.Marks), len(got.Records))
		}
		for _, m := range got.Marks {
			if !slices.ContainsFunc(got.Records, func(r wire.MarkRecord) bool { return r.Kind == m.Kind && r.Decided > r.Held }) {
				t.Errorf("%+v has no record", m)
			}
			if m.Label == "" || (m.Time == nil) != (m.Kind == "round") || m.Time != nil && m.Time.After(got.AsOf) {
				t.Errorf("%+v", m)
			}
		}
		if h.get("/levels/BTCUSDT/marks").Body.String() != rec.Body.String() {
			t.Error("the same request has another answer")
		}
	})
}

func TestMarks_SayWhyThereAreNone(t *testing.T) {
	h := start(t)
	store(h, snapshot("BTCUSDT", time.Now()))
	for target, code := range map[string]int{
		"/levels/BTCUSDT/marks":              409, // its candles are not kept
		"/levels/ETHUSDT/marks":              404,
		"/levels/BTCUSDT/marks?interval=1H":  400,
		"/levels/BTCUSDT/marks?count=3":      400,
		"/levels/BTC%20USDT/marks":           400,
		"/levels/BTCUSDT/marks?exchange=all": 404,
	} {
		if rec := h.get(target); rec.Code != code {
			t.Errorf("%s: %d, want %d: %s", target, rec.Code, code, rec.Body)
		}
	}
}
