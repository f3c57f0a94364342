package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tidemark/exchange/simulated"
	"tidemark/wire"
)

// The part "live": how soon after a candle closes its levels are served, and whether
// candles are lost when connections and processes end.
const (
	livePairs   = 500
	liveSampled = 25                    // pairs that are asked for
	liveEvery   = 40 * time.Millisecond // between two requests for one
	liveCuts    = 100
	liveKills   = 10 // of the cuts are kills of the process
	cutPairs    = 50
	cutSpeed    = 6 // a candle of a minute closes every ten seconds
	hourPairs   = 100
)

// sixVenues push candles.
var sixVenues = []string{"binance", "okx", "bybit", "gate", "bitget", "kraken"}

type liveResult struct {
	Database  string    `json:"database"`
	Exchanges int       `json:"exchanges"`
	Series    int       `json:"series"`
	Closes    int       `json:"closes"`
	P50       float64   `json:"p50_seconds"` // from the message of the close to GET /levels; 0 if not measured
	P99       float64   `json:"p99_seconds"`
	Within    []float64 `json:"all_within_seconds"` // of each close, after it
	PeakRSS   int64     `json:"peak_rss_bytes"`
	CPU       float64   `json:"cpu_between_closes"` // of a core
}

type cutsResult struct {
	Database  string  `json:"database"`
	Cuts      int     `json:"cuts"`
	Kills     int     `json:"kills"`
	Holes     int     `json:"holes"`
	Candles   int     `json:"candles"`
	Lost      int     `json:"lost"`
	Doubled   int     `json:"doubled"`
	Differing int     `json:"differing"`
	FillP50   float64 `json:"fill_p50_seconds"` // from the reconnect until nothing waits
	FillMost  float64 `json:"fill_most_seconds"`
}

// live runs the part, or one of its steps.
func (b *Bencher) live(ctx context.Context, report *benchReport, db, part string) error {
	if b.Hours > 0 {
		return b.liveHours(ctx, report, db)
	}
	for _, step := range []struct {
		part string
		run  func(context.Context, string) (liveResult, error)
	}{{partClose, b.liveClose}, {partVenues, b.liveVenues}} {
		if part != partLive && part != step.part {
			continue
		}
		r, err := step.run(ctx, db)
		if err != nil {
			return err
		}
		report.Live = append(report.Live, r)
	}
	if part != partLive && part != partCuts {
		return nil
	}
	r, err := b.liveCut(ctx, db)
	report.Cuts = append(report.Cuts, r)
	return err
}

// push serves a simulated exchange in this process. end ends it.
func push(o simulated.Options) (s *simulated.Server, p *Process, end func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, nil, err
	}
	o.WeightLimit = 10_000_000
	s = simulated.New(o)
	server := &http.Server{Handler: s}
	go server.Serve(l)
	return s, &Process{Base: "http://" + l.Addr().String()}, func() { server.Close() }, nil
}

// liveService starts a service that keeps the pairs of a market live at 1m.
func (b *Bencher) liveService(ctx context.Context, market *Process, address string) (*Process, error) {
	return b.serve(ctx, market, address, 3, 50, "--analysis-live=true", "--analysis-interval", "1m", "--exchange-weight-share", "1")
}

// waitLive waits until the levels of every live series have been stored, and
// returns the number of series.
func waitLive(ctx context.Context, p *Process) (series int, err error) {
	for {
		m, err := metrics(ctx, p)
		if err != nil {
			return 0, err
		}
		if n := m.sum("tidemark_live_series"); n > 0 && m.sum("tidemark_live_waiting") == 0 && m.sum("tidemark_symbols_total") >= n {
			return int(n), nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// liveClose measures the levels of one exchange after the closes of some minutes.
func (b *Bencher) liveClose(ctx context.Context, db string) (liveResult, error) {
	b.say("%s %d live pairs, %d closes", db, livePairs, b.Closes)
	var mu sync.Mutex
	sent := map[string]time.Time{} // by pair, the message of the last close
	_, market, end, err := push(simulated.Options{Pairs: livePairs, Latency: b.Latency, OnClosed: func(symbol string, _ int64) {
		mu.Lock()
		sent[symbol] = time.Now()
		mu.Unlock()
	}})
	if err != nil {
		return liveResult{}, err
	}
	defer end()
	address, err := b.database(ctx, db)
	if err != nil {
		return liveResult{}, err
	}
	p, err := b.liveService(ctx, market, address)
	if err != nil {
		return liveResult{}, err
	}
	defer p.End()
	r := liveResult{Database: db, Exchanges: 1, Closes: b.Closes}
	if r.Series, err = waitLive(ctx, p); err != nil {
		return r, err
	}
	symbols, err := selected(ctx, p)
	if err != nil {
		return r, err
	}
	rand.Shuffle(len(symbols), func(i, j int) { symbols[i], symbols[j] = symbols[j], symbols[i] })
	symbols = symbols[:min(len(symbols), liveSampled)]
	var took []float64
	sample := func(ctx context.Context, close time.Time) error {
		wanted := close.UTC().Format(`"as_of":"2006-01-02T15:04:05Z"`)
		ask := func(symbol string) error {
			for {
				if err := pause(ctx, liveEvery); err != nil {
					return err
				}
				body, err := get(ctx, p, "/levels/"+symbol+"?interval=1m")
				if err != nil {
					return err
				}
				if bytes.Contains(body, []byte(wanted)) {
					mu.Lock()
					defer mu.Unlock()
					took = append(took, time.Since(sent[symbol]).Seconds())
					return nil
				}
			}
		}
		failed := make(chan error, len(symbols))
		for _, symbol := range symbols {
			go func() { failed <- ask(symbol) }()
		}
		var all error
		for range symbols {
			all = errors.Join(all, <-failed)
		}
		return all
	}
	if err := b.closes(ctx, p, &r, sample); err != nil {
		return r, err
	}
	slices.Sort(took)
	r.P50, r.P99 = took[len(took)/2], took[len(took)*99/100]
	return r, nil
}

// closes measures when all levels are stored after each of some closes, and what the
// process takes between them. sample, which may be nil, runs beside it.
func (b *Bencher) closes(ctx context.Context, p *Process, r *liveResult, sample func(ctx context.Context, close time.Time) error) error {
	var idle, cpu float64
	for range r.Closes + 1 { // the first may be half of one
		close := time.Now().Truncate(time.Minute).Add(time.Minute)
		if err := pause(ctx, time.Until(close.Add(-3*time.Second))); err != nil {
			return err
		}
		m, err := metrics(ctx, p)
		if err != nil {
			return err
		}
		const stored = `tidemark_live_late_seconds_count{step="levels"}`
		before := m.sum(stored)
		if err := pause(ctx, time.Until(close)); err != nil {
			return err
		}
		sampled := make(chan error, 1)
		if sample != nil {
			go func() { sampled <- sample(ctx, close) }()
		}
		last, within := before, 0.0
		for time.Since(close) < 15*time.Second && last < before+float64(r.Series) {
			if m, err = metrics(ctx, p); err != nil {
				return err
			}
			if n := m.sum(stored); n > last {
				last, within = n, time.Since(close).Seconds()
			}
			if err := pause(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
		if sample != nil {
			if err := <-sampled; err != nil {
				return err
			}
		}
		b.say("%.0f of %d series %.2f s after the close", last-before, r.Series, within)
		r.Within = append(r.Within, within)
		if err := pause(ctx, time.Until(close.Add(20*time.Second))); err != nil {
			return err
		}
		if m, err = metrics(ctx, p); err != nil {
			return err
		}
		from, at := m.sum("process_cpu_seconds_total"), time.Now()
		if err := pause(ctx, 30*time.Second); err != nil {
			return err
		}
		if m, err = metrics(ctx, p); err != nil {
			return err
		}
		cpu, idle = cpu+m.sum("process_cpu_seconds_total")-from, idle+time.Since(at).Seconds()
		r.PeakRSS = int64(m.sum("tidemark_process_peak_resident_memory_bytes"))
	}
	r.Within = r.Within[1:]
	r.CPU = cpu / idle
	return nil
}

// liveVenues measures the levels of six exchanges in one process.
func (b *Bencher) liveVenues(ctx context.Context, db string) (liveResult, error) {
	b.say("%s %d live pairs of each of %d exchanges", db, livePairs, len(sixVenues))
	r := liveResult{Database: db, Exchanges: len(sixVenues), Closes: b.Closes}
	markets := map[string]*Process{}
	for _, name := range sixVenues {
		m, err := b.Start(ctx, "simulate", "--venue", name, "--addr", "127.0.0.1:0", "--pairs", strconv.Itoa(livePairs), "--latency", b.Latency.String(), "--limit-times", "1000")
		if err != nil {
			return r, err
		}
		defer m.End()
		markets[name] = m
	}
	address, err := b.database(ctx, db)
	if err != nil {
		return r, err
	}
	env := []string{"ANALYSIS_LIVE=true", "ANALYSIS_INTERVAL=1m", "EXCHANGE=" + strings.Join(sixVenues, ",")}
	for _, name := range sixVenues {
		env = append(env, fmt.Sprintf("EXCHANGE_%s_BASE_URL=%s", strings.ToUpper(name), markets[name].Base))
	}
	p, err := b.startWith(ctx, env, "serve", "--http-addr", "127.0.0.1:0", "--http-rate-limit", "0", "--log-format", "json", "--database-url", address,
		"--analysis-kline-limit", strconv.Itoa(b.Klines), "--analysis-concurrency", "3", "--analysis-batch-size", "50")
	if err != nil {
		return r, err
	}
	defer p.End()
	if err := pause(ctx, 10*time.Second); err != nil { // for the lists of all exchanges
		return r, err
	}
	if r.Series, err = waitLive(ctx, p); err != nil {
		return r, err
	}
	return r, b.closes(ctx, p, &r, nil)
}

// liveCut cuts all connections again and again, sometimes kills the process, and compares
// the candles with those of the exchange.
func (b *Bencher) liveCut(ctx context.Context, db string) (cutsResult, error) {
	b.say("%s %d cuts of all connections, %d of them kills", db, liveCuts, liveKills)
	r := cutsResult{Database: db, Cuts: liveCuts, Kills: liveKills}
	began := time.Now()
	now := func() time.Time { return began.Add(cutSpeed * time.Since(began)) }
	truth, market, end, err := push(simulated.Options{Pairs: cutPairs, Now: now})
	if err != nil {
		return r, err
	}
	defer end()
	address, err := b.database(ctx, db)
	if err != nil {
		return r, err
	}
	few := *b
	few.Klines = 500
	p, err := few.liveService(ctx, market, address)
	if err != nil {
		return r, err
	}
	defer func() { p.End() }()
	if _, err := waitLive(ctx, p); err != nil {
		return r, err
	}
	var fills []float64
	for n := range liveCuts {
		// Half of the cuts are near a close.
		wait := time.Duration(rand.N(2_000)) * time.Millisecond
		if n%2 == 0 {
			at := now()
			wait = at.Truncate(time.Minute).Add(time.Minute).Sub(at)/cutSpeed + time.Duration(rand.N(600)-400)*time.Millisecond
		}
		if err := pause(ctx, wait); err != nil {
			return r, err
		}
		if (n+1)%(liveCuts/liveKills) == 0 {
			m, err := metrics(ctx, p)
			if err != nil {
				return r, err
			}
			r.Holes += int(m.sum("tidemark_live_holes_total"))
			p.Cmd.Process.Kill()
			p.Cmd.Wait()
			if p, err = few.liveService(ctx, market, address); err != nil {
				return r, err
			}
			if _, err := waitLive(ctx, p); err != nil {
				return r, err
			}
			continue
		}
		truth.CutStreams()
		fill, err := filled(ctx, p)
		if err != nil {
			return r, err
		}
		fills = append(fills, fill)
	}
	slices.Sort(fills)
	r.FillP50, r.FillMost = fills[len(fills)/2], fills[len(fills)-1]
	if err := pause(ctx, 12*time.Second); err != nil { // a close
		return r, err
	}
	m, err := metrics(ctx, p)
	if err != nil {
		return r, err
	}
	r.Holes += int(m.sum("tidemark_live_holes_total"))
	return r, b.compareCandles(ctx, p, market, &r)
}

// filled waits until a cut connection is open again and no series waits, and returns how
// long the second took after the first.
func filled(ctx context.Context, p *Process) (float64, error) {
	var open time.Time
	calm := 0
	for {
		m, err := metrics(ctx, p)
		if err != nil {
			return 0, err
		}
		if open.IsZero() && m.sum("tidemark_feed_connections") > 0 {
			open = time.Now()
		}
		if m.sum("tidemark_live_waiting") == 0 {
			calm++
		} else {
			calm = 0
		}
		if !open.IsZero() && calm >= 3 {
			return time.Since(open).Seconds(), nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// compareCandles compares the candles that a service has stored with those of the exchange.
func (b *Bencher) compareCandles(ctx context.Context, p, market *Process, r *cutsResult) error {
	symbols, err := selected(ctx, p)
	if err != nil {
		return err
	}
	for _, s := range symbols {
		body, err := get(ctx, p, "/klines/"+s+"?interval=1m&limit=500")
		if err != nil {
			return err
		}
		var list wire.KlineList[[][6]float64]
		if err := json.Unmarshal(body, &list); err != nil {
			return fmt.Errorf("GET /klines/%s: %w", s, err)
		}
		if len(list.Klines) == 0 {
			continue
		}
		first, last := int64(list.Klines[0][0]), int64(list.Klines[len(list.Klines)-1][0])
		body, err = get(ctx, market, fmt.Sprintf("/api/v3/klines?symbol=%s&interval=1m&limit=1000&startTime=%d&endTime=%d", s, first, last))
		if err != nil {
			return err
		}
		var rows [][]any
		if err := json.Unmarshal(body, &rows); err != nil {
			return err
		}
		stored := map[int64][6]float64{}
		for _, k := range list.Klines {
			if _, again := stored[int64(k[0])]; again {
				r.Doubled++
			}
			stored[int64(k[0])] = k
		}
		for _, row := range rows {
			r.Candles++
			open := int64(row[0].(float64))
			k, ok := stored[open]
			if !ok {
				r.Lost++
				continue
			}
			for i := 1; i < 6; i++ {
				if v, err := strconv.ParseFloat(row[i].(string), 64); err != nil || v != k[i] {
					r.Differing++
					break
				}
			}
		}
	}
	return nil
}

// liveHours keeps pairs live for simulated hours with a fast clock, and samples the
// process.
func (b *Bencher) liveHours(ctx context.Context, report *benchReport, db string) error {
	b.say("%s %d live pairs for %d hours of a clock %g times as fast", db, hourPairs, b.Hours, b.Speed)
	began := time.Now()
	now := func() time.Time { return began.Add(time.Duration(b.Speed * float64(time.Since(began)))) }
	truth, market, end, err := push(simulated.Options{Pairs: hourPairs, Now: now, Stream: simulated.StreamFaults{Lifetime: time.Duration(float64(6*time.Hour) / b.Speed)}})
	if err != nil {
		return err
	}
	defer end()
	address, err := b.database(ctx, db)
	if err != nil {
		return err
	}
	p, err := b.liveService(ctx, market, address)
	if err != nil {
		return err
	}
	defer p.End()
	if _, err := waitLive(ctx, p); err != nil {
		return err
	}
	run := soakRun{Database: db}
	start := now()
	for n := 1; n <= 4*b.Hours; n++ { // every quarter of an hour
		if err := pause(ctx, time.Duration(float64(start.Add(time.Duration(n)*15*time.Minute).Sub(now()))/b.Speed)); err != nil {
			return err
		}
		m, err := metrics(ctx, p)
		if err != nil {
			return err
		}
		run.Samples = append(run.Samples, soakSample{
			Sweep: n, Seconds: time.Since(began).Seconds(), Done: int(m.sum(`tidemark_live_late_seconds_count{step="levels"}`)),
			RSS: int64(m.sum("process_resident_memory_bytes")), Files: int64(m.sum("tidemark_process_file_memory_bytes")), Heap: int64(m.sum("go_memstats_heap_inuse_bytes")),
			Goroutines: int(m.sum("go_goroutines")), OpenFiles: int(m.sum("process_open_fds")),
		})
		if n%2 == 0 {
			truth.CutStreams()
		}
	}
	report.Hours = append(report.Hours, run)
	return nil
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// asker keeps a connection for each pair that is asked for at the same time.
var asker = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * liveSampled}}

// get returns the body of a reply.
func get(ctx context.Context, p *Process, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Base+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := asker.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return body, err
}

// scrape is what /metrics shows.
type scrape string

func metrics(ctx context.Context, p *Process) (scrape, error) {
	body, err := get(ctx, p, "/metrics")
	return scrape(body), err
}

var sampleLine = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{([^}]*)\})? (\S+)$`)

// sum returns the sum of the values of a metric, of those with a label if the name has one
// in braces.
func (s scrape) sum(name string) (total float64) {
	name, label, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
	for _, m := range sampleLine.FindAllStringSubmatch(string(s), -1) {
		if m[1] == name && strings.Contains(m[2], label) {
			v, _ := strconv.ParseFloat(m[3], 64)
			total += v
		}
	}
	return total
}

// writePlot writes the plot of the hours.
func (b *Bencher) writePlot(runs []soakRun) error {
	if b.Plot == "" || len(runs) == 0 {
		return nil
	}
	if b.Hours == 0 {
		return errors.New("--plot needs --hours")
	}
	title := fmt.Sprintf("%d hours of %d live pairs at 1m, all connections cut every half hour", b.Hours, hourPairs)
	return os.WriteFile(b.Plot, soakPlot(runs, title, 4*b.Hours, func(n int) string { return fmt.Sprintf("%.4g h", float64(n)/4) }), 0o644)
}
