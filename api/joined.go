package api

import (
	"context"
	"errors"
	"iter"
	"time"

	"tidemark/service"
)

// tradedBytes is about the memory for the names of the pairs of an exchange by volume.
const tradedBytes = 128 << 10

// joinedBytes is the memory for what a screen reads beside the analyses of its interval.
func (s *screenQuery) joinedBytes() int64 {
	n := int64(len(s.confluence)) * streamBytes
	if s.minVolume > 0 {
		n += tradedBytes
	}
	return n
}

// traded returns the pairs of an exchange of this process with at least this 24 h volume,
// nil for all if least is 0.
func (a *API) traded(ctx context.Context, exchange string, least float64) (map[string]bool, error) {
	if least == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, slotTimeout)
	defer cancel()
	listed, _, err := a.Jobs.LastSymbols(ctx, exchange)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for l, err := range listed {
		if err != nil {
			return nil, err
		}
		if l.QuoteVolume >= least {
			names[l.Name] = true
		}
	}
	return names, nil
}

// others is the analyses of the pairs of an exchange on the intervals of a confluence, read
// along with those of the interval of a screen. All are in the order of symbols.
type others struct {
	shown Shown
	each  []other
	of    outline // of the pair, without its places
}

// other is one of the intervals.
type other struct {
	next    func() (service.Snapshot, error, bool)
	stop    func()
	snap    service.Snapshot // the last one read
	ended   bool
	outline outline
	has     bool // the pair of others.find; it is in outline
}

// others starts to read the intervals of the confluence of s, which may be none. The caller
// must close them.
func (a *API) others(ctx context.Context, s *screenQuery, exchange string) *others {
	o := &others{shown: Shown{Edge: s.shown.Edge}, each: make([]other, len(s.confluence))}
	for i, interval := range s.confluence {
		o.each[i].next, o.each[i].stop = iter.Pull2(a.Store.Latest(ctx, exchange, interval))
	}
	return o
}

func (o *others) close() {
	for i := range o.each {
		o.each[i].stop()
	}
}

// find reads on to a pair. Symbols must come in ascending order. An analysis that cannot be
// read has no levels.
func (o *others) find(symbol string, now time.Time) error {
	for i := range o.each {
		e := &o.each[i]
		for !e.ended && e.snap.Symbol < symbol {
			snap, err, ok := e.next()
			if err != nil && !errors.Is(err, service.ErrUnreadable) {
				return err
			}
			e.snap, e.ended = snap, !ok
		}
		if e.has = !e.ended && e.snap.Symbol == symbol; e.has {
			e.outline = outlineOf(&e.snap, o.shown, now)
		}
	}
	return nil
}

// beside reports whether each of the intervals has a level, not a faint one, that counts as
// one with a level of the pair at this price.
func (o *others) beside(price float64) bool {
	for i := range o.each {
		if e := &o.each[i]; !e.has || !o.of.counts(&e.outline) || !o.of.meets(&e.outline, price) {
			return false
		}
	}
	return true
}

// meets reports whether a place of other is near a price of o.
func (o *outline) meets(other *outline, price float64) bool {
	for _, p := range other.places {
		if o.near(other, price, p.price) {
			return true
		}
	}
	return false
}
