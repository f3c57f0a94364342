package api

// These tests pin requests to a process of several exchanges: a pair is found by its name
// on the exchange that has it, a name of several is answered with the choices, reads of a
// market cover all exchanges, and with one exchange nothing changes.

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// ofOKX are pairs with ids of another form than Binance's.
func ofOKX() []service.Symbol {
	var all []service.Symbol
	for _, base := range []string{"BTC", "ONLY"} {
		all = append(all, service.Symbol{Name: base + "-USDT", Base: base, Quote: "USDT", Trading: true, Status: "live", Tick: service.Tick{Units: 1, Decimals: 1}, QuoteVolume: 5})
	}
	return all
}

// several starts an API of two exchanges whose pairs are known.
func several(t *testing.T) *harness {
	t.Helper()
	h := startOn(t, []*fakeExchange{
		{market: service.Market{Exchange: "binance"}},
		{market: service.Market{Exchange: "okx"}, list: ofOKX()},
	})
	for _, p := range (&fakeExchange{}).pairs() {
		h.store.pairs = append(h.store.pairs, service.KnownPair{Exchange: "binance", Symbol: p.Name, Name: p.Canonical(), Base: p.Base, Quote: p.Quote, Active: p.Trading})
	}
	for _, p := range ofOKX() {
		h.store.pairs = append(h.store.pairs, service.KnownPair{Exchange: "okx", Symbol: p.Name, Name: p.Canonical(), Base: p.Base, Quote: p.Quote, Active: true})
	}
	return h
}

func TestExchanges_APairIsFoundOnTheExchangeThatHasIt(t *testing.T) {
	h := several(t)
	for body, want := range map[string]string{
		`{"symbol":"BTCUSDT"}`:                        "binance BTCUSDT",
		`{"symbol":"BTC-USDT"}`:                       "okx BTC-USDT",
		`{"symbol":"ETH/USDT"}`:                       "binance ETHUSDT",
		`{"symbol":"only/usdt"}`:                      "okx ONLY-USDT",
		`{"symbol":"BTC/USDT","exchange":"okx"}`:      "okx BTC-USDT",
		`{"symbol":"BTCUSDT","exchange":"okx"}`:       "okx BTC-USDT",
		`{"symbol":"BTC/USDT","exchange":"binance"}`:  "binance BTCUSDT",
		`{"symbol":"BTC-USDT","exchange": "binance"}`: "binance BTCUSDT",
	} {
		var a wire.Analysis
		rec := h.do("POST", "/analyze", body)
		if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil || rec.Code != 200 || *a.Exchange+" "+*a.Symbol != want ||
			a.Name == nil || strings.ReplaceAll(*a.Name, "/", "") != strings.ReplaceAll(*a.Symbol, "-", "") {
			t.Errorf("%s: %d %.200s", body, rec.Code, rec.Body)
		}
	}
	// every route of a pair, by each of its names
	for name, want := range map[string]string{
		"BTCUSDT": "binance BTCUSDT", "BTC-USDT": "okx BTC-USDT", "ETH%2FUSDT": "binance ETHUSDT", "ETH/USDT": "binance ETHUSDT",
		"ONLY/USDT": "okx ONLY-USDT", "onlyusdt": "okx ONLY-USDT",
		"BTC/USDT?exchange=okx": "okx BTC-USDT", "BTCUSDT?exchange=okx": "okx BTC-USDT", "BTC/USDT?exchange=binance": "binance BTCUSDT",
	} {
		path, query, _ := strings.Cut(name, "?")
		for _, route := range []string{"/levels/" + path, "/klines/" + path, "/klines/" + path + "/forming", "/levels/" + path + "/chart.svg"} {
			rec := h.get(route + "?" + query)
			var a struct{ Exchange, Symbol, Name string }
			if strings.HasSuffix(route, ".svg") {
				_, symbol, _ := strings.Cut(want, " ")
				if rec.Code != 409 && !strings.Contains(rec.Body.String(), symbol) { // the fake keeps no candles
					t.Errorf("%s: %d %.200s", route, rec.Code, rec.Body)
				}
				continue
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil || rec.Code != 200 || a.Exchange+" "+a.Symbol != want ||
				strings.ReplaceAll(a.Name, "/", "") != strings.ReplaceAll(a.Symbol, "-", "") {
				t.Errorf("%s?%s: %d %.200s, want %s", route, query, rec.Code, rec.Body, want)
			}
		}
	}
}

func TestExchanges_ANameOfSeveralIsAnsweredWithTheChoices(t *testing.T) {
	h := several(t)
	want := []wire.PairChoice{{Exchange: "binance", Symbol: "BTCUSDT", Name: "BTC/USDT"}, {Exchange: "okx", Symbol: "BTC-USDT", Name: "BTC/USDT"}}
	for _, request := range [][2]string{
		{"GET", "/levels/BTC/USDT"}, {"GET", "/levels/BTC%2FUSDT"}, {"GET", "/levels/btc/usdt?format=csv"}, {"GET", "/levels/BTC/USDT/chart.png"},
		{"GET", "/levels/BTC/USDT/00000000000000ab"}, {"GET", "/klines/BTC/USDT"}, {"GET", "/klines/BTC/USDT/forming"}, {"POST", `{"symbol":"BTC/USDT"}`},
	} {
		path, body := request[1], ""
		if request[0] == "POST" {
			path, body = "/analyze", path
		}
		rec := h.do(request[0], path, body)
		var p wire.Problem
		if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || rec.Code != 409 || p.Code != "ambiguous_symbol" || !slices.Equal(p.Choices, want) {
			t.Errorf("%s %s: %d %s", request[0], request[1], rec.Code, rec.Body)
		}
	}
	for body, pointer := range map[string]string{`{"all":true}`: "/exchange", `{"symbols":["BTCUSDT","ETHUSDT"]}`: "/exchange"} {
		rec := h.do("POST", "/analyze", body)
		if p := problemOf(t, rec); rec.Code != 400 || *p.Errors[0].Pointer != pointer || !strings.Contains(p.Detail, "binance, okx") {
			t.Errorf("%s: %d %s", body, rec.Code, rec.Body)
		}
	}
	if rec := h.get("/levels/NONE"); rec.Code != 422 || problemOf(t, rec).Code != "unknown_symbol" {
		t.Errorf("a pair of none: %d %s", rec.Code, rec.Body)
	}
}

func TestExchanges_AListOfSymbolsHasTheIdsOfItsExchange(t *testing.T) {
	h := several(t)
	rec := h.do("POST", "/analyze", `{"symbols":["BTC/USDT","onlyusdt"],"exchange":"okx"}`)
	var j wire.Job
	if err := json.Unmarshal(rec.Body.Bytes(), &j); err != nil || rec.Code != 202 || *j.Exchange != "okx" {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		done, err := h.store.Job(t.Context(), j.ID)
		if err == nil && done.State.Final() {
			if done.State != job.Completed || done.Done != 2 {
				t.Errorf("%+v", done)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the job does not end")
		}
	}
}

func TestExchanges_ReadsOfAMarketCoverAll(t *testing.T) {
	h := several(t)
	now := time.Now().Truncate(time.Hour).UTC()
	put := func(exchange, symbol string, distance float64) {
		key := service.Key{Exchange: exchange, Symbol: symbol, Interval: "1h"}
		h.store.snaps[key] = []service.Snapshot{{
			Key: key, AsOf: now, ComputedAt: now, LastPrice: 100, ATR: 1, Klines: 500, Algorithm: levels.Algorithm,
			Supports: []levels.Level{{ID: 7, Price: 100 - distance, Low: 99 - distance, High: 100 - distance, Strength: 0.5}},
		}}
	}
	put("binance", "BTCUSDT", 3)
	put("okx", "BTC-USDT", 1)
	put("okx", "ONLY-USDT", 3)
	put("binance", "ETHUSDT", 2)
	put("kraken", "XBTUSD", 0.5) // of another process
	for query, want := range map[string]string{
		"":                              "okx BTC-USDT, binance ETHUSDT, binance BTCUSDT, okx ONLY-USDT",
		"exchange=okx":                  "okx BTC-USDT, okx ONLY-USDT",
		"exchange=kraken":               "kraken XBTUSD",
		"symbol=BTC":                    "okx BTC-USDT, binance BTCUSDT",
		"symbols=BTC/USDT,ETHUSDT":      "okx BTC-USDT, binance ETHUSDT, binance BTCUSDT",
		"symbol=btc-us&exchange=okx":    "okx BTC-USDT",
		"sort=-symbol&symbols=BTC-USDT": "binance BTCUSDT, okx BTC-USDT",
	} {
		for _, limit := range []int{1, 100} { // a page of all rows, and pages of one
			var rows []string
			for cursor, more := "", true; more; more = cursor != "" {
				page := screen(t, h, fmt.Sprintf("?%s&limit=%d&cursor=%s", query, limit, url.QueryEscape(cursor)))
				for _, r := range page.Levels {
					rows = append(rows, r.Exchange+" "+r.Symbol)
				}
				cursor = ""
				if page.Next != nil {
					cursor = *page.Next
				}
				wantName := "all"
				if strings.Contains(query, "exchange=") {
					_, wantName, _ = strings.Cut(query, "exchange=")
				}
				if page.Exchange != wantName {
					t.Errorf("%q is of %s, want %s", query, page.Exchange, wantName)
				}
			}
			if got := strings.Join(rows, ", "); got != want {
				t.Errorf("%q by %d: %s, want %s", query, limit, got, want)
			}
		}
	}

	var symbols wire.SymbolList[[]wire.Symbol]
	count := map[string]int{}
	decodeReply(t, h, "/symbols", &symbols)
	for _, s := range symbols.Symbols {
		count[s.Exchange]++
		if s.Name != s.Base+"/"+s.Quote {
			t.Errorf("%+v", s)
		}
	}
	if symbols.Exchange != "all" || count["okx"] != 2 || count["binance"] != 7 {
		t.Errorf("symbols of %s: %v", symbols.Exchange, count)
	}
	decodeReply(t, h, "/symbols?exchange=okx&symbol=BTC", &symbols)
	if symbols.Exchange != "okx" || symbols.Count != 1 {
		t.Errorf("symbols of okx: %+v", symbols)
	}

	for _, exchange := range []string{"okx", "binance"} {
		want(t, h.do("POST", "/analyze", `{"all":true,"exchange":"`+exchange+`"}`), 202)
		h.store.schedules = append(h.store.schedules, job.ScheduleState{Exchange: exchange, Interval: "1h", Text: "1h", NextRun: now})
	}
	for query, want := range map[string]int{"": 2, "?exchange=okx": 1, "?exchange=kraken": 0} {
		var jobs wire.JobList
		if decodeReply(t, h, "/jobs"+query, &jobs); len(jobs.Jobs) != want || want == 1 && *jobs.Jobs[0].Exchange != "okx" {
			t.Errorf("jobs of %q: %+v", query, jobs.Jobs)
		}
		var schedules wire.ScheduleList
		if decodeReply(t, h, "/schedules"+query, &schedules); len(schedules.Schedules) != want {
			t.Errorf("schedules of %q: %+v", query, schedules)
		}
	}
}

func decodeReply(t *testing.T, h *harness, path string, into any) {
	t.Helper()
	rec := h.get(path)
	if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil || rec.Code != 200 {
		t.Fatalf("%s: %d %v %.300s", path, rec.Code, err, rec.Body)
	}
}

func TestExchanges_TheirStateIsShown(t *testing.T) {
	until := time.Now().Add(time.Hour)
	h := startOn(t, []*fakeExchange{{market: service.Market{Exchange: "binance", Simulated: true}}, {market: service.Market{Exchange: "okx"}}},
		func(c *Config, _ *service.Config) {
			c.Status = func(exchange string) service.VenueStatus {
				if exchange == "okx" {
					return service.VenueStatus{}
				}
				return service.VenueStatus{
					Budgets:     []service.BudgetStatus{{Name: "weight", Used: 812, Limit: 6000, Share: 0.7}},
					PausedUntil: until, Banned: true, ClockSkew: new(-12 * time.Millisecond), LastSuccess: until.Add(-time.Hour), Reachable: new(true),
					Replay: "2021-04-04/2023-12-30",
				}
			}
		})
	h.store.pairs = []service.KnownPair{{Exchange: "binance", Symbol: "BTCUSDT"}}
	h.store.snaps[service.Key{Exchange: "kraken", Symbol: "XBTUSD", Interval: "1h"}] = []service.Snapshot{{AsOf: until}}
	var list wire.ExchangeList
	decodeReply(t, h, "/exchanges", &list)
	if len(list.Exchanges) != 3 {
		t.Fatalf("%+v", list)
	}
	for i, name := range []string{"binance", "okx", "kraken"} {
		if e := list.Exchanges[i]; e.Exchange != name || e.Served != (name != "kraken") || (e.Status == nil) != (name == "kraken") {
			t.Errorf("%+v, want %s", e, name)
		}
	}
	one, two := list.Exchanges[0], list.Exchanges[1]
	if *one.Pairs != 1 || two.Pairs != nil {
		t.Errorf("pairs %v and %v", one.Pairs, two.Pairs)
	}
	s := one.Status
	if !s.Simulated || s.Budgets[0] != (wire.Budget{Name: "weight", Used: 812, Limit: 6000, UsedShare: 0.135, Share: 0.7}) ||
		!s.PausedUntil.Equal(wire.Moment(until)) || *s.PauseReason != "banned" || *s.ClockSkewMS != -12 || !*s.Reachable || s.LastSuccess == nil || *s.Replay != "2021-04-04/2023-12-30" {
		t.Errorf("%+v", s)
	}
	if s := two.Status; s.Simulated || len(s.Budgets) != 0 || s.PausedUntil != nil || s.PauseReason != nil || s.ClockSkewMS != nil || s.LastSuccess != nil || s.Reachable != nil || s.Replay != nil {
		t.Errorf("an exchange of which nothing is known: %+v", s)
	}
}

func TestExchanges_ACachedReplyNeedsNoLookup(t *testing.T) {
	h := start(t)
	store(h, snapshot("BTCUSDT", time.Now()))
	want(t, h.get("/levels/BTCUSDT"), 200)
	h.store.err = service.ErrStorage // whatever asks the store fails
	for _, name := range []string{"BTCUSDT", "btcusdt", "BTC-USDT"} {
		if rec := h.get("/levels/" + name); rec.Code != 200 {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
}

func TestExchanges_APairIsShownOnAllSideBySide(t *testing.T) {
	h := several(t)
	now := time.Now().Truncate(time.Hour).UTC()
	put := func(exchange, symbol string, atr float64, supports ...float64) {
		key := service.Key{Exchange: exchange, Symbol: symbol, Interval: "1h"}
		s := service.Snapshot{Key: key, AsOf: now, ComputedAt: now, LastPrice: 100, ATR: atr, Klines: 500, Algorithm: levels.Algorithm}
		for i, price := range supports {
			s.Supports = append(s.Supports, levels.Level{ID: uint64(i), Price: price, Low: price - 1, High: price, Strength: 0.5})
		}
		// a level of the other side does not count
		s.Resistances = []levels.Level{{ID: 99, Price: 101 + float64(len(exchange)), Low: 101, High: 111, Strength: 0.5}}
		h.store.snaps[key] = []service.Snapshot{s}
	}
	put("binance", "BTCUSDT", 4, 99, 95, 90) // shared within 1
	put("okx", "BTC-USDT", 2, 98.2, 94.4)    // shared within 0.5
	put("okx", "ONLY-USDT", 2, 99)
	for _, path := range []string{"/levels/BTC/USDT?exchange=all", "/levels/BTC-USDT?exchange=all&interval=1h", "/levels/btcusdt?exchange=all"} {
		rec := h.get(path)
		var all wire.PairOnExchanges
		if err := json.Unmarshal(rec.Body.Bytes(), &all); err != nil || rec.Code != 200 || all.Name != "BTC/USDT" || len(all.Exchanges) != 2 {
			t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
		}
		for i, want := range []string{"binance BTCUSDT [2 2 1] [1]", "okx BTC-USDT [1 1] [1]"} {
			e := all.Exchanges[i]
			venues := func(of []wire.SharedLevel) (n []int) {
				for _, l := range of {
					n = append(n, l.Venues)
				}
				return n
			}
			if got := fmt.Sprint(e.Exchange, " ", e.Symbol, " ", venues(e.Supports), " ", venues(e.Resistances)); got != want {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		}
	}
	for path, want := range map[string]int{
		"/levels/NONE?exchange=all": 422, "/levels/ETHUSDT?exchange=all": 404, "/levels/BTCUSDT?exchange=all&format=csv": 400, "/levels/BTCUSDT?exchange=all&at=" + now.Format(time.RFC3339): 400,
	} {
		if rec := h.get(path); rec.Code != want {
			t.Errorf("%s: %d %s, want %d", path, rec.Code, rec.Body, want)
		}
	}
}

// Invented levels confirm no real ones, and old ones no new ones.
func TestExchanges_OnlyLevelsOfTheSameKindAreShared(t *testing.T) {
	h := several(t)
	now := time.Now().Truncate(time.Hour).UTC()
	put := func(exchange, symbol string, simulated bool, asOf time.Time) {
		key := service.Key{Exchange: exchange, Symbol: symbol, Interval: "1h"}
		h.store.snaps[key] = []service.Snapshot{{
			Key: key, AsOf: asOf, ComputedAt: asOf, LastPrice: 100, ATR: 4, Klines: 500, Algorithm: levels.Algorithm, Simulated: simulated,
			Supports: []levels.Level{{ID: 1, Price: 99, Low: 98, High: 99, Strength: 0.5}},
		}}
	}
	for _, c := range []struct {
		simulated bool
		asOf      time.Time
		want      string
	}{
		{false, now, "2 2"}, {true, now, "1 1"}, {false, now.AddDate(0, 0, -30), "1 2"},
	} {
		put("binance", "BTCUSDT", false, now)
		put("okx", "BTC-USDT", c.simulated, c.asOf)
		var all wire.PairOnExchanges
		decodeReply(t, h, "/levels/BTC/USDT?exchange=all", &all)
		got := fmt.Sprint(all.Exchanges[0].Supports[0].Venues, all.Exchanges[1].Supports[0].Venues)
		if got != c.want {
			t.Errorf("simulated %v, as of %v: on %s exchanges, want %s", c.simulated, c.asOf, got, c.want)
		}
	}
}

// A pair that was listed after the last sweep can be analysed where ids have separators,
// too.
func TestExchanges_ANewPairIsAskedFor(t *testing.T) {
	h := several(t)
	for i, p := range h.store.pairs {
		if p.Symbol == "ONLY-USDT" {
			h.store.pairs = slices.Delete(h.store.pairs, i, i+1)
			break
		}
	}
	for _, symbol := range []string{"ONLY-USDT", "only-usdt", "ONLY/USDT"} {
		rec := h.do("POST", "/analyze", `{"symbol":"`+symbol+`","exchange":"okx"}`)
		if rec.Code != 200 || !strings.Contains(rec.Body.String(), `"ONLY-USDT"`) {
			t.Errorf("%s: %d %.200s", symbol, rec.Code, rec.Body)
		}
	}
	if rec := h.do("POST", "/analyze", `{"symbol":"NONE","exchange":"okx"}`); rec.Code != 422 {
		t.Errorf("a pair of none: %d %.200s", rec.Code, rec.Body)
	}
}
