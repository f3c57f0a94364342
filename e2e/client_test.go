package e2e

// These tests pin package client against a running service: it decodes the responses,
// follows a sweep over a connection that breaks, and distinguishes problems.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/client"
	"tidemark/exchange/simulated"
	"tidemark/wire"
)

// cut breaks the first stream of events off after its first event.
type cut struct {
	base    http.RoundTripper
	streams atomic.Int32
}

func (c *cut) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.base.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "/events") && c.streams.Add(1) == 1 {
		b := make([]byte, 16)
		n, _ := io.ReadFull(res.Body, b)
		_ = res.Body.Close()
		res.Body = io.NopCloser(bytes.NewReader(b[:n]))
	}
	return res, err
}

func TestClient_AsksARunningService(t *testing.T) {
	truth, exchange := market(t, simulated.Options{Pairs: 30, Latency: 10 * time.Millisecond})
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t), "API_KEYS=a-key-of-some-length", "ANALYSIS_BATCH_SIZE=5")
	transport := &cut{base: http.DefaultTransport}
	c := client.Client{BaseURL: r.base + "/", Key: "a-key-of-some-length", HTTP: &http.Client{Transport: transport}}
	ctx := t.Context()

	var p *client.Problem
	stranger := client.Client{BaseURL: r.base}
	if _, err := stranger.Levels(ctx, "BTCUSDT", client.Options{}); !errors.As(err, &p) || p.Code != "unauthorized" || p.Status != 401 {
		t.Errorf("without a key: %v", err)
	}
	if _, err := c.Levels(ctx, "BTCUSDT", client.Options{}); !errors.As(err, &p) || p.Code != "not_analyzed" || p.RequestID == "" {
		t.Errorf("before anything is analysed: %v", err)
	}
	job, err := c.Sweep(ctx, "1h")
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	for j, err := range c.Follow(ctx, job.ID) {
		if err != nil {
			t.Fatal(err)
		}
		steps++
		*job = j
	}
	if job.State != "completed" || steps < 2 || transport.streams.Load() < 2 {
		t.Errorf("%d steps over %d streams: %+v", steps, transport.streams.Load(), job)
	}
	if whole, err := c.Job(ctx, job.ID); err != nil || whole.SymbolsDone != job.SymbolsDone || len(whole.Failures) != whole.SymbolsFailed {
		t.Errorf("%v: %+v", err, whole)
	}
	for _, err := range c.Follow(ctx, "nosuchjob") {
		if !errors.As(err, &p) || p.Code != "unknown_job" {
			t.Errorf("following an unknown job: %v", err)
		}
	}

	rows := map[string]int{}
	total, last := 0, 0.0
	for row, err := range c.Market(ctx, client.Screen{Limit: 20, Sort: "-strength", Role: "support"}) {
		if err != nil {
			t.Fatal(err)
		}
		if total++; total > 1 && row.Strength > last || row.Role != "support" || !row.Simulated || row.HoldProbability == nil && row.Samples != nil {
			t.Errorf("row %d: %+v after one of strength %v", total, row, last)
		}
		last = row.Strength
		rows[row.Symbol]++
	}
	if total <= 20 {
		t.Errorf("%d rows: pages are not turned", total)
	}
	for _, pair := range truth.Pairs()[:5] {
		a, err := c.Levels(ctx, pair.Symbol, client.Options{Interval: "1h"})
		if err != nil {
			t.Errorf("%s: %v", pair.Symbol, err)
			continue
		}
		if len(a.Supports) != rows[pair.Symbol] || !a.Simulated || *a.Symbol != pair.Symbol {
			t.Errorf("%s has %d supports, %d rows on the market", pair.Symbol, len(a.Supports), rows[pair.Symbol])
		}
		all := slices.Concat(a.Supports, a.Resistances)
		for _, l := range all[:min(1, len(all))] {
			e, err := c.Explain(ctx, pair.Symbol, l.ID, client.Options{})
			if err != nil || !reflect.DeepEqual(e.Level, l) || len(e.Touches) != l.Touches {
				t.Errorf("%s %s: %v, %+v explained as %+v", pair.Symbol, l.ID, err, l, e)
			}
		}
	}
	a, err := c.Analyze(ctx, "BTCUSDT", client.AnalyzeOptions{Interval: "4h", KlineLimit: 600, NoStore: true})
	if err != nil || a.Interval != "4h" || a.Klines > 600 {
		t.Errorf("%v: %+v", err, a)
	}
	if _, err := c.Levels(ctx, "BTCUSDT", client.Options{Interval: "4h"}); !errors.As(err, &p) || p.Code != "not_analyzed" {
		t.Errorf("what was not to be stored is there: %v", err)
	}
	if _, err := c.Analyze(ctx, "BTCUSDT", client.AnalyzeOptions{Interval: "4h"}); err != nil {
		t.Error(err)
	}
	all, err := c.LevelsAt(ctx, "BTCUSDT", []string{"4h", "1d", "1h"}, client.Options{Faint: true})
	if err != nil || all.Symbol != "BTCUSDT" || len(all.Intervals) != 3 || all.Intervals[1].Problem == nil || all.Intervals[1].Problem.Code != "not_analyzed" {
		t.Fatalf("%v: %+v", err, all)
	}
	for i, interval := range []string{"4h", "", "1h"} {
		if e := all.Intervals[i]; interval != "" && (e.Problem != nil || e.Interval != interval || *e.Symbol != "BTCUSDT" || e.LastPrice <= 0) {
			t.Errorf("%s: %+v", interval, e)
		}
	}
	if one, err := c.LevelsAt(ctx, "BTCUSDT", []string{"4h"}, client.Options{}); err != nil || one.Symbol != "BTCUSDT" || len(one.Intervals) != 1 || one.Intervals[0].Interval != "4h" {
		t.Errorf("of one interval: %v %+v", err, one)
	}
	if _, err := c.LevelsAt(ctx, "BTCUSDT", []string{"1d", "3d"}, client.Options{}); !errors.As(err, &p) || p.Code != "not_analyzed" {
		t.Errorf("of two that are not there: %v", err)
	}
	var list wire.KlineList[[]client.Kline]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/klines/BTCUSDT?limit=1000", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", c.Key)
	res, err := http.DefaultClient.Do(req)
	if err != nil || decode(t, res, &list) != http.StatusOK || len(list.Klines) < 900 {
		t.Fatalf("%v, %d klines", err, len(list.Klines))
	}
	moments := []time.Time{time.UnixMilli(int64(list.Klines[600][0])).UTC(), time.UnixMilli(int64(list.Klines[10][0])).UTC()}
	past, err := c.History(ctx, "1h", list.Klines, client.HistoryOptions{Moments: moments, Faint: true})
	if err != nil || len(past.Moments) != 2 || !past.Moments[0].At.Equal(moments[0]) || past.Moments[1].Problem == nil || past.Moments[1].Problem.Code != "too_few_candles" {
		t.Fatalf("%v: %+v", err, past)
	}
	then, err := c.AnalyzeKlines(ctx, "1h", list.Klines[:600], 0)
	if err != nil || past.Moments[0].Klines != 600 || *past.Moments[0].LastPrice != then.LastPrice || len(past.Moments[0].Levels) < len(then.Supports)+len(then.Resistances) {
		t.Errorf("%v: %+v, want %+v", err, past.Moments[0], then)
	}
	if err := c.Cancel(ctx, job.ID); !errors.As(err, &p) || p.Code != "job_finished" {
		t.Errorf("cancelling what has ended: %v", err)
	}
}

func TestClient_ReadsTheServicesWishToWait(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(429)
		_ = json.NewEncoder(w).Encode(map[string]any{"code": "too_many_requests", "status": 429, "detail": "slowly"})
	}))
	defer srv.Close()
	c := client.Client{BaseURL: srv.URL}
	var p *client.Problem
	if _, err := c.Levels(t.Context(), "BTCUSDT", client.Options{}); !errors.As(err, &p) || p.RetryAfter != 7*time.Second || !strings.Contains(err.Error(), "slowly") {
		t.Errorf("%v, %+v", err, p)
	}
}

// events answers a request for the events of a job: with one event for each state.
func events(w http.ResponseWriter, states ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, state := range states {
		fmt.Fprintf(w, "data: {\"id\": \"a\", \"state\": %q}\n\n", state)
	}
	_ = http.NewResponseController(w).Flush()
}

// refuse answers that the client is to come again in some seconds.
func refuse(w http.ResponseWriter, status int, retryAfter string) {
	w.Header().Set("Retry-After", retryAfter)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code": "refused", "status": %d, "detail": "slowly"}`, status)
}

func TestClient_FollowWaitsAsItIsAskedTo(t *testing.T) {
	t.Parallel()
	var asked []time.Time
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch asked = append(asked, time.Now()); len(asked) {
		case 1:
			refuse(w, 429, "1")
		case 2:
			events(w, "running") // and breaks off
		case 3:
			refuse(w, 503, "2")
		default:
			events(w, "completed")
		}
	}))
	defer srv.Close()
	c := client.Client{BaseURL: srv.URL}
	var states []string
	for j, err := range c.Follow(t.Context(), "a") {
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, j.State)
	}
	if !slices.Equal(states, []string{"running", "completed"}) || len(asked) != 4 {
		t.Fatalf("%q after asking %d times", states, len(asked))
	}
	if first, second := asked[1].Sub(asked[0]), asked[3].Sub(asked[2]); first < time.Second || second < 2*time.Second {
		t.Errorf("asked again after %v and %v, before the service wished it", first, second)
	}
}

// What the service wishes is no reason to wait for ever.
func TestClient_FollowHandsOnAWishForALongWait(t *testing.T) {
	for _, long := range []string{"90000", "99999999999999999999", time.Now().Add(25 * time.Hour).UTC().Format(http.TimeFormat)} {
		asked := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			refuse(w, 503, long)
		}))
		defer srv.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c := client.Client{BaseURL: srv.URL}
		var p *client.Problem
		for _, err := range c.Follow(ctx, "a") {
			if !errors.As(err, &p) || p.RetryAfter < 24*time.Hour {
				t.Errorf("Retry-After: %s: %v, %+v", long, err, p)
			}
		}
		if asked != 1 {
			t.Errorf("Retry-After: %s: asked %d times", long, asked)
		}
	}
}

func TestClient_FollowTellsThatItsContextEnded(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"while it waits as asked": func(w http.ResponseWriter, _ *http.Request) { refuse(w, 429, "30") },
		"while it waits to try again": func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, 500, "")
		},
		"amid the events": func(w http.ResponseWriter, r *http.Request) {
			events(w, "running")
			<-r.Context().Done()
		},
		"before the answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			arrived := make(chan struct{}, 10)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case arrived <- struct{}{}:
				default:
				}
				answer(w, r)
			}))
			defer srv.Close()
			c := client.Client{BaseURL: srv.URL}
			follow := func(ctx context.Context) (last error) {
				for _, err := range c.Follow(ctx, "a") {
					last = err
				}
				return last
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-arrived
				time.Sleep(20 * time.Millisecond)
				cancel(errors.New("enough"))
			}()
			if err := follow(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			short, cancelShort := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancelShort()
			if err := follow(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("out of time: %v", err)
			}
		})
	}
}
