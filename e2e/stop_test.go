package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tidemark/command"
	"tidemark/exchange/simulated"
	"tidemark/job"
)

// These tests pin how the program ends and what it leaves running: whose work is
// whose, what an interrupted sweep cancels, and that neither the exchange nor the
// database can hold a process that was told to stop.

func TestProcesses_AJobIsDoneByThoseOfItsExchangeOnly(t *testing.T) {
	t.Parallel()
	_, exchange := market(t, simulated.Options{Pairs: 10})
	environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + sqliteURL(t)}
	door := serve(t, append(environ, "EXCHANGE=binance", "ROLE=api")...)
	other := serve(t, environ...) // of EXCHANGE=simulated
	var of, elsewhere jobReply
	if status := door.post(t, `{"all":true}`, &of); status != http.StatusAccepted {
		t.Fatalf("asking for a sweep: %d", status)
	}
	other.post(t, `{"all":true}`, &elsewhere)
	if elsewhere = other.waitFor(t, elsewhere.ID, ended); elsewhere.State != job.Completed {
		t.Errorf("the sweep of the other exchange ended as %+v", elsewhere)
	}
	if of = door.waitFor(t, of.ID, func(jobReply) bool { return true }); of.State != job.Queued {
		t.Errorf("with no process of its exchange the sweep is %+v", of)
	}
	serve(t, append(environ, "EXCHANGE=binance", "ROLE=worker")...)
	if of = door.waitFor(t, of.ID, ended); of.State != job.Completed || of.Done != elsewhere.Done {
		t.Errorf("the sweep ended as %+v", of)
	}
}

func TestSweep_InterruptedCancelsItsOwnAndLeavesWhatItJoined(t *testing.T) {
	t.Parallel()
	_, exchange := market(t, simulated.Options{Pairs: 200, Latency: 60 * time.Millisecond})
	environ := []string{"EXCHANGE=simulated", "EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + sqliteURL(t), shortSeries}
	interrupted := func() string {
		t.Helper()
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		done := make(chan error, 1)
		progress := &syncBuffer{}
		go func() { done <- run(ctx, []string{"sweep"}, environ, io.Discard, progress) }()
		for !strings.Contains(progress.String(), "pairs/s") {
			select {
			case err := <-done:
				t.Fatalf("it ended before it could be interrupted: %v\n%s", err, progress)
			case <-time.After(10 * time.Millisecond):
			}
		}
		interrupt()
		err := <-done
		if code := command.ExitCode(err, io.Discard); code != command.ExitFailed {
			t.Errorf("interrupted, it exits with %d: %v", code, err)
		}
		return err.Error()
	}

	if said := interrupted(); !strings.Contains(said, "the sweep was cancelled") {
		t.Errorf("interrupted in a sweep of its own it says %q", said)
	}
	r := serve(t, environ...)
	var jobs struct{ Jobs []jobReply }
	if r.get(t, "/jobs", &jobs); len(jobs.Jobs) != 1 || jobs.Jobs[0].State != job.Cancelled {
		t.Errorf("it left %+v", jobs)
	}
	var j jobReply
	r.post(t, `{"all":true}`, &j)
	if said := interrupted(); !strings.Contains(said, "continues as job "+j.ID) || !strings.Contains(said, "DELETE /jobs/"+j.ID) {
		t.Errorf("interrupted in a sweep it has joined it says %q", said)
	}
	if j = r.waitFor(t, j.ID, ended); j.State != job.Completed || j.Done < 200 {
		t.Errorf("the sweep it had joined ended as %+v", j)
	}
}

// The weight of the exchange is used up: pairs of the sweep, and somebody who asks
// for one, wait for up to a minute.
func TestServe_StopsWithoutWaitingForTheExchange(t *testing.T) {
	t.Parallel()
	truth, exchange := market(t, simulated.Options{Pairs: 200, WeightLimit: 300})
	database := sqliteURL(t)
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+database, "STOP_TIMEOUT=20s", "ANALYSIS_TIMEOUT=5m", "ANALYSIS_CONCURRENCY=4")
	var j jobReply
	r.post(t, `{"all":true}`, &j)
	r.waitFor(t, j.ID, func(j jobReply) bool { return j.State == job.Running && j.Batches > 0 })
	for before, deadline := "", time.Now().Add(time.Minute); ; time.Sleep(500 * time.Millisecond) {
		now := fmt.Sprint(truth.Stats().Requests)
		if now == before {
			break
		}
		if before = now; time.Now().After(deadline) {
			t.Fatal("the sweep never waits for the exchange")
		}
	}
	start := time.Now()
	if err := r.end(t); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("the stop waited %s for the exchange", took)
	}
	log := r.log.String()
	if !strings.Contains(log, `"msg":"stopped"`) || strings.Contains(log, `"level":"ERROR"`) || strings.Contains(log, `"level":"WARN"`) {
		t.Errorf("the log of a stop that went well:\n%s", log)
	}
	again := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+database, "ROLE=api")
	if j = again.waitFor(t, j.ID, func(jobReply) bool { return true }); j.State != job.Running || j.Failed > 0 {
		t.Errorf("the job was left as %+v", j)
	}
}

func TestServe_ARequestThatOutlastsTheStopIsToldToComeBack(t *testing.T) {
	t.Parallel()
	faults, err := simulated.ParseFaults("hang=1")
	if err != nil {
		t.Fatal(err)
	}
	_, exchange := market(t, simulated.Options{Faults: faults, Hang: 30 * time.Second})
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t), "STOP_TIMEOUT=4s", "ANALYSIS_TIMEOUT=5m", "EXCHANGE_TIMEOUT=1m")
	answered := make(chan string, 1)
	go func() {
		res, err := http.Post(r.base+"/analyze", "application/json", strings.NewReader(`{"symbol":"BTCUSDT"}`))
		if err != nil {
			answered <- err.Error()
			return
		}
		defer res.Body.Close()
		var problem struct{ Code string }
		json.NewDecoder(res.Body).Decode(&problem)
		answered <- fmt.Sprint(res.StatusCode, " ", problem.Code)
	}()
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(r.metrics(t), "\ntidemark_queue_waiting 1\n"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the request does not wait\n%s", r.metrics(t))
		}
	}
	if err := r.end(t); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if got := <-answered; got != "503 stopping" {
		t.Errorf("the request was answered %s", got)
	}
}

// A terminal that closes sends SIGHUP.
func TestServe_AHangUpStopsAsATerminationDoes(t *testing.T) {
	t.Parallel()
	c := spawn(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=5")
	c.signal(t, syscall.SIGHUP)
	if err := c.cmd.Wait(); err != nil || !strings.Contains(c.log.String(), `"msg":"stopped"`) {
		t.Errorf("it ended with %v\n%s", err, c.log)
	}
}

// A PostgreSQL that is frozen, not gone: connections stand and nothing comes back.
func TestServe_EndsWhileTheDatabaseIsFrozen(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(postgresURL(t))
	if err != nil {
		t.Fatal(err)
	}
	var frozen sync.RWMutex // held while nothing is passed on
	u.Host = relay(t, u.Host, &frozen)
	_, exchange := market(t, simulated.Options{Pairs: 300, Latency: 100 * time.Millisecond})
	c := spawn(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+u.String(), "STOP_TIMEOUT=2s", "ANALYSIS_SCHEDULE=1h")
	var j jobReply
	c.post(t, `{"all":true}`, &j)
	c.waitFor(t, j.ID, func(j jobReply) bool { return j.Done > 0 })
	frozen.Lock()
	defer frozen.Unlock()
	time.Sleep(3 * time.Second) // whatever the process does now and then, it has begun
	c.signal(t, syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- c.cmd.Wait() }()
	select {
	case err := <-ended:
		log := c.log.String()
		if err == nil || strings.Count(log, "broken off") != 1 || strings.Contains(log, "deadline exceeded context deadline exceeded") {
			t.Errorf("it ended with %v\n%s", err, log)
		}
	case <-time.After(time.Minute):
		t.Errorf("it does not end\n%s", c.log)
	}
}

// relay passes connections on to a server until the end of the test, but nothing
// while frozen is held. It returns its address.
func relay(t *testing.T, server string, frozen *sync.RWMutex) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	pass := func(to, from net.Conn) {
		b := make([]byte, 32<<10)
		for {
			n, err := from.Read(b)
			frozen.RLock()
			_, _ = to.Write(b[:n])
			frozen.RUnlock()
			if err != nil {
				to.Close()
				return
			}
		}
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", server)
			if err != nil {
				c.Close()
				return
			}
			go pass(s, c)
			go pass(c, s)
		}
	}()
	return listener.Addr().String()
}
