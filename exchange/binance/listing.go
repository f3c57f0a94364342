package binance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"tidemark/exchange"
	"tidemark/service"
)

const (
	maxSymbols       = 20_000 // the venue lists about 3,500, including delisted ones
	maxSymbolRunes   = 40
	maxWord          = 160         // bytes of an asset or status, including escapes
	listingAge       = time.Hour   // maximum age of a pair's tick and status
	freshListing     = time.Minute // minimum time between reads of the list, and of the volumes
	failurePause     = 10 * time.Second
	tickerPause      = time.Minute // failed attempts cost several hundred of the weight
	maxExchangeInfo  = 64 << 20    // bytes
	maxTicker        = 16 << 20
	maxServerTime    = 1 << 10
	earliestStamp    = 1_483_228_800_000 // 2017, the year the venue opened
	latestStamp      = 253_402_300_799_999
	maxRequestWeight = 10_000_000 // a greater limit is ignored
)

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

func (l *listing) find(name string) (service.Symbol, bool) {
	i, ok := l.index(name)
	if !ok {
		return service.Symbol{}, false
	}
	return l.symbols[i], true
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

// validName reports whether a symbol may be the venue's: not empty, no white space or
// control characters, at most 40 characters of valid UTF-8.
func validName(name string) bool {
	if name == "" || !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxSymbolRunes {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsPrint(r) || unicode.IsSpace(r) || strings.ContainsRune(`"'\/?&#%<>`, r)
	})
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
	if !fresh() {
		if err := c.tickers.do(ctx, patience, fresh); err != nil {
			return nil, err
		}
	}
	return c.list.Load(), nil
}

// fetchListing reads the list and keeps the known volumes.
func (c *Client) fetchListing(ctx context.Context) error {
	var got info
	call := exchange.Call{Endpoint: "exchangeInfo", Weight: listWeight, MaxBody: maxExchangeInfo, Compress: true}
	err := c.call(ctx, call, "showPermissionSets=false", func(body io.Reader, date time.Time) error {
		got = info{}
		if err := decodeExchangeInfo(body, &got); err != nil {
			return err
		}
		return c.clock.Set(got.serverTime, got.received, date)
	})
	if err != nil {
		return err
	}
	if got.weightLimit > 0 {
		c.caller.Limiter.SetLimit(got.weightLimit)
	}
	if got.skipped > 0 {
		c.log.Warn("pairs with invalid names are skipped", "pairs", got.skipped)
	}
	l := &listing{symbols: got.symbols, at: time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.list.Load(); old != nil && !old.pricedAt.IsZero() {
		l = l.withVolumesOf(old)
	}
	c.list.Store(l)
	return nil
}

// info is the content of exchangeInfo.
type info struct {
	serverTime  int64     // Unix ms
	received    time.Time // when that was read
	weightLimit int       // request weight a minute; 0 if absent
	symbols     []service.Symbol
	skipped     int // pairs with invalid names
}

// decodeExchangeInfo reads the response of exchangeInfo as a stream, because it is
// megabytes long, and only a few words of each pair are needed.
func decodeExchangeInfo(r io.Reader, dst *info) error {
	d := newDecoder(r)
	words := map[string]string{} // quote assets and statuses are few
	var refusal apiError
	listed := false
	err := object(d, func(name []byte) error {
		var err error
		switch string(name) {
		case "serverTime":
			dst.serverTime, err = integer(d)
			dst.received = time.Now()
		case "rateLimits":
			err = array(d, func() error { return rateLimit(d, dst) })
		case "symbols":
			listed = true
			err = array(d, func() error { return symbol(d, dst, words) })
		default:
			err = refusal.member(d, name)
		}
		return err
	})
	if err == nil {
		err = end(d)
	}
	switch {
	case err != nil:
		return err
	case refusal.Code != 0:
		return refusal.asError()
	case !listed || len(dst.symbols) == 0:
		return errors.New("exchangeInfo lists no pairs")
	case dst.serverTime < earliestStamp || dst.serverTime > latestStamp:
		return fmt.Errorf("serverTime %d is not Unix milliseconds", dst.serverTime)
	}
	slices.SortFunc(dst.symbols, func(a, b service.Symbol) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(dst.symbols); i++ {
		if dst.symbols[i].Name == dst.symbols[i-1].Name {
			return fmt.Errorf("exchangeInfo lists %s twice", dst.symbols[i].Name)
		}
	}
	return nil
}

func rateLimit(d *jsontext.Decoder, dst *info) error {
	var kind, interval string
	var count, limit int64
	err := object(d, func(name []byte) error {
		var err error
		switch string(name) {
		case "rateLimitType":
			kind, err = text(d, maxWord)
		case "interval":
			interval, err = text(d, maxWord)
		case "intervalNum":
			count, err = integer(d)
		case "limit":
			limit, err = integer(d)
		default:
			err = d.SkipValue()
		}
		return err
	})
	if kind == "REQUEST_WEIGHT" && interval == "MINUTE" && count == 1 && limit > 0 && limit <= maxRequestWeight {
		dst.weightLimit = int(limit)
	}
	return err
}

func symbol(d *jsontext.Decoder, dst *info, words map[string]string) error {
	var s service.Symbol
	spot := false
	err := object(d, func(name []byte) error {
		var err error
		switch string(name) {
		case "symbol":
			s.Name, err = text(d, maxToken)
		case "status":
			s.Status, err = word(d, words)
		case "baseAsset":
			s.Base, err = text(d, maxWord)
		case "quoteAsset":
			s.Quote, err = word(d, words)
		case "isSpotTradingAllowed":
			spot, err = boolean(d)
		case "filters":
			err = array(d, func() error { return filter(d, &s.Tick) })
		default:
			err = d.SkipValue()
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case s.Name == "" || s.Status == "" || s.Base == "" || s.Quote == "":
		return fmt.Errorf("a pair without symbol, status or assets: %q", s.Name)
	case len(dst.symbols)+dst.skipped == maxSymbols:
		return fmt.Errorf("more than %d pairs", maxSymbols)
	case !validName(s.Name):
		dst.skipped++
		return nil
	}
	if strings.HasPrefix(s.Name, s.Base) {
		s.Base = s.Name[:len(s.Base)] // saves one allocation
	}
	s.Trading = s.Status == "TRADING" && spot
	dst.symbols = append(dst.symbols, s)
	return nil
}

func filter(d *jsontext.Decoder, dst *service.Tick) error {
	price := false
	var tick service.Tick
	var wrong error // used only if this is the price filter
	err := object(d, func(name []byte) error {
		switch string(name) {
		case "filterType":
			raw, err := scalar(d)
			price = string(raw) == `"PRICE_FILTER"`
			return err
		case "tickSize":
			raw, err := quoted(d)
			if err == nil {
				tick, wrong = exchange.ParseTick(raw)
			}
			return err
		}
		return d.SkipValue()
	})
	if err == nil && price {
		*dst, err = tick, wrong
	}
	return err
}

// fetchVolumes reads the 24 h quote volume of each pair of the list; 0 for a pair that
// is missing in the response.
func (c *Client) fetchVolumes(ctx context.Context) error {
	l := *c.list.Load()
	l.volumes = make([]float64, len(l.symbols))
	call := exchange.Call{Endpoint: "ticker/24hr", Weight: tickersWeight, MaxBody: maxTicker, Compress: true}
	err := c.call(ctx, call, "type=MINI", func(body io.Reader, _ time.Time) error {
		clear(l.volumes)
		return decodeTicker(body, func(symbol []byte, volume float64) {
			i, ok := slices.BinarySearchFunc(l.symbols, symbol, func(s service.Symbol, name []byte) int {
				return strings.Compare(s.Name, string(name))
			})
			if ok {
				l.volumes[i] = volume
			}
		})
	})
	if err != nil {
		return err
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

// decodeTicker reads the response of ticker/24hr for several pairs as a
// stream. The symbol is valid until yield returns.
func decodeTicker(r io.Reader, yield func(symbol []byte, quoteVolume float64)) error {
	d := newDecoder(r)
	if d.PeekKind() == '{' {
		return failure(d)
	}
	var name []byte
	rows := 0
	err := array(d, func() error {
		name = name[:0]
		volume := -1.0
		err := object(d, func(key []byte) error {
			switch string(key) {
			case "symbol":
				raw, err := scalar(d)
				if err == nil {
					name, err = jsontext.AppendUnquote(name, raw)
				}
				return err
			case "quoteVolume":
				raw, err := quoted(d)
				if err == nil {
					volume, err = exchange.ParseDecimal(raw)
				}
				return err
			}
			return d.SkipValue()
		})
		switch {
		case err != nil:
			return err
		case len(name) == 0 || volume < 0:
			return fmt.Errorf("a ticker without symbol or quoteVolume: %.40q", name)
		case rows == maxSymbols:
			return fmt.Errorf("more than %d tickers", maxSymbols)
		}
		rows++
		yield(name, volume)
		return nil
	})
	if err != nil {
		return err
	}
	return end(d)
}

// failure reads an error of the venue sent with HTTP 200.
func failure(d *jsontext.Decoder) error {
	var e apiError
	err := object(d, func(name []byte) error { return e.member(d, name) })
	if err != nil {
		return err
	}
	return e.asError()
}

// member reads a member of an error, or skips it.
func (e *apiError) member(d *jsontext.Decoder, name []byte) (err error) {
	switch string(name) {
	case "code":
		var code int64
		code, err = integer(d)
		e.Code = int(code)
		return err
	case "msg":
		e.Msg, err = text(d, maxToken)
		return err
	}
	return d.SkipValue()
}

func decodeTime(r io.Reader) (int64, error) {
	d := newDecoder(r)
	var t int64
	var refusal apiError
	err := object(d, func(name []byte) (err error) {
		if string(name) == "serverTime" {
			t, err = integer(d)
			return err
		}
		return refusal.member(d, name)
	})
	switch {
	case err != nil:
		return 0, err
	case t == 0:
		return 0, refusal.asError()
	case t < earliestStamp || t > latestStamp:
		return 0, fmt.Errorf("serverTime %d is not Unix milliseconds", t)
	}
	return t, end(d)
}

// The following functions read a JSON stream without building a tree. The name passed
// to the function of object is valid until the next read.

func object(d *jsontext.Decoder, member func(name []byte) error) error {
	if err := open(d, '{'); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		raw, err := scalar(d) // the name, quoted; no known name has escapes
		if err != nil {
			return err
		}
		if err := member(raw[1 : len(raw)-1]); err != nil {
			return shortError(err)
		}
	}
	_, err := d.ReadToken()
	return shortError(err)
}

func array(d *jsontext.Decoder, element func() error) error {
	if err := open(d, '['); err != nil {
		return err
	}
	for d.PeekKind() != ']' {
		if d.PeekKind() == 0 {
			_, err := d.ReadToken()
			return shortError(err)
		}
		if err := element(); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return shortError(err)
}

func open(d *jsontext.Decoder, kind jsontext.Kind) error {
	t, err := d.ReadToken()
	if err != nil {
		return shortError(err)
	}
	if t.Kind() != kind {
		return fmt.Errorf("%v instead of %v, at byte %d", t.Kind(), kind, d.InputOffset())
	}
	return nil
}

// end returns an error unless the body ends here. Reading to the end also allows the
// connection to be reused.
func end(d *jsontext.Decoder) error {
	if _, err := d.ReadToken(); err != io.EOF {
		if err == nil {
			err = fmt.Errorf("data after the end, at byte %d", d.InputOffset())
		}
		return shortError(err)
	}
	return nil
}

// shortError replaces long errors of the decoder for HTML and truncated bodies.
func shortError(err error) error {
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if s.JSONPointer == "" && strings.Contains(s.Error(), "'<' at start of value") {
			return errHTML
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w, at byte %d", errTruncated, s.ByteOffset)
		}
	}
	if err == io.EOF {
		return errTruncated
	}
	return err
}

// scalar reads a value that is not an object or array, which the decoder would hold in
// memory as a whole.
func scalar(d *jsontext.Decoder) (jsontext.Value, error) {
	if k := d.PeekKind(); k == '{' || k == '[' {
		return nil, fmt.Errorf("%v instead of a string, number or boolean, at byte %d", k, d.InputOffset())
	}
	raw, err := d.ReadValue()
	return raw, shortError(err)
}

// quoted returns what is between the quotes of a string without escapes.
func quoted(d *jsontext.Decoder) ([]byte, error) {
	raw, err := scalar(d)
	if err != nil {
		return nil, err
	}
	if raw.Kind() != '"' {
		return nil, fmt.Errorf("%.40q is not a string", raw)
	}
	return raw[1 : len(raw)-1], nil
}

// text returns a string of at most limit bytes.
func text(d *jsontext.Decoder, limit int) (string, error) {
	raw, err := scalar(d)
	if err != nil {
		return "", err
	}
	if raw.Kind() != '"' || len(raw) > limit {
		return "", fmt.Errorf("%.40q is not a short string", raw)
	}
	b, err := jsontext.AppendUnquote(nil, raw)
	return string(b), err
}

// word returns a string that all pairs share.
func word(d *jsontext.Decoder, words map[string]string) (string, error) {
	raw, err := quoted(d)
	if err != nil {
		return "", err
	}
	if w, ok := words[string(raw)]; ok {
		return w, nil
	}
	if len(raw) > maxWord {
		return "", fmt.Errorf("%.40q is not a word", raw)
	}
	b, err := jsontext.AppendUnquote(nil, slices.Concat([]byte{'"'}, raw, []byte{'"'}))
	w := string(b)
	words[string(raw)] = w
	return w, err
}

func integer(d *jsontext.Decoder) (int64, error) {
	raw, err := scalar(d)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not an integer", raw)
	}
	return n, nil
}

func boolean(d *jsontext.Decoder) (bool, error) {
	raw, err := scalar(d)
	if err != nil {
		return false, err
	}
	if k := raw.Kind(); k != 't' && k != 'f' {
		return false, fmt.Errorf("%.40q is not true or false", raw)
	}
	return raw.Kind() == 't', nil
}
