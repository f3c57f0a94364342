package job

import (
	"context"
	"maps"
	"slices"
	"time"
)

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
	if n := len(gone); 3*n > d.seen+n {
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
