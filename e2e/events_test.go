package e2e

// These tests pin the reading of events: a client whose streams break and a command that
// outlives the service see each event once and in order while two other processes store
// them; the command prints what the service sends.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/client"
	"tidemark/command"
	"tidemark/levels"
	"tidemark/repository"
	"tidemark/service"
	"tidemark/wire"
)

// cutting ends the first streams of events after some bytes, most of them within an event.
type cutting struct{ streams atomic.Int32 }

func (c *cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(r)
	if n := c.streams.Add(1); err == nil && n <= 3 {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, int64(n)*7001), res.Body}
	}
	return res, err
}

// eventStore opens the database as another process does, and returns a function that stores
// an event of a level of a simulated pair.
func eventStore(t *testing.T, url string) func(wire.Event) {
	db, err := repository.Open(t.Context(), repository.Config{URL: url, PoolSize: 2, History: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return func(e wire.Event) {
		key := service.Key{Exchange: "simulated", Symbol: e.Symbol, Interval: levels.Interval(e.Interval)}
		e.Exchange, e.Simulated = key.Exchange, true
		b, err := json.Marshal(e)
		level, _ := strconv.ParseUint(e.Level.ID, 16, 64)
		role := levels.Support
		if e.Level.Role == "resistance" {
			role = levels.Resistance
		}
		if err == nil {
			err = db.Put(context.Background(), service.Results{Watches: []service.Watch{{Key: key, AsOf: e.AsOf, Events: []service.Event{{ID: e.ID, Key: key, Kind: e.Kind, Role: role, Level: level, Edge: e.Level.Edge, At: e.OccurredAt, Body: b}}}}})
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// storing returns a function that stores an event of a pair.
func storing(t *testing.T, url string) func(symbol string, n int) {
	store := eventStore(t, url)
	at := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	return func(symbol string, n int) {
		name := "BTC/USDT"
		store(wire.Event{
			ID: fmt.Sprintf("%028x%s", n, symbol[:4]), Kind: wire.EventKinds[n%len(wire.EventKinds)], Symbol: symbol, Name: &name, Interval: "1h",
			OccurredAt: at.Add(time.Duration(n) * time.Second), EmittedAt: at, AsOf: at, Price: 101.5, ATR: 1, Begun: at,
			Level:   wire.EventLevel{ID: "b1c90d2e4f5a6b7c", Role: "support", Price: 100, Low: 99.5, High: 100.5, Edge: 5, State: "held"},
			Promise: &wire.EventPromise{HoldProbability: 0.52, HoldInterval: [2]float64{0.5, 0.54}, BaselineHoldProbability: 0.46, Edge: 5},
		})
	}
}

func TestEvents_EachComesOnceOverCutsAndARestart(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*testing.T) string{"sqlite": sqliteURL, "postgres": postgresURL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const each = 60
			url := database(t)
			r := serve(t, "DATABASE_URL="+url)
			address := strings.TrimPrefix(r.base, "http://")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()

			var reading sync.WaitGroup
			transport := &cutting{}
			var got []int64
			half := make(chan struct{})
			reading.Go(func() {
				c := client.Client{BaseURL: r.base, HTTP: &http.Client{Transport: transport}}
				ids := map[string]bool{}
				for e, err := range c.FollowEvents(ctx, client.EventFilter{Since: "0", Retry: func(int, error) bool { return true }}) {
					if err != nil {
						t.Errorf("after %d events: %v", len(got), err)
						return
					}
					if ids[e.ID] || len(got) > 0 && e.Seq <= got[len(got)-1] {
						t.Errorf("event %d %s after %d", e.Seq, e.ID, got[len(got)-1])
					}
					ids[e.ID] = true
					if got = append(got, e.Seq); len(got) == 2*each/2 {
						close(half)
					}
					if len(got) == 2*each {
						return
					}
				}
			})
			var printed, notices syncBuffer
			following, stop := context.WithCancel(ctx)
			reading.Go(func() {
				if err := run(following, []string{"events", "--follow", "--json", "--since", "0"}, []string{"HTTP_ADDR=" + address}, &printed, &notices); err != nil {
					t.Errorf("events --follow: %v", err)
				}
			})

			var writing sync.WaitGroup
			for _, symbol := range []string{"BTCUSDT", "ETHUSDT"} {
				store := storing(t, url)
				writing.Go(func() {
					for n := range each {
						if n == each/2+1 { // a part while the service is down
							<-half
						}
						store(symbol, n)
					}
				})
			}
			<-half
			if err := r.end(t); err != nil {
				t.Error(err)
			}
			writing.Wait()
			serve(t, "DATABASE_URL="+url, "HTTP_ADDR="+address)
			for ctx.Err() == nil && strings.Count(printed.String(), "\n") < 2*each {
				time.Sleep(10 * time.Millisecond)
			}
			stop()
			reading.Wait()
			var seen []int64
			for line := range strings.Lines(printed.String()) {
				var e wire.Event
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatal(err)
				}
				seen = append(seen, e.Seq)
			}
			if len(got) != 2*each || !slices.Equal(seen, got) || transport.streams.Load() < 4 || !strings.Contains(notices.String(), "NO RESPONSE since") {
				t.Errorf("%d events over %d streams, %d printed, %q", len(got), transport.streams.Load(), len(seen), notices.String())
			}
		})
	}
}

func TestEvents_ArePrintedAsTheServiceSendsThem(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	r := serve(t, "DATABASE_URL="+url)
	store := storing(t, url)
	for n := range 14 {
		store([]string{"BTCUSDT", "ETHUSDT"}[n%2], n)
	}
	environ := []string{"HTTP_ADDR=" + strings.TrimPrefix(r.base, "http://"), "EXCHANGE=simulated"}
	code, out, errs := execute(t, environ, "events", "BTCUSDT", "--kind", "held,broke", "--interval", "1h")
	if want := "2026-11-22 19:00:04  simulated BTC/USDT     1h   support 100 (99.5–100.5) broke, price 101.5 · edge 5.0 · promised 52 %, any line 46 %  (simulated)\n" +
		"2026-11-22 19:00:10  simulated BTC/USDT     1h   support 100 (99.5–100.5) held, price 101.5 · edge 5.0 · promised 52 %, any line 46 %  (simulated)\n"; code != 0 || out != want {
		t.Errorf("%d %s\n%s\nwant\n%s", code, errs, out, want)
	}
	res, err := http.Get(r.base + "/events?since=0&format=ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if code, out, errs := execute(t, environ, "events", "--since", "0", "--limit", "5", "--json"); code != 0 || out != string(lines) || strings.Count(out, "\n") != 14 {
		t.Errorf("%d %s\n%s\nwant\n%s", code, errs, out, lines)
	}
	if code, out, errs := execute(t, environ, "events", "--limit", "3", "--csv"); code != 0 || strings.Count(out, "\r\n") != 4 || !strings.Contains(out, ",BTCUSDT,BTC/USDT,1h,true,2026-11-22T19:00:12Z,") {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{command.ExitUsage, "--kind: \"hold\"", []string{"--kind", "hold"}},
		{command.ExitUsage, "--interval: ", []string{"--interval", "61m"}},
		{command.ExitUsage, "exclude each other", []string{"--json", "--csv"}},
		{command.ExitUsage, "--limit: 0", []string{"--limit", "0"}},
		{command.ExitUsage, "--min-edge: -1", []string{"--min-edge", "-1"}},
		{command.ExitUsage, "is not the address", []string{"--url", "localhost"}},
		{command.ExitUsage, "is not a symbol", []string{" "}},
		{command.ExitUsage, "responds with 400 since: ", []string{"--since", "99999"}},
		{command.ExitUsage, "responds with 400 since: ", []string{"--since", "99999", "--follow"}},
		{command.ExitFailed, "not reachable", []string{"--url", "http://127.0.0.1:1"}},
	} {
		if code, out, errs := execute(t, environ, append([]string{"events"}, c.args...)...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%q: %d %q; want %d %q", c.args, code, out+errs, c.code, c.want)
		}
	}
	if !bytes.Contains(lines, []byte(`{"seq":1,"id":"`)) {
		t.Errorf("%s", lines)
	}
}
