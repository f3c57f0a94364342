package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"tidemark/job"
	"tidemark/service"
	"tidemark/wire"
)

const (
	// eventInterval is the shortest time between two events of a stream.
	eventInterval = 250 * time.Millisecond
	// heartbeat is the time between two keep-alives of a stream, below the idle limits
	// of common proxies.
	heartbeat = 15 * time.Second
)

// jobID returns the id in the path of r. An id in another form names no job.
func jobID(r *http.Request) (string, error) {
	id := chi.URLParam(r, "id")
	if !saneID(id) {
		return "", fmt.Errorf("%w: %q", service.ErrUnknownJob, clip(id))
	}
	return id, nil
}

// jobsBytes is the memory of a hundred jobs, or of one with the outcomes of a market's
// pairs.
const jobsBytes = 128 << 10

// getJobs serves GET /jobs with the newest jobs.
func (a *API) getJobs(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "exchange", "limit")
	if err != nil {
		return err
	}
	limit, err := q.integer("limit", 1, 100, 20)
	if err != nil {
		return err
	}
	exchange := ""
	if q.get("exchange") != "" {
		if exchange, err = q.exchange(a); err != nil {
			return err
		}
	}
	if err := a.hold(r.Context(), w, jobsBytes); err != nil {
		return err
	}
	jobs, err := a.Store.Jobs(r.Context(), exchange, limit)
	if err != nil {
		return err
	}
	list := wire.JobList{Jobs: make([]wire.JobSummary, len(jobs))}
	for i := range jobs {
		list.Jobs[i] = *summaryOf(&jobs[i])
	}
	return sendJSON(w, &list)
}

// getSchedules serves GET /schedules: when sweeps start on schedule. It reads the
// schedules from the database, so every process answers the same.
func (a *API) getSchedules(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "exchange")
	if err != nil {
		return err
	}
	exchanges, err := q.exchanges(a)
	if err != nil {
		return err
	}
	var schedules []job.ScheduleState
	for _, exchange := range exchanges {
		of, err := a.Store.Schedules(r.Context(), exchange)
		if err != nil {
			return err
		}
		schedules = append(schedules, of...)
	}
	list := wire.ScheduleList{Schedules: make([]wire.Schedule, len(schedules))}
	for i, s := range schedules {
		list.Schedules[i] = wire.Schedule{
			Exchange: s.Exchange, Interval: string(s.Interval), Schedule: s.Text,
			NextRun: wire.Moment(s.NextRun), LastRun: momentOrNil(s.LastRun), LastJob: stringOrNil(s.LastJob),
		}
	}
	return sendJSON(w, &list)
}

// sendJSON sends a reply that clients must revalidate.
func sendJSON(w *reply, v any) error {
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["Cache-Control"] = noStore
	return write(w, append(appendJSON(nil, v), '\n'))
}

// getJob serves GET /jobs/{id}.
func (a *API) getJob(w *reply, r *http.Request) error {
	return a.sendJob(w, r, a.Store.Job)
}

// deleteJob serves DELETE /jobs/{id}: it asks the job to stop.
func (a *API) deleteJob(w *reply, r *http.Request) error {
	return a.sendJob(w, r, a.Jobs.Cancel)
}

func (a *API) sendJob(w *reply, r *http.Request, get func(context.Context, string) (job.Job, error)) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	id, err := jobID(r)
	if err != nil {
		return err
	}
	if err := a.hold(r.Context(), w, jobsBytes); err != nil {
		return err
	}
	j, err := get(r.Context(), id)
	if err != nil {
		return err
	}
	return sendJSON(w, a.jobOf(&j))
}

// eventID identifies the state of a job: equal ids mean equal events.
func eventID(j *job.Job) string {
	return fmt.Sprintf("%s-%d-%d-%d-%d", j.State, j.Symbols, j.Done, j.Failed, j.BatchesDone)
}

// getJobEvents serves GET /jobs/{id}/events: one event for each change of the job, until
// it has ended. Browsers reconnect by themselves; after the last event, status 204
// makes them stop.
func (a *API) getJobEvents(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	id, err := jobID(r)
	if err != nil {
		return err
	}
	j, err := a.Store.Progress(r.Context(), id)
	if err != nil {
		return err
	}
	seen := r.Header.Get("Last-Event-Id")
	if j.State.Final() && seen == eventID(&j) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	done, err := a.openStream("ask for the job itself")
	if err != nil {
		return err
	}
	defer done()
	h := w.Header()
	h["Content-Type"] = contentEvents
	h["Cache-Control"] = noStore
	h["X-Accel-Buffering"] = []string{"no"} // disables buffering in nginx
	if r.Method == http.MethodHead {
		return nil
	}
	w.wait(r)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	type change struct {
		job job.Job
		err error
	}
	changes := make(chan change)
	go func() {
		defer close(changes)
		for j, err := range a.Jobs.Watch(ctx, id, eventInterval) {
			select {
			case changes <- change{j, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	b := append(make([]byte, 0, 1024), "retry: 2000\n\n"...)
	for {
		w.deadline(writeTimeout)
		if _, err := w.Write(b); err != nil {
			return nil // the client went away
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return nil
		}
		beat := time.NewTimer(heartbeat)
		select {
		case c, open := <-changes:
			switch {
			case !open:
				return nil
			case c.err != nil:
				return fmt.Errorf("watching job %s: %w", id, c.err)
			}
			if b = b[:0]; eventID(&c.job) != seen {
				seen = eventID(&c.job)
				b = appendEvent(b, seen, &c.job)
			}
		case <-beat.C:
			b = append(b[:0], ": still here\n\n"...)
		case <-w.keys.over:
			return nil
		case <-ctx.Done():
			return nil
		}
		beat.Stop()
	}
}

var contentEvents = []string{"text/event-stream"}

// appendEvent appends a job as one server-sent event (WHATWG HTML, section 9.2).
func appendEvent(b []byte, id string, j *job.Job) []byte {
	b = append(b, "event: job\nid: "...)
	b = append(b, id...)
	b = append(b, "\ndata: "...)
	b = appendJSON(b, summaryOf(j))
	return append(b, "\n\n"...)
}

// getHealth serves GET /healthz: the process serves. It does not ask the database, so
// that an orchestrator does not restart the process when the database is down.
func (a *API) getHealth(w *reply, _ *http.Request) error {
	return sendJSON(w, &wire.Health{Status: "ok", Version: a.Version})
}

// readyTimeout bounds the wait for the database.
const readyTimeout = 1500 * time.Millisecond

// readiness pings the database, one ping at a time.
type readiness struct {
	mu      sync.Mutex
	pending *ping // the ping in progress, or nil
}

type ping struct {
	done chan struct{} // closed once err is set
	err  error
}

// ready returns nil if the database answers within readyTimeout. It does not wait
// longer even if the call to the database does not return.
func (a *API) ready(ctx context.Context) error {
	a.readiness.mu.Lock()
	q := a.readiness.pending
	if q == nil {
		q = &ping{done: make(chan struct{})}
		a.readiness.pending = q
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
			defer cancel()
			q.err = a.Store.Ping(ctx)
			a.readiness.mu.Lock()
			a.readiness.pending = nil
			a.readiness.mu.Unlock()
			close(q.done)
		}()
	}
	a.readiness.mu.Unlock()
	timer := time.NewTimer(readyTimeout)
	defer timer.Stop()
	select {
	case <-q.done:
		return q.err
	case <-timer.C:
		return context.DeadlineExceeded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// getReady serves GET /readyz: the database answers too, and can store. The exchange is
// named but not asked: stored levels are served without it.
func (a *API) getReady(w *reply, r *http.Request) error {
	if err := a.ready(r.Context()); err != nil {
		return fmt.Errorf("%w: %w", service.ErrStorage, err)
	}
	ready := wire.Ready{Status: "ready", Database: "ok", Exchange: strings.Join(a.markets, ",")}
	for _, m := range a.Analyzer.Markets() {
		ready.Simulated = ready.Simulated || m.Simulated
	}
	return sendJSON(w, &ready)
}
