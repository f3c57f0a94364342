package exchange

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
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
	synctest.Test(t, func(t *testing.T) {
		var got []string
		open := time.Now().Truncate(time.Hour)
		f := &Feed{
			c: &Client{}, facts: &Stream{}, names: map[string]levels.Interval{"1h": "1h"}, symbols: map[string]string{"A": "A"},
			sink: Sink{Candle: func(_ service.Key, c levels.Candle, closed bool, _ time.Time) {
				got = append(got, fmt.Sprint(time.UnixMilli(c.OpenTime).Sub(open).Minutes(), closed))
			}},
		}
		s := &socket{l: &link{f: f}, heard: make(chan struct{})}
		for _, p := range []struct {
			now, minutes, at time.Duration // of this machine, the candle and the message, in minutes since open
			want             string
		}{
			{0, -60, 0, "[-60 true]"},
			{10, 0, 10, "[0 false]"},
			{10, 0, 600, "[0 false]"}, // an implausible time
			{10, 0, 60, "[0 true]"},   // this machine's clock is behind
			{10, 60, 10, "[]"},
			{10, 600, 600, "[]"},
			{10, -30, 10, "[]"},
			{60, 0, 60, "[0 true]"},
		} {
			time.Sleep(time.Until(open.Add(p.now * time.Minute)))
			got, f.c.clock = nil, new(Clock)
			var frame Frame
			frame.Add(Push{
				Symbol: []byte("A"), Wire: "1h", Closed: true, At: open.Add(p.at * time.Minute).UnixMilli(),
				Candle: levels.Candle{OpenTime: open.Add(p.minutes * time.Minute).UnixMilli(), Open: 1, High: 1, Low: 1, Close: 1},
			})
			if s.take(t.Context(), &frame, time.Now()); fmt.Sprint(got) != p.want {
				t.Errorf("%d, %d, %d: %v, want %s", p.now, p.minutes, p.at, got, p.want)
			}
		}
		// Perhaps it is the clocks that are wrong.
		f.c.clock = new(Clock)
		f.c.clock.Set(open.UnixMilli(), time.Now().Add(-time.Minute), time.Time{})
		var frame Frame
		frame.Add(Push{Symbol: []byte("A"), Wire: "1h", Candle: levels.Candle{OpenTime: open.Add(10 * time.Hour).UnixMilli(), Open: 1, High: 1, Low: 1, Close: 1}})
		if s.take(t.Context(), &frame, time.Now()); f.c.clock.Fresh() {
			t.Error("the venue is not asked for its time")
		}
	})
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

// A refused series is asked for again with the next list.
func TestFeed_AsksAgainForARefusedSeries(t *testing.T) {
	series := []service.Key{{Symbol: "A"}, {Symbol: "B"}}
	f := &Feed{c: &Client{log: slog.New(slog.DiscardHandler)}, facts: &Stream{Series: 2}, wake: make(chan struct{}, 1)}
	f.Want(series)
	l := f.assign()[0]
	l.drop(series[0])
	if f.assign(); len(l.series) != 2 || len(l.changed) != 1 {
		t.Errorf("the connection carries %+v", l.series)
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
