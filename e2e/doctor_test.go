package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark/command"
	"tidemark/exchange/simulated"
)

// These tests pin what the doctor says of what is broken: the database, the
// exchange's clock, a ban, the memory, and that it changes nothing meanwhile.

// doctor returns the findings by their check.
// doctorFinding is a line of doctor --json.
type doctorFinding struct{ Check, Verdict, Text, Advice string }

func doctor(t *testing.T, environ ...string) (code int, findings map[string]doctorFinding) {
	t.Helper()
	code, out, errs := execute(t, append(environ, "EXCHANGE=simulated"), "doctor", "--json", "--http-addr", "127.0.0.1:0")
	var r struct {
		Healthy  bool
		Findings []doctorFinding
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Healthy != (code == 0) {
		t.Fatalf("doctor: %d %v %s%s", code, err, out, errs)
	}
	findings = map[string]doctorFinding{}
	for _, f := range r.Findings {
		findings[f.Check] = f
		if (f.Advice == "") != (f.Verdict == "ok") {
			t.Errorf("%+v: advice must be present exactly if the verdict is not ok", f)
		}
	}
	return code, findings
}

func TestDoctor_FindsNothingWrongWhereNothingIs(t *testing.T) {
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			_, exchange := market(t, simulated.Options{})
			environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + url(t)}
			serve(t, environ...).end(t) // makes the schema
			code, found := doctor(t, environ...)
			for check, f := range found {
				if f.Verdict != "ok" {
					t.Errorf("%s: %+v", check, f)
				}
			}
			if code != 0 || !strings.Contains(found["exchange"].Text, "SIMULATED") || !strings.Contains(found["database"].Text, "schema version 12") {
				t.Errorf("%d %+v", code, found)
			}
		})
	}
}

func TestDoctor_ADatabaseThatIsNotThereIsNotMade(t *testing.T) {
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			database := url(t)
			for range 2 { // the first left no trace for the second
				_, found := doctor(t, "DATABASE_URL="+database)
				text := found["database"].Text
				if f := found["database"]; f.Verdict != "ok" || !strings.Contains(text, "does not exist yet") && !strings.Contains(text, "schema version 0; the next start") {
					t.Errorf("%+v", f)
				}
			}
			if file, ok := strings.CutPrefix(database, "sqlite://"); ok {
				if _, err := os.Stat(file); err == nil {
					t.Error("the doctor made the file")
				}
			}
		})
	}
}

func TestDoctor_SaysWhatIsBroken(t *testing.T) {
	t.Parallel()
	noDatabase := filepath.Join(t.TempDir(), "text.db")
	if err := os.WriteFile(noDatabase, []byte(strings.Repeat("no database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	skewed := func(by time.Duration) string {
		_, exchange := market(t, simulated.Options{Now: func() time.Time { return time.Now().Add(by) }})
		return "EXCHANGE_BASE_URL=" + exchange
	}
	replay, err := simulated.ReadReplay(recordedHours(t, "BTCUSDT", 300))
	if err != nil {
		t.Fatal(err)
	}
	_, replayed := market(t, simulated.Options{Replay: replay, Now: replay.Clock(10, 1)})
	for name, test := range map[string]struct {
		environ, check string
		verdict        string
		says           string
	}{
		"no folder":             {"DATABASE_URL=sqlite:///nowhere/levels.db", "database", "fail", "/nowhere does not exist"},
		"no database":           {"DATABASE_URL=sqlite://" + noDatabase, "database", "fail", "is not a SQLite database"},
		"no server":             {"DATABASE_URL=postgres://me:secret@127.0.0.1:1/levels", "database", "fail", "127.0.0.1:1"},
		"no exchange":           {"EXCHANGE_BASE_URL=http://127.0.0.1:1", "exchange", "fail", "connection refused"},
		"a clock behind":        {skewed(20 * time.Second), "clock", "warn", "20s behind the exchange's"},
		"a clock far ahead":     {skewed(-10 * time.Minute), "clock", "fail", "10m0s ahead of the exchange's"},
		"a replay":              {"EXCHANGE_BASE_URL=" + replayed, "clock", "ok", "the exchange is a replay at 2023-05-"},
		"too little memory":     {"MEMORY_BUDGET=1MiB", "memory", "fail", "the smallest budget that works"},
		"too little for Go":     {"GOMEMLIMIT=1MiB", "GOMEMLIMIT", "warn", "1MiB is less than"},
		"no number for Go":      {"GOMEMLIMIT=1M", "GOMEMLIMIT", "fail", "is not a valid limit"},
		"a misspelled variable": {"ANALYSIS_CONCURENCY=3", "configuration", "fail", "ANALYSIS_CONCURRENCY"},
	} {
		t.Run(name, func(t *testing.T) {
			environ := []string{test.environ}
			if !strings.HasPrefix(test.environ, "DATABASE_URL=") {
				environ = append(environ, "DATABASE_URL="+sqliteURL(t))
			}
			code, found := doctor(t, environ...)
			f := found[test.check]
			if f.Verdict != test.verdict || !strings.Contains(f.Text, test.says) || strings.Contains(fmt.Sprint(found), "secret") {
				t.Errorf("%+v of %+v", f, found)
			}
			if (code == command.ExitFailed) != (test.verdict == "fail") {
				t.Errorf("exit code %d for %s", code, test.verdict)
			}
		})
	}
}

func TestDoctor_DoesNotAskAnExchangeThatHasBannedIt(t *testing.T) {
	faults, err := simulated.ParseFaults("ban=1")
	if err != nil {
		t.Fatal(err)
	}
	truth, exchange := market(t, simulated.Options{Faults: faults})
	environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + sqliteURL(t)}
	r := serve(t, environ...)
	var problem struct{ Code string }
	if status := r.post(t, `{"symbol":"BTCUSDT"}`, &problem); status != http.StatusServiceUnavailable || problem.Code != "banned" {
		t.Fatalf("not banned: %d %+v", status, problem)
	}
	asked := fmt.Sprint(truth.Stats().Requests)
	code, found := doctor(t, environ...)
	if f := found["exchange"]; code != command.ExitFailed || f.Verdict != "fail" || !strings.Contains(f.Text, "has banned this address until") {
		t.Errorf("%d %+v", code, found)
	}
	if now := fmt.Sprint(truth.Stats().Requests); now != asked {
		t.Errorf("the doctor asked: %s, then %s", asked, now)
	}
}

func TestDoctor_KnowsWhoListensAlready(t *testing.T) {
	_, exchange := market(t, simulated.Options{})
	environ := []string{"EXCHANGE=simulated", "EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + sqliteURL(t)}
	r := serve(t, environ...)
	code, out, _ := execute(t, environ, "doctor", "--http-addr", strings.TrimPrefix(r.base, "http://"))
	if code != 0 || !strings.Contains(out, "is ready; a second service needs another address") {
		t.Errorf("a service: %d %s", code, out)
	}
	code, out, _ = execute(t, environ, "doctor", "--http-addr", strings.TrimPrefix(exchange, "http://"))
	if code != command.ExitFailed || !strings.Contains(out, "fail  address") || !strings.Contains(out, "HTTP_ADDR: listen") {
		t.Errorf("something else: %d %s", code, out)
	}
}

// What serve refuses the doctor finds broken, and each says why in the same words.
func TestDoctor_IsNotGreenWhereServeRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, test := range map[string]struct {
		environ []string
		says    string
	}{
		"strangers are served":       {[]string{"HTTP_ADDR=0.0.0.0:0"}, "can be reached from other machines"},
		"a schedule is none":         {[]string{"ANALYSIS_SCHEDULE=soon"}, "ANALYSIS_SCHEDULE"},
		"the address is taken":       {[]string{"HTTP_ADDR=" + taken.Addr().String()}, "HTTP_ADDR: listen"},
		"the address is not here":    {[]string{"HTTP_ADDR=192.0.2.1:80", "ALLOW_ANONYMOUS=true"}, "HTTP_ADDR: listen"},
		"that of profiles is taken":  {[]string{"DEBUG_ADDR=" + taken.Addr().String()}, "DEBUG_ADDR: listen"},
		"no file can be made there":  {[]string{"DATABASE_URL=sqlite:///proc/levels.db"}, "cannot be opened or created"},
		"a folder is no database":    {[]string{"DATABASE_URL=sqlite://" + t.TempDir()}, "is a folder"},
		"no room for one analysis":   {[]string{"MEMORY_BUDGET=16MiB"}, "is too small for one analysis"},
		"a key that can be guessed":  {[]string{"API_KEYS=short"}, "API_KEYS"},
		"a secret that is not there": {[]string{"API_KEYS_FILE=/nowhere/keys"}, "API_KEYS_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			environ := append([]string{"EXCHANGE=simulated", "DATABASE_URL=" + sqliteURL(t), "HTTP_ADDR=127.0.0.1:0"}, test.environ...)
			code, _, errs := execute(t, environ, "serve")
			if code == 0 || !strings.Contains(errs, test.says) {
				t.Errorf("serve: %d %s", code, errs)
			}
			code, out, _ := execute(t, environ, "doctor")
			if code != command.ExitFailed || !strings.Contains(out, test.says) {
				t.Errorf("doctor: %d %s", code, out)
			}
		})
	}
}
