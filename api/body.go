package api

import (
	"errors"
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

// maxToken bounds a value and a run of white space of a body that is decoded from
// the connection, and with it what the decoder holds of it.
const maxToken = 4 << 10

// errLongToken is what tokens says of one that is longer.
var errLongToken = fmt.Errorf("a value, or a run of white space, of more than %d bytes", maxToken)

// tokens passes JSON on as long as none of its tokens is too long.
type tokens struct {
	r       io.Reader
	n       int  // bytes of the token so far
	blank   bool // it is white space
	text    bool // it is a string
	escaped bool // the next byte of the string stands for itself
}

func (t *tokens) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	for _, c := range p[:n] {
		blank := c == ' ' || c == '\n' || c == '\r' || c == '\t'
		switch {
		case t.text:
			t.text, t.escaped = t.escaped || c != '"', !t.escaped && c == '\\'
		case c == '"':
			t.n, t.text, t.blank = 0, true, false
		case c == '[' || c == ']' || c == '{' || c == '}' || c == ',' || c == ':' || blank != t.blank:
			t.n, t.blank = 0, blank
		}
		if t.n++; t.n > maxToken {
			return 0, errLongToken
		}
	}
	return n, err
}

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
	dec  *jsontext.Decoder
	rows *rows // receives the klines
	most int   // klines there may be
	body analyzeBody
}

// rows holds klines as they were sent, in pieces, so that their memory grows by no
// more than what they take.
type rows struct {
	pieces [][]levels.Candle
	n      int
}

// rowsPiece is how many klines a piece holds.
const rowsPiece = 256

func (k *rows) add(c levels.Candle) {
	if k.n%rowsPiece == 0 {
		k.pieces = append(k.pieces, make([]levels.Candle, 0, rowsPiece))
	}
	last := &k.pieces[len(k.pieces)-1]
	*last = append(*last, c)
	k.n++
}

// fill puts the klines into dst, each checked by levels.Candles.Append, and cuts them
// to the last limit, 0 for all. The first that is refused is named.
func (k *rows) fill(dst *levels.Candles, interval levels.Interval, limit int) error {
	dst.Reset(interval, k.n)
	for i := range k.n {
		if err := dst.Append(k.pieces[i/rowsPiece][i%rowsPiece]); err != nil {
			return badField("/klines/"+strconv.Itoa(i), "kline %d: %v", i, err)
		}
	}
	if limit > 0 {
		dst.KeepLast(limit)
	}
	return nil
}

// decodeAnalyze reads one body and refuses what is not in the contract: unknown
// and repeated names, wrong types, values out of range, data that follows. It puts
// the klines into own, at most so many.
func decodeAnalyze(r io.Reader, own *rows, most int) (analyzeBody, error) {
	d := bodyReader{dec: jsontext.NewDecoder(r), rows: own, most: most, body: analyzeBody{klines: -1, store: true}}
	err := d.read()
	if errors.Is(err, errLongToken) {
		err = d.bad("%v: a body of more than %d bytes must carry klines", errLongToken, directBytes)
	}
	return d.body, err
}

// read reads the whole body.
func (d *bodyReader) read() error {
	if d.dec.PeekKind() != '{' {
		if _, err := d.dec.ReadToken(); err != nil {
			if err == io.EOF {
				return badField("", "the body is empty: it must be a JSON object")
			}
			return bodyError(err)
		}
		return badField("", "the body must be a JSON object")
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return bodyError(err)
	}
	for d.dec.PeekKind() != '}' {
		name, err := d.dec.ReadToken()
		if err != nil {
			return bodyError(err)
		}
		if err := d.member(name.String()); err != nil {
			return err
		}
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return bodyError(err)
	}
	if _, err := d.dec.ReadToken(); err != io.EOF {
		if err != nil {
			return bodyError(err)
		}
		return badField("", "something follows the JSON object")
	}
	return d.body.check()
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
	t, err := d.dec.ReadToken()
	if err != nil {
		return 0, bodyError(err)
	}
	n, err := strconv.Atoi(t.String())
	if err != nil || t.Kind() != '0' || n < service.MinKlineLimit || n > service.MaxKlineLimit {
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

// klines reads the rows.
func (d *bodyReader) klines() error {
	t, err := d.dec.ReadToken()
	if err != nil {
		return bodyError(err)
	}
	if t.Kind() != '[' {
		return d.bad("must be a list of rows [open_time, open, high, low, close, volume]")
	}
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
		d.rows.add(k)
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
			err = d.scalar()
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

// scalar reads a value of a row that is not used. No exchange has a list or an
// object there, and one could be as long as the body.
func (d *bodyReader) scalar() error {
	t, err := d.dec.ReadToken()
	if err == nil && (t.Kind() == '[' || t.Kind() == '{') {
		return d.bad("kline %d: a row holds numbers and strings", d.body.klines)
	}
	return err
}

// number reads a number, bare or in a string as exchanges write them.
func (d *bodyReader) number() (float64, error) {
	if k := d.dec.PeekKind(); k == '[' || k == '{' {
		return 0, d.scalar()
	}
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
