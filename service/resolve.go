package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// KnownPair is a pair of an exchange, listed now or in the past.
type KnownPair struct {
	Exchange    string
	Symbol      string // the venue's id
	Name        string // canonical
	Base, Quote string
	Settle      string // empty for spot
	Active      bool   // listed and trading
}

// Spelling is a name of a pair as somebody writes it: the venue's id, the canonical name,
// or one of them in lower case or with other separators.
type Spelling struct {
	Text  string // as written
	Upper string // in capitals
	Plain string // in capitals, without the separators - and /
}

// Spell returns the spelling of text. plain is text in capitals without separators.
func Spell(text, plain string) Spelling {
	return Spelling{text, strings.ToUpper(text), plain}
}

// The ranks of a match: a better one is smaller.
const (
	exact    = iota // the venue's id or the canonical name
	respelt         // the venue's id in other letters or with separators
	together        // base and quote of a spot pair without a separator
	unlike
)

func (s Spelling) rank(p *KnownPair) int {
	switch {
	case p.Symbol == s.Text || p.Name == s.Text || p.Name == s.Upper:
		return exact
	case p.Symbol == s.Upper || p.Symbol == s.Plain:
		return respelt
	case p.Settle == "" && p.Base+p.Quote == s.Plain:
		return together
	}
	return unlike
}

// ids returns the venue's ids that the pair may have, for an exchange whose pairs are not
// known.
func (s Spelling) ids() []string {
	all := []string{s.Text, s.Upper, s.Plain}
	if base, quote, ok := strings.Cut(strings.NewReplacer("-", "/", "_", "/").Replace(s.Upper), "/"); ok {
		all = append(all, base+"-"+quote, base+"_"+quote)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// AmbiguousError is ErrAmbiguousSymbol with the pairs that a name may mean.
type AmbiguousError struct {
	Text    string
	Choices []KnownPair
}

func (e *AmbiguousError) Error() string {
	names := make([]string, len(e.Choices))
	for i, c := range e.Choices {
		names[i] = c.Exchange + " " + c.Symbol
	}
	return fmt.Sprintf("%.60q is the name of several pairs: %s; name the exchange too", e.Text, strings.Join(names, ", "))
}

func (e *AmbiguousError) Unwrap() error { return ErrAmbiguousSymbol }

// listTimeout bounds the wait for an exchange whose pairs are not known yet.
const listTimeout = 3 * time.Second

// Resolve returns the pair that a name means on an exchange, which may be one that other
// processes serve. Without an exchange it returns the pair of the only configured exchange
// that has one. It prefers exact names to other spellings, and pairs that are traded to
// those that were. Its error is ErrUnknownSymbol, or an AmbiguousError.
func (a *Analyzer) Resolve(ctx context.Context, exchange string, s Spelling) (KnownPair, error) {
	if exchange == "" && len(a.exchanges) == 1 {
		exchange = a.exchanges[0].Market().Exchange
	}
	found, err := a.store.FindPairs(ctx, exchange, s)
	if err != nil {
		return KnownPair{}, err
	}
	var names []string
	for _, x := range a.exchanges {
		if name := x.Market().Exchange; exchange == "" || name == exchange {
			names = append(names, name)
		}
	}
	if exchange == "" {
		found = slices.DeleteFunc(found, func(p KnownPair) bool { return !slices.Contains(names, p.Exchange) })
	}
	listed, listErr := a.askLists(ctx, names, found, s)
	found = Best(append(found, listed...), s)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return KnownPair{}, &AmbiguousError{s.Text, found}
	case listErr != nil:
		return KnownPair{}, listErr
	case exchange != "":
		return KnownPair{}, fmt.Errorf("%w: %.60q on %.60s", ErrUnknownSymbol, s.Text, exchange)
	}
	return KnownPair{}, fmt.Errorf("%w: %.60q on any of %s", ErrUnknownSymbol, s.Text, strings.Join(names, ", "))
}

// Best returns the pairs that a spelling means: those of the best rank, and of these the
// ones that are traded if there are any. They are sorted by exchange and symbol.
func Best(found []KnownPair, s Spelling) []KnownPair {
	order := func(p *KnownPair) int {
		rank := 2 * s.rank(p)
		if !p.Active {
			rank += 2 * unlike // any that is traded is better
		}
		return rank
	}
	least := 4 * unlike
	for i := range found {
		if s.rank(&found[i]) < unlike {
			least = min(least, order(&found[i]))
		}
	}
	found = slices.DeleteFunc(found, func(p KnownPair) bool { return s.rank(&p) == unlike || order(&p) != least })
	slices.SortFunc(found, func(x, y KnownPair) int {
		return strings.Compare(x.Exchange+"\x00"+x.Symbol, y.Exchange+"\x00"+y.Symbol)
	})
	return found
}

// askLists asks the exchanges whose pairs are not known yet, all at once. The error is that
// of one of them.
func (a *Analyzer) askLists(ctx context.Context, exchanges []string, known []KnownPair, s Spelling) (found []KnownPair, err error) {
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, name := range exchanges {
		if slices.ContainsFunc(known, func(p KnownPair) bool { return p.Exchange == name }) {
			continue
		}
		if has, err := a.store.HasPairs(ctx, name); err != nil || has {
			if err != nil {
				return nil, err
			}
			continue
		}
		asked.Go(func() {
			p, askErr := a.AskList(ctx, name, s)
			mu.Lock()
			defer mu.Unlock()
			if askErr == nil {
				found = append(found, p)
			} else if !errors.Is(askErr, ErrUnknownSymbol) {
				err = askErr
			}
		})
	}
	asked.Wait()
	return found, err
}

// AskList returns the pair that a name means in the exchange's own list, which may have
// pairs that no sweep has seen. Its error is ErrUnknownSymbol, or that of the
// exchange.
func (a *Analyzer) AskList(ctx context.Context, exchange string, s Spelling) (KnownPair, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	x, err := a.exchange(exchange)
	if err != nil {
		return KnownPair{}, err
	}
	for _, id := range s.ids() {
		var listed Symbol
		if listed, err = x.Symbol(ctx, id); err == nil {
			return KnownPair{exchange, listed.Name, listed.Canonical(), listed.Base, listed.Quote, listed.Settle, listed.Trading}, nil
		}
		if !errors.Is(err, ErrUnknownSymbol) {
			break
		}
	}
	return KnownPair{}, err
}
