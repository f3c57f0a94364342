package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"tidemark/levels"
	"tidemark/service"
)

// ParseLevelID reads the id of a level: 16 hexadecimal digits.
func ParseLevelID(s string) (uint64, error) {
	id, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 {
		return 0, badParameter("id", "%q is not the id of a level, which has 16 hexadecimal digits", clip(s))
	}
	return id, nil
}

// getLevel answers GET /levels/{symbol}/{id}. The stored analysis is made again
// on a slot, and the reply put together once that has been given back.
func (a *API) getLevel(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "interval", "exchange")
	if err != nil {
		return err
	}
	key, err := a.series(&q, w, r)
	if err != nil {
		return err
	}
	id, err := ParseLevelID(chi.URLParam(r, "id"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), slotTimeout)
	defer cancel()
	w.wait(r)
	s, err := a.Store.Snapshot(ctx, key, time.Time{})
	if err != nil {
		return err
	}
	e, err := a.Analyzer.Explain(ctx, &s, id)
	if err != nil {
		return err
	}
	w.deadline(writeTimeout)
	b := AppendExplanation(nil, &s, &e, w.start)
	w.Header()["Content-Type"] = contentJSON
	w.Header()["Cache-Control"] = noCache
	return write(w, append(b, '\n'))
}

// AppendExplanation appends why a level of s is there as one JSON object, the way
// the API shows it at the moment now.
func AppendExplanation(b []byte, s *service.Snapshot, e *levels.Explanation, now time.Time) []byte {
	stale := StaleReason(s, now)
	b = append(b, `{"symbol":`...)
	b = appendString(b, s.Symbol)
	b = append(b, `,"exchange":`...)
	b = appendString(b, s.Exchange)
	b = append(b, `,"interval":`...)
	b = appendString(b, string(s.Interval))
	b = append(b, `,"as_of":`...)
	b = appendTime(b, s.AsOf)
	b = append(b, `,"simulated":`...)
	b = strconv.AppendBool(b, s.Simulated)
	b = append(b, `,"stale":`...)
	b = strconv.AppendBool(b, stale != "")
	b = append(b, `,"stale_reason":`...)
	b = orNull(b, stale)
	b = append(b, `,"role":`...)
	b = appendString(b, e.Level.Role.String())
	b = append(b, `,"level":{`...)
	b = appendLevel(b, &e.Level, s.LastPrice, s.ATR)
	b = append(b, `},"touches":[`...)
	for i, t := range e.Touches {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTouch(b, t)
	}
	b = append(b, `],"sources":[`...)
	for i := range e.Found {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSource(b, &e.Found[i], s.Decimals)
	}
	b = append(b, `],"odds_reason":`...)
	b = orNull(b, e.Level.NoOdds.String())
	b = append(b, `,"factors":`...)
	if e.Factors == nil {
		return append(b, "null}"...)
	}
	for i, f := range e.Factors {
		b = append(b, "[,"[min(i, 1)])
		b = append(b, `{"name":`...)
		b = appendString(b, f.Name)
		b = append(b, `,"value":`...)
		b = appendRounded(b, f.Value, 2)
		b = append(b, `,"unit":`...)
		b = appendString(b, f.Unit)
		b = append(b, `,"effect":`...)
		b = appendRounded(b, f.Effect, 2)
		b = append(b, `,"text":`...)
		b = appendString(b, f.Text)
		b = append(b, '}')
	}
	return append(b, `]}`...)
}

// Side is the side that price came from.
func Side(t levels.Touch) string {
	if t.Above {
		return "above"
	}
	return "below"
}

func appendTouch(b []byte, t levels.Touch) []byte {
	b = append(b, `{"from":`...)
	b = appendTime(b, time.UnixMilli(t.From))
	b = append(b, `,"to":`...)
	b = appendTime(b, time.UnixMilli(t.To))
	b = append(b, `,"side":`...)
	b = appendString(b, Side(t))
	b = append(b, `,"outcome":`...)
	b = appendString(b, t.Outcome.String())
	b = append(b, `,"extreme":`...)
	b = appendFloat(b, t.Extreme)
	b = append(b, `,"candles":`...)
	b = strconv.AppendInt(b, int64(t.Candles), 10)
	return append(b, '}')
}

// appendSource appends what a method found. Prices that no candle had are rounded
// to the decimals of the pair.
func appendSource(b []byte, s *levels.Source, decimals int) []byte {
	b = append(b, `{"name":`...)
	b = appendString(b, s.Method.AppendNames(nil)[0])
	b = append(b, `,"weight":`...)
	b = appendRounded(b, s.Weight, 3)
	b = append(b, `,"count":`...)
	b = strconv.AppendInt(b, int64(s.Count), 10)
	b = append(b, `,"found":[`...)
	for i, m := range s.Marks {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"kind":`...)
		b = appendString(b, m.Kind.String())
		b = append(b, `,"price":`...)
		if s.Method == levels.SourceSwing {
			b = appendFloat(b, m.Price)
			b = append(b, `,"time":`...)
			b = appendTime(b, time.UnixMilli(m.Time))
			b = append(b, `,"prominence_atr":`...)
			b = appendRounded(b, m.Prominence, 2)
			b = append(b, `,"volume_share":null}`...)
		} else {
			b = appendRounded(b, m.Price, decimals)
			b = append(b, `,"time":null,"prominence_atr":null,"volume_share":`...)
			b = appendRounded(b, m.Share, 3)
			b = append(b, '}')
		}
	}
	return append(b, `]}`...)
}
