package repository

// These tests pin how stored events become messages on both databases: each once, whichever
// process dispatches and dies; grouped, counted and within a budget; tried until delivered,
// expired or given up; in order for each level; and that dead receivers do not delay others.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/prometheus/client_golang/prometheus"

	"tidemark/event/alert"
	"tidemark/event/notify"
	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// fakeClock is a clock that tests move.
type fakeClock struct{ ms atomic.Int64 }

func newClock() *fakeClock {
	c := new(fakeClock)
	c.set(at(0))
	return c
}

func (c *fakeClock) set(t time.Time)      { c.ms.Store(t.UnixMilli()) }
func (c *fakeClock) now() time.Time       { return time.UnixMilli(c.ms.Load()).UTC() }
func (c *fakeClock) pass(d time.Duration) { c.set(c.now().Add(d)) }

// newAlerts returns the alerts of a process. A nil clock is the real one.
func newAlerts(t testing.TB, store alert.Store, clock *fakeClock) *alert.Alerts {
	t.Helper()
	sealer, err := notify.NewSealer(strings.Repeat("07", 32))
	if err != nil {
		t.Fatal(err)
	}
	cfg := alert.Config{Exchanges: []string{"binance"}, Sealer: sealer, Sender: notify.NewSender(notify.Options{AllowPrivate: true}), Retention: time.Hour}
	if clock != nil {
		cfg.Now = clock.now
	}
	return alert.New(cfg, store, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
}

// hook is a receiver: a server that records messages and answers with status.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	got    []hookMessage
	answer func(w http.ResponseWriter, n int) // n messages came before; nil: 204
}

type hookMessage struct {
	ID   string
	Type string
	Data json.RawMessage
	At   time.Time
}

func newHook(t testing.TB, answer func(w http.ResponseWriter, n int)) *hook {
	h := &hook{answer: answer}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m := hookMessage{ID: r.Header.Get("webhook-id"), At: time.Now()}
		if err := json.Unmarshal(body, &m); err != nil {
			t.Errorf("the body %q: %v", body, err)
		}
		h.mu.Lock()
		n := len(h.got)
		h.got = append(h.got, m)
		h.mu.Unlock()
		if h.answer != nil {
			h.answer(w, n)
			return
		}
		w.WriteHeader(204)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) messages() []hookMessage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]hookMessage(nil), h.got...)
}

func status(code int) func(http.ResponseWriter, int) {
	return func(w http.ResponseWriter, _ int) { w.WriteHeader(code) }
}

// putHook stores a receiver for a hook.
func putHook(t testing.TB, a *alert.Alerts, name, url, more string) wire.Receiver {
	t.Helper()
	r, err := a.PutReceiver(t.Context(), "", fmt.Appendf(nil, `{"name":%q,"kind":"webhook","config":{"url":%q,"secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}%s}`, name, url, more))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func putRule(t testing.TB, a *alert.Alerts, name, receiver, more string) wire.Rule {
	t.Helper()
	r, err := a.PutRule(t.Context(), "", fmt.Appendf(nil, `{"name":%q,"receivers":[%q]%s}`, name, receiver, more))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// levelEvent is an event of the level n of a pair. closed is whether a candle decided.
func levelEvent(symbol string, n int, kind string, at time.Time, closed bool) wire.Event {
	name := symbol[:3] + "/USDT"
	e := wire.Event{
		ID: fmt.Sprint(symbol, "-", n, "-", kind, "-", at.UnixMilli(), closed), Kind: kind, Exchange: "binance", Symbol: symbol, Name: &name, Interval: "1h",
		OccurredAt: at, EmittedAt: at, AsOf: at, Price: 100.5, ATR: 1, Begun: at,
		Level: wire.EventLevel{ID: levelID(uint64(n)), Role: "support", Price: 100, Low: 99, High: 101, Edge: 3 + float64(n%100)/10, State: "intact"},
	}
	if closed {
		e.Candle = &wire.EventCandle{OpenTime: at.Add(-time.Hour), Open: 1, High: 2, Low: 1, Close: 2}
	}
	return e
}

// putWireEvents stores events as an analysis would.
func putWireEvents(t testing.TB, db *DB, events ...wire.Event) {
	t.Helper()
	var w service.Watch
	for i := range events {
		e := &events[i]
		body, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var level uint64
		fmt.Sscanf(e.Level.ID, "%x", &level)
		w.Events = append(w.Events, service.Event{
			ID: e.ID, Key: service.Key{Exchange: e.Exchange, Symbol: e.Symbol, Interval: levels.Interval(e.Interval)},
			Kind: e.Kind, Level: level, Edge: e.Level.Edge, At: e.OccurredAt, Body: body,
		})
	}
	if err := db.inTx(t.Context(), func(tx *sqlx.Tx) error {
		if _, err := db.putEvents(t.Context(), tx, []service.Watch{w}); err != nil {
			return err
		}
		return db.engine.announce(t.Context(), tx, Change{Events: true})
	}); err != nil {
		t.Fatal(err)
	}
	db.emit(Change{Events: true})
}

func dispatch(t testing.TB, a *alert.Alerts) (next time.Time) {
	t.Helper()
	next, _, err := a.Dispatch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func listed(t testing.TB, a *alert.Alerts, states ...string) []wire.Delivery {
	t.Helper()
	all, err := a.Deliveries(t.Context(), alert.DeliveryQuery{States: states, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// attempt makes the next attempt of a delivery, as the queue would.
func attempt(t testing.TB, a *alert.Alerts, id int64) wire.DeliveryDetail {
	t.Helper()
	d, err := a.Delivery(t.Context(), id)
	if err == nil {
		err = a.Attempt(t.Context(), id, d.Attempts, alert.Slow)
	}
	if err == nil {
		d, err = a.Delivery(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAlerts_500LevelsBrokenAtOneCloseAreOneMessage(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db, clock := d.open(t), newClock()
		a := newAlerts(t, db, clock)
		h := newHook(t, nil)
		putHook(t, a, "one", h.URL, "")
		putRule(t, a, "all", "one", "")
		var events []wire.Event
		for n := range 500 {
			events = append(events, levelEvent(fmt.Sprintf("P%02dUSDT", n%50), n, "broke", at(0), true))
		}
		putWireEvents(t, db, events[:200]...)
		if next := dispatch(t, a); !next.Equal(at(0).Add(2 * time.Second)) {
			t.Fatalf("the gathering ends at %v", next)
		}
		clock.pass(1500 * time.Millisecond)
		putWireEvents(t, db, events[200:]...)
		dispatch(t, a)
		clock.pass(1999 * time.Millisecond)
		dispatch(t, a)
		if all := listed(t, a); len(all) != 1 || all[0].State != "gathering" {
			t.Fatalf("deliveries before the group wait has passed: %+v", all)
		}
		clock.pass(time.Millisecond)
		dispatch(t, a)
		all := listed(t, a)
		if len(all) != 1 || all[0].State != "pending" || all[0].Events != 500 {
			t.Fatalf("deliveries: %+v", all)
		}
		if got := attempt(t, a, all[0].ID); got.State != "delivered" || got.Title != "500 levels: 500 broke (binance 1h, 2026-11-22 19:00 UTC)" || strings.Count(got.Text, "\n") != 5 {
			t.Errorf("delivered: %+v", got)
		}
		m := h.messages()
		if len(m) != 1 || m[0].ID != all[0].MessageID || m[0].Type != "level.events" {
			t.Fatalf("messages: %+v", m)
		}
		var data struct {
			Count  int
			Events []wire.Event
		}
		if err := json.Unmarshal(m[0].Data, &data); err != nil || data.Count != 500 || len(data.Events) != 5 || data.Events[0].Level.Edge != 12.9 || data.Events[0].Seq == 0 {
			t.Errorf("%v, data %s", err, m[0].Data)
		}
	})
}

func TestAlerts_EachEventIsInOneDelivery(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		one, two := d.open(t), d.open(t)
		cut := errors.New("the process dies")
		a := newAlerts(t, &dying{Store: one, err: cut, every: 3}, nil)
		b := newAlerts(t, &dying{Store: two, err: cut, every: 2}, nil)
		putHook(t, a, "one", "http://127.0.0.1:1", `,"per_minute":600`)
		putRule(t, a, "all", "one", `,"group_wait_ms":0`)
		var work sync.WaitGroup
		work.Go(func() {
			for i := range 20 {
				var events []wire.Event
				for n := range 10 {
					events = append(events, levelEvent("BTCUSDT", 10*i+n, "touched", time.Now(), n%2 == 0))
				}
				putWireEvents(t, one, events...)
			}
		})
		for _, a := range []*alert.Alerts{a, b} {
			work.Go(func() {
				for range 30 {
					if _, _, err := a.Dispatch(t.Context()); err != nil && !errors.Is(err, cut) {
						t.Error(err)
					}
				}
			})
		}
		work.Wait()
		for {
			if _, _, err := a.Dispatch(t.Context()); err == nil {
				break
			}
		}
		var n, different int
		if err := one.read.QueryRow(`SELECT COUNT(*), COUNT(DISTINCT seq) FROM delivery_events`).Scan(&n, &different); err != nil || n != 200 || different != 200 {
			t.Errorf("%d events in deliveries, %d of them different, %v; want 200", n, different, err)
		}
	})
}

// dying is a store whose transactions are cut off at their end.
type dying struct {
	alert.Store
	err   error
	every int64
	calls atomic.Int64
}

func (s *dying) Dispatch(ctx context.Context, f func(tx alert.Tx) error) error {
	return s.Store.Dispatch(ctx, func(tx alert.Tx) error {
		if err := f(tx); err != nil || s.calls.Add(1)%s.every != 0 {
			return err
		}
		return s.err
	})
}
