//go:build linux

// Command attack runs the program and is a hostile client of it, on the loopback.
// scripts/attack builds both and calls it.
//
// Every scenario has a fresh process on a fresh database, beside which a sweep runs
// and /healthz is asked again and again, each time on a new connection, as an
// orchestrator does. What is told is the peak of memory, whether the kernel killed
// the process, the slowest answer of /healthz, and what became of the sweep. All
// loops are bounded in number and in time.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is a line of the report. Sizes are bytes, times seconds.
type result struct {
	Scenario string  `json:"scenario"`
	Where    string  `json:"where"` // "cgroup 64 MiB" or "budget 32 MiB"
	PeakRSS  int64   `json:"peak_rss_bytes"`
	Kills    int64   `json:"out_of_memory_kills"`
	Slowest  float64 `json:"slowest_health_seconds"`
	Unwell   int     `json:"health_failures"`
	Asked    int     `json:"health_requests"`
	Sweep    string  `json:"sweep"`
	Exit     float64 `json:"exit_seconds"` // after SIGTERM in the middle of it
	ExitCode int     `json:"exit_code"`
	Told     string  `json:"told"` // what the attack saw
	Passed   bool    `json:"passed"`
	Why      string  `json:"why,omitempty"` // not
}

// scenario is one attack. attack returns what it saw, and stays until it is over.
type scenario struct {
	name     string
	postgres bool
	full     bool // on a file system that can be filled
	attack   func(ctx context.Context, t *target) (told string, err error)
}

type options struct {
	program, dir string
	scale        float64
	pairs        int
	only, report string
	latency      time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "", "the built program")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "folder for databases")
	flag.Float64Var(&o.scale, "scale", 1, "share of the clients of the full attack")
	flag.IntVar(&o.pairs, "pairs", 500, "pairs of the market")
	flag.DurationVar(&o.latency, "latency", 20*time.Millisecond, "latency of the exchange")
	flag.StringVar(&o.only, "only", "", "scenarios whose name contains this")
	flag.StringVar(&o.report, "json", "", "file to write the figures to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	market, err := startMarket(ctx, o)
	if err != nil {
		return err
	}
	defer market.kill()
	var all []result
	for _, s := range scenarios() {
		if !strings.Contains(s.name, o.only) {
			continue
		}
		for _, where := range []string{"cgroup 64 MiB", "budget 32 MiB"} {
			if (s.postgres || s.full) && where != "cgroup 64 MiB" {
				continue // those are about what is stored
			}
			fmt.Fprintf(os.Stderr, "%s, %s\n", s.name, where)
			one := one(ctx, o, market, s, where)
			if !one.Passed {
				fmt.Fprintf(os.Stderr, "  %s\n", one.Why)
			}
			all = append(all, one)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	print(all)
	if o.report != "" {
		b, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.report, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if i := slices.IndexFunc(all, func(r result) bool { return !r.Passed }); i >= 0 {
		return errors.New("not all of them passed")
	}
	return nil
}

func print(all []result) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| attack\t| where\t| peak RSS, MiB\t| killed\t| /healthz at most, s\t| failed of\t| sweep\t| exit, s\t| seen\t| passed\t|")
	fmt.Fprintln(w, "|"+strings.Repeat(" ---\t|", 10))
	for _, r := range all {
		passed := "yes"
		if !r.Passed {
			passed = "NO: " + r.Why
		}
		fmt.Fprintf(w, "| %s\t| %s\t| %.1f\t| %d\t| %.2f\t| %d of %d\t| %s\t| %.1f (%d)\t| %s\t| %s\t|\n", r.Scenario, r.Where,
			float64(r.PeakRSS)/(1<<20), r.Kills, r.Slowest, r.Unwell, r.Asked, r.Sweep, r.Exit, r.ExitCode, r.Told, passed)
	}
	w.Flush()
}

// one runs one scenario twice: to its end with a sweep beside it, and again with a
// SIGTERM in the middle.
func one(ctx context.Context, o options, market *process, s scenario, where string) result {
	r := result{Scenario: s.name, Where: where}
	var why []string
	fail := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if err := whole(ctx, o, market, s, &r, fail); err != nil {
		fail("%v", err)
	}
	if err := ended(ctx, o, market, s, &r, fail); err != nil {
		fail("SIGTERM: %v", err)
	}
	r.Passed, r.Why = len(why) == 0, strings.Join(why, "; ")
	return r
}

func whole(ctx context.Context, o options, market *process, s scenario, r *result, fail func(string, ...any)) error {
	t, err := start(ctx, o, market, s, r.Where)
	if err != nil {
		return err
	}
	defer t.end()
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	watching, stop := context.WithCancel(ctx)
	health := make(chan health, 1)
	go func() { health <- t.watch(watching) }()
	swept := make(chan string, 1)
	go func() { swept <- t.sweep(ctx) }()
	r.Told, err = s.attack(ctx, t)
	if err != nil {
		fail("%v", err)
	}
	r.Sweep = <-swept
	stop()
	h := <-health
	r.Slowest, r.Unwell, r.Asked = h.slowest.Seconds(), h.failed, h.asked
	r.PeakRSS, r.Kills = t.peak(), t.kills()
	if !t.alive() {
		fail("the process is gone")
	}
	if r.Kills > 0 {
		fail("the kernel killed it")
	}
	if h.failed > 0 || h.slowest > time.Second {
		fail("/healthz took %s and failed %d times", h.slowest.Round(time.Millisecond), h.failed)
	}
	if limit := int64(32<<20) / 10 * 11; r.Where == "budget 32 MiB" && r.PeakRSS > limit {
		fail("it took more than a tenth over its budget")
	}
	if !strings.HasPrefix(r.Sweep, "completed") && !s.full {
		fail("the sweep: %s", r.Sweep)
	}
	return nil
}

func ended(ctx context.Context, o options, market *process, s scenario, r *result, fail func(string, ...any)) error {
	t, err := start(ctx, o, market, s, r.Where)
	if err != nil {
		return err
	}
	defer t.end()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	attacking, stop := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() { t.sweep(attacking) }()
	go func() { s.attack(attacking, t); close(over) }()
	time.Sleep(3 * time.Second)
	begin := time.Now()
	t.term()
	select {
	case <-t.process.ended:
	case <-time.After(60 * time.Second):
		fail("SIGTERM did not end it in a minute")
	}
	r.Exit, r.ExitCode = time.Since(begin).Seconds(), t.process.code()
	stop()
	<-over
	if r.Exit > 35 {
		fail("it took %.0f s to end", r.Exit)
	}
	return nil
}
