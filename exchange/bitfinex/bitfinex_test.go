package bitfinex

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

// oracle reads candles with encoding/json, and returns nil for a body that is not a page.
func oracle(body string) []levels.Candle {
	var rows [][]json.RawMessage
	if json.Unmarshal([]byte(body), &rows) != nil || rows == nil {
		return nil
	}
	all := []levels.Candle{}
	for _, row := range rows {
		if len(row) < 6 {
			return nil
		}
		var f [6]float64
		for i := range f {
			f[i], _ = strconv.ParseFloat(strings.Trim(string(row[i]), `"`), 64)
		}
		all = append(all, levels.Candle{OpenTime: int64(f[0]), Open: f[1], Close: f[2], High: f[3], Low: f[4], Volume: f[5]})
	}
	return all
}

// No response is recorded; these are of the documentation and of ccxt.
func TestDecodeKlines(t *testing.T) {
	got, err := exchangetest.Decode(Spot, `[[1591503840000,0.025069,0.025068,0.025071,0.025061,1.97828998],[1591504500000,0.025065,2.5065e-2,0.025065,0.025065,1]]`)
	want := []levels.Candle{
		{OpenTime: 1591503840000, Open: 0.025069, Close: 0.025068, High: 0.025071, Low: 0.025061, Volume: 1.97828998},
		{OpenTime: 1591504500000, Open: 0.025065, Close: 0.025065, High: 0.025065, Low: 0.025065, Volume: 1},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %+v", err, got)
	}
	if got, err := exchangetest.Decode(Spot, `[]`); err != nil || got != nil {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestListing_UsesTheUsualNames(t *testing.T) {
	info := `[null,null,null,"0.02","5000.0",null,null,null,null,null,null,null]`
	var pairs []string
	for _, name := range []string{"BTCUSD", "BTCUST", "DOGE:USD", "UDCUST", "TESTBTC:TESTUSD", "BTCF0:USTF0", "IOTBTC", "LUNA2:USD", "ALT2612:USD", "X"} {
		pairs = append(pairs, `["`+name+`",`+info+`]`)
	}
	got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{
		"/v2/conf/pub:info:pair,pub:list:pair:securities": `[[` + strings.Join(pairs, ",") + `],["ALT2612:USD","BMN2:BTC"]]`,
		"/v2/tickers": `[["fUSD",0.00031,0.0003,120,1,0.0002,2,9,0,0,0.0003,1000,1,1,null,null,5],["tBTCUSD",60000,1.5,60001,2,-5,-0.1,60000.5,2,61000,59000],` +
			`["tDOGE:USD",0.1,1,0.2,1,null,null,null,null,null,null],["tNEW:USD",1,1,1,1,1,1,1,1,1,1]]`,
	})
	want := []string{
		"tALT2612:USD ALT2612/USD stock 0", "tBTCUSD BTC/USD  120001", "tBTCUST BTC/USDT  0", "tDOGE:USD DOGE/USD  0",
		"tIOTBTC IOTA/BTC  0", "tLUNA2:USD LUNA/USD  0", "tUDCUST USDC/USDT  0",
	}
	var all []string
	for _, s := range got {
		all = append(all, fmt.Sprint(s.Name, " ", s.Canonical(), " ", s.Unusual, " ", s.QuoteVolume))
		if !s.Trading || s.Digits != 5 || s.Tick != (service.Tick{}) {
			t.Errorf("%+v", s)
		}
	}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("%v\n%q, want\n%q", err, all, want)
	}
}

func TestListing_RefusesWhatItIsNot(t *testing.T) {
	const path = "/v2/conf/pub:info:pair,pub:list:pair:securities"
	for name, body := range map[string]string{
		"nothing": "", "null": "null", "no pairs": `[[],[]]`, "one list": `[[["BTCUSD",[]]]]`, "no names": `[[[1,[]]],[]]`,
		"a refusal": `["error",20060,"maintenance"]`, "cut off": `[[["BTCUSD",[]]],[]`,
		"a pair twice": `[[["BTCUSD",[]],["BTCUSD",[]]],[]]`,
	} {
		if got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{path: body, "/v2/tickers": "[]"}); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, body := range map[string]string{"null": "null", "a short row": `[["tBTCUSD",1,2]]`, "a refusal": `["error",20060,"maintenance"]`} {
		if got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{path: `[[["BTCUSD",[]]],[]]`, "/v2/tickers": body}); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		got  exchange.Call
		want string
		cost exchange.Cost
	}{
		{Spot.Listing(0, ""), "v2/conf/pub:info:pair,pub:list:pair:securities?", exchange.Cost{conf: 1}},
		{Spot.Listing(1, ""), "v2/tickers?symbols=ALL", exchange.Cost{tickers: 1}},
		{Spot.Spec().Clock, "v2/platform/status?", exchange.Cost{status: 1}},
		{
			Spot.Klines("tDOGE:USD", intervals["1d"], exchange.Window{From: 86_400_000, Through: 172_800_000, Rows: 2}),
			"v2/candles/trade:1D:tDOGE:USD/hist?start=86400000&end=172800000&limit=2&sort=1", exchange.Cost{candles: 1},
		},
		{Spot.Klines("", exchange.Native{}, exchange.Window{}), "v2/candles/trade::/hist?start=0&end=0&limit=0&sort=1", exchange.Cost{candles: 1}},
		{Spot.Klines("t../x", exchange.Native{}, exchange.Window{}), "v2/candles/trade::t..%2Fx/hist?start=0&end=0&limit=0&sort=1", exchange.Cost{candles: 1}},
	} {
		if got := tt.got.Path + "?" + tt.got.Query; got != tt.want || tt.got.Cost != tt.cost || tt.got.Body != "" {
			t.Errorf("%s, cost %v; want %s, %v", got, tt.got.Cost, tt.want, tt.cost)
		}
	}
}

func TestRefusals(t *testing.T) {
	for body, want := range map[string]error{
		`["error",11010,"ratelimit: error"]`: service.ErrRateLimited,
		`{"error":"ERR_RATE_LIMIT"}`:         service.ErrRateLimited,
		`["error",10020,"symbol: invalid"]`:  service.ErrUnknownSymbol,
		`["error",10020,"limit: invalid"]`:   service.ErrExchange,
		`["error",20060,"maintenance"]`:      service.ErrExchange,
		`{"code":503,"error":"temporarily_unavailable","error_description":"Sorry, the service is temporarily unavailable."}`: service.ErrExchange,
	} {
		for name, err := range map[string]error{
			"another status": Spot.Refuse(500, nil, []byte(body)),
			"klines":         func() error { _, err := exchangetest.Decode(Spot, body); return err }(),
			"the time":       func() error { _, err := Spot.DecodeClock(exchangetest.Scan(body)); return err }(),
			"pairs":          Spot.DecodeListing(0, exchangetest.Scan(body), new(exchange.Listing)),
			"tickers":        Spot.DecodeListing(1, exchangetest.Scan(body), new(exchange.Listing)),
		} {
			refused, ok := errors.AsType[*exchange.Refusal](err)
			if !ok || !errors.Is(err, want) || refused.Msg == "" || !strings.Contains(body, refused.Code) {
				t.Errorf("%s in %s: %v, want %v", name, body, err, want)
			}
		}
	}
	for _, page := range []string{"", "<html></html>", `[]`, `[1]`, `["x",1,"y"]`, `{"message":"no"}`} {
		if err := Spot.Refuse(500, nil, []byte(page)); err != nil {
			t.Errorf("%q: %v", page, err)
		}
	}
	for _, body := range []string{"[1]", "[0]"} {
		if got, err := Spot.DecodeClock(exchangetest.Scan(body)); got != 0 || err != nil {
			t.Errorf("%s: %d, %v", body, got, err)
		}
	}
}

func TestDecodeKlines_RefusesWhatItIsNot(t *testing.T) {
	row := `[3600000,1,1.5,2,0.5,10]`
	for name, body := range map[string]string{
		"a column missing": `[[3600000,1,1.5,2,0.5]]`, "a row of none": `[[]]`, "an object": `{}`, "null": `null`, "a null": `[[3600000,1,null,2,0.5,10]]`,
		"a row in a row": `[[` + row + `]]`, "half a refusal": `["error",10020]`, "more": `[` + row + `][]`,
	} {
		if got, err := exchangetest.Decode(Spot, body); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	whole := "[" + row + "," + row + "]"
	for i := range len(whole) {
		if got, err := exchangetest.Decode(Spot, whole[:i]); err == nil {
			t.Errorf("cut at %d: %v", i, got)
		}
	}
	stop := errors.New("stop")
	if err := Spot.DecodeKlines(exchangetest.Scan(whole), exchange.Native{}, func(levels.Candle) error { return stop }); err != stop {
		t.Errorf("%v", err)
	}
}

// page is a response of n rows as the venue writes them.
func page(n int) string {
	var b strings.Builder
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "[%d,61234,61250.5,61301,61199,12.48291733]", 1_684_699_200_000+int64(i)*3_600_000)
	}
	b.WriteByte(']')
	return b.String()
}

func BenchmarkDecodeKlines(b *testing.B) {
	body := page(10_000)
	buf := make([]byte, 32<<10)
	r := strings.NewReader(body)
	n := 0
	count := func(levels.Candle) error { n++; return nil }
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(body)
		n = 0
		if err := Spot.DecodeKlines(exchange.NewScanner(r, buf), exchange.Native{}, count); err != nil || n != 10_000 {
			b.Fatal(n, err)
		}
	}
}

func TestDecodeKlines_AllocatesAtMostTwice(t *testing.T) {
	body, buf := page(300), make([]byte, 32<<10)
	r := strings.NewReader(body)
	if n := testing.AllocsPerRun(20, func() {
		r.Reset(body)
		if err := Spot.DecodeKlines(exchange.NewScanner(r, buf), exchange.Native{}, func(levels.Candle) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecodeKlines(f *testing.F) {
	f.Add(page(2))
	f.Add(`[["5",1e3,"2",1,-0,0,null]]`)
	f.Add(`["error",10020,"symbol: invalid"]`)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := exchangetest.Decode(Spot, body)
		if err != nil {
			return
		}
		if !json.Valid([]byte(body)) {
			t.Fatalf("%q is accepted", body)
		}
		for i, want := range oracle(body) {
			if len(strconv.FormatInt(want.OpenTime, 10)) < 15 && got[i] != want {
				t.Fatalf("%q: %v, want %v", body, got[i], want)
			}
		}
	})
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(`[[["BTCUSD",[null,"1"]]],["BTCUSD"]]`)
	f.Add(`[["tBTCUSD",1,2,3,4,5,6,7,8,9,10],["fUSD",1]]`)
	exchangetest.FuzzListing(f, Spot)
}
