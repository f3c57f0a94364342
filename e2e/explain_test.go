package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/command"
	"tidemark/exchange/simulated"
)

// These tests pin that every stored level can be explained on real databases,
// after a sweep and after one that only fetched what is new, and what the command
// prints.

type explanationReply struct {
	Role  string
	Level struct {
		ID       string
		Price    float64
		Touches  int
		Sources  []string
		Hold     *float64 `json:"hold_probability"`
		Baseline *float64 `json:"baseline_hold_probability"`
	}
	Tests   []struct{ Outcome string }
	Touches []struct{ Outcome string }
	Sources []struct{ Name string }
	Factors []struct {
		Name, Text string
		Effect     float64
	}
}

func TestLevels_AreExplainedOnBothDatabases(t *testing.T) {
	t.Parallel()
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var later atomic.Int64
			truth, exchange := market(t, simulated.Options{Pairs: 6, Now: func() time.Time {
				return time.Now().Truncate(time.Hour).Add(30*time.Minute + time.Duration(later.Load()))
			}})
			environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + url(t)}
			for _, hours := range []time.Duration{0, 1, 30} {
				later.Add(int64(hours * time.Hour))
				r := serve(t, environ...)
				r.sweepTo(t)
				asked := truth.Stats().Requests["klines"]
				explained := 0
				for _, p := range truth.Pairs() {
					var a analysisReply
					if p.Kind != simulated.Healthy || r.get(t, "/levels/"+p.Symbol, &a) != http.StatusOK {
						continue
					}
					for role, side := range map[string]int{"support": len(a.Supports), "resistance": len(a.Resistances)} {
						for i := range min(side, 2) {
							l := a.Resistances
							if role == "support" {
								l = a.Supports
							}
							var e explanationReply
							if status := r.get(t, "/levels/"+p.Symbol+"/"+l[i].ID, &e); status != http.StatusOK {
								t.Fatalf("%v hours later %s %s: %d", hours, p.Symbol, l[i].ID, status)
							}
							explained++
							if e.Role != role || e.Level.ID != l[i].ID || e.Level.Price != l[i].Price || len(e.Touches) != e.Level.Touches || len(e.Sources) != len(e.Level.Sources) {
								t.Errorf("%s: %+v explained as %+v", p.Symbol, l[i], e)
							}
							if sum := hundredths(e); e.Level.Hold != nil && fmt.Sprintf("%.4f", *e.Level.Baseline+sum/1e4) != fmt.Sprintf("%.4f", *e.Level.Hold) {
								t.Errorf("%s: effects of %v hundredths take %v to %v", p.Symbol, sum, *e.Level.Baseline, *e.Level.Hold)
							}
						}
					}
				}
				if explained < 10 {
					t.Errorf("only %d levels were explained", explained)
				}
				if now := truth.Stats().Requests["klines"]; now != asked {
					t.Errorf("explaining made %d requests for klines", now-asked)
				}
				r.end(t)
			}
		})
	}
}

func hundredths(e explanationReply) float64 {
	sum := 0.0
	for _, f := range e.Factors {
		sum += 100 * f.Effect
	}
	return sum
}

func TestCommands_ExplainALevel(t *testing.T) {
	_, exchange := market(t, simulated.Options{Pairs: 6})
	environ := []string{"EXCHANGE=simulated", "EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + sqliteURL(t)}
	code, out, errs := execute(t, environ, "analyze", "BTCUSDT", "--json")
	var a analysisReply
	if err := json.Unmarshal([]byte(out), &a); code != 0 || err != nil || len(a.Supports)+len(a.Resistances) == 0 {
		t.Fatalf("analyze: %d %v %s%s", code, err, out, errs)
	}
	id := slices.Concat(a.Supports, a.Resistances)[0].ID
	code, out, errs = execute(t, environ, "levels", "BTCUSDT", "--explain", id, "--json")
	var e explanationReply
	if err := json.Unmarshal([]byte(out), &e); code != 0 || err != nil || e.Level.ID != id || len(e.Factors) == 0 {
		t.Fatalf("--explain --json: %d %v %s%s", code, err, out, errs)
	}
	code, out, errs = execute(t, environ, "levels", "btc-usdt", "--explain", id)
	if code != 0 || !strings.HasPrefix(out, "SIMULATED simulated BTCUSDT 1h as of ") {
		t.Errorf("--explain: %d %s%s", code, out, errs)
	}
	for _, f := range e.Factors {
		if line := fmt.Sprintf("%+.2f  %s\n", f.Effect, f.Text); !strings.Contains(out, line) {
			t.Errorf("%q is not in\n%s", line, out)
		}
	}
	for _, s := range e.Sources {
		if !strings.Contains(out, "\n  "+s.Name+" ") {
			t.Errorf("%s is not in\n%s", s.Name, out)
		}
	}
	if !strings.Contains(out, fmt.Sprintf("Tests (%d", len(e.Tests))) {
		t.Errorf("%d tests are not told in\n%s", len(e.Tests), out)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--explain", "nothing"}, command.ExitUsage, "16 hexadecimal digits"},
		{[]string{"--explain", id, "--csv"}, command.ExitUsage, "--csv"},
		{[]string{"--explain", "00000000000000ab"}, command.ExitFailed, "has no level 00000000000000ab"},
		{[]string{"--explain", id, "--at", "2020-01-01T00:00:00Z"}, command.ExitFailed, "as of 2020-01-01T00:00:00Z or earlier is stored"},
	} {
		if code, _, errs := execute(t, environ, append([]string{"levels", "BTCUSDT"}, c.args...)...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d %s", c.args, code, errs)
		}
	}
}
