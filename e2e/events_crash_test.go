package e2e

// Processes that are killed lose no event and store none twice, every outcome is the one that
// the candles of the exchange give, and each event reaches a receiver, in order for each level.

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/command"
	"tidemark/exchange"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// At full length: TIDEMARK_TEST_KILLS=20.
func TestEvents_NoneIsLostOrDoubledByKills(t *testing.T) {
	t.Parallel()
	kills := number(t, "TIDEMARK_TEST_KILLS", 2)
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, address := market(t, simulated.Options{Pairs: 40, Now: fast(20)}) // a candle of a minute closes every three seconds
			database := url(t)
			receiver := &hooks{first: map[string]int{}}
			server := httptest.NewServer(receiver)
			t.Cleanup(server.Close)
			rules := filepath.Join(t.TempDir(), "rules.json")
			if err := os.WriteFile(rules, fmt.Appendf(nil, `{"receivers":[{"name":"bot","kind":"webhook","per_minute":600,"config":{"url":%q,"secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}],
				"rules":[{"name":"all","receivers":["bot"],"min_edge":0,"group_wait_ms":500}]}`, server.URL), 0o600); err != nil {
				t.Fatal(err)
			}
			start := func() *child {
				return spawn(t, "EXCHANGE_BASE_URL="+address, "DATABASE_URL="+database, "ANALYSIS_LIVE=true", "ANALYSIS_INTERVAL=1m", "ANALYSIS_KLINE_LIMIT=200",
					"SECRETS_KEY="+strings.Repeat("ab", 32), "RECEIVERS_ALLOW=private", "RULES_FILE="+rules)
			}
			processes := []*child{start(), start()}
			for n := range kills {
				time.Sleep(time.Duration(3000+rand.IntN(2000)) * time.Millisecond)
				processes[n%2].kill()
				processes[n%2] = start()
			}
			time.Sleep(10 * time.Second)
			for _, p := range processes {
				p.kill()
			}
			checkEvents(t, address, database)
			checkDeliveries(t, database, receiver)
		})
	}
}

// hooks is a receiver of webhooks. Of each message it notes when the first attempt arrived.
type hooks struct {
	mu    sync.Mutex
	first map[string]int // by id, its place in the order of arrival
	all   int            // with those that came again
}

func (h *hooks) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all++
	if id := r.Header.Get("webhook-id"); h.first[id] == 0 {
		h.first[id] = len(h.first) + 1
	}
}

// checkDeliveries lets another process deliver what is left, and compares the messages that
// arrived with the stored events: each is in one of them, and those of a level arrive in order.
func checkDeliveries(t *testing.T, database string, receiver *hooks) {
	t.Helper()
	// live analyses stay off, so that nothing more happens
	p := spawn(t, "DATABASE_URL="+database, "SECRETS_KEY="+strings.Repeat("ab", 32), "RECEIVERS_ALLOW=private", "HTTP_RATE_LIMIT=0")
	var page wire.DeliveryPage
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		p.get(t, "/deliveries?state=gathering,pending&limit=1", &page)
		if len(page.Deliveries) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("deliveries are still open, such as %+v", page.Deliveries[0])
		}
	}
	stored, decided := map[int64]wire.Event{}, 0
	for since := int64(0); ; {
		var events wire.EventPage
		p.get(t, fmt.Sprintf("/events?since=%d&limit=1000", since), &events)
		for _, e := range events.Events {
			if e.TouchedAt != nil {
				decided++
			}
			if e.Level.Edge >= 0 { // the least of the rule
				stored[e.Seq] = e
			}
		}
		if since = events.Next; !events.More {
			break
		}
	}
	type arrival struct {
		seq   int64
		place int
	}
	byLevel := map[string][]arrival{}
	messages, expired, matched, seen := 0, 0, 0, map[int64]bool{}
	for before := ""; ; {
		page = wire.DeliveryPage{}
		p.get(t, "/deliveries?limit=500"+before, &page)
		for _, d := range page.Deliveries {
			var detail wire.DeliveryDetail
			p.get(t, fmt.Sprintf("/deliveries/%d", d.ID), &detail)
			messages++
			place := receiver.first[d.MessageID]
			// A process that is killed may keep a message from delivery until what it says of
			// prices is out of date.
			late := d.State == "expired" && !slices.ContainsFunc(detail.Seqs, func(seq int64) bool {
				return stored[seq].Kind != "approaching" && stored[seq].Kind != "touched"
			})
			switch all := d.Events + d.LeftOut; {
			case len(detail.Seqs) != min(all, 500): // no more are listed
				t.Errorf("the message %s has %d events, %d left out, and lists %d", d.MessageID, d.Events, d.LeftOut, len(detail.Seqs))
			case late && place == 0:
				expired++
			case d.State != "delivered" || place == 0:
				t.Errorf("the message %s is %s, and arrived as number %d: %v", d.MessageID, d.State, place, d.Error)
			default:
				matched += all - len(detail.Seqs)
			}
			for _, seq := range detail.Seqs {
				if seen[seq] {
					t.Errorf("event %d is in two messages", seq)
				}
				seen[seq] = true
				if e, ok := stored[seq]; ok {
					matched++
					if late {
						continue
					}
					byLevel[e.Symbol+e.Level.ID] = append(byLevel[e.Symbol+e.Level.ID], arrival{seq, place})
				}
			}
		}
		if page.Next == nil {
			break
		}
		before = fmt.Sprintf("&before=%d", *page.Next)
	}
	if matched != len(stored) || matched == 0 || len(receiver.first) != messages-expired {
		t.Errorf("of %d events %d are in messages; %d messages, of which %d arrived and %d were out of date", len(stored), matched, messages, len(receiver.first), expired)
	}
	for level, all := range byLevel {
		slices.SortFunc(all, func(a, b arrival) int { return cmp.Compare(a.seq, b.seq) })
		for i := 1; i < len(all); i++ {
			if all[i].place < all[i-1].place {
				a, b := stored[all[i-1].seq], stored[all[i].seq]
				t.Errorf("of the level %s event %d (%s of %s, number %d) arrived before event %d (%s of %s, number %d)", level,
					b.Seq, b.Kind, b.OccurredAt, all[i].place, a.Seq, a.Kind, a.OccurredAt, all[i-1].place)
			}
		}
	}
	checkRecord(t, p, decided)
	t.Logf("%d events in %d messages, which arrived in %d attempts", matched, messages, receiver.all)
}

// checkRecord compares what the command prints of the record with the number of decided
// episodes.
func checkRecord(t *testing.T, p *child, decided int) {
	t.Helper()
	environ := []string{"HTTP_ADDR=" + strings.TrimPrefix(p.base, "http://")}
	code, out, errs := execute(t, environ, "record", "--interval", "1m", "--json")
	var record map[string][]wire.RecordRow
	if err := json.Unmarshal([]byte(out), &record); code != 0 || err != nil {
		t.Fatalf("record: %d %v %s", code, err, errs)
	}
	hours := 0
	for _, r := range record["1m"] {
		decided -= r.Decided
		hours += len(r.Hours)
	}
	if decided != 0 || len(record) != 1 {
		t.Errorf("the record lacks %d outcomes: %s", decided, out)
	}
	if code, out, errs := execute(t, environ, "record", "--hours"); code != 0 || !strings.Contains(out, "any line, %") || strings.Count(out, "(simulated)") != len(record["1m"]) || strings.Count(out, ":00 UTC") != hours {
		t.Errorf("record: %d %s\n%s", code, errs, out)
	}
	if code, _, errs := execute(t, environ, "record", "--interval", "61m"); code != command.ExitUsage {
		t.Errorf("record of 61m: %d %s", code, errs)
	}
}

// checkEvents compares the stored events with the candles of the exchange.
func checkEvents(t *testing.T, address, database string) {
	t.Helper()
	db, client := reopened(t, address, database)
	type episode struct {
		symbol, level string
		begun         time.Time
	}
	stored, err := db.Events(t.Context(), service.EventQuery{Limit: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	var order []episode
	episodes := map[episode][]wire.Event{}
	counts := map[string]int{}
	for _, s := range stored {
		var e wire.Event
		if err := json.Unmarshal(s.Body, &e); err != nil {
			t.Fatal(err)
		}
		counts[e.Kind]++
		id := episode{e.Symbol, e.Level.ID, e.Begun}
		if episodes[id] == nil {
			order = append(order, id)
		}
		episodes[id] = append(episodes[id], e)
	}
	series, decided := map[string]*levels.Candles{}, 0
	for _, id := range order {
		if series[id.symbol] == nil {
			series[id.symbol] = fetchAll(t, client, id.symbol)
		}
		var snap service.Snapshot
		if snap, err = db.Snapshot(t.Context(), service.Key{Exchange: "simulated", Symbol: id.symbol, Interval: "1m"}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		if checkEpisode(t, episodes[id], series[id.symbol], snap.AsOf) {
			decided++
		}
	}
	if decided == 0 {
		t.Errorf("of %d episodes none is decided: %v", len(order), counts)
	}
	t.Logf("%d events of %d episodes, %d of them decided: %v", len(stored), len(order), decided, counts)
}

// checkEpisode compares the events of an episode with the verdict of the candles up to a
// time, and reports whether it is decided.
func checkEpisode(t *testing.T, events []wire.Event, all *levels.Candles, asOf time.Time) (decided bool) {
	t.Helper()
	rank := map[string]int{"appeared": 0, "vanished": 0, "approaching": 1, "touched": 2, "held": 3, "broke": 3, "flipped": 3}
	last := -1
	var touched, end *wire.Event
	for i := range events {
		e := &events[i]
		if rank[e.Kind] <= last && rank[e.Kind] > 0 {
			t.Errorf("%s %s: %s after rank %d", e.Symbol, e.Level.ID, e.Kind, last)
		}
		last = rank[e.Kind]
		switch {
		case e.Kind == "touched":
			touched = e
		case last == 3:
			end = e
		}
	}
	if touched == nil {
		if end != nil {
			t.Errorf("%s: %s without a touch", end.Symbol, end.Kind)
		}
		return false
	}
	n, _ := slices.BinarySearch(all.OpenTime, touched.Begun.UnixMilli())
	before := all.Slice(max(0, n-200), n)
	known, _ := slices.BinarySearch(all.OpenTime, asOf.UnixMilli())
	judged := all.Slice(0, known)
	v := levels.MomentOf(&before).Judge(touched.Level.Price, &judged)
	switch {
	case v.Outcome != levels.Held && v.Outcome != levels.Broke:
		if end != nil {
			t.Errorf("%s %s: %s, but the candles say %v", end.Symbol, end.Level.ID, end.Kind, v.Outcome)
		}
		return false
	case end == nil:
		t.Errorf("%s %s at %v, touched at %s: lost that it %v at %s", touched.Symbol, touched.Level.ID, touched.Level.Price, touched.OccurredAt,
			v.Outcome, time.UnixMilli(all.OpenTime[v.End]).UTC())
	case (v.Outcome == levels.Broke) != (end.Kind == "broke") || end.Candle.OpenTime.UnixMilli() != all.OpenTime[v.End]:
		t.Errorf("%s %s: %s by the candle of %s, but it %v at %s", end.Symbol, end.Level.ID, end.Kind, end.Candle.OpenTime,
			v.Outcome, time.UnixMilli(all.OpenTime[v.End]).UTC())
	}
	return true
}

// fetchAll returns the last 1,000 candles of a pair.
func fetchAll(t *testing.T, client *exchange.Client, symbol string) *levels.Candles {
	t.Helper()
	c := new(levels.Candles)
	c.Reset("1m", 1000)
	v := client.Visit(symbol, "1m", 1000)
	defer v.Close()
	if err := v.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	now, err := client.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Candles(t.Context(), symbol, now.Add(-999*time.Minute).UnixMilli(), c, make([]byte, 64<<10)); err != nil {
		t.Fatalf("%s: %v", symbol, err)
	}
	return c
}
