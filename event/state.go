package event

import (
	"math"
	"slices"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// Distances in ATR.
const (
	near = 1.0 // from the touch line, where an episode begins
	away = 1.5 // beyond which the next one may
)

// maxTracks is the maximum number of levels in a State. An analysis has 2×levels.MaxSide
// levels; the others are gone and not decided yet, or rest. Beyond it the oldest are dropped.
const maxTracks = 64

// State is the state of the levels of one series as of an analysis. The zero State knows no
// analysis. It keeps only levels that are not far from price, or that an episode has decided.
type State struct {
	asOf   int64 // of the analysis, Unix ms
	tracks []track
}

// phase is the state of one level.
type phase uint8

const (
	far    phase = iota // an episode may begin
	open                // in an episode
	rests               // until price is away
	phases              // the number of them
)

// track is a level in a State.
type track struct {
	id    uint64
	phase phase
	past  past
	price float64 // as of the last analysis that had it
	episode
}

// past is the outcome of the last decided episode of a level, 0 for none. That it held is
// forgotten when a candle closes on the other side.
type past uint8

func brokeInto(r levels.Role) past { return 1 + past(r) }
func heldIn(r levels.Role) past    { return 3 + past(r) }

// episode is a fixed-size value for encoding/binary; the fields are exported for it.
type episode struct {
	Level  levels.Level
	Moment levels.Moment
	// Since is the time of the last price of a transition, or 0: no earlier close ends the
	// episode.
	Since     int64
	TouchedAt int64 // see Transition; Unix ms, 0 before
	// Approached is set if there is no Approaching to come.
	Approached bool
	Touched    bool // by a closed candle
	Flips      bool // a test that holds is Flipped
	Passed     bool // see Transition
}

func (e *episode) line() float64 { return e.Moment.TouchLine(e.Level.Price) }

func roleAt(price, last float64) levels.Role {
	if price > last {
		return levels.Resistance
	}
	return levels.Support
}

// approach returns the price from which on a level with this touch line is near.
func approach(role levels.Role, line, atr float64) float64 {
	if role == levels.Support {
		return line + near*atr
	}
	return line - near*atr
}

// reached reports whether prices from low to high reach a line on the side of the role.
func reached(role levels.Role, line, low, high float64) bool {
	if role == levels.Support {
		return low <= line
	}
	return high >= line
}

// isNear reports whether the last price of m is near the level at price.
func isNear(m levels.Moment, price float64) bool {
	if !(m.ATR > 0) {
		return false
	}
	role := roleAt(price, m.LastPrice)
	return reached(role, approach(role, m.TouchLine(price), m.ATR), m.LastPrice, m.LastPrice)
}

// isAway reports whether last is away from the level at price.
func isAway(last, atr, price float64) bool {
	line := levels.Moment{LastPrice: last, ATR: atr}.TouchLine(price)
	return math.Abs(last-line) > away*atr
}

func momentOf(s *service.Snapshot) levels.Moment {
	return levels.Moment{AsOf: s.AsOf.UnixMilli(), LastPrice: s.LastPrice, ATR: s.ATR}
}

// sides returns the levels of s.
func sides(s *service.Snapshot) [2][]levels.Level {
	return [...][]levels.Level{s.Supports, s.Resistances}
}

func find(s *service.Snapshot, id uint64) *levels.Level {
	for _, side := range sides(s) {
		for i := range side {
			if side[i].ID == id {
				return &side[i]
			}
		}
	}
	return nil
}

func drawn(l *levels.Level) bool { return l != nil && !l.Faint(levels.DrawEdge) }

func (s *State) track(id uint64) *track {
	for i := range s.tracks {
		if s.tracks[i].id == id {
			return &s.tracks[i]
		}
	}
	return nil
}

func (s *State) add(t track) *track {
	if len(s.tracks) == maxTracks {
		s.tracks = slices.Delete(s.tracks, 0, 1)
	}
	s.tracks = append(s.tracks, t)
	return &s.tracks[len(s.tracks)-1]
}

func (s *State) isFar(id uint64) bool {
	t := s.track(id)
	return t == nil || t.phase == far
}

// begin begins an episode of l, which is far. analyzed is the last price of its analysis.
func (s *State) begin(l *levels.Level, m levels.Moment, analyzed float64) *track {
	t := s.track(l.ID)
	if t == nil {
		t = s.add(track{id: l.ID})
	}
	role := roleAt(l.Price, m.LastPrice)
	t.phase, t.price = open, l.Price
	t.episode = episode{Level: *l, Moment: m, Passed: role != roleAt(l.Price, analyzed)}
	t.Level.Role = role
	passed := t.Passed || l.State == levels.Crossed || l.State == levels.Reclaimed
	t.Flips = t.past == brokeInto(role) || passed && t.past != heldIn(role)
	return t
}

// end ends an episode.
func (t *track) end(p phase) { t.phase, t.episode = p, episode{} }

// Close advances the state from the analysis before, nil or zero if there is none, to the
// analysis after. c has the candles up to after, and at least all since before. It returns
// what happened, oldest first. An analysis that is not newer than the state changes little:
// one of the same candle may have other levels, and an older one is ignored.
//
// The state and what Close returns belong together: if they cannot be stored, the state must be
// decoded again before the next attempt. Copies of a State share memory.
func (s *State) Close(before, after *service.Snapshot, c *levels.Candles) []Transition {
	return s.appendClose(nil, before, after, c, nil)
}

// appendClose is Close, and appends to out. moments are those of momentsSince, or nil.
func (s *State) appendClose(out []Transition, before, after *service.Snapshot, c *levels.Candles, moments []levels.Moment) []Transition {
	last, ok := s.advance(before, after, c, moments, func(t *track, kind Kind, m levels.Moment, i int) {
		candle := c.At(i)
		x := t.transition(kind, c.OpenTime[i]+before.Interval.Milliseconds(), c.Close[i])
		x.Candle = &candle
		switch kind {
		case Approaching, Touched:
			x.Approach = math.Abs(m.LastPrice-t.line()) / t.Moment.ATR
		default:
			x.TouchedAt, x.Retest = utc(t.TouchedAt), t.Flips
			if l := &t.Level; l.NoOdds == levels.OddsKnown && !t.Passed {
				x.Promise = &Promise{l.TouchProbability, l.HoldProbability, l.HoldInterval, l.BaselineHold, l.Edge, l.Samples}
			}
		}
		out = append(out, x)
	})
	if !ok {
		return out
	}
	return compare(before, after, c, last, out)
}

// ringer is called with what happens to a level at the close of candle i; m is the moment
// before it.
type ringer func(t *track, kind Kind, m levels.Moment, i int)

// momentsSince appends the moments at the closes from that of the analysis before up to, not
// including, that of after.
func momentsSince(dst []levels.Moment, before, after *service.Snapshot, c *levels.Candles) []levels.Moment {
	m := momentOf(before)
	i, _ := slices.BinarySearch(c.OpenTime, before.AsOf.UnixMilli())
	for first := i; i < c.Len() && c.OpenTime[i] < after.AsOf.UnixMilli(); i++ {
		if i > first {
			m = next(m, c, i)
		}
		dst = append(dst, m)
	}
	return dst
}

// advance is Close without what it returns. ok is set if there are candles between the
// analyses, of which last is the last.
func (s *State) advance(before, after *service.Snapshot, c *levels.Candles, moments []levels.Moment, ring ringer) (last int, ok bool) {
	if before == nil || before.AsOf.IsZero() {
		s.prime(after)
		return 0, false
	}
	from, asOf := before.AsOf.UnixMilli(), after.AsOf.UnixMilli()
	switch {
	case max(from, s.asOf) > asOf, s.asOf == asOf && from < asOf:
		return 0, false
	case s.asOf != from, before.Simulated != after.Simulated, before.Algorithm != after.Algorithm:
		s.prime(after)
		return 0, false
	case from == asOf:
		s.settle(before, after)
		return 0, false
	case c.Len() == 0 || c.OpenTime[0] > from || c.AsOf() < asOf:
		s.prime(after)
		return 0, false
	}
	var few [4]levels.Moment
	if moments == nil {
		moments = momentsSince(few[:0], before, after, c)
	}
	i, _ := slices.BinarySearch(c.OpenTime, from)
	for _, m := range moments {
		s.step(before, m, c, i, ring)
		i++
	}
	s.settle(before, after)
	s.asOf = asOf
	return i - 1, true
}

// next returns the moment at the close before candle i of c. It follows m, whose ATR it keeps
// if c has too few candles for an analysis.
func next(m levels.Moment, c *levels.Candles, i int) levels.Moment {
	known := c.Slice(0, i)
	at := levels.MomentOf(&known)
	if i < levels.MinCandles {
		at.ATR = m.ATR
	}
	return at
}

// prime ends all episodes and lets the levels near price rest.
func (s *State) prime(a *service.Snapshot) {
	s.asOf = a.AsOf.UnixMilli()
	clear(s.tracks)
	s.tracks = s.tracks[:0]
	m := momentOf(a)
	for _, side := range sides(a) {
		for i := range side {
			if l := &side[i]; drawn(l) && isNear(m, l.Price) {
				s.add(track{id: l.ID, phase: rests, price: l.Price})
			}
		}
	}
}

// step advances the state by candle i of c with the levels of the analysis a and the moment
// before the candle.
func (s *State) step(a *service.Snapshot, m levels.Moment, c *levels.Candles, i int, ring ringer) {
	if m.ATR > 0 {
		for _, side := range sides(a) {
			for k := range side {
				l := &side[k]
				role := roleAt(l.Price, m.LastPrice)
				if reached(role, approach(role, m.TouchLine(l.Price), m.ATR), c.Low[i], c.High[i]) && drawn(l) && s.isFar(l.ID) {
					s.begin(l, m, a.LastPrice)
				}
			}
		}
	}
	for x := range s.tracks {
		t := &s.tracks[x]
		if t.phase == open {
			t.judge(m, c, i, a.Interval.Milliseconds(), ring)
		}
		if t.phase == rests && isAway(c.Close[i], m.ATR, t.price) {
			t.phase = far
		}
		if t.past == heldIn(1-roleAt(t.price, c.Close[i])) {
			t.past = 0
		}
	}
	s.drop()
}

// drop drops the levels of which nothing is to be known.
func (s *State) drop() {
	s.tracks = slices.DeleteFunc(s.tracks, func(t track) bool { return t.phase == far && t.past == 0 })
}

// judge advances an episode by candle i of c; m is the moment before it.
func (t *track) judge(m levels.Moment, c *levels.Candles, i int, length int64, ring ringer) {
	j := t.Moment.Judging(t.Level.Price, length, t.Touched)
	j.Next(c.OpenTime[i], c.High[i], c.Low[i])
	at := c.OpenTime[i] + length
	switch {
	case j.Touched && t.TouchedAt == 0:
		t.TouchedAt = at
		ring(t, Touched, m, i)
	case !t.Approached:
		ring(t, Approaching, m, i)
	}
	if j.Touched && !t.Touched { // a price that touched it may have come after this close
		t.TouchedAt = min(t.TouchedAt, at)
	}
	t.Approached, t.Touched = true, j.Touched
	switch j.Outcome {
	case levels.Pending:
		if !t.Touched && at > t.Since && math.Abs(c.Close[i]-t.line()) > away*t.Moment.ATR {
			t.end(far)
		}
		return
	case levels.Held:
		kind := Held
		if t.Flips {
			kind = Flipped
		}
		ring(t, kind, m, i)
		t.past = heldIn(t.Level.Role)
	case levels.Broke:
		ring(t, Broke, m, i)
		t.past = brokeInto(1 - t.Level.Role)
	}
	t.end(rests)
}

// transition returns a transition of an episode.
func (t *track) transition(kind Kind, at int64, price float64) Transition {
	return Transition{
		Kind: kind, Level: t.Level, Passed: t.Passed, Begun: utc(t.Moment.AsOf), At: utc(at),
		Price: price, ATR: t.Moment.ATR,
	}
}

func utc(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// settle changes the state from the levels of before to those of after.
func (s *State) settle(before, after *service.Snapshot) {
	m := momentOf(after)
	for _, side := range sides(after) {
		for i := range side {
			l := &side[i]
			if l.Replaces == 0 || find(before, l.ID) != nil || s.track(l.ID) != nil {
				continue
			}
			if old := s.track(l.Replaces); old != nil {
				t := track{id: l.ID, past: old.past, price: l.Price}
				if old.phase == rests || old.TouchedAt > 0 {
					t.phase = rests
				}
				s.add(t)
			}
		}
	}
	for x := range s.tracks {
		t := &s.tracks[x]
		l := find(after, t.id)
		switch {
		case t.phase != open || t.Touched || drawn(l):
		case t.TouchedAt > 0:
			t.end(rests)
		default:
			t.end(far)
		}
		switch {
		case l != nil:
			t.price = l.Price
		case t.phase == far:
			t.past = 0
		}
	}
	for _, side := range sides(after) {
		for i := range side {
			if l := &side[i]; drawn(l) && !drawn(find(before, l.ID)) && isNear(m, l.Price) && s.isFar(l.ID) {
				s.begin(l, m, m.LastPrice).Approached = true
			}
		}
	}
	s.drop()
}

// compare appends the levels that have vanished and appeared from before to after, whose
// last candle is candle i of c.
func compare(before, after *service.Snapshot, c *levels.Candles, i int, out []Transition) []Transition {
	ring := func(kind Kind, l *levels.Level, other uint64) {
		candle := c.At(i)
		out = append(out, Transition{
			Kind: kind, Level: *l, Begun: after.AsOf.UTC(), At: after.AsOf.UTC(), Candle: &candle,
			Price: after.LastPrice, ATR: after.ATR, Other: other,
		})
	}
	for _, side := range sides(before) {
		for i := range side {
			if l := &side[i]; drawn(l) && !drawn(find(after, l.ID)) {
				other := uint64(0)
				if heir := after.Successor(l.ID); drawn(heir) {
					other = heir.ID
				}
				ring(Vanished, l, other)
			}
		}
	}
	for _, side := range sides(after) {
		for i := range side {
			if l := &side[i]; drawn(l) && !drawn(find(before, l.ID)) {
				other := uint64(0)
				if l.Replaces != 0 && drawn(find(before, l.Replaces)) {
					other = l.Replaces
				}
				ring(Appeared, l, other)
			}
		}
	}
	return out
}

// Price advances the state, which is as of the analysis a, by a price after its close, and
// returns what happened: Approaching or Touched. A state as of another analysis, an older
// price, and one that is not finite and positive change nothing.
func (s *State) Price(a *service.Snapshot, price float64, at time.Time) []Transition {
	m := momentOf(a)
	if s.asOf != m.AsOf || !(price > 0 && price <= math.MaxFloat64) || at.Before(a.AsOf) {
		return nil
	}
	if m.ATR > 0 {
		for _, side := range sides(a) {
			for i := range side {
				l := &side[i]
				role := roleAt(l.Price, m.LastPrice)
				if reached(role, approach(role, m.TouchLine(l.Price), m.ATR), price, price) && drawn(l) && s.isFar(l.ID) {
					s.begin(l, m, m.LastPrice)
				}
			}
		}
	}
	var out []Transition
	for x := range s.tracks {
		t := &s.tracks[x]
		if t.phase != open || t.TouchedAt > 0 {
			continue
		}
		line, kind := t.line(), Touched
		switch {
		case reached(t.Level.Role, line, price, price):
			t.TouchedAt = at.UnixMilli()
		case !t.Approached:
			kind = Approaching
		default:
			continue
		}
		t.Approached, t.Since = true, at.UnixMilli()
		y := t.transition(kind, t.Since, price)
		y.Approach = math.Abs(m.LastPrice-line) / t.Moment.ATR
		out = append(out, y)
	}
	return out
}

// Alarm returns the prices at or below and at or above which Price returns something: 0 and
// +Inf for none. The state is as of the analysis a.
func (s *State) Alarm(a *service.Snapshot) (below, above float64) {
	below, above = 0, math.Inf(1)
	m := momentOf(a)
	if s.asOf != m.AsOf {
		return below, above
	}
	alarm := func(role levels.Role, price float64) {
		if role == levels.Support {
			below = max(below, price)
		} else {
			above = min(above, price)
		}
	}
	for x := range s.tracks {
		if t := &s.tracks[x]; t.phase == open && t.TouchedAt == 0 {
			alarm(t.Level.Role, t.line())
		}
	}
	if !(m.ATR > 0) {
		return below, above
	}
	for _, side := range sides(a) {
		for i := range side {
			if l := &side[i]; drawn(l) && s.isFar(l.ID) {
				role := roleAt(l.Price, m.LastPrice)
				alarm(role, approach(role, m.TouchLine(l.Price), m.ATR))
			}
		}
	}
	return below, above
}
