package venues_test

// Someone else's client agrees: ccxt, and the client of this program, read the same
// markets, volumes, candles and errors from the simulated venues. Where they differ, the
// table says why, and docs/venues.md who is right.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/simulated"
	"tidemark/exchange/venues"
	"tidemark/levels"
	"tidemark/service"
)

// other is how ccxt names a market, and the known differences.
type other struct {
	class   string
	options string // JSON
	tickers string // JSON, parameters of fetchTickers
	id      string // where ccxt has the venue's id of a pair; the default is id
	// other holds the responses to requests that this market's address does not serve, by
	// ccxt's method: those of the venue's other markets. JSON.
	other   string
	first   string // a pair that is read in every interval, by its canonical name; the default is BTC/USDT
	unknown string // id of no pair; the default is first's without BTC
	bad     string // name of no interval on the wire; the default is 7m
	// badParams requests an interval that does not exist, where ccxt has its own names of
	// them. JSON.
	badParams string
	noTickers bool // ccxt reads no 24 h volumes of all pairs
	digits    bool // ccxt has numbers of significant digits instead of ticks
	rows      int  // of a page of candles; the default is pageRows
	// volume is set if the volumes in the quote asset differ, or if ccxt gives none.
	volume bool
	// delisting is set if ccxt calls a pair active that is being delisted.
	delisting bool
	// skip holds intervals whose candles are not the same.
	skip []levels.Interval
	// symbols holds pairs that ccxt names otherwise, or does not have (an empty name), by
	// our canonical names.
	symbols map[string]string
	// failures holds the errors of a kind that are not as in failures.
	failures map[string]failure
}

// failure is an error in the words of ccxt, and in ours.
type failure struct {
	class string
	err   error
}

// others has a row for every market. The reasons are in docs/venues.md.
var others = map[string]other{
	"binance": {
		class: "binance", options: `{"fetchMarkets":{"types":["spot"]},"defaultType":"spot"}`,
		failures: binance,
	},
	"binance-usdm": {
		class: "binance", options: `{"fetchMarkets":{"types":["linear"]},"defaultType":"swap","defaultSubType":"linear"}`,
		first: "BTC/USDT:USDT", failures: binance,
	},
	"binance-coinm": {
		class: "binance", options: `{"fetchMarkets":{"types":["inverse"]},"defaultType":"swap","defaultSubType":"inverse"}`,
		first: "BTC/USD:BTC", rows: 28, failures: binance, // 28 weeks are in a range of 200 days
	},
	"okx": {class: "okx", options: `{"fetchMarkets":{"types":["spot"]},"defaultType":"spot"}`},
	"okx-swap": {
		class: "okx", options: `{"fetchMarkets":{"types":["swap"]},"defaultType":"swap"}`,
		first: "BTC/USDT:USDT", volume: true,
	},
	"bybit": {class: "bybit", options: `{"fetchMarkets":{"types":["spot"]},"defaultType":"spot"}`, failures: bybit},
	"bybit-linear": {
		class: "bybit", options: `{"fetchMarkets":{"types":["linear"]},"defaultType":"swap"}`, tickers: `{"category":"linear"}`,
		first: "BTC/USDT:USDT", failures: bybit,
	},
	"bybit-inverse": {
		class: "bybit", options: `{"fetchMarkets":{"types":["inverse"]},"defaultType":"swap"}`, tickers: `{"category":"inverse"}`,
		first: "BTC/USD:BTC", volume: true, failures: bybit,
	},
	"coinbase": {
		class: "coinbaseexchange", first: "BTC/USD", noTickers: true, volume: true,
		failures: map[string]failure{
			"symbol":   {"OrderNotFound", service.ErrUnknownSymbol},
			"interval": {"ExchangeError", levels.ErrUnknownInterval},
		},
	},
	"kraken": {
		class: "kraken", first: "BTC/USD", bad: "7", skip: []levels.Interval{"1w"},
		failures: map[string]failure{
			"symbol": {"ExchangeError", service.ErrUnknownSymbol},
			"429":    {"DDoSProtection", service.ErrRateLimited},
			"ban":    {"DDoSProtection", service.ErrRateLimited},
		},
	},
	"kraken-futures": {
		class: "krakenfutures", first: "BTC/USD:USD", volume: true,
		symbols: map[string]string{"DOGE/USD:USD": "XDG/USD:USD"},
		failures: map[string]failure{
			"interval": {"BadSymbol", service.ErrUnknownSymbol},
			"429":      {"DDoSProtection", service.ErrRateLimited},
		},
	},
	"kucoin": {
		class: "kucoin", options: `{"fetchMarkets":{"types":["spot"]},"defaultType":"spot"}`, skip: []levels.Interval{"1w"},
		failures: map[string]failure{
			"symbol": {"BadRequest", service.ErrUnknownSymbol},
			"429":    {"ExchangeError", service.ErrRateLimited},
		},
	},
	"kucoin-futures": {
		class: "kucoin", options: `{"fetchMarkets":{"types":["swap"]},"defaultType":"swap"}`,
		first: "BTC/USDT:USDT", bad: "7", badParams: `{"granularity":7}`, skip: []levels.Interval{"1w"},
		failures: map[string]failure{
			"symbol":   {"NotSupported", service.ErrUnknownSymbol},
			"interval": {"InvalidOrder", levels.ErrUnknownInterval},
			"429":      {"ExchangeError", service.ErrRateLimited},
		},
	},
	"gate": {
		class: "gate", options: `{"fetchMarkets":{"types":["spot"]},"defaultType":"spot"}`, skip: []levels.Interval{"1w"},
		other: `{"publicMarginGetCurrencyPairs":[]}`,
	},
	"gate-futures": {
		class: "gate", options: `{"fetchMarkets":{"types":["swap"]},"defaultType":"swap","swap":{"fetchMarkets":{"settlementCurrencies":["usdt"]}}}`,
		first: "BTC/USDT:USDT", skip: []levels.Interval{"1w"}, delisting: true,
	},
	"bitget": {
		class: "bitget", options: `{"fetchMarkets":{"types":["spot"]},"defaultType":"spot"}`, badParams: `{"granularity":"7m"}`,
		other: `{"publicMarginGetV2MarginCurrencies":{"data":[]}}`, failures: bitget,
	},
	"bitget-futures": {
		class: "bitget", options: `{"fetchMarkets":{"types":["swap"]},"defaultType":"swap"}`, badParams: `{"granularity":"7m"}`,
		first: "BTC/USDT:USDT", failures: bitget,
	},
	"mexc": {
		class: "mexc", options: `{"defaultType":"spot"}`, rows: 500, other: `{"fetchSwapMarkets":[]}`, badParams: `{"interval":"7m"}`,
		failures: map[string]failure{"ban": {"ExchangeError", service.ErrBanned}},
	},
	"htx": {
		class:   "htx",
		options: `{"fetchMarkets":{"types":{"spot":true,"linear":false,"inverse":false}},"defaultType":"spot","fetchOHLCV":{"useHistoricalEndpointForSpot":false}}`,
		rows:    2000, skip: []levels.Interval{"1d", "1w"},
		failures: map[string]failure{"interval": {"ExchangeError", levels.ErrUnknownInterval}},
	},
	"hyperliquid": {
		class: "hyperliquid", options: `{"fetchMarkets":{"types":["swap"]},"defaultType":"swap"}`, id: "baseName",
		first: "BTC/USDC:USDC", skip: []levels.Interval{"1w"}, failures: hyperliquid,
	},
	"hyperliquid-spot": {
		class: "hyperliquid", options: `{"fetchMarkets":{"types":["spot"]},"defaultType":"spot"}`,
		first: "BTC/USDC", unknown: "@99999999", skip: []levels.Interval{"1w"}, failures: hyperliquid,
		symbols: map[string]string{"HNT/USDC": ""},
	},
	"deribit": {
		class: "deribit", first: "BTC/USDC:USDC", bad: "7", tickers: `{"code":"USDC"}`,
		failures: map[string]failure{
			"symbol": {"BadRequest", service.ErrUnknownSymbol},
			"429":    {"DDoSProtection", service.ErrRateLimited},
		},
	},
	"bitfinex": {
		class: "bitfinex", first: "BTC/USD", volume: true, digits: true,
		failures: map[string]failure{
			"interval": {"BadRequest", service.ErrExchange},
			"ban":      {"ExchangeError", service.ErrRateLimited},
		},
	},
}

// failures holds the errors by kind, most of which all venues have. A ban is the page of a
// firewall on most.
var failures = map[string]failure{
	"symbol":   {"BadSymbol", service.ErrUnknownSymbol},
	"interval": {"BadRequest", levels.ErrUnknownInterval},
	"429":      {"RateLimitExceeded", service.ErrRateLimited},
	"ban":      {"ExchangeNotAvailable", service.ErrExchange},
}

var (
	binance = map[string]failure{"429": {"DDoSProtection", service.ErrRateLimited}, "ban": {"DDoSProtection", service.ErrBanned}}
	bybit   = map[string]failure{"ban": {"RateLimitExceeded", service.ErrBanned}}
	bitget  = map[string]failure{
		"symbol":   {"ExchangeError", service.ErrUnknownSymbol},
		"interval": {"ExchangeError", levels.ErrUnknownInterval},
		"429":      {"DDoSProtection", service.ErrRateLimited},
	}
	hyperliquid = map[string]failure{
		"symbol":   {"ExchangeNotAvailable", service.ErrExchange},
		"interval": {"ExchangeError", service.ErrExchange},
	}
)

const (
	candlesEach = 400 // of a pair and interval
	pageRows    = 150 // of a request of ccxt
)

// The clock of the venues. It stands, so that both clients see the same last 24 hours, at a
// time when the last candles of all venues are complete.
var ccxtNow = time.Date(2026, 11, 18, 10, 17, 31, 0, time.UTC)

// ccxtMarket is a market in the input of read.mjs.
type ccxtMarket struct {
	Name        string            `json:"name"`
	Class       string            `json:"class"`
	Options     json.RawMessage   `json:"options"`
	Tickers     json.RawMessage   `json:"tickers"`
	NoTickers   bool              `json:"noTickers"`
	Other       json.RawMessage   `json:"other"`
	Server      string            `json:"server"`
	Failing     map[string]string `json:"failing"` // servers of which every response is a fault
	ID          string            `json:"id"`
	First       string            `json:"first"`
	Unknown     string            `json:"unknown"`
	BadInterval string            `json:"badInterval"`
	BadParams   json.RawMessage   `json:"badParams"`
	Candles     []ccxtCandles     `json:"candles"`
}

type ccxtCandles struct {
	Symbol   string          `json:"symbol"`
	Interval levels.Interval `json:"interval"`
	Since    int64           `json:"since"`
	Through  int64           `json:"through"`
	Limit    int             `json:"limit"`
}

// ccxtRead is what read.mjs has read of a market.
type ccxtRead struct {
	Failed     string
	TickSize   bool
	Timeframes []string
	Markets    []struct {
		ID, Symbol, Base, Quote, Settle, Kind string
		Active                                *bool
		Price                                 *float64
	}
	Tickers map[string]*float64
	Candles map[string][][6]float64
	Refused map[string]string
	Errors  map[string]struct {
		Classes []string
		Message string
	}
}

// ours is what our client has read.
type ours struct {
	spec    *exchange.Spec
	symbols []service.Symbol
	candles map[string][]levels.Candle // by "SYMBOL INTERVAL"
	errors  map[string]error
}

// altered is a venue with other facts.
type altered struct {
	exchange.Venue
	spec exchange.Spec
}

func (v *altered) Spec() *exchange.Spec { return &v.spec }

// roomy returns a venue whose budgets nothing here exceeds.
func roomy(venue exchange.Venue) *altered {
	v := &altered{venue, *venue.Spec()}
	v.spec.Budgets = slices.Clone(v.spec.Budgets)
	for i := range v.spec.Budgets {
		v.spec.Budgets[i].Limit *= 1000
	}
	return v
}

func TestCCXT_ReadsWhatWeRead(t *testing.T) {
	t.Parallel()
	installed := make(chan string, 1)
	go func() { installed <- installCCXT(t) }()

	var mu sync.Mutex
	var in []ccxtMarket
	read := map[string]ours{}
	var wg sync.WaitGroup
	for _, venue := range venues.All {
		name := venue.Spec().Name
		if !slices.Contains(simulated.Venues(), name) {
			continue
		}
		row, ok := others[name]
		if !ok {
			t.Errorf("others has no row for %s", name)
			continue
		}
		wg.Go(func() {
			m, o := readOurs(t, venue, row)
			mu.Lock()
			defer mu.Unlock()
			in, read[name] = append(in, m), o
		})
	}
	wg.Wait()
	folder := <-installed
	if t.Failed() {
		return
	}

	input, err := json.Marshal(map[string]any{"now": ccxtNow.UnixMilli(), "markets": in})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "read.mjs")
	cmd.Dir = folder
	cmd.Stdin = bytes.NewReader(input)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("read.mjs: %v\n%s", err, &errs)
	}
	var theirs map[string]ccxtRead
	if err := json.Unmarshal(out, &theirs); err != nil {
		t.Fatal(err)
	}
	for name := range read {
		t.Run(name, func(t *testing.T) { agree(t, others[name], read[name], theirs[name]) })
	}
}

// installCCXT installs the version of testdata/package-lock.json, from npm's cache if it
// is there, and returns the folder with it and read.mjs.
func installCCXT(t *testing.T) string {
	folder := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "read.mjs"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name), b, 0o600)
		}
		if err != nil {
			t.Error(err)
			return ""
		}
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("npm ci: %v\n%s", err, out)
	}
	return folder
}

// readOurs starts the servers of a market, reads them by our client, and returns the same
// task for ccxt.
func readOurs(t *testing.T, venue exchange.Venue, row other) (m ccxtMarket, o ours) {
	ctx := t.Context()
	spec := venue.Spec()
	start := func(faults string) (*simulated.Server, string) {
		f, err := simulated.ParseFaults(faults)
		if err != nil {
			t.Error(err)
		}
		s := simulated.New(simulated.Options{
			Venue: spec.Name, Pairs: 31, Now: func() time.Time { return ccxtNow }, LimitTimes: 1000, Faults: f, RetryAfter: time.Hour,
		})
		server := httptest.NewServer(s)
		t.Cleanup(server.Close)
		return s, server.URL
	}
	healthy, address := start("")
	_, limiting := start("429=1")
	_, banning := start("ban=1")
	venue = roomy(venue)
	odd := roomy(venue) // has another name for hours, which is of no interval
	hours := spec.Intervals["1h"]
	hours.Name = cmp.Or(row.bad, "7m")
	odd.spec.Intervals = map[levels.Interval]exchange.Native{"1h": hours}
	connect := func(venue exchange.Venue, address string) *exchange.Client {
		base, err := url.Parse(address)
		if err != nil {
			t.Error(err)
		}
		c := exchange.New(venue, exchange.Config{BaseURL: base, WeightShare: 1, Attempts: 1})
		t.Cleanup(c.Close)
		return c
	}
	m = ccxtMarket{
		Name: spec.Name, Class: row.class, Options: object(row.options), Server: address,
		Tickers: object(row.tickers), NoTickers: row.noTickers, Other: object(row.other), BadParams: object(row.badParams),
		Failing: map[string]string{"429": limiting, "ban": banning},
		ID:      cmp.Or(row.id, "id"), First: cmp.Or(row.first, "BTC/USDT"), Unknown: row.unknown, BadInterval: hours.Name,
	}

	c := connect(venue, m.Server)
	o = ours{spec: spec, candles: map[string][]levels.Candle{}, errors: map[string]error{}}
	for s, err := range c.Symbols(ctx) {
		if err != nil {
			t.Errorf("%s: %v", spec.Name, err)
			return m, o
		}
		o.symbols = append(o.symbols, s)
	}
	unusual := unusualPairs(healthy.Pairs())
	for _, s := range o.symbols {
		key := ccxtName(s, row)
		first := s.Canonical() == m.First
		if key == "" || !first && !unusual[s.Name] {
			continue
		}
		for _, interval := range levels.Intervals() {
			if !first && interval != "1m" && interval != "1h" {
				continue
			}
			step := interval.Milliseconds()
			through := interval.Floor(ccxtNow.UnixMilli()) - step
			since := through - (candlesEach-1)*step
			var dst levels.Candles
			dst.Reset(interval, candlesEach)
			if err := c.Candles(ctx, s.Name, since, &dst, make([]byte, 32<<10)); err != nil {
				t.Errorf("%s %s %s: %v", spec.Name, s.Name, interval, err)
				continue
			}
			var all []levels.Candle
			for i := range dst.Len() {
				if k := dst.At(i); k.OpenTime <= through {
					all = append(all, k)
				}
			}
			o.candles[key+" "+string(interval)] = all
			m.Candles = append(m.Candles, ccxtCandles{key, interval, since, through, cmp.Or(row.rows, pageRows)})
		}
		if first && m.Unknown == "" {
			m.Unknown = strings.NewReplacer("BTC", "NOPE", "XBT", "NOPE", "btc", "nope").Replace(s.Name)
		}
	}
	known := slices.IndexFunc(o.symbols, func(s service.Symbol) bool { return s.Canonical() == m.First })
	if known < 0 {
		t.Errorf("%s has no %s", spec.Name, m.First)
		return m, o
	}
	hour := func(c *exchange.Client, symbol string) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		var dst levels.Candles
		dst.Reset("1h", 10)
		return c.Candles(ctx, symbol, ccxtNow.Add(-10*time.Hour).UnixMilli(), &dst, make([]byte, 32<<10))
	}
	o.errors["symbol"] = hour(c, m.Unknown)
	o.errors["interval"] = hour(connect(odd, m.Server), o.symbols[known].Name)
	for kind, address := range m.Failing {
		o.errors[kind] = hour(connect(venue, address), o.symbols[known].Name)
	}
	return m, o
}

// object returns JSON, and {} for an empty string.
func object(s string) json.RawMessage { return json.RawMessage(cmp.Or(s, "{}")) }

// unusualPairs returns the ids of one pair of each kind with unusual candles.
func unusualPairs(all []simulated.Pair) map[string]bool {
	ids := map[string]bool{}
	for _, unusual := range []func(simulated.Pair) bool{
		func(p simulated.Pair) bool { return p.Holes },
		func(p simulated.Pair) bool { return p.Thin },
		func(p simulated.Pair) bool { return p.Kind == simulated.Young },
		func(p simulated.Pair) bool { return p.Kind == simulated.Recent },
		func(p simulated.Pair) bool { return p.Kind == simulated.NonASCII },
	} {
		if i := slices.IndexFunc(all, unusual); i >= 0 {
			ids[all[i].Symbol] = true
		}
	}
	return ids
}

func ccxtName(s service.Symbol, row other) string {
	if name, ok := row.symbols[s.Canonical()]; ok {
		return name
	}
	return s.Canonical()
}

func agree(t *testing.T, row other, o ours, theirs ccxtRead) {
	if theirs.Failed != "" {
		t.Fatal(theirs.Failed)
	}
	if len(theirs.Markets) == 0 || theirs.TickSize == row.digits {
		t.Fatalf("%d markets, with tick sizes: %v", len(theirs.Markets), theirs.TickSize)
	}
	byName := map[string]int{}
	for i, m := range theirs.Markets {
		byName[m.Symbol] = i
	}
	volumes := 0
	for _, s := range o.symbols {
		name := ccxtName(s, row)
		i, ok := byName[name]
		if !ok && name == "" {
			continue
		} else if !ok {
			t.Errorf("ccxt has no %s, which is %s here", name, s.Name)
			continue
		}
		m := theirs.Markets[i]
		delete(byName, name)
		if m.ID != s.Name || m.Kind != s.Kind() || m.Active == nil || *m.Active != (s.Trading || row.delisting && s.Status == "delisting") || m.Price == nil {
			t.Errorf("ccxt has %+v, we have %+v", m, s)
			continue
		}
		if name == s.Canonical() && (m.Base != s.Base || m.Quote != s.Quote || m.Settle != s.Settle) {
			t.Errorf("ccxt has the assets %s %s %s, we have %+v", m.Base, m.Quote, m.Settle, s)
		}
		tick, err := strconv.ParseFloat(fmt.Sprintf("%de-%d", s.Tick.Units, s.Tick.Decimals), 64)
		// with a limit of significant digits ccxt has the tick of the present price
		if err != nil || *m.Price != tick && !(s.Digits > 0 && *m.Price > tick) {
			t.Errorf("%s: ccxt has the tick %v, we have %v", name, *m.Price, tick)
		}
		if volume := theirs.Tickers[name]; volume == nil {
			if s.Trading && !row.volume {
				t.Errorf("%s: ccxt has no volume", name)
			}
		} else {
			equal := math.Abs(*volume-s.QuoteVolume) <= 1e-12*s.QuoteVolume
			if equal && s.QuoteVolume > 0 {
				volumes++
			}
			if !equal && !row.volume {
				t.Errorf("%s: ccxt has the volume %v, we have %v", name, *volume, s.QuoteVolume)
			}
		}
	}
	for name := range byName {
		t.Errorf("only ccxt has %s", name)
	}
	if (volumes == 0) != row.volume {
		t.Errorf("%d pairs have equal volumes", volumes)
	}

	read := map[levels.Interval]int{}
	for key, want := range o.candles {
		_, interval, _ := strings.Cut(key, " ")
		if !slices.Contains(theirs.Timeframes, interval) {
			continue
		}
		_, native := o.spec.Intervals[levels.Interval(interval)]
		if why, refused := theirs.Refused[key]; refused {
			if native {
				t.Errorf("%s: %s", key, why)
			}
			continue // ccxt asks for an interval that the venue has only in another market
		}
		got := theirs.Candles[key]
		equal := len(got) == len(want)
		for i := 0; equal && i < len(want); i++ {
			k, volume := want[i], got[i][5]
			equal = got[i][0] == float64(k.OpenTime) && got[i][1] == k.Open && got[i][2] == k.High && got[i][3] == k.Low && got[i][4] == k.Close &&
				(volume == k.Volume || !native && math.Abs(volume-k.Volume) <= 1e-12*k.Volume)
			if !equal && !slices.Contains(row.skip, levels.Interval(interval)) {
				t.Errorf("%s, candle %d: ccxt has %v, we have %v", key, i, got[i], k)
			}
		}
		switch known := slices.Contains(row.skip, levels.Interval(interval)); {
		case known && equal:
			t.Errorf("%s is no longer different", key)
		case !known && len(got) != len(want):
			t.Errorf("%s: ccxt has %d candles, we have %d", key, len(got), len(want))
		case !known:
			read[levels.Interval(interval)] += len(got)
		}
	}
	var missing []levels.Interval
	for interval := range o.spec.Intervals {
		if read[interval] == 0 && !slices.Contains(row.skip, interval) {
			missing = append(missing, interval)
		}
	}
	if len(missing) > 0 {
		t.Errorf("not compared: %v", missing)
	}

	for _, kind := range slices.Sorted(maps.Keys(failures)) {
		want, theirs := failures[kind], theirs.Errors[kind]
		agreed := slices.Contains(theirs.Classes, want.class)
		if known, ok := row.failures[kind]; ok {
			want = known
			agreed = len(theirs.Classes) > 0 && theirs.Classes[0] == known.class
		}
		if !agreed {
			t.Errorf("%s: ccxt says %v: %s", kind, theirs.Classes, theirs.Message)
		}
		if !errors.Is(o.errors[kind], want.err) {
			t.Errorf("%s: we say %v", kind, o.errors[kind])
		}
	}
}
