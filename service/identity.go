package service

import (
	"context"
	"hash/fnv"
	"math"

	"tidemark/levels"
)

// LevelID returns the ID of a level of this series. levels derives an ID from the candle
// that anchors a level and knows no series: levels of two pairs, or of two intervals,
// may have the same candle. Applied twice it returns id.
func (k Key) LevelID(id uint64) uint64 {
	h := fnv.New64a()
	for _, part := range [...]string{k.Exchange, k.Symbol, string(k.Interval)} {
		_, _ = h.Write([]byte(part))
		_, _ = h.Write([]byte{0})
	}
	// FNV spreads the last bytes over few bits; levels mixes ids in the same way.
	z := h.Sum64()
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return id ^ z ^ z>>31
}

// sameReach is how far a level may be from one that it replaces, in ATR: the reach of a
// zone.
const sameReach = 0.25

// inherit sets Replaces and Earlier of the levels of s as in before, an analysis of the same candle.
func (s *Snapshot) inherit(before *Snapshot) {
	for _, side := range [...][]levels.Level{s.Supports, s.Resistances} {
		for i := range side {
			if l := before.find(side[i].ID); l != nil {
				side[i].Replaces, side[i].Earlier = l.Replaces, l.Earlier
			}
		}
	}
}

// replace sets Replaces and Earlier of the levels of s, the analysis that follows before. A level
// replaces the nearest one that has vanished from within sameReach, and each vanished
// level has one successor. A level that stays keeps what it replaces.
func (s *Snapshot) replace(before *Snapshot) {
	type level = levels.Level
	each := func(s *Snapshot, use func(l *level)) {
		for _, side := range [...][]level{s.Supports, s.Resistances} {
			for i := range side {
				use(&side[i])
			}
		}
	}
	each(before, func(old *level) {
		if l := s.find(old.ID); l != nil {
			l.Replaces, l.Earlier = old.Replaces, old.Earlier
			return
		}
		var heir *level
		nearest := math.Inf(1)
		each(s, func(l *level) {
			if d := math.Abs(l.Price - old.Price); d <= sameReach*s.ATR && d < nearest && before.find(l.ID) == nil {
				heir, nearest = l, d
			}
		})
		if heir == nil {
			return
		}
		if rival := before.find(heir.Replaces); rival == nil || nearest < math.Abs(heir.Price-rival.Price) {
			heir.Replaces, heir.Earlier = old.ID, [2]uint64{old.Replaces, old.Earlier[0]}
		}
	})
	each(s, func(l *level) {
		if l.Replaces != 0 && s.find(l.Replaces) != nil { // it has come back
			l.Replaces, l.Earlier = 0, [2]uint64{}
		}
		for i, id := range l.Earlier {
			if id != 0 && s.find(id) != nil {
				clear(l.Earlier[i:])
			}
		}
	})
}

// follow marks the levels of s that have replaced some of the stored analysis, and returns
// what happened to those since, if s will be stored. c are the candles of s. An error does not
// fail the analysis: its levels then replace none, and what happened is found by the next one.
func (a *Analyzer) follow(ctx context.Context, s *Snapshot, c *levels.Candles, stored bool) *Watch {
	before, state, err := a.store.Watched(ctx, s.Key)
	if err != nil || before.Simulated != s.Simulated {
		return nil
	}
	switch {
	case before.AsOf.Before(s.AsOf):
		s.replace(&before)
	case before.AsOf.Equal(s.AsOf):
		s.inherit(&before)
	default:
		return nil
	}
	if a.cfg.Watch == nil || !stored {
		return nil
	}
	return a.cfg.Watch(&before, s, state, c)
}

// Successor returns the level that has replaced the level with the given id, directly or
// by way of levels that are gone, or nil.
func (s *Snapshot) Successor(id uint64) *levels.Level {
	if id == 0 {
		return nil
	}
	for _, side := range [...][]levels.Level{s.Supports, s.Resistances} {
		for i := range side {
			l := &side[i]
			for _, r := range [...]uint64{l.Replaces, l.Earlier[0], l.Earlier[1]} {
				if r == id || r != 0 && r == s.LevelID(id) {
					return l
				}
			}
		}
	}
	return nil
}
