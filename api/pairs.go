package api

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"tidemark/service"
	"tidemark/wire"
)

// resolvedFor is how long the pair that a name means is kept. A new pair of another
// exchange may make the name ambiguous, or an old one be delisted.
const resolvedFor = time.Minute

// maxResolved bounds the names that are kept.
const maxResolved = 2048

// names keeps the pairs that names mean, so that reading by another name than the
// exchange's does not ask the database each time.
type names struct {
	mu    sync.Mutex
	known map[nameKey]resolved
}

type nameKey struct{ exchange, text string }

type resolved struct {
	exchange, symbol string
	name             string // canonical; empty if it is not known
	until            time.Time
}

func (n *names) get(key nameKey, now time.Time) (resolved, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r, ok := n.known[key]
	return r, ok && now.Before(r.until)
}

func (n *names) put(key nameKey, r resolved) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil || len(n.known) >= maxResolved {
		n.known = map[nameKey]resolved{}
	}
	key.text = strings.Clone(key.text) // it may be a part of a longer one
	n.known[key] = r
}

// pairText is a name of a pair in a request, and the same in capitals without the
// separators - and /.
type pairText struct{ text, plain string }

// parsePair reads the name of a pair, as ParseSymbol does.
func parsePair(text string) (pairText, error) {
	plain, err := ParseSymbol(text)
	return pairText{text, plain}, err
}

// resolve returns the pair that a name means. An exchange may be given; if it is empty, it
// must be the only one of this process that has the pair. If the exchange is known and the
// pair is not, the id is the plain name.
func (a *API) resolve(ctx context.Context, exchange string, p pairText) (resolved, error) {
	if exchange == "" && len(a.markets) == 1 {
		exchange = a.markets[0]
	}
	key, now := nameKey{exchange, p.text}, time.Now()
	if r, ok := a.names.get(key, now); ok {
		return r, nil
	}
	found, err := a.Analyzer.Resolve(ctx, exchange, service.Spell(p.text, p.plain))
	switch {
	case err == nil:
		r := resolved{found.Exchange, found.Symbol, found.Name, now.Add(resolvedFor)}
		a.names.put(key, r)
		return r, nil
	case exchange != "" && !errors.Is(err, service.ErrAmbiguousSymbol) && ctx.Err() == nil:
		return resolved{exchange: exchange, symbol: p.plain}, nil // the handler says what is wrong with it
	}
	return resolved{}, err
}

// startsWith reports whether a venue's id begins with a plain prefix, apart from its
// separators.
func startsWith(symbol, prefix string) bool {
	if strings.HasPrefix(symbol, prefix) {
		return true
	}
	plain, ok := canonical(symbol)
	return ok && strings.HasPrefix(plain, prefix)
}

// choicesOf returns the pairs that a name may mean.
func choicesOf(err error) []wire.PairChoice {
	several, ok := errors.AsType[*service.AmbiguousError](err)
	if !ok {
		return nil
	}
	all := make([]wire.PairChoice, len(several.Choices))
	for i, c := range several.Choices {
		all[i] = wire.PairChoice{Exchange: c.Exchange, Symbol: c.Symbol, Name: c.Name}
	}
	return all
}
