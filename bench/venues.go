package bench

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/wire"
)

// The exchanges of the part "venues".
var (
	threeVenues  = []string{"binance", "okx", "bybit"}
	twelveVenues = []string{
		"binance", "okx", "bybit", "coinbase", "kraken", "kucoin",
		"gate", "bitget", "mexc", "htx", "hyperliquid", "binance-usdm",
	}
)

// fourTimes is how much looser than in reality the limits are when the pace of several
// exchanges is measured. A sweep is still limited by them, but takes a minute.
const fourTimes = 4

type venuesResult struct {
	Database  string  `json:"database"`
	Exchanges int     `json:"exchanges"`
	What      string  `json:"what"` // "idle" or "sweep"
	Pairs     int     `json:"symbols_done"`
	Seconds   float64 `json:"seconds"`       // of the slowest sweep
	Floor     float64 `json:"floor_seconds"` // of the slowest exchange alone; 0 if not measured
	PeakRSS   int64   `json:"peak_rss_bytes"`
}

// venues measures a process of several exchanges: at rest, and while it sweeps all of them
// at once.
func (b *Bencher) venues(ctx context.Context, report *benchReport, db string) error {
	markets := map[string]*Process{}
	defer func() {
		for _, m := range markets {
			m.End()
		}
	}()
	start := func(times int, names ...string) error {
		for _, name := range names {
			if m := markets[name]; m != nil {
				m.End()
			}
			m, err := b.Start(ctx, "simulate", "--venue", name, "--addr", "127.0.0.1:0", "--pairs", strconv.Itoa(b.Pairs),
				"--latency", b.Latency.String(), "--limit-times", strconv.Itoa(times))
			if err != nil {
				return err
			}
			markets[name] = m
		}
		return nil
	}
	if err := start(fourTimes, threeVenues...); err != nil {
		return err
	}
	floor := 0.0
	for _, name := range threeVenues {
		r, err := b.sweepVenues(ctx, db, markets, []string{name})
		if err != nil {
			return err
		}
		floor = max(floor, r.Seconds)
	}
	r, err := b.sweepVenues(ctx, db, markets, threeVenues)
	if err != nil {
		return err
	}
	r.Floor = floor
	report.Venues = append(report.Venues, r)
	if err := start(1_000, twelveVenues...); err != nil {
		return err
	}
	b.say("%s %d exchanges at rest", db, len(twelveVenues))
	p, err := b.serveVenues(ctx, db, markets, twelveVenues)
	if err != nil {
		return err
	}
	select {
	case <-time.After(10 * time.Second):
	case <-ctx.Done():
	}
	peak, err := Metric(ctx, p, "tidemark_process_peak_resident_memory_bytes")
	p.End()
	if err != nil {
		return err
	}
	report.Venues = append(report.Venues, venuesResult{Database: db, Exchanges: len(twelveVenues), What: "idle", PeakRSS: int64(peak)})
	r, err = b.sweepVenues(ctx, db, markets, twelveVenues)
	if err != nil {
		return err
	}
	report.Venues = append(report.Venues, r)
	return nil
}

// serveVenues starts tidemark with exchanges at 3/20 and an empty database.
func (b *Bencher) serveVenues(ctx context.Context, db string, markets map[string]*Process, names []string) (*Process, error) {
	address, err := b.database(ctx, db)
	if err != nil {
		return nil, err
	}
	env := []string{"EXCHANGE=" + strings.Join(names, ",")}
	for _, name := range names {
		env = append(env, fmt.Sprintf("EXCHANGE_%s_BASE_URL=%s", strings.ToUpper(strings.ReplaceAll(name, "-", "_")), markets[name].Base))
	}
	return b.startWith(ctx, env, "serve", "--http-addr", "127.0.0.1:0", "--http-rate-limit", "0", "--log-format", "json",
		"--database-url", address, "--analysis-kline-limit", strconv.Itoa(b.Klines),
		"--analysis-concurrency", "3", "--analysis-batch-size", "20")
}

// sweepVenues sweeps exchanges at once with a new service.
func (b *Bencher) sweepVenues(ctx context.Context, db string, markets map[string]*Process, names []string) (venuesResult, error) {
	b.say("%s sweeping %s", db, strings.Join(names, ", "))
	r := venuesResult{Database: db, Exchanges: len(names), What: "sweep"}
	p, err := b.serveVenues(ctx, db, markets, names)
	if err != nil {
		return r, err
	}
	defer p.End()
	type outcome struct {
		job wire.Job
		err error
	}
	ended := make(chan outcome)
	for _, name := range names {
		go func() {
			j, err := sweepOf(ctx, p, name)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			ended <- outcome{j, err}
		}()
	}
	var failed []string
	for range names {
		o := <-ended
		if o.err != nil {
			failed = append(failed, o.err.Error())
			continue
		}
		r.Seconds = max(r.Seconds, o.job.FinishedAt.Sub(*o.job.StartedAt).Seconds())
		r.Pairs += o.job.SymbolsDone
	}
	if failed != nil {
		slices.Sort(failed)
		return r, fmt.Errorf("%s", strings.Join(failed, "; "))
	}
	peak, err := Metric(ctx, p, "tidemark_process_peak_resident_memory_bytes")
	r.PeakRSS = int64(peak)
	return r, err
}
