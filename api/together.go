package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// contentTogether is the type of the levels of a pair on all exchanges.
var contentTogether = []string{"application/vnd.tidemark.exchanges+json"}

// sharedWithin is how far apart, in ATR, levels of two exchanges, or of two intervals, may
// be and count as one.
const sharedWithin = 0.25

// sendTogether serves GET /levels/{symbol}?exchange=all: the stored levels of the pair on
// every exchange of this process, and on how many of them each level is.
func (a *API) sendTogether(w *reply, r *http.Request, q *query, pair pairText, interval levels.Interval) error {
	for _, name := range [...]string{"at", "format"} {
		if q.get(name) != "" {
			return badParameter(name, "not with exchange=all")
		}
	}
	show, err := q.shown(a)
	if err != nil {
		return err
	}
	w.wait(r)
	name, all, err := a.onAll(r.Context(), pair, interval)
	if err != nil {
		return err
	}
	if err := a.hold(r.Context(), w, ScreenBytes); err != nil {
		return err
	}
	for i := range all {
		all[i] = *a.atPrice(&all[i], a.clock(all[i].Exchange, w.start))
	}
	out := wire.PairOnExchanges{Name: name, Interval: string(interval), Exchanges: make([]wire.PairOnExchange, len(all))}
	for i := range all {
		s := &all[i]
		out.Exchanges[i] = wire.PairOnExchange{
			Symbol: s.Symbol, Exchange: s.Exchange, AsOf: wire.Moment(s.AsOf), LastPrice: s.LastPrice, PriceAt: momentOrNil(s.PriceAt), ATR: wire.SixDigits(s.ATR),
			Stale: a.stale(s, w.start), Simulated: s.Simulated,
			Supports: a.shared(all, s, levels.Support, show, w.start), SupportsReason: stringOrNil(show.Reason(s, levels.Support)),
			Resistances: a.shared(all, s, levels.Resistance, show, w.start), ResistancesReason: stringOrNil(show.Reason(s, levels.Resistance)),
		}
		if !s.PriceAt.IsZero() {
			out.Exchanges[i].Price = &s.Price
		}
	}
	w.deadline(writeTimeout)
	newest := slices.MaxFunc(all, func(x, y service.Snapshot) int { return x.Newest().Compare(y.Newest()) })
	e := newCached(cacheKey{}, append(appendJSON(nil, &out), '\n'), contentTogether, &newest, a.clock(newest.Exchange, w.start))
	e.vary = varyAccept
	return e.send(w, r, noCache)
}

// stale reports whether s is stale at the time now of this machine.
func (a *API) stale(s *service.Snapshot, now time.Time) bool {
	return StaleReason(s, a.clock(s.Exchange, now)) != ""
}

// onAll returns the canonical name of a pair and its newest analysis on each exchange of
// this process that has one, in the order of the exchanges.
func (a *API) onAll(ctx context.Context, pair pairText, interval levels.Interval) (string, []service.Snapshot, error) {
	find := func(s service.Spelling) ([]service.KnownPair, error) {
		found, err := a.Store.FindPairs(ctx, "", s)
		return slices.DeleteFunc(found, func(p service.KnownPair) bool { return !slices.Contains(a.markets, p.Exchange) }), err
	}
	spelling := service.Spell(pair.text, pair.plain)
	found, err := find(spelling)
	if err != nil {
		return "", nil, err
	}
	meant := service.Best(found, spelling)
	if len(meant) == 0 {
		return "", nil, fmt.Errorf("%w: %.60q is not known on any exchange of this process", service.ErrUnknownSymbol, pair.text)
	}
	name := meant[0].Name
	if slices.ContainsFunc(meant, func(p service.KnownPair) bool { return p.Name != name }) {
		return "", nil, &service.AmbiguousError{Text: pair.text, Choices: meant}
	}
	plain, _ := canonical(name)
	if found, err = find(service.Spell(name, plain)); err != nil {
		return "", nil, err
	}
	var all []service.Snapshot
	for _, exchange := range a.markets {
		for _, p := range found {
			if p.Exchange != exchange || p.Name != name {
				continue
			}
			s, err := a.Store.Snapshot(ctx, service.Key{Exchange: exchange, Symbol: p.Symbol, Interval: interval}, time.Time{})
			if err == nil {
				all = append(all, s)
			} else if !errors.Is(err, service.ErrNotAnalyzed) {
				return "", nil, err
			}
		}
	}
	if len(all) == 0 {
		return "", nil, fmt.Errorf("%w: %s %s on any exchange of this process", service.ErrNotAnalyzed, name, interval)
	}
	return name, all, nil
}

// shared returns the levels of one side of s, each with the number of exchanges that have
// it, faint or not, on this side. Simulated and real ones do not count for each other, and stale ones not
// for those that are not.
func (a *API) shared(all []service.Snapshot, s *service.Snapshot, role levels.Role, show Shown, now time.Time) []wire.SharedLevel {
	others := slices.DeleteFunc(slices.Clone(all), func(o service.Snapshot) bool {
		return o.Simulated != s.Simulated || a.stale(&o, now) && !a.stale(s, now)
	})
	of := side(s, role)
	out := make([]wire.SharedLevel, 0, len(of))
	values := make([]levelValues, len(of))
	for i := range of {
		if !show.has(&of[i]) {
			continue
		}
		has := map[string]bool{s.Exchange: true}
		for k := range others {
			if slices.ContainsFunc(side(&others[k], role), func(l levels.Level) bool { return math.Abs(l.Price-of[i].Price) <= sharedWithin*s.ATR }) {
				has[others[k].Exchange] = true
			}
		}
		out = append(out, wire.SharedLevel{Level: values[i].level(&of[i], s.Reference(), s.ATR, show.Edge, s.Passed(role, i)), Venues: len(has)})
	}
	return out
}
