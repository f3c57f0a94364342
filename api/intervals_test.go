// Pins GET /levels/{symbol}?interval=1h,4h: each analysis is as in its own answer, each
// level names those of other intervals beside it, and the whole may be kept no longer
// than any of its parts.
package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

type intervalsJSON = wire.PairOnIntervals[wire.OnInterval]

// on is an analysis of BTCUSDT with levels at these prices; those up to 100 are supports.
// Their ids are the interval's number and their own.
func on(interval levels.Interval, asOf time.Time, atr float64, prices ...float64) service.Snapshot {
	s := service.Snapshot{
		Key:  service.Key{Exchange: "simulated", Symbol: "BTCUSDT", Interval: interval},
		AsOf: asOf, ComputedAt: asOf, LastPrice: 100, ATR: atr, Klines: 500, Simulated: true, Algorithm: levels.Algorithm, Decimals: 2,
	}
	for i, price := range prices {
		l := levels.Level{ID: uint64(slices.Index(levels.Intervals(), interval)<<8 + i + 1), Price: price, Low: price - 0.5, High: price + 0.5, Edge: 5, DrawnEdge: 5, Strength: 0.5}
		if price <= s.LastPrice {
			s.Supports = append(s.Supports, l)
		} else {
			l.Role = levels.Resistance
			s.Resistances = append(s.Resistances, l)
		}
	}
	return s
}

// confluences returns the confluence of each level of an entry: interval and number.
func confluences(e *wire.OnInterval) string {
	var all []string
	for _, l := range slices.Concat(e.Supports, e.Resistances) {
		var refs []string
		for _, r := range l.Confluence {
			refs = append(refs, r.Interval+":"+r.ID[15:])
		}
		all = append(all, fmt.Sprintf("%v%v", l.Price, refs))
	}
	return strings.Join(all, " ")
}

func TestIntervals_EachIsAsInItsOwnAnswerToTheByte(t *testing.T) {
	h := start(t)
	now := time.Now().UTC().Truncate(4 * time.Hour)
	real := snapshot("BTCUSDT", now)
	store(h, real, on("4h", now, 5, 98.7, 90, 103.2), on("1d", now.Truncate(24*time.Hour), 12))
	for _, parameters := range []string{"", "&faint=true", "&min_edge=4", "&faint=false&min_edge=1", "&at=" + time.Now().UTC().Format(time.RFC3339)} {
		rec := h.get("/levels/BTCUSDT?interval=4h,1h,1d" + parameters)
		want(t, rec, 200)
		if got := rec.Header().Get("Content-Type"); got != "application/vnd.tidemark.intervals+json" {
			t.Errorf("of type %s", got)
		}
		var whole struct{ Intervals []json.RawMessage }
		if err := json.Unmarshal(rec.Body.Bytes(), &whole); err != nil || len(whole.Intervals) != 3 {
			t.Fatalf("%v: %s", err, rec.Body)
		}
		for i, interval := range []string{"4h", "1h", "1d"} {
			var e wire.OnInterval
			if err := json.Unmarshal(whole.Intervals[i], &e); err != nil {
				t.Fatal(err)
			}
			for _, side := range [][]wire.Level{e.Supports, e.Resistances} {
				for k := range side {
					if side[k].Confluence == nil {
						t.Errorf("%s %v has no list", interval, side[k].Price)
					}
				}
			}
			// Encoding the decoded reply gives the same bytes, so every field is where it belongs.
			if got := appendJSON(nil, &e); !bytes.Equal(got, whole.Intervals[i]) {
				t.Errorf("%s%s: encoded again it is\n%s\nand not\n%s", interval, parameters, got, whole.Intervals[i])
			}
			for _, side := range [][]wire.Level{e.Supports, e.Resistances} {
				for k := range side {
					side[k].Confluence = nil
				}
			}
			alone := h.get("/levels/BTCUSDT?interval=" + interval + parameters).Body.String()
			if got := string(appendJSON(nil, &e)) + "\n"; got != alone {
				t.Errorf("%s%s: got\n%s\nalone it is\n%s", interval, parameters, got, alone)
			}
		}
	}
}

func TestIntervals_LevelsWithinAQuarterOfTheShorterATRAreBeside(t *testing.T) {
	now := time.Now().UTC().Truncate(24 * time.Hour)
	fresh := func() []service.Snapshot {
		return []service.Snapshot{
			on("1h", now, 2, 99, 95, 101.5),       // beside others within 0.5
			on("4h", now, 8, 99.5, 94.4, 100.999), // 1d within 2
			on("1d", now, 40, 92.4, 101.9, 103),
		}
	}
	for name, c := range map[string]struct {
		change func(all []service.Snapshot)
		want   [3]string // of 1h, 4h, 1d
	}{
		"a quarter is within, more is not, and a resistance may be beside a support's side": {
			func([]service.Snapshot) {},
			[3]string{"99[4h:1] 95[] 101.5[1d:2]", "99.5[1h:1] 94.4[1d:1] 100.999[1d:2]", "92.4[4h:2] 101.9[1h:3 4h:3] 103[]"},
		},
		"one interval may have several": {
			func(all []service.Snapshot) { all[1] = on("4h", now, 8, 99.4, 98.8, 98.6) },
			[3]string{"99[4h:1 4h:2 4h:3] 95[] 101.5[1d:2]", "99.4[1h:1] 98.8[1h:1] 98.6[1h:1]", "92.4[] 101.9[1h:3] 103[]"},
		},
		"levels of a market that is simulated do not count for a real one": {
			func(all []service.Snapshot) { all[1].Simulated = false },
			[3]string{"99[] 95[] 101.5[1d:2]", "99.5[] 94.4[] 100.999[]", "92.4[] 101.9[1h:3] 103[]"},
		},
		"stale ones do not count for those that are not": {
			func(all []service.Snapshot) { all[1] = on("4h", now.AddDate(0, 0, -9), 8, 99.5, 94.4, 100.999) },
			[3]string{"99[] 95[] 101.5[1d:2]", "99.5[1h:1] 94.4[1d:1] 100.999[1d:2]", "92.4[] 101.9[1h:3] 103[]"},
		},
		"those that are not shown do not count": {
			func(all []service.Snapshot) { all[1].Supports[0].Edge, all[1].Supports[0].DrawnEdge = 1, 1 },
			[3]string{"99[] 95[] 101.5[1d:2]", "94.4[1d:1] 100.999[1d:2]", "92.4[4h:2] 101.9[1h:3 4h:3] 103[]"},
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(now.Add(time.Minute)))
			h := start(t, func(c *Config, _ *service.Config) { c.MinEdge = 3 })
			all := fresh()
			c.change(all)
			store(h, all...)
			for range 2 { // from the store, then from the cache
				got := decode[intervalsJSON](t, h.get("/levels/BTCUSDT?interval=1h,4h,1d"))
				if got.Symbol != "BTCUSDT" || got.Exchange != "simulated" || len(got.Intervals) != 3 {
					t.Fatalf("%+v", got)
				}
				for i := range got.Intervals {
					if text := confluences(&got.Intervals[i]); text != c.want[i] {
						t.Errorf("%s: %s has %s, want %s", name, got.Intervals[i].Interval, text, c.want[i])
					}
				}
			}
		})
	}
}

func TestIntervals_AMissingOneIsToldAndTheOthersAreAnswered(t *testing.T) {
	h := start(t)
	now := time.Now().UTC().Truncate(time.Hour)
	store(h, on("1h", now, 2, 99))
	rec := h.get("/levels/btc-usdt?interval=1d,1h,4h")
	want(t, rec, 200)
	got := decode[intervalsJSON](t, rec)
	for i, interval := range []string{"1d", "1h", "4h"} {
		e := got.Intervals[i]
		if e.Interval != interval || (e.Problem != nil) != (interval != "1h") {
			t.Fatalf("entry %d is %+v", i, e)
		}
		if p := e.Problem; p != nil && (p.Code != "not_analyzed" || !strings.Contains(p.Detail, "BTCUSDT "+interval+" on simulated")) {
			t.Errorf("%s: %+v", interval, p)
		}
	}
	if confluences(&got.Intervals[1]) != "99[]" {
		t.Errorf("%s", rec.Body)
	}
	// any of them may be analysed the next moment
	if cache := rec.Header().Get("Cache-Control"); cache != "no-cache" {
		t.Errorf("Cache-Control %q", cache)
	}
	rec = h.get("/levels/BTCUSDT?interval=4h,1d")
	want(t, rec, 404)
	if p := problemOf(t, rec); p.Code != "not_analyzed" || !strings.Contains(p.Detail, "BTCUSDT 4h, 1d on simulated") {
		t.Errorf("%+v", p)
	}
	// an analysis that cannot be read is a problem of its interval; any other fault is one of the request
	h.store.SnapshotFunc = func(key service.Key, _ time.Time) (service.Snapshot, error) {
		if key.Interval == "4h" {
			return service.Snapshot{}, fmt.Errorf("%s: %w", key.Symbol, service.ErrUnreadable)
		}
		return on("1h", now, 2, 99), nil
	}
	got = decode[intervalsJSON](t, h.get("/levels/BTCUSDT?interval=1h,4h"))
	if p := got.Intervals[1].Problem; p == nil || p.Code != "not_analyzed" || !strings.Contains(p.Detail, "cannot be read") {
		t.Errorf("%+v", got.Intervals[1])
	}
	h.store.SnapshotFunc = func(service.Key, time.Time) (service.Snapshot, error) {
		return service.Snapshot{}, errors.New("the disk is gone")
	}
	if rec = h.get("/levels/BTCUSDT?interval=4h,1d"); rec.Code < 500 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestIntervals_RefusalsNameTheParameter(t *testing.T) {
	h := start(t)
	store(h, snapshot("BTCUSDT", time.Now()))
	for query, c := range map[string][2]string{
		"interval=1h,7h":                         {"interval", `unknown interval "7h"`},
		"interval=1h,1M":                         {"interval", `unknown interval "1M"`},
		"interval=1h,":                           {"interval", `unknown interval ""`},
		"interval=,":                             {"interval", `unknown interval ""`},
		"interval=1h,4h,1h":                      {"interval", "1h is there twice"},
		"interval=1h,%204h":                      {"interval", `unknown interval " 4h"`},
		"interval=1h&interval=4h":                {"interval", "there twice"},
		"interval=1h,4h&exchange=all":            {"interval", "only one with exchange=all"},
		"interval=1h,4h&format=pine":             {"format", "one interval"},
		"interval=1h,4h&min_edge=x":              {"min_edge", "not a number"},
		"interval=1h,4h&at=2999-01-01T00:00:00Z": {"at", "not come yet"},
	} {
		rec := h.get("/levels/BTCUSDT?" + query)
		want(t, rec, 400)
		if p := problemOf(t, rec); p.Code != "invalid_request" || len(p.Errors) != 1 || p.Errors[0].Parameter != c[0] || !strings.Contains(p.Detail, c[1]) {
			t.Errorf("%s: %+v", query, p)
		}
	}
	// the other routes are about one interval
	for _, path := range []string{"/levels?interval=1h,4h", "/klines/BTCUSDT?interval=1h,4h", "/levels/BTCUSDT/marks?interval=1h,4h", "/levels/BTCUSDT/chart.svg?interval=1h,4h"} {
		want(t, h.get(path), 400)
	}
}

func TestIntervals_MayBeKeptUntilTheFirstCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is 2000-01-01T00:00:00Z
		h := start(t)
		store(h, on("1h", time.Now(), 2, 99), on("4h", time.Now(), 5, 98.8))
		time.Sleep(10 * time.Minute)
		const path = "/levels/BTCUSDT?interval=4h,1h"
		rec := h.get(path)
		want(t, rec, 200)
		tag := rec.Header().Get("ETag")
		for name, value := range map[string]string{
			"Cache-Control": "public, max-age=3000", "Last-Modified": "Sat, 01 Jan 2000 00:00:00 GMT", "Vary": "Accept", "Content-Length": fmt.Sprint(rec.Body.Len()),
		} {
			if got := rec.Header().Get(name); got != value {
				t.Errorf("%s %q, want %q", name, got, value)
			}
		}
		for _, header := range []string{tag, "W/" + tag, "*"} {
			rec := h.get(path, "If-None-Match", header)
			if rec.Code != 304 || rec.Body.Len() > 0 || rec.Header().Get("ETag") != tag || rec.Header().Get("Cache-Control") == "" {
				t.Errorf("%s: %d with %d bytes, %v", header, rec.Code, rec.Body.Len(), rec.Header())
			}
		}
		other := h.get("/levels/BTCUSDT?interval=1h,4h", "If-None-Match", tag)
		if other.Code != 200 || other.Header().Get("ETag") == tag {
			t.Errorf("another order has the same tag")
		}
		time.Sleep(50 * time.Minute) // 01:00
		if got := h.get(path).Header().Get("Cache-Control"); got != "no-cache" {
			t.Errorf("after the close of 1h: %q", got)
		}
		store(h, on("1h", time.Now(), 2, 98.9))
		h.api.Invalidate("simulated", "1h", []string{"BTCUSDT"})
		rec = h.get(path, "If-None-Match", tag)
		if got := rec.Header().Get("Last-Modified"); rec.Code != 200 || rec.Header().Get("ETag") == tag || got != "Sat, 01 Jan 2000 01:00:00 GMT" || rec.Header().Get("Cache-Control") != "public, max-age=3600" {
			t.Errorf("after a new analysis of 1h: %d, %v", rec.Code, rec.Header())
		}
		tag = rec.Header().Get("ETag")
		time.Sleep(4 * time.Minute) // nothing new, and then 1h becomes stale
		if rec = h.get(path, "If-None-Match", tag); rec.Code != 304 {
			t.Errorf("nothing changed: %d", rec.Code)
		}
		time.Sleep(time.Hour)
		rec = h.get(path, "If-None-Match", tag)
		if got := decode[intervalsJSON](t, rec); rec.Code != 200 || !got.Intervals[1].Stale || got.Intervals[0].Stale {
			t.Errorf("two hours after the analysis: %d %s", rec.Code, rec.Body)
		}
		// what is shown otherwise, or of the past, is kept as that of one interval
		for query, value := range map[string]string{"&min_edge=1": "no-cache", "&format=csv": "no-cache", "&at=2000-01-01T01:30:00Z": "no-cache"} {
			if got := h.get(path + query).Header().Get("Cache-Control"); got != value {
				t.Errorf("%s: %q", query, got)
			}
		}
		time.Sleep(9 * time.Hour) // two candles of 4h
		if got := h.get(path + "&at=2000-01-01T01:30:00Z").Header().Get("Cache-Control"); got != "public, max-age=300" {
			t.Errorf("of the past: %q", got)
		}
	})
}

// The replies of single intervals are those that the whole is made of, in either order.
func TestIntervals_AreMadeOfTheCachedReplies(t *testing.T) {
	h := start(t)
	now := time.Now().UTC().Truncate(time.Hour)
	store(h, on("1h", now, 2, 99), on("4h", now, 5, 98.8))
	reads := 0
	h.store.SnapshotFunc = func(key service.Key, _ time.Time) (service.Snapshot, error) {
		reads++
		return h.store.snaps[key][0], nil
	}
	want(t, h.get("/levels/BTCUSDT?interval=1h"), 200)
	for range 3 {
		want(t, h.get("/levels/BTCUSDT?interval=1h,4h"), 200)
	}
	want(t, h.get("/levels/BTCUSDT?interval=4h"), 200)
	if reads != 2 {
		t.Errorf("%d reads of two analyses", reads)
	}
	if _, entries := h.api.cache.usage(); entries != 2 {
		t.Errorf("%d replies are kept", entries)
	}
}

func TestIntervals_RowsHaveOneColumnMore(t *testing.T) {
	h := start(t)
	now := time.Now().UTC().Truncate(time.Hour)
	store(h, on("1h", now, 2, 99, 95), on("4h", now, 8, 99.3, 98.7))
	alone := h.get("/levels/BTCUSDT?interval=1h&format=csv").Body.String()
	lines := strings.Split(h.get("/levels/BTCUSDT?interval=1h,1d,4h&format=csv").Body.String(), "\r\n")
	single := strings.Split(alone, "\r\n")
	if len(lines) != 6 || lines[0] != single[0]+",confluence" || lines[1] != single[1]+",4h:0000000000000701 4h:0000000000000702" || lines[2] != single[2]+"," ||
		!strings.HasSuffix(lines[3], ",1h:0000000000000501") || !strings.HasPrefix(lines[3], "BTCUSDT,simulated,4h,") {
		t.Errorf("%q", lines)
	}
	rec := h.get("/levels/BTCUSDT?interval=1h,4h", "Accept", "application/x-ndjson")
	if got := rec.Header().Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("of type %s", got)
	}
	rows := readLines(t, rec.Body.String())
	if len(rows) != 4 || fmt.Sprint(rows[0]["confluence"]) != "[map[id:0000000000000701 interval:4h] map[id:0000000000000702 interval:4h]]" || fmt.Sprint(rows[1]["confluence"]) != "[]" {
		t.Errorf("%v", rows)
	}
	for _, row := range readLines(t, h.get("/levels/BTCUSDT?format=ndjson").Body.String()) {
		if _, there := row["confluence"]; there {
			t.Errorf("of one interval: %v", row)
		}
	}
}

// A pair may be named by its canonical name, and lie on one of several exchanges.
func TestIntervals_FindThePairAsOneIntervalDoes(t *testing.T) {
	h := several(t)
	now := time.Now().UTC().Truncate(time.Hour)
	for _, interval := range []levels.Interval{"1h", "4h"} {
		s := on(interval, now, 4, 99)
		s.Key = service.Key{Exchange: "okx", Symbol: "ONLY-USDT", Interval: interval}
		s.Simulated = false
		store(h, s)
	}
	for _, path := range []string{"/levels/ONLY/USDT?interval=1h,4h", "/levels/ONLY-USDT?interval=1h,4h", "/levels/onlyusdt?interval=1h,4h&exchange=okx"} {
		rec := h.get(path)
		want(t, rec, 200)
		if got := decode[intervalsJSON](t, rec); got.Symbol != "ONLY-USDT" || got.Exchange != "okx" || confluences(&got.Intervals[0]) != "99[4h:1]" {
			t.Errorf("%s: %s", path, rec.Body)
		}
	}
	want(t, h.get("/levels/BTC/USDT?interval=1h,4h"), 409) // of two exchanges
}
