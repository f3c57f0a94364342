package bitget

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

// oracle reads candles with encoding/json.
func oracle(_ exchange.Venue, body string) ([]levels.Candle, bool) {
	if strings.TrimSpace(body) == `""` { // of a pair that was just listed
		return nil, true
	}
	return exchangetest.Rows(exchangetest.Member([]byte(body), "data"), 1, 7, 0, 1, 2, 3, 4, 5)
}

const noTickers = `{"code":"00000","msg":"success","data":[]}`

// Every recording decodes to its values, except v1_products_2022: API v1 has another list.
// Messages of the feed are read in TestStream_Recordings.
func TestRecordings(t *testing.T) {
	for name, body := range exchangetest.Bodies(t, "bitget") {
		switch kind, _, _ := strings.Cut(name, "_"); kind {
		case "candles":
			exchangetest.Agrees(t, name, Spot, body, oracle)
		case "symbols":
			got, err := exchangetest.List(t, Spot, body, noTickers)
			want := []service.Symbol{
				{Name: "BTCUSDT", Base: "BTC", Quote: "USDT", Status: "gray", Tick: service.Tick{Units: 1, Decimals: 2}},
				{Name: "ETHUSDT", Base: "ETH", Quote: "USDT", Status: "online", Trading: true, Tick: service.Tick{Units: 1, Decimals: 2}},
				{Name: "SPONGEUSDT", Base: "SPONGE", Quote: "USDT", Status: "offline", Tick: service.Tick{Units: 1, Decimals: 8}},
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v\n%+v, want\n%+v", name, err, got, want)
			}
		case "tickers":
			got, err := exchangetest.List(t, Spot, pairs("BTCUSDT", "ETHUSDT"), body)
			if err != nil || len(got) != 2 || got[0].QuoteVolume != 1963568540.741927 || got[1].QuoteVolume != 873897317.8273 {
				t.Errorf("%s: %v, %+v", name, err, got)
			}
		case "error":
			want := map[string]error{"error_40018_invalid_ip": service.ErrExchange, "error_40034_unknown_symbol": service.ErrUnknownSymbol}[name]
			if _, err := exchangetest.Decode(Spot, body); want == nil || !errors.Is(err, want) {
				t.Errorf("%s in HTTP 200: %v, want %v", name, err, want)
			}
			if err := Spot.Refuse(400, nil, []byte(body)); want == nil || !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	}
}

// pairs is a list of spot pairs that trade in USDT.
func pairs(ids ...string) string {
	for i, id := range ids {
		ids[i] = fmt.Sprintf(`{"symbol":%q,"baseCoin":%q,"quoteCoin":"USDT","pricePrecision":"2","status":"online"}`, id, strings.TrimSuffix(id, "USDT"))
	}
	return `{"code":"00000","msg":"success","requestTime":1,"data":[` + strings.Join(ids, ",") + `]}`
}

func TestListing_SaysWhatIsUnusual(t *testing.T) {
	got, err := exchangetest.List(t, Spot, pairs("RUNEUSDT", "rTSLAUSDT", "rUSDT"), noTickers)
	tick := service.Tick{Units: 1, Decimals: 2}
	want := []service.Symbol{
		{Name: "RUNEUSDT", Base: "RUNE", Quote: "USDT", Status: "online", Trading: true, Tick: tick},
		{Name: "rTSLAUSDT", Base: "rTSLA", Quote: "USDT", Status: "online", Trading: true, Tick: tick, Unusual: service.Stock},
		{Name: "rUSDT", Base: "r", Quote: "USDT", Status: "online", Trading: true, Tick: tick},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}

	contract := func(id, status, step, more string) string {
		return `{"symbol":"` + id + `","baseCoin":"BTC","quoteCoin":"USDT","supportMarginCoins":["USDT","X"],"priceEndStep":"` + step + `","pricePlace":"1","symbolStatus":"` + status + `"` + more + `}`
	}
	body := `{"data":[` + strings.Join([]string{
		contract("A", "normal", "1", `,"symbolType":"perpetual","deliveryTime":"","isRwa":"NO"`),
		contract("B", "maintain", "5", ``),
		contract("C", "normal", "20", `,"isRwa":"YES"`),
		contract("D", "normal", "1", `,"deliveryTime":"1798185600000","symbolType":"delivery"`),
	}, ",") + `],"requestTime":1,"msg":"success","code":"00000"}`
	tickers := `{"code":"00000","data":[{"symbol":"A","quoteVolume":"7008612.4299","baseVolume":"1","deliveryTime":null},{"quoteVolume":null,"symbol":"B"},{"symbol":"Z","quoteVolume":"1"}]}`
	got, err = exchangetest.List(t, Futures, body, tickers)
	want = []service.Symbol{
		{Name: "A", Base: "BTC", Quote: "USDT", Settle: "USDT", Status: "normal", Trading: true, Tick: service.Tick{Units: 1, Decimals: 1}, QuoteVolume: 7008612.4299},
		{Name: "B", Base: "BTC", Quote: "USDT", Settle: "USDT", Status: "maintain", Tick: service.Tick{Units: 5, Decimals: 1}},
		{Name: "C", Base: "BTC", Quote: "USDT", Settle: "USDT", Status: "normal", Trading: true, Tick: service.Tick{Units: 2}, Unusual: service.Stock},
		{Name: "D", Base: "BTC", Quote: "USDT", Settle: "USDT", Status: "normal", Trading: true, Tick: service.Tick{Units: 1, Decimals: 1}, Unusual: service.Dated, Expiry: "261225"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
}

func TestListing_RefusesWhatItIsNot(t *testing.T) {
	good := strings.TrimSuffix(strings.TrimPrefix(pairs("AUSDT"), `{"code":"00000","msg":"success","requestTime":1,"data":[`), `]}`)
	for name, body := range map[string]string{
		"nothing":         "",
		"HTML":            "<html></html>",
		"a list":          "[]",
		"no data":         `{"code":"00000","msg":"success"}`,
		"no code":         `{"data":[` + good + `]}`,
		"null":            `{"code":"00000","data":null}`,
		"a refusal":       `{"code":"40015","msg":"System is abnormal","data":[]}`,
		"no pairs":        noTickers,
		"no status":       strings.Replace(pairs("AUSDT"), "status", "state", 1),
		"a bad step":      strings.Replace(pairs("AUSDT"), `"2"`, `"-2"`, 1),
		"a pair twice":    pairs("AUSDT", "AUSDT"),
		"cut off":         `{"code":"00000","data":[` + good,
		"more at the end": pairs("AUSDT") + "{}",
	} {
		if got, err := exchangetest.List(t, Spot, body, noTickers); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, body := range []string{`{"code":"00000","data":[{"symbol":"AUSDT"}]}`, `{"code":"00000","data":[{"quoteVolume":"1"}]}`, `{"code":"40015","msg":"","data":null}`} {
		if got, err := exchangetest.List(t, Spot, pairs("AUSDT"), body); err == nil {
			t.Errorf("%s: %+v", body, got)
		}
	}
}

func TestRequests(t *testing.T) {
	const hour, day = 3_600_000, 24 * 3_600_000
	now := int64(1_000 * day)
	native := func(v exchange.Venue, i levels.Interval) exchange.Native { return v.Spec().Intervals[i] }
	for _, tt := range []struct {
		got  exchange.Call
		want string
		cost exchange.Cost
	}{
		{Spot.Listing(0, ""), "api/v2/spot/public/symbols?", exchange.Cost{1}},
		{Spot.Listing(1, ""), "api/v2/spot/market/tickers?", exchange.Cost{1}},
		{Futures.Listing(0, ""), "api/v2/mix/market/contracts?productType=USDT-FUTURES", exchange.Cost{0, 0, 1}},
		{Futures.Listing(1, ""), "api/v2/mix/market/tickers?productType=USDT-FUTURES", exchange.Cost{0, 0, 1}},
		{Spot.Spec().Clock, "api/v2/public/time?", exchange.Cost{1}},
		{Futures.Spec().Clock, "api/v2/public/time?", exchange.Cost{0, 0, 1}},
		{ // neither end is the start of a candle
			Spot.Klines("BTCUSDT", native(Spot, "1h"), exchange.Window{From: now - 9*hour - 1, Through: now - 5*hour + 7, Rows: 5, Now: now, Step: hour}),
			"api/v2/spot/market/candles?symbol=BTCUSDT&granularity=1h&startTime=86367600000&endTime=86385600000&limit=5", exchange.Cost{1},
		},
		{ // up to the last millisecond of a candle
			Spot.Klines("BTCUSDT", native(Spot, "1d"), exchange.Window{From: now - 3*day, Through: now - 1, Rows: 3, Now: now, Step: day}),
			"api/v2/spot/market/candles?symbol=BTCUSDT&granularity=1Dutc&startTime=86140800000&endTime=86400000000&limit=3", exchange.Cost{1},
		},
		{ // of the past only the end
			Spot.Klines("BTCUSDT", native(Spot, "1m"), exchange.Window{From: day, Through: day + 200*60_000 - 1, Rows: 200, Old: true, Now: now, Step: 60_000}),
			"api/v2/spot/market/history-candles?symbol=BTCUSDT&granularity=1min&endTime=98400000&limit=200", exchange.Cost{0, 1},
		},
		{
			Futures.Klines("BTCUSDT", native(Futures, "1m"), exchange.Window{From: day, Through: day + 200*60_000 - 1, Rows: 200, Old: true, Now: now, Step: 60_000}),
			"api/v2/mix/market/history-candles?productType=USDT-FUTURES&symbol=BTCUSDT&granularity=1m&startTime=86400000&endTime=98400000&limit=200", exchange.Cost{0, 0, 0, 1},
		},
		{ // with the forming candle
			Futures.Klines("A&B", native(Futures, "4h"), exchange.Window{From: now, Through: now + 8*hour - 1, Rows: 2, Now: now + 7, Step: 4 * hour}),
			"api/v2/mix/market/candles?productType=USDT-FUTURES&symbol=A%26B&granularity=4H&limit=2", exchange.Cost{0, 0, 1},
		},
		{Spot.Klines("", exchange.Native{}, exchange.Window{}), "api/v2/spot/market/candles?symbol=&granularity=&startTime=0&endTime=1&limit=0", exchange.Cost{1}},
	} {
		if got := tt.got.Path + "?" + tt.got.Query; got != tt.want || tt.got.Cost != tt.cost || tt.got.Body != "" {
			t.Errorf("%s, cost %v; want %s, %v", got, tt.got.Cost, tt.want, tt.cost)
		}
	}
}

// A range of contracts is at most 90 days long, whatever its ends.
func TestFutures_AreAskedForAtMost90Days(t *testing.T) {
	for i, n := range Futures.Spec().Intervals {
		step := i.Milliseconds()
		for _, from := range []int64{0, 1, step - 1} {
			w := exchange.Window{From: from + 1000*step, Rows: n.Rows, Now: 1 << 60, Step: step}
			w.Through = w.From + int64(n.Rows)*step - 1
			q, _ := url.ParseQuery(Futures.Klines("BTCUSDT", n, w).Query)
			start, _ := strconv.ParseInt(q.Get("startTime"), 10, 64)
			end, _ := strconv.ParseInt(q.Get("endTime"), 10, 64)
			if start < w.From || end <= w.Through || end-start > int64(90*24*time.Hour/time.Millisecond) || start%step != 0 || end%step != 0 {
				t.Errorf("%s from %d: %d to %d", i, w.From, start, end)
			}
		}
	}
}

// For a range inside a gap, the venue sends the candles before the gap. The client must not
// take them for the response to another request, even if they are more than two pages away.
func TestClient_AGapOfThePastIsNoError(t *testing.T) {
	const minute = int64(60_000)
	now := time.Date(2026, 11, 20, 10, 30, 7, 0, time.UTC)
	gap := now.Add(-30*24*time.Hour).UnixMilli() / minute * minute
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "time") {
			fmt.Fprintf(w, `{"code":"00000","data":{"serverTime":"%d"}}`, now.UnixMilli())
			return
		}
		end, _ := strconv.ParseInt(r.URL.Query().Get("endTime"), 10, 64)
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		var rows []string
		for open := end - minute; len(rows) < limit; open -= minute {
			if open < gap || open >= gap+1_000*minute {
				rows = append(rows, fmt.Sprintf(`["%d","1","2","0.5","1.5","3","4","4"]`, open))
			}
		}
		slices.Reverse(rows)
		io.WriteString(w, `{"code":"00000","data":[`+strings.Join(rows, ",")+`]}`)
	}))
	defer server.Close()
	base, _ := url.Parse(server.URL)
	budgets := slices.Clone(Spot.Spec().Budgets)
	for i := range budgets {
		budgets[i].Limit = 1_000_000
	}
	c := exchange.New(Spot, exchange.Config{BaseURL: base, Attempts: 1, Group: exchange.NewGroup(&exchange.Spec{Budgets: budgets}, 1)})
	defer c.Close()
	var dst levels.Candles
	dst.Reset("1m", 0)
	from := gap - 10*minute
	if err := c.Candles(t.Context(), "BTCUSDT", from, &dst, nil); err != nil {
		t.Fatal(err)
	}
	if n := (now.UnixMilli()-from)/minute - 1_000; int64(dst.Len()) != n || dst.Missing() != 1_000 {
		t.Errorf("%d candles, %d missing, want %d", dst.Len(), dst.Missing(), n)
	}
}

func TestRefusals(t *testing.T) {
	for body, want := range map[string]error{
		`{"code":"40034","msg":"Parameter NOPEUSDT does not exist","data":null}`:        service.ErrUnknownSymbol,
		`{"data":[],"msg":"The contract has been removed","code":"40309"}`:              service.ErrUnknownSymbol,
		`{"code":"400171","msg":"Parameter verification failed","data":null}`:           levels.ErrUnknownInterval,
		`{"code":"40017","msg":"Parameter verification failed startTime","data":null}`:  service.ErrExchange,
		`{"code":"429","msg":"Too Many Requests","requestTime":1,"data":null}`:          service.ErrRateLimited,
		`{"code":"40015","msg":"System is abnormal, please try again later","data":[]}`: service.ErrExchange,
	} {
		for name, err := range map[string]error{
			"another status": Spot.Refuse(http.StatusBadRequest, nil, []byte(body)),
			"klines":         func() error { _, err := exchangetest.Decode(Futures, body); return err }(),
			"the time":       func() error { _, err := Spot.DecodeClock(exchangetest.Scan(body)); return err }(),
			"tickers":        Futures.DecodeListing(1, exchangetest.Scan(body), new(exchange.Listing)),
		} {
			if name == "the time" && strings.Contains(body, "[]") {
				continue
			}
			exchangetest.Refused(t, name, body, err, want)
		}
		if err := Spot.Refuse(http.StatusTooManyRequests, nil, []byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	exchangetest.RefusesPages(t, Spot, http.StatusForbidden, "", "<html></html>", `{"code":"00000"}`, `{"message":"no"}`, `"text"`)
}

func TestDecodeClock(t *testing.T) {
	if got, err := Spot.DecodeClock(exchangetest.Scan(`{"code":"00000","msg":"success","requestTime":1700111073740,"data":{"serverTime":"1700111073741"}}`)); got != 1700111073741 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}

func TestDecodeKlines_RefusesWhatItIsNot(t *testing.T) {
	row := `["3600000","1","2","0.5","1.5","10","20"]`
	for name, data := range map[string]string{
		"a column missing": `[["3600000","1","2","0.5","1.5","10"]]`,
		"a row of none":    `[[]]`,
		"an object":        `{"a":1}`,
		"a row in a row":   `[[` + row + `]]`,
		"a bad price":      `[["3600000","1","2","x","1.5","10","20"]]`,
		"no volume":        `[["3600000","1","2","0.5","1.5","","20"]]`,
		"null":             `null`,
	} {
		if got, err := exchangetest.Decode(Spot, `{"code":"00000","msg":"success","data":`+data+`}`); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	whole := `{"code":"00000","msg":"success","data":[` + row + `,` + row + `]}`
	exchangetest.RefusesParts(t, Spot, whole)
	for body, good := range map[string]bool{`""`: true, `"x"`: false, `"" ""`: false} { // of a pair that was just listed
		if got, err := exchangetest.Decode(Spot, body); (err == nil) != good || len(got) > 0 {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
}

// page is a response of n rows as the venue writes them.
func page(n int) string {
	var b strings.Builder
	b.WriteString(`{"code":"00000","msg":"success","requestTime":1790508916710,"data":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `["%d","84955.72","85120","84800","84880.21","92.958017","7897444.53188482","7897444.53188482"]`, 1_790_503_200_000+i*3_600_000)
	}
	b.WriteString(`]}`)
	return b.String()
}

func BenchmarkDecodeKlines(b *testing.B) { exchangetest.BenchmarkKlines(b, Spot, page(1000), 1000) }

func TestDecodeKlines_AllocatesAtMostTwice(t *testing.T) {
	exchangetest.AllocatesLittle(t, Spot, page(1000))
}

func FuzzDecodeKlines(f *testing.F) {
	f.Add(page(2))
	f.Add(`{"data":[["1","1e3","2","1","1.5","0","-0","",7]],"code":"00000"}`)
	f.Add(`{"code":"40034","msg":"Parameter X does not exist","data":[]}`)
	f.Add(`""`)
	exchangetest.FuzzKlines(f, oracle, "data", Spot)
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(pairs("AUSDT"))
	f.Add(`{"code":"00000","data":[{"symbol":"A","quoteVolume":"2","supportMarginCoins":["USDT"]}]}`)
	exchangetest.FuzzListing(f, Spot, Futures)
}
