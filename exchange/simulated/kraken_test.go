package simulated

import (
	"encoding/json"
	"testing"
	"time"
)

func init() {
	const ohlc = "/0/public/OHLC?interval=60&pair="
	unknown := `{"error":["EQuery:Unknown asset pair"]}`
	venueTests["kraken"] = venueTest{
		klines: ohlc + "XXBTZUSD", // 721: there is no limit
		limited: []limitTest{
			{ohlc + "XXBTZUSD", 1, time.Second},
			{"/0/public/AssetPairs", 1, time.Second},
		},
		recorded: map[string]string{
			"kraken/OHLC_XBTUSDT_1m_721@result.XBTUSDT#result.XXBTZUSD": "/0/public/OHLC?pair=XBTUSD&interval=1",
			"kraken/AssetPairs_2025@result.XBTUSDT#result.XXBTZUSD":     "/0/public/AssetPairs",
			"kraken/Ticker@result.XBTUSDT#result.XXBTZUSD":              "/0/public/Ticker",
			"kraken/error_bad_interval":                                 "/0/public/OHLC?pair=XXBTZUSD&interval=7",
			"kraken/error_unknown_pair":                                 ohlc + "NOPEEUR",
			"kraken/OHLC_XETHXXBT_1m_ccxt":                              "/0/public/OHLC?pair=ETHXBT&interval=1",
		},
		refused: []refusedTest{
			{ohlc + "NOPEUSD", 200, unknown},
			{ohlc + "XEMUSD", 200, unknown}, // delisted
			{"/0/public/OHLC?pair=XBTUSD&interval=7", 200, `{"error":["EGeneral:Invalid arguments"]}`},
			{"/0/public/Nothing", 200, `{"error":["EGeneral:Unknown method"]}`},
			{"/0/public/AssetPairs?aclass_base=tokenized_asset", 200, `{"error":[],"result":{}}`},
		},
	}
	const candles = "/api/charts/v1/trade/"
	lost := `{"result":"error","error":"contractNotFound","serverTime":"` + testTime.UTC().Format(krakenStamp) + `"}`
	venueTests["kraken-futures"] = venueTest{ // nothing was recorded
		klines:  candles + "PF_XBTUSD/1h?count=20",
		limited: []limitTest{{candles + "PF_XBTUSD/1h", 10, 2 * time.Second}},
		refused: []refusedTest{
			{candles + "PF_NOPEUSD/1h", 404, lost},
			{candles + "PF_XEMUSD/1h", 404, lost}, // delisted
			{candles + "PF_XBTUSD/2h", 404, lost},
			{"/api/charts/v1/", 200, `["mark","spot","trade"]`},
		},
	}
}

func TestKraken_OnlyTheNewest720AndTheFormingCandle(t *testing.T) {
	s := New(Options{Venue: "kraken", Pairs: 1, Now: clock, LimitTimes: 100})
	const hour = 3600
	forming := testTime.Truncate(time.Hour).Unix()
	for _, c := range []struct {
		name, query string
		count       int
		first       int64
	}{
		{"without since", "", 721, forming - 720*hour},
		{"since long ago", "&since=1", 721, forming - 720*hour},
		{"since is exclusive", "&since=" + itoa(forming-5*hour), 5, forming - 4*hour},
		{"in the middle of a candle", "&since=" + itoa(forming-5*hour-1), 6, forming - 5*hour},
		{"the forming one is always there", "&since=" + itoa(forming+hour), 1, forming},
	} {
		var body struct {
			Result map[string]json.RawMessage
		}
		w := ask(s, "/0/public/OHLC?pair=XBTUSD&interval=60"+c.query)
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		var rows [][]any
		if err := json.Unmarshal(body.Result["XXBTZUSD"], &rows); err != nil || len(rows) == 0 {
			t.Fatalf("%s: %v %.200s", c.name, err, w.Body)
		}
		open := func(i int) int64 { return int64(rows[i][0].(float64)) }
		if len(rows) != c.count || open(0) != c.first || open(len(rows)-1) != forming {
			t.Errorf("%s: %d rows from %d to %d, want %d from %d", c.name, len(rows), open(0), open(len(rows)-1), c.count, c.first)
		}
		if want := itoa(max(0, forming-hour)); c.count > 1 && string(body.Result["last"]) != want {
			t.Errorf("%s: last is %s, want %s", c.name, body.Result["last"], want)
		}
	}
}

func TestKraken_KeysHaveOldNames(t *testing.T) {
	s := New(Options{Venue: "kraken", Pairs: 24, Now: clock, LimitTimes: 100})
	var body struct {
		Result map[string]struct{ Altname, WSName, Base, Quote string }
	}
	if err := json.Unmarshal(ask(s, "/0/public/AssetPairs").Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]struct{ Altname, WSName, Base, Quote string }{
		"XXBTZUSD": {"XBTUSD", "XBT/USD", "XXBT", "ZUSD"},
		"XETHXXBT": {"ETHXBT", "ETH/XBT", "XETH", "XXBT"},
		"XDGUSD":   {"XDGUSD", "XDG/USD", "XXDG", "ZUSD"},
		"SOLUSD":   {"SOLUSD", "SOL/USD", "SOL", "ZUSD"},
		"EURUSD":   {"EURUSD", "EUR/USD", "ZEUR", "ZUSD"},
	} {
		if got := body.Result[key]; got != want {
			t.Errorf("%s is %+v, want %+v", key, got, want)
		}
	}
}

func TestKrakenFutures_ALongerRangeHasTheOldest2000(t *testing.T) {
	s := New(Options{Venue: "kraken-futures", Pairs: 1, Now: clock, LimitTimes: 100})
	const hour = 3600
	forming := testTime.Truncate(time.Hour).Unix()
	from := quietStretch(s, 2001*hour)
	for _, c := range []struct {
		name, query string
		count       int
		first       int64
		more        bool
	}{
		{"the newest without a range", "", 2000, -1, true},
		{"the oldest of a long range", "?from=" + itoa(from) + "&to=" + itoa(from+5000*hour), 2000, from, true},
		{"both ends are inclusive", "?from=" + itoa(from) + "&to=" + itoa(from+2*hour), 3, from, false},
		{"the forming one is last", "?from=" + itoa(forming-1), 1, forming, false},
	} {
		var body struct {
			Candles []struct{ Time int64 }
			More    bool `json:"more_candles"`
		}
		w := ask(s, "/api/charts/v1/trade/PF_XBTUSD/1h"+c.query)
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if n := len(body.Candles); n != c.count || c.first >= 0 && body.Candles[0].Time != c.first*1000 || body.More != c.more {
			t.Errorf("%s: %d rows, %.200s", c.name, n, w.Body)
		}
	}
}
