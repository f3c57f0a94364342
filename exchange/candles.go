package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// maxRow is an upper bound of the bytes of one candle, white space included. The longest
// of the venues here are about 250.
const maxRow = 1 << 10

// source says how the candles of an interval are requested: as the venue's own, or merged
// from finer ones.
type source struct {
	native Native
	from   levels.Interval // the venue's interval
	ratio  int             // its candles in one of the interval; 1: not merged
}

// source returns how to request the candles of an interval.
func (s *Spec) source(interval levels.Interval) (source, error) {
	if n, ok := s.Intervals[interval]; ok {
		return source{n, interval, 1}, nil
	}
	all := levels.Intervals()
	step := interval.Milliseconds()
	for i := len(all) - 1; i >= 0; i-- { // the longest that divides it
		finer := all[i].Milliseconds()
		n, ok := s.Intervals[all[i]]
		// Weeks begin on Mondays and three-day candles anywhere, so only whole days of
		// them can be merged, and nothing is merged from weeks or three days.
		if ok && finer < step && step%finer == 0 && all[i] != "3d" && all[i] != "1w" {
			return source{n, all[i], int(step / finer)}, nil
		}
	}
	return source{}, fmt.Errorf("%w: %s has no %s candles, nor finer ones to merge", levels.ErrUnknownInterval, s.Label, interval)
}

// pages returns about how many requests the last klines candles need.
func (s *Spec) pages(src source, klines int) int {
	if s.Reach == Since || s.Reach == Newest {
		return 1
	}
	rows := (klines + 1) * src.ratio
	if s.History > 0 {
		rows = min(rows, s.History)
	}
	if recent := src.native.Recent; recent > 0 {
		rows = min(rows, recent) // older ones may cost something else
	}
	return max(1, (rows+src.native.Rows-1)/src.native.Rows)
}

// Candles appends the candles of a pair as service.Visit does, for a caller that holds no
// slot: it waits for pauses and budgets. After an error dst is unchanged.
func (c *Client) Candles(ctx context.Context, symbol string, from int64, dst *levels.Candles, buf []byte) error {
	return c.candles(ctx, newEffort(), symbol, from, dst, buf)
}

func (c *Client) candles(ctx context.Context, e *effort, symbol string, from int64, dst *levels.Candles, buf []byte) error {
	if err := checkPair(symbol, dst.Interval); err != nil {
		return err
	}
	src, err := c.spec.source(dst.Interval)
	if err != nil {
		return err
	}
	now, err := c.Now(ctx)
	if err != nil {
		return err
	}
	before := dst.Len()
	p := pager{
		c: c, e: e, symbol: symbol, src: src, dst: dst, buf: buf, now: now.Add(-c.spec.Settles).UnixMilli(),
		step: dst.Interval.Milliseconds(), unit: src.from.Milliseconds(),
	}
	next := max(from, 0)
	if before > 0 {
		next = max(next, dst.AsOf())
	}
	if err := p.run(ctx, next); err != nil {
		dst.Truncate(before)
		return err
	}
	return nil
}

// pager requests the candles of one pair, page by page, forward in time.
type pager struct {
	c          *Client
	e          *effort
	symbol     string
	src        source
	dst        *levels.Candles
	buf        []byte
	now        int64
	step, unit int64 // lengths of a candle of dst and of the source, ms
	merge      *merger
}

// run appends the candles that opened at or after next and are closed.
func (p *pager) run(ctx context.Context, next int64) error {
	spec := p.c.spec
	through := p.now - p.unit // later candles of the source are not certainly closed
	if p.src.ratio > 1 {
		p.merge = new(merger)
		through = p.dst.Interval.Floor(p.now) - p.unit // of the last whole candle
		if open := p.dst.Interval.Floor(next); open < next {
			next = open + p.step
		}
	}
	if most := spec.History; most > 0 && spec.Reach != Newest && spec.Reach != Since {
		oldest := p.src.from.Floor(p.now) - int64(most-1)*p.unit
		if p.merge != nil {
			oldest += p.unit // the first may be gone when the request arrives
		}
		if next < oldest {
			next = oldest
			if open := p.dst.Interval.Floor(next); p.merge != nil && open < next {
				next = open + p.step
			}
		}
	}
	switch spec.Reach {
	case Since, Newest:
		if next > through {
			return nil
		}
		// one more for the forming candle, and one because the venue's clock is ahead
		most := (p.now-next)/p.unit + 2
		rows := int64(p.src.native.Rows)
		if p.merge != nil {
			p.merge.ragged = most > rows || spec.History > 0 && most > int64(spec.History)
		}
		rows = min(rows, most)
		return p.page(ctx, Window{From: next, Through: through, Rows: int(rows)})
	case Oldest:
		if p.merge == nil {
			return p.oldest(ctx, next, through)
		}
	}
	older := p.src.native.Older
	for next <= through {
		w := Window{From: next, Old: p.old(next)}
		rows := int64(p.src.native.Rows)
		if w.Old {
			rows = int64(older)
		}
		rows = max(rows/int64(p.src.ratio), 1) * int64(p.src.ratio)
		w.Through = min(through, next+rows*p.unit-1)
		w.Rows = int((w.Through-w.From)/p.unit) + 1
		err := p.page(ctx, w)
		switch {
		case errors.Is(err, errShort):
			older = p.src.native.Sure
		case err != nil:
			return err
		default:
			next += rows * p.unit
		}
	}
	return nil
}

// errShort means that a response has fewer rows than the range was requested for.
var errShort = errors.New("the response is as short as the venue may make it")

// old reports whether a candle is older than the newest Native.Recent ones, or may be
// when the request arrives.
func (p *pager) old(open int64) bool {
	recent := int64(p.src.native.Recent)
	return recent > 0 && open <= p.now-recent*p.unit
}

// oldest turns pages of the oldest candles of the rest of the range. Gaps make them no
// shorter, so an empty one is the end: the pair is halted, or has a gap to the end.
func (p *pager) oldest(ctx context.Context, next, through int64) error {
	rows := int64(p.src.native.Rows)
	// Twice the pages of a series without gaps is the limit, for a venue that sends row
	// by row.
	pages := 2 + 2*max(0, through-next)/(p.unit*rows)
	for ; next <= through; pages-- {
		if pages == 0 {
			return fmt.Errorf("%w: the pages of klines are too short", service.ErrExchange)
		}
		mark := p.dst.Len()
		w := Window{From: next, Through: through, Rows: int(min(rows, (through-next)/p.unit+1))}
		if err := p.page(ctx, w); err != nil {
			return err
		}
		if p.dst.Len() == mark {
			return nil
		}
		next = p.dst.AsOf()
	}
	return nil
}

// page requests one window and appends its candles.
func (p *pager) page(ctx context.Context, w Window) error {
	w.Now, w.Step = p.now, p.unit
	call := p.c.klines(p.symbol, p.src.native, w)
	mark := p.dst.Len()
	return p.c.caller.do(ctx, call, p.e, func(body io.Reader, _ http.Header) error {
		p.dst.Truncate(mark) // undo an earlier attempt
		r := rows{window: w, spec: p.c.spec, aligned: p.src.from, add: p.dst.Stage}
		if p.merge != nil {
			p.merge.begin(p.dst)
			r.add = p.merge.add
		}
		if err := p.c.venue.DecodeKlines(NewScanner(body, p.buf), p.src.native, r.take); err != nil {
			return err
		}
		if err := r.check(); err != nil {
			return err
		}
		if sure := p.src.native.Sure; w.Old && sure > 0 && w.Rows > sure && r.inside == sure && r.oldest >= w.From+p.unit {
			p.dst.Truncate(mark)
			return &Final{errShort}
		}
		if p.merge != nil {
			if err := p.merge.end(); err != nil {
				return err
			}
		}
		return p.dst.Settle(mark)
	})
}

// klines completes the request of a venue.
func (c *Client) klines(symbol string, n Native, w Window) Call {
	call := c.venue.Klines(symbol, n, w)
	if call.Endpoint == "" {
		call.Endpoint = "klines"
	}
	if call.MaxBody == 0 {
		call.MaxBody = int64(max(w.Rows, n.Rows)+4) * maxRow
	}
	return call
}

// rows takes the rows of a response: those of the window are added, others are left out.
type rows struct {
	window  Window
	spec    *Spec
	aligned levels.Interval
	add     func(levels.Candle) error

	n, inside, far int
	oldest         int64 // open time of the oldest row of the window
}

func (r *rows) take(k levels.Candle) error {
	n := r.n
	r.n++
	if r.n > r.window.Rows+maxExtra {
		return fmt.Errorf("more than the %d klines requested", r.window.Rows)
	}
	w := &r.window
	switch width := int64(w.Rows) * w.Step; {
	case k.OpenTime < w.From:
		if k.OpenTime <= w.From-width-w.Step && r.spec.Reach != Until {
			r.far++
		}
		return nil
	case k.OpenTime > w.Through:
		// It is still open, or closed after the venue's clock was read.
		if k.OpenTime <= w.Now-2*w.Step && k.OpenTime > w.Through+width {
			r.far++
		}
		return nil
	}
	r.inside++
	if r.oldest == 0 || k.OpenTime < r.oldest {
		r.oldest = k.OpenTime
	}
	// Days and weeks of some venues open at another hour.
	if w.Step >= 6*time.Hour.Milliseconds() && r.aligned != "3d" && r.aligned.Floor(k.OpenTime) != k.OpenTime {
		return fmt.Errorf("kline %d of %s opened at %s, which is not a multiple of its length in UTC",
			n, r.aligned, time.UnixMilli(k.OpenTime).UTC().Format(time.RFC3339))
	}
	if err := r.add(k); err != nil {
		return fmt.Errorf("kline %d: %w", n, err)
	}
	return nil
}

// maxExtra is the number of rows that a response may have beyond the window: the candle
// that contains its start, forming ones, and a page of a venue that ignores the limit.
const maxExtra = 1_000

// check returns an error for a response to another request: with rows, but none in the
// window or near it.
func (r *rows) check() error {
	if r.inside == 0 && r.far > 0 && r.spec.Reach != Since && r.spec.Reach != Newest {
		return errors.New("the response has klines of another time than requested")
	}
	return nil
}

// Forming implements service.Exchange. It requests the newest candles.
func (c *Client) Forming(ctx context.Context, symbol string, interval levels.Interval) (*service.Forming, error) {
	if err := checkPair(symbol, interval); err != nil {
		return nil, err
	}
	src, err := c.spec.source(interval)
	if err != nil {
		return nil, err
	}
	at, err := c.Now(ctx)
	if err != nil {
		return nil, err
	}
	var newest levels.Candles
	newest.Reset(interval, 2)
	p := pager{
		c: c, e: newEffort(), symbol: symbol, src: src, dst: &newest, buf: make([]byte, minBuffer), now: at.UnixMilli(),
		step: interval.Milliseconds(), unit: src.from.Milliseconds(),
	}
	if src.ratio > 1 {
		p.merge = new(merger)
	}
	from := interval.Floor(p.now)
	if interval == "3d" {
		from = p.now - p.step + 1 // the venue may align them otherwise
	}
	// The venue's clock may have passed the end of the candle since.
	w := Window{From: from, Through: from + p.step + p.unit - 1, Rows: src.ratio + 1}
	if c.spec.Reach == Newest || c.spec.Reach == Since {
		w.Rows++
	}
	if err := p.page(ctx, w); err != nil {
		return nil, err
	}
	now, _ := c.clock.Now()
	if newest.Len() == 0 || newest.AsOf() <= now {
		return nil, nil
	}
	return &service.Forming{Candle: newest.At(newest.Len() - 1), At: at}, nil
}

// maxRatio is the most candles that are merged into one: 84 of two hours in a week.
const maxRatio = 84

// merger merges the candles of a page into longer ones. It holds those of one at a time,
// so that they are added up in the order of time whatever the order of the page.
type merger struct {
	// ragged is set if the page may begin in the middle of a candle, which is left out
	// then.
	ragged bool

	dst    *levels.Candles
	bucket []levels.Candle // of the present candle, in the order of the page
	open   int64           // of that candle
	merged int             // candles of this page so far
	turned bool            // the page is newest first
}

func (m *merger) begin(dst *levels.Candles) {
	if m.bucket == nil {
		m.bucket = make([]levels.Candle, 0, maxRatio)
	}
	m.dst, m.bucket, m.merged, m.turned = dst, m.bucket[:0], 0, false
}

func (m *merger) add(k levels.Candle) error {
	if err := k.Check(); err != nil {
		return err // which the sum would hide
	}
	open := m.dst.Interval.Floor(k.OpenTime)
	if n := len(m.bucket); n > 0 {
		last := m.bucket[n-1]
		if k == last {
			return nil // a repeat
		}
		m.turned = k.OpenTime < last.OpenTime
		if open != m.open {
			if err := m.flush(m.merged == 0 && !m.turned); err != nil {
				return err
			}
		}
	}
	if len(m.bucket) == cap(m.bucket) {
		return fmt.Errorf("%w: more than %d klines in one of %s", levels.ErrBadCandle, cap(m.bucket), m.dst.Interval)
	}
	m.open = open
	m.bucket = append(m.bucket, k)
	return nil
}

// flush adds the candle of the bucket. oldest is set if it is the first of the page in
// time.
func (m *merger) flush(oldest bool) error {
	n := len(m.bucket)
	if n == 0 {
		return nil
	}
	if m.bucket[0].OpenTime > m.bucket[n-1].OpenTime {
		slices.Reverse(m.bucket)
	}
	sum := m.bucket[0]
	for i, k := range m.bucket[1:] {
		if k.OpenTime <= m.bucket[i].OpenTime {
			return fmt.Errorf("%w: open time %d comes after %d: not in order", levels.ErrBadCandle, k.OpenTime, m.bucket[i].OpenTime)
		}
		sum.High, sum.Low = max(sum.High, k.High), min(sum.Low, k.Low)
		sum.Close = k.Close
		sum.Volume += k.Volume
	}
	partial := m.ragged && oldest && sum.OpenTime > m.open
	m.bucket = m.bucket[:0]
	m.merged++
	if partial {
		return nil
	}
	sum.OpenTime = m.open
	return m.dst.Stage(sum)
}

// end adds the last candle of the page.
func (m *merger) end() error { return m.flush(m.merged == 0 || m.turned) }
