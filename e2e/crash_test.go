package e2e

import (
	"bufio"
	"cmp"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tidemark/command"
	"tidemark/exchange/simulated"
	"tidemark/job"
	"tidemark/wire"
)

// These tests kill real processes in the middle of a sweep, and let several share
// a database: no pair is lost, none counted twice, what one process is told the
// others do. At full length, which takes minutes:
//
//	TIDEMARK_TEST_KILLS=20 TIDEMARK_TEST_PAIRS=500 scripts/with-postgres \
//	    go test -run 'TestCrash|TestWorkers' -v -timeout 60m ./e2e

// shortSeries has a quarter of the klines analysed, in one page a pair. What kills and
// pauses do to a sweep is the same, and the time goes into waiting for the exchange.
const shortSeries = "ANALYSIS_KLINE_LIMIT=500"

// A process started with this variable is the program, not its tests.
const childVariable = "TIDEMARK_TEST_CHILD"

func init() {
	if os.Getenv(childVariable) != "" {
		command.Main(contract)
	}
}

// child is a service in a process of its own.
type child struct {
	*running
	cmd *exec.Cmd
}

// spawn starts a service in a process of its own and waits until it answers.
func spawn(t *testing.T, environ ...string) *child {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{running: &running{log: &syncBuffer{}}, cmd: exec.Command(program, "serve")}
	c.cmd.Env = append([]string{childVariable + "=1", "HTTP_ADDR=127.0.0.1:0", "LOG_FORMAT=json", noPrices, "EXCHANGE=simulated", "ANALYSIS_LIVE=false"}, environ...)
	c.cmd.Stderr = c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	address := regexp.MustCompile(`"msg":"serving","address":"([^"]+)"`)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if m := address.FindStringSubmatch(c.log.String()); m != nil {
			c.base = "http://" + m[1]
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("the process did not begin\n%s", c.log)
		}
	}
}

// kill ends the process as a power cut would, without a last word.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// waitFor asks for a job until it is as wanted.
func (r *running) waitFor(t *testing.T, id string, is func(j jobReply) bool) jobReply {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var j jobReply
		if status := r.get(t, "/jobs/"+id, &j); status != http.StatusOK {
			t.Fatalf("the job: %d", status)
		}
		if is(j) {
			return j
		}
		if time.Now().After(deadline) || j.State.Final() {
			t.Fatalf("the job is %+v\n%s", j, r.log)
		}
	}
}

func ended(j jobReply) bool { return j.State.Final() }

// pairs counts the pairs that are stored for one hour.
func (r *running) pairs(t *testing.T) (n int) {
	t.Helper()
	var list wire.ExchangeList
	if status := r.get(t, "/exchanges", &list); status != http.StatusOK {
		t.Fatalf("the exchanges: %d", status)
	}
	for _, x := range list.Exchanges {
		for _, i := range x.Intervals {
			if i.Interval == "1h" {
				n += i.Pairs
			}
		}
	}
	return n
}

func number(t *testing.T, name string, otherwise int) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(otherwise)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

var bothDatabases = map[string]func(*testing.T) string{"sqlite": sqliteURL, "postgres": postgresURL}

func TestCrash_KilledInTheMiddleOfASweepItLosesNothing(t *testing.T) {
	t.Parallel()
	kills, pairs := number(t, "TIDEMARK_TEST_KILLS", 2), number(t, "TIDEMARK_TEST_PAIRS", 150)
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			_, exchange := market(t, simulated.Options{Pairs: pairs, Latency: 200 * time.Millisecond})
			database := url(t)
			environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + database, "ANALYSIS_BATCH_SIZE=10", shortSeries}
			var slowest time.Duration
			c := spawn(t, environ...)
			var j jobReply
			if status := c.post(t, `{"all":true}`, &j); status != http.StatusAccepted {
				t.Fatalf("asking for a sweep: %d", status)
			}
			for n := range kills {
				before := j.Done
				j = c.waitFor(t, j.ID, func(j jobReply) bool { return j.Done > before || ended(j) })
				if ended(j) {
					t.Fatalf("the sweep ended before kill %d: %+v", n+1, j)
				}
				time.Sleep(rand.N(500 * time.Millisecond))
				c.kill()
				restarted := time.Now()
				c = spawn(t, environ...)
				now := c.waitFor(t, j.ID, func(now jobReply) bool { return true })
				if now.State != job.Running || now.Done < j.Done {
					t.Fatalf("after kill %d the job is %+v; %d were done", n+1, now, j.Done)
				}
				j = c.waitFor(t, j.ID, func(after jobReply) bool { return after.Done > now.Done || ended(after) })
				took := time.Since(restarted)
				slowest = max(slowest, took)
				t.Logf("kill %d at %d of %d: the next batch was stored %.1f s after the restart", n+1, now.Done, j.Total, took.Seconds())
			}
			j = c.waitFor(t, j.ID, ended)
			if j.State != job.Completed || j.Done+j.Failed+j.Skipped != j.Total || j.Done < pairs || len(j.Failures) != j.Failed {
				t.Errorf("the sweep ended as %+v", j)
			}
			if n := c.pairs(t); n != j.Done {
				t.Errorf("%d pairs are stored, the job says %d", n, j.Done)
			}
			t.Logf("%d pairs in %.1f s with %d kills; the longest recovery took %.1f s",
				j.Done, j.FinishedAt.Sub(j.StartedAt).Seconds(), kills, slowest.Seconds())
			c.kill()
			if path, ok := strings.CutPrefix(database, "sqlite://"); ok {
				checkIntegrity(t, path)
			}
		})
	}
}

// checkIntegrity has SQLite look at every page of a file.
func checkIntegrity(t *testing.T, path string) {
	t.Helper()
	file, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var found string
	if err := file.QueryRow(`PRAGMA integrity_check`).Scan(&found); err != nil || found != "ok" {
		t.Errorf("the file after the last kill: %s, %v", found, err)
	}
}

func TestProcesses_OneJobWhoeverAsksAndAllWork(t *testing.T) {
	t.Parallel()
	_, exchange := market(t, simulated.Options{Pairs: 120, Latency: 100 * time.Millisecond})
	environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + postgresURL(t), "ANALYSIS_BATCH_SIZE=10", shortSeries}
	one, two := spawn(t, environ...), spawn(t, environ...)
	door := spawn(t, append(environ, "ROLE=api")...)
	var first, second jobReply
	one.post(t, `{"all":true}`, &first)
	if door.post(t, `{"all":true}`, &second); second.ID != first.ID {
		t.Errorf("the same sweep asked of another process is %s, not %s", second.ID, first.ID)
	}
	j := door.waitFor(t, first.ID, ended)
	if j.State != job.Completed || j.Done+j.Failed+j.Skipped != j.Total || j.Done < 120 {
		t.Errorf("ended as %+v", j)
	}
	const stored = `"msg":"batch stored"`
	if a, b, c := strings.Count(one.log.String(), stored), strings.Count(two.log.String(), stored), strings.Count(door.log.String(), stored); a == 0 || b == 0 || c != 0 {
		t.Errorf("batches stored by the workers: %d and %d; by the api process: %d", a, b, c)
	}
}

// crashable is a PostgreSQL server of the test's own, and how to crash it.
func crashable(t *testing.T) (url string, crash func()) {
	t.Helper()
	server := exec.Command("scripts/with-postgres", "sh", "-c", `echo "$TIDEMARK_TEST_POSTGRES"; echo "$TIDEMARK_TEST_POSTGRES_CRASH"; read end`)
	server.Stderr = os.Stderr
	in, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		server.Wait() // read fails, which is how it ends
	})
	lines := bufio.NewScanner(out)
	lines.Scan()
	url = lines.Text()
	if !lines.Scan() {
		t.Fatalf("no server: %v", lines.Err())
	}
	command := lines.Text()
	return url, func() {
		t.Helper()
		if text, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
}

func (c *child) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func TestWorkers_SurviveADeathAPauseAndACrashOfTheDatabase(t *testing.T) {
	t.Parallel() // most of it is waiting
	pairs := number(t, "TIDEMARK_TEST_PAIRS", 150)
	url, crash := crashable(t)
	_, exchange := market(t, simulated.Options{Pairs: pairs, Latency: 600 * time.Millisecond})
	environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + url, "ANALYSIS_BATCH_SIZE=5", shortSeries}
	door := spawn(t, append(environ, "ROLE=api")...)
	var workers [3]*child
	for i := range workers {
		workers[i] = spawn(t, append(environ, "ROLE=worker")...)
	}
	dies, pauses, lives := workers[0], workers[1], workers[2]
	var j jobReply
	if status := door.post(t, `{"all":true}`, &j); status != http.StatusAccepted {
		t.Fatalf("asking for a sweep: %d", status)
	}
	stored := func(c *child) int { return strings.Count(c.log.String(), `"msg":"batch stored"`) }
	for _, c := range workers {
		door.waitFor(t, j.ID, func(jobReply) bool { return stored(c) > 0 })
	}
	dies.kill()
	pauses.signal(t, syscall.SIGSTOP)
	stopped := stored(pauses)
	j = door.waitFor(t, j.ID, func(jobReply) bool { return strings.Contains(lives.log.String(), "given back to the queue") })
	time.Sleep(4 * time.Second) // the beats of both may have ended two seconds apart: by now both are taken for dead
	crash()
	for deadline := time.Now().Add(2 * time.Minute); door.get(t, "/readyz", nil) != http.StatusOK; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the database does not come back")
		}
	}
	pauses.signal(t, syscall.SIGCONT)
	j = door.waitFor(t, j.ID, ended)
	if j.State != job.Completed || j.Done+j.Failed+j.Skipped != j.Total || j.Done < pairs || j.BatchesDone != j.Batches || len(j.Failures) != j.Failed {
		t.Errorf("the sweep ended as %+v", j)
	}
	if n := door.pairs(t); n != j.Done {
		t.Errorf("%d pairs are stored, the job says %d", n, j.Done)
	}
	t.Logf("%d pairs in %.1f s; batches stored: %d by the worker that died, %d by the one that paused, %d of them before, %d by the third",
		j.Done, j.FinishedAt.Sub(j.StartedAt).Seconds(), stored(dies), stored(pauses), stopped, stored(lives))
}

func TestProcesses_CancelReachesThem(t *testing.T) {
	t.Parallel()
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			truth, exchange := market(t, simulated.Options{Pairs: 300, Latency: 100 * time.Millisecond})
			environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + url(t), shortSeries}
			works := spawn(t, append(environ, "ROLE=worker")...)
			door := spawn(t, append(environ, "ROLE=api")...)
			var j jobReply
			door.post(t, `{"all":true}`, &j)
			door.waitFor(t, j.ID, func(j jobReply) bool { return j.Done > 0 })
			req, err := http.NewRequest(http.MethodDelete, door.base+"/jobs/"+j.ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if status := decode(t, res, &j); status != http.StatusOK || j.State != job.Cancelled {
				t.Errorf("cancelling: %d %+v", status, j)
			}
			// the worker rests when two looks a second apart find the same
			for before, deadline := "", time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
				now := fmt.Sprint(truth.Stats().Requests)
				if now == before {
					break
				}
				if before = now; time.Now().After(deadline) {
					t.Fatal("the worker goes on")
				}
			}
			if j = door.waitFor(t, j.ID, ended); j.State != job.Cancelled || j.Done == 0 || j.Done >= 300 || door.pairs(t) != j.Done {
				t.Errorf("ended as %+v with %d pairs stored", j, door.pairs(t))
			}
			if status := works.get(t, "/jobs", nil); status != http.StatusNotFound {
				t.Errorf("a worker answers /jobs with %d", status)
			}
			for _, path := range []string{"/healthz", "/readyz"} {
				if status := works.get(t, path, nil); status != http.StatusOK {
					t.Errorf("a worker answers %s with %d", path, status)
				}
			}
		})
	}
}
