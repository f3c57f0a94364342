// Pins GET /levels: what its filters leave, in which order, page after page
// without gap or repeat, as JSON and as CSV that no spreadsheet runs.
package api

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

type pageJSON = wire.LevelPage[[]wire.Row]

func screen(t *testing.T, h *harness, query string) pageJSON {
	t.Helper()
	rec := h.get("/levels" + query)
	want(t, rec, 200)
	return decode[pageJSON](t, rec)
}

func TestScreen_TheNearestLevelComesFirst(t *testing.T) {
	h := start(t)
	store(h, snapshot("AUSDT", time.Now()), snapshot("BUSDT", time.Now()))
	var got []string
	for _, l := range screen(t, h, "").Levels {
		got = append(got, fmt.Sprintf("%s %s %v", l.Symbol, l.Role, l.Price))
	}
	want := []string{"AUSDT support 99", "BUSDT support 99", "AUSDT resistance 103", "BUSDT resistance 103", "AUSDT support 95", "BUSDT support 95"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestScreen_FiltersLeaveWhatTheySay(t *testing.T) {
	h := start(t)
	flat := snapshot("FLATUSDT", time.Now())
	flat.ATR = 0
	store(h, snapshot("AUSDT", time.Now()), snapshot("ABUSDT", time.Now().Add(-100*time.Hour)), flat)
	for query, n := range map[string]int{
		"":                                    9,
		"?role=support":                       6,
		"?role=resistance&symbol=A":           2,
		"?status=active":                      3,
		"?status=flipped":                     3,
		"?source=swing":                       6,
		"?source=volume":                      3,
		"?source=value_area":                  0,
		"?min_strength=0.5":                   6,
		"?min_strength=0.9":                   0,
		"?min_edge=4.5":                       6,
		"?min_edge=6.26":                      0,
		"?max_distance_pct=1":                 3,
		"?max_distance_pct=3":                 6,
		"?max_distance_atr=1.5":               4, // not the pair that has no ATR
		"?max_distance_atr=0":                 0,
		"?symbol=ab":                          3,
		"?symbols=A-USDT,FLATUSDT,NOPE":       6,
		"?symbol=F&status=broken":             1,
		"?interval=4h":                        0,
		"?exchange=binance":                   0,
		"?role=support&status=active&limit=2": 2,
	} {
		if got := len(screen(t, h, query).Levels); got != n {
			t.Errorf("%s: %d levels, want %d", query, got, n)
		}
	}
}

func TestScreen_ByVolumeConfluenceAndWatchlist(t *testing.T) {
	h, _ := withAlerts(t, "")
	h.exchange.list = []service.Symbol{
		{Name: "BUSDT", Base: "B", Quote: "USDT", Status: "TRADING", Trading: true, QuoteVolume: 500},
		{Name: "CUSDT", Base: "C", Quote: "USDT", Status: "TRADING", Trading: true, QuoteVolume: 2000},
		{Name: "AUSDT", Base: "A", Quote: "USDT", Status: "TRADING", Trading: true, QuoteVolume: 1000},
	}
	on := func(symbol string, interval levels.Interval, change func(s *service.Snapshot)) service.Snapshot {
		s := snapshot(symbol, time.Now())
		s.Interval, s.AsOf = interval, time.Now().UTC().Truncate(interval.Duration())
		if change != nil {
			change(&s)
		}
		return s
	}
	// 4h has one level, half an ATR of 1h above the support at 99 and one from the resistance
	near := func(price float64, edge float32) func(*service.Snapshot) {
		return func(s *service.Snapshot) {
			s.Supports, s.Resistances = s.Supports[:1:1], nil
			l := s.Supports[0]
			l.Price, l.Edge, l.DrawnEdge = price, edge, edge
			s.Supports = []levels.Level{l}
		}
	}
	store(h, on("AUSDT", "1h", nil), on("BUSDT", "1h", nil), on("CUSDT", "1h", nil), on("GONEUSDT", "1h", nil),
		on("AUSDT", "4h", near(99.5, 6)), on("BUSDT", "4h", near(99.51, 6)), on("CUSDT", "4h", func(s *service.Snapshot) { near(99, 6)(s); s.Simulated = false }),
		on("AAUSDT", "4h", near(99, 6)), on("AUSDT", "1d", near(95.5, 6)), on("BUSDT", "1d", near(99, 6)), on("GONEUSDT", "4h", near(103.5, 6)))
	created(t, h, "/watchlists", `{"name":"mine","pairs":["AUSDT","C*"]}`)
	for query, want := range map[string]string{
		"?role=resistance":                          "AUSDT BUSDT CUSDT GONEUSDT",
		"?role=resistance&min_quote_volume=1000":    "AUSDT CUSDT", // what the exchange does not list has no volume
		"?role=resistance&min_quote_volume=0":       "AUSDT BUSDT CUSDT GONEUSDT",
		"?role=resistance&min_quote_volume=2000.01": "",
		"?confluence=4h":                            "AUSDT/99 GONEUSDT/103", // C is real there, and simulated here
		"?confluence=1d":                            "AUSDT/95 BUSDT/99",
		"?confluence=4h,1d":                         "",
		"?confluence=1h&interval=4h":                "AUSDT/99.5 GONEUSDT/103.5",
		"?confluence=15m":                           "",
		"?role=support&watchlist=mine&limit=3":      "AUSDT AUSDT CUSDT",
		"?role=resistance&state=unknown,held":       "AUSDT BUSDT CUSDT GONEUSDT",
		"?state=untested,reclaimed":                 "AUSDT/95 BUSDT/95 CUSDT/95 GONEUSDT/95",
	} {
		var got []string
		for _, l := range screen(t, h, query+"&sort=symbol").Levels {
			if text := l.Symbol; strings.Contains(want, "/") {
				got = append(got, fmt.Sprintf("%s/%v", text, l.Price))
			} else {
				got = append(got, text)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	all := h.get("/levels?format=csv&confluence=4h")
	want(t, all, 200)
	if rows := readCSV(t, all); len(rows) != 3 {
		t.Errorf("as CSV: %q", rows)
	}
	rec := h.get("/levels?exchange=okx&min_quote_volume=1")
	want(t, rec, 422)
	h.exchange.SymbolsFunc = func(yield func(service.Symbol, error) bool) {
		yield(service.Symbol{}, fmt.Errorf("%w: no answer", service.ErrExchange))
	}
	want(t, h.get("/levels?min_quote_volume=1"), 502)
}

func TestScreen_RowsOfOldAnalysesAreStale(t *testing.T) {
	h := start(t)
	store(h, snapshot("NEWUSDT", time.Now()), snapshot("OLDUSDT", time.Now().Add(-3*time.Hour)))
	rec := h.get("/levels")
	for _, l := range decode[struct {
		Levels []struct {
			Symbol string
			Stale  bool
		}
	}](t, rec).Levels {
		if l.Stale != (l.Symbol == "OLDUSDT") {
			t.Errorf("%+v", l)
		}
	}
}

// One pair whose stored analysis cannot be read takes nothing from the others, and
// every format says that it is missing.
func TestScreen_LeavesOutAndCountsWhatCannotBeRead(t *testing.T) {
	h := start(t)
	market(h, 3)
	store(h, snapshot("BADUSDT", time.Now()))
	h.store.SnapshotFunc = func(key service.Key, _ time.Time) (service.Snapshot, error) {
		if key.Symbol == "BADUSDT" {
			return service.Snapshot{}, fmt.Errorf("%w: BADUSDT", service.ErrUnreadable)
		}
		return h.store.snaps[key][0], nil
	}
	page := screen(t, h, "")
	if page.Unreadable != 1 || len(page.Levels) != 9 {
		t.Errorf("%d unreadable and %d levels, want 1 and 9", page.Unreadable, len(page.Levels))
	}
	if page := screen(t, h, "?symbol=S"); page.Unreadable != 0 || len(page.Levels) != 9 {
		t.Errorf("%d unreadable among pairs that were not asked for", page.Unreadable)
	}
	rec := h.get("/levels?format=csv&limit=5")
	want(t, rec, 200)
	if got := rec.Header().Get("Tidemark-Unreadable"); got != "1" {
		t.Errorf("a page of CSV says %q", got)
	}
	server := httptest.NewServer(h.api)
	defer server.Close()
	for _, format := range []string{"csv", "ndjson"} {
		res, err := server.Client().Get(server.URL + "/levels?format=" + format)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if got := res.Trailer.Get("Tidemark-Unreadable"); err != nil || res.StatusCode != 200 || got != "1" {
			t.Errorf("all rows as %s: %s, %v, trailer %q", format, res.Status, err, got)
		}
	}
	rec = h.get("/levels/BADUSDT")
	want(t, rec, 404)
	if p := problemOf(t, rec); p.Code != "not_analyzed" || !strings.Contains(p.Detail, "cannot be read") {
		t.Errorf("asked for by itself: %+v", p)
	}
}

// keyOf is what a row is sorted by, from the outside.
func keyOf(by string, l wire.Row) float64 {
	switch by {
	case "distance_atr":
		if l.DistanceATR == nil {
			return math.Inf(1)
		}
		return math.Abs(*l.DistanceATR)
	case "distance_pct":
		return math.Abs(l.DistancePct)
	case "strength":
		return l.Strength
	case "edge":
		return l.Edge
	}
	return 0
}

func TestScreen_PagesJoinWithoutGapOrRepeat(t *testing.T) {
	h := start(t)
	market(h, 60) // 180 levels, many of them as strong or as near as others
	for by := range sorts {
		for _, sign := range []string{"", "-"} {
			seen := map[string]bool{}
			var rows []wire.Row
			target := "/levels?limit=37&sort=" + sign + by
			for pages := 1; target != ""; pages++ {
				rec := h.get(target)
				want(t, rec, 200)
				p := decode[pageJSON](t, rec)
				rows = append(rows, p.Levels...)
				link := rec.Header().Get("Link")
				if (p.Next == nil) != (link == "") {
					t.Fatalf("next %v, Link %q", p.Next, link)
				}
				if p.Next == nil {
					if pages != 5 {
						t.Errorf("%s%s: %d pages of 37 out of 180", sign, by, pages)
					}
					break
				}
				target = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
				if u, err := url.Parse(target); err != nil || u.Query().Get("cursor") != *p.Next {
					t.Fatalf("Link %q, next %q", link, *p.Next)
				}
			}
			for i, l := range rows {
				if seen[l.Symbol+l.ID] {
					t.Errorf("%s%s: %s %s comes twice", sign, by, l.Symbol, l.ID)
				}
				seen[l.Symbol+l.ID] = true
				if i == 0 {
					continue
				}
				before, after := keyOf(by, rows[i-1]), keyOf(by, l)
				if sign == "-" {
					before, after = after, before
				}
				if before > after {
					t.Errorf("%s%s: %v before %v", sign, by, keyOf(by, rows[i-1]), keyOf(by, l))
				}
				if by == "symbol" && (rows[i-1].Symbol > l.Symbol) != (sign == "-") && rows[i-1].Symbol != l.Symbol {
					t.Errorf("%s%s: %s before %s", sign, by, rows[i-1].Symbol, l.Symbol)
				}
			}
			if len(rows) != 180 {
				t.Errorf("%s%s: %d rows of 180", sign, by, len(rows))
			}
		}
	}
}

func TestScreen_RefusalsNameTheParameter(t *testing.T) {
	h := start(t)
	market(h, 60)
	cursor := *screen(t, h, "?limit=5").Next
	for query, parameter := range map[string]string{
		"?limit=0": "limit", "?limit=1001": "limit", "?limit=ten": "limit", "?role=both": "role", "?status=alive": "status",
		"?source=magic": "source", "?min_strength=-1": "min_strength", "?min_edge=-1": "min_edge", "?faint=1": "faint", "?min_strength=NaN": "min_strength", "?max_distance_pct=x": "max_distance_pct",
		"?max_distance_atr=Inf": "max_distance_atr", "?max_distance_atr=1e400": "max_distance_atr", "?max_distance_atr=0x10": "max_distance_atr",
		"?symbol=%20": "symbol", "?symbols=A,,B": "symbols", "?symbols=" + strings.Repeat("A,", 500) + "A": "symbols",
		"?sort=price": "sort", "?sort=--strength": "sort", "?sort=-": "sort", "?format=xml": "format", "?interval=2s": "interval", "?page=2": "page",
		"?cursor=abc": "cursor", "?cursor=" + cursor[:len(cursor)-2]: "cursor",
		"?limit=5&role=support&cursor=" + cursor: "cursor", "?sort=-strength&cursor=" + cursor: "cursor",
		"?format=csv&sort=-strength": "sort",
		"?state=held,":               "state", "?state=held,held": "state", "?state=alive": "state", "?min_quote_volume=-1": "min_quote_volume", "?min_quote_volume=much": "min_quote_volume",
		"?confluence=1h": "confluence", "?interval=4h&confluence=1d,4h": "confluence", "?confluence=5h": "confluence", "?confluence=4h,4h": "confluence",
		"?confluence=1m,3m,5m,15m": "confluence", "?watchlist=none": "watchlist", "?limit=5&state=held&cursor=" + cursor: "cursor", "?limit=5&confluence=4h&cursor=" + cursor: "cursor",
	} {
		rec := h.get("/levels" + query)
		if rec.Code != 400 || problemOf(t, rec).Errors[0].Parameter != parameter {
			t.Errorf("%.60s: %d %s", query, rec.Code, rec.Body)
		}
	}
	want(t, h.get("/levels?limit=500&cursor="+cursor), 200) // the size of a page may change
}

func readCSV(t *testing.T, rec *httptest.ResponseRecorder) [][]string {
	t.Helper()
	want(t, rec, 200)
	if got := rec.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/csv") {
		t.Errorf("type %q", got)
	}
	rows, err := csv.NewReader(rec.Body).ReadAll() // refuses rows of other lengths than the first
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestScreen_CSVHasEveryLevelAndTheSameFigures(t *testing.T) {
	h := start(t)
	market(h, 300)
	rows := readCSV(t, h.get("/levels", "Accept", "text/csv"))
	if len(rows) != 1+900 {
		t.Fatalf("%d lines", len(rows))
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	page := screen(t, h, "?sort=symbol&limit=3")
	for i, l := range page.Levels {
		var line []string
		for _, r := range rows[1:] {
			if r[column["symbol"]] == l.Symbol && r[column["id"]] == l.ID {
				line = r
			}
		}
		if line == nil {
			t.Fatalf("level %d is not in the CSV", i)
		}
		for name, value := range map[string]string{
			"price": strconv.FormatFloat(l.Price, 'f', -1, 64), "distance_pct": strconv.FormatFloat(l.DistancePct, 'f', -1, 64),
			"role": l.Role, "status": l.Status, "sources": strings.Join(l.Sources, " "), "hold_probability": strconv.FormatFloat(*l.HoldProbability, 'f', -1, 64), "samples": strconv.Itoa(*l.Samples), "stale": "false", "simulated": "true", "edge": strconv.FormatFloat(l.Edge, 'f', -1, 64), "faint": "false",
		} {
			if got := line[column[name]]; got != value {
				t.Errorf("%s: %q, in JSON %q", name, got, value)
			}
		}
	}
	for i := 2; i < len(rows); i++ {
		if rows[i-1][0] > rows[i][0] {
			t.Errorf("%s before %s", rows[i-1][0], rows[i][0])
		}
	}
	if paged := readCSV(t, h.get("/levels?format=csv&limit=10&sort=-strength")); len(paged) != 11 {
		t.Errorf("%d lines in a page of ten", len(paged))
	}
}

func TestScreen_FormatIsChosenByParameterThenByAccept(t *testing.T) {
	h := start(t)
	for _, c := range []struct{ query, accept, media string }{
		{"", "", "application/json"}, {"", "*/*", "application/json"}, {"", "text/csv", "text/csv"},
		{"", "text/csv;q=0.5, application/json", "application/json"}, {"", "application/json;q=0.2, text/csv;q=0.9", "text/csv"},
		{"?format=json", "text/csv", "application/json"}, {"?format=csv", "application/json", "text/csv"},
		{"", "text/html,*/*;q=0.8", "application/json"},
	} {
		rec := h.get("/levels"+c.query, "Accept", c.accept)
		if got := rec.Header().Get("Content-Type"); !strings.HasPrefix(got, c.media) || rec.Header().Get("Vary") != "Accept" {
			t.Errorf("%+v: %q, Vary %q", c, got, rec.Header().Get("Vary"))
		}
	}
}

func TestScreen_NoCellIsAFormula(t *testing.T) {
	for _, text := range []string{`=HYPERLINK("http://x","y")`, "+1", "-1", "@SUM(A1)", "\tx", "\r\n=1", "a,b", `a"b`, "plain", "", "a\nb"} {
		line := string(appendCell(nil, text)) + ",next\r\n"
		rows, err := csv.NewReader(strings.NewReader(line)).ReadAll()
		if err != nil || len(rows) != 1 || len(rows[0]) != 2 {
			t.Fatalf("%q: %q: %v", text, line, err)
		}
		cell := rows[0][0]
		if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
			t.Errorf("%q: a spreadsheet would run %q", text, cell)
		}
		if strings.TrimPrefix(cell, "'") != strings.ReplaceAll(text, "\r\n", "\n") {
			t.Errorf("%q became %q", text, cell)
		}
	}
}

func TestScreen_StoreThatFailsIsAProblem(t *testing.T) {
	h := start(t)
	h.store.err = fmt.Errorf("%w: gone", service.ErrStorage)
	for _, query := range []string{"", "?format=csv"} {
		rec := h.get("/levels" + query)
		if rec.Code != 503 || problemOf(t, rec).Code != "storage_unavailable" {
			t.Errorf("%s: %d %s", query, rec.Code, rec.Body)
		}
	}
}

func TestScreen_HoldsAPageAndNoMore(t *testing.T) {
	s := screenQuery{limit: 50, sortBy: "distance_atr"}
	p := page{s: &s}
	more := false
	for i := range 100_000 {
		r := row{symbol: strconv.Itoa(i), key: float64((i * 7919) % 100_003), level: levels.Level{ID: uint64(i)}}
		p.add(&r, &more)
		if len(p.rows) > 50 {
			t.Fatal("more rows are held than the page has")
		}
	}
	slices.SortFunc(p.rows, func(x, y row) int { return s.before(x.position(), y.position()) })
	var all []float64
	for i := range 100_000 {
		all = append(all, float64((i*7919)%100_003))
	}
	slices.Sort(all)
	for i, r := range p.rows {
		if r.key != all[i] {
			t.Fatalf("row %d has key %v, want %v", i, r.key, all[i])
		}
	}
	if !more {
		t.Error("what was left out was not noticed")
	}
}

// slowScreens counts the screens that read the store at once.
type slowScreens struct {
	*fakeStore
	now, most atomic.Int32
}

func (s *slowScreens) Latest(ctx context.Context, exchange string, interval levels.Interval) iter.Seq2[service.Snapshot, error] {
	return func(yield func(service.Snapshot, error) bool) {
		if n := s.now.Add(1); n > s.most.Load() {
			s.most.Store(n)
		}
		time.Sleep(20 * time.Millisecond)
		s.now.Add(-1)
		s.fakeStore.Latest(ctx, exchange, interval)(yield)
	}
}

func TestScreen_OnlySoManyPagesArePutTogetherAtOnce(t *testing.T) {
	if rows := maxPage * int(unsafe.Sizeof(row{})); ScreenBytes < rows*5/4+streamBuffer {
		t.Errorf("the rows of a page take %d bytes, ScreenBytes is %d", rows, ScreenBytes)
	}
	for _, screens := range []int{1, 2} {
		store := &slowScreens{}
		h := start(t, func(cfg *Config, _ *service.Config) {
			store.fakeStore = cfg.Store.(*fakeStore)
			cfg.Store, cfg.ReplyBytes = store, int64(screens)*ScreenBytes
		})
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() { want(t, h.get("/levels"), 200) })
		}
		all.Wait()
		if got := int(store.most.Load()); got > screens {
			t.Errorf("%d allowed: %d at once", screens, got)
		}
	}
}
