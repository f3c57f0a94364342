package exchange

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// Of more series than the connections of an address carry, the first are pushed.
func TestFeed_WantsNoMoreThanAnAddressMayHave(t *testing.T) {
	series := []service.Key{{Symbol: "E"}, {Symbol: "B"}, {Symbol: "D"}, {Symbol: "A"}, {Symbol: "C"}}
	want := []service.Key{{Symbol: "A"}, {Symbol: "B"}, {Symbol: "D"}, {Symbol: "E"}}
	f := &Feed{c: &Client{log: slog.New(slog.DiscardHandler)}, facts: &Stream{Series: 2, Most: 2}, wake: make(chan struct{}, 1)}
	if f.Want(series); !slices.Equal(f.want, want) {
		t.Errorf("%+v", f.want)
	}
}

// A message cannot make an open candle a closed one, nor pass on one of the future: all
// later ones would count as late.
func TestFeed_BelievesNoClosedCandleBeforeItsClose(t *testing.T) {
	var got []string
	open := time.Now().Truncate(time.Hour).UnixMilli()
	f := &Feed{
		c: &Client{clock: new(Clock)}, facts: &Stream{}, names: map[string]levels.Interval{"1h": "1h"}, symbols: map[string]string{"A": "A"},
		sink: Sink{Candle: func(_ service.Key, c levels.Candle, closed bool, _ time.Time) {
			got = append(got, fmt.Sprint((c.OpenTime-open)/60_000, closed))
		}},
	}
	s := &socket{l: &link{f: f}, heard: make(chan struct{})}
	for _, p := range []struct {
		minutes, at, received int64 // since open
		want                  string
	}{
		{-60, 0, 0, "[-60 true]"},
		{0, 10, 10, "[0 false]"},
		{0, 600, 10, "[0 false]"}, // an implausible time
		{0, 60, 60, "[0 true]"},
		{600, 600, 10, "[]"},
		{-30, 0, 10, "[]"},
	} {
		got = nil
		f.c.clock = new(Clock)
		var frame Frame
		frame.Add(Push{Symbol: []byte("A"), Wire: "1h", Closed: true, At: open + p.at*60_000, Candle: levels.Candle{OpenTime: open + p.minutes*60_000, Open: 1, High: 1, Low: 1, Close: 1}})
		s.take(t.Context(), &frame, time.UnixMilli(open+p.received*60_000))
		if fmt.Sprint(got) != p.want {
			t.Errorf("%d minutes, at %d: %v", p.minutes, p.at, got)
		}
	}
	// Perhaps it is the clocks that are wrong.
	f.c.clock = new(Clock)
	f.c.clock.Set(open, time.Now().Add(-time.Minute), time.Time{})
	var frame Frame
	frame.Add(Push{Symbol: []byte("A"), Wire: "1h", Candle: levels.Candle{OpenTime: open + 600*60_000, Open: 1, High: 1, Low: 1, Close: 1}})
	if s.take(t.Context(), &frame, time.Now()); f.c.clock.Fresh() {
		t.Error("the venue is not asked for its time")
	}
}

// A connection carries the series that are not wanted any more, too, so that others may have
// no room on it though the feed wants few.
func TestFeed_ReplacesAConnectionThatIsFull(t *testing.T) {
	series := func(names ...string) (all []service.Key) {
		for _, name := range names {
			all = append(all, service.Key{Symbol: name})
		}
		return all
	}
	f := &Feed{facts: &Stream{Series: 4}}
	l := &link{f: f, series: series("C", "D", "E"), changed: make(chan struct{}, 1)}
	s := &socket{l: l, done: make(chan struct{}), asked: map[int][]service.Key{1: series("A", "B"), 2: series("C", "D")}}
	l.wake()
	if reason := s.wait(t.Context()); reason != reasonPlanned {
		t.Errorf("the connection ends as %q", reason)
	}
}

func TestFeed_KeepsNoRoomForALongMessage(t *testing.T) {
	message, f := bytes.NewBuffer(make([]byte, 0, maxFrame)), Frame{pushes: make([]Push, 0, maxFrame/64)}
	if shrink(message, &f); message.Cap() > 0 || cap(f.pushes) > 0 {
		t.Errorf("room for %d bytes and %d candles", message.Cap(), cap(f.pushes))
	}
	message.Grow(keptFrame / 2)
	if shrink(message, &f); message.Cap() == 0 {
		t.Error("no room is kept for the next message")
	}
}
