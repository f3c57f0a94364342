package hyperliquid

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

// oracle reads candles with encoding/json.
func oracle(_ exchange.Venue, body string) ([]levels.Candle, bool) {
	return exchangetest.Objects([]byte(body), 1, "t", "o", "h", "l", "c", "v")
}

// Every recording decodes to its values. allMids holds mean prices only, and is not read.
func TestRecordings(t *testing.T) {
	left := exchangetest.Bodies(t, "hyperliquid")
	for name, body := range left {
		if strings.HasPrefix(name, "candle") {
			exchangetest.Agrees(t, name, Perps, body, oracle)
		}
	}
	if body, ok := left["meta"]; ok { // without the states, which a list needs
		var meta struct {
			Universe []struct {
				Name       string
				SzDecimals int
			}
		}
		if err := json.Unmarshal([]byte(body), &meta); err != nil {
			t.Fatal(err)
		}
		states := strings.TrimSuffix(strings.Repeat(`{"dayNtlVlm":"1.5"},`, len(meta.Universe)), ",")
		got, err := exchangetest.ListFrom(t, Perps, exchangetest.Replies{"/info": `[` + body + `,[` + states + `]]`})
		var want []service.Symbol
		for _, p := range meta.Universe {
			want = append(want, perp(p.Name, 6-p.SzDecimals, 1.5))
		}
		slices.SortFunc(want, func(a, b service.Symbol) int { return strings.Compare(a.Name, b.Name) })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v\n%+v, want\n%+v", err, got, want)
		}
	}
	if body, ok := left["ccxt_comment_fetchSwapMarkets_0"]; ok {
		got, err := exchangetest.ListFrom(t, Perps, exchangetest.Replies{"/info": body})
		if want := []service.Symbol{perp("SOL", 4, 9450588.2273)}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %+v", err, got)
		}
	}
	token, state := left["ccxt_comment_fetchSpotMarkets_1"], left["ccxt_comment_parseTicker_0"]
	if token != "" && state != "" {
		got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{"/info": `[{"universe":[{"tokens":[1,0],"name":"PURR","index":0}],"tokens":[` + token +
			`,{"name":"USDC","index":0,"szDecimals":8}]},[` + state + `]]`})
		want := []service.Symbol{{
			Name: "PURR", Base: "PURR", Quote: "USDC", Trading: true, Status: "listed",
			Tick: service.Tick{Units: 1, Decimals: 8}, Digits: 5, QuoteVolume: 511297257.47936022,
		}}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %+v", err, got)
		}
	}
}

func perp(name string, decimals int, volume float64) service.Symbol {
	return service.Symbol{
		Name: name, Base: name, Quote: "USDC", Settle: "USDC", Trading: true, Status: "listed",
		Tick: service.Tick{Units: 1, Decimals: decimals}, Digits: 5, QuoteVolume: volume,
	}
}

func TestListing_DelistedPerpetualsStayAndDoNotTrade(t *testing.T) {
	got, err := exchangetest.ListFrom(t, Perps, exchangetest.Replies{"/info": `[{"marginTables":[[1,{"description":""}]],"collateralToken":0,"universe":[` +
		`{"szDecimals":5,"name":"BTC","maxLeverage":40,"marginTableId":56},{"szDecimals":1,"name":"MATIC","maxLeverage":20,"isDelisted":true},` +
		`{"name":"kPEPE","szDecimals":0}]},[{"dayNtlVlm":"7"},{"dayNtlVlm":"0.0","midPx":null},{"dayNtlVlm":"3"}]]`})
	gone := perp("MATIC", 5, 0)
	gone.Trading, gone.Status = false, "delisted"
	if want := []service.Symbol{perp("BTC", 1, 7), gone, perp("kPEPE", 6, 3)}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
	if name := got[2].Canonical(); name != "kPEPE/USDC:USDC" {
		t.Error(name)
	}
}

// The states are found by name, and the tokens by number, not by their places. A token
// that is not listed leaves its pair out.
func TestListing_SpotIsJoinedByNamesAndNumbers(t *testing.T) {
	got, err := exchangetest.ListFrom(t, Spot, exchangetest.Replies{"/info": `[{"universe":[` +
		`{"tokens":[1,0],"name":"PURR/USDC","index":0,"isCanonical":true},{"tokens":[197,0],"name":"@142","index":142},` +
		`{"tokens":[479,0],"name":"@367","index":367},{"tokens":[150,268],"name":"@207","index":207}],"tokens":[` +
		`{"name":"USDC","szDecimals":8,"index":0},{"name":"HYPE","szDecimals":2,"index":150},{"name":"PURR","szDecimals":0,"index":1},` +
		`{"name":"UBTC","szDecimals":5,"index":197},{"name":"USDT0","szDecimals":2,"index":268}]},` +
		`[{"coin":"#0","dayNtlVlm":"99"},{"dayNtlVlm":"30","coin":"@207"},{"coin":"@142","dayNtlVlm":"20"},{"coin":"PURR/USDC","dayNtlVlm":"10"}]]`})
	want := []string{"@142 BTC/USDC 3 20", "@207 HYPE/USDT 6 30", "PURR/USDC PURR/USDC 8 10"}
	var all []string
	for _, s := range got {
		all = append(all, fmt.Sprint(s.Name, " ", s.Canonical(), " ", s.Tick.Decimals, " ", s.QuoteVolume))
		if s.Kind() != "spot" || s.Digits != 5 || !s.Trading {
			t.Errorf("%+v", s)
		}
	}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("%v, %q, want %q", err, all, want)
	}
}

func TestListing_RefusesWhatItIsNot(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":              "",
		"null":                 "null",
		"an object":            `{}`,
		"no states":            `[{"universe":[{"name":"A","szDecimals":1}]}]`,
		"fewer states":         `[{"universe":[{"name":"A","szDecimals":1},{"name":"B","szDecimals":1}]},[{"dayNtlVlm":"1"}]]`,
		"more states":          `[{"universe":[{"name":"A","szDecimals":1}]},[{"dayNtlVlm":"1"},{"dayNtlVlm":"1"}]]`,
		"no pairs":             `[{"universe":[]},[]]`,
		"no size":              `[{"universe":[{"name":"A"}]},[{"dayNtlVlm":"1"}]]`,
		"no name":              `[{"universe":[{"szDecimals":1}]},[{"dayNtlVlm":"1"}]]`,
		"cut off":              `[{"universe":[{"name":"A","szDecimals":1}]},[{"dayNtlVlm":"1"}]`,
		"more after the end":   `[{"universe":[{"name":"A","szDecimals":1}]},[{"dayNtlVlm":"1"}]][]`,
		"tokens of one number": `[{"universe":[{"name":"A","szDecimals":1,"tokens":[1]}]},[{"dayNtlVlm":"1"}]]`,
	} {
		for _, v := range []exchange.Venue{Perps, Spot} {
			if got, err := exchangetest.ListFrom(t, v, exchangetest.Replies{"/info": body}); err == nil {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
}

func TestRequests(t *testing.T) {
	const hour = 3_600_000
	for _, tt := range []struct {
		got  exchange.Call
		want string
		cost int
	}{
		{Perps.Listing(0, ""), `{"type":"metaAndAssetCtxs"}`, 20},
		{Spot.Listing(0, ""), `{"type":"spotMetaAndAssetCtxs"}`, 20},
		{Perps.Spec().Clock, `{"type":"exchangeStatus"}`, 2},
		{
			Spot.Klines("PURR/USDC", intervals["1h"], exchange.Window{From: hour, Through: 3*hour - 1, Rows: 2}),
			`{"type":"candleSnapshot","req":{"coin":"PURR/USDC","interval":"1h","startTime":3600000,"endTime":10799999}}`, 21,
		},
		{
			Perps.Klines("kPEPE", intervals["1d"], exchange.Window{From: 24 * hour, Through: 5000 * 24 * hour, Rows: 5000}),
			`{"type":"candleSnapshot","req":{"coin":"kPEPE","interval":"1d","startTime":86400000,"endTime":432000000000}}`, Perps.Spec().Heaviest[0],
		},
		{Perps.Klines("", exchange.Native{}, exchange.Window{From: -5, Through: -1}), `{"type":"candleSnapshot","req":{"coin":"","interval":"","startTime":0,"endTime":0}}`, 21},
	} {
		if tt.got.Body != tt.want || tt.got.Path != "info" || tt.got.Query != "" || tt.got.Cost != (exchange.Cost{tt.cost}) {
			t.Errorf("%+v, want %s, %d", tt.got, tt.want, tt.cost)
		}
	}
}

func TestRefusals(t *testing.T) {
	text := "Failed to deserialize the JSON body into the target type: req.startTime: invalid value"
	refused, ok := errors.AsType[*exchange.Refusal](Perps.Refuse(http.StatusUnprocessableEntity, nil, []byte(text+"\n")))
	if !ok || refused.Err != service.ErrExchange || refused.Msg != text || refused.Venue != "Hyperliquid" {
		t.Errorf("%+v", refused)
	}
	exchangetest.RefusesPages(t, Perps, http.StatusInternalServerError, "", "null", "<html></html>")
	if _, err := exchangetest.Decode(Spot, "null"); !errors.Is(err, service.ErrExchange) {
		t.Errorf("null instead of candles: %v", err)
	}
}

func TestDecodeClock(t *testing.T) {
	for body, want := range map[string]int64{`{"specialStatuses":null,"time":1788312923270}`: 1788312923270, `{"time":5,"specialStatuses":[{"a":1}]}`: 5, `{}`: 0} {
		if got, err := Perps.DecodeClock(exchangetest.Scan(body)); got != want || err != nil {
			t.Errorf("%s: %d, %v", body, got, err)
		}
	}
	if _, err := Perps.DecodeClock(exchangetest.Scan("null")); err == nil {
		t.Error("null is a time")
	}
}

func TestDecodeKlines_RefusesWhatItIsNot(t *testing.T) {
	row := `{"t":3600000,"T":7199999,"s":"BTC","i":"1h","o":"1","c":"1.5","h":"2","l":"0.5","v":"10","n":3}`
	for name, body := range map[string]string{
		"an array":      `[[3600000,"1"]]`,
		"an object":     `{"error":"no"}`,
		"an empty row":  `[{}]`,
		"a bad price":   strings.Replace("["+row+"]", `"2"`, `"NaN"`, 1),
		"a null volume": strings.Replace("["+row+"]", `"10"`, `null`, 1),
		"more":          "[" + row + "][]",
	} {
		if got, err := exchangetest.Decode(Perps, body); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, key := range []string{"t", "o", "h", "l", "c", "v"} {
		if got, err := exchangetest.Decode(Perps, strings.Replace("["+row+"]", `"`+key+`":`, `"x":`, 1)); err == nil {
			t.Errorf("without %s: %v", key, got)
		}
	}
	whole := "[" + row + "," + row + "]"
	exchangetest.RefusesParts(t, Perps, whole)
}

// page is a response of n rows as the venue writes them.
func page(n int) string {
	var b strings.Builder
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		open := 1_684_699_200_000 + int64(i)*3_600_000
		fmt.Fprintf(&b, `{"t":%d,"T":%d,"s":"kPEPE","i":"1h","o":"0.001601","c":"0.001604","h":"0.001616","l":"0.001601","v":"520665683.0","n":709}`, open, open+3_599_999)
	}
	b.WriteByte(']')
	return b.String()
}

func BenchmarkDecodeKlines(b *testing.B) { exchangetest.BenchmarkKlines(b, Perps, page(5_000), 5_000) }

func TestDecodeKlines_AllocatesAtMostTwice(t *testing.T) {
	exchangetest.AllocatesLittle(t, Perps, page(300))
}

func FuzzDecodeKlines(f *testing.F) {
	f.Add(page(2))
	f.Add(`[{"T":1,"c":"1e3","h":2,"i":"1h","l":"1","n":7,"o":"1.5","s":"A","t":"5","v":"-0"},{"t":1,"t":2,"o":1,"h":1,"l":1,"c":1,"v":1}]`)
	f.Add(`null`)
	exchangetest.FuzzKlines(f, oracle, "", Perps)
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(`[{"universe":[{"name":"A","szDecimals":1,"tokens":[0,1],"isDelisted":false}],"tokens":[{"name":"A","index":0,"szDecimals":2}]},[{"coin":"A","dayNtlVlm":"1"}]]`)
	exchangetest.FuzzListing(f, Perps, Spot)
}
