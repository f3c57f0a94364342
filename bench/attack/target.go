//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tidemark/wire"
)

// process is a child that said where it listens.
type process struct {
	cmd   *exec.Cmd
	base  string // http://host:port
	ended chan struct{}
}

var listening = regexp.MustCompile(`(?:exchange on http://|"address":")(127\.0\.0\.1:\d+)`)

// launch starts a program and waits until it says where it listens.
func launch(cmd *exec.Cmd) (*process, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	found := make(chan string, 1)
	go func() {
		var told strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil && p.base == "" {
				found <- "http://" + m[1]
				break
			}
			fmt.Fprintln(&told, lines.Text())
		}
		select {
		case found <- told.String():
		default:
		}
		io.Copy(io.Discard, out)
		cmd.Wait()
		close(p.ended)
	}()
	select {
	case p.base = <-found:
	case <-time.After(30 * time.Second):
	}
	if !strings.HasPrefix(p.base, "http://") {
		p.kill()
		return nil, fmt.Errorf("it did not start: %s", strings.TrimSpace(p.base))
	}
	return p, nil
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// code is the exit code; -1 while it runs, or when a signal ended it.
func (p *process) code() int {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	default:
		return -1
	}
}

func startMarket(ctx context.Context, o options) (*process, error) {
	return launch(exec.CommandContext(ctx, o.program, "simulate", "--addr", "127.0.0.1:0", "--pairs", strconv.Itoa(o.pairs),
		"--latency", o.latency.String(), "--weight-limit", "10000000", "--cache-bytes", strconv.Itoa(1<<30)))
}

// target is the program under attack.
type target struct {
	*process
	options
	group    *cgroup // nil for none
	disk     string  // folder of the small file system; "" for none
	postgres *postgres
	once     sync.Once
}

func start(ctx context.Context, o options, market *process, s scenario, where string) (t *target, err error) {
	t = &target{options: o}
	defer func() {
		if err != nil {
			t.end()
			t = nil
		}
	}()
	dir, err := os.MkdirTemp(o.dir, "target-")
	if err != nil {
		return t, err
	}
	args := []string{"serve", "--http-addr", "127.0.0.1:0", "--log-format", "json", "--http-rate-limit", "0",
		"--exchange", "simulated", "--exchange-base-url", market.base, "--exchange-weight-share", "1"}
	env := []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "ANALYSIS_LIVE=false"}
	database := "sqlite://" + filepath.Join(dir, "t.db")
	switch {
	case s.full:
		t.disk = filepath.Join(dir, "disk")
		if err := os.Mkdir(t.disk, 0o755); err != nil {
			return t, err
		}
		if err := syscall.Mount("tidemark-attack", t.disk, "tmpfs", 0, "size=12m"); err != nil {
			t.disk = ""
			return t, fmt.Errorf("a small file system: %w", err)
		}
		database = "sqlite://" + filepath.Join(t.disk, "t.db")
	case s.postgres:
		if t.postgres, err = openPostgres(); err != nil {
			return t, err
		}
		if database, err = t.postgres.fresh(); err != nil {
			return t, err
		}
	}
	cmd := exec.CommandContext(ctx, o.program, append(args, "--database-url", database)...)
	if where == "budget 32 MiB" {
		cmd.Args = append(cmd.Args, "--memory-budget", "32MiB")
	} else {
		if t.group, err = newCgroup(64 << 20); err != nil {
			return t, err
		}
		inside := `echo $$ >"$1/cgroup.procs" && shift && exec "$@"`
		cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", inside, "sh", t.group.dir}, cmd.Args...)
	}
	cmd.Dir, cmd.Env = dir, env
	t.process, err = launch(cmd)
	return t, err
}

// end ends what start began.
func (t *target) end() {
	t.once.Do(func() {
		if t.postgres != nil {
			t.postgres.heal()
		}
		if t.process != nil {
			t.process.kill()
		}
		if t.group != nil {
			t.group.remove()
		}
		if t.disk != "" {
			syscall.Unmount(t.disk, syscall.MNT_DETACH)
		}
	})
}

func (t *target) term() { t.cmd.Process.Signal(syscall.SIGTERM) }

func (t *target) alive() bool {
	select {
	case <-t.process.ended:
		return false
	default:
		return true
	}
}

// address is host:port.
func (t *target) address() string { return strings.TrimPrefix(t.base, "http://") }

// peak is the high-water mark of the process.
func (t *target) peak() int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", t.cmd.Process.Pid))
	if m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b); m != nil {
		n, _ := strconv.ParseInt(string(m[1]), 10, 64)
		return n << 10
	}
	return 0
}

func (t *target) kills() int64 {
	if t.group == nil {
		return 0
	}
	return t.group.kills()
}

// health is what probes saw.
type health struct {
	asked, failed int
	slowest       time.Duration
}

// watch asks /healthz five times a second, each time on a new connection, until ctx
// ends. What took more than five seconds has failed.
func (t *target) watch(ctx context.Context) (h health) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for ctx.Err() == nil && t.alive() {
		begin := time.Now()
		res, err := client.Get(t.base + "/healthz")
		if err == nil {
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusOK {
				err = errors.New(res.Status)
			}
		}
		h.asked++
		if err != nil && t.alive() {
			h.failed++
		}
		h.slowest = max(h.slowest, time.Since(begin))
		pause(ctx, 200*time.Millisecond)
	}
	return h
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// sweep asks for a sweep, again while it is refused, and follows it to its end as a
// client does that is told to come again.
func (t *target) sweep(ctx context.Context) string {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	begin := time.Now()
	var j wire.Job
	for ctx.Err() == nil && t.alive() {
		var res *http.Response
		var err error
		if j.ID == "" {
			res, err = client.Post(t.base+"/analyze", "application/json", strings.NewReader(`{"all":true}`))
		} else {
			res, err = client.Get(t.base + "/jobs/" + j.ID)
		}
		if err == nil {
			var next wire.Job
			if json.NewDecoder(res.Body).Decode(&next) == nil && next.ID != "" && res.StatusCode < 300 {
				j = next
			}
			res.Body.Close()
		}
		switch j.State {
		case "completed":
			return fmt.Sprintf("completed %d in %.0f s", j.SymbolsDone, time.Since(begin).Seconds())
		case "failed", "cancelled":
			return fmt.Sprintf("%s after %d", j.State, j.SymbolsDone)
		}
		pause(ctx, 300*time.Millisecond)
	}
	return fmt.Sprintf("not over: %q after %d", j.State, j.SymbolsDone)
}

// running gives the pid of the first job asked for; it is waited for.
func (t *target) running(ctx context.Context) (string, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for ctx.Err() == nil && t.alive() {
		if res, err := client.Get(t.base + "/jobs?limit=1"); err == nil {
			var list wire.JobList
			err = json.NewDecoder(res.Body).Decode(&list)
			res.Body.Close()
			if err == nil && len(list.Jobs) > 0 {
				return list.Jobs[0].ID, nil
			}
		}
		pause(ctx, 100*time.Millisecond)
	}
	return "", errors.New("no job came up")
}

func (t *target) dial(ctx context.Context) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(ctx, "tcp", t.address())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// cgroup is a memory cgroup with a hard limit and without swap, version 1 or 2.
type cgroup struct{ dir, events string }

func newCgroup(limit int64) (*cgroup, error) {
	name := fmt.Sprintf("tidemark-attack-%d-%d", os.Getpid(), time.Now().UnixNano())
	var last error
	for _, v := range []struct{ root, limit, swap, events string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control"},
		{"/sys/fs/cgroup", "memory.max", "memory.swap.max", "memory.events"},
	} {
		dir := filepath.Join(v.root, name)
		if last = os.Mkdir(dir, 0o755); last != nil {
			continue
		}
		if last = os.WriteFile(filepath.Join(dir, v.limit), []byte(strconv.FormatInt(limit, 10)), 0o644); last != nil {
			os.Remove(dir)
			continue
		}
		swap := limit // version 1 counts memory and swap together
		if v.swap == "memory.swap.max" {
			swap = 0
		}
		os.WriteFile(filepath.Join(dir, v.swap), []byte(strconv.FormatInt(swap, 10)), 0o644) // not there without swap accounting
		return &cgroup{dir, filepath.Join(dir, v.events)}, nil
	}
	return nil, fmt.Errorf("a cgroup of 64 MiB: %w", last)
}

func (g *cgroup) kills() int64 {
	b, _ := os.ReadFile(g.events)
	m := regexp.MustCompile(`(?m)^oom_kill (\d+)$`).FindSubmatch(b)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return n
}

func (g *cgroup) remove() {
	for range 20 {
		if os.Remove(g.dir) == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
