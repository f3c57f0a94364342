package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// ParseLevelID parses the id of a level: 16 hexadecimal digits.
func ParseLevelID(s string) (uint64, error) {
	id, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 {
		return 0, badParameter("id", "%q is not the id of a level, which has 16 hexadecimal digits", clip(s))
	}
	return id, nil
}

// getLevel serves GET /levels/{symbol}/{id}. It repeats the stored analysis on a slot,
// and builds the reply after releasing the slot.
func (a *API) getLevel(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "interval", "exchange")
	if err != nil {
		return err
	}
	id, err := ParseLevelID(chi.URLParam(r, "id"))
	if err != nil {
		return err
	}
	key, _, err := a.series(&q, w, r)
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
	b := AppendExplanation(nil, &s, &e, a.clock(s.Exchange, w.start), a.unasked())
	w.Header()["Content-Type"] = contentJSON
	w.Header()["Cache-Control"] = noCache
	return write(w, append(b, '\n'))
}

// AppendExplanation appends why s has a level as a JSON object, as the API shows it at
// the time now.
func AppendExplanation(b []byte, s *service.Snapshot, e *levels.Explanation, now time.Time, show Shown) []byte {
	stale := StaleReason(s, now)
	var values levelValues
	w := wire.Explanation{
		Symbol: s.Symbol, Name: stringOrNil(s.Name), Exchange: s.Exchange, Interval: string(s.Interval), AsOf: wire.Moment(s.AsOf), Simulated: s.Simulated,
		Stale: stale != "", StaleReason: stringOrNil(stale),
		Role: e.Level.Role.String(), Level: values.level(&e.Level, s.LastPrice, s.ATR, show.Edge, false),
		Tests: make([]wire.Test, len(e.Tests)), Touches: make([]wire.Touch, len(e.Touches)), Sources: make([]wire.Finding, len(e.Found)),
		OddsReason:  stringOrNil(e.Level.NoOdds.String()),
		EntriesNote: e.EntriesNote(), FoundByNote: e.Level.FoundByNote(), RecordNote: stringOrNil(e.Level.RecordNote()),
	}
	for i, t := range e.Tests {
		w.Tests[i] = wire.Test{
			From: time.UnixMilli(t.From).UTC(), To: time.UnixMilli(t.To).UTC(),
			Side: Side(t.Above), Outcome: t.Outcome.String(), Extreme: t.Extreme,
		}
	}
	for i, t := range e.Touches {
		w.Touches[i] = wire.Touch{
			From: time.UnixMilli(t.From).UTC(), To: time.UnixMilli(t.To).UTC(),
			Side: Side(t.Above), Outcome: t.Outcome.String(), Extreme: t.Extreme, Candles: t.Candles,
		}
	}
	for i := range e.Found {
		w.Sources[i] = findingOf(&e.Found[i], s.Decimals)
	}
	for _, f := range e.Factors {
		w.Factors = append(w.Factors, wire.Factor{Name: f.Name, Value: wire.Rounded(f.Value, 2), Unit: f.Unit, Effect: wire.Rounded(f.Effect, 2), Text: f.Text})
	}
	return appendJSON(b, &w)
}

// Side returns the side that price came from.
func Side(above bool) string {
	if above {
		return "above"
	}
	return "below"
}

// findingOf returns the finding of a method. Prices that no candle had are rounded to
// the decimals of the pair.
func findingOf(s *levels.Source, decimals int) wire.Finding {
	f := wire.Finding{Name: s.Method.AppendNames(nil)[0], Weight: wire.Rounded(s.Weight, 3), Count: s.Count, Found: make([]wire.Mark, len(s.Marks))}
	for i, m := range s.Marks {
		mark := wire.Mark{Kind: m.Kind.String(), Price: m.Price}
		if s.Method == levels.SourceSwing {
			mark.Time, mark.ProminenceATR = new(time.UnixMilli(m.Time).UTC()), new(wire.Rounded(m.Prominence, 2))
		} else {
			mark.Price, mark.VolumeShare = wire.Rounded(m.Price, decimals), new(wire.Rounded(m.Share, 3))
		}
		f.Found[i] = mark
	}
	return f
}
