// Pins the formats of GET /levels/{symbol} and GET /levels besides JSON: that rows are
// the same wherever they come from, and that the Pine script is one TradingView takes.
package api

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// readLines decodes NDJSON.
func readLines(t *testing.T, body string) []map[string]any {
	t.Helper()
	var rows []map[string]any
	for line := range strings.Lines(body) {
		if !strings.HasSuffix(line, "}\n") {
			t.Fatalf("a line is %q", line)
		}
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		rows = append(rows, row)
	}
	return rows
}

func TestFormats_RowsOfAPairAreThoseOfTheMarket(t *testing.T) {
	h := start(t)
	market(h, 3)
	all := readLines(t, h.get("/levels?format=ndjson").Body.String())
	table := readCSV(t, h.get("/levels?format=csv"))
	var page struct{ Levels []map[string]any }
	if err := json.Unmarshal(h.get("/levels?sort=symbol&limit=1000").Body.Bytes(), &page); err != nil {
		t.Fatal(err)
	}
	symbols := map[string]int{}
	for _, row := range all {
		symbols[row["symbol"].(string)]++
		if !slices.ContainsFunc(page.Levels, func(other map[string]any) bool { return reflect.DeepEqual(row, other) }) {
			t.Errorf("%v is not on the page", row)
		}
	}
	if len(all) != len(page.Levels) || len(all) != len(table)-1 || len(symbols) != 3 {
		t.Fatalf("%d rows as NDJSON, %d as CSV, %d on the page, of %d pairs", len(all), len(table)-1, len(page.Levels), len(symbols))
	}
	for symbol, n := range symbols {
		rec := h.get("/levels/"+symbol, "Accept", "application/x-ndjson")
		want(t, rec, 200)
		own := readLines(t, rec.Body.String())
		lines := readCSV(t, h.get("/levels/"+symbol+"?format=csv"))
		if len(own) != n || len(lines) != n+1 {
			t.Errorf("%s has %d rows of its own, %d as CSV, and %d among all", symbol, len(own), len(lines)-1, n)
		}
		for _, row := range own {
			if !slices.ContainsFunc(all, func(other map[string]any) bool { return reflect.DeepEqual(row, other) }) {
				t.Errorf("%v is not among all", row)
			}
		}
		for _, line := range lines {
			if !slices.ContainsFunc(table, func(other []string) bool { return slices.Equal(line, other) }) {
				t.Errorf("%q is not among all", line)
			}
		}
		again := h.get("/levels/"+symbol, "Accept", "application/x-ndjson", "If-None-Match", rec.Header().Get("Etag"))
		if rec.Header().Get("Vary") != "Accept" || again.Code != 304 || again.Body.Len() > 0 {
			t.Errorf("Vary %q; asked again with its tag: %d %q", rec.Header().Get("Vary"), again.Code, again.Body)
		}
	}
	for _, path := range []string{"/levels?format=pine", "/levels/" + all[0]["symbol"].(string) + "?format=xml"} {
		if rec := h.get(path); rec.Code != 400 || problemOf(t, rec).Errors[0].Parameter != "format" {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
}

func TestFormats_AcceptIsWeighed(t *testing.T) {
	for accept, want := range map[string]format{
		"": formatJSON, "*/*": formatJSON, "text/*": formatJSON, "text/html, */*;q=0.8": formatJSON,
		"text/csv": formatCSV, "Application/X-NDJSON": formatNDJSON, "text/csv;q=0.4, application/x-ndjson;q=0.5": formatNDJSON,
		"text/csv;q=0.5, application/json;q=0.6": formatJSON, "text/csv, application/json": formatJSON, "text/csv;q=0": formatJSON,
		"application/json;q=0.1, text/csv;q=0.2, application/x-ndjson;q=0.15": formatCSV,
	} {
		if got := negotiated([]string{accept}, "json", "csv", "ndjson"); got != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
}

// What the Pine Script v6 reference manual has of what scripts of ours may use:
// functions with the names of their parameters, and constants.
var pineFunctions = map[string]string{
	"indicator":  "title shorttitle overlay format precision scale max_bars_back timeframe timeframe_gaps explicit_plot_zorder max_lines_count max_labels_count max_boxes_count",
	"box.new":    "left top right bottom border_color border_width border_style extend xloc bgcolor text",
	"label.new":  "x y text xloc yloc color style textcolor size textalign tooltip",
	"table.new":  "position columns rows bgcolor frame_color frame_width border_color border_width",
	"table.cell": "table_id column row text width height text_color text_halign text_valign text_size bgcolor tooltip",
	"color.new":  "color transp",
	"draw":       "bottom top since words tint transparency", // ours
}

var pineConstants = strings.Fields(`extend.right xloc.bar_time label.style_label_lower_left size.small position.top_right
	text.align_right color.teal color.red color.orange barstate.islast syminfo.ticker time true bottom top since words tint
	transparency note other drawn false`)

// checkPine holds a script against the rules of the language: what its first line is,
// literals that end, parentheses that match, lines that are indented by fours, and only
// names there are.
func checkPine(t *testing.T, script string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(script, "\n"), "\n")
	if lines[0] != "//@version=6" {
		t.Errorf("the first line is %q", lines[0])
	}
	literal := regexp.MustCompile(`"(?:[^"\\]|\\["\\n])*"`)
	call := regexp.MustCompile(`([a-z][a-z._]*)\(`)
	name := regexp.MustCompile(`[a-z][a-z._]*`)
	boxes, indicators := 0, 0
	for n, line := range lines {
		where := fmt.Sprintf("line %d, %q", n+1, line)
		if strings.HasPrefix(line, "//") || line == "" {
			continue
		}
		if indent := len(line) - len(strings.TrimLeft(line, " ")); indent%4 != 0 {
			t.Errorf("%s: indented by %d", where, indent)
		}
		code := literal.ReplaceAllString(line, "0")
		if strings.ContainsAny(code, "\"\\\t") {
			t.Errorf("%s: a literal that does not end", where)
		}
		if strings.Count(code, "(") != strings.Count(code, ")") {
			t.Errorf("%s: parentheses do not match", where)
		}
		for _, m := range call.FindAllStringSubmatch(code, -1) {
			if pineFunctions[m[1]] == "" {
				t.Errorf("%s: there is no function %s", where, m[1])
			}
		}
		indicators += strings.Count(code, "indicator(")
		if strings.HasPrefix(code, "    draw(") {
			boxes++
			arguments := strings.Split(strings.TrimSuffix(strings.TrimPrefix(code, "    draw("), ")"), ", ")
			low, err1 := strconv.ParseFloat(arguments[0], 64)
			high, err2 := strconv.ParseFloat(arguments[1], 64)
			transparency, err3 := strconv.Atoi(arguments[5])
			if len(arguments) != 6 || err1 != nil || err2 != nil || err3 != nil || low > high || transparency < 0 || transparency > 100 || strings.ContainsAny(arguments[0]+arguments[1], "eE") {
				t.Errorf("%s: %q", where, arguments)
			}
		}
		for _, m := range regexp.MustCompile(`([a-z_]+) = `).FindAllStringSubmatch(strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(code), "var table "), "var bool "), "string "), -1) {
			known := m[1] == "note" || m[1] == "other" || m[1] == "drawn"
			for _, parameters := range pineFunctions {
				known = known || slices.Contains(strings.Fields(parameters), m[1])
			}
			if !known {
				t.Errorf("%s: no function has a parameter %s", where, m[1])
			}
		}
		rest := regexp.MustCompile(`[a-z_]+ = |[a-z][a-z._]*\(`).ReplaceAllString(code, " ")
		for _, word := range name.FindAllString(rest, -1) {
			if !slices.Contains(pineConstants, word) && !slices.Contains([]string{"var", "table", "string", "bool", "if", "and", "or", "not", "float", "int", "color"}, word) {
				t.Errorf("%s: there is no %s", where, word)
			}
		}
	}
	if indicators != 1 || boxes > 500 {
		t.Errorf("%d indicators, %d boxes", indicators, boxes)
	}
}

func TestPine_IsAScriptOfAllZones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		market(h, 1)
		var page struct {
			Levels []struct {
				Symbol    string
				Low, High float64
				Hold      float64 `json:"hold_probability"`
				Baseline  float64 `json:"baseline_hold_probability"`
			}
		}
		if err := json.Unmarshal(h.get("/levels").Body.Bytes(), &page); err != nil || len(page.Levels) == 0 {
			t.Fatalf("%v: %d levels", err, len(page.Levels))
		}
		symbol := page.Levels[0].Symbol
		rec := h.get("/levels/" + symbol + "?format=pine")
		want(t, rec, 200)
		script := rec.Body.String()
		checkPine(t, script)
		for _, l := range page.Levels {
			zone := fmt.Sprintf("    draw(%s, %s, ", pinePrice(l.Low), pinePrice(l.High))
			odds := fmt.Sprintf("holds %.0f %% (line %.0f %%)", 100*l.Hold, 100*l.Baseline)
			if !strings.Contains(script, zone) || !strings.Contains(script, odds) {
				t.Errorf("%q, %q: not in\n%s", zone, odds, script)
			}
		}
		if !strings.Contains(script, `indicator("SIMULATED `+symbol) || strings.Contains(script, "STALE") {
			t.Errorf("the script does not say what market it is of:\n%s", script)
		}
		time.Sleep(3 * time.Hour)
		old := h.get("/levels/" + symbol + "?format=pine").Body.String()
		checkPine(t, old)
		if !strings.Contains(old, `indicator("SIMULATED STALE `) || !strings.Contains(old, `\nSTALE: newer 1h candles have closed`) {
			t.Errorf("three hours later the script is\n%s", old)
		}
	})
}

func TestPine_WhateverTheLevelsTheScriptIsWhole(t *testing.T) {
	s := service.Snapshot{
		Key:  service.Key{Exchange: "binance", Symbol: `A"B\USDT` + "\n\u2028x", Interval: "1d"},
		AsOf: time.UnixMilli(1_763_838_000_000), LastPrice: 1e-7, Klines: 50, Missing: 3, Algorithm: "2",
		Supports:    []levels.Level{{Price: 1e-8, Low: 1e-8, High: 1.5e-8, Edge: 8, DrawnEdge: 8, Strength: 1, NoOdds: levels.UnknownInterval}},
		Resistances: []levels.Level{{Price: 1e9, Low: 1e9, High: math.Nextafter(1e9, 2e9), NoOdds: levels.UnknownInterval}},
	}
	script := string(appendPine(nil, &s, s.AsOf, Shown{}))
	checkPine(t, script)
	for _, part := range []string{
		`"A\"B\\USDT\nx 1d levels as of 2025-11-22 19:00 UTC"`, "draw(0.00000001, 0.000000015, 1763838000000, ", "draw(1000000000.0, ", ", color.teal, 40)", ", color.red, 90)",
		`3 of 53 candles are missing`, `No odds: no odds are calibrated for this interval`,
	} {
		if !strings.Contains(script, part) {
			t.Errorf("%s is not in\n%s", part, script)
		}
	}
}
