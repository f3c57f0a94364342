package e2e

// Live pairs: each is kept by one of the processes, no candle is lost by cuts, lost and
// repeated messages or a kill, and the series built live are those that the exchange
// returns.

import (
	"log/slog"
	"net/url"
	"regexp"
	"strconv"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/binance"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/repository"
	"tidemark/service"
)

// fast is a clock that goes so many times as fast as a real one.
func fast(times int) func() time.Time {
	began := time.Now()
	return func() time.Time { return began.Add(time.Duration(times) * time.Since(began)) }
}

// sum returns the sum of a metric over the labels that match.
func sum(t *testing.T, metrics, name, labels string) (total float64) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^`+name+`\{[^}]*`+labels+`[^}]*\} (\S+)$`).FindAllStringSubmatch(metrics, -1) {
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		total += v
	}
	return total
}

func TestLive_LosesNoCandleByCutsAndAKill(t *testing.T) {
	t.Parallel()
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := fast(6) // a candle of a minute closes every ten seconds
			truth, address := market(t, simulated.Options{Pairs: 20, Now: now, Stream: simulated.StreamFaults{Twice: true, Missing: 17}})
			database := url(t)
			environ := []string{
				"EXCHANGE_BASE_URL=" + address, "DATABASE_URL=" + database, "ANALYSIS_LIVE=true", "ANALYSIS_INTERVALS=1m,3m", "ANALYSIS_KLINE_LIMIT=200",
			}
			one, two := spawn(t, environ...), spawn(t, environ...)
			share := regexp.MustCompile(`"pairs":(\d+),"of":(\d+),"processes":2,`)
			var shares [2][]string
			for deadline := time.Now().Add(time.Minute); shares[0] == nil || shares[1] == nil; time.Sleep(50 * time.Millisecond) {
				shares = [2][]string{share.FindStringSubmatch(one.log.String()), share.FindStringSubmatch(two.log.String())}
				if time.Now().After(deadline) {
					t.Fatalf("the processes do not share the pairs\n%s\n%s", one.log, two.log)
				}
			}
			for range 8 {
				time.Sleep(2300 * time.Millisecond)
				truth.CutStreams()
			}
			if n := sum(t, one.metrics(t), "tidemark_live_late_seconds_count", `step="candle"`); n == 0 {
				t.Error("no candle was pushed")
			}
			if series, merged := sum(t, one.metrics(t), "tidemark_live_series", ""), sum(t, one.metrics(t), "tidemark_live_merged_series", ""); series == 0 || 2*merged != series {
				t.Errorf("of %v live series %v are merged, want half", series, merged)
			}
			killed := time.Now()
			two.kill()
			alone := regexp.MustCompile(`(?s)"processes":2,.*"processes":1,[^\n]*"new_series":[1-9]`)
			for !alone.MatchString(one.log.String()) {
				if time.Since(killed) > time.Minute {
					t.Fatalf("nobody took over the pairs of a dead process\n%s", one.log)
				}
				time.Sleep(50 * time.Millisecond)
			}
			t.Logf("taken over %.1f s after the kill", time.Since(killed).Seconds())
			time.Sleep(12 * time.Second) // a close
			if n := sum(t, one.metrics(t), "tidemark_candle_refetches_total", `reason="disagree"`); n > 0 {
				t.Errorf("%v stored series differed from the exchange\n%s", n, one.log)
			}
			one.kill()
			compareSeries(t, address, database, "1m", now)
			compareSeries(t, address, database, "3m", now)
		})
	}
}

// reopened returns the database of a service that was killed, and a client of its exchange.
func reopened(t *testing.T, address, database string) (*repository.DB, *exchange.Client) {
	t.Helper()
	db, err := repository.Open(t.Context(), repository.Config{URL: database, PoolSize: 1, History: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	base, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	client := exchange.New(binance.Spot, exchange.Config{Name: "simulated", BaseURL: base, WeightShare: 1})
	t.Cleanup(client.Close)
	return db, client
}

// compareSeries compares the stored candles of all pairs with those that the exchange
// returns for the same time.
func compareSeries(t *testing.T, address, database string, interval levels.Interval, now func() time.Time) {
	t.Helper()
	db, client := reopened(t, address, database)
	series, candles, behind := 0, 0, 0
	for s, err := range client.Symbols(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		var kept, fetched levels.Candles
		kept.Reset(interval, 1000)
		fetched.Reset(interval, 2000)
		buf := make([]byte, 64<<10)
		if _, err := db.Candles(t.Context(), service.Key{Exchange: "simulated", Symbol: s.Name, Interval: interval}, 0, &kept, buf); err != nil {
			continue // not swept: another quote, halted, too young
		}
		series++
		v := client.Visit(s.Name, interval, 1000)
		if err := v.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := v.Candles(t.Context(), s.Name, kept.OpenTime[0], &fetched, buf); err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		v.Close()
		for i := range kept.Len() {
			if i >= fetched.Len() || kept.At(i) != fetched.At(i) {
				t.Errorf("%s: candle %d of %d differs: kept %+v", s.Name, i, kept.Len(), kept.At(i))
				break
			}
		}
		candles += kept.Len()
		if now().UnixMilli()-kept.AsOf() > 5*interval.Milliseconds() {
			behind++
		}
	}
	if series < 20 || behind > 0 {
		t.Errorf("%d series are stored, %d of them older than five candles", series, behind)
	}
	t.Logf("%d series of %s with %d candles are those of the exchange", series, interval, candles)
}
