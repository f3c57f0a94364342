package e2e

// These tests fill a real, small disk during a sweep: the sweep pauses, every interface
// reports it, nothing is fetched meanwhile, and the sweep continues when space is free.

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"tidemark/exchange/simulated"
	"tidemark/job"
)

// smallDisk mounts one of so many bytes, which belongs to an account.
func smallDisk(t *testing.T, bytes int, account string) (folder string) {
	t.Helper()
	owner, err := user.Lookup(account)
	if err != nil {
		t.Fatal(err)
	}
	if folder, err = os.MkdirTemp("", "tidemark-disk-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	options := "mode=0700,size=" + strconv.Itoa(bytes) + ",uid=" + owner.Uid + ",gid=" + owner.Gid
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, options); err != nil {
		t.Fatalf("mounting a small disk, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return folder
}

// fill takes all the room of a folder's disk, and returns how to give it back.
func fill(t *testing.T, folder string) (empty func()) {
	t.Helper()
	name := filepath.Join(folder, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(page)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

func TestServe_AFullDiskStopsASweepUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, database := range map[string]func(t *testing.T) (url, folder string){
		"sqlite": func(t *testing.T) (string, string) {
			folder := smallDisk(t, 16*mib, "root")
			return "sqlite://" + filepath.Join(folder, "levels.db"), folder
		},
		"postgres": func(t *testing.T) (string, string) {
			account := "postgres" // as scripts/with-postgres runs it under root
			folder := smallDisk(t, 64*mib, account)
			url := postgresURL(t)
			space := "small_" + strconv.FormatInt(time.Now().UnixNano(), 10)
			admin, err := sqlx.Connect("postgres", url)
			if err != nil {
				t.Fatal(err)
			}
			defer admin.Close()
			// dropped with the server, as the schema in it is dropped before
			admin.MustExec(`CREATE TABLESPACE ` + space + ` LOCATION '` + folder + `'`)
			return url + "&default_tablespace=" + space, folder
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			url, folder := database(t)
			_, exchange := market(t, simulated.Options{Pairs: 150, Latency: 50 * time.Millisecond})
			r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+url, "ANALYSIS_BATCH_SIZE=10", "ANALYSIS_KLINE_LIMIT=500")
			fetched := func() int {
				t.Helper()
				m := regexp.MustCompile(`tidemark_exchange_requests_total\{endpoint="klines",exchange="simulated",status="200"\} (\d+)`).FindStringSubmatch(r.metrics(t))
				if m == nil {
					return 0
				}
				n, _ := strconv.Atoi(m[1])
				return n
			}
			full := func(want string) {
				t.Helper()
				if !strings.Contains(r.metrics(t), "\ntidemark_storage_full "+want+"\n") {
					t.Errorf("tidemark_storage_full is not %s", want)
				}
			}
			var j jobReply
			if status := r.post(t, `{"all":true}`, &j); status != http.StatusAccepted {
				t.Fatalf("asking for a sweep: %d", status)
			}
			r.waitFor(t, j.ID, func(j jobReply) bool { return j.Done >= 20 })
			full("0")
			empty := fill(t, folder)
			var problem struct{ Detail string }
			for deadline := time.Now().Add(2 * time.Minute); r.get(t, "/readyz", &problem) != http.StatusServiceUnavailable; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("/readyz does not notice\n%s", r.log)
				}
			}
			if !strings.Contains(problem.Detail, "disk of the database is full") {
				t.Errorf("/readyz says %q", problem.Detail)
			}
			full("1")
			if status := r.post(t, `{"symbol":"BTCUSDT"}`, &problem); status != http.StatusServiceUnavailable || !strings.Contains(problem.Detail, "is full") {
				t.Errorf("asking for an analysis: %d, %q", status, problem.Detail)
			}
			before, lines := fetched(), strings.Count(r.log.String(), "\n")
			time.Sleep(12 * time.Second) // several probes
			// the pairs that were under way
			if n := fetched() - before; n > 3 {
				t.Errorf("%d requests for klines while nothing can be stored", n)
			}
			if n := strings.Count(r.log.String(), "\n") - lines; n > 20 {
				t.Errorf("%d lines in the log of 12 s of waiting\n%s", n, r.log)
			}
			if status := r.get(t, "/jobs/"+j.ID, &j); status != http.StatusOK || j.State != job.Running {
				t.Errorf("the job: %d, %+v", status, j)
			}
			if n := r.pairs(t); n < 20 {
				t.Errorf("%d pairs are served meanwhile, want those stored before", n)
			}

			empty()
			j = r.waitFor(t, j.ID, ended)
			if j.State != job.Completed || j.Done+j.Failed+j.Skipped != j.Total || j.Done < 120 || j.Done != r.pairs(t) {
				t.Errorf("ended as %+v with %d pairs", j, r.pairs(t))
			}
			if status := r.get(t, "/readyz", nil); status != http.StatusOK {
				t.Errorf("/readyz: %d", status)
			}
			full("0")
		})
	}
}

// A file that is deleted, or replaced, under the process: nothing more goes into what
// is lost when the process ends.
func TestServe_ADatabaseFileThatIsGoneIsNoticed(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "levels.db")
	_, exchange := market(t, simulated.Options{Pairs: 20})
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL=sqlite://"+file)
	r.sweepTo(t)
	pairs := r.pairs(t)
	for name, change := range map[string]func() error{
		"deleted": func() error { return os.Rename(file, file+".away") },
		"replaced": func() error {
			return errors.Join(os.Rename(file, file+".away"), exec.Command("cp", file+".away", file).Run())
		},
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		var problem struct{ Detail string }
		if status := r.get(t, "/readyz", &problem); status != http.StatusServiceUnavailable || !strings.Contains(problem.Detail, "was deleted or replaced") {
			t.Errorf("%s: /readyz %d, %q", name, status, problem.Detail)
		}
		for _, body := range []string{`{"symbol":"BTCUSDT"}`, `{"all":true}`} {
			if status := r.post(t, body, &problem); status != http.StatusServiceUnavailable {
				t.Errorf("%s: %s is answered %d", name, body, status)
			}
		}
		if n := r.pairs(t); n != pairs {
			t.Errorf("%s: %d pairs can be read, want %d", name, n, pairs)
		}
		if err := os.Rename(file+".away", file); err != nil {
			t.Fatal(err)
		}
		if status := r.get(t, "/readyz", nil); status != http.StatusOK {
			t.Errorf("/readyz once the file is back: %d", status)
		}
	}
	if n := strings.Count(r.log.String(), "nothing is stored any more"); n != 2 {
		t.Errorf("logged %d times, want once each", n)
	}
	if status := r.post(t, `{"all":true}`, nil); status != http.StatusAccepted {
		t.Errorf("a sweep once the file is back: %d", status)
	}
}
