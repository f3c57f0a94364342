package api

import (
	"strconv"
	"strings"
	"time"

	"tidemark/levels"
)

// csvHeader names the columns of GET /levels as CSV (RFC 4180).
const csvHeader = "symbol,exchange,interval,as_of,last_price,atr,stale,simulated,role," +
	"id,price,low,high,strength,touches,first_touch,last_touch,sources,distance_pct,distance_atr,status," +
	"touch_probability,hold_probability,hold_low,hold_high,baseline_hold_probability,samples\r\n"

// appendCSV appends a level as one line. What does not exist is an empty cell.
func appendCSV(b []byte, s *screenQuery, r *row) []byte {
	l := &r.level
	b = appendCell(b, r.symbol)
	b = appendCell(append(b, ','), s.exchange)
	b = appendCell(append(b, ','), string(s.interval))
	b = r.asOf.UTC().AppendFormat(append(b, ','), time.RFC3339)
	b = appendFloat(append(b, ','), r.last)
	b = appendDigits(append(b, ','), r.atr)
	b = strconv.AppendBool(append(b, ','), r.stale)
	b = strconv.AppendBool(append(b, ','), r.simulated)
	b = append(append(b, ','), l.Role.String()...)
	b = appendID(append(b, ','), l.ID)
	b = appendFloat(append(b, ','), l.Price)
	b = appendFloat(append(b, ','), l.Low)
	b = appendFloat(append(b, ','), l.High)
	b = appendRounded(append(b, ','), l.Strength, 3)
	b = strconv.AppendInt(append(b, ','), int64(l.Touches), 10)
	for _, ms := range [...]int64{l.FirstTouch, l.LastTouch} {
		if b = append(b, ','); ms != 0 {
			b = time.UnixMilli(ms).UTC().AppendFormat(b, time.RFC3339)
		}
	}
	b = append(b, ',')
	var names [16]string
	for i, name := range l.Sources.AppendNames(names[:0]) {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, name...)
	}
	pct, inATR, ok := distance(l, r.last, r.atr)
	b = appendRounded(append(b, ','), pct, 3)
	if b = append(b, ','); ok {
		b = appendRounded(b, inATR, 2)
	}
	b = append(append(b, ','), l.Status.String()...)
	if l.NoOdds != levels.OddsKnown {
		return append(b, ",,,,,,\r\n"...)
	}
	for _, odds := range [...]float64{l.TouchProbability, l.HoldProbability, l.HoldInterval[0], l.HoldInterval[1], l.BaselineHold} {
		b = appendFloat(append(b, ','), odds)
	}
	b = strconv.AppendInt(append(b, ','), int64(l.Samples), 10)
	return append(b, "\r\n"...)
}

// appendCell appends text as one cell. Spreadsheets run text that begins with
// one of =, +, -, @, tab or carriage return as a formula; an apostrophe before
// it makes it text (OWASP, CSV Injection).
func appendCell(b []byte, s string) []byte {
	formula := s != "" && strings.IndexByte("=+-@\t\r", s[0]) >= 0
	if !formula && !strings.ContainsAny(s, ",\"\r\n") {
		return append(b, s...)
	}
	b = append(b, '"')
	if formula {
		b = append(b, '\'')
	}
	for i := range len(s) {
		if s[i] == '"' {
			b = append(b, '"')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}
