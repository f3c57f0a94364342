package api

import (
	"strconv"
	"strings"
	"time"

	"tidemark/wire"
)

// csvHeader names the columns of GET /levels as CSV (RFC 4180).
const csvHeader = "symbol,exchange,interval,as_of,last_price,atr,stale,simulated,role," +
	"id,price,low,high,strength,touches,first_touch,last_touch,sources,distance_pct,distance_atr,status," +
	"touch_probability,hold_probability,hold_low,hold_high,baseline_hold_probability,samples,name\r\n"

// appendCSV appends a level as one line. A missing value is an empty cell.
func appendCSV(b []byte, r *wire.Row) []byte {
	b = appendCell(b, r.Symbol)
	b = appendCell(append(b, ','), r.Exchange)
	b = appendCell(append(b, ','), r.Interval)
	b = r.AsOf.AppendFormat(append(b, ','), time.RFC3339)
	b = appendFloat(append(b, ','), r.LastPrice)
	b = appendFloat(append(b, ','), r.ATR)
	b = strconv.AppendBool(append(b, ','), r.Stale)
	b = strconv.AppendBool(append(b, ','), r.Simulated)
	b = append(append(b, ','), r.Role...)
	b = append(append(b, ','), r.ID...)
	for _, f := range [...]float64{r.Price, r.Low, r.High, r.Strength} {
		b = appendFloat(append(b, ','), f)
	}
	b = strconv.AppendInt(append(b, ','), int64(r.Touches), 10)
	for _, t := range [...]*time.Time{r.FirstTouch, r.LastTouch} {
		if b = append(b, ','); t != nil {
			b = t.AppendFormat(b, time.RFC3339)
		}
	}
	b = append(b, ',')
	for i, name := range r.Sources {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, name...)
	}
	b = appendFloat(append(b, ','), r.DistancePct)
	if b = append(b, ','); r.DistanceATR != nil {
		b = appendFloat(b, *r.DistanceATR)
	}
	b = append(append(b, ','), r.Status...)
	if r.Samples == nil {
		return appendName(append(b, ",,,,,,"...), r)
	}
	for _, odds := range [...]float64{*r.TouchProbability, *r.HoldProbability, r.HoldInterval[0], r.HoldInterval[1], *r.BaselineHoldProbability} {
		b = appendFloat(append(b, ','), odds)
	}
	return appendName(strconv.AppendInt(append(b, ','), int64(*r.Samples), 10), r)
}

// appendName appends the last cell, the canonical name, and ends the line.
func appendName(b []byte, r *wire.Row) []byte {
	if b = append(b, ','); r.Name != nil {
		b = appendCell(b, *r.Name)
	}
	return append(b, "\r\n"...)
}

// appendCell appends text as one cell. Spreadsheets run text that begins with =, +, -,
// @, tab or carriage return as a formula; a leading apostrophe makes it text (OWASP,
// CSV Injection).
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
