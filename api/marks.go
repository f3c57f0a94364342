package api

import (
	"context"
	"net/http"
	"time"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// getMarks serves GET /levels/{symbol}/marks. It reads the stored candles on a slot, and
// builds the reply after releasing the slot.
func (a *API) getMarks(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "interval", "exchange")
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
	var marks []levels.PriceMark
	err = a.Analyzer.Recall(ctx, &s, s.Klines, 0, func(c *levels.Candles) error {
		marks = levels.Marks(c)
		return nil
	})
	if err != nil {
		return err
	}
	w.deadline(writeTimeout)
	b := appendJSON(nil, marksOf(&s, marks, a.clock(s.Exchange, w.start)))
	w.Header()["Content-Type"] = contentJSON
	w.Header()["Cache-Control"] = noCache
	return write(w, append(b, '\n'))
}

func marksOf(s *service.Snapshot, marks []levels.PriceMark, now time.Time) *wire.PriceMarks {
	stale := StaleReason(s, now)
	list := &wire.PriceMarks{
		Symbol: s.Symbol, Name: stringOrNil(s.Name), Exchange: s.Exchange, Interval: string(s.Interval), AsOf: wire.Moment(s.AsOf),
		LastPrice: s.LastPrice, ATR: wire.SixDigits(s.ATR), Stale: stale != "", StaleReason: stringOrNil(stale), Simulated: s.Simulated,
		Marks: make([]wire.PriceMark, len(marks)),
	}
	for i := range marks {
		m := &marks[i]
		l := levels.Level{Price: m.Price}
		pct, inATR, _ := distance(&l, s.LastPrice, s.ATR)
		list.Marks[i] = wire.PriceMark{Kind: m.Kind.String(), Label: m.Label(), Price: m.Price, DistancePct: wire.Rounded(pct, 3), DistanceATR: wire.Rounded(inATR, 2)}
		if m.Time != 0 {
			list.Marks[i].Time = new(time.UnixMilli(m.Time).UTC())
		}
	}
	for _, r := range levels.MarkRecords() {
		list.Records = append(list.Records, wire.MarkRecord{Kind: r.Kind.String(), Held: r.Held, Decided: r.Decided, LineHoldRate: r.LineHold})
	}
	return list
}
