package main

// These tests pin what /metrics says of the queue: how it stands, and nothing
// when that is not known.

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tidemark/repository"
	"tidemark/service"
)

func TestQueueCollector_ShowsNothingItDoesNotKnow(t *testing.T) {
	db, err := repository.Open(t.Context(), repository.Config{URL: sqliteURL(t), PoolSize: 1, History: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.SubmitJob(t.Context(), service.Job{ID: "j", State: service.JobQueued}, "work", nil, 10); err != nil {
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
