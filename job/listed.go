package job

import (
	"context"
	"maps"
	"slices"
	"time"
)

// delisting is what a listing of the whole exchange says about the pairs there is
// something stored about.
type delisting struct {
	seen int      // pairs that were taken to be listed, and are
	back []string // pairs that were taken to be delisted, and are listed
}

// saw takes a pair that is trading out of stored, which Store.Listed returned.
func (d *delisting) saw(stored map[string]PairState, symbol string) {
	was := stored[symbol]
	if was.Listed {
		d.seen++
	}
	if was.Delisted {
		d.back = append(d.back, symbol)
	}
	delete(stored, symbol)
}

// setListed stores what changed: what is left of stored and was taken to be listed is
// not any more. An exchange does not drop a third of its pairs from one sweep to the
// next: such a list is taken for a fault of its own, and believed of no pair.
func (r *Runner) setListed(ctx context.Context, exchange string, left map[string]PairState, d *delisting) error {
	maps.DeleteFunc(left, func(_ string, was PairState) bool { return !was.Listed })
	gone := slices.Sorted(maps.Keys(left))
	if n := len(gone); 3*n > d.seen+n {
		r.log.Warn("more than a third of the pairs is missing in the exchange's list; none is taken for delisted",
			"exchange", exchange, "missing", n, "listed", d.seen, "first", gone[0])
		gone = nil
	}
	if len(gone)+len(d.back) == 0 {
		return nil
	}
	if err := r.store.SetListed(ctx, exchange, gone, d.back, time.Now()); err != nil {
		return err
	}
	r.log.Info("pairs were delisted, or are listed again", "exchange", exchange, "delisted", gone, "back", d.back)
	return nil
}
