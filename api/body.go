package api

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"tidemark/levels"
	"tidemark/service"
)

// maxSymbols bounds the list of symbols in one request; for more there is all.
const maxSymbols = 500

// The elements of a kline row. Rows may be longer, as those of exchanges are;
// what follows the volume is not read.
const (
	minColumns = 6
	maxColumns = 16
)

// analyzeBody is the body of POST /analyze. Exactly one of symbol, symbols, all
// and klines is given.
type analyzeBody struct {
	symbol     string
	symbols    []string
	all        bool
	klines     int // how many; -1 if none were given
	exchange   string
	interval   levels.Interval
	klineLimit int
	store      bool

	storeGiven bool
}

// bodyReader decodes the body of POST /analyze from a stream, token by token.
type bodyReader struct {
	dec *jsontext.Decoder
	// dst receives the klines. Without it they are checked to be JSON and
	// skipped.
	dst  *levels.Candles
	most int // klines there may be
	body analyzeBody
}

// decodeAnalyze reads one body and refuses what is not in the contract: unknown
// and repeated names, wrong types, values out of range, data that follows. With
// dst it fills dst with the klines, at most so many, each checked by
// levels.Candles.Append, and cut to the last kline_limit.
//
// The interval may follow the klines. They are then appended as if they were
// minutes, the shortest there is, and checked again.
func decodeAnalyze(r io.Reader, dst *levels.Candles, most int) (analyzeBody, error) {
	d := bodyReader{dec: jsontext.NewDecoder(r), dst: dst, most: most, body: analyzeBody{klines: -1, store: true}}
	if d.dec.PeekKind() != '{' {
		if _, err := d.dec.ReadToken(); err != nil {
			if err == io.EOF {
				return d.body, badField("", "the body is empty: it must be a JSON object")
			}
			return d.body, bodyError(err)
		}
		return d.body, badField("", "the body must be a JSON object")
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return d.body, bodyError(err)
	}
	for d.dec.PeekKind() != '}' {
		name, err := d.dec.ReadToken()
		if err != nil {
			return d.body, bodyError(err)
		}
		if err := d.member(name.String()); err != nil {
			return d.body, err
		}
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return d.body, bodyError(err)
	}
	if _, err := d.dec.ReadToken(); err != io.EOF {
		if err != nil {
			return d.body, bodyError(err)
		}
		return d.body, badField("", "something follows the JSON object")
	}
	if err := d.body.check(); err != nil {
		return d.body, err
	}
	if dst == nil || d.body.klines < 0 {
		return d.body, nil
	}
	if err := respace(dst, d.body.interval); err != nil {
		return d.body, err
	}
	if d.body.klineLimit > 0 {
		dst.KeepLast(d.body.klineLimit)
	}
	return d.body, nil
}

// member reads the value of one name of the object.
func (d *bodyReader) member(name string) (err error) {
	b := &d.body
	switch name {
	case "symbol":
		b.symbol, err = d.symbol()
	case "symbols":
		err = d.symbols()
	case "all":
		if b.all, err = d.boolean(); err == nil && !b.all {
			err = d.bad("all must be true; leave it out for anything else")
		}
	case "klines":
		err = d.klines()
	case "exchange":
		if b.exchange, err = d.text(); err == nil && !saneExchange(b.exchange) {
			err = d.bad("%q is not the name of an exchange", clip(b.exchange))
		}
	case "interval":
		var text string
		if text, err = d.text(); err == nil {
			if b.interval, err = levels.ParseInterval(clip(text)); err != nil {
				err = d.bad("%v", err)
			}
		}
	case "kline_limit":
		b.klineLimit, err = d.klineLimit()
	case "store":
		b.storeGiven = true
		b.store, err = d.boolean()
	default:
		err = d.bad("unknown field: there are symbol, symbols, all, klines, exchange, interval, kline_limit, store")
	}
	return err
}

// bad refuses the value last read.
func (d *bodyReader) bad(format string, args ...any) error {
	return badField(string(d.dec.StackPointer()), format, args...)
}

func (d *bodyReader) text() (string, error) {
	t, err := d.dec.ReadToken()
	if err != nil {
		return "", bodyError(err)
	}
	if t.Kind() != '"' {
		return "", d.bad("must be a string")
	}
	return t.String(), nil
}

func (d *bodyReader) boolean() (bool, error) {
	t, err := d.dec.ReadToken()
	if err != nil {
		return false, bodyError(err)
	}
	if t.Kind() != 't' && t.Kind() != 'f' {
		return false, d.bad("must be true or false")
	}
	return t.Bool(), nil
}

func (d *bodyReader) klineLimit() (int, error) {
	v, err := d.dec.ReadValue()
	if err != nil {
		return 0, bodyError(err)
	}
	n, err := strconv.Atoi(string(v))
	if err != nil || n < service.MinKlineLimit || n > service.MaxKlineLimit {
		return 0, d.bad("must be a whole number between %d and %d", service.MinKlineLimit, service.MaxKlineLimit)
	}
	return n, nil
}

func (d *bodyReader) symbol() (string, error) {
	text, err := d.text()
	if err != nil {
		return "", err
	}
	s, err := ParseSymbol(text)
	if err != nil {
		return "", d.bad("%v", err)
	}
	return s, nil
}

func (d *bodyReader) symbols() error {
	t, err := d.dec.ReadToken()
	if err != nil {
		return bodyError(err)
	}
	if t.Kind() != '[' {
		return d.bad("must be a list of symbols")
	}
	d.body.symbols = []string{}
	for d.dec.PeekKind() != ']' {
		s, err := d.symbol()
		if err != nil {
			return err
		}
		if len(d.body.symbols) == maxSymbols {
			return d.bad("more than %d symbols; split the list, or ask for all", maxSymbols)
		}
		d.body.symbols = append(d.body.symbols, s)
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return bodyError(err)
	}
	if len(d.body.symbols) == 0 {
		return d.bad("the list of symbols is empty")
	}
	return nil
}

// klines reads the rows, into dst if there is one.
func (d *bodyReader) klines() error {
	if d.dec.PeekKind() != '[' {
		if err := d.dec.SkipValue(); err != nil {
			return bodyError(err)
		}
		return d.bad("must be a list of rows [open_time, open, high, low, close, volume]")
	}
	if d.dst == nil {
		d.body.klines = 0 // not counted
		if err := d.dec.SkipValue(); err != nil {
			return bodyError(err)
		}
		return nil
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return bodyError(err)
	}
	interval := d.body.interval
	if interval == "" {
		interval = "1m"
	}
	d.dst.Reset(interval, 0)
	d.body.klines = 0
	for d.dec.PeekKind() != ']' {
		k, err := d.row()
		if err != nil {
			return err
		}
		if d.body.klines == d.most {
			if d.most < service.MaxKlineLimit {
				return d.bad("more than the %d klines MEMORY_BUDGET leaves room for", d.most)
			}
			return d.bad("more than %d klines", d.most)
		}
		if err := d.dst.Append(k); err != nil {
			return d.bad("kline %d: %v", d.body.klines, err)
		}
		d.body.klines++
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return bodyError(err)
	}
	return nil
}

// row reads [open time, open, high, low, close, volume, ...].
func (d *bodyReader) row() (levels.Candle, error) {
	t, err := d.dec.ReadToken()
	if err != nil {
		return levels.Candle{}, bodyError(err)
	}
	if t.Kind() != '[' {
		return levels.Candle{}, d.bad("kline %d must be a row [open_time, open, high, low, close, volume]", d.body.klines)
	}
	var column [minColumns]float64
	n := 0
	for ; d.dec.PeekKind() != ']'; n++ {
		switch {
		case n >= maxColumns:
			return levels.Candle{}, d.bad("kline %d has more than %d elements", d.body.klines, maxColumns)
		case n >= minColumns:
			err = d.dec.SkipValue()
		default:
			column[n], err = d.number()
		}
		if err != nil {
			return levels.Candle{}, bodyError(err)
		}
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return levels.Candle{}, bodyError(err)
	}
	if n < minColumns {
		return levels.Candle{}, d.bad("kline %d has %d elements; it must have %d: open_time, open, high, low, close, volume", d.body.klines, n, minColumns)
	}
	if t := column[0]; t != math.Trunc(t) || math.Abs(t) > 1<<53 {
		return levels.Candle{}, d.bad("kline %d: open time %v is not Unix milliseconds", d.body.klines, t)
	}
	return levels.Candle{
		OpenTime: int64(column[0]),
		Open:     column[1], High: column[2], Low: column[3], Close: column[4], Volume: column[5],
	}, nil
}

// number reads a number, bare or in a string as exchanges write them.
func (d *bodyReader) number() (float64, error) {
	v, err := d.dec.ReadValue()
	if err != nil {
		return 0, bodyError(err)
	}
	text := []byte(v)
	if len(text) >= 2 && text[0] == '"' {
		text = text[1 : len(text)-1]
	}
	// Go also reads hexadecimal, underscores, Inf and NaN; JSON has none
	for _, c := range text {
		if !('0' <= c && c <= '9' || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E') {
			return 0, d.bad("kline %d: %s is not a number", d.body.klines, clip(string(v)))
		}
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return 0, d.bad("kline %d: %s is not a number", d.body.klines, clip(string(v)))
	}
	return f, nil
}

// respace checks candles appended under another interval again under theirs.
func respace(c *levels.Candles, interval levels.Interval) error {
	if c.Interval == interval {
		return nil
	}
	old := *c
	c.Reset(interval, 0) // Append writes each candle where it was read
	for i := range old.Len() {
		if err := c.Append(old.At(i)); err != nil {
			return badField("/klines/"+strconv.Itoa(i), "kline %d: %v", i, err)
		}
	}
	return nil
}

// check refuses combinations that make no sense.
func (b *analyzeBody) check() error {
	var given []string
	for _, choice := range [...]struct {
		name string
		is   bool
	}{{"symbol", b.symbol != ""}, {"symbols", b.symbols != nil}, {"all", b.all}, {"klines", b.klines >= 0}} {
		if choice.is {
			given = append(given, choice.name)
		}
	}
	switch {
	case len(given) == 0:
		return badField("", "one of symbol, symbols, all and klines is needed")
	case len(given) > 1:
		return badField("/"+given[1], "only one of symbol, symbols, all and klines may be given; there are %s", strings.Join(given, " and "))
	case b.klines >= 0 && b.interval == "":
		return badField("/interval", "klines of one's own need their interval")
	case b.klines >= 0 && b.storeGiven && b.store:
		return badField("/store", "klines of one's own have no pair to be stored under; leave store out")
	case (b.symbols != nil || b.all) && !b.store:
		return badField("/store", "without storing, the analyses of several pairs could not be read")
	}
	return nil
}

// errNotKlines refuses a long body that carries no klines.
func errNotKlines(direct int) error {
	return fmt.Errorf("%w: a body of more than %d bytes must carry klines", service.ErrInvalid, direct)
}
