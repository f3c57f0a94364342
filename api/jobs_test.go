// Pins the jobs: their list, their cancelling, and the event stream from its
// first event to its end, whichever way that comes.
package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/job"
	"tidemark/service"
)

func TestJobs_AreListedNewestFirst(t *testing.T) {
	h := start(t)
	var ids []string
	for _, s := range []string{"BTCUSDT", "ETHUSDT", "PEPEUSDT"} {
		j := decode[jobJSON](t, h.do("POST", "/analyze", `{"symbols":["`+s+`"]}`))
		finished(t, h, j.ID)
		ids = append(ids, j.ID)
	}
	rec := h.get("/jobs?limit=2")
	want(t, rec, 200)
	list := decode[struct{ Jobs []jobJSON }](t, rec).Jobs
	if len(list) != 2 || list[0].ID != ids[2] || list[1].ID != ids[1] {
		t.Errorf("%v of %v", list, ids)
	}
	for _, bad := range []string{"0", "101", "x"} {
		want(t, h.get("/jobs?limit="+bad), 400)
	}
	want(t, h.get("/jobs?state=running"), 400)
}

func TestSchedules_TellTheNextAndTheLastRun(t *testing.T) {
	h := start(t)
	rec := h.get("/schedules")
	want(t, rec, 200)
	if got := rec.Body.String(); got != `{"schedules":[]}`+"\n" {
		t.Errorf("without schedules: %s", got)
	}
	next := time.Date(2026, 11, 22, 20, 0, 14, 250e6, time.UTC)
	h.store.schedules = []job.ScheduleState{
		{Exchange: "simulated", Interval: "1h", Text: "1h", NextRun: next, LastRun: next.Add(-time.Hour), LastJob: "job1"},
		{Exchange: "simulated", Interval: "1d", Text: "30 6 * * *", NextRun: next},
	}
	rec = h.get("/schedules")
	want(t, rec, 200)
	if got := rec.Body.String(); got != `{"schedules":[`+
		`{"exchange":"simulated","interval":"1h","schedule":"1h","next_run":"2026-11-22T20:00:14.25Z","last_run":"2026-11-22T19:00:14.25Z","last_job":"job1"},`+
		`{"exchange":"simulated","interval":"1d","schedule":"30 6 * * *","next_run":"2026-11-22T20:00:14.25Z","last_run":null,"last_job":null}]}`+"\n" {
		t.Errorf("%s", got)
	}
	want(t, h.get("/schedules?interval=1h"), 400)
	h.store.err = service.ErrStorage
	want(t, h.get("/schedules"), 503)
}

func TestJobs_TellWhatFailedAndWhatWasSkipped(t *testing.T) {
	h := start(t)
	rec := h.do("POST", "/analyze", `{"all":true}`)
	want(t, rec, 202)
	end := finished(t, h, decode[jobJSON](t, rec).ID)
	full := decode[struct {
		SymbolsSkipped int                             `json:"symbols_skipped"`
		Failures       []struct{ Symbol, Code string } `json:"failures"`
		Skips          []struct{ Symbol, Code string } `json:"skips"`
	}](t, h.get("/jobs/"+end.ID))
	if len(full.Failures) != 1 || full.Failures[0].Symbol != "YOUNGUSDT" || full.Failures[0].Code != "too_few_candles" {
		t.Errorf("failures %v", full.Failures)
	}
	if full.SymbolsSkipped != 1 || len(full.Skips) != 1 || full.Skips[0].Symbol != "USDCUSDT" || full.Skips[0].Code != "stable_pair" {
		t.Errorf("skips %v", full.Skips)
	}
}

func TestJobs_AreCancelledOnceAndUnknownOnesAreNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		open := make(chan struct{})
		h.exchange.CandlesFunc = slowly(h, open)
		id := decode[jobJSON](t, h.do("POST", "/analyze", `{"all":true}`)).ID
		synctest.Wait()
		want(t, h.do("DELETE", "/jobs/"+id, ""), 200)
		close(open)
		synctest.Wait()
		if j := decode[jobJSON](t, h.get("/jobs/"+id)); j.State != "cancelled" {
			t.Errorf("%+v", j)
		}
		rec := h.do("DELETE", "/jobs/"+id, "")
		want(t, rec, 409)
		if problemOf(t, rec).Code != "job_finished" {
			t.Errorf("%s", rec.Body)
		}
		for _, id := range []string{"nope", strings.Repeat("x", 65), "a%20b", "%00"} {
			for _, rec := range []*httptest.ResponseRecorder{h.get("/jobs/" + id), h.do("DELETE", "/jobs/"+id, ""), h.get("/jobs/" + id + "/events")} {
				if rec.Code != 404 || problemOf(t, rec).Code != "unknown_job" {
					t.Errorf("%s: %d %s", id, rec.Code, rec.Body)
				}
			}
		}
	})
}

// sent is one server-sent event, or a comment.
type sent struct{ name, id, data, comment, retry string }

// events parses a stream as a browser does.
func events(text string) (list []sent) {
	for block := range strings.SplitSeq(strings.TrimSuffix(text, "\n\n"), "\n\n") {
		var e sent
		for line := range strings.SplitSeq(block, "\n") {
			field, value, _ := strings.Cut(line, ":")
			value = strings.TrimPrefix(value, " ")
			switch field {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data += value
			case "retry":
				e.retry = value
			case "":
				e.comment = value
			}
		}
		list = append(list, e)
	}
	return list
}

func TestEvents_FollowAJobToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *Config, s *service.Config) { s.Concurrency = 1 })
		h.exchange.CandlesFunc = func(ctx context.Context, symbol string, from int64, dst *candles) error {
			time.Sleep(20 * time.Second) // of each pair
			return (&fakeExchange{}).Candles(ctx, symbol, from, dst, nil)
		}
		id := decode[jobJSON](t, h.do("POST", "/analyze", `{"symbols":["BTCUSDT","ETHUSDT","YOUNGUSDT"]}`)).ID
		rec := h.get("/jobs/" + id + "/events")
		want(t, rec, 200)
		if rec.Header().Get("X-Accel-Buffering") != "no" || rec.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%v", rec.Header())
		}
		var done []int
		heartbeats, last := 0, sent{}
		for i, e := range events(rec.Body.String()) {
			switch {
			case i == 0:
				if e.retry == "" {
					t.Errorf("the stream begins with %+v, not with retry", e)
				}
			case e.comment != "":
				heartbeats++
			default:
				var j jobJSON
				if err := json.Unmarshal([]byte(e.data), &j); err != nil || e.name != "job" || j.ID != id || e.id == last.id {
					t.Fatalf("%+v: %v", e, err)
				}
				if strings.Contains(e.data, "failures") {
					t.Error("an event carries what only grows")
				}
				done = append(done, j.SymbolsDone+j.SymbolsFailed)
				last = e
			}
		}
		if heartbeats != 3 { // one in each pause of 20 s
			t.Errorf("%d heartbeats", heartbeats)
		}
		if !strings.Contains(last.data, `"state":"completed"`) || done[0] != 0 || done[len(done)-1] != 3 {
			t.Errorf("done %v, ends with %s", done, last.data)
		}
		for i := 1; i < len(done); i++ {
			if done[i] < done[i-1] {
				t.Errorf("progress goes back: %v", done)
			}
		}
		// a browser reconnects when the stream ends, and is told to leave it
		want(t, h.get("/jobs/"+id+"/events", "Last-Event-ID", last.id), 204)
		// one that missed the end gets it
		if again := events(h.get("/jobs/"+id+"/events", "Last-Event-ID", "running-3-0-0-0").Body.String()); len(again) != 2 || again[1].id != last.id {
			t.Errorf("%+v", again)
		}
		if n := metric(t, h, "tidemark_http_event_streams"); n != 0 {
			t.Errorf("%v streams are still counted", n)
		}
	})
}

func TestEvents_EndWhenTheClientLeavesOrTheServerCloses(t *testing.T) {
	for _, end := range []string{"client", "server"} {
		synctest.Test(t, func(t *testing.T) {
			h := start(t)
			open := make(chan struct{})
			defer close(open)
			h.exchange.CandlesFunc = slowly(h, open)
			id := decode[jobJSON](t, h.do("POST", "/analyze", `{"all":true}`)).ID
			ctx, leave := context.WithCancel(context.Background())
			defer leave()
			done := make(chan *httptest.ResponseRecorder, 1)
			go func() {
				done <- h.send(localRequest("GET", "/jobs/"+id+"/events", nil).WithContext(ctx))
			}()
			time.Sleep(time.Second)
			if n := metric(t, h, "tidemark_http_event_streams"); n != 1 {
				t.Fatalf("%v streams", n)
			}
			if end == "client" {
				leave()
			} else {
				h.api.Close()
				h.api.Close() // twice is as good as once
			}
			rec := <-done
			if list := events(rec.Body.String()); len(list) < 2 || strings.Contains(rec.Body.String(), "completed") {
				t.Errorf("%s: %+v", end, list)
			}
		})
	}
}

// A report is as long as a market has pairs, no event tells it, and the streams of a
// job all end at once.
func TestEvents_ReadNoReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		id := decode[jobJSON](t, h.do("POST", "/analyze", `{"all":true}`)).ID
		if rec := h.get("/jobs/" + id + "/events"); !strings.Contains(rec.Body.String(), `"state":"completed"`) {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		h.store.mu.Lock()
		defer h.store.mu.Unlock()
		if h.store.reports != 0 {
			t.Errorf("the report was read %d times", h.store.reports)
		}
	})
}

func TestEvents_AreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		open := make(chan struct{})
		h.exchange.CandlesFunc = slowly(h, open)
		id := decode[jobJSON](t, h.do("POST", "/analyze", `{"all":true}`)).ID
		done := make(chan int, defaultStreams)
		for range defaultStreams {
			go func() { done <- h.get("/jobs/" + id + "/events").Code }()
		}
		synctest.Wait()
		rec := h.get("/jobs/" + id + "/events")
		want(t, rec, 503)
		if problemOf(t, rec).Code != "busy" || rec.Header().Get("Retry-After") == "" {
			t.Errorf("%v %s", rec.Header(), rec.Body)
		}
		close(open)
		for range defaultStreams {
			if code := <-done; code != 200 {
				t.Errorf("status %d", code)
			}
		}
	})
}

func TestEvents_ArriveOverASocketAsTheyHappen(t *testing.T) {
	t.Parallel() // it mostly waits
	h := start(t)
	open := make(chan struct{})
	h.exchange.CandlesFunc = slowly(h, open)
	addr := serving(t, h, func(s *http.Server) { s.ReadTimeout, s.WriteTimeout = time.Second, time.Second })
	id := decode[jobJSON](t, h.do("POST", "/analyze", `{"all":true}`)).ID
	res, err := http.Get(fmt.Sprintf("http://%s/jobs/%s/events", addr, id))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := bufio.NewScanner(res.Body)
	for in.Scan() && !strings.HasPrefix(in.Text(), "data: ") {
	}
	if !strings.Contains(in.Text(), `"state":"running"`) && !strings.Contains(in.Text(), `"state":"queued"`) {
		t.Fatalf("the first event: %q, %v", in.Text(), in.Err())
	}
	time.Sleep(1500 * time.Millisecond) // beyond the limits of the server
	close(open)
	last := ""
	for in.Scan() {
		if strings.HasPrefix(in.Text(), "data: ") {
			last = in.Text()
		}
	}
	if in.Err() != nil || !strings.Contains(last, `"state":"completed"`) {
		t.Errorf("the stream ended with %q, %v", last, in.Err())
	}
}

func TestEvents_ShutdownDoesNotWaitForJobs(t *testing.T) {
	h := start(t)
	open := make(chan struct{})
	defer close(open)
	h.exchange.CandlesFunc = slowly(h, open)
	var server *http.Server
	addr := serving(t, h, func(s *http.Server) { server = s })
	id := decode[jobJSON](t, h.do("POST", "/analyze", `{"all":true}`)).ID
	res, err := http.Get(fmt.Sprintf("http://%s/jobs/%s/events", addr, id))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("the stream keeps the server up: %v", err)
	}
}
