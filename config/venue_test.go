package config

// These tests pin the settings of several exchanges: the list of EXCHANGE, settings of one
// exchange that replace the general ones, and that both are checked and shown like all
// others.

import (
	"bytes"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLoadConfig_ExchangeIsAListOrAll(t *testing.T) {
	for line, want := range map[string]string{
		"EXCHANGE=okx":                   "okx",
		"EXCHANGE= kraken, binance ,":    "kraken binance",
		"EXCHANGE=binance,simulated":     "binance simulated",
		"EXCHANGE=all":                   "binance okx okx-swap kraken",
		"EXCHANGE_SIMULATED_PAIRS=20":    "binance",
		"EXCHANGE_KRAKEN_TIMEOUT=1s":     "binance", // another process serves it
		"EXCHANGE_SIMULATED_TIMEOUT=20s": "binance",
	} {
		c, err := Load([]string{line}, nil, known)
		if err != nil || strings.Join(c.Exchanges, " ") != want {
			t.Errorf("%s: %v, %v, want %s", line, c.Exchanges, err, want)
		}
	}
}

func TestConfig_SettingsOfOneExchangeReplaceTheGeneralOnes(t *testing.T) {
	c, err := Load([]string{
		"EXCHANGE=binance,okx,okx-swap", "EXCHANGE_WEIGHT_SHARE=0.5", "EXCHANGE_TIMEOUT=5s", "EXCHANGE_EGRESS=one", "ANALYSIS_MIN_QUOTE_VOLUME=7",
		"EXCHANGE_OKX_BASE_URL=http://127.0.0.1:1/okx", "EXCHANGE_OKX_WEIGHT_SHARE=0.2", "EXCHANGE_OKX_TIMEOUT=2s", "EXCHANGE_OKX_ATTEMPTS=2",
		"EXCHANGE_OKX_EGRESS=two", "EXCHANGE_OKX_QUOTE_ASSETS=usdt, usdc", "EXCHANGE_OKX_MIN_QUOTE_VOLUME=1e6",
		"EXCHANGE_OKX_SWAP_TIMEOUT=3s", "EXCHANGE_OKX_SWAP_QUOTE_ASSETS=",
	}, nil, known)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Venues()
	if u := got[1].BaseURL; u == nil || u.String() != "http://127.0.0.1:1/okx" {
		t.Errorf("the address of okx is %v", u)
	}
	got[1].BaseURL = nil
	want := []Venue{
		{Name: "binance", WeightShare: 0.5, Timeout: 5 * time.Second, Attempts: 6, Egress: "one", MinQuoteVolume: 7},
		{Name: "okx", WeightShare: 0.2, Timeout: 2 * time.Second, Attempts: 2, Egress: "two", QuoteAssets: []string{"USDT", "USDC"}, MinQuoteVolume: 1e6},
		{Name: "okx-swap", WeightShare: 0.5, Timeout: 3 * time.Second, Attempts: 6, Egress: "one", QuoteAssets: []string{}, MinQuoteVolume: 7},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
}

func TestConfig_QuoteAssetsAreThoseOfTheExchangeUnlessNamed(t *testing.T) {
	for line, want := range map[string][]string{
		"ANALYSIS_QUOTE_ASSETS=auto":           nil,
		"ANALYSIS_QUOTE_ASSETS=":               {},
		"ANALYSIS_QUOTE_ASSETS=btc":            {"BTC"},
		"EXCHANGE_BINANCE_QUOTE_ASSETS=Auto":   nil,
		"EXCHANGE_BINANCE_QUOTE_ASSETS=,":      {},
		"EXCHANGE_KRAKEN_QUOTE_ASSETS=EUR,USD": nil,
	} {
		c, err := Load([]string{line}, nil, known)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Venues()[0].QuoteAssets; !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s: %#v, want %#v", line, got, want)
		}
	}
}

func TestLoadConfig_RefusesSettingsOfExchangesInOneSentence(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"EXCHANGE=", "EXCHANGE names no exchange: there are binance, okx, okx-swap, kraken, simulated"},
		{"EXCHANGE=okx,okx", "EXCHANGE: okx is named twice"},
		{"EXCHANGE=all,simulated", "EXCHANGE: all stands alone"},
		{"EXCHANGE=binance,krakn", `EXCHANGE: "krakn" is not one of binance, okx, okx-swap, kraken, simulated; did you mean kraken?`},
		{"EXCHANGE=binance,okx EXCHANGE_BASE_URL=http://x", "EXCHANGE_BASE_URL is the address of one exchange, and EXCHANGE names 2: set EXCHANGE_OKX_BASE_URL for that of okx"},
		{"EXCHANGE_OKX_BASE_ULR=http://x", "unknown variable EXCHANGE_OKX_BASE_ULR; did you mean EXCHANGE_OKX_BASE_URL?"},
		{"EXCHANGE_KRAKN_TIMEOUT=1s", "unknown variable EXCHANGE_KRAKN_TIMEOUT; did you mean EXCHANGE_KRAKEN_TIMEOUT?"},
		{"EXCHNGE_OKX_TIMEOUT=1s", "unknown variable EXCHNGE_OKX_TIMEOUT; did you mean EXCHANGE_OKX_TIMEOUT?"},
		{"EXCHANGE_GATE_TIMEOUT=1s", "unknown variable EXCHANGE_GATE_TIMEOUT"},
		{"EXCHANGE_OKX_TIMEOUT=fast", `EXCHANGE_OKX_TIMEOUT: "fast" is not a duration such as "30s" or "5m" between 100ms and 5m`},
		{"EXCHANGE_OKX_TIMEOUT=1h", "EXCHANGE_OKX_TIMEOUT: 1h0m0s is not between 100ms and 5m"},
		{"EXCHANGE_OKX_TIMEOUT=", "EXCHANGE_OKX_TIMEOUT is empty; leave it out for the setting of all exchanges"},
		{"EXCHANGE_OKX_WEIGHT_SHARE=1.5", "EXCHANGE_OKX_WEIGHT_SHARE: 1.5 is not between 0.01 and 1"},
		{"EXCHANGE_OKX_QUOTE_ASSETS=auto,USDT", "EXCHANGE_OKX_QUOTE_ASSETS: auto stands alone"},
		{"ANALYSIS_QUOTE_ASSETS=USDT,auto", "ANALYSIS_QUOTE_ASSETS: auto stands alone"},
		{"EXCHANGE_OKX_BASE_URL=ftp://me:hunter77@x", "EXCHANGE_OKX_BASE_URL: not an http or https address"},
		{"EXCHANGE_OKX_BASE_URL=http://x/?k=1", "EXCHANGE_OKX_BASE_URL: a query string or fragment cannot be part of the address: remove everything after http://x/"},
		{"EXCHANGE_OKX_BASE_URL=http://x EXCHANGE_OKX_BASE_URL_FILE=/f", "EXCHANGE_OKX_BASE_URL and EXCHANGE_OKX_BASE_URL_FILE are both set; one of them must go"},
	} {
		if _, err := Load(strings.Fields(c.lines), nil, known); err == nil || err.Error() != c.want {
			t.Errorf("%s:\n%v, want\n%s", c.lines, err, c.want)
		}
	}
}

func TestConfig_ShowsTheSettingsOfOneExchangeThatAreSet(t *testing.T) {
	c, err := Load([]string{"EXCHANGE=okx,kraken", "EXCHANGE_OKX_BASE_URL=https://me:hunter88@mirror.example", "EXCHANGE_KRAKEN_ATTEMPTS=3"}, nil, known)
	if err != nil {
		t.Fatal(err)
	}
	var printed, logged bytes.Buffer
	c.Print(&printed)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("configuration", "effective", c)
	for _, want := range []string{"EXCHANGE=okx,kraken\n", "EXCHANGE_KRAKEN_ATTEMPTS=3\n", "EXCHANGE_OKX_BASE_URL=https://me:xxxxx@mirror.example\n"} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("%q is not printed in %s", want, printed.String())
		}
	}
	if n := strings.Count(printed.String(), "EXCHANGE_OKX_"); n != 1 {
		t.Errorf("%d settings of okx are printed, one is set", n)
	}
	if strings.Contains(printed.String()+logged.String(), "hunter88") || !strings.Contains(logged.String(), "EXCHANGE_KRAKEN_ATTEMPTS=3") {
		t.Errorf("logged: %s", logged.String())
	}
}
