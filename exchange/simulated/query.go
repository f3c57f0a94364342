package simulated

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// apiError is an error as the venue words it. Codes and texts:
// binance-spot-api-docs, errors.md; if the documentation does not say which error a
// request gets, the simulation chooses one.
type apiError struct {
	status int
	code   int
	msg    string
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s", e.code, e.msg) }

func (e *apiError) append(dst []byte) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(e.code), 10)
	dst = append(dst, `,"msg":`...)
	return append(appendString(dst, e.msg), '}')
}

// appendString appends s in quotes, with the escapes that this package needs.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

func bad(code int, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

var (
	errSymbol     = bad(-1121, "Invalid symbol.")
	errInterval   = bad(-1120, "Invalid interval.")
	errStatus     = bad(-1122, "Invalid symbolStatus.")
	errTickerType = bad(-1139, "Invalid ticker type.")
	errTwice      = bad(-1151, "Symbol is present multiple times in the list.")
	errTogether   = bad(-1128, "Combination of optional parameters invalid.")
	errOther      = bad(-1220, "The symbol's status does not match the requested symbolStatus.")
)

const (
	symbolRange  = `^[\w\-._&&[^a-z]]{1,50}$`
	symbolsRange = `^\["[\w\-._&&[^a-z]]{1,50}"(,"[\w\-._&&[^a-z]]{1,50}"){0,}\]$`
	numberRange  = `^[0-9]{1,20}$`
)

func illegal(name, legal string) *apiError {
	return bad(-1100, "Illegal characters found in parameter '%s'; legal range is '%s'.", name, legal)
}

// parseQuery parses a query string that may contain the named parameters, each once
// and not empty.
func parseQuery(raw string, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, bad(-1100, "Illegal characters found in a parameter.")
	}
	known := 0
	for _, name := range names {
		v, ok := q[name]
		switch {
		case !ok:
			continue
		case len(v) > 1:
			return nil, bad(-1101, "Duplicate values for parameter '%s' detected.", name)
		case v[0] == "":
			return nil, bad(-1105, "Parameter '%s' was empty.", name)
		}
		known++
	}
	if known < len(q) {
		if len(names) == 0 {
			return nil, bad(-1101, "Too many parameters; expected '0' and received '%d'.", len(q))
		}
		return nil, bad(-1104, "Not all sent parameters were read; read '%d' parameter(s) but was sent '%d'.", known, len(q))
	}
	return q, nil
}

// number parses a whole number parameter; ok is false without it.
func number(q url.Values, name string) (n int64, ok bool, err error) {
	s := q.Get(name)
	if s == "" {
		return 0, false, nil
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i == 20 {
			return 0, false, illegal(name, numberRange)
		}
	}
	n, err = strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, false, bad(-1108, "Parameter '%s' overflowed.", name)
	}
	return n, err == nil, err
}

// klinesQuery is one request for klines, checked.
type klinesQuery struct {
	pair       *pair
	iv         interval
	start, end int64 // open times in Unix ms, both inclusive
	hasStart   bool
	limit      int
}

const (
	defaultKlines = 500
	maxKlines     = 1_000
	// latestTime bounds times in milliseconds, so that arithmetic cannot overflow.
	latestTime = 253_402_300_799_999
)

func (m *market) parseKlines(raw string) (k klinesQuery, err error) {
	q, err := parseQuery(raw, "symbol", "interval", "startTime", "endTime", "timeZone", "limit")
	if err != nil {
		return k, err
	}
	for _, name := range []string{"symbol", "interval"} {
		if !q.Has(name) {
			return k, bad(-1102, "Mandatory parameter '%s' was not sent, was empty/null, or malformed.", name)
		}
	}
	if k.pair, err = m.lookUp(q.Get("symbol")); err != nil {
		return k, err
	}
	i := slices.IndexFunc(intervals, func(iv interval) bool { return iv.name == q.Get("interval") })
	if i < 0 {
		return k, errInterval
	}
	k.iv = intervals[i]
	if z := q.Get("timeZone"); z != "" && z != "0" && z != "00:00" {
		return k, bad(-1130, "Data sent for parameter 'timeZone' is not valid.")
	}
	start, hasStart, err := number(q, "startTime")
	if err != nil {
		return k, err
	}
	k.start, k.hasStart = min(start, latestTime), hasStart
	end, hasEnd, err := number(q, "endTime")
	if err != nil {
		return k, err
	}
	k.end = min(end, latestTime)
	if !hasEnd {
		k.end = latestTime
	}
	limit, hasLimit, err := number(q, "limit")
	switch {
	case err != nil:
		return k, err
	case !hasLimit:
		limit = defaultKlines
	case limit == 0:
		return k, bad(-1130, "Data sent for parameter 'limit' is not valid.")
	}
	k.limit = int(min(limit, maxKlines)) // a greater limit is silently reduced
	return k, nil
}

func (m *market) lookUp(symbol string) (*pair, error) {
	if !legal(symbol) {
		return nil, illegal("symbol", symbolRange)
	}
	if p, ok := m.byName[symbol]; ok {
		return p, nil
	}
	return nil, errSymbol
}

// selection returns the pairs of the parameters symbol, symbols and symbolStatus; all
// is true without them.
func (m *market) selection(q url.Values) (selected []*pair, all bool, err error) {
	if q.Has("symbol") && q.Has("symbols") {
		return nil, false, errTogether
	}
	switch {
	case q.Has("symbol"):
		p, err := m.lookUp(q.Get("symbol"))
		return []*pair{p}, false, err
	case q.Has("symbols"):
		var names []string
		if json.Unmarshal([]byte(q.Get("symbols")), &names) != nil || len(names) == 0 {
			return nil, false, illegal("symbols", symbolsRange)
		}
		seen := map[string]bool{}
		for _, name := range names {
			if !legal(name) {
				return nil, false, illegal("symbols", symbolsRange)
			}
			p, ok := m.byName[name]
			switch {
			case seen[name]:
				return nil, false, errTwice
			case !ok:
				return nil, false, errSymbol
			}
			seen[name] = true
			selected = append(selected, p)
		}
		return selected, false, nil
	}
	return nil, true, nil
}

// infoQuery is one request for exchangeInfo, checked.
type infoQuery struct {
	keep func(*pair) bool
	sets bool // print permissionSets
}

func (m *market) parseInfo(raw string) (k infoQuery, err error) {
	q, err := parseQuery(raw, "symbol", "symbols", "symbolStatus", "permissions", "showPermissionSets")
	if err != nil {
		return k, err
	}
	selected, all, err := m.selection(q)
	if err != nil {
		return k, err
	}
	if !all && (q.Has("symbolStatus") || q.Has("permissions")) {
		return k, errTogether
	}
	status := q.Get("symbolStatus")
	if err := checkStatus(status); err != nil {
		return k, err
	}
	permissions := []string{"SPOT", "MARGIN", "LEVERAGED"}
	if v := q.Get("permissions"); v != "" {
		permissions = nil
		if v[0] != '[' {
			permissions = []string{v}
		} else if json.Unmarshal([]byte(v), &permissions) != nil {
			return k, bad(-1135, "JSON sent for parameter 'permissions' is not valid")
		}
		for _, v := range permissions {
			if !slices.Contains(knownPermissions, v) {
				return k, bad(-1130, "Data sent for parameter 'permissions' is not valid.")
			}
		}
	}
	switch v := q.Get("showPermissionSets"); v {
	case "", "true":
		k.sets = true
	case "false":
	default:
		return k, illegal("showPermissionSets", "^(true|false)$")
	}
	k.keep = func(p *pair) bool {
		if !all {
			return slices.Contains(selected, p)
		}
		return (status == "" || p.Status == status) &&
			slices.ContainsFunc(permissions, func(v string) bool { return slices.Contains(p.permissions(), v) })
	}
	return k, nil
}

var knownPermissions = []string{"SPOT", "MARGIN", "LEVERAGED"}

func checkStatus(status string) error {
	switch status {
	case "", "TRADING", "HALT", "BREAK":
		return nil
	}
	return errStatus
}

// tickerQuery is one request for ticker/24hr, checked.
type tickerQuery struct {
	pairs  []*pair // nil: all
	list   bool    // reply with an array
	status string
	mini   bool
}

func (m *market) parseTicker(raw string) (k tickerQuery, err error) {
	q, err := parseQuery(raw, "symbol", "symbols", "type", "symbolStatus")
	if err != nil {
		return k, err
	}
	var all bool
	if k.pairs, all, err = m.selection(q); err != nil {
		return k, err
	}
	k.list = all || q.Has("symbols")
	switch q.Get("type") {
	case "", "FULL":
	case "MINI":
		k.mini = true
	default:
		return k, errTickerType
	}
	k.status = q.Get("symbolStatus")
	if err := checkStatus(k.status); err != nil {
		return k, err
	}
	if !all && k.status != "" && slices.ContainsFunc(k.pairs, func(p *pair) bool { return p.Status != k.status }) {
		return k, errOther
	}
	return k, nil
}

// weight returns the request weight of a ticker/24hr request.
func (k *tickerQuery) weight() int {
	switch n := len(k.pairs); {
	case n == 0 || n > 100:
		return 80
	case n > 20:
		return 40
	}
	return 2
}
