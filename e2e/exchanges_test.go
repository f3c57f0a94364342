package e2e

// These tests pin one process that serves several exchanges: their data, limits, bans and
// metrics are separate, and everything else is shared.

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"tidemark/command"
	"tidemark/exchange/simulated"
	"tidemark/job"
)

// twoExchanges returns the environment of a process of two exchanges.
func twoExchanges(t *testing.T, binance, okx simulated.Options) []string {
	t.Helper()
	binance.Venue, okx.Venue = "binance", "okx"
	return severalExchanges(t, binance, okx)
}

// severalExchanges returns the environment of a process of these venues.
func severalExchanges(t *testing.T, options ...simulated.Options) []string {
	t.Helper()
	environ := []string{"DATABASE_URL=" + sqliteURL(t), shortSeries}
	var names []string
	for _, o := range options {
		o.LimitTimes = 1000
		_, address := market(t, o)
		names = append(names, o.Venue)
		environ = append(environ, "EXCHANGE_"+strings.ReplaceAll(strings.ToUpper(o.Venue), "-", "_")+"_BASE_URL="+address)
	}
	return append(environ, "EXCHANGE="+strings.Join(names, ","))
}

func TestServe_SeveralExchangesAreSweptAndReadByName(t *testing.T) {
	t.Parallel()
	r := serve(t, append(twoExchanges(t, simulated.Options{Pairs: 12, Seed: 1}, simulated.Options{Pairs: 7, Seed: 2}), "EXCHANGE_OKX_QUOTE_ASSETS=")...)
	prices := map[string]float64{}
	for _, exchange := range []string{"okx", "binance"} {
		var j jobReply
		if status := r.post(t, `{"all":true,"exchange":"`+exchange+`"}`, &j); status != http.StatusAccepted {
			t.Fatalf("asking for a sweep of %s: %d", exchange, status)
		}
		if j = r.waitFor(t, j.ID, ended); j.State != job.Completed || j.Done == 0 {
			t.Errorf("the sweep of %s ended as %+v", exchange, j)
		}
		var a analysisReply
		if status := r.get(t, "/levels/BTCUSDT?exchange="+exchange, &a); status != http.StatusOK || a.Exchange != exchange {
			t.Errorf("levels of %s: %d %+v", exchange, status, a)
		}
		prices[exchange] = a.LastPrice
	}
	if prices["okx"] == prices["binance"] {
		t.Errorf("both markets have the price %v", prices["okx"])
	}
	// both list BTC/USDT; BTCUSDT is the id on one
	var problem struct {
		Code, Detail string
		Choices      []struct{ Exchange, Symbol, Name string }
	}
	for _, path := range []string{"/levels/BTC/USDT", "/levels/btc/usdt", "/klines/BTC%2FUSDT"} {
		if status := r.get(t, path, &problem); status != http.StatusConflict || problem.Code != "ambiguous_symbol" || len(problem.Choices) != 2 ||
			problem.Choices[1].Exchange != "okx" || problem.Choices[1].Symbol != "BTC-USDT" || problem.Choices[1].Name != "BTC/USDT" {
			t.Errorf("%s: %d %+v", path, status, problem)
		}
	}
	var a analysisReply
	if status := r.get(t, "/levels/BTC/USDT?exchange=okx", &a); status != http.StatusOK || a.Symbol != "BTC-USDT" || a.LastPrice != prices["okx"] {
		t.Errorf("by its name on okx: %d %+v", status, a)
	}
	var exchanges struct {
		Exchanges []struct {
			Exchange string
			Pairs    int
			Status   struct {
				Budgets   []struct{ Used, Limit int }
				Reachable bool
			}
		}
	}
	r.get(t, "/exchanges", &exchanges)
	for i, name := range []string{"binance", "okx"} {
		if e := exchanges.Exchanges[i]; e.Exchange != name || e.Pairs == 0 || !e.Status.Reachable || e.Status.Budgets[0].Limit == 0 {
			t.Errorf("%+v, want the state of %s", e, name)
		}
	}
	var page struct {
		Levels []struct{ Exchange, Symbol string }
	}
	r.get(t, "/levels?symbol=BTC&limit=100", &page)
	of := map[string]int{}
	for _, l := range page.Levels {
		of[l.Exchange]++
	}
	if of["binance"] == 0 || of["okx"] == 0 {
		t.Errorf("the market of all exchanges has rows of %v", of)
	}

	if status := r.post(t, `{"symbol":"BTCUSDT","exchange":"kraken"}`, &problem); status != http.StatusUnprocessableEntity ||
		problem.Code != "unknown_exchange" || !strings.Contains(problem.Detail, "binance, okx") {
		t.Errorf("an exchange of another process: %d %+v", status, problem)
	}
	metrics := r.metrics(t)
	for exchange, names := range map[string][2]string{"binance": {"klines", "weight"}, "okx": {"candles", "candles"}} {
		for _, series := range []string{
			`tidemark_exchange_requests_total{endpoint="` + names[0] + `",exchange="` + exchange + `",status="200"}`,
			`tidemark_exchange_used_weight{budget="` + names[1] + `",exchange="` + exchange + `"}`,
			`tidemark_exchange_weight_limit{budget="` + names[1] + `",exchange="` + exchange + `"}`,
			`tidemark_exchange_paused_until_timestamp_seconds{exchange="` + exchange + `"} 0`,
			`tidemark_last_completed_sweep_timestamp_seconds{exchange="` + exchange + `",interval="1h"}`,
		} {
			if !strings.Contains(metrics, "\n"+series) {
				t.Errorf("no %s", series)
			}
		}
	}
}

func TestServe_ABanByOneExchangeStopsNoOther(t *testing.T) {
	t.Parallel()
	faults, err := simulated.ParseFaults("ban=1")
	if err != nil {
		t.Fatal(err)
	}
	environ := twoExchanges(t, simulated.Options{Pairs: 5, Faults: faults}, simulated.Options{Pairs: 5})
	for _, start := range []string{"the first process", "one after it"} {
		r := serve(t, environ...)
		var problem struct{ Code string }
		if status := r.post(t, `{"symbol":"BTCUSDT","exchange":"binance"}`, &problem); status != http.StatusServiceUnavailable || problem.Code != "banned" {
			t.Errorf("%s, at binance: %d %+v", start, status, problem)
		}
		if status := r.post(t, `{"symbol":"BTC-USDT","exchange":"okx"}`, nil); status != http.StatusOK {
			t.Errorf("%s, at okx: %d", start, status)
		}
		if metrics := r.metrics(t); !strings.Contains(metrics, "\ntidemark_exchange_paused_until_timestamp_seconds{exchange=\"okx\"} 0\n") ||
			strings.Contains(metrics, "\ntidemark_exchange_paused_until_timestamp_seconds{exchange=\"binance\"} 0\n") {
			t.Errorf("%s: the metrics do not show the one ban", start)
		}
		r.end(t)
	}
}

func TestCommands_OfSeveralExchanges(t *testing.T) {
	t.Parallel()
	environ := twoExchanges(t, simulated.Options{Pairs: 6, Seed: 1}, simulated.Options{Pairs: 4, Seed: 2})
	code, out, errs := execute(t, environ, "sweep", "--json")
	if code != 0 && code != command.ExitPartial {
		t.Fatalf("sweep: %d %s", code, errs)
	}
	var swept []string
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var report struct{ Exchange, State string }
		if err := d.Decode(&report); err != nil {
			t.Fatal(err)
		}
		swept = append(swept, report.Exchange+" "+report.State)
	}
	if got := strings.Join(swept, ", "); got != "binance completed, okx completed" {
		t.Errorf("sweep --json reports %s", got)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"levels", "BTCUSDT", "--exchange", "okx"}, 0, "okx BTC-USDT 1h (BTC/USDT) as of"},
		{[]string{"levels", "BTC/USDT", "--exchange", "okx"}, 0, "okx BTC-USDT 1h"},
		{[]string{"levels", "BTC/USDT"}, command.ExitUsage, "binance BTCUSDT, okx BTC-USDT; name the exchange too: add --exchange binance"},
		{[]string{"analyze", "BTC/USDT"}, command.ExitUsage, "add --exchange binance"},
		{[]string{"analyze", "btc-usdt", "--exchange", "binance"}, 0, "binance BTCUSDT 1h"},
		{[]string{"levels", "NONE"}, command.ExitFailed, "has not been analysed"},
		{[]string{"evaluate", "--stored"}, command.ExitUsage, "add --exchange binance"},
		{[]string{"doctor", "--http-addr", "127.0.0.1:0"}, 0, "exchange okx"},
		{[]string{"config"}, 0, "EXCHANGE=binance,okx\n"},
		{[]string{"config"}, 0, "EXCHANGE_OKX_BASE_URL=http://127.0.0.1"},
		{[]string{"serve", "--exchange", "krakn"}, command.ExitUsage, "did you mean kraken?"},
	} {
		code, out, errs := execute(t, environ, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%v: %d, want %d with %q:\n%s%s", c.args, code, c.code, c.want, out, errs)
		}
	}
}
