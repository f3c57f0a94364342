package job

import (
	"context"
	"maps"
	"slices"
	"time"

	"tidemark/service"
)

// pairs stores the list of an exchange, some pairs at a time.
type pairs struct {
	*Runner
	exchange string
	active   map[string]bool // stored as active and not seen yet
	seen     int             // stored as active and active
	batch    []service.Symbol
}

// pairsPerPut is how many pairs are stored at once.
const pairsPerPut = 200

func (r *Runner) newPairs(ctx context.Context, exchange string) (*pairs, error) {
	active, err := r.store.ActivePairs(ctx, exchange)
	return &pairs{Runner: r, exchange: exchange, active: active, batch: make([]service.Symbol, 0, pairsPerPut)}, err
}

// add stores a pair of the list.
func (p *pairs) add(ctx context.Context, s *service.Symbol) error {
	if s.Trading && p.active[s.Name] {
		p.seen++
		delete(p.active, s.Name)
	}
	p.batch = append(p.batch, *s)
	if len(p.batch) < pairsPerPut {
		return nil
	}
	return p.put(ctx, nil)
}

// end marks the pairs that the list lacks as delisted, unless they are too many.
func (p *pairs) end(ctx context.Context) error {
	var gone []string
	if n := len(p.active); !implausible(n, p.seen) {
		gone = slices.Sorted(maps.Keys(p.active))
	}
	return p.put(ctx, gone)
}

func (p *pairs) put(ctx context.Context, gone []string) error {
	err := p.whenWritable(ctx, func() error { return p.store.PutPairs(ctx, p.exchange, p.batch, gone, time.Now()) })
	p.batch = p.batch[:0]
	return err
}

// implausible reports whether so many pairs cannot have been delisted since the last list:
// more than a third of all.
func implausible(gone, seen int) bool { return 3*gone > seen+gone }

// delisting compares the list of the exchange with the pairs that have stored data.
type delisting struct {
	seen int      // pairs stored as listed that are listed
	back []string // pairs stored as delisted that are listed
}

// observe removes a pair that is trading from stored, the result of Store.Listed.
func (d *delisting) observe(stored map[string]PairState, symbol string) {
	was := stored[symbol]
	if was.Listed {
		d.seen++
	}
	if was.Delisted {
		d.back = append(d.back, symbol)
	}
	delete(stored, symbol)
}

// setListed stores the changes. The pairs left in the result of Store.Listed are no
// longer listed. An exchange does not delist a third of its pairs between two sweeps:
// such a list is treated as an error of the exchange, and no pair as delisted.
func (r *Runner) setListed(ctx context.Context, exchange string, left map[string]PairState, d *delisting) error {
	maps.DeleteFunc(left, func(_ string, was PairState) bool { return !was.Listed })
	gone := slices.Sorted(maps.Keys(left))
	if n := len(gone); implausible(n, d.seen) {
		r.log.Warn("more than a third of the pairs is missing from the exchange's list; no pair is marked as delisted",
			"exchange", exchange, "missing", n, "listed", d.seen, "first", gone[0])
		gone = nil
	}
	if len(gone)+len(d.back) == 0 {
		return nil
	}
	err := r.whenWritable(ctx, func() error { return r.store.SetListed(ctx, exchange, gone, d.back, time.Now()) })
	if err != nil {
		return err
	}
	r.log.Info("pairs were delisted or listed again", "exchange", exchange, "delisted", gone, "back", d.back)
	return nil
}
