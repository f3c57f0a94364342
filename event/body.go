package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
	"tidemark/wire"
)

// newEvent returns t, which happened to a level of s, as it is stored at the time now.
func newEvent(s *service.Snapshot, t *Transition, now time.Time) service.Event {
	l := &t.Level
	var w body
	w.set(s, t, now)
	e := service.Event{
		ID: EventID(s.Key, *t), Key: s.Key, Kind: w.Kind, Role: l.Role, Level: l.ID, Edge: w.Level.Edge, At: w.OccurredAt,
	}
	path := "/levels/" + url.PathEscape(s.Symbol)
	query := "?" + url.Values{"exchange": {s.Exchange}, "interval": {string(s.Interval)}}.Encode()
	w.ID = e.ID
	w.Links = wire.EventLinks{Levels: path + query, Explanation: path + "/" + w.Level.ID + query, Chart: path + "/chart.svg" + query}
	if !t.TouchedAt.IsZero() {
		e.Touch = &scorecard.Touch{Held: t.Kind != Broke, Retest: t.Retest, Simulated: s.Simulated, At: t.TouchedAt}
		if p := t.Promise; p != nil {
			e.Touch.Odds, e.Touch.Promised, e.Touch.Baseline = true, tenThousandths(p.Hold), tenThousandths(p.Baseline)
		}
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&w.Event); err != nil {
		panic(fmt.Sprintf("event: %v", err)) // only for NaN or infinities, which a level never holds
	}
	e.Body = bytes.TrimRight(text.Bytes(), "\n")
	return e
}

// body is the JSON object of an event, and the values that it points to.
type body struct {
	wire.Event
	candle                          wire.EventCandle
	distance, touch, hold, baseline float64
	interval                        [2]float64
	samples                         int
	touchedAt                       time.Time
	promise                         wire.EventPromise
}

// set makes b the JSON object of t at the time now, without ID and Links.
func (b *body) set(s *service.Snapshot, t *Transition, now time.Time) {
	l := &t.Level
	now = wire.Moment(now)
	at := wire.Moment(t.At)
	*b = body{Event: wire.Event{
		Kind:     t.Kind.String(),
		Exchange: s.Exchange, Symbol: s.Symbol, Interval: string(s.Interval), Simulated: s.Simulated,
		OccurredAt: at, EmittedAt: now, LateMS: max(0, now.Sub(at).Milliseconds()),
		AsOf: wire.Moment(s.AsOf), DataAgeMS: max(0, now.Sub(s.AsOf).Milliseconds()),
		Price: t.Price, ATR: wire.SixDigits(t.ATR), Begun: wire.Moment(t.Begun),
		Level: wire.EventLevel{
			ID: levelID(l.ID), Role: l.Role.String(), Price: l.Price, Low: l.Low, High: l.High, Edge: wire.Rounded(float64(l.Edge), 2),
			State: l.State.String(), Tests: int(l.Tests), Held: int(l.Held),
		},
	}}
	if s.Name != "" {
		b.Name = &s.Name
	}
	if c := t.Candle; c != nil {
		b.candle = wire.EventCandle{OpenTime: time.UnixMilli(c.OpenTime).UTC(), Open: c.Open, High: c.High, Low: c.Low, Close: c.Close, Volume: c.Volume}
		b.Candle = &b.candle
	}
	if t.ATR > 0 {
		b.distance = wire.Rounded((t.Price-l.Price)/t.ATR, 2)
		b.DistanceATR = &b.distance
	}
	if l.NoOdds == levels.OddsKnown && !t.Passed {
		b.touch, b.hold, b.baseline, b.samples = odds(l.TouchProbability), odds(l.HoldProbability), odds(l.BaselineHold), int(l.Samples)
		b.interval = [2]float64{odds(l.HoldInterval[0]), odds(l.HoldInterval[1])}
		b.Level.TouchProbability, b.Level.HoldProbability, b.Level.HoldInterval = &b.touch, &b.hold, &b.interval
		b.Level.BaselineHoldProbability, b.Level.Samples = &b.baseline, &b.samples
	}
	if !t.TouchedAt.IsZero() {
		b.touchedAt = wire.Moment(t.TouchedAt)
		b.TouchedAt = &b.touchedAt
	}
	if p := t.Promise; p != nil {
		b.promise = wire.EventPromise{
			HoldProbability: odds(p.Hold), HoldInterval: [2]float64{odds(p.Interval[0]), odds(p.Interval[1])},
			BaselineHoldProbability: odds(p.Baseline), Edge: wire.Rounded(float64(p.Edge), 2), Samples: int(p.Samples),
		}
		b.Promise = &b.promise
	}
	if t.Other != 0 {
		other := levelID(t.Other)
		if t.Kind == Vanished {
			b.ReplacedBy = &other
		} else {
			b.Replaces = &other
		}
	}
}

// tenThousandths returns odds in the unit in which they are stored: their sums do not depend
// on the order.
func tenThousandths(p float32) int { return int(10_000*float64(p) + 0.5) }

// odds returns a probability with the four decimals that the service stores.
func odds(p float32) float64 { return wire.Rounded(float64(p), 4) }

func levelID(id uint64) string { return string(wire.AppendID(nil, id)) }
