// Pins GET /levels/{symbol}: freshness told in words, what may be cached by whom
// and for how long, answers about the past, and the cache behind it.
package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

func store(h *harness, snaps ...service.Snapshot) {
	h.store.Put(context.Background(), service.Results{Snapshots: snaps})
}

func TestLevels_AnswerIsTheStoredAnalysisToTheByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is 2000-01-01T00:00:00Z
		h := start(t)
		store(h, snapshot("BTCUSDT", time.Now()))
		rec := h.get("/levels/BTCUSDT")
		want(t, rec, 200)
		const expected = `{"symbol":"BTCUSDT","name":null,"exchange":"simulated","interval":"1h","as_of":"2000-01-01T00:00:00Z","computed_at":"2000-01-01T00:00:41.207Z",` +
			`"last_price":100,"price":null,"price_at":null,"atr":2,"klines":500,"missing_klines":0,"stale":false,"stale_reason":null,"delisted_at":null,"simulated":true,"algorithm":"1","horizon_candles":168,` +
			`"odds_reason":null,"min_edge":0,"supports":[` +
			`{"id":"b1c90d2e4f5a6b7c","price":99,"low":98.5,"high":99.5,"edge":6.25,"faint":false,"strength":0.812,"touches":4,"first_touch":"1999-12-28T06:00:00Z","last_touch":"1999-12-31T15:00:00Z",` +
			`"sources":["swing","volume"],"distance_pct":-1,"distance_atr":-0.5,"status":"active","passed":false,` +
			`"state":"held","held_in_role":2,"tests":6,"held":3,"broke":2,"recent":["held","held","broke","held"],"first_tested":"1999-12-23T16:00:00Z","last_tested":"1999-12-31T16:00:00Z","found_by":["volume"],"replaces":"5c2f09a4e1b77d38","touch_probability":0.8417,"hold_probability":0.47,"hold_interval":[0.4521,0.4903],"baseline_hold_probability":0.4495,"samples":4718},` +
			`{"id":"0000000000000001","price":95,"low":94,"high":95.5,"edge":3.25,"faint":false,"strength":0.4,"touches":0,"first_touch":null,"last_touch":null,` +
			`"sources":["swing"],"distance_pct":-5,"distance_atr":-2.5,"status":"flipped","passed":false,` +
			`"state":"untested","held_in_role":0,"tests":0,"held":0,"broke":0,"recent":[],"first_tested":null,"last_tested":null,"found_by":[],"replaces":null,"touch_probability":0.5,"hold_probability":0.44,"hold_interval":[0.42,0.46],"baseline_hold_probability":0.4312,"samples":4600}],"resistances":[` +
			`{"id":"000000000000000a","price":103,"low":102,"high":104,"edge":4.5,"faint":false,"strength":0.6,"touches":1,"first_touch":"1999-12-31T19:00:00Z","last_touch":"1999-12-31T19:00:00Z",` +
			`"sources":["poc"],"distance_pct":3,"distance_atr":1.5,"status":"broken","passed":false,` +
			`"state":"unknown","held_in_role":null,"tests":null,"held":null,"broke":null,"recent":null,"first_tested":null,"last_tested":null,"found_by":["poc"],"replaces":null,"touch_probability":0.6,"hold_probability":0.45,"hold_interval":[0.43,0.47],"baseline_hold_probability":0.4401,"samples":4690}],"supports_reason":null,"resistances_reason":null}` + "\n"
		if got := rec.Body.String(); got != expected {
			t.Errorf("got\n%s\nwant\n%s", got, expected)
		}
	})
}

func TestLevels_WithoutOddsSayWhy(t *testing.T) {
	for _, c := range []struct {
		reason levels.NoOdds
		want   string
	}{
		{levels.UnknownInterval, "no odds are calibrated for this interval"},
		{levels.ShortHistory, "fewer than 500 candles"},
		{levels.BeforeOdds, "analysed by a version that did not estimate odds"},
	} {
		h := start(t)
		s := snapshot("BTCUSDT", time.Now())
		for _, side := range [][]levels.Level{s.Supports, s.Resistances} {
			for i := range side {
				side[i].NoOdds = c.reason
			}
		}
		store(h, s)
		rec := h.get("/levels/BTCUSDT")
		want(t, rec, 200)
		a := decode[analysisJSON](t, rec)
		if a.OddsReason == nil || *a.OddsReason != c.want || a.Supports[0].HoldProbability != nil {
			t.Errorf("%v: %s", c.reason, rec.Body)
		}
		rows := readCSV(t, h.get("/levels?format=csv"))
		first := slices.Index(rows[0], "touch_probability")
		if got := strings.Join(rows[1][first:first+6], ","); got != ",,,,," {
			t.Errorf("%v: the cells of the odds are %q", c.reason, got)
		}
	}
	h := start(t)
	for interval, want := range map[string]string{"1h": "", "1d": "no odds are calibrated for this interval"} {
		var page struct {
			Reason *string `json:"odds_reason"`
		}
		rec := h.get("/levels?interval=" + interval)
		if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil || page.Reason == nil != (want == "") || page.Reason != nil && *page.Reason != want {
			t.Errorf("a page of %s: %s", interval, rec.Body)
		}
	}
}

func TestLevels_FreshnessRunsFromCloseToClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		time.Sleep(10 * time.Minute)
		store(h, snapshot("BTCUSDT", time.Now())) // as of 00:00
		const next = "max-age=3000"
		var tag string
		for _, c := range []struct {
			after time.Duration
			cache string
			stale bool
		}{
			{0, "public, " + next, false},
			{49*time.Minute + 59*time.Second, "public, max-age=1", false}, // 00:59:59
			{time.Second, "no-cache", false},                              // 01:00:00, the next candle has closed
			{3 * time.Minute, "no-cache", false},                          // the last moment of its grace
			{time.Millisecond, "no-cache", true},
			{time.Hour, "no-cache", true},
		} {
			time.Sleep(c.after)
			rec := h.get("/levels/BTCUSDT")
			want(t, rec, 200)
			a := decode[analysisJSON](t, rec)
			if got := rec.Header().Get("Cache-Control"); got != c.cache || a.Stale != c.stale {
				t.Errorf("at %s: %q, stale %v; want %q, %v", time.Now().UTC(), got, a.Stale, c.cache, c.stale)
			}
			if got := rec.Header().Get("Last-Modified"); got != "Sat, 01 Jan 2000 00:00:00 GMT" {
				t.Errorf("Last-Modified %q", got)
			}
			changed := tag != "" && tag != rec.Header().Get("ETag")
			if tag = rec.Header().Get("ETag"); changed != (c.stale && c.after == time.Millisecond) {
				t.Errorf("at %s the tag changed: %v", time.Now().UTC(), changed)
			}
			if c.stale && *a.StaleReason != "newer 1h candles have closed since 2000-01-01T00:00:00Z; the next analysis was due by 2000-01-01T01:03:00Z" {
				t.Errorf("%s", *a.StaleReason)
			}
		}
		if hits := metric(t, h, "tidemark_http_cache_requests_total"); hits != 6 {
			t.Errorf("%v lookups", hits)
		}
	})
}

func TestStaleAfter_IsOneCandleAndItsGrace(t *testing.T) {
	asOf := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	for interval, grace := range map[levels.Interval]time.Duration{
		"1m": time.Minute, "3m": 2 * time.Minute, "15m": 2 * time.Minute, "30m": 2 * time.Minute,
		"1h": 3 * time.Minute, "4h": 12 * time.Minute, "1d": 72 * time.Minute,
	} {
		s := snapshot("BTCUSDT", asOf)
		s.Interval = interval
		begins := asOf.Add(interval.Duration() + grace)
		if reason := StaleReason(&s, begins); reason != "" {
			t.Errorf("%s: within its grace: %s", interval, reason)
		}
		if StaleReason(&s, begins.Add(time.Millisecond)) == "" {
			t.Errorf("%s: fresh longer than %s after the close of the next candle", interval, grace)
		}
	}
}

func TestLevels_TheClientThatHasItIsTold304(t *testing.T) {
	h := start(t)
	store(h, snapshot("BTCUSDT", time.Now()))
	tag := h.get("/levels/BTCUSDT").Header().Get("ETag")
	for _, c := range []struct {
		header string
		status int
	}{
		{tag, 304}, {"W/" + tag, 304}, {`"x", ` + tag, 304}, {`"a,b",W/"c" ,` + tag + `,"d"`, 304}, {"*", 304},
		{`"x"`, 200}, {strings.Trim(tag, `"`), 200}, {"", 200}, {`"`, 200}, {`"` + strings.Trim(tag, `"`), 200}, {`x ` + tag, 200},
	} {
		rec := h.get("/levels/btc-usdt?interval=1h", "If-None-Match", c.header)
		if rec.Code != c.status || (rec.Body.Len() == 0) != (c.status == 304) || rec.Header().Get("ETag") != tag {
			t.Errorf("%q: %d with %d bytes", c.header, rec.Code, rec.Body.Len())
		}
	}
	// a date says too little: the same moment may be analysed twice
	if rec := h.get("/levels/BTCUSDT", "If-Modified-Since", time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")); rec.Code != 200 {
		t.Errorf("If-Modified-Since: %d", rec.Code)
	}
}

func TestLevels_ThePastIsKeptForAWhileAndAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		begin := time.Now()
		for i := range 5 { // as of 00:00 to 04:00
			s := snapshot("BTCUSDT", begin.Add(time.Duration(i)*time.Hour))
			s.LastPrice = float64(100 + i)
			store(h, s)
		}
		time.Sleep(24 * time.Hour)
		ask := func(at string) (analysisJSON, string) {
			rec := h.get("/levels/BTCUSDT?at=" + at)
			want(t, rec, 200)
			return decode[analysisJSON](t, rec), rec.Header().Get("Cache-Control")
		}
		const forAWhile = "public, max-age=300"
		a, cache := ask("2000-01-01T02:30:00Z")
		if a.LastPrice != 102 || a.Stale || cache != forAWhile {
			t.Errorf("%v, stale %v, %q", a.LastPrice, a.Stale, cache)
		}
		if a, _ := ask("2000-01-01T03:30:00%2B01:00"); a.LastPrice != 102 {
			t.Errorf("another time zone: %v", a.LastPrice)
		}
		if a, _ := ask("2000-01-01T09:00:00Z"); a.LastPrice != 104 || !a.Stale || !strings.Contains(*a.StaleReason, "due by 2000-01-01T05:03:00Z") {
			t.Errorf("five hours after the last: %+v", a)
		}
		if _, cache := ask("2000-01-01T23:00:00Z"); cache != "no-cache" {
			t.Errorf("an analysis of that moment may still come, but %q", cache)
		}
		rec := h.get("/levels/BTCUSDT?at=2000-01-01T02:30:00Z")
		want(t, h.get("/levels/BTCUSDT?at=2000-01-01T02:30:00Z", "If-None-Match", rec.Header().Get("ETag")), 304)
		late := snapshot("BTCUSDT", begin.Add(2*time.Hour))
		late.LastPrice = 102.5
		store(h, late)
		if rec := h.get("/levels/BTCUSDT?at=2000-01-01T02:30:00Z", "If-None-Match", rec.Header().Get("ETag")); rec.Code != 200 || decode[analysisJSON](t, rec).LastPrice != 102.5 {
			t.Errorf("after a batch that came late: %d %s", rec.Code, rec.Body)
		}
		want(t, h.get("/levels/BTCUSDT?at=1999-12-31T23:59:59Z"), 404)
		for _, bad := range []string{"2000-01-03T00:00:00Z", "yesterday", "946684800", "2000-01-01", "0001-01-01T00:00:00Z"} {
			rec := h.get("/levels/BTCUSDT?at=" + bad)
			want(t, rec, 400)
			if p := problemOf(t, rec); p.Errors[0].Parameter != "at" {
				t.Errorf("%+v", p)
			}
		}
	})
}

func TestLevels_WhatIsNotThereIsNotAnalyzed(t *testing.T) {
	h := start(t)
	store(h, snapshot("BTCUSDT", time.Now()))
	for _, target := range []string{"/levels/ETHUSDT", "/levels/BTCUSDT?interval=4h", "/levels/BTCUSDT?exchange=binance"} {
		rec := h.get(target)
		if rec.Code != 404 || problemOf(t, rec).Code != "not_analyzed" {
			t.Errorf("%s: %d %s", target, rec.Code, rec.Body)
		}
	}
}

func TestLevels_RefusalsNameTheParameter(t *testing.T) {
	h := start(t)
	for target, parameter := range map[string]string{
		"/levels/BTCUSDT?interval=1H":             "interval",
		"/levels/BTCUSDT?interval=1h&interval=4h": "interval",
		"/levels/BTCUSDT?exchange=A%20B":          "exchange",
		"/levels/BTCUSDT?foo=1":                   "foo",
		"/levels/BTCUSDT?interval=%zz":            "interval",
		"/levels/BTC%20USDT":                      "symbol",
		"/levels/" + strings.Repeat("A", 41):      "symbol",
		"/levels/%2F":                             "symbol",
		"/levels/BTC%00":                          "symbol",
		"/levels/..%2Fetc":                        "symbol",
	} {
		rec := h.get(target)
		if target == "/levels/..%2Fetc" { // dots are part of symbols somewhere
			want(t, rec, 404)
			continue
		}
		if rec.Code != 400 || problemOf(t, rec).Errors[0].Parameter != parameter {
			t.Errorf("%s: %d %s", target, rec.Code, rec.Body)
		}
	}
}

func TestLevels_AreFoundHoweverTheSymbolIsWritten(t *testing.T) {
	h := start(t)
	store(h, snapshot("BTCUSDT", time.Now()), snapshot("币安人生USDT", time.Now()))
	for _, path := range []string{"BTCUSDT", "btcusdt", "BTC-USDT", "BTC%2FUSDT", "btc%2fusdt", "%42TCUSDT",
		"%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT", "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9F%2Fusdt"} {
		if rec := h.get("/levels/" + path); rec.Code != 200 {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
}

func TestCache_HitsDoNotReachTheStore(t *testing.T) {
	h := start(t)
	reads := 0
	h.store.SnapshotFunc = func(k service.Key, _ time.Time) (service.Snapshot, error) {
		reads++
		return snapshot(k.Symbol, time.Now()), nil
	}
	first := h.get("/levels/BTCUSDT").Body.String()
	for range 10 {
		if again := h.get("/levels/btc-usdt?exchange=simulated").Body.String(); again != first {
			t.Fatal("a hit differs from the miss")
		}
	}
	if reads != 1 {
		t.Errorf("the store was read %d times", reads)
	}
}

func TestCache_InvalidateReachesWhatItNames(t *testing.T) {
	for _, c := range []struct {
		exchange string
		interval levels.Interval
		symbols  []string
		dropped  string // of AUSDT, BUSDT
	}{
		{"simulated", "1h", []string{"AUSDT", "ZUSDT"}, "A"},
		{"simulated", "1h", nil, "AB"},
		{"simulated", "4h", nil, ""},
		{"simulated", "4h", []string{"AUSDT"}, ""},
		{"binance", "1h", []string{"AUSDT"}, ""},
		{"", "", nil, "AB"},
	} {
		h := start(t)
		reads := ""
		h.store.SnapshotFunc = func(k service.Key, _ time.Time) (service.Snapshot, error) {
			reads += k.Symbol[:1]
			return snapshot(k.Symbol, time.Now()), nil
		}
		h.get("/levels/AUSDT")
		h.get("/levels/BUSDT")
		reads = ""
		h.api.Invalidate(c.exchange, c.interval, c.symbols)
		h.get("/levels/AUSDT")
		h.get("/levels/BUSDT")
		if reads != c.dropped {
			t.Errorf("%+v: %q was read again", c, reads)
		}
	}
}

func TestCache_WhatWasReadBeforeAChangeIsNotKeptAfterIt(t *testing.T) {
	h := start(t)
	old, reads := true, 0
	h.store.SnapshotFunc = func(k service.Key, _ time.Time) (service.Snapshot, error) {
		reads++
		s := snapshot(k.Symbol, time.Now())
		if old { // while this is being read the change is stored and announced
			old = false
			h.api.Invalidate("simulated", "1h", []string{"OTHERUSDT"})
			return s, nil
		}
		s.LastPrice = 101
		return s, nil
	}
	h.get("/levels/BTCUSDT")
	if a := decode[analysisJSON](t, h.get("/levels/BTCUSDT")); a.LastPrice != 101 || reads != 2 {
		t.Errorf("price %v after %d reads: the old reply was kept", a.LastPrice, reads)
	}
	if h.get("/levels/BTCUSDT"); reads != 2 {
		t.Error("the new reply was not kept")
	}
}

func TestCache_StaysUnderItsBoundAndKeepsWhatIsUsed(t *testing.T) {
	const limit = 64 << 10
	h := start(t, func(c *Config, _ *service.Config) { c.CacheBytes = limit })
	reads := map[string]int{}
	h.store.SnapshotFunc = func(k service.Key, _ time.Time) (service.Snapshot, error) {
		reads[k.Symbol]++
		return snapshot(k.Symbol, time.Now()), nil
	}
	for i := range 100 {
		h.get(fmt.Sprintf("/levels/S%dUSDT", i))
		h.get("/levels/HOTUSDT")
		if bytes, n := h.api.cache.usage(); bytes > limit || n > limit/1000 {
			t.Fatalf("%d bytes in %d entries", bytes, n)
		}
	}
	if bytes, n := h.api.cache.usage(); bytes < limit/2 || n < 10 {
		t.Errorf("only %d bytes in %d entries are used", bytes, n)
	}
	if reads["HOTUSDT"] != 1 {
		t.Errorf("the pair in use was read %d times", reads["HOTUSDT"])
	}
	h.api.Invalidate("", "", nil)
	if bytes, n := h.api.cache.usage(); bytes != 0 || n != 0 {
		t.Errorf("%d bytes in %d entries are left of nothing", bytes, n)
	}
}

// What is asked for in bulk makes little garbage: the reply, its request id, and nothing
// that the cache could keep.
func TestCache_AHitAllocatesLittle(t *testing.T) {
	h := start(t, quiet)
	store(h, snapshot("BTCUSDT", time.Now()))
	rec := h.get("/levels/BTCUSDT")
	want(t, rec, 200)
	for _, tag := range []string{"", rec.Header().Get("ETag")} {
		r := localRequest("GET", "/levels/BTCUSDT", nil)
		if tag != "" {
			r.Header.Set("If-None-Match", tag)
		}
		w := &discard{http.Header{}}
		if n := testing.AllocsPerRun(100, func() {
			clear(w.h)
			h.api.ServeHTTP(w, r)
		}); n > 4 {
			t.Errorf("%v allocations with If-None-Match %s", n, tag)
		}
	}
}

// The reply to POST /analyze is the next reader's, unless it may not show the newest
// analysis any more.
func TestCache_KeepsTheReplyOfAnAnalysisThatWasStored(t *testing.T) {
	const exchange, interval = "simulated", levels.Interval("1h")
	pair := []string{"BTCUSDT"}
	for name, c := range map[string]struct {
		body    string
		changes func(a *API, asOf int64)
		kept    bool
	}{
		"stored": {changes: func(a *API, asOf int64) { a.Stored(exchange, interval, pair, []int64{asOf}) }, kept: true},
		"stored, and other pairs": {changes: func(a *API, asOf int64) {
			a.Invalidate(exchange, interval, []string{"ETHUSDT"})
			a.Invalidate(exchange, "4h", pair)
			a.Stored(exchange, interval, []string{"ADAUSDT", "BTCUSDT"}, []int64{asOf + 1, asOf})
			a.Invalidate("okx", interval, pair)
		}, kept: true},
		"older than what is there": {changes: func(*API, int64) {}},
		"another process stored one": {changes: func(a *API, asOf int64) {
			a.Invalidate(exchange, interval, pair)
		}},
		"another process stored one after it": {changes: func(a *API, asOf int64) {
			a.Stored(exchange, interval, pair, []int64{asOf})
			a.Invalidate(exchange, interval, pair)
		}},
		"anything may have been stored": {changes: func(a *API, asOf int64) {
			a.Stored(exchange, interval, pair, []int64{asOf})
			a.Invalidate("", "", nil)
		}},
		"a sweep stored one as well": {changes: func(a *API, asOf int64) {
			a.Stored(exchange, interval, pair, []int64{asOf})
			a.Stored(exchange, interval, pair, []int64{asOf})
		}},
		"a sweep stored a newer one": {changes: func(a *API, asOf int64) {
			a.Stored(exchange, interval, pair, []int64{asOf + 3_600_000})
		}},
		"not to be stored": {body: `{"symbol":"BTCUSDT","store":false}`},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			store(h, snapshot("BTCUSDT", time.Now()))
			want(t, h.get("/levels/BTCUSDT"), 200) // there is an older reply
			reads := 0
			h.store.SnapshotFunc = func(service.Key, time.Time) (service.Snapshot, error) {
				reads++
				return snapshot("BTCUSDT", time.Now()), nil
			}
			h.store.stored = func(b service.Results) {
				for _, s := range b.Snapshots {
					c.changes(h.api, s.AsOf.UnixMilli())
				}
			}
			analysed := h.do("POST", "/analyze", cmp.Or(c.body, `{"symbol":"BTCUSDT"}`))
			want(t, analysed, 200)
			got := h.get("/levels/BTCUSDT")
			want(t, got, 200)
			same := got.Body.String() == analysed.Body.String()
			if c.kept != same || c.kept && reads > 0 {
				t.Errorf("the same reply: %v, after %d reads", same, reads)
			}
			if n := len(h.api.cache.awaited); n > 0 {
				t.Errorf("%d analyses are still awaited", n)
			}
		})
	}
}

func TestCache_OffKeepsNothing(t *testing.T) {
	h := start(t, func(c *Config, _ *service.Config) { c.CacheBytes = 0 })
	store(h, snapshot("BTCUSDT", time.Now()))
	for range 3 {
		want(t, h.get("/levels/BTCUSDT"), 200)
	}
	if bytes, n := h.api.cache.usage(); bytes != 0 || n != 0 {
		t.Errorf("%d bytes in %d entries", bytes, n)
	}
}

func TestCache_IsSafeUnderConcurrentUse(t *testing.T) {
	h := start(t, quiet, func(c *Config, _ *service.Config) { c.CacheBytes = 16 << 10 })
	market(h, 20)
	done := make(chan bool)
	for g := range 4 {
		go func() {
			for i := range 40 {
				h.get(fmt.Sprintf("/levels/S%dUSDT", 1000+(i*7+g)%20))
				if i%10 == g {
					h.api.Invalidate("simulated", "1h", []string{"S1003USDT"})
				}
			}
			done <- true
		}()
	}
	for range 4 {
		<-done
	}
}

// What is stored of a delisted pair is still told, as what it is; a moment before the
// delisting knows nothing of it.
func TestLevels_OfADelistedPairAreStale(t *testing.T) {
	h := start(t)
	snap := snapshot("OLDUSDT", time.Now().Add(-30*time.Minute))
	snap.DelistedAt = snap.AsOf.Add(20 * time.Minute)
	store(h, snap)
	type reply struct {
		Stale       bool
		StaleReason string     `json:"stale_reason"`
		DelistedAt  *time.Time `json:"delisted_at"`
	}
	rec := h.get("/levels/OLDUSDT")
	want(t, rec, 200)
	if got := decode[reply](t, rec); !got.Stale || !strings.Contains(got.StaleReason, "does not list") || got.DelistedAt == nil || !got.DelistedAt.Equal(snap.DelistedAt) {
		t.Errorf("now: %+v", got)
	}
	rec = h.get("/levels/OLDUSDT?at=" + snap.DelistedAt.Add(-time.Second).Format(time.RFC3339))
	want(t, rec, 200)
	if got := decode[reply](t, rec); got.Stale || got.DelistedAt != nil {
		t.Errorf("before: %+v", got)
	}
}
