// Pins GET /events: which events come in each form and by each filter, what a reader that
// continues is told, and that a stream begins, wakes and ends as it should.
package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// happen stores an event of the simulated exchange, with an even number, an hour after the
// one before, and says so.
func (h *harness) happen(symbol, kind string, change ...func(*happening)) *happening {
	h.store.mu.Lock()
	n := int64(1)
	if len(h.store.events) > 0 {
		n = h.store.events[len(h.store.events)-1].seq/2 + 1
	}
	at := time.Date(2025, 11, 22, int(n), 0, 0, 0, time.UTC)
	e := happening{
		Event: service.Event{
			ID: fmt.Sprintf("%032x", n), Key: service.Key{Exchange: "simulated", Symbol: symbol, Interval: "1h"},
			Kind: kind, Role: levels.Role(n % 2), Level: uint64(n), Edge: float64(n), At: at,
		},
		seq: 2 * n, storedAt: at,
	}
	for _, f := range change {
		f(&e)
	}
	id := func(n uint64) string { return string(wire.AppendID(nil, n)) }
	e.Body = appendJSON(nil, &wire.Event{
		ID: e.ID, Kind: e.Kind, Exchange: e.Exchange, Symbol: e.Symbol, Interval: string(e.Interval), Simulated: true,
		OccurredAt: at, EmittedAt: at, AsOf: at, Price: 0.00000123, ATR: 1, Begun: at,
		Level: wire.EventLevel{ID: id(e.Level), Role: e.Role.String(), Price: 1, Low: 1, High: 1, Edge: e.Edge, State: "held"},
		Links: wire.EventLinks{Levels: "/levels/" + symbol},
	})
	h.store.events = append(h.store.events, e)
	h.store.mu.Unlock()
	h.api.EventsStored()
	return &e
}

// hours stores a number of events, of all kinds in turn.
func hours(h *harness, n int) {
	for i := range n {
		h.happen("BTCUSDT", wire.EventKinds[i%len(wire.EventKinds)])
	}
}

// seqs are the numbers of events.
func seqs(list []wire.Event) (all []int64) {
	for _, e := range list {
		all = append(all, e.Seq)
	}
	return all
}

func TestEvents_PagesContinueWhereTheLastOneEnded(t *testing.T) {
	h := start(t)
	page := func(query string) wire.EventPage {
		t.Helper()
		rec := h.get("/events?" + query)
		want(t, rec, 200)
		if rec.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", query, rec.Header())
		}
		return decode[wire.EventPage](t, rec)
	}
	if rec := h.get("/events"); rec.Body.String() != `{"events":[],"next":0,"more":false,"missed":false}`+"\n" {
		t.Errorf("without events: %s", rec.Body)
	}
	hours(h, 150)
	if p := page(""); len(p.Events) != 100 || p.Events[0].Seq != 102 || p.Next != 300 || p.More || p.Missed {
		t.Errorf("the newest: %v, %d, %v", seqs(p.Events), p.Next, p.More)
	}
	var all []int64
	p := page("since=0&limit=70")
	for ; p.More; p = page("since=" + strconv.FormatInt(p.Next, 10) + "&limit=70") {
		all = append(all, seqs(p.Events)...)
	}
	if all = append(all, seqs(p.Events)...); len(all) != 150 || !slices.IsSorted(all) || p.Next != 300 {
		t.Errorf("%d events up to %d: %v", len(all), p.Next, all)
	}
	day := h.store.events[100].storedAt
	h.store.events[149].storedAt = time.Now().Add(-time.Hour)
	defer func(events []happening) { h.store.events = events }(h.store.events)
	for query, want := range map[string]int64{ // the first that comes
		"since=" + day.Format(time.RFC3339):            202,
		"since=" + day.Add(1).Format(time.RFC3339Nano): 204,
		"since=" + h.store.events[100].ID:              204,
		"since=296":                                    298,
		"since=297":                                    298,
		"since=2d":                                     300,
		"since=1h30m":                                  300,
		"since=latest":                                 0,
		"since=300":                                    0,
	} {
		p := page(query + "&limit=2")
		first := int64(0)
		if len(p.Events) > 0 {
			first = p.Events[0].Seq
		}
		if first != want || p.Next != 300 && !p.More || p.Missed {
			t.Errorf("%s begins with %d and leads to %d, want %d", query, first, p.Next, want)
		}
	}
	h.store.events = h.store.events[20:] // pruned; 42 is the first
	for query, missed := range map[string]bool{"since=38": true, "since=40": true, "since=41": false, "since=0": false, "": false, "since=latest": false, "since=42": false} {
		if p := page(query + "&limit=2"); p.Missed != missed {
			t.Errorf("%s: missed is %v", query, p.Missed)
		}
		if rec := h.get("/events?format=ndjson&" + query); (rec.Header().Get(missedHeader) != "") != missed {
			t.Errorf("%s: %v", query, rec.Header())
		}
	}
	if rec := h.do("HEAD", "/events?wait=10s&since=latest", ""); rec.Code != 200 {
		t.Errorf("HEAD: %d", rec.Code)
	}
}

// A filtered reader learns what the filter has passed over, but not what it may have missed.
func TestEvents_AreFiltered(t *testing.T) {
	h := start(t)
	h.happen("BTCUSDT", "touched")
	h.happen("BTCUSDT", "held", func(e *happening) { e.Interval = "4h" })
	h.happen("ETHUSDT", "broke", func(e *happening) { e.Exchange = "okx" })
	h.happen("ETHUSDT", "touched", func(e *happening) { e.Level = 171 })
	h.happen("PEPEUSDT", "vanished")
	for query, want := range map[string][]int64{
		"kind=touched": {2, 8}, "kind=held,broke": {4, 6}, "kind=flipped": nil, "interval=4h": {4}, "interval=1h,4h": {2, 4, 6, 8, 10}, "exchange=okx": {6}, "exchange=simulated": {2, 4, 8, 10},
		"role=support": {4, 8}, "role=resistance": {2, 6, 10}, "min_edge=3.5": {8, 10}, "level=00000000000000ab": {8}, "level=0000000000000001,0000000000000002": {2, 4},
		"symbol=eth/usdt": {8}, "symbol=ETHUSDT&exchange=okx": {6}, "symbols=BTCUSDT,pepe-usdt": {2, 4, 10}, "symbol=BTCUSDT&symbols=PEPEUSDT&kind=vanished": {10}, "symbol=NOPEUSDT": nil,
	} {
		for from, since := range map[string]string{"the newest": "", "all": "&since=0"} {
			rec := h.get("/events?" + query + since)
			p := decode[wire.EventPage](t, rec)
			if rec.Code != 200 || !slices.Equal(seqs(p.Events), want) || p.Next != 10 || p.More {
				t.Errorf("%s of %s: %v, next %d", query, from, seqs(p.Events), p.Next)
			}
		}
	}
	if p := decode[wire.EventPage](t, h.get("/events?kind=touched&since=0&limit=1")); p.Next != 2 || !p.More {
		t.Errorf("a full page: %+v", p)
	}
	if p := decode[wire.EventPage](t, h.get("/events?kind=touched&since=2&limit=1")); p.Next != 8 || p.More {
		t.Errorf("the last page: %+v", p)
	}
	for _, bad := range []string{
		"since=yesterday%20", "since=-1", "since=12", "since=1h&since=2h", "since=00000000000000000000000000000099", "limit=0", "limit=1001", "wait=61s", "wait=-1s", "wait=x",
		"kind=hold", "kind=held,", "interval=7h", "interval=1h,1h", "role=both", "min_edge=-1", "level=ab", "symbol=%20", "symbols=BTCUSDT,", "exchange=A", "format=csv", "foo=1",
		"symbols=" + strings.Repeat("A,", maxSymbols) + "A", "level=" + strings.Repeat("00000000000000ab,", maxEventLevels) + "00000000000000ab",
	} {
		rec := h.get("/events?" + bad)
		if p := problemOf(t, rec); rec.Code != 400 || p.Code != "invalid_request" || len(p.Errors) != 1 {
			t.Errorf("%s: %d %s", bad, rec.Code, rec.Body)
		}
	}
	h.store.err = service.ErrStorage
	for _, query := range []string{"", "since=0", "since=1h", "since=latest", "format=sse&since=0"} {
		want(t, h.get("/events?"+query), 503)
	}
}

// Without an exchange a name means the pair on all exchanges that have it.
func TestEvents_OfAPairOnSeveralExchanges(t *testing.T) {
	h := startOn(t, []*fakeExchange{{market: service.Market{Exchange: "simulated"}}, {market: service.Market{Exchange: "okx"}}})
	h.store.pairs = []service.KnownPair{
		{Exchange: "simulated", Symbol: "BTCUSDT", Name: "BTC/USDT", Base: "BTC", Quote: "USDT", Active: true},
		{Exchange: "okx", Symbol: "BTC-USDT", Name: "BTC/USDT", Base: "BTC", Quote: "USDT", Active: true},
		{Exchange: "okx", Symbol: "BTCUSDT", Name: "BTC/USDT:USDT", Base: "BTC", Quote: "USDT", Settle: "USDT", Active: true},
	}
	on := func(exchange string) func(*happening) { return func(e *happening) { e.Exchange = exchange } }
	h.happen("BTCUSDT", "held")
	h.happen("BTC-USDT", "held", on("okx"))
	h.happen("BTCUSDT", "held", on("okx"))
	for query, want := range map[string][]int64{
		"symbol=BTC/USDT": {2, 4}, "symbol=BTC/USDT:USDT": {6}, "symbol=BTC/USDT&exchange=okx": {4}, "symbols=BTC-USDT,BTC/USDT:USDT": {4, 6}, "symbol=ETHUSDT": nil,
	} {
		if got := seqs(decode[wire.EventPage](t, h.get("/events?"+query)).Events); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
}

func TestEvents_AreSentAsTheyAreStored(t *testing.T) {
	h := start(t)
	hours(h, 80)
	var lines []string
	for _, e := range h.store.events {
		lines = append(lines, fmt.Sprintf(`{"seq":%d,%s`, e.seq, e.Body[1:]))
	}
	rec := h.get("/events?since=0", "Accept", "application/x-ndjson")
	want(t, rec, 200)
	if rec.Body.String() != strings.Join(lines, "\n")+"\n" || rec.Header().Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%v\n%.1000s", rec.Header(), rec.Body)
	}
	if rec := h.get("/events?since=0"); rec.Body.String() != `{"events":[`+strings.Join(lines, ",")+`],"next":160,"more":false,"missed":false}`+"\n" || !strings.Contains(rec.Body.String(), `"price":0.00000123`) {
		t.Errorf("%.1000s", rec.Body)
	}
	if rec := h.get("/events?since=latest&format=ndjson"); rec.Code != 200 || rec.Body.Len() != 0 {
		t.Errorf("no lines: %d %s", rec.Code, rec.Body)
	}
}

func TestEvents_APageWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		hours(h, 3)
		began := time.Now()
		ask := func(query string) (wire.EventPage, time.Duration) {
			t.Helper()
			began = time.Now()
			rec := h.get("/events?" + query)
			want(t, rec, 200)
			return decode[wire.EventPage](t, rec), time.Since(began)
		}
		if p, took := ask("since=4&wait=20s"); took != 0 || len(p.Events) != 1 {
			t.Errorf("with an event: %v, %v", took, seqs(p.Events))
		}
		if p, took := ask("since=latest&wait=20s"); took != 20*time.Second || p.Next != 6 || len(p.Events) != 0 {
			t.Errorf("without an event: %v, %+v", took, p)
		}
		time.AfterFunc(3*time.Second, func() { h.happen("BTCUSDT", "touched") })
		time.AfterFunc(5*time.Second, func() { h.happen("BTCUSDT", "held") })
		if p, took := ask("since=6&wait=1m&kind=held"); took != 5*time.Second || !slices.Equal(seqs(p.Events), []int64{10}) || h.api.replies.inUse() != 0 || metric(t, h, "tidemark_http_event_streams") != 0 {
			t.Errorf("an event while waiting: %v, %+v", took, p)
		}
		time.AfterFunc(time.Second, h.api.Close)
		if p, took := ask("since=latest&wait=1m"); took != time.Second || p.Next != 10 {
			t.Errorf("closed while waiting: %v, %+v", took, p)
		}
	})
}

func TestEvents_AStreamHasTheHistoryAndThenWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		hours(h, 75)
		for _, stream := range []struct {
			query, last string
			after       int64
		}{{"since=0", "", 0}, {"since=20", "", 20}, {"since=0", "20", 20}, {"since=latest", "", -1}, {"", "", -1}, {"kind=held,broke&since=0", "", 0}} {
			ctx, leave := context.WithCancel(context.Background())
			done := make(chan *httptest.ResponseRecorder, 1)
			request := localRequest("GET", "/events?"+stream.query, nil).WithContext(ctx)
			request.Header.Set("Accept", "text/event-stream")
			request.Header.Set("Last-Event-Id", stream.last)
			before := int64(2 * len(h.store.events))
			go func() { done <- h.send(request) }()
			synctest.Wait()
			h.store.mu.Lock()
			h.store.reads = 0
			h.store.mu.Unlock()
			for range 5 { // soon after another
				h.happen("BTCUSDT", "held")
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(20 * time.Second)
			h.store.mu.Lock()
			if h.store.reads > 2 {
				t.Errorf("%s: %d reads for what came within 50 ms", stream.query, h.store.reads)
			}
			h.store.mu.Unlock()
			for range 40 {
				h.happen("BTCUSDT", "broke")
			}
			time.Sleep(time.Second)
			leave()
			rec := <-done
			want(t, rec, 200)
			if rec.Header().Get("Content-Type") != "text/event-stream" || rec.Header().Get("X-Accel-Buffering") != "no" || rec.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%v", rec.Header())
			}
			after := stream.after
			if after < 0 {
				if after = before; stream.query == "" {
					after = max(0, before-200) + 1
				}
			}
			var got, wanted []int64
			for _, e := range h.store.events {
				if e.seq > after && (!strings.Contains(stream.query, "kind") || e.Kind == "held" || e.Kind == "broke") {
					wanted = append(wanted, e.seq)
				}
			}
			list, heartbeats := events(rec.Body.String()), 0
			if list[0].retry == "" || list[0].id != strconv.FormatInt(after, 10) || list[0].data != "" {
				t.Errorf("%s begins with %+v, want the id %d", stream.query, list[0], after)
			}
			for _, e := range list[1:] {
				var body wire.Event
				switch {
				case e.comment != "":
					heartbeats++
				case json.Unmarshal([]byte(e.data), &body) != nil || e.id != strconv.FormatInt(body.Seq, 10) || e.name != body.Kind:
					t.Fatalf("%s: %+v", stream.query, e)
				default:
					got = append(got, body.Seq)
				}
			}
			if !slices.Equal(got, wanted) || heartbeats != 1 {
				t.Errorf("%s: %v, want %v; %d heartbeats", stream.query, got, wanted, heartbeats)
			}
		}
		if n := metric(t, h, "tidemark_http_event_streams"); n != 0 || h.api.replies.inUse() != 0 {
			t.Errorf("%v streams are still counted", n)
		}
	})
}

func TestEvents_AStreamSaysWhatItPassesOverAndWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		hours(h, 10)
		h.store.events = h.store.events[5:] // 12 is the first
		done := make(chan string, 1)
		go func() { done <- h.get("/events?since=4&kind=flipped&format=sse").Body.String() }()
		time.Sleep(16 * time.Second)
		hours(h, 1) // none of its events is a flip
		time.Sleep(15 * time.Second)
		h.api.Close()
		flip := h.store.events[0]
		want := "retry: 2000\nid: 4\n\nevent: missed\ndata: {\"after\":4}\n\nid: 12\nevent: flipped\ndata: " +
			string(appendStored(nil, &service.StoredEvent{Seq: 12, Body: flip.Body})) + "\n\n: still here\nid: 20\n\n: still here\nid: 22\n\n"
		if got := <-done; flip.seq != 12 || got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	})
}

func TestEvents_StreamsAreBoundedAndEndAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(c *Config, _ *service.Config) { c.Streams = 2 })
		hours(h, 200)
		done := make(chan int, 2)
		go func() { done <- h.get("/events?format=sse").Code }()
		go func() { done <- h.get("/events?since=latest&wait=1m").Code }()
		synctest.Wait()
		for _, target := range []string{"/events?format=sse", "/events?since=latest&wait=1m"} {
			rec := h.get(target)
			if p := problemOf(t, rec); rec.Code != 503 || p.Code != "busy" || rec.Header().Get("Retry-After") == "" {
				t.Errorf("%s: %v %s", target, rec.Header(), rec.Body)
			}
		}
		want(t, h.get("/events"), 200)
		want(t, h.get("/events?since=0&format=sse", "Last-Event-ID", "x"), 400)
		want(t, h.get("/events?format=sse&since=500"), 503)
		h.api.Close()
		for range 2 {
			if code := <-done; code != 200 {
				t.Errorf("status %d", code)
			}
		}
		if rec := h.get("/events?format=sse&since=0"); rec.Code != 200 || strings.Count(rec.Body.String(), "data:") != eventsAtOnce {
			t.Errorf("a stream after the end: %d, %d events", rec.Code, strings.Count(rec.Body.String(), "data:"))
		}
		want(t, h.get("/events?format=sse&since=500"), 400)
		if rec := h.do("HEAD", "/events?format=sse", ""); rec.Code != 200 || rec.Header().Get("Content-Type") != "text/event-stream" {
			t.Errorf("HEAD: %d %v", rec.Code, rec.Header())
		}
	})
}
