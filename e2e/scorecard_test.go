package e2e

// This test pins the live scorecard of a whole service: after a horizon of candles, the
// next sweep judges the odds of all levels, and /metrics and GET /calibration report the
// outcomes.

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/exchange/simulated"
	"tidemark/job"
	"tidemark/levels"
)

func TestSweep_JudgesTheLevelsOfAHorizonAgo(t *testing.T) {
	t.Parallel()
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			var later atomic.Int64
			begin := time.Now().Truncate(time.Hour).Add(30 * time.Minute) // in the middle of a candle
			_, exchange := market(t, simulated.Options{Pairs: 40, Now: func() time.Time { return begin.Add(time.Duration(later.Load())) }})
			environ := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + url(t)}
			type score struct{ Promised, Realised *float64 }
			var told struct {
				Intervals []struct {
					Live struct {
						Waiting    int
						Scorecards []struct {
							Current, Simulated                               bool
							Moments, Skipped, Levels, Touched, Decided, Held int
							Hold, Touch                                      score
						}
					}
				}
			}
			// each in a process that has just begun, and so knows the venue's clock
			sweep := func() (done int, metrics string) {
				t.Helper()
				r := serve(t, environ...)
				j := r.sweepTo(t)
				if j.State != job.Completed {
					t.Fatalf("%+v", j)
				}
				if status := r.get(t, "/calibration?interval=1h", &told); status != http.StatusOK || len(told.Intervals) != 1 {
					t.Fatalf("GET /calibration: %d %+v", status, told)
				}
				metrics = r.metrics(t)
				r.end(t)
				return j.Done, metrics
			}

			done, metrics := sweep()
			waiting := told.Intervals[0].Live.Waiting
			if waiting < done/2 || waiting > done || len(told.Intervals[0].Live.Scorecards) != 0 {
				t.Fatalf("of %d analyses %d wait to be judged, and there are %+v", done, waiting, told.Intervals[0].Live.Scorecards)
			}
			if line := fmt.Sprintf("tidemark_scorecard_open_promises{exchange=\"simulated\",interval=\"1h\"} %d\n", waiting); !strings.Contains(metrics, line) {
				t.Errorf("/metrics does not say %s", line)
			}

			later.Store(int64((levels.Horizon - 1) * time.Hour))
			if sweep(); len(told.Intervals[0].Live.Scorecards) != 0 {
				t.Fatalf("judged before the horizon has passed: %+v", told.Intervals[0].Live.Scorecards)
			}

			later.Store(int64(levels.Horizon * time.Hour))
			_, metrics = sweep()
			live := told.Intervals[0].Live
			if len(live.Scorecards) != 1 {
				t.Fatalf("scorecards: %+v", live.Scorecards)
			}
			c := live.Scorecards[0]
			t.Logf("%d waited; %+v; hold odds %.3f, held %.3f; touch odds %.3f, touched %.3f", waiting, c,
				*c.Hold.Promised, *c.Hold.Realised, *c.Touch.Promised, *c.Touch.Realised)
			if !c.Current || !c.Simulated || c.Moments < waiting/2 || c.Moments+c.Skipped > waiting {
				t.Errorf("of %d analyses %d were judged and %d skipped", waiting, c.Moments, c.Skipped)
			}
			if c.Levels < 2*c.Moments || c.Touched > c.Levels || c.Decided > c.Touched || c.Held > c.Decided || c.Held == 0 || c.Touched == c.Levels {
				t.Errorf("%+v", c)
			}
			for _, line := range []string{
				fmt.Sprintf(`outcomes_total{exchange="simulated",interval="1h",kind="touch"} %d`, c.Levels),
				fmt.Sprintf(`realised_total{exchange="simulated",interval="1h",kind="touch"} %d`, c.Touched),
				fmt.Sprintf(`outcomes_total{exchange="simulated",interval="1h",kind="hold"} %d`, c.Decided),
				fmt.Sprintf(`realised_total{exchange="simulated",interval="1h",kind="hold"} %d`, c.Held),
				fmt.Sprintf(`promises_total{exchange="simulated",interval="1h",outcome="judged"} %d`, c.Moments),
			} {
				if !strings.Contains(metrics, "tidemark_scorecard_"+line+"\n") {
					t.Errorf("/metrics does not say %s", line)
				}
			}
			told.Intervals = nil
			if sweep(); told.Intervals[0].Live.Scorecards[0].Moments != c.Moments {
				t.Error("a sweep of the same candles judged again")
			}
		})
	}
}
