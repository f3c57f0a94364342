package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// wireOptions define the encoding of values of wire: numbers in plain decimals, the
// shortest that read back the same; nil slices as null; invalid UTF-8 as U+FFFD. Fields
// have a fixed order, so that equal values give equal bytes.
var wireOptions = json.JoinOptions(
	json.FormatNilSliceAsNull(true),
	jsontext.AllowInvalidUTF8(true),
	json.WithMarshalers(json.JoinMarshalers(json.MarshalToFunc(writeFloat), json.MarshalToFunc(writePlace))),
)

func writeFloat(enc *jsontext.Encoder, f *float64) error {
	return enc.WriteValue(appendFloat(enc.AvailableBuffer(), *f))
}

// writePlace omits the pointer if the place is a parameter.
func writePlace(enc *jsontext.Encoder, p *wire.ProblemPlace) error {
	if p.Parameter == "" {
		return errors.ErrUnsupported
	}
	type place wire.ProblemPlace // without the custom function
	return json.MarshalEncode(enc, struct {
		*place
		Pointer struct{} `json:"pointer,omitzero"`
	}{place: (*place)(p)})
}

// writeJSON writes v, a pointer to a value of wire, and a line feed.
func writeJSON(w io.Writer, v any) error {
	if err := json.MarshalWrite(w, v, wireOptions); err != nil {
		return err
	}
	_, err := w.Write([]byte{'\n'})
	return err
}

// appendJSON appends v, a pointer to a complete value of wire.
func appendJSON(b []byte, v any) []byte {
	w := bytes.NewBuffer(b)
	if err := json.MarshalWrite(w, v, wireOptions); err != nil {
		panic(fmt.Sprintf("api: %T: %v", v, err)) // only for NaN or infinities, which wire never holds
	}
	return w.Bytes()
}

// each is an array whose elements are encoded one at a time, so that only one is in
// memory.
type each[T any] func(yield func(*T) error) error

func (e each[T]) MarshalJSONTo(enc *jsontext.Encoder) error {
	if err := enc.WriteToken(jsontext.BeginArray); err != nil {
		return err
	}
	if err := e(func(v *T) error { return json.MarshalEncode(enc, v) }); err != nil {
		return err
	}
	return enc.WriteToken(jsontext.EndArray)
}

// appendFloat appends f in plain decimals, the shortest that read back the same.
func appendFloat(b []byte, f float64) []byte { return strconv.AppendFloat(b, f, 'f', -1, 64) }

// momentOrNil returns nil if t is zero.
func momentOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(wire.Moment(t))
}

// stringOrNil returns nil if s is empty.
func stringOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// leastGrace is the time for a sweep after a close: its start is spread over half a
// minute, and the exchange's request weight spreads it over most of the rest.
const leastGrace = 2 * time.Minute

// delisted reports whether the pair of s was delisted at the time now.
func delisted(s *service.Snapshot, now time.Time) bool {
	return !s.DelistedAt.IsZero() && now.After(s.DelistedAt)
}

// staleAfter returns the time from which an analysis is stale: the close of the next
// candle, plus a grace period for the analysis of that candle. The grace period is a
// twentieth of the interval, at least leastGrace and at most the interval. If the pair
// is delisted before, s is stale from then on, since there will be no newer analysis.
func staleAfter(s *service.Snapshot) time.Time {
	interval := s.Interval.Duration()
	limit := s.AsOf.Add(interval + min(interval, max(leastGrace, interval/20)))
	if d := s.DelistedAt; !d.IsZero() && d.Before(limit) {
		return d
	}
	return limit
}

// StaleReason returns why s is stale at the time now, empty if it is not. It states
// times, not ages, so that a cached reply stays true.
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

// oddsReason returns why the probabilities of all levels of s are null, empty if they
// are not. Levels that are not shown count.
func oddsReason(s *service.Snapshot) string {
	for _, side := range [...][]levels.Level{s.Supports, s.Resistances} {
		if len(side) > 0 {
			return side[0].NoOdds.String()
		}
	}
	return ""
}

// pageOddsReason returns why the probabilities of an interval are null, empty if it has
// odds.
func pageOddsReason(i levels.Interval) string {
	if _, known := levels.Odds().For(i); !known {
		return levels.UnknownInterval.String()
	}
	return ""
}

// AppendAnalysis appends s as a JSON object, as the API shows it at the time now. Only
// stale, stale_reason and delisted_at depend on now.
func AppendAnalysis(b []byte, s *service.Snapshot, now time.Time, f Shown) []byte {
	return appendJSON(b, analysisOf(s, now, f))
}

func analysisOf(s *service.Snapshot, now time.Time, f Shown) *wire.Analysis {
	stale := StaleReason(s, now)
	a := &wire.Analysis{
		Symbol: stringOrNil(s.Symbol), Name: stringOrNil(s.Name), Exchange: stringOrNil(s.Exchange), Interval: string(s.Interval),
		AsOf: wire.Moment(s.AsOf), ComputedAt: wire.Moment(s.ComputedAt), LastPrice: s.LastPrice, PriceAt: momentOrNil(s.PriceAt), ATR: wire.SixDigits(s.ATR),
		Klines: s.Klines, MissingKlines: s.Missing,
		Stale: stale != "", StaleReason: stringOrNil(stale), Simulated: s.Simulated,
		Algorithm: s.Algorithm, HorizonCandles: levels.Horizon, OddsReason: stringOrNil(oddsReason(s)),
		MinEdge:  f.Edge,
		Supports: levelsOf(s, levels.Support, f), SupportsReason: stringOrNil(f.Reason(s, levels.Support)),
		Resistances: levelsOf(s, levels.Resistance, f), ResistancesReason: stringOrNil(f.Reason(s, levels.Resistance)),
	}
	if a.PriceAt != nil {
		a.Price = &s.Price
	}
	if delisted(s, now) {
		a.DelistedAt = momentOrNil(s.DelistedAt)
	}
	return a
}

func levelsOf(s *service.Snapshot, role levels.Role, f Shown) []wire.Level {
	side := side(s, role)
	all := make([]wire.Level, 0, len(side))
	values := make([]levelValues, len(side))
	for i := range side {
		if f.has(&side[i]) {
			all = append(all, values[i].level(&side[i], s.Reference(), s.ATR, f.Edge, s.Passed(role, i)))
		}
	}
	return all
}

// distance returns how far l is from a price, in percent of it and in ATR, both
// negative below it. ok is false if inATR is undefined: the ATR is zero (a market that
// did not move), or so small that the quotient overflows.
func distance(l *levels.Level, price, atr float64) (pct, inATR float64, ok bool) {
	pct = min((l.Price-price)/price*100, math.MaxFloat64)
	inATR = (l.Price - price) / atr
	if !(atr > 0) || math.IsInf(inATR, 0) {
		return pct, 0, false
	}
	return pct, inATR, true
}

// levelValues holds the values that the pointers of a wire.Level point to, which saves
// allocating each.
type levelValues struct {
	firstTouch, lastTouch              time.Time
	distanceATR, touch, hold, baseline float64
	holdInterval                       [2]float64
	samples                            int
	sources                            [8]string
	firstTested, lastTested            time.Time
	heldInRole, tests, held, broke     int
	recent                             [levels.RecentTests]string
	foundBy                            [8]string
	replaces                           string
}

// level converts l to the form of replies, as of a price; it is marked if it is faint at
// the edge drawn, and if the price has passed it since the last close. The result is valid
// until the next call.
func (v *levelValues) level(l *levels.Level, price, atr, drawn float64, passed bool) wire.Level {
	var id [16]byte
	w := wire.Level{
		ID: string(wire.AppendID(id[:0], l.ID)), Price: l.Price, Low: l.Low, High: l.High,
		Edge: wire.Rounded(float64(l.Edge), 2), Faint: l.Faint(drawn), Strength: wire.Rounded(float64(l.Strength), 3), Touches: int(l.Touches), Sources: l.Sources.AppendNames(v.sources[:0]), Status: l.Status.String(), Passed: passed,
	}
	if l.FirstTouch != 0 {
		v.firstTouch = time.UnixMilli(l.FirstTouch).UTC()
		w.FirstTouch = &v.firstTouch
	}
	if l.LastTouch != 0 {
		v.lastTouch = time.UnixMilli(l.LastTouch).UTC()
		w.LastTouch = &v.lastTouch
	}
	v.record(&w, l)
	pct, inATR, ok := distance(l, price, atr)
	w.DistancePct = wire.Rounded(pct, 3)
	if ok {
		v.distanceATR = wire.Rounded(inATR, 2)
		w.DistanceATR = &v.distanceATR
	}
	if l.NoOdds == levels.OddsKnown && !passed {
		odds := func(p float32) float64 { return wire.Rounded(float64(p), 4) }
		v.touch, v.hold, v.baseline, v.samples = odds(l.TouchProbability), odds(l.HoldProbability), odds(l.BaselineHold), int(l.Samples)
		v.holdInterval = [2]float64{odds(l.HoldInterval[0]), odds(l.HoldInterval[1])}
		w.TouchProbability, w.HoldProbability, w.HoldInterval, w.BaselineHoldProbability, w.Samples = &v.touch, &v.hold, &v.holdInterval, &v.baseline, &v.samples
	}
	return w
}

// record sets the fields of w that tests of l give, and those of its identity.
func (v *levelValues) record(w *wire.Level, l *levels.Level) {
	w.State, w.FoundBy = l.State.String(), l.FoundBy().AppendNames(v.foundBy[:0])
	if l.Replaces != 0 {
		v.replaces = string(wire.AppendID(nil, l.Replaces))
		w.Replaces = &v.replaces
	}
	if l.State == levels.Unjudged {
		return
	}
	v.heldInRole, v.tests, v.held, v.broke = int(l.HeldInRole), int(l.Tests), int(l.Held), int(l.Broke)
	w.HeldInRole, w.Tests, w.Held, w.Broke = &v.heldInRole, &v.tests, &v.held, &v.broke
	w.Recent = v.recent[:0]
	for i := range l.Recent.Len() {
		w.Recent = append(w.Recent, l.Recent.Newest(i).String())
	}
	if l.Tests > 0 {
		v.firstTested, v.lastTested = time.UnixMilli(l.FirstTested).UTC(), time.UnixMilli(l.LastTested).UTC()
		w.FirstTested, w.LastTested = &v.firstTested, &v.lastTested
	}
}

// summaryOf converts j without the fields that can be long.
func summaryOf(j *job.Job) *wire.JobSummary {
	s := &wire.JobSummary{Job: wire.Job{
		ID: j.ID, Kind: j.Kind, State: string(j.State), Exchange: stringOrNil(j.Exchange), Interval: string(j.Interval), KlineLimit: j.KlineLimit,
		SymbolsTotal: j.Symbols, SymbolsDone: j.Done, SymbolsFailed: j.Failed, SymbolsSkipped: j.Skipped,
		BatchesTotal: j.Batches, BatchesDone: j.BatchesDone, Store: j.Store, Simulated: j.Simulated,
		CreatedAt: wire.Moment(j.CreatedAt), StartedAt: momentOrNil(j.StartedAt), FinishedAt: momentOrNil(j.FinishedAt),
	}}
	if j.Error != nil {
		s.Error = &wire.Reason{Code: j.Error.Code, Detail: j.Error.Detail}
	}
	return s
}

// jobOf converts j with failures, skips and result.
func (a *API) jobOf(j *job.Job) *wire.Job {
	w := &summaryOf(j).Job
	w.Failures, w.Skips = outcomesOf(j.Failures), outcomesOf(j.Skips)
	if j.Result != nil {
		// a result is judged at the time it was computed
		w.Result = analysisOf(j.Result, j.Result.ComputedAt, a.unasked())
	}
	return w
}

func outcomesOf(list []job.Outcome) []wire.Outcome {
	all := make([]wire.Outcome, len(list))
	for i, o := range list {
		all[i] = wire.Outcome(o)
	}
	return all
}

// symbolOf converts a pair to the form of GET /symbols.
func symbolOf(exchange string, l *job.Listing) wire.Symbol {
	s := wire.Symbol{
		Symbol: l.Name, Exchange: exchange, Name: l.Canonical(), Base: l.Base, Quote: l.Quote, Trading: l.Trading, Status: l.Status,
		TickSize: tickOf(l.Tick), QuoteVolume: l.QuoteVolume, Selected: l.Selected,
	}
	if !l.Selected {
		s.Reason = &wire.Reason{Code: l.Reason.Code, Detail: l.Reason.Detail}
	}
	return s
}

// tickOf returns the float64 nearest to the tick, which is printed as that decimal. It
// is nil if the tick is unknown.
func tickOf(t service.Tick) *float64 {
	if t.Units <= 0 || t.Decimals < 0 {
		return nil
	}
	f, err := strconv.ParseFloat(strconv.FormatInt(t.Units, 10)+"e-"+strconv.Itoa(t.Decimals), 64)
	if err != nil {
		return nil
	}
	return &f
}

// kline is a candle in the row format of exchanges and of POST /analyze.
type kline levels.Candle

// MarshalJSONTo appends the row by hand: a reply has thousands, and reflection over six
// values takes several times as long.
func (k *kline) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteValue(appendKline(enc.AvailableBuffer(), levels.Candle(*k)))
}

// appendKline appends open time, open, high, low, close and volume.
func appendKline(b []byte, k levels.Candle) []byte {
	b = append(b, '[')
	b = strconv.AppendInt(b, k.OpenTime, 10)
	for _, f := range [...]float64{k.Open, k.High, k.Low, k.Close, k.Volume} {
		b = append(b, ',')
		b = appendFloat(b, f)
	}
	return append(b, ']')
}
