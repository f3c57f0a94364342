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
	"touch_probability,hold_probability,hold_low,hold_high,baseline_hold_probability,samples,name," +
	"state,held_in_role,tests,held,broke,recent,first_tested,last_tested,found_by,replaces,edge,faint,market_price,market_price_at,passed\r\n"

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
	b = appendWords(append(b, ','), r.Sources)
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

// rfc3339Milli is the layout of a time that has milliseconds.
const rfc3339Milli = "2006-01-02T15:04:05.000Z07:00"

// appendName appends the canonical name, what tests have shown, the edge and the price of
// now, and ends the line.
func appendName(b []byte, r *wire.Row) []byte {
	if b = append(b, ','); r.Name != nil {
		b = appendCell(b, *r.Name)
	}
	b = append(append(b, ','), r.State...)
	for _, n := range [...]*int{r.HeldInRole, r.Tests, r.Held, r.Broke} {
		if b = append(b, ','); n != nil {
			b = strconv.AppendInt(b, int64(*n), 10)
		}
	}
	b = appendWords(append(b, ','), r.Recent)
	for _, t := range [...]*time.Time{r.FirstTested, r.LastTested} {
		if b = append(b, ','); t != nil {
			b = t.AppendFormat(b, time.RFC3339)
		}
	}
	b = appendWords(append(b, ','), r.FoundBy)
	if b = append(b, ','); r.Replaces != nil {
		b = append(b, *r.Replaces...)
	}
	b = appendFloat(append(b, ','), r.Edge)
	b = strconv.AppendBool(append(b, ','), r.Faint)
	if b = append(b, ','); r.MarketPrice != nil {
		b = appendFloat(b, *r.MarketPrice)
	}
	if b = append(b, ','); r.MarketPriceAt != nil {
		b = r.MarketPriceAt.AppendFormat(b, rfc3339Milli)
	}
	b = strconv.AppendBool(append(b, ','), r.Passed)
	if r.Confluence != nil {
		b = appendRefs(append(b, ','), r.Confluence)
	}
	return append(b, "\r\n"...)
}

// confluenceColumn is one more column of rows of several intervals.
const confluenceColumn = "confluence"

// appendRefs appends names of levels, each with its interval, separated by spaces.
func appendRefs(b []byte, refs []wire.LevelRef) []byte {
	for i, r := range refs {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(append(append(b, r.Interval...), ':'), r.ID...)
	}
	return b
}

// appendWords appends words, none of which needs quotes, separated by spaces.
func appendWords(b []byte, words []string) []byte {
	for i, word := range words {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, word...)
	}
	return b
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
