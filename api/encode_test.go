// Pins how figures are written: rounded as promised, in plain decimals, and as
// null where there is nothing to say.
package api

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

func unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

func TestEncode_FiguresArePlainDecimals(t *testing.T) {
	for _, c := range []struct {
		f                   float64
		plain, two, sixFigs string
	}{
		{61234.5, "61234.5", "61234.5", "61234.5"},
		{0.00000123, "0.00000123", "0", "0.00000123"},
		{-0.001, "-0.001", "0", "-0.001"},
		{-1.395, "-1.395", "-1.4", "-1.395"},
		{703.4716934, "703.4716934", "703.47", "703.472"},
		{1e21, "1000000000000000000000", "1000000000000000000000", "1000000000000000000000"},
		{0, "0", "0", "0"},
	} {
		if got := string(appendJSON(nil, &c.f)); got != c.plain {
			t.Errorf("%v: %s", c.f, got)
		}
		if got := string(appendFloat(nil, wire.Rounded(c.f, 2))); got != c.two {
			t.Errorf("%v to two decimals: %s", c.f, got)
		}
		if got := string(appendFloat(nil, wire.SixDigits(c.f))); got != c.sixFigs {
			t.Errorf("%v to six digits: %s", c.f, got)
		}
	}
}

func TestEncode_TimesAreUTCWithMillisecondsIfAny(t *testing.T) {
	at := time.Date(2026, 11, 22, 20, 0, 0, 0, time.FixedZone("", 3600))
	for text, v := range map[string]time.Time{
		`"2026-11-22T19:00:00Z"`:     at,
		`"2026-11-22T19:00:00.25Z"`:  at.Add(250*time.Millisecond + 999*time.Microsecond),
		`"2026-11-22T19:00:00.007Z"`: at.Add(7 * time.Millisecond),
		"null":                       {},
	} {
		if got := string(appendJSON(nil, new(momentOrNil(v)))); got != text {
			t.Errorf("%v: %s, want %s", v, got, text)
		}
	}
}

func TestEncode_AMarketThatDidNotMoveHasNoDistanceInATR(t *testing.T) {
	w := new(levelValues).level(&levels.Level{Price: 100}, 100, 0, 0, false)
	b := appendJSON(nil, &w)
	var l levelJSON
	if err := json.Unmarshal(b, &l); err != nil || l.DistanceATR != nil || l.DistancePct != 0 {
		t.Errorf("%s, %v", b, err)
	}
}

func TestEncode_AnyAnalysisIsValidJSON(t *testing.T) {
	for _, last := range []float64{math.MaxFloat64, 1, math.SmallestNonzeroFloat64} {
		for _, atr := range []float64{0, math.SmallestNonzeroFloat64, math.MaxFloat64} {
			for _, price := range []float64{math.MaxFloat64, 1, math.SmallestNonzeroFloat64} {
				s := service.Snapshot{Key: service.Key{Symbol: "\xff\"\\\u2028", Interval: "1h"}, LastPrice: last, ATR: atr,
					Supports: []levels.Level{{Price: price, ID: math.MaxUint64, Sources: ^levels.Sources(0)}}}
				if b := AppendAnalysis(nil, &s, time.Now(), Shown{}); !json.Valid(b) {
					t.Errorf("%s", b)
				}
			}
		}
	}
}

func TestEncode_AResultIsJudgedAsOfWhenItWasMade(t *testing.T) {
	old := snapshot("BTCUSDT", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
	fresh := string(appendJSON(nil, new(API).jobOf(&job.Job{Result: &old})))
	if !strings.Contains(fresh, `"stale":false`) {
		t.Errorf("what was fresh when the job found it: %s", fresh)
	}
	old.ComputedAt = old.AsOf.Add(3 * time.Hour)
	if b := string(appendJSON(nil, new(API).jobOf(&job.Job{Result: &old}))); !strings.Contains(b, `"stale":true`) {
		t.Errorf("what was stale when the job found it: %s", b)
	}
}

func TestEncode_TheCommandsSayWhatTheAPISays(t *testing.T) {
	h := start(t)
	s := snapshot("BTCUSDT", time.Now())
	store(h, s)
	if got := h.get("/levels/BTCUSDT").Body.String(); got != string(AppendAnalysis(nil, &s, time.Now(), Shown{}))+"\n" {
		t.Errorf("%s", got)
	}
	if got := h.get("/levels?format=csv").Body.String(); got != string(AppendCSV(nil, &s, time.Now(), Shown{})) {
		t.Errorf("%s", got)
	}
	if name, err := ParseSymbol("btc/usdt"); name != "BTCUSDT" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := ParseSymbol("BTC USDT"); err == nil || !strings.Contains(err.Error(), "BTC USDT") {
		t.Errorf("%v", err)
	}
}
