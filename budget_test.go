package main

// These tests pin the memory budget: how it is written, how it is divided, that
// one too small is refused with the smallest that works, which then does, and,
// with the real binary as a child, that no setting takes more than it was given
// and that inside a small cgroup many slots make a sweep slower, not dead.

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
)

func TestByteSize_IsWrittenWithItsUnit(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  byteSize
		again string
	}{
		{"48MiB", 48 << 20, "48MiB"}, {"50331648", 48 << 20, "48MiB"}, {"1.5GiB", 3 << 29, "1536MiB"},
		{"50MB", 50e6, "50000000"}, {"100 KiB", 100 << 10, "100KiB"}, {"7B", 7, "7"}, {"0", noBudget, "0"}, {"0MiB", noBudget, "0"},
	} {
		cfg, err := loadConfig([]string{"MEMORY_BUDGET=" + c.text}, nil)
		if err != nil || cfg.MemoryBudget != c.want || cfg.MemoryBudget.String() != c.again {
			t.Errorf("%s is %d, written %s, %v", c.text, cfg.MemoryBudget, cfg.MemoryBudget, err)
		}
	}
	for _, text := range []string{"48m", "48M", "48Mi", "48mib", "-1", "-1MiB", "MiB", "1e300", "NaN", "Inf", "0.5B", "all", "1.1.1MiB"} {
		_, err := loadConfig([]string{"MEMORY_BUDGET=" + text}, nil)
		if want := fmt.Sprintf("MEMORY_BUDGET: %q is not a number of bytes such as 48MiB", text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestBudget_IsThatOfTheConfigurationElseOfTheCgroup(t *testing.T) {
	const limit = 100 << 20
	for _, c := range []struct {
		given string
		limit int64
		want  int64
	}{
		{"", 0, 0}, {"", limit, 90 << 20}, {"32MiB", limit, 32 << 20}, {"200MiB", limit, 200 << 20}, {"32MiB", 0, 32 << 20}, {"0", limit, 0},
	} {
		cfg, err := loadConfig([]string{"MEMORY_BUDGET=" + c.given}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b := newBudget(cfg, c.limit); b.total != c.want {
			t.Errorf("MEMORY_BUDGET=%s in a cgroup of %d: %d, want %d", c.given, c.limit, b.total, c.want)
		}
	}
}

func TestBudget_CachesGetAFixedShare(t *testing.T) {
	for _, c := range []struct {
		lines          []string
		replies, pages int64
	}{
		{nil, 2 << 20, 640 << 10},
		{[]string{"MEMORY_BUDGET=32MiB"}, 1 << 20, 640 << 10},
		{[]string{"MEMORY_BUDGET=16MiB"}, 512 << 10, 512 << 10},
		{[]string{"MEMORY_BUDGET=1GiB"}, 2 << 20, 640 << 10},
		{[]string{"MEMORY_BUDGET=32MiB", "HTTP_CACHE_BYTES=1000"}, 1000, 640 << 10},
		{[]string{"MEMORY_BUDGET=32MiB", "DATABASE_URL=postgres://a@b/c"}, 1 << 20, 0},
	} {
		cfg, err := loadConfig(c.lines, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b := newBudget(cfg, 0); b.replies() != c.replies || b.pages() != c.pages {
			t.Errorf("%v: %d for replies and %d for pages, want %d and %d", c.lines, b.replies(), b.pages(), c.replies, c.pages)
		}
	}
}

func TestBudget_TheSmallestHasRoomForOneSlotAndNoMuchSmallerOneHas(t *testing.T) {
	for _, lines := range [][]string{
		nil,
		{"ANALYSIS_KLINE_LIMIT=10000"},
		{"ANALYSIS_BATCH_SIZE=1000", "ANALYSIS_CONCURRENCY=256"},
		{"DATABASE_URL=postgres://a@b/c", "DB_POOL_SIZE=100"},
		{"HTTP_CACHE_BYTES=0"},
	} {
		cfg, err := loadConfig(lines, nil)
		if err != nil {
			t.Fatal(err)
		}
		const base = 20 << 20
		b := budget{cfg: cfg}
		b.total = int64(b.smallest(base))
		if b.slots(base) < b.slot() {
			t.Errorf("%v: %s leaves %d bytes, a slot needs %d", lines, byteSize(b.total), b.slots(base), b.slot())
		}
		if b.total -= 2 << 20; b.slots(base) >= b.slot() {
			t.Errorf("%v: %s would do as well", lines, byteSize(b.total))
		}
	}
}

func TestBudget_ClientsGetAShareThatLeavesASlot(t *testing.T) {
	const base = 24 << 20
	for _, c := range []struct {
		lines []string
		want  clients
	}{
		{nil, manyClients},
		{[]string{"HTTP_MAX_CONNECTIONS=50"}, clients{50, manyClients.streams, manyClients.replies, manyClients.uploads}},
		{[]string{"MEMORY_BUDGET=20MiB"}, leastClients}, // which does not start
	} {
		cfg, err := loadConfig(c.lines, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := newBudget(cfg, 0).clients(base); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.lines, got, c.want)
		}
	}
	last := leastClients
	for mib := 29; mib < 256; mib++ {
		cfg, err := loadConfig([]string{fmt.Sprintf("MEMORY_BUDGET=%dMiB", mib), "HTTP_MAX_CONNECTIONS=100"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := newBudget(cfg, 0)
		got := b.clients(base)
		if got.connections < last.connections || got.connections > 100 || got.streams < last.streams || got.replies < last.replies || got.uploads < last.uploads {
			t.Errorf("%d MiB leave clients %+v, one less %+v", mib, got, last)
		}
		if b.slots(base) < b.slot() {
			t.Errorf("%d MiB leave no slot", mib)
		}
		last = got
	}
}

func TestConfig_ShowsTheEffectiveBudget(t *testing.T) {
	_, out, _ := command(t, []string{"MEMORY_BUDGET=32MiB"}, "config")
	for _, want := range []string{"MEMORY_BUDGET=32MiB\n", "# memory budget: 32.0 MiB (MEMORY_BUDGET)\n", "replies 1.0 MiB", "each slot of 2000 klines 0.2 MiB"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if _, out, _ = command(t, []string{"MEMORY_BUDGET=0"}, "config"); !strings.Contains(out, "# memory budget: none\n") {
		t.Errorf("without a budget:\n%s", out)
	}
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

// buildProgram builds the program into a folder as the image has it, and returns its
// path.
func buildProgram(t *testing.T, dir string) string {
	t.Helper()
	exe := filepath.Join(dir, "tidemark")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", exe, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return exe
}

func TestBudget_BoundsTheRealProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what a process takes")
	}
	b := &bencher{dir: t.TempDir(), benchOptions: benchOptions{klines: 2000}}
	// not the test binary: the race detector takes many times the memory
	b.exe = buildProgram(t, b.dir)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	start := func(t *testing.T, exe string, args ...string) *process {
		t.Helper()
		child := *b
		child.exe = exe
		p, err := child.start(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.end() })
		return p
	}
	exchange := func(t *testing.T, pairs string) *process {
		return start(t, b.exe, "simulate", "--addr", "127.0.0.1:0", "--pairs", pairs, "--weight-limit", "10000000")
	}
	service := func(t *testing.T, exe string, market *process, args ...string) *process {
		return start(t, exe, append([]string{"serve", "--http-addr", "127.0.0.1:0", "--log-format", "json", "--http-rate-limit", "0",
			"--exchange", "simulated", "--exchange-base-url", market.base, "--exchange-weight-share", "1"}, args...)...)
	}
	value := func(t *testing.T, p *process, name string) int64 {
		t.Helper()
		v, err := metric(ctx, p, name)
		if err != nil {
			t.Fatal(err)
		}
		return int64(v)
	}

	t.Run("a budget too small is refused with the smallest, which works", func(t *testing.T) {
		args := []string{"sweep", "--exchange", "simulated", "--exchange-simulated-pairs", "5", "--database-url", sqliteURL(t), "--memory-budget"}
		cmd := exec.CommandContext(ctx, b.exe, append(args, "8MiB")...)
		cmd.Env = []string{}
		out, _ := cmd.CombinedOutput()
		m := regexp.MustCompile(`^tidemark: a memory budget of 8\.0 MiB \(MEMORY_BUDGET\) leaves no room .* is (\d+MiB)\n$`).FindSubmatch(out)
		if cmd.ProcessState.ExitCode() != exitUsage || m == nil {
			t.Fatalf("exit code %d: %s", cmd.ProcessState.ExitCode(), out)
		}
		cmd = exec.CommandContext(ctx, b.exe, append(args, string(m[1]))...)
		cmd.Env = []string{}
		out, _ = cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 0 && code != exitPartial {
			t.Errorf("with %s: exit code %d: %s", m[1], code, out)
		}
	})

	small := exchange(t, "200")
	for name, url := range map[string]func(*testing.T) string{"sqlite": sqliteURL, "postgres": postgresURL} {
		for _, s := range []string{"5/50", "3/20", "2/10", "1/5", "20/50"} {
			t.Run("32 MiB, "+name+", "+s, func(t *testing.T) {
				concurrency, batch, _ := strings.Cut(s, "/")
				p := service(t, b.exe, small, "--memory-budget", "32MiB", "--database-url", url(t),
					"--analysis-concurrency", concurrency, "--analysis-batch-size", batch)
				job, err := sweepOver(ctx, p)
				if err != nil {
					t.Fatal(err)
				}
				if job.Done < 200 {
					t.Errorf("%d pairs analysed", job.Done)
				}
				if peak := value(t, p, "tidemark_process_peak_resident_memory_bytes"); peak > 32<<20 {
					t.Errorf("it took %s", mebibytes(peak))
				}
			})
		}
	}

	t.Run("32 MiB and 1,000 clients", func(t *testing.T) {
		p := service(t, b.exe, small, "--memory-budget", "32MiB", "--database-url", sqliteURL(t))
		if _, err := sweepOver(ctx, p); err != nil {
			t.Fatal(err)
		}
		// half of them idle, half asking for all there is and reading nothing
		for i := range 1000 {
			c, err := net.Dial("tcp", strings.TrimPrefix(p.base, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.(*net.TCPConn).SetReadBuffer(4 << 10)
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", []string{"/healthz", "/levels?format=ndjson"}[i%2])
			if i%100 == 99 {
				res, err := http.Get(p.base + "/healthz")
				if err != nil {
					t.Fatal(err)
				}
				if status := decode(t, res, nil); status != http.StatusOK {
					t.Errorf("beside %d clients /healthz says %d", i+1, status)
				}
			}
		}
		status := text(t, fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		peak, _ := strconv.ParseInt(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(status)[1], 10, 64)
		if peak <<= 10; peak > 32<<20/10*11 {
			t.Errorf("it took %s", mebibytes(peak))
		}
	})

	t.Run("256 slots in a cgroup of 48 MiB", func(t *testing.T) {
		const limit = 48 << 20
		exe, args := b.exe, []string{"--analysis-concurrency", "256", "--analysis-batch-size", "50", "--database-url", sqliteURL(t)}
		group, kills := cgroup(t, limit)
		if group != "" {
			exe = filepath.Join(t.TempDir(), "inside")
			script := fmt.Sprintf("#!/bin/sh\necho $$ >%s/cgroup.procs && exec %s \"$@\"\n", group, b.exe)
			if err := os.WriteFile(exe, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		} else {
			t.Log("no cgroup can be made here, so none kills the process: what it takes is compared with the budget")
			args = append(args, "--memory-budget", strconv.Itoa(limit/10*9))
		}
		p := service(t, exe, exchange(t, "2000"), args...)
		swept, stop := context.WithCancel(ctx)
		asked := make(chan int)
		go func() { // large requests beside the sweep
			n := 0
			for ; swept.Err() == nil; n++ {
				res, err := http.Post(p.base+"/analyze", "application/json", strings.NewReader(`{"symbol":"BTCUSDT","kline_limit":10000,"store":false}`))
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
		job, err := sweepOver(ctx, p)
		stop()
		if n := <-asked; n == 0 {
			t.Error("no large request was made")
		}
		if err != nil {
			t.Fatal(err)
		}
		if job.Done < 2000 {
			t.Errorf("%d pairs analysed", job.Done)
		}
		budget, peak := value(t, p, "tidemark_memory_budget_bytes"), value(t, p, "tidemark_process_peak_resident_memory_bytes")
		if budget != limit/10*9 {
			t.Errorf("the budget is %s", mebibytes(budget))
		}
		if peak > budget {
			t.Errorf("it took %s of %s", mebibytes(peak), mebibytes(budget))
		}
		t.Logf("peak %s", mebibytes(peak))
		if kills != "" {
			if told := text(t, kills); !regexp.MustCompile(`(?m)^oom_kill 0$`).MatchString(told) {
				t.Errorf("the kernel killed: %s", told)
			}
		}
	})
}
