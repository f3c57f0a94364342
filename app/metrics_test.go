package app

// These tests pin the metrics of the queue and of the scorecard: they have the stored
// values, only those of this version and market, and are omitted when they are unknown.

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/repository"
	"tidemark/scorecard"
	"tidemark/service"
)

func TestQueueCollector_ShowsNothingItDoesNotKnow(t *testing.T) {
	db, err := repository.Open(t.Context(), repository.Config{URL: "sqlite://" + t.TempDir() + "/levels.db", PoolSize: 1, History: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.SubmitJob(t.Context(), job.Job{Exchange: "binance", ID: "j", State: job.Queued}, "work", job.Scope{}, 10); err != nil {
		t.Fatal(err)
	}
	if n := testutil.CollectAndCount(&queueCollector{db: db}, "tidemark_queue_pieces", "tidemark_queue_oldest_waiting_seconds"); n != 4 {
		t.Errorf("%d numbers of the queue, want 3 states and the longest wait", n)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c := &queueCollector{db: db}
	if n := testutil.CollectAndCount(c, "tidemark_queue_pieces", "tidemark_queue_oldest_waiting_seconds"); n != 0 {
		t.Errorf("%d numbers of a queue that cannot be read", n)
	}
	if n := testutil.CollectAndCount(c, "tidemark_queue_retries_total", "tidemark_queue_rescued_total"); n != 2 {
		t.Errorf("%d counters of this process, want 2", n)
	}
}

func TestScorecardCollector_ShowsTheOddsOfThisProgramInItsMarket(t *testing.T) {
	db, err := repository.Open(t.Context(), repository.Config{URL: "sqlite://" + t.TempDir() + "/levels.db", PoolSize: 1, History: 1})
	if err != nil {
		t.Fatal(err)
	}
	asOf := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	for i, judgement := range []scorecard.Judgement{
		{Algorithm: levels.Algorithm, Table: levels.OddsVersion()},
		{Algorithm: levels.Algorithm, Table: levels.OddsVersion(), Skipped: "a hole"},
		{Algorithm: levels.Algorithm, Table: levels.OddsVersion(), Simulated: true},
		{Algorithm: levels.Algorithm, Table: "another"},
		{Algorithm: "another", Table: levels.OddsVersion()},
		{},
	} {
		j := service.Judged{Key: service.Key{Exchange: "binance", Symbol: fmt.Sprint("P", i), Interval: "1h"}, Judgement: judgement}
		j.AsOf = asOf
		if j.Skipped == "" {
			j.Touch[3] = scorecard.Score{Samples: 4, Realised: 1, Promised: 1.5, SquaredError: 0.5}
			j.Touch[7] = scorecard.Score{Samples: 4, Realised: 3, Promised: 3, SquaredError: 0.75}
			j.Hold[5] = scorecard.Score{Samples: 2, Realised: 1, Promised: 0.875, SquaredError: 0.25}
		}
		err := db.Put(t.Context(), service.Results{Snapshots: []service.Snapshot{{
			Key: j.Key, AsOf: asOf, ComputedAt: asOf, ATR: 1, LastPrice: 2, Algorithm: levels.Algorithm, Supports: []levels.Level{{Price: 1, HoldProbability: 0.4}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if j.Algorithm == "" {
			continue // it stays open
		}
		if err := db.Put(t.Context(), service.Results{Judged: []service.Judged{j}}); err != nil {
			t.Fatal(err)
		}
	}
	c := &scorecardCollector{db: db, markets: func() []service.Market { return []service.Market{{Exchange: "binance"}} }}
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	got := rec.Body.String()
	for _, line := range []string{
		`outcomes_total{exchange="binance",interval="1h",kind="hold"} 2`, `outcomes_total{exchange="binance",interval="1h",kind="touch"} 8`,
		`realised_total{exchange="binance",interval="1h",kind="hold"} 1`, `realised_total{exchange="binance",interval="1h",kind="touch"} 4`,
		`promised_total{exchange="binance",interval="1h",kind="hold"} 0.875`, `promised_total{exchange="binance",interval="1h",kind="touch"} 4.5`,
		`squared_error_total{exchange="binance",interval="1h",kind="hold"} 0.25`, `squared_error_total{exchange="binance",interval="1h",kind="touch"} 1.25`,
		`promises_total{exchange="binance",interval="1h",outcome="judged"} 1`, `promises_total{exchange="binance",interval="1h",outcome="skipped"} 1`,
		`open_promises{exchange="binance",interval="1h"} 1`, `outcomes_total{exchange="binance",interval="4h",kind="hold"} 0`,
	} {
		if !strings.Contains(got, "tidemark_scorecard_"+line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if t.Failed() {
		t.Logf("it says\n%s", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c.read = time.Time{}
	if n := testutil.CollectAndCount(c); n != 0 {
		t.Errorf("%d numbers of a scorecard that cannot be read", n)
	}
}
