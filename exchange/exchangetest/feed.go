package exchangetest

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tidemark/exchange"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

// Frames returns the recorded messages of a venue, in order: those of a list of frames, or
// the body itself.
func Frames(t testing.TB, venue, pattern string) (all []string) {
	t.Helper()
	recordings := Recordings(t, venue, pattern)
	for _, name := range slices.Sorted(maps.Keys(recordings)) {
		body := recordings[name].Body
		var list struct {
			Frames []struct{ In json.RawMessage }
		}
		if json.Unmarshal([]byte(body), &list) != nil || list.Frames == nil {
			all = append(all, body)
			continue
		}
		for _, f := range list.Frames {
			if f.In != nil { // else it is one of the client
				all = append(all, string(f.In))
			}
		}
	}
	return all
}

// watched is what a feed has brought.
type watched struct {
	mu      sync.Mutex
	candles map[service.Key]map[int64]levels.Candle // the last state, by open time
	closed  map[service.Key]int
	refused map[service.Key]int
	strange int // series that were not asked for
}

// complete returns the pushed candles of a series that have ended: a newer one was pushed.
func (w *watched) complete(key service.Key) (all []levels.Candle) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, open := range slices.Sorted(maps.Keys(w.candles[key])) {
		all = append(all, w.candles[key][open])
	}
	return all[:max(0, len(all)-1)]
}

// Pushed opens the feed of a venue against its simulated server, whose minute takes half a
// second, and checks that the candles of 1m and 5m that it pushes are those of REST bit for
// bit, that a pair that the server refuses is refused alone, and that a ping is answered.
// Candles are marked as closed unless Stream.Unmarked says otherwise.
func Pushed(t *testing.T, v exchange.Venue) {
	t.Helper()
	const most = time.Minute
	began, start := time.Now(), time.Date(2026, 5, 4, 10, 0, 40, 0, time.UTC)
	options := simulated.Options{Venue: v.Spec().Name, Pairs: 12, Seed: 5, LimitTimes: 1000}
	options.Now = func() time.Time { return start.Add(120 * time.Since(began)) }
	plain := httptest.NewServer(simulated.New(options))
	defer plain.Close()
	names := tradable(t, v, plain.URL)[:6]
	options.Stream.Refuse = names[3]
	venue := simulated.New(options)
	server := httptest.NewServer(venue)
	defer server.Close()
	c := connect(t, v, server.URL)

	w := &watched{candles: map[service.Key]map[int64]levels.Candle{}, closed: map[service.Key]int{}, refused: map[service.Key]int{}}
	var keys, good []service.Key
	for _, i := range []levels.Interval{"1m", "5m"} {
		for _, name := range names {
			key := service.Key{Exchange: v.Spec().Name, Symbol: name, Interval: i}
			keys = append(keys, key)
			if name != options.Stream.Refuse {
				good = append(good, key)
			}
		}
	}
	feed := c.Feed(exchange.Sink{
		Candle: func(key service.Key, k levels.Candle, closed bool, _ time.Time) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if !slices.Contains(good, key) {
				w.strange++
				return
			}
			if w.candles[key] == nil {
				w.candles[key] = map[int64]levels.Candle{}
			}
			w.candles[key][k.OpenTime] = k
			if closed {
				w.closed[key]++
			}
		},
		Broken: func([]service.Key) {},
		Refused: func(key service.Key, _ string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refused[key]++
		},
	})
	if feed == nil {
		t.Fatalf("%s has no feed", v.Spec().Name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	feed.Want(keys)
	done := make(chan struct{})
	go func() {
		defer close(done)
		feed.Run(ctx)
	}()
	missing := func() string {
		for _, key := range good {
			if len(w.complete(key)) < 3 {
				return key.Symbol + " " + string(key.Interval)
			}
		}
		return ""
	}
	for ctx.Err() == nil && missing() != "" {
		time.Sleep(50 * time.Millisecond)
	}
	cancel()
	<-done
	if m := missing(); m != "" {
		t.Fatalf("%s: fewer than 3 candles of %s in %v; %+v, refused %v", v.Spec().Name, m, most, venue.StreamStats(), w.refused)
	}

	for _, key := range good {
		pushed := w.complete(key)
		fetched := Read(t, c, key.Symbol, key.Interval, pushed[0].OpenTime)
		byOpen := map[int64]levels.Candle{}
		for _, k := range fetched {
			byOpen[k.OpenTime] = k
		}
		for _, k := range pushed {
			if byOpen[k.OpenTime] != k {
				t.Errorf("%s %s: %+v was pushed, %+v fetched", key.Symbol, key.Interval, k, byOpen[k.OpenTime])
			}
		}
		if feed.Marks() != (w.closed[key] > 0) {
			t.Errorf("%s %s: %d candles are marked as closed", key.Symbol, key.Interval, w.closed[key])
		}
	}
	for _, key := range keys {
		if n := w.refused[key]; (n == 1) != (key.Symbol == options.Stream.Refuse) {
			t.Errorf("%s %s is refused %d times", key.Symbol, key.Interval, n)
		}
	}
	if stats := venue.StreamStats(); w.strange > 0 || stats.Longest > v.(exchange.Streamer).Stream().Message {
		t.Errorf("%d candles of others; %+v", w.strange, stats)
	}
	pinged(t, v, c)
}

// pinged checks that the simulated server of c answers a ping.
func pinged(t *testing.T, v exchange.Venue, c *exchange.Client) {
	t.Helper()
	facts := v.(exchange.Streamer).Stream()
	if facts.Ping == nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	address, err := c.Feed(exchange.Sink{}).Address(ctx)
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.Dial(ctx, address.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(ctx, websocket.MessageText, facts.Ping); err != nil {
		t.Fatal(err)
	}
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			t.Fatalf("the ping is not answered: %v", err)
		}
		if facts.Pong != nil {
			if !bytes.Equal(message, facts.Pong) {
				t.Errorf("the ping is answered by %q", message)
			}
			return
		}
		if frame, err := DecodeFrame(v.(exchange.Streamer), string(message)); err != nil || len(frame.Pushes()) > 0 || frame.Refused != "" {
			t.Errorf("the ping is answered by %q, %+v, %v", message, frame, err)
		}
		if bytes.Contains(bytes.ToLower(message), []byte("pong")) {
			return
		}
	}
}

func connect(t *testing.T, v exchange.Venue, address string) *exchange.Client {
	t.Helper()
	base, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c := exchange.New(v, exchange.Config{BaseURL: base, Simulated: true, Group: Unlimited(v)})
	t.Cleanup(c.Close)
	return c
}

// tradable returns the pairs of a server that trade much: those of the first quote asset.
func tradable(t *testing.T, v exchange.Venue, address string) (names []string) {
	t.Helper()
	for s, err := range connect(t, v, address).Symbols(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if s.Trading && s.Unusual == "" && s.Quote == v.Spec().Quotes[0] && !exchange.IsLeveraged(s.Base) {
			names = append(names, strings.Clone(s.Name))
		}
	}
	return names
}
