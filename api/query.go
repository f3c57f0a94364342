package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"

	"tidemark/levels"
	"tidemark/service"
)

// query holds the parameters of a request in the order of its names.
type query struct {
	names  []string
	values [24]string
	given  uint32
}

// parseQuery parses a raw query. It refuses parameters that are not among names (at
// most 24), repeated, or not decodable. Empty values count as not given.
func parseQuery(raw string, names ...string) (query, error) {
	q := query{names: names}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil {
			return q, badParameter(strings.ToValidUTF8(name, "\uFFFD"), "%v", err)
		}
		i := slices.Index(names, name)
		switch {
		case i < 0 && len(names) == 0:
			return q, badParameter(clip(name), "unknown parameter; there are none here")
		case i < 0:
			return q, badParameter(clip(name), "unknown parameter: there are %s", strings.Join(names, ", "))
		case q.given&(1<<i) != 0:
			return q, badParameter(name, "the parameter is there twice")
		case !utf8.ValidString(value):
			return q, badParameter(name, "not valid UTF-8")
		}
		q.given |= 1 << i
		q.values[i] = value
	}
	return q, nil
}

// clip shortens a client's text for an error message.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:64], "") + "…"
}

// get returns the value of a parameter, empty if it is not given.
func (q *query) get(name string) string { return q.values[slices.Index(q.names, name)] }

// integer returns a whole number between low and high, or the fallback.
func (q *query) integer(name string, low, high, fallback int) (int, error) {
	text := q.get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, badParameter(name, "%q is not a whole number between %d and %d", clip(text), low, high)
	}
	return n, nil
}

// number returns a finite number of at least 0, and whether it is given.
func (q *query) number(name string) (float64, bool, error) {
	text := q.get(name)
	if text == "" {
		return 0, false, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 1e18) || strings.ContainsAny(text, "xXpP_") {
		return 0, false, badParameter(name, "%q is not a number of at least 0", clip(text))
	}
	return f, true, nil
}

// boolean returns a truth value, and whether it is given.
func (q *query) boolean(name string) (value, given bool, err error) {
	switch text := q.get(name); text {
	case "":
		return false, false, nil
	case "true", "false":
		return text == "true", true, nil
	default:
		return false, false, badParameter(name, "%q is neither true nor false", clip(text))
	}
}

// oneOf returns one of the permitted values, or empty if none is given.
func (q *query) oneOf(name string, values ...string) (string, error) {
	text := q.get(name)
	if text == "" || slices.Contains(values, text) {
		return text, nil
	}
	return "", badParameter(name, "%q is none of %s", clip(text), strings.Join(values, ", "))
}

// someOf returns those of the permitted values that a list has, separated by commas; nil if
// none is given.
func (q *query) someOf(name string, values ...string) ([]string, error) {
	text := q.get(name)
	if text == "" {
		return nil, nil
	}
	given := strings.Split(text, ",")
	for i, v := range given {
		if !slices.Contains(values, v) {
			return nil, badParameter(name, "%q is none of %s", clip(v), strings.Join(values, ", "))
		}
		if slices.Contains(given[:i], v) {
			return nil, badParameter(name, "%s is given twice", v)
		}
	}
	return given, nil
}

// maxConfluence is how many intervals GET /levels looks for confluence on: each is read
// along with the market.
const maxConfluence = 3

// confluence returns the intervals of that parameter, none of which may be the one of the
// request; nil if it is not given.
func (q *query) confluence(of levels.Interval) ([]levels.Interval, error) {
	text := q.get("confluence")
	if text == "" {
		return nil, nil
	}
	all, err := ParseIntervals(text)
	switch {
	case err != nil:
		return nil, badParameter("confluence", "%v", err)
	case slices.Contains(all, of):
		return nil, badParameter("confluence", "%s is the interval of the levels", of)
	case len(all) > maxConfluence:
		return nil, badParameter("confluence", "more than %d intervals", maxConfluence)
	}
	return all, nil
}

// moment returns a time in RFC 3339, zero if not given.
func (q *query) moment(name string) (time.Time, error) {
	text := q.get(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, badParameter(name, "%q is not a time in RFC 3339, such as 2026-11-22T19:00:00Z", clip(text))
	}
	return t.UTC(), nil
}

// interval returns an interval, the configured one if not given.
func (q *query) interval(a *API) (levels.Interval, error) {
	text := q.get("interval")
	if text == "" {
		fallback, _ := a.Analyzer.Defaults()
		return fallback, nil
	}
	i, err := levels.ParseInterval(clip(text))
	if err != nil {
		return "", badParameter("interval", "%v", err)
	}
	return i, nil
}

// intervals returns the intervals of a list, 1h,4h, and leaves the first of them as the
// parameter; nil if the parameter is not a list.
func (q *query) intervals() ([]levels.Interval, error) {
	at := slices.Index(q.names, "interval")
	if strings.IndexByte(q.values[at], ',') < 0 {
		return nil, nil
	}
	all, err := ParseIntervals(q.values[at])
	if err != nil {
		return nil, badParameter("interval", "%v", err)
	}
	q.values[at] = string(all[0])
	return all, nil
}

// ParseIntervals reads intervals separated by commas, none of them twice. Its error is a
// sentence for people.
func ParseIntervals(text string) ([]levels.Interval, error) {
	var all []levels.Interval
	for name := range strings.SplitSeq(text, ",") {
		i, err := levels.ParseInterval(clip(name))
		if err != nil {
			return nil, fmt.Errorf("%w; in a list they are separated by commas, without spaces", err)
		}
		if slices.Contains(all, i) {
			return nil, fmt.Errorf("%s is there twice", i)
		}
		all = append(all, i)
	}
	return all, nil
}

// exchange returns the name of an exchange, the first of this process if not given.
// Stored analyses may come from exchanges that other processes serve.
func (q *query) exchange(a *API) (string, error) {
	text := q.get("exchange")
	if text == "" {
		return a.firstMarket().Exchange, nil
	}
	if !saneExchange(text) {
		return "", badParameter("exchange", "%q is not the name of an exchange", clip(text))
	}
	return text, nil
}

// exchanges returns the names of the exchanges that a request about a market covers: the
// given one, or all of this process.
func (q *query) exchanges(a *API) ([]string, error) {
	if q.get("exchange") == "" {
		return a.markets, nil
	}
	name, err := q.exchange(a)
	return []string{name}, err
}

// allExchanges stands for several exchanges where a reply names one.
const allExchanges = "all"

// nameOf returns the only one of the exchanges, or allExchanges.
func nameOf(exchanges []string) string {
	if len(exchanges) == 1 {
		return exchanges[0]
	}
	return allExchanges
}

// firstMarket returns the market of the first exchange of this process.
func (a *API) firstMarket() service.Market {
	m, _ := a.Analyzer.Market("")
	return m
}

// series returns the key of a request, from the pair in its path, its interval and its
// exchange, and the canonical name of the pair, nil if it is not known.
func (a *API) series(q *query, w *reply, r *http.Request) (key service.Key, name *string, err error) {
	key, pair, err := a.written(q, w, r)
	if err != nil {
		return key, nil, err
	}
	of, err := a.resolve(r.Context(), key.Exchange, pair)
	key.Exchange, key.Symbol = of.exchange, of.symbol
	return key, stringOrNil(of.name), err
}

// written returns the key of a request as it is written: with the plain name of the pair,
// and with an empty exchange if none is given and this process has several.
func (a *API) written(q *query, w *reply, r *http.Request) (key service.Key, pair pairText, err error) {
	if pair, err = pathPair(w, r); err != nil {
		return key, pair, err
	}
	key.Symbol = pair.plain
	if key.Interval, err = q.interval(a); err != nil {
		return key, pair, err
	}
	if len(a.markets) == 1 || q.get("exchange") != "" {
		key.Exchange, err = q.exchange(a)
	}
	return key, pair, err
}

// saneExchange accepts 1 to 32 lower-case letters, digits and hyphens.
func saneExchange(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 32
}

// pathPair returns the name of the pair in the path of r.
func pathPair(w *reply, r *http.Request) (pairText, error) {
	text := w.symbol
	if text == "" {
		text = chi.URLParam(r, "symbol")
	}
	if r.URL.RawPath != "" { // the router matched the escaped path: BTC%2FUSDT
		var err error
		if text, err = url.PathUnescape(text); err != nil {
			return pairText{}, badParameter("symbol", "%v", err)
		}
	}
	p, err := parsePair(text)
	if err != nil {
		return pairText{}, badParameter("symbol", "%v", err)
	}
	return p, nil
}

// ParseSymbol converts the usual spellings of a pair to the exchange's own (btcusdt,
// BTC-USDT, BTC/USDT: BTCUSDT). Its error is a sentence for people.
func ParseSymbol(s string) (string, error) {
	if symbol, ok := canonical(s); ok {
		return symbol, nil
	}
	return "", fmt.Errorf("%q is not a symbol such as BTCUSDT", clip(s))
}

// maxSymbol bounds a symbol in characters.
const maxSymbol = 40

// canonical converts the usual spellings of a pair to the exchange's own: upper case,
// without the hyphen or slash between the assets (btcusdt, BTC-USDT, BTC/USDT:
// BTCUSDT). It accepts letters of every script, digits, '_', ':', '.' and '@', which all
// occur in symbols of some exchange, and refuses other characters.
func canonical(s string) (string, bool) {
	plain := len(s) > 0 && len(s) <= maxSymbol
	for i := 0; plain && i < len(s); i++ {
		c := s[i]
		plain = 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	if plain {
		return s, true
	}
	if len(s) > 4*maxSymbol || !utf8.ValidString(s) {
		return "", false
	}
	out := make([]rune, 0, maxSymbol)
	something := false
	for _, c := range s {
		switch {
		case c == '-' || c == '/':
			continue
		case unicode.IsLetter(c) || unicode.IsDigit(c):
			c = unicode.ToUpper(c)
			something = true
		case c != '_' && c != ':' && c != '.' && c != '@':
			return "", false
		}
		if len(out) == maxSymbol {
			return "", false
		}
		out = append(out, c)
	}
	return string(out), something
}
