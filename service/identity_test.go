package service

// These tests pin the identity of levels: an id belongs to one series, the id of an
// earlier version still finds its level, and an analysis says which level of the
// previous one a new level has replaced.

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
)

func TestKey_LevelIDKnowsItsSeries(t *testing.T) {
	const anchor uint64 = 0x85f1b7538ed9e0c0
	seen := map[uint64]Key{anchor: {}}
	for _, k := range []Key{
		{"binance", "BTCUSDT", "1h"}, {"binance", "BTCUSDT", "4h"}, {"binance", "ETHUSDT", "1h"}, {"bybit", "BTCUSDT", "1h"},
		{"binanc", "eBTCUSDT", "1h"}, {"", "", "1h"},
	} {
		id := k.LevelID(anchor)
		if other, ok := seen[id]; ok {
			t.Errorf("%v and %v have the same id %x", k, other, id)
		}
		seen[id] = k
		if back := k.LevelID(id); back != anchor {
			t.Errorf("%v: %x comes back as %x", k, anchor, back)
		}
	}
}

func TestSnapshot_LevelIsFoundByItsEarlierID(t *testing.T) {
	s := Snapshot{Key: Key{"binance", "BTCUSDT", "1h"}}
	s.Resistances = []levels.Level{{ID: s.LevelID(5), Replaces: s.LevelID(7)}}
	for _, id := range []uint64{5, s.LevelID(5)} {
		if s.Level(id) != &s.Resistances[0] {
			t.Errorf("%x is not found", id)
		}
	}
	for _, id := range []uint64{7, s.LevelID(7)} {
		if s.Level(id) != nil || s.Successor(id) != &s.Resistances[0] {
			t.Errorf("%x has no successor", id)
		}
	}
	if s.Level(0) != nil || s.Successor(0) != nil || s.Successor(9) != nil {
		t.Error("an unknown id is found")
	}
}

func TestSnapshot_SaysWhichLevelWasReplaced(t *testing.T) {
	level := func(id uint64, price float64) levels.Level { return levels.Level{ID: id, Price: price} }
	old, stays := level(1, 90), level(2, 95)
	stays.Replaces = 20 // from an earlier analysis
	before := Snapshot{ATR: 4, Supports: []levels.Level{stays, old, level(3, 80), level(4, 79.4)}, Resistances: []levels.Level{level(5, 110)}}
	now := Snapshot{ATR: 4,
		Supports:    []levels.Level{level(2, 95.5), level(12, 94.8), level(11, 89.5), level(13, 79.6)},
		Resistances: []levels.Level{level(15, 110.9), level(16, 111.1)},
	}
	now.replace(&before)
	for _, test := range []struct{ id, replaces uint64 }{
		{2, 20}, // stays, and keeps what it replaced
		{12, 0}, // beside a level that stays
		{11, 1}, // half a point away: an eighth of an ATR
		{13, 4}, // the nearer of two that vanished
		{15, 5}, // the nearer of two that appeared
		{16, 0},
	} {
		if l := now.Level(test.id); l.Replaces != test.replaces {
			t.Errorf("level %d replaces %d, want %d", test.id, l.Replaces, test.replaces)
		}
	}
}

func TestSnapshot_ReplacesNoLevelThatIsThere(t *testing.T) {
	level := func(id, replaces uint64, price float64) levels.Level {
		return levels.Level{ID: id, Replaces: replaces, Price: price}
	}
	before := Snapshot{ATR: 4, Supports: []levels.Level{level(2, 1, 90)}}
	now := Snapshot{ATR: 4, Supports: []levels.Level{level(2, 0, 90), level(1, 0, 90.1)}} // 1 has come back
	if now.replace(&before); now.Level(2).Replaces != 0 {
		t.Errorf("level 2 replaces %d, which is there", now.Level(2).Replaces)
	}
}

func TestSnapshot_ALevelHasWhatAllBeforeItReplaced(t *testing.T) {
	at := func(id uint64) Snapshot { return Snapshot{ATR: 4, Supports: []levels.Level{{ID: id, Price: 90}}} }
	now := at(1)
	for id := uint64(2); id <= 5; id++ {
		next := at(id)
		next.replace(&now)
		now = next
	}
	for id, want := range map[uint64]bool{1: false, 2: true, 3: true, 4: true} { // three are kept
		if l := now.Successor(id); (l != nil) != want {
			t.Errorf("the successor of level %d is %+v", id, l)
		}
	}
	back := Snapshot{ATR: 4, Supports: []levels.Level{{ID: 5, Price: 90}, {ID: 3, Price: 91}}}
	back.replace(&now)
	if l := back.Level(5); l.Replaces != 4 || l.Earlier != [2]uint64{} {
		t.Errorf("level 3 is there, and level 5 replaces %d and %v", l.Replaces, l.Earlier)
	}
}

func TestAnalyze_OfTheSameCandleKeepsWhatLevelsReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{CandlesFunc: tides}, &fakeStore{}
		a := newTestAnalyzer(t, Config{KlineLimit: 600}, x, store)
		first := analyzeOne(t, a, 600)
		stored := first
		if len(first.Supports) > 0 {
			stored.Supports[0].Replaces = 77
		} else {
			stored.Resistances[0].Replaces = 77
		}
		store.snapshots[first.Key] = stored
		again := analyzeOne(t, a, 600)
		if l := both(&again)[0]; again.AsOf != first.AsOf || l.Replaces != 77 {
			t.Errorf("analysed again as of %v, level %x replaces %d", again.AsOf, l.ID, l.Replaces)
		}
	})
}

func TestAnalyze_ComparesWithTheStoredAnalysis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, store := &fakeExchange{CandlesFunc: tides}, &fakeStore{}
		a := newTestAnalyzer(t, Config{KlineLimit: 600}, x, store)
		first := analyzeOne(t, a, 600)
		anchors := find(t, first)
		for i, l := range both(&first) {
			if l.ID != first.LevelID(anchors[i].ID) || l.Replaces != 0 {
				t.Fatalf("level %d is %+v, of the anchor %x", i, l, anchors[i].ID)
			}
		}
		before := first
		rename(&before, 12345)
		store.snapshots[first.Key] = before
		time.Sleep(time.Hour)
		second := analyzeOne(t, a, 600)
		heir := second.Successor(12345)
		if heir == nil || heir.ID != both(&first)[0].ID {
			t.Fatalf("the successor is %+v, want %+v", heir, both(&first)[0])
		}
		_, err := a.Explain(t.Context(), &second, 12345)
		if want := fmt.Sprintf("was replaced by %016x", heir.ID); !errors.Is(err, ErrUnknownLevel) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want that it %s", err, want)
		}
		if _, err := a.Explain(t.Context(), &second, anchors[0].ID); err != nil && second.Level(anchors[0].ID) != nil {
			t.Errorf("by the id of an earlier version: %v", err)
		}
	})
}

// find finds the levels of s again, with the ids of package levels.
func find(t *testing.T, s Snapshot) []levels.Level {
	var c levels.Candles
	c.Reset(s.Interval, s.Klines)
	if err := tides(t.Context(), "", s.AsOf.UnixMilli()-int64(s.Klines)*s.Interval.Milliseconds(), &c); err != nil {
		t.Fatal(err)
	}
	found, err := newFinder().Find(&c)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(found.Supports, found.Resistances)
}
