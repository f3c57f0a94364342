package api

import (
	"errors"
	"fmt"
	"io"
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

// bodyOptions refuse unknown and repeated names. Each type of value has a function that
// reads one token at a time: without it, the library would buffer a whole list before
// refusing it in place of a string, and would accept null as a missing value.
var bodyOptions = json.JoinOptions(json.RejectUnknownMembers(true), json.WithUnmarshalers(json.JoinUnmarshalers(
	json.UnmarshalFromFunc(readObject[analyzeBody]), json.UnmarshalFromFunc(readObject[historyBody]),
	json.UnmarshalFromFunc(readText), json.UnmarshalFromFunc(readLimit), json.UnmarshalFromFunc(readTrue),
	json.UnmarshalFromFunc(readStore), json.UnmarshalFromFunc(readSymbols), json.UnmarshalFromFunc(readTickSize),
	json.UnmarshalFromFunc(readEvery), json.UnmarshalFromFunc(readMinEdge), json.UnmarshalFromFunc(readInstant),
	json.UnmarshalFromFunc(readInstants),
)))

// decodeAnalyze decodes a body with at most maxKlines klines. It refuses what is not in
// the contract: unknown and repeated names, wrong types, values out of range, trailing
// data.
func decodeAnalyze(r io.Reader, maxKlines int) (*analyzeBody, error) {
	b := &analyzeBody{Klines: rows{maxKlines: maxKlines}}
	if err := decodeBody(r, b, "symbol, symbols, all, klines, exchange, interval, kline_limit, store, faint, tick_size"); err != nil {
		return nil, err
	}
	return b, b.check()
}

// decodeBody decodes a body with the named fields into b.
func decodeBody(r io.Reader, b any, fields string) error {
	d := jsontext.NewDecoder(r)
	err := json.UnmarshalDecode(d, b, bodyOptions)
	if err == io.EOF {
		return badField("", "the body is empty: it must be a JSON object")
	}
	if err == nil {
		if _, err = d.ReadToken(); err == nil {
			return badField("", "something follows the JSON object")
		}
	}
	if err == io.EOF {
		return nil
	}
	if errors.Is(err, errLongToken) {
		return badField(string(d.StackPointer()), "%v: a body of more than %d bytes must carry klines", errLongToken, directBytes)
	}
	return bodyError(err, fields)
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
func readObject[T any](dec *jsontext.Decoder, _ *T) error {
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

// readTickSize reads the field tick_size, the only number that is not a pointer.
func readTickSize(dec *jsontext.Decoder, to *float64) error {
	const must = "must be a decimal number above 0, such as 0.01"
	t, err := token(dec, "0", must)
	if err != nil {
		return err
	}
	*to, err = strconv.ParseFloat(t.String(), 64)
	if _, ok := parseTick(*to); err != nil || !ok {
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
	if b.TickSize != 0 && !b.Klines.given {
		return badField("/tick_size", "that of a pair is the exchange's; it may be given with klines only")
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
