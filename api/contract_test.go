// Pins that the routes and openapi.yaml are the same contract: each has what the
// other has, its examples are valid, every code of a problem is explained, and
// whatever a client sends the answer is one the document names, never a fault.
package api

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"

	"tidemark/levels"
	"tidemark/wire"
)

func TestContract_DocumentIsValidWithItsExamples(t *testing.T) {
	if err := document(t).doc.Validate(context.Background(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Fatal(err)
	}
}

func TestContract_RoutesAndDocumentAreTheSame(t *testing.T) {
	h := start(t)
	var routed, documented []string
	chi.Walk(h.api.router, func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		routed = append(routed, method+" "+pattern)
		return nil
	})
	ids := map[string]bool{}
	for path, item := range document(t).doc.Paths.Map() {
		for method, op := range item.Operations() {
			documented = append(documented, method+" "+path)
			if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" || len(op.Tags) != 1 {
				t.Errorf("%s %s: operationId, summary or tag is missing or not unique", method, path)
			}
			ids[op.OperationID] = true
		}
	}
	slices.Sort(routed)
	slices.Sort(documented)
	if !slices.Equal(routed, documented) {
		t.Errorf("routes     %q\ndocumented %q", routed, documented)
	}
}

func TestContract_EnumsAreThoseOfTheCode(t *testing.T) {
	enum := func(name string) (list []string) {
		for _, v := range document(t).doc.Components.Schemas[name].Value.Enum {
			list = append(list, v.(string))
		}
		return list
	}
	var intervals []string
	for _, i := range levels.Intervals() {
		intervals = append(intervals, string(i))
	}
	codes := slices.Collect(maps.Keys(statuses))
	codes = slices.DeleteFunc(codes, func(c string) bool { return c == "client_gone" }) // never sent
	for name, code := range map[string][]string{
		"Interval":  intervals,
		"Role":      {levels.Support.String(), levels.Resistance.String()},
		"Status":    {levels.Active.String(), levels.Broken.String(), levels.Flipped.String()},
		"EventKind": slices.Clone(wire.EventKinds),
		"Source":    (^levels.Sources(0)).AppendNames(nil),
		"Code":      codes,
	} {
		got := enum(name)
		slices.Sort(got)
		slices.Sort(code)
		if !slices.Equal(got, code) {
			t.Errorf("%s: document %q, code %q", name, got, code)
		}
	}
	for code, explained := range document(t).doc.Components.Schemas["Code"].Value.Extensions["x-enum-descriptions"].(map[string]any) {
		if prefix := fmt.Sprint(statuses[code].status, ". "); !strings.HasPrefix(explained.(string), prefix) {
			t.Errorf("%s is explained as %q, which does not begin with %q", code, explained, prefix)
		}
	}
	sorted := slices.Collect(maps.Keys(sorts))
	slices.Sort(sorted)
	named := strings.Split(sortNames, ", ")
	slices.Sort(named)
	if !slices.Equal(sorted, named) {
		t.Errorf("sorts %q, named in messages %q", sorted, named)
	}
}

// nasty is what mutated inputs are made of.
var nasty = []string{
	"", "0", "-1", "1e309", "NaN", "18446744073709551616", "null", "true", "[]", "{}", `"`, "'", ";--", "%00", "\x00",
	"../../etc/passwd", "..", ".", "\u202e", "ＢＴＣ", "BTC USDT", "=1+1", "<script>", strings.Repeat("A", 5000), "2026-13-40T00:00:00Z",
	"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1H", "1M", "%", "%zz", "a&b=c", "*", "-", "--strength", "🌊", "\xff\xfe",
}

func TestContract_WhateverIsSentTheAnswerIsDocumented(t *testing.T) {
	h := start(t)
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(list []string) string { return list[rng.IntN(len(list))] }
	valid := map[string][]string{
		"symbol": {"BTCUSDT", "btc-usdt", "YOUNGUSDT", "NOPE"}, "id": {"nojob"}, "file": {"main.js"}, "interval": {"1h", "15m", "1h,4h"},
		"exchange": {"simulated", "binance"}, "role": {"support"}, "status": {"active"}, "source": {"swing"},
		"min_strength": {"0.1"}, "min_edge": {"1"}, "faint": {"true"}, "max_distance_pct": {"50"}, "max_distance_atr": {"100"}, "symbols": {"BTCUSDT,ETHUSDT"},
		"min_quote_volume": {"1e6"}, "confluence": {"4h", "15m,1d"}, "watchlist": {"majors"}, "state": {"held", "held,untested"},
		"sort": {"-strength", "symbol"}, "limit": {"5"}, "cursor": {"AAAA"}, "format": {"json", "csv", "ndjson"}, "at": {"2026-01-01T00:00:00Z"},
		"quote": {"USDT"}, "selected": {"true"}, "trading": {"false"}, "reason": {"leveraged"},
		"since": {"0", "1h", "latest", "2026-01-01T00:00:00Z"}, "kind": {"held,broke"}, "level": {"00000000000000ab"},
		"theme": {"light"}, "width": {"480"}, "height": {"300"}, "candles": {"100"},
	}
	bodies := []string{
		`{"symbol":"BTCUSDT","store":false}`, `{"symbols":["BTCUSDT","ETHUSDT"]}`, `{"all":true,"interval":"4h"}`,
		`{"interval":"1h","klines":[[0,1,2,1,2,5],[3600000,1,2,1,2,5]]}`, `{"symbol":"ETHUSDT","kline_limit":100}`,
		`{"interval":"1h","every":1,"tick_size":0.5,"klines":[[0,1,2,1,2,5],[3600000,1,2,1,2,5]]}`,
	}
	seen := map[string]int{}
	paths := document(t).doc.Paths.Map()
	for _, path := range slices.Sorted(maps.Keys(paths)) { // in order, so that each run sends the same
		item := paths[path]
		for _, method := range slices.Sorted(maps.Keys(item.Operations())) {
			op := item.Operations()[method]
			if op.OperationID == "followJob" || method == "DELETE" {
				continue // have tests of their own; here there is no job
			}
			parameters := append(slices.Clone(item.Parameters), op.Parameters...)
			for n := range 30 {
				target, query := path, url.Values{}
				mutated := n % 3 // 0: none is, 1: some may be, 2: more
				for _, p := range parameters {
					value := pick(append(valid[p.Value.Name], ""))
					if rng.IntN(4) < mutated {
						value = pick(nasty)
					}
					switch {
					case p.Value.In == "path":
						if value == "" || value == "." || value == ".." {
							value = "X"
						}
						target = strings.ReplaceAll(target, "{"+p.Value.Name+"}", url.PathEscape(value))
					case p.Value.In == "query" && rng.IntN(2) == 0:
						query.Add(p.Value.Name, value)
					}
				}
				if mutated == 2 && rng.IntN(4) == 0 {
					query.Add(pick([]string{"foo", "limit", "interval"}), pick(nasty))
				}
				if len(query) > 0 {
					target += "?" + query.Encode()
				}
				body := ""
				if method == "POST" {
					body = pick(bodies)
					if mutated > 0 {
						at := rng.IntN(len(body))
						body = body[:at] + pick(nasty) + body[min(len(body), at+rng.IntN(4)):]
					}
				}
				rec := h.do(method, target, body)
				if rec.Code >= 500 {
					t.Errorf("%s %s %s: status %d: %s", method, target, body, rec.Code, rec.Body)
				}
				seen[fmt.Sprint(op.OperationID, " ", rec.Code/100, "xx")]++
			}
		}
	}
	// the test would prove little if it met only refusals, or none
	for _, kind := range []string{"analyze 2xx", "analyze 4xx", "analyzeHistory 2xx", "analyzeHistory 4xx", "listLevels 2xx", "listLevels 4xx", "getLevels 2xx", "getLevels 4xx",
		"getKlines 2xx", "getKlines 4xx", "listSymbols 2xx", "listSymbols 4xx", "listEvents 2xx", "listEvents 4xx"} {
		if seen[kind] == 0 {
			t.Errorf("no response of kind %s among %v", kind, seen)
		}
	}
}

func TestContract_TheCheckItselfRefusesWhatIsNotDocumented(t *testing.T) {
	c := document(t)
	req := httptest.NewRequest("GET", "/healthz", nil)
	header := http.Header{"X-Request-Id": {"x"}, "X-Content-Type-Options": {"nosniff"}, "Referrer-Policy": {"no-referrer"}, "Content-Type": {"application/json"}}
	good := []byte(`{"status":"ok","version":"1"}`)
	if err := conforms(c, req, 200, header, good); err != nil {
		t.Fatalf("a good response is refused: %v", err)
	}
	for name, bad := range map[string]struct {
		status int
		body   string
	}{
		"a field too many":       {200, `{"status":"ok","version":"1","x":1}`},
		"a field missing":        {200, `{"status":"ok"}`},
		"a wrong type":           {200, `{"status":"ok","version":1}`},
		"an undocumented status": {201, string(good)},
		"an error that is none":  {500, string(good)},
	} {
		if conforms(c, req, bad.status, header, []byte(bad.body)) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
