// Pins GET /levels/{symbol}/{id}: that it tells the level of GET /levels/{symbol},
// that what it tells adds up, and what is said when it cannot be told.
package api

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

type explanationJSON = wire.Explanation

// keeps has the store keep the candles that the exchange makes up, as of now.
func keeps(h *harness) {
	now := time.Now()
	h.store.CandlesFunc = func(key service.Key, from int64, dst *levels.Candles) (service.Kept, error) {
		step := key.Interval.Milliseconds()
		for at := (from + step - 1) / step * step; at+step <= now.UnixMilli(); at += step {
			if err := dst.Append(waves(at, step, 50000)); err != nil {
				return service.Kept{}, err
			}
		}
		return service.Kept{From: from, Simulated: true}, nil
	}
}

func TestExplanation_IsThatOfTheStoredLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
		keeps(h)
		rec := h.get("/levels/BTCUSDT")
		a := decode[analysisJSON](t, rec)
		n := 0
		for role, list := range map[string][]levelJSON{"support": a.Supports, "resistance": a.Resistances} {
			for _, l := range list {
				n++
				why := h.get("/levels/btc-usdt/" + l.ID + "?interval=1h&exchange=simulated")
				want(t, why, 200)
				e := decode[explanationJSON](t, why)
				if e.Symbol != "BTCUSDT" || e.Exchange != "simulated" || e.Interval != "1h" || !e.Simulated || e.Stale || e.Role != role || !e.AsOf.Equal(a.AsOf) {
					t.Errorf("%+v", e)
				}
				// the very text of the level
				body, level := rec.Body.String(), why.Body.String()
				begin := strings.Index(level, `"level":{`) + len(`"level":`)
				end := strings.Index(level, `,"tests":[`)
				if !strings.Contains(body, level[begin:end]) {
					t.Errorf("%s is not in %s", level[begin:end], body)
				}
				if e.Level.Tests == nil || len(e.Tests) != *e.Level.Tests {
					t.Errorf("%d tests of %+v", len(e.Tests), l)
				}
				if len(e.Touches) != e.Level.Touches || len(e.Sources) != len(l.Sources) || e.OddsReason != nil {
					t.Errorf("%d touches and %d sources of %+v", len(e.Touches), len(e.Sources), l)
				}
				for i, s := range e.Sources {
					if s.Name != l.Sources[i] {
						t.Errorf("source %d is %s, want %s", i, s.Name, l.Sources[i])
					}
				}
				sum := 0.0
				for _, f := range e.Factors {
					sum += f.Effect
				}
				if moved := 100 * (*e.Level.HoldProbability - *e.Level.BaselineHoldProbability); math.Abs(sum-moved) > 1e-9 || len(e.Factors) == 0 {
					t.Errorf("%d effects add up to %v, the odds moved by %v", len(e.Factors), sum, moved)
				}
			}
		}
		if n < 4 {
			t.Errorf("only %d levels", n)
		}
	})
}

func TestExplanation_WithoutOddsSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT","kline_limit":300,"store":true}`), 200)
		keeps(h)
		a := decode[analysisJSON](t, h.get("/levels/BTCUSDT"))
		rec := h.get("/levels/BTCUSDT/" + a.Supports[0].ID)
		want(t, rec, 200)
		if e := decode[explanationJSON](t, rec); e.OddsReason == nil || *e.OddsReason == "" || e.Factors != nil || len(e.Sources) == 0 {
			t.Errorf("%s", rec.Body)
		}
	})
}

func TestExplanation_SaysWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
		id := decode[analysisJSON](t, h.get("/levels/BTCUSDT")).Supports[0].ID
		for target, expected := range map[string]struct {
			status int
			code   string
		}{
			"/levels/BTCUSDT/" + id:                   {409, "not_explainable"}, // the store has no candles
			"/levels/BTCUSDT/00000000000000ab":        {404, "unknown_level"},
			"/levels/ETHUSDT/" + id:                   {404, "not_analyzed"},
			"/levels/BTCUSDT/" + id + "?interval=4h":  {404, "not_analyzed"},
			"/levels/BTCUSDT/" + id + "?exchange=okx": {404, "not_analyzed"},
			"/levels/BTCUSDT/" + id + "?interval=1H":  {400, "invalid_request"},
			"/levels/BTCUSDT/" + id + "?at=now":       {400, "invalid_request"},
			"/levels/BTCUSDT/" + id[1:]:               {400, "invalid_request"},
			"/levels/BTCUSDT/" + id + "0":             {400, "invalid_request"},
			"/levels/BTCUSDT/nothexadecimal00":        {400, "invalid_request"},
			"/levels/BTC USDT/" + id:                  {400, "invalid_request"},
		} {
			rec := h.get(strings.ReplaceAll(target, " ", "%20"))
			want(t, rec, expected.status)
			if p := problemOf(t, rec); p.Code != expected.code {
				t.Errorf("%s: %s, want %s", target, p.Code, expected.code)
			}
		}
	})
}

func TestExplanation_SaysWhenItIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
		keeps(h)
		id := decode[analysisJSON](t, h.get("/levels/BTCUSDT")).Supports[0].ID
		fresh := h.get("/levels/BTCUSDT/" + id).Body.String()
		time.Sleep(3 * time.Hour)
		later := h.get("/levels/BTCUSDT/" + id)
		want(t, later, 200)
		if !strings.Contains(fresh, `"stale":false,"stale_reason":null`) || !strings.Contains(later.Body.String(), `"stale":true,"stale_reason":"newer 1h candles`) {
			t.Errorf("fresh %.200s\nlater %.200s", fresh, later.Body)
		}
	})
}

func TestParseLevelID_ReadsWhatIsWritten(t *testing.T) {
	for _, id := range []uint64{0, 1, 0xb1c90d2e4f5a6b7c, math.MaxUint64} {
		if got, err := ParseLevelID(string(wire.AppendID(nil, id))); err != nil || got != id {
			t.Errorf("%x: %x, %v", id, got, err)
		}
	}
	for _, text := range []string{"", "1", "+000000000000001", "0x00000000000001", "1_00000000000000", strings.Repeat("g", 16), strings.Repeat("0", 17)} {
		if id, err := ParseLevelID(text); err == nil {
			t.Errorf("%q: %x", text, id)
		}
	}
}
