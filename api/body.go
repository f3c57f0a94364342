package api

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// maxSymbols bounds the list of symbols of a request; all covers more.
const maxSymbols = 500

// The number of elements in a kline row. Rows may be longer than needed, as those of
// exchanges are; the elements after the volume are ignored.
const (
	minColumns = 6
	maxColumns = 16
)

// maxToken bounds a value, or a run of white space, in a body that is decoded from the
// connection. It thereby bounds the decoder's buffer.
const maxToken = 4 << 10

// errLongToken is the error of tokens for a longer token.
var errLongToken = fmt.Errorf("a value, or a run of white space, of more than %d bytes", maxToken)

// tokens is a reader of JSON that fails at a token longer than maxToken.
type tokens struct {
	r       io.Reader
	n       int  // bytes of the current token so far
	blank   bool // it is white space
	text    bool // it is a string
	escaped bool // the next byte of the string is escaped
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

// analyzeBody is the body of POST /analyze.
type analyzeBody wire.AnalyzeRequest[rows]

// stored reports whether the analysis is stored, unless settleStore decides otherwise.
func (b *analyzeBody) stored() bool { return b.Store == nil || *b.Store }

// faint reports whether the reply has the faint levels, too.
func (b *analyzeBody) faint() bool { return b.Faint != nil && *b.Faint }

// rows holds the klines of a request in pieces, so that their memory grows only by what
// they need.
type rows struct {
	given     bool
	maxKlines int // maximum number of klines
	pieces    [][]levels.Candle
	n         int
}

// rowsPiece is the number of klines in a piece.
const rowsPiece = 256

func (k *rows) add(c levels.Candle) {
	if k.n%rowsPiece == 0 {
		k.pieces = append(k.pieces, make([]levels.Candle, 0, rowsPiece))
	}
	last := &k.pieces[len(k.pieces)-1]
	*last = append(*last, c)
	k.n++
}

// fill copies the klines to dst and keeps the last limit of them, or all if limit is 0.
// levels.Candles.Append checks each kline. The error names the first one refused.
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

// bodyOptions refuse unknown and repeated names. Each type of value has a function that
// reads one token at a time: without it, the library would buffer a whole list before
// refusing it in place of a string, and would accept null as a missing value.
var bodyOptions = json.JoinOptions(json.RejectUnknownMembers(true), json.WithUnmarshalers(json.JoinUnmarshalers(
	json.UnmarshalFromFunc(readObject), json.UnmarshalFromFunc(readText), json.UnmarshalFromFunc(readLimit),
	json.UnmarshalFromFunc(readTrue), json.UnmarshalFromFunc(readStore), json.UnmarshalFromFunc(readSymbols),
)))

// decodeAnalyze decodes a body with at most maxKlines klines. It refuses what is not in
// the contract: unknown and repeated names, wrong types, values out of range, trailing
// data.
func decodeAnalyze(r io.Reader, maxKlines int) (*analyzeBody, error) {
	d := jsontext.NewDecoder(r)
	b := &analyzeBody{Klines: rows{maxKlines: maxKlines}}
	err := json.UnmarshalDecode(d, b, bodyOptions)
	if err == io.EOF {
		return nil, badField("", "the body is empty: it must be a JSON object")
	}
	if err == nil {
		if _, err = d.ReadToken(); err == nil {
			return nil, badField("", "something follows the JSON object")
		}
	}
	if err != nil && err != io.EOF {
		if errors.Is(err, errLongToken) {
			return nil, badField(string(d.StackPointer()), "%v: a body of more than %d bytes must carry klines", errLongToken, directBytes)
		}
		return nil, bodyError(err)
	}
	return b, b.check()
}

// token reads a token of one of the kinds. For other kinds, its error says what the
// value must be.
func token(dec *jsontext.Decoder, kinds, must string) (jsontext.Token, error) {
	t, err := dec.ReadToken()
	if err == nil && strings.IndexByte(kinds, byte(t.Kind())) < 0 {
		err = badValue(dec, "%s", must)
	}
	return t, err
}

// badValue returns an error for the value read last.
func badValue(dec *jsontext.Decoder, format string, args ...any) error {
	return badField(string(dec.StackPointer()), format, args...)
}

// readObject refuses a body that is not an object.
func readObject(dec *jsontext.Decoder, _ *analyzeBody) error {
	if dec.PeekKind() != '{' {
		_, err := token(dec, "", "the body must be a JSON object")
		return err
	}
	return errors.ErrUnsupported // the library reads it
}

func readText(dec *jsontext.Decoder, to *string) error {
	t, err := token(dec, `"`, "must be a string")
	if err != nil {
		return err
	}
	if *to = t.String(); *to == "" {
		return badValue(dec, "must not be empty")
	}
	return nil
}

func readLimit(dec *jsontext.Decoder, to *int) error {
	must := fmt.Sprintf("must be a whole number between %d and %d", service.MinKlineLimit, service.MaxKlineLimit)
	t, err := token(dec, "0", must)
	if err != nil {
		return err
	}
	if *to, err = strconv.Atoi(t.String()); err != nil || *to < service.MinKlineLimit || *to > service.MaxKlineLimit {
		return badValue(dec, "%s", must)
	}
	return nil
}

// readTrue reads the field all, the only bool that is not a pointer.
func readTrue(dec *jsontext.Decoder, to *bool) error {
	t, err := token(dec, "tf", "must be true or false")
	if err != nil {
		return err
	}
	if *to = t.Bool(); !*to {
		return badValue(dec, "all must be true; leave it out for anything else")
	}
	return nil
}

func readStore(dec *jsontext.Decoder, to **bool) error {
	t, err := token(dec, "tf", "must be true or false")
	if err != nil {
		return err
	}
	*to = new(t.Bool())
	return nil
}

func readSymbols(dec *jsontext.Decoder, to *[]string) error {
	if _, err := token(dec, "[", "must be a list of symbols"); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		var text string
		if err := readText(dec, &text); err != nil {
			return err
		}
		if _, err := ParseSymbol(text); err != nil {
			return badValue(dec, "%v", err)
		}
		if len(*to) == maxSymbols {
			return badValue(dec, "more than %d symbols; split the list, or ask for all", maxSymbols)
		}
		*to = append(*to, text)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	if len(*to) == 0 {
		return badValue(dec, "the list of symbols is empty")
	}
	return nil
}

// UnmarshalJSONFrom reads the rows one at a time.
func (k *rows) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if _, err := token(dec, "[", "must be a list of rows [open_time, open, high, low, close, volume]"); err != nil {
		return err
	}
	k.given = true
	for dec.PeekKind() != ']' {
		c, err := k.read(dec)
		if err != nil {
			return err
		}
		if k.n == k.maxKlines {
			if k.maxKlines < service.MaxKlineLimit {
				return badValue(dec, "more than the %d klines MEMORY_BUDGET leaves room for", k.maxKlines)
			}
			return badValue(dec, "more than %d klines", k.maxKlines)
		}
		k.add(c)
	}
	_, err := dec.ReadToken()
	return err
}

// read reads [open time, open, high, low, close, volume, ...].
func (k *rows) read(dec *jsontext.Decoder) (c levels.Candle, err error) {
	t, err := dec.ReadToken()
	if err != nil {
		return c, err
	}
	if t.Kind() != '[' {
		return c, badValue(dec, "kline %d must be a row [open_time, open, high, low, close, volume]", k.n)
	}
	var column [minColumns]float64
	n := 0
	for ; dec.PeekKind() != ']'; n++ {
		switch {
		case n >= maxColumns:
			return c, badValue(dec, "kline %d has more than %d elements", k.n, maxColumns)
		case n >= minColumns:
			err = k.scalar(dec)
		default:
			column[n], err = k.number(dec)
		}
		if err != nil {
			return c, err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return c, err
	}
	if n < minColumns {
		return c, badValue(dec, "kline %d has %d elements; it must have %d: open_time, open, high, low, close, volume", k.n, n, minColumns)
	}
	if t := column[0]; t != math.Trunc(t) || math.Abs(t) > 1<<53 {
		return c, badValue(dec, "kline %d: open time %v is not Unix milliseconds", k.n, t)
	}
	return levels.Candle{
		OpenTime: int64(column[0]),
		Open:     column[1], High: column[2], Low: column[3], Close: column[4], Volume: column[5],
	}, nil
}

// scalar skips an unused value of a row. It refuses lists and objects: no exchange
// sends them there, and one could be as long as the body.
func (k *rows) scalar(dec *jsontext.Decoder) error {
	t, err := dec.ReadToken()
	if err == nil && (t.Kind() == '[' || t.Kind() == '{') {
		return badValue(dec, "kline %d: a row holds numbers and strings", k.n)
	}
	return err
}

// number reads a number, either bare or in a string as exchanges write it.
func (k *rows) number(dec *jsontext.Decoder) (float64, error) {
	if kind := dec.PeekKind(); kind == '[' || kind == '{' {
		return 0, k.scalar(dec)
	}
	v, err := dec.ReadValue()
	if err != nil {
		return 0, err
	}
	text := []byte(v)
	if len(text) >= 2 && text[0] == '"' {
		text = text[1 : len(text)-1]
	}
	// Go also accepts hexadecimal, underscores, Inf and NaN; JSON does not
	for _, c := range text {
		if !('0' <= c && c <= '9' || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E') {
			return 0, badValue(dec, "kline %d: %s is not a number", k.n, clip(string(v)))
		}
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return 0, badValue(dec, "kline %d: %s is not a number", k.n, clip(string(v)))
	}
	return f, nil
}

// check refuses invalid values and combinations.
func (b *analyzeBody) check() (err error) {
	if b.Symbol != "" {
		if _, err = ParseSymbol(b.Symbol); err != nil {
			return badField("/symbol", "%v", err)
		}
	}
	if b.Exchange != "" && !saneExchange(b.Exchange) {
		return badField("/exchange", "%q is not the name of an exchange", clip(b.Exchange))
	}
	if b.Interval != "" {
		if _, err := levels.ParseInterval(clip(b.Interval)); err != nil {
			return badField("/interval", "%v", err)
		}
	}
	var given []string
	for _, choice := range [...]struct {
		name string
		is   bool
	}{{"symbol", b.Symbol != ""}, {"symbols", b.Symbols != nil}, {"all", b.All}, {"klines", b.Klines.given}} {
		if choice.is {
			given = append(given, choice.name)
		}
	}
	switch {
	case len(given) == 0:
		return badField("", "one of symbol, symbols, all and klines is needed")
	case len(given) > 1:
		return badField("/"+given[1], "only one of symbol, symbols, all and klines may be given; there are %s", strings.Join(given, " and "))
	case b.Klines.given && b.Interval == "":
		return badField("/interval", "klines of one's own need their interval")
	case b.Klines.given && b.Store != nil && *b.Store:
		return badField("/store", "klines of one's own have no pair to be stored under; leave store out")
	case (b.Symbols != nil || b.All) && !b.stored():
		return badField("/store", "without storing, the analyses of several pairs could not be read")
	}
	if b.Faint != nil && (b.Symbols != nil || b.All) {
		return badField("/faint", "the reply to several pairs has no levels; GET /levels takes faint")
	}
	return nil
}

// errNotKlines is the error for a long body without klines.
func errNotKlines(direct int) error {
	return fmt.Errorf("%w: a body of more than %d bytes must carry klines", service.ErrInvalid, direct)
}
