package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemark/bench"
	"tidemark/config"
)

func TestBudget_BoundsTheRealProcess(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the memory of a process is read from Linux's /proc")
	}
	b := &bench.Bencher{Exe: program(t), Dir: t.TempDir(), Options: bench.Options{Klines: 2000}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	start := func(t *testing.T, exe string, args ...string) *bench.Process {
		t.Helper()
		child := *b
		child.Exe = exe
		p, err := child.Start(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.End() })
		return p
	}
	exchange := func(t *testing.T, pairs string) *bench.Process {
		return start(t, b.Exe, "simulate", "--addr", "127.0.0.1:0", "--pairs", pairs, "--weight-limit", "10000000")
	}
	service := func(t *testing.T, exe string, market *bench.Process, args ...string) *bench.Process {
		return start(t, exe, append([]string{"serve", "--http-addr", "127.0.0.1:0", "--log-format", "json", "--http-rate-limit", "0",
			"--exchange", "simulated", "--exchange-base-url", market.Base, "--exchange-weight-share", "1"}, args...)...)
	}
	value := func(t *testing.T, p *bench.Process, name string) int64 {
		t.Helper()
		v, err := bench.Metric(ctx, p, name)
		if err != nil {
			t.Fatal(err)
		}
		return int64(v)
	}

	t.Run("a budget too small is refused with the smallest, which works", func(t *testing.T) {
		args := []string{"sweep", "--exchange", "simulated", "--exchange-simulated-pairs", "5", "--database-url", sqliteURL(t), "--memory-budget"}
		cmd := exec.CommandContext(ctx, b.Exe, append(args, "8MiB")...)
		cmd.Env = []string{}
		out, _ := cmd.CombinedOutput()
		m := regexp.MustCompile(`^tidemark: a memory budget of 8\.0 MiB \(MEMORY_BUDGET\) is too small for one analysis .* is (\d+MiB)\n$`).FindSubmatch(out)
		if cmd.ProcessState.ExitCode() != 2 || m == nil {
			t.Fatalf("exit code %d: %s", cmd.ProcessState.ExitCode(), out)
		}
		cmd = exec.CommandContext(ctx, b.Exe, append(args, string(m[1]))...)
		cmd.Env = []string{}
		out, _ = cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 0 && code != 3 {
			t.Errorf("with %s: exit code %d: %s", m[1], code, out)
		}
	})

	small := exchange(t, "200")
	for name, url := range map[string]func(*testing.T) string{"sqlite": sqliteURL, "postgres": postgresURL} {
		for _, s := range []string{"3/20", "1/5", "20/50"} { // bench has all five
			t.Run("32 MiB, "+name+", "+s, func(t *testing.T) {
				concurrency, batch, _ := strings.Cut(s, "/")
				p := service(t, b.Exe, small, "--memory-budget", "32MiB", "--database-url", url(t),
					"--analysis-concurrency", concurrency, "--analysis-batch-size", batch)
				job, err := bench.SweepOver(ctx, p)
				if err != nil {
					t.Fatal(err)
				}
				if job.SymbolsDone < 200 {
					t.Errorf("%d pairs analysed", job.SymbolsDone)
				}
				if peak := value(t, p, "tidemark_process_peak_resident_memory_bytes"); peak > 32<<20 {
					t.Errorf("it took %s", config.FormatBytes(peak))
				}
			})
		}
	}

	t.Run("32 MiB and 1,000 clients", func(t *testing.T) {
		p := service(t, b.Exe, small, "--memory-budget", "32MiB", "--database-url", sqliteURL(t))
		if _, err := bench.SweepOver(ctx, p); err != nil {
			t.Fatal(err)
		}
		// half of them idle, half asking for all there is and reading nothing
		for i := range 1000 {
			c, err := net.Dial("tcp", strings.TrimPrefix(p.Base, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.(*net.TCPConn).SetReadBuffer(4 << 10)
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", []string{"/healthz", "/levels?format=ndjson"}[i%2])
			if i%100 == 99 {
				res, err := http.Get(p.Base + "/healthz")
				if err != nil {
					t.Fatal(err)
				}
				if status := decode(t, res, nil); status != http.StatusOK {
					t.Errorf("beside %d clients /healthz says %d", i+1, status)
				}
			}
		}
		status := text(t, fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
		peak, _ := strconv.ParseInt(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(status)[1], 10, 64)
		if peak <<= 10; peak > 32<<20/10*11 {
			t.Errorf("it took %s", config.FormatBytes(peak))
		}
	})

	t.Run("256 slots in a cgroup of 48 MiB", func(t *testing.T) {
		const limit = 48 << 20
		pairs := number(t, "TIDEMARK_TEST_PAIRS", 1000)
		exe, args := b.Exe, []string{"--analysis-concurrency", "256", "--analysis-batch-size", "50", "--database-url", sqliteURL(t)}
		group, kills := cgroup(t, limit)
		if group != "" {
			exe = filepath.Join(t.TempDir(), "inside")
			script := fmt.Sprintf("#!/bin/sh\necho $$ >%s/cgroup.procs && exec %s \"$@\"\n", group, b.Exe)
			if err := os.WriteFile(exe, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		} else {
			t.Log("no cgroup can be made here, so none kills the process: what it takes is compared with the budget")
			args = append(args, "--memory-budget", strconv.Itoa(limit/10*9))
		}
		p := service(t, exe, exchange(t, strconv.Itoa(pairs)), args...)
		swept, stop := context.WithCancel(ctx)
		asked := make(chan int)
		go func() { // large requests beside the sweep
			n := 0
			for ; swept.Err() == nil; n++ {
				res, err := http.Post(p.Base+"/analyze", "application/json", strings.NewReader(`{"symbol":"BTCUSDT","kline_limit":10000,"store":false}`))
				if err != nil {
					t.Error(err)
					break
				}
				if status := decode(t, res, nil); status != http.StatusOK {
					t.Errorf("a large request: %d", status)
				}
			}
			asked <- n
		}()
		job, err := bench.SweepOver(ctx, p)
		stop()
		if n := <-asked; n == 0 {
			t.Error("no large request was made")
		}
		if err != nil {
			t.Fatal(err)
		}
		if job.SymbolsDone < pairs {
			t.Errorf("%d pairs analysed", job.SymbolsDone)
		}
		budget, peak := value(t, p, "tidemark_memory_budget_bytes"), value(t, p, "tidemark_process_peak_resident_memory_bytes")
		if budget != limit/10*9 {
			t.Errorf("the budget is %s", config.FormatBytes(budget))
		}
		if peak > budget {
			t.Errorf("it took %s of %s", config.FormatBytes(peak), config.FormatBytes(budget))
		}
		t.Logf("peak %s", config.FormatBytes(peak))
		if kills != "" {
			if told := text(t, kills); !regexp.MustCompile(`(?m)^oom_kill 0$`).MatchString(told) {
				t.Errorf("the kernel killed: %s", told)
			}
		}
	})
}

// cgroup makes a memory cgroup of its own with a hard limit, without swap, and
// returns its folder and the file that counts the processes killed in it. "" if
// this process may not.
func cgroup(t *testing.T, limit int64) (dir, kills string) {
	t.Helper()
	name := fmt.Sprintf("tidemark-test-%d", os.Getpid())
	for _, v := range []struct{ root, limit, swap, kills string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control"},
		{"/sys/fs/cgroup", "memory.max", "memory.swap.max", "memory.events"},
	} {
		dir = filepath.Join(v.root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Log(err)
			continue
		}
		t.Cleanup(func() { os.Remove(dir) })
		if err := os.WriteFile(filepath.Join(dir, v.limit), []byte(strconv.FormatInt(limit, 10)), 0o644); err != nil {
			t.Log(err)
			continue
		}
		swap := limit // version 1 counts memory and swap together
		if v.swap == "memory.swap.max" {
			swap = 0
		}
		os.WriteFile(filepath.Join(dir, v.swap), []byte(strconv.FormatInt(swap, 10)), 0o644) // not there without swap accounting
		return dir, filepath.Join(dir, v.kills)
	}
	return "", ""
}
