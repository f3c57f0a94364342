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
	"slices"
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
			for i := range 8 {
				var events []wire.Event
				for n := range 4 {
					events = append(events, levelEvent("BTCUSDT", 4*i+n, "touched", time.Now(), n%2 == 0))
				}
				putWireEvents(t, one, events...)
			}
		})
		for _, a := range []*alert.Alerts{a, b} {
			work.Go(func() {
				for range 10 {
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
		if err := one.read.QueryRow(`SELECT COUNT(*), COUNT(DISTINCT seq) FROM delivery_events`).Scan(&n, &different); err != nil || n != 32 || different != 32 {
			t.Errorf("%d events in deliveries, %d of them different, %v; want 32", n, different, err)
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

// pending dispatches an event of a touch between closes and returns its delivery.
func pending(t testing.TB, db *DB, a *alert.Alerts, e wire.Event) int64 {
	t.Helper()
	putWireEvents(t, db, e)
	dispatch(t, a)
	all := listed(t, a, alert.Pending)
	if len(all) == 0 {
		t.Fatal("nothing is pending")
	}
	return all[0].ID
}

func TestAlerts_TheWholeScheduleThenDisabled(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db, clock := d.open(t), newClock()
		a := newAlerts(t, db, clock)
		h, other := newHook(t, status(500)), newHook(t, nil)
		putHook(t, a, "other", other.URL, "")
		bad := putHook(t, a, "bad", h.URL, `,"notices_to":"other"`)
		putRule(t, a, "all", "bad", "")
		id := pending(t, db, a, levelEvent("BTCUSDT", 1, "broke", clock.now(), false))
		later := pending(t, db, a, levelEvent("BTCUSDT", 2, "broke", clock.now(), false))
		want := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
		for i, pause := range want {
			got := attempt(t, a, id)
			if got.State != "pending" || got.Attempts != i+1 || len(got.Log) != min(i+1, 5) || *got.Error == "" {
				t.Fatalf("after attempt %d: %+v", i+1, got)
			}
			if p := got.DueAt.Sub(clock.now()); p < pause || p > pause+pause/10 {
				t.Errorf("the pause after attempt %d is %v, want %v and at most a tenth more", i+1, p, pause)
			}
			clock.set(*got.DueAt)
		}
		if got := attempt(t, a, id); got.State != "failed" || got.Attempts != 10 || got.Log[4].Status != 500 {
			t.Errorf("at the end: %+v", got)
		}
		if n := len(h.messages()); n != 10 {
			t.Errorf("%d attempts arrived, want 10", n)
		}
		if got, err := a.Delivery(t.Context(), later); err != nil || got.State != "failed" {
			t.Errorf("the other message to the disabled receiver: %+v, %v", got, err)
		}
		r, err := a.Receiver(t.Context(), bad.ID)
		if err != nil || r.State != "disabled" || r.DisabledWhy == nil {
			t.Errorf("the receiver: %+v, %v", r, err)
		}
		notices := listed(t, a, alert.Pending)
		if len(notices) != 1 || notices[0].Reason != "notice" {
			t.Fatalf("pending: %+v", notices)
		}
		if got := attempt(t, a, notices[0].ID); got.State != "delivered" || other.messages()[0].Type != "receiver.disabled" {
			t.Errorf("the notice: %+v", got)
		}
		// nothing is made for it silently, until it is enabled
		putWireEvents(t, db, levelEvent("BTCUSDT", 3, "broke", clock.now(), false))
		dispatch(t, a)
		if all := listed(t, a, "failed"); len(all) != 3 || !strings.Contains(*all[0].Error, "disabled") {
			t.Errorf("failed: %+v", all)
		}
		if _, err := a.Resend(t.Context(), id); !errors.Is(err, alert.ErrDisabled) {
			t.Errorf("resent to a disabled receiver: %v", err)
		}
		if r, err := a.EnableReceiver(t.Context(), bad.ID); err != nil || r.State != "new" {
			t.Errorf("enabled: %+v, %v", r, err)
		}
		h.answer = nil
		if again, err := a.Resend(t.Context(), id); err != nil || again.State != "pending" {
			t.Errorf("resent: %+v, %v", again, err)
		}
		if got, sent := attempt(t, a, id), h.messages(); got.State != "delivered" || sent[10].ID != sent[0].ID {
			t.Errorf("resent: %+v", got)
		}
	})
}

func TestAlerts_AnswersOfReceivers(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db, clock := d.open(t), newClock()
		a := newAlerts(t, db, clock)
		h := newHook(t, nil)
		r := putHook(t, a, "one", h.URL, "")
		putRule(t, a, "all", "one", "")
		touch := func(n int) int64 { return pending(t, db, a, levelEvent("BTCUSDT", n, "touched", clock.now(), false)) }

		t.Run("Retry-After", func(t *testing.T) {
			h.answer = func(w http.ResponseWriter, _ int) { w.Header().Set("Retry-After", "600"); w.WriteHeader(429) }
			got := attempt(t, a, touch(1))
			if p := got.DueAt.Sub(clock.now()); p != 600*time.Second {
				t.Errorf("the next attempt is after %v", p)
			}
			before := len(h.messages())
			if other := attempt(t, a, touch(2)); other.Attempts != 0 || !other.DueAt.Equal(*got.DueAt) || len(h.messages()) != before {
				t.Errorf("another message meanwhile: %+v", other)
			}
			clock.set(*got.DueAt)
			h.answer = nil
			for _, d := range listed(t, a, alert.Pending) {
				if got := attempt(t, a, d.ID); got.State != "delivered" {
					t.Errorf("afterwards: %+v", got)
				}
			}
		})
		t.Run("expiry", func(t *testing.T) {
			h.answer = status(503)
			id, idle := touch(3), touch(4)
			begun, sent := clock.now(), len(h.messages())
			var got wire.DeliveryDetail
			for got = attempt(t, a, id); got.State == "pending"; got = attempt(t, a, id) {
				clock.set(*got.DueAt)
			}
			if got.State != "expired" || got.Attempts != 4 || len(h.messages())-sent != 4 {
				t.Errorf("a touch: %+v", got)
			}
			clock.set(begun.Add(time.Hour))
			h.answer = nil
			if got := attempt(t, a, idle); got.State != "expired" || got.Attempts != 0 || len(h.messages())-sent != 4 {
				t.Errorf("a touch whose first attempt is late: %+v", got)
			}
		})
		t.Run("expiry of a part", func(t *testing.T) {
			clock.set(at(30))
			near, broke := levelEvent("BTCUSDT", 20, "approaching", clock.now(), true), levelEvent("BTCUSDT", 21, "broke", clock.now(), true)
			putWireEvents(t, db, near, broke, levelEvent("BTCUSDT", 22, "vanished", clock.now(), true))
			dispatch(t, a)
			later := levelEvent("BTCUSDT", 20, "touched", clock.now().Add(time.Second), false)
			later.Interval = "1d" // so that it is news for longer
			putWireEvents(t, db, later)
			dispatch(t, a)
			clock.pass(2 * time.Second)
			dispatch(t, a)
			all := listed(t, a, alert.Pending)
			if len(all) != 2 || all[1].Events != 3 || !all[1].ExpiresAt.Equal(at(31)) {
				t.Fatalf("of one close: %+v", all)
			}
			h.answer = status(503)
			id, waits := all[1].ID, all[0].ID
			if got := attempt(t, a, waits); got.DueAt != nil {
				t.Errorf("before the earlier message about the level: %+v", got)
			}
			var got wire.DeliveryDetail
			for got = attempt(t, a, id); got.State == "pending" && got.LeftOut == 0; got = attempt(t, a, id) {
				clock.set(*got.DueAt)
			}
			if got.Events != 2 || got.LeftOut != 1 || !got.ExpiresAt.Equal(at(54)) || strings.Contains(got.Text, "is near") || !strings.Contains(got.Text, "1 left out: they are out of date") {
				t.Errorf("without the approach: %+v", got)
			}
			if got := attempt(t, a, waits); got.State != "pending" || got.Attempts != 1 {
				t.Errorf("after the event of its level has left the earlier message: %+v", got)
			}
			h.answer = nil
			clock.set(at(30).Add(74 * time.Hour))
			if got = attempt(t, a, id); got.State != "delivered" || got.Events != 1 || got.LeftOut != 2 || got.ExpiresAt != nil {
				t.Errorf("after days: %+v", got)
			}
			sent := h.messages()
			if last := string(sent[len(sent)-1].Data); !strings.Contains(last, `"count":1,`) || !strings.Contains(last, `"left_out":{"inhibited":0,"expired":2}`) || strings.Contains(last, "vanished") {
				t.Errorf("sent: %s", last)
			}
			if got := attempt(t, a, waits); got.State != "expired" {
				t.Errorf("a touch after days: %+v", got)
			}
		})
		t.Run("order", func(t *testing.T) {
			h.answer = status(500)
			first := pending(t, db, a, levelEvent("BTCUSDT", 7, "held", clock.now(), false))
			second := pending(t, db, a, levelEvent("BTCUSDT", 7, "broke", clock.now(), false))
			free := pending(t, db, a, levelEvent("BTCUSDT", 8, "broke", clock.now(), false))
			failed := attempt(t, a, first)
			sent := len(h.messages())
			if got := attempt(t, a, second); got.State != "pending" || got.DueAt != nil || len(h.messages()) != sent {
				t.Errorf("before the first is delivered: %+v", got)
			}
			h.answer = nil
			if got := attempt(t, a, free); got.State != "delivered" {
				t.Errorf("of another level: %+v", got)
			}
			clock.set(*failed.DueAt)
			attempt(t, a, first)
			if got, err := a.Delivery(t.Context(), second); err != nil || got.DueAt == nil {
				t.Errorf("after the first is delivered: %+v, %v", got, err)
			}
			if got := attempt(t, a, second); got.State != "delivered" {
				t.Errorf("after the first: %+v", got)
			}
		})
		t.Run("order of closes", func(t *testing.T) {
			h.answer = nil
			clock.set(at(199).Add(30 * time.Minute))
			closed := func(n int, kind string, hour int) wire.Event { return levelEvent("BTCUSDT", n, kind, at(hour), true) }
			// one batch: the later close is seen first; then two batches
			putWireEvents(t, db, closed(31, "broke", 200), closed(30, "touched", 199), closed(30, "held", 200))
			dispatch(t, a)
			putWireEvents(t, db, closed(32, "touched", 198), closed(30, "broke", 199))
			dispatch(t, a)
			clock.pass(2 * time.Second)
			dispatch(t, a)
			all := listed(t, a, alert.Pending)
			sent := len(h.messages())
			for range all { // whichever is tried first
				for _, d := range all {
					attempt(t, a, d.ID)
				}
			}
			var got []string
			for _, m := range h.messages()[sent:] {
				for _, kind := range []string{"touched", "held", "broke"} {
					if strings.Contains(string(m.Data), `"id":"BTCUSDT-30-`+kind) {
						got = append(got, kind)
					}
				}
			}
			if !slices.Equal(got, []string{"touched", "held", "broke"}) {
				t.Errorf("the events of a level arrived as %v, in %d messages", got, len(all))
			}
		})
		t.Run("gone", func(t *testing.T) {
			h.answer = status(410)
			if got := attempt(t, a, touch(5)); got.State != "failed" || got.Log[0].Outcome != "gone" {
				t.Errorf("%+v", got)
			}
			if r, err := a.Receiver(t.Context(), r.ID); err != nil || r.State != "disabled" {
				t.Errorf("the receiver: %+v, %v", r, err)
			}
		})
	})
}

func TestAlerts_WhatIsHeldBackIsCounted(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db, clock := d.open(t), newClock()
		a := newAlerts(t, db, clock)
		h := newHook(t, nil)
		putHook(t, a, "one", h.URL, `,"per_minute":3`)
		rule := putRule(t, a, "all", "one", "")
		events := func(n int, kind string) (all []wire.Event) {
			for i := range n {
				all = append(all, levelEvent("BTCUSDT", 10+i, kind, clock.now(), false))
			}
			return all
		}
		// a budget: three, and at the end of the minute one for the others
		clock.set(at(0).Add(20 * time.Second))
		putWireEvents(t, db, events(10, "touched")...)
		if next := dispatch(t, a); !next.Equal(at(0).Add(time.Minute)) {
			t.Errorf("the summary is due at %v", next)
		}
		if n := len(listed(t, a, alert.Pending)); n != 3 {
			t.Errorf("%d messages at once, want 3", n)
		}
		clock.set(at(0).Add(time.Minute))
		dispatch(t, a)
		all := listed(t, a, alert.Pending)
		if len(all) != 4 || all[0].Reason != "budget" || all[0].Events != 7 {
			t.Fatalf("%+v", all)
		}
		for _, d := range all {
			attempt(t, a, d.ID)
		}

		// the zone of a level of 4h covers one of 1h
		clock.set(at(1))
		putRule(t, a, "the same for the same", "one", "") // a receiver gets an event once
		long, inside, outside := levelEvent("BTCUSDT", 1, "broke", clock.now(), true), levelEvent("BTCUSDT", 2, "broke", clock.now(), true), levelEvent("BTCUSDT", 3, "broke", clock.now(), true)
		long.Interval, outside.Level.Price = "4h", 102
		putWireEvents(t, db, inside, outside, long)
		dispatch(t, a)
		clock.pass(2 * time.Second)
		dispatch(t, a)
		all = listed(t, a, alert.Pending)
		if len(all) != 2 || all[0].Events != 1 || all[1].Events != 1 || all[0].LeftOut+all[1].LeftOut != 1 {
			t.Errorf("%+v", all)
		}
		for _, d := range all {
			attempt(t, a, d.ID)
		}

		// a silence, and quiet hours that end with a summary
		clock.set(at(2))
		silence, err := a.PutSilence(t.Context(), "", []byte(`{"pairs":["ETH/*"],"until":"2026-11-23T00:00:00Z","comment":"listing"}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.PutRule(t.Context(), rule.ID, []byte(`{"name":"all","receivers":["one"],"quiet":{"from":"21:00","to":"23:30","zone":"UTC","then":"hold"}}`)); err != nil {
			t.Fatal(err)
		}
		putWireEvents(t, db, levelEvent("ETHUSDT", 1, "broke", clock.now(), true), levelEvent("BTCUSDT", 4, "broke", clock.now(), true), levelEvent("BTCUSDT", 5, "touched", clock.now(), false))
		if next := dispatch(t, a); !next.Equal(at(4).Add(30 * time.Minute)) {
			t.Errorf("quiet hours end at %v", next)
		}
		clock.set(at(4).Add(30 * time.Minute))
		dispatch(t, a)
		all = listed(t, a, alert.Pending)
		if len(all) != 1 || all[0].Reason != "quiet" || all[0].Events != 1 || all[0].LeftOut != 1 {
			t.Fatalf("%+v", all)
		}
		if got := attempt(t, a, all[0].ID); !strings.Contains(got.Text, "1 left out: they are out of date") {
			t.Errorf("%q", got.Text)
		}
		if err := a.DeleteSilence(t.Context(), silence.ID); err != nil {
			t.Error(err)
		}

		// again, without what is out of date
		before := len(h.messages())
		replay, err := a.Replay(t.Context(), rule.ID, 0, 13)
		if err != nil || replay.Events != 13 || replay.Expired != 10 || replay.Matched != 13 || replay.Deliveries != 2 || replay.Next != 0 {
			t.Errorf("replayed: %+v, %v", replay, err)
		}
		for _, d := range listed(t, a, alert.Pending) {
			attempt(t, a, d.ID)
		}
		if n := len(h.messages()) - before; n != 2 {
			t.Errorf("%d messages again, want 2", n)
		}
	})
}

// runs dispatches in the background, until the end of the test.
func runs(t testing.TB, db *DB, a *alert.Alerts) {
	t.Helper()
	works(t, db, &fakeWorker{})
	db.Subscribe(func(c Change) {
		if c.Events || c.Exchange == "" {
			a.Wake()
		}
	})
	ctx, stop := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { a.Run(ctx, db) })
	t.Cleanup(func() { stop(); work.Wait() })
}

// The dead receivers first accept messages, so they are in the quick queue when they hang; in
// the end they are known to fail.
func TestAlerts_DeadReceiversDoNotDelayALiveOne(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		a := newAlerts(t, db, nil)
		const many = 200
		dead := newHook(t, func(w http.ResponseWriter, n int) {
			if n < many {
				w.WriteHeader(204)
				return
			}
			<-t.Context().Done()
		})
		live := newHook(t, nil)
		r := putHook(t, a, "live", live.URL, "")
		if got, err := a.TestReceiver(t.Context(), r.ID); err != nil || got.Outcome != "delivered" || live.messages()[0].Type != "test" {
			t.Fatalf("a test message: %+v, %v", got, err)
		}
		var receivers, names []string
		for i := range many {
			receivers = append(receivers, fmt.Sprintf(`{"name":"dead%d","kind":"webhook","config":{"url":%q,"secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}`, i, dead.URL))
			names = append(names, fmt.Sprintf(`"dead%d"`, i))
		}
		if err := a.LoadFile(t.Context(), fmt.Appendf(nil, `{"receivers":[%s],"rules":[{"name":"a dead one","receivers":[%s],"pairs":["BTCUSDT"]}]}`,
			strings.Join(receivers, ","), strings.Join(names, ","))); err != nil {
			t.Fatal(err)
		}
		runs(t, db, a)
		putRule(t, a, "live", "live", `,"pairs":["ETHUSDT"]`)
		putWireEvents(t, db, levelEvent("BTCUSDT", 1, "broke", time.Now(), false))
		eventually(t, "all accept a message", func() bool { return len(listed(t, a, alert.Delivered)) == many })
		var took []time.Duration
		for n := range 6 {
			stored := time.Now()
			if n%3 == 0 { // for two of the dead ones too, before the one for the live one
				putWireEvents(t, db, levelEvent("BTCUSDT", 2+n, "broke", stored, false))
				eventually(t, "an attempt to a dead one", func() bool { return len(dead.messages()) > many })
			}
			putWireEvents(t, db, levelEvent("ETHUSDT", n, "broke", stored, false))
			eventually(t, "the message arrives", func() bool { return len(live.messages()) > n+1 })
			took = append(took, live.messages()[n+1].At.Sub(stored))
		}
		cut := 0
		for _, d := range listed(t, a, alert.Pending) {
			if d.Error != nil && strings.Contains(*d.Error, "other messages wait") {
				cut++
			}
		}
		if cut < many/2 {
			t.Errorf("%d attempts to receivers that hang were cut off: the live one has waited for the others", cut)
		}
		t.Logf("from the event to its arrival: %v; %d attempts were cut off", took, cut)
	})
}
