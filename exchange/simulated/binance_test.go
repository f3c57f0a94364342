package simulated

// Requests and their errors: the paging of klines as at the venue, and every error
// with its code, text and status.

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// ask sends one request straight to the handler.
func ask(s *Server, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w
}

// opens asks for klines and returns their open times.
func opens(t *testing.T, s *Server, query string) []int64 {
	t.Helper()
	w := ask(s, "/api/v3/klines?"+query)
	var got [][]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d %v: %s", query, w.Code, err, w.Body)
	}
	all := make([]int64, len(got))
	for i, row := range got {
		all[i] = int64(row[0].(float64))
	}
	return all
}

func TestKlines_PagesAreCutLikeTheVenuesOwn(t *testing.T) {
	s := New(Options{Pairs: 1, Now: clock})
	const hour = 3_600_000
	// a stretch without holes, long ago
	from := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC).UnixMilli()
	for len(s.market.holes(nil, &s.market.pairs[0], span{from / 1000, from/1000 + 1200*3600})) > 0 {
		from += 24 * hour
	}
	newest := testTime.Truncate(time.Hour).UnixMilli()
	q := "symbol=BTCUSDT&interval=1h"
	for _, c := range []struct {
		name, query string
		count       int
		first, last int64
	}{
		{"nothing but the pair: the newest 500, the forming one last", q, 500, -1, newest},
		{"limit", q + "&limit=3", 3, -1, newest},
		{"a limit above 1000 is cut down", q + "&limit=5000&startTime=" + itoa(from), 1000, from, from + 999*hour},
		{"startTime: the oldest from it", q + "&startTime=" + itoa(from), 500, from, from + 499*hour},
		{"startTime is inclusive", q + "&limit=2&startTime=" + itoa(from), 2, from, from + hour},
		{"a millisecond later it is the next", q + "&limit=2&startTime=" + itoa(from+1), 2, from + hour, from + 2*hour},
		{"endTime: the newest up to it", q + "&limit=4&endTime=" + itoa(from+100*hour), 4, from + 97*hour, from + 100*hour},
		{"endTime is inclusive", q + "&startTime=" + itoa(from) + "&endTime=" + itoa(from+9*hour), 10, from, from + 9*hour},
		{"a millisecond less and it is not", q + "&startTime=" + itoa(from) + "&endTime=" + itoa(from+9*hour-1), 9, from, from + 8*hour},
		{"both ends the same", q + "&startTime=" + itoa(from) + "&endTime=" + itoa(from), 1, from, from},
		{"both ends and a limit: from the start", q + "&limit=3&startTime=" + itoa(from) + "&endTime=" + itoa(from+9*hour), 3, from, from + 2*hour},
		{"an end in the future", q + "&startTime=" + itoa(newest-hour) + "&endTime=99999999999999", 2, newest - hour, newest},
		{"nothing between two opens", q + "&startTime=" + itoa(from+1) + "&endTime=" + itoa(from+hour-1), 0, 0, 0},
		{"a start behind the end", q + "&startTime=" + itoa(from+hour) + "&endTime=" + itoa(from), 0, 0, 0},
		{"a start in the future", q + "&startTime=" + itoa(newest+hour), 0, 0, 0},
		{"an end before the listing", q + "&endTime=1000", 0, 0, 0},
		{"seconds for milliseconds: the oldest there are", q + "&limit=1&startTime=" + itoa(from/1000), 1, s.Pairs()[0].Listed.UnixMilli(), s.Pairs()[0].Listed.UnixMilli()},
		{"UTC by name", q + "&limit=3&timeZone=0", 3, -1, newest},
		{"months", "symbol=BTCUSDT&interval=1M&limit=2", 2, time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixMilli()},
		{"weeks open on Mondays", "symbol=BTCUSDT&interval=1w&limit=1", 1, -1, time.Date(2026, 11, 16, 0, 0, 0, 0, time.UTC).UnixMilli()},
		{"seconds", "symbol=BTCUSDT&interval=1s&limit=2", 2, -1, testTime.Truncate(time.Second).UnixMilli()},
	} {
		got := opens(t, s, c.query)
		if len(got) != c.count {
			t.Errorf("%s: %d rows, want %d", c.name, len(got), c.count)
			continue
		}
		if c.count > 0 && (c.first >= 0 && got[0] != c.first || got[len(got)-1] != c.last) {
			t.Errorf("%s: %d to %d, want %d to %d", c.name, got[0], got[len(got)-1], c.first, c.last)
		}
		if !slices.IsSorted(got) {
			t.Errorf("%s: not in order", c.name)
		}
	}
}

func TestKlines_PagingThroughAHoleLosesNothing(t *testing.T) {
	s := New(Options{Pairs: 1, Now: clock})
	hole := s.market.holes(nil, &s.market.pairs[0], span{testTime.AddDate(0, -6, 0).Unix(), testTime.Unix()})[0]
	query := "symbol=BTCUSDT&interval=15m&endTime=" + itoa((hole.to+86400)*1000)
	var paged []int64
	for next := (hole.from - 86400) * 1000; ; {
		got := opens(t, s, query+"&limit=37&startTime="+itoa(next))
		if len(got) == 0 {
			break
		}
		paged = append(paged, got...)
		next = got[len(got)-1] + 1
	}
	if whole := opens(t, s, query+"&limit=1000&startTime="+itoa((hole.from-86400)*1000)); !slices.Equal(paged, whole) || len(whole) < 150 {
		t.Errorf("%d rows page by page, %d at once", len(paged), len(whole))
	}
}

func TestErrors_HaveTheVenuesCodesAndTexts(t *testing.T) {
	s := New(Options{Pairs: 3, Now: clock})
	illegalSymbol := `Illegal characters found in parameter 'symbol'; legal range is '^[\w\-._&&[^a-z]]{1,50}$'.`
	illegalSymbols := `Illegal characters found in parameter 'symbols'; legal range is '^\["[\w\-._&&[^a-z]]{1,50}"(,"[\w\-._&&[^a-z]]{1,50}"){0,}\]$'.`
	k := "klines?symbol=BTCUSDT&interval=1h"
	for _, c := range []struct {
		target string
		code   int
		msg    string
	}{
		{"klines?symbol=NOPE&interval=1h", -1121, "Invalid symbol."},
		{"klines?symbol=BTCUSDT&interval=7m", -1120, "Invalid interval."},
		{"klines?symbol=BTCUSDT&interval=1H", -1120, "Invalid interval."},
		{"klines?interval=1h", -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."},
		{"klines?symbol=BTCUSDT", -1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed."},
		{"klines?symbol=&interval=1h", -1105, "Parameter 'symbol' was empty."},
		{"klines?symbol=btcusdt&interval=1h", -1100, illegalSymbol},
		{"klines?symbol=BTC%20USDT&interval=1h", -1100, illegalSymbol},
		{"klines?symbol=%FF&interval=1h", -1100, illegalSymbol},
		{"klines?symbol=" + strings.Repeat("A", 51) + "&interval=1h", -1100, illegalSymbol},
		{"klines?symbol=%zz&interval=1h", -1100, "Illegal characters found in a parameter."},
		{k + "&startTime=-1", -1100, "Illegal characters found in parameter 'startTime'; legal range is '^[0-9]{1,20}$'."},
		{k + "&endTime=None", -1100, "Illegal characters found in parameter 'endTime'; legal range is '^[0-9]{1,20}$'."},
		{k + "&limit=1.5", -1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'."},
		{k + "&limit=111111111111111111111", -1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'."},
		{k + "&limit=99999999999999999999", -1108, "Parameter 'limit' overflowed."},
		{k + "&limit=0", -1130, "Data sent for parameter 'limit' is not valid."},
		{k + "&limit=", -1105, "Parameter 'limit' was empty."},
		{k + "&limit=1&limit=2", -1101, "Duplicate values for parameter 'limit' detected."},
		{k + "&timeZone=9", -1130, "Data sent for parameter 'timeZone' is not valid."},
		{k + "&foo=1", -1104, "Not all sent parameters were read; read '2' parameter(s) but was sent '3'."},
		{"ping?a=1", -1101, "Too many parameters; expected '0' and received '1'."},
		{"time?a=1", -1101, "Too many parameters; expected '0' and received '1'."},
		{"ticker/24hr?symbol=NOPE", -1121, "Invalid symbol."},
		{"ticker/24hr?symbol=BTCUSDT&symbols=[%22ETHUSDT%22]", -1128, "Combination of optional parameters invalid."},
		{"ticker/24hr?symbols=BTCUSDT", -1100, illegalSymbols},
		{"ticker/24hr?symbols=[%22btc%22]", -1100, illegalSymbols},
		{"ticker/24hr?symbols=[]", -1100, illegalSymbols},
		{"ticker/24hr?symbols=[%22BTCUSDT%22,%22NOPE%22]", -1121, "Invalid symbol."},
		{"ticker/24hr?symbols=[%22BTCUSDT%22,%22BTCUSDT%22]", -1151, "Symbol is present multiple times in the list."},
		{"ticker/24hr?type=TINY", -1139, "Invalid ticker type."},
		{"ticker/24hr?symbolStatus=ODD", -1122, "Invalid symbolStatus."},
		{"ticker/24hr?symbol=XEMUSDT&symbolStatus=TRADING", -1220, "The symbol's status does not match the requested symbolStatus."},
		{"exchangeInfo?symbol=NOPE", -1121, "Invalid symbol."},
		{"exchangeInfo?symbol=BTCUSDT&symbolStatus=TRADING", -1128, "Combination of optional parameters invalid."},
		{"exchangeInfo?symbolStatus=ODD", -1122, "Invalid symbolStatus."},
		{"exchangeInfo?permissions=ODD", -1130, "Data sent for parameter 'permissions' is not valid."},
		{"exchangeInfo?permissions=[1]", -1135, "JSON sent for parameter 'permissions' is not valid"},
		{"exchangeInfo?showPermissionSets=1", -1100, "Illegal characters found in parameter 'showPermissionSets'; legal range is '^(true|false)$'."},
	} {
		w := ask(s, "/api/v3/"+c.target)
		var got struct {
			Code int
			Msg  string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Errorf("%s: %v: %s", c.target, err, w.Body)
		}
		if w.Code != http.StatusBadRequest || got.Code != c.code || got.Msg != c.msg {
			t.Errorf("%s: %d %+v, want 400 %d %q", c.target, w.Code, got, c.code, c.msg)
		}
		if w.Header().Get("X-Tidemark-Simulated") != "true" {
			t.Errorf("%s does not say that it is simulated", c.target)
		}
	}
	if w := ask(s, "/api/v1/klines"); w.Code != http.StatusNotFound || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Errorf("no such endpoint: %d %v", w.Code, w.Header())
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/v3/ping", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestExchangeInfo_SelectsPairs(t *testing.T) {
	s := New(Options{Pairs: 40, Now: clock})
	for _, c := range []struct {
		query string
		want  func(Pair) bool
		sets  bool
	}{
		{"", func(Pair) bool { return true }, true},
		{"?showPermissionSets=false", func(Pair) bool { return true }, false},
		{"?symbol=ETHUSDT", func(p Pair) bool { return p.Symbol == "ETHUSDT" }, true},
		{"?symbols=[%22ETHUSDT%22,%22XEMUSDT%22]", func(p Pair) bool { return p.Symbol == "ETHUSDT" || p.Symbol == "XEMUSDT" }, true},
		{"?symbol=" + url.QueryEscape("测试币USDT"), func(p Pair) bool { return p.Kind == NonASCII }, true},
		{"?symbolStatus=BREAK", func(p Pair) bool { return p.Kind == Halted }, true},
		{"?symbolStatus=HALT", func(Pair) bool { return false }, true},
		{"?permissions=LEVERAGED", func(p Pair) bool { return p.Kind == Leveraged }, true},
		{"?permissions=[%22MARGIN%22]&symbolStatus=TRADING", func(p Pair) bool { return p.Kind == Healthy }, true},
	} {
		var got struct {
			Symbols []struct {
				Symbol         string
				PermissionSets [][]string
			}
		}
		w := ask(s, "/api/v3/exchangeInfo"+c.query)
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v", c.query, err)
		}
		var names, want []string
		for _, p := range got.Symbols {
			names = append(names, p.Symbol)
			if (len(p.PermissionSets) > 0) != c.sets {
				t.Errorf("%s: %s has the sets %v", c.query, p.Symbol, p.PermissionSets)
			}
		}
		for _, p := range s.Pairs() {
			if c.want(p) {
				want = append(want, p.Symbol)
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s: %d pairs, want %d: %v", c.query, len(names), len(want), names)
		}
	}
}

func FuzzKlinesQuery(f *testing.F) {
	for _, seed := range []string{
		"symbol=BTCUSDT&interval=1h", "symbol=BTCUSDT&interval=1M&limit=1000&startTime=0", "symbol=XENAUSDT&interval=1w&endTime=99999999999999999",
		"symbol=XEMUSDT&interval=3m&startTime=1795374000001&endTime=1795377600000&limit=7", "symbol=%FF", "&;=", "symbol=BTCUSDT&interval=1s&limit=18446744073709551616",
		"symbol=BTCUSDT&interval=3d&startTime=9223372036854775807", "interval=1d&symbol=%E6%B5%8B%E8%AF%95%E5%B8%81USDT&endTime=1",
	} {
		f.Add(seed)
	}
	m := newMarket(1, 30, testTime)
	f.Fuzz(func(t *testing.T, query string) {
		k, err := m.parseKlines(query, maxKlines)
		if err != nil {
			e, ok := err.(*apiError)
			if !ok || e.status != http.StatusBadRequest || !json.Valid(e.append(nil)) {
				t.Fatalf("%q: %v", query, err)
			}
			return
		}
		o := &out{kept: true}
		k.write(o, m.resolve(&k, testTime.Unix()), testTime.UnixMilli(), nil)
		var got [][]any
		if err := json.Unmarshal(o.buf, &got); err != nil {
			t.Fatalf("%q: %v", query, err)
		}
		if len(got) > k.limit || len(got) > maxKlines {
			t.Fatalf("%q: %d rows", query, len(got))
		}
		last := int64(-1)
		for _, row := range got {
			open := int64(row[0].(float64))
			if open <= last || open > testTime.UnixMilli() || open > k.end || k.hasStart && open < k.start {
				t.Fatalf("%q: a row at %d after %d", query, open, last)
			}
			last = open
		}
	})
}
