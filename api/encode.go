package api

import (
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
)

// The encoders append JSON by hand: replies are built once into a buffer, with
// a fixed order of names, so that equal input gives equal bytes.

func appendString(b []byte, s string) []byte {
	// the only error is invalid UTF-8, which is replaced by U+FFFD as well
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

// appendFloat appends f in plain decimals, as short as reads back the same.
func appendFloat(b []byte, f float64) []byte { return strconv.AppendFloat(b, f, 'f', -1, 64) }

// appendRounded appends f with at most n decimals.
func appendRounded(b []byte, f float64, n int) []byte {
	if scale := math.Pow10(n); math.Abs(f) < 1e15 { // beyond, there are no decimals
		f = math.Round(f*scale) / scale
	}
	if f == 0 {
		f = 0 // never "-0"
	}
	return appendFloat(b, f)
}

// appendDigits appends f with six significant digits: enough for a mean, and
// independent of how small the prices of a pair are.
func appendDigits(b []byte, f float64) []byte {
	var text [32]byte
	rounded, _ := strconv.ParseFloat(string(strconv.AppendFloat(text[:0], f, 'e', 5, 64)), 64)
	return appendFloat(b, rounded)
}

// appendTime appends t as RFC 3339 in UTC, with milliseconds if it has any, or
// null if it is zero.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = t.UTC().Truncate(time.Millisecond).AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

func appendMillis(b []byte, ms int64) []byte {
	if ms == 0 {
		return append(b, "null"...)
	}
	return appendTime(b, time.UnixMilli(ms))
}

// orNull appends s as a string, or null if it is empty.
func orNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendString(b, s)
}

// appendID appends the id of a level as 16 hexadecimal digits.
func appendID(b []byte, id uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[id>>shift&15])
	}
	return b
}

// leastGrace is the time a sweep is given after a close: its start is spread over half
// a minute, and the request weight of an exchange lasts it most of the rest.
const leastGrace = 2 * time.Minute

// delisted reports whether the pair of s was delisted at the moment now.
func delisted(s *service.Snapshot, now time.Time) bool {
	return !s.DelistedAt.IsZero() && now.After(s.DelistedAt)
}

// staleAfter is the moment from which an analysis is stale: the close of the candle
// that follows it, and a grace in which the analysis of that candle may still be on its
// way. The grace is a twentieth of the interval, at least leastGrace, and never longer
// than the interval. A pair that is delisted is stale from then on, as nothing newer will
// come.
func staleAfter(s *service.Snapshot) time.Time {
	interval := s.Interval.Duration()
	limit := s.AsOf.Add(interval + min(interval, max(leastGrace, interval/20)))
	if d := s.DelistedAt; !d.IsZero() && d.Before(limit) {
		return d
	}
	return limit
}

// StaleReason says in words why s is stale at the moment now, or is empty. It names
// moments, not ages, so that the same reply stays true.
func StaleReason(s *service.Snapshot, now time.Time) string {
	if delisted(s, now) {
		return s.Exchange + " does not list the pair as trading since " + s.DelistedAt.UTC().Format(time.RFC3339) + ", and there will be no newer analysis while it does not"
	}
	if limit := staleAfter(s); now.After(limit) {
		return "newer " + string(s.Interval) + " candles have closed since " + s.AsOf.UTC().Format(time.RFC3339) +
			"; the next analysis was due by " + limit.UTC().Format(time.RFC3339)
	}
	return ""
}

// oddsReason is why the probabilities of the levels of s are null, all of them;
// empty when they are not.
func oddsReason(s *service.Snapshot) string {
	for _, side := range [...][]levels.Level{s.Supports, s.Resistances} {
		if len(side) > 0 {
			return side[0].NoOdds.String()
		}
	}
	return ""
}

// pageOddsReason is why probabilities of an interval are null; empty where there
// are odds.
func pageOddsReason(i levels.Interval) string {
	if _, own := levels.Odds().For(i); !own {
		return levels.UnknownInterval.String()
	}
	return ""
}

// AppendAnalysis appends s as one JSON object, the way the API shows it at the
// moment now: nothing in it but stale, stale_reason and delisted_at depends on that.
func AppendAnalysis(b []byte, s *service.Snapshot, now time.Time) []byte {
	stale := StaleReason(s, now)
	b = append(b, `{"symbol":`...)
	b = orNull(b, s.Symbol)
	b = append(b, `,"exchange":`...)
	b = orNull(b, s.Exchange)
	b = append(b, `,"interval":`...)
	b = appendString(b, string(s.Interval))
	b = append(b, `,"as_of":`...)
	b = appendTime(b, s.AsOf)
	b = append(b, `,"computed_at":`...)
	b = appendTime(b, s.ComputedAt)
	b = append(b, `,"last_price":`...)
	b = appendFloat(b, s.LastPrice)
	b = append(b, `,"atr":`...)
	b = appendDigits(b, s.ATR)
	b = append(b, `,"klines":`...)
	b = strconv.AppendInt(b, int64(s.Klines), 10)
	b = append(b, `,"missing_klines":`...)
	b = strconv.AppendInt(b, int64(s.Missing), 10)
	b = append(b, `,"stale":`...)
	b = strconv.AppendBool(b, stale != "")
	b = append(b, `,"stale_reason":`...)
	b = orNull(b, stale)
	b = append(b, `,"delisted_at":`...)
	if delisted(s, now) {
		b = appendTime(b, s.DelistedAt)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"simulated":`...)
	b = strconv.AppendBool(b, s.Simulated)
	b = append(b, `,"algorithm":`...)
	b = appendString(b, s.Algorithm)
	b = append(b, `,"horizon_candles":`...)
	b = strconv.AppendInt(b, levels.Horizon, 10)
	b = append(b, `,"odds_reason":`...)
	b = orNull(b, oddsReason(s))
	b = append(b, `,"supports":`...)
	b = appendSide(b, s, s.Supports)
	b = append(b, `,"resistances":`...)
	b = appendSide(b, s, s.Resistances)
	return append(b, '}')
}

func appendSide(b []byte, s *service.Snapshot, side []levels.Level) []byte {
	b = append(b, '[')
	for i := range side {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = appendLevel(b, &side[i], s.LastPrice, s.ATR)
		b = append(b, '}')
	}
	return append(b, ']')
}

// distance returns how far l is from the last price, in percent of it and in
// ATR, both negative below it. Without an ATR (a market that did not move), or
// with one so small that the quotient is no number, the second does not exist.
func distance(l *levels.Level, last, atr float64) (pct, inATR float64, ok bool) {
	pct = min((l.Price-last)/last*100, math.MaxFloat64)
	inATR = (l.Price - last) / atr
	if !(atr > 0) || math.IsInf(inATR, 0) {
		return pct, 0, false
	}
	return pct, inATR, true
}

// appendLevel appends the members of a level, without braces.
func appendLevel(b []byte, l *levels.Level, last, atr float64) []byte {
	b = append(b, `"id":"`...)
	b = appendID(b, l.ID)
	b = append(b, `","price":`...)
	b = appendFloat(b, l.Price)
	b = append(b, `,"low":`...)
	b = appendFloat(b, l.Low)
	b = append(b, `,"high":`...)
	b = appendFloat(b, l.High)
	b = append(b, `,"strength":`...)
	b = appendRounded(b, l.Strength, 3)
	b = append(b, `,"touches":`...)
	b = strconv.AppendInt(b, int64(l.Touches), 10)
	b = append(b, `,"first_touch":`...)
	b = appendMillis(b, l.FirstTouch)
	b = append(b, `,"last_touch":`...)
	b = appendMillis(b, l.LastTouch)
	b = append(b, `,"sources":[`...)
	var names [16]string
	for i, name := range l.Sources.AppendNames(names[:0]) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, name)
	}
	pct, inATR, ok := distance(l, last, atr)
	b = append(b, `],"distance_pct":`...)
	b = appendRounded(b, pct, 3)
	b = append(b, `,"distance_atr":`...)
	if ok {
		b = appendRounded(b, inATR, 2)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"status":`...)
	b = appendString(b, l.Status.String())
	if l.NoOdds != levels.OddsKnown {
		return append(b, `,"touch_probability":null,"hold_probability":null,"hold_interval":null,"baseline_hold_probability":null,"samples":null`...)
	}
	b = append(b, `,"touch_probability":`...)
	b = appendFloat(b, l.TouchProbability)
	b = append(b, `,"hold_probability":`...)
	b = appendFloat(b, l.HoldProbability)
	b = append(b, `,"hold_interval":[`...)
	b = appendFloat(b, l.HoldInterval[0])
	b = append(b, ',')
	b = appendFloat(b, l.HoldInterval[1])
	b = append(b, `],"baseline_hold_probability":`...)
	b = appendFloat(b, l.BaselineHold)
	b = append(b, `,"samples":`...)
	return strconv.AppendInt(b, int64(l.Samples), 10)
}

// appendJob appends j. full adds what can be long: failures, skips and the
// result.
func appendJob(b []byte, j *job.Job, full bool) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, j.ID)
	b = append(b, `,"kind":`...)
	b = appendString(b, j.Kind)
	b = append(b, `,"state":`...)
	b = appendString(b, string(j.State))
	b = append(b, `,"exchange":`...)
	b = orNull(b, j.Exchange)
	b = append(b, `,"interval":`...)
	b = appendString(b, string(j.Interval))
	for _, n := range [...]struct {
		name  string
		value int
	}{
		{"kline_limit", j.KlineLimit},
		{"symbols_total", j.Symbols}, {"symbols_done", j.Done}, {"symbols_failed", j.Failed}, {"symbols_skipped", j.Skipped},
		{"batches_total", j.Batches}, {"batches_done", j.BatchesDone},
	} {
		b = append(b, `,"`...)
		b = append(b, n.name...)
		b = append(b, `":`...)
		b = strconv.AppendInt(b, int64(n.value), 10)
	}
	b = append(b, `,"store":`...)
	b = strconv.AppendBool(b, j.Store)
	b = append(b, `,"simulated":`...)
	b = strconv.AppendBool(b, j.Simulated)
	b = append(b, `,"created_at":`...)
	b = appendTime(b, j.CreatedAt)
	b = append(b, `,"started_at":`...)
	b = appendTime(b, j.StartedAt)
	b = append(b, `,"finished_at":`...)
	b = appendTime(b, j.FinishedAt)
	b = append(b, `,"error":`...)
	if j.Error == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, `{"code":`...)
		b = appendString(b, j.Error.Code)
		b = append(b, `,"detail":`...)
		b = appendString(b, j.Error.Detail)
		b = append(b, '}')
	}
	if full {
		b = append(b, `,"failures":`...)
		b = appendOutcomes(b, j.Failures)
		b = append(b, `,"skips":`...)
		b = appendOutcomes(b, j.Skips)
		b = append(b, `,"result":`...)
		if j.Result == nil {
			b = append(b, "null"...)
		} else {
			// what a job found is told as of when it was found
			b = AppendAnalysis(b, j.Result, j.Result.ComputedAt)
		}
	}
	return append(b, '}')
}

func appendOutcomes(b []byte, list []job.Outcome) []byte {
	b = append(b, '[')
	for i, o := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"symbol":`...)
		b = appendString(b, o.Symbol)
		b = append(b, `,"code":`...)
		b = appendString(b, o.Code)
		b = append(b, `,"detail":`...)
		b = appendString(b, o.Detail)
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendListing appends a pair as GET /symbols shows it.
func appendListing(b []byte, l *job.Listing) []byte {
	b = append(b, `{"symbol":`...)
	b = appendString(b, l.Name)
	b = append(b, `,"base":`...)
	b = appendString(b, l.Base)
	b = append(b, `,"quote":`...)
	b = appendString(b, l.Quote)
	b = append(b, `,"trading":`...)
	b = strconv.AppendBool(b, l.Trading)
	b = append(b, `,"status":`...)
	b = appendString(b, l.Status)
	b = append(b, `,"tick_size":`...)
	b = appendTick(b, l.Tick)
	b = append(b, `,"quote_volume":`...)
	b = appendFloat(b, l.QuoteVolume)
	b = append(b, `,"selected":`...)
	b = strconv.AppendBool(b, l.Selected)
	b = append(b, `,"reason":`...)
	if l.Selected {
		return append(b, `null}`...)
	}
	b = append(b, `{"code":`...)
	b = appendString(b, l.Reason.Code)
	b = append(b, `,"detail":`...)
	b = appendString(b, l.Reason.Detail)
	return append(b, '}', '}')
}

// appendTick appends the tick as an exact decimal, null if unknown.
func appendTick(b []byte, t service.Tick) []byte {
	if t.Units <= 0 || t.Decimals < 0 {
		return append(b, "null"...)
	}
	digits := strconv.FormatInt(t.Units, 10)
	if t.Decimals == 0 {
		return append(b, digits...)
	}
	for len(digits) <= t.Decimals {
		digits = "0" + digits
	}
	point := len(digits) - t.Decimals
	b = append(b, digits[:point]...)
	b = append(b, '.')
	return append(b, digits[point:]...)
}

// appendKline appends a candle the way exchanges write them, and the way POST
// /analyze reads them: open time, open, high, low, close, volume.
func appendKline(b []byte, k levels.Candle) []byte {
	b = append(b, '[')
	b = strconv.AppendInt(b, k.OpenTime, 10)
	for _, f := range [...]float64{k.Open, k.High, k.Low, k.Close, k.Volume} {
		b = append(b, ',')
		b = appendFloat(b, f)
	}
	return append(b, ']')
}
