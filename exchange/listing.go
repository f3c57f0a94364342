package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"tidemark/service"
)

const (
	maxSymbols     = 20_000 // Binance lists about 3,500, including delisted ones
	maxSymbolRunes = 40
	maxWord        = 128         // bytes of an asset or a status
	maxPages       = 100         // of a list
	listingAge     = time.Hour   // maximum age of a pair's tick and status
	freshListing   = time.Minute // minimum time between reads of the list, and of the volumes
	failurePause   = 10 * time.Second
	tickerPause    = time.Minute // failed attempts cost several hundred of Binance's weight
	maxListing     = 64 << 20    // bytes
	maxServerTime  = 64 << 10
	maxLimit       = 10_000_000 // a greater limit of a venue is ignored
)

// Listing is what the decoders of a list fill. Its zero value is empty.
type Listing struct {
	symbols  []service.Symbol
	skipped  int               // pairs with invalid names
	words    map[string]string // quote assets, statuses and bases, which repeat
	cursor   string            // of the next page
	page     string            // the cursor of this page
	clock    int64             // Unix ms
	received time.Time
	limits   [MaxBudgets]int
	err      error

	// for volumes, by the index of sorted symbols
	volumes []float64
	tickers int
	id      []byte // of the ticker that is read

	prices *service.PriceList // nil unless the response was requested for the prices
}

// Word returns b as a string that all pairs share.
func (l *Listing) Word(b []byte) string {
	if w, ok := l.words[string(b)]; ok {
		return w
	}
	w := string(b)
	if len(w) <= maxWord && len(l.words) < maxSymbols { // Add refuses longer ones, and more pairs
		if l.words == nil {
			l.words = map[string]string{}
		}
		l.words[w] = w
	}
	return w
}

// Add adds a pair.
func (l *Listing) Add(p service.Symbol) {
	switch {
	case l.err != nil:
	case p.Name == "" || p.Status == "" || p.Base == "" || p.Quote == "":
		l.err = fmt.Errorf("a pair without symbol, status or assets: %q", p.Name)
	case len(p.Base) > maxWord || len(p.Quote) > maxWord || len(p.Settle) > maxWord || len(p.Status) > maxWord:
		l.err = fmt.Errorf("an asset or status of %.40q is longer than %d bytes", p.Name, maxWord)
	case len(l.symbols)+l.skipped == maxSymbols:
		l.err = fmt.Errorf("more than %d pairs", maxSymbols)
	case !validName(p.Name):
		l.skipped++
	default:
		l.symbols = append(l.symbols, p)
	}
}

// Price sets the last price of a pair.
func (l *Listing) Price(id []byte, last float64) {
	switch {
	case l.prices == nil || len(id) == 0 || len(id) > maxWord:
	case l.prices.Len() < maxSymbols:
		l.prices.Add(id, last)
	case l.err == nil:
		l.err = fmt.Errorf("more than %d prices", maxSymbols)
	}
}

// Volume sets the 24 h volume of a pair, in its quote asset. Unlisted pairs are ignored.
func (l *Listing) Volume(id []byte, quoteVolume float64) {
	if l.prices != nil {
		return
	}
	if l.tickers++; l.tickers > maxSymbols && l.err == nil {
		l.err = fmt.Errorf("more than %d tickers", maxSymbols)
	}
	if len(id) == 0 || !(quoteVolume >= 0) {
		if l.err == nil {
			l.err = fmt.Errorf("a ticker without symbol or volume: %.40q", id)
		}
		return
	}
	i, ok := slices.BinarySearchFunc(l.symbols, id, func(s service.Symbol, id []byte) int {
		return strings.Compare(s.Name, string(id))
	})
	if ok && i < len(l.volumes) {
		l.volumes[i] = quoteVolume
	}
}

// Ticker reads an object with the id of a pair, its last price, and its 24 h volume in the
// quote asset, by the names of those members. A number is null or empty if there were no
// trades. An object without a volume has the price alone, and quoteVolume is empty.
func (l *Listing) Ticker(s *Scanner, id, last, quoteVolume string) {
	l.id = l.id[:0]
	price, volume := 0.0, -1.0
	for s.Object(); s.More(); {
		switch string(s.Key()) {
		case id:
			l.id = append(l.id[:0], s.Text()...)
		case quoteVolume:
			volume = s.Amount()
		case last:
			price = s.Amount()
		default:
			s.Skip()
		}
	}
	if s.Err() == nil {
		l.Price(l.id, price)
		if quoteVolume != "" {
			l.Volume(l.id, volume)
		}
	}
}

// IsLeveraged reports whether an asset has the name that several venues give to leveraged
// tokens: BTC3L, ETH5S.
func IsLeveraged(base string) bool {
	n := len(base)
	return n > 3 && (base[n-1] == 'L' || base[n-1] == 'S') && base[n-2] >= '2' && base[n-2] <= '5' && (base[n-3] < '0' || base[n-3] > '9')
}

// Clock sets the venue's time that the response shows, Unix ms.
func (l *Listing) Clock(ms int64) { l.clock, l.received = ms, time.Now() }

// Limit sets the limit of a budget that the response reports.
func (l *Listing) Limit(budget int, limit int64) {
	if limit > 0 && limit <= maxLimit {
		l.limits[budget] = int(limit)
	}
}

// Cursor names the next page of the list, or of the volumes.
func (l *Listing) Cursor(next string) { l.cursor = next }

// Page returns the cursor that this page was requested with.
func (l *Listing) Page() string { return l.page }

// listing is the venue's list of pairs, by name. It is read completely before it is
// used: iterating over it may take minutes, and the venue would close a response that
// is not read. It is immutable; a new list replaces it.
type listing struct {
	symbols  []service.Symbol // without volumes
	at       time.Time
	volumes  []float64 // 24 h quote volume of each; nil until they are read
	pricedAt time.Time // when they were read; zero until then
	complete bool      // they were read for all pairs of this list
}

func (l *listing) index(name string) (int, bool) {
	return slices.BinarySearchFunc(l.symbols, name, func(s service.Symbol, name string) int {
		return strings.Compare(s.Name, name)
	})
}

// find returns the pair with an id or a canonical name.
func (l *listing) find(name string) (service.Symbol, bool) {
	if i, ok := l.index(name); ok {
		return l.symbols[i], true
	}
	base, rest, ok := strings.Cut(name, "/")
	if !ok {
		return service.Symbol{}, false
	}
	for _, s := range l.symbols {
		if s.Base == base && strings.HasPrefix(rest, s.Quote) && s.Canonical() == name {
			return s, true
		}
	}
	return service.Symbol{}, false
}

// all yields the pairs with their volumes, which must be present.
func (l *listing) all(yield func(service.Symbol, error) bool) {
	for i, s := range l.symbols {
		s.QuoteVolume = l.volumes[i]
		if !yield(s, nil) {
			return
		}
	}
}

// readAt returns when the oldest part of the list was read.
func (l *listing) readAt() time.Time {
	if l.pricedAt.Before(l.at) {
		return l.pricedAt
	}
	return l.at
}

// isPriced reports whether the volumes were read within maxAge.
func (l *listing) isPriced(maxAge time.Duration) bool {
	return l.complete && time.Since(l.pricedAt) < maxAge
}

// withVolumesOf returns l with the volumes of another list, o.
func (l *listing) withVolumesOf(o *listing) *listing {
	n := *l
	n.volumes, n.pricedAt, n.complete = make([]float64, len(l.symbols)), o.pricedAt, o.complete
	for i, s := range l.symbols {
		if j, ok := o.index(s.Name); ok {
			n.volumes[i] = o.volumes[j]
		} else {
			n.complete = false
		}
	}
	return &n
}

// listed returns a list read within maxAge. Concurrent callers share one read.
func (c *Client) listed(ctx context.Context, maxAge, patience time.Duration) (*listing, error) {
	fresh := func() bool { l := c.list.Load(); return l != nil && time.Since(l.at) < maxAge }
	if !fresh() {
		if err := c.listings.do(ctx, patience, fresh); err != nil {
			return nil, err
		}
	}
	return c.list.Load(), nil
}

// priced returns a list with its volumes, both read within a minute.
func (c *Client) priced(ctx context.Context, patience time.Duration) (*listing, error) {
	if _, err := c.listed(ctx, freshListing, patience); err != nil {
		return nil, err
	}
	fresh := func() bool { return c.list.Load().isPriced(freshListing) }
	if c.spec.Listings > 1 && !fresh() {
		if err := c.tickers.do(ctx, patience, fresh); err != nil {
			return nil, err
		}
	}
	return c.list.Load(), nil
}

// fetchListing reads the list and keeps the known volumes.
func (c *Client) fetchListing(ctx context.Context) error {
	got := new(Listing)
	e := newEffort()
	for cursor, page := "", 0; ; page++ {
		if page == maxPages {
			return fmt.Errorf("%w: the list of pairs has more than %d pages", service.ErrExchange, maxPages)
		}
		mark, skipped := len(got.symbols), got.skipped
		err := c.readListing(ctx, e, c.venue.Listing(0, cursor), func(s *Scanner, date time.Time) error {
			got.symbols, got.skipped, got.cursor, got.clock, got.err = got.symbols[:mark], skipped, "", 0, nil
			got.page = cursor
			if err := c.venue.DecodeListing(0, s, got); err != nil {
				return err
			}
			switch {
			case got.err != nil:
				return got.err
			case len(got.symbols) == 0 && got.cursor == "":
				return errors.New("the list has no pairs")
			case got.clock == 0:
				return nil
			case got.clock < earliestStamp || got.clock > latestStamp:
				return fmt.Errorf("the time %d is not Unix milliseconds", got.clock)
			}
			return c.clock.Set(got.clock, got.received, date)
		})
		if err != nil {
			return err
		}
		if cursor = got.cursor; cursor == "" {
			break
		}
	}
	slices.SortFunc(got.symbols, func(a, b service.Symbol) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(got.symbols); i++ {
		if got.symbols[i].Name == got.symbols[i-1].Name {
			return fmt.Errorf("%w: the list has %s twice", service.ErrExchange, got.symbols[i].Name)
		}
	}
	for i, limit := range got.limits {
		if limit > 0 {
			c.caller.limiter.SetLimit(i, limit)
		}
	}
	if got.skipped > 0 {
		c.log.Warn("pairs with invalid names are skipped", "pairs", got.skipped)
	}
	l := &listing{symbols: got.symbols, at: time.Now()}
	if c.spec.Listings == 1 { // with the volumes
		l.volumes, l.pricedAt, l.complete = make([]float64, len(l.symbols)), l.at, true
		for i := range l.symbols {
			l.volumes[i], l.symbols[i].QuoteVolume = l.symbols[i].QuoteVolume, 0
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.list.Load(); old != nil && !old.pricedAt.IsZero() && c.spec.Listings > 1 {
		l = l.withVolumesOf(old)
	}
	c.list.Store(l)
	return nil
}

// fetchVolumes reads the 24 h quote volume of each pair of the list; 0 for a pair that
// is missing in the response.
func (c *Client) fetchVolumes(ctx context.Context) error {
	l := *c.list.Load()
	l.volumes = make([]float64, len(l.symbols))
	e := newEffort()
	for cursor, page := "", 0; ; page++ {
		if page == maxPages {
			return fmt.Errorf("%w: the volumes have more than %d pages", service.ErrExchange, maxPages)
		}
		var dst *Listing
		err := c.readListing(ctx, e, c.venue.Listing(1, cursor), func(s *Scanner, _ time.Time) error {
			dst = &Listing{symbols: l.symbols, volumes: l.volumes, words: map[string]string{}, page: cursor}
			if err := c.venue.DecodeListing(1, s, dst); err != nil {
				return err
			}
			return dst.err
		})
		if err != nil {
			return err
		}
		if cursor = dst.cursor; cursor == "" {
			break
		}
	}
	l.pricedAt, l.complete = time.Now(), true
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &l
	if now := c.list.Load(); now.at != l.at { // replaced meanwhile
		next = now.withVolumesOf(next)
	}
	c.list.Store(next)
	return nil
}

// readListing makes one request for the list.
func (c *Client) readListing(ctx context.Context, e *effort, call Call, decode func(s *Scanner, date time.Time) error) error {
	call.Compress = true
	if call.MaxBody == 0 {
		call.MaxBody = maxListing
	}
	return c.caller.do(ctx, call, e, func(body io.Reader, h http.Header) error {
		return decode(NewScanner(body, nil), Date(h))
	})
}
