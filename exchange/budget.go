package exchange

import "time"

// parts is the number of parts of the period of a rolling budget. What was used is
// forgotten part by part, so at most parts/(parts+1) of the limit is reached.
const parts = 10

// spending is a Budget and what was spent of it. Requests under way count until they
// end, because the venue may count them at any moment between; after that they count for
// a whole period. Its methods are called with the mutex of the Limiter held.
type spending struct {
	Budget
	share    float64 // of the limit that may be spent
	floor    int     // the cost of the heaviest request
	inFlight int

	// of an aligned budget
	window int64     // of the venue's clock, counted in periods since the epoch; 0 if unknown
	opened time.Time // local start of the window, at or after its start at the venue
	used   int
	// What ended in the second that began at since, and in the one before: at the start of
	// a window the venue may have counted it there already, because its clock is ahead.
	since        time.Time
	late, before int

	// of a rolling budget: what ended in each part of the period
	slices [parts + 1]int
	slice  int       // the current part
	began  time.Time // when it began

	// of a bucket
	tokens float64 // may be negative, if the venue reports less than we counted
	filled time.Time
}

// allowed returns what requests may spend: of a sweep, less the share kept for people.
func (b *spending) allowed(sweep bool) int {
	n := int(b.share * float64(b.Limit))
	if sweep {
		n -= n / 10
	}
	return max(n, b.floor)
}

// capacity returns the size of a bucket.
func (b *spending) capacity() float64 {
	return max(b.share*float64(b.Burst), float64(b.floor))
}

// blocked returns until when a request must wait; a time in the past if it need not.
func (b *spending) blocked(now time.Time, cost int, sweep bool, clock *Clock) time.Time {
	b.roll(now, clock)
	switch b.Kind {
	case Aligned:
		if b.used+cost <= b.allowed(sweep) {
			return time.Time{}
		}
		// The window ends a period after its local start, or earlier at the venue's
		// next one. The clock is a lower bound, so that end is late rather than early.
		left := b.Period + b.Period/999 - now.Sub(b.opened)
		if venue, ok := clock.Now(); ok && venue/b.Period.Milliseconds() == b.window {
			left = min(left, time.Duration((b.window+1)*b.Period.Milliseconds()-venue)*time.Millisecond)
		}
		return now.Add(max(left, time.Millisecond))
	case Rolling:
		over := b.total() + cost - b.allowed(sweep)
		if over <= 0 {
			return time.Time{}
		}
		end := b.began
		for i := 1; i <= len(b.slices); i++ { // the oldest part first
			end = end.Add(b.Period / parts)
			if over -= b.slices[(b.slice+i)%len(b.slices)]; over <= 0 {
				break
			}
		}
		return end.Add(time.Millisecond) // perhaps requests under way end later: look again then
	default:
		keep := 0.0
		if sweep && b.Burst >= 10 {
			keep = 1
		}
		missing := min(float64(cost)+keep, b.capacity()) - b.tokens
		if missing <= 0 {
			return time.Time{}
		}
		return now.Add(time.Duration(missing/b.rate()) + time.Millisecond)
	}
}

// rate returns how fast a bucket fills, per nanosecond.
func (b *spending) rate() float64 { return b.share * float64(b.Limit) / float64(b.Period) }

// roll forgets what the venue no longer counts.
func (b *spending) roll(now time.Time, clock *Clock) {
	switch b.Kind {
	case Aligned:
		// The venue may count requests in progress in either window; they are counted
		// here in both.
		venue, _ := clock.Now()
		window := venue / b.Period.Milliseconds()
		switch {
		case b.window != 0 && window > b.window:
		case now.Sub(b.opened)*999/1000 >= b.Period: // as Clock counts
			if b.window != 0 && window == b.window {
				window++ // which the venue's clock has reached by now
			}
		case b.window == 0: // the clock became known during the first window
			b.window = window
			return
		default:
			return
		}
		b.ended(now, 0)
		b.window, b.opened, b.used = window, now, b.inFlight+b.late+b.before
	case Rolling:
		part := b.Period / parts
		if b.began.IsZero() || now.Sub(b.began) >= b.Period+part {
			b.slices, b.began = [parts + 1]int{}, now
			return
		}
		for now.Sub(b.began) >= part {
			b.began = b.began.Add(part)
			b.slice = (b.slice + 1) % len(b.slices)
			b.slices[b.slice] = 0
		}
	default:
		if b.filled.IsZero() {
			b.tokens = b.capacity()
		} else {
			// The venue may count requests in progress only now, and its bucket was
			// perhaps full until then.
			b.tokens = min(b.capacity()-float64(b.inFlight), b.tokens+b.rate()*float64(now.Sub(b.filled)))
		}
		b.filled = now
	}
}

// total returns what a rolling budget counts now.
func (b *spending) total() int {
	n := b.inFlight
	for _, used := range b.slices {
		n += used
	}
	return n
}

// spent returns what was spent of the budget.
func (b *spending) spent() int {
	switch b.Kind {
	case Aligned:
		return b.used
	case Rolling:
		return b.total()
	}
	return int(max(0, b.capacity()-b.tokens))
}

// size returns what the venue allows at once.
func (b *spending) size() int {
	if b.Kind == Bucket {
		return b.Burst
	}
	return b.Limit
}

// done ends requests of a cost.
func (b *spending) done(now time.Time, cost int) {
	switch b.Kind {
	case Aligned:
		b.ended(now, cost)
	case Rolling:
		b.roll(now, nil)
		b.slices[b.slice] += cost
	case Bucket:
		b.roll(now, nil)
	}
	b.inFlight -= cost
}

// ended adds what ended just now.
func (b *spending) ended(now time.Time, cost int) {
	switch past := now.Sub(b.since); {
	case past >= 2*time.Second:
		b.since, b.late, b.before = now, 0, 0
	case past >= time.Second:
		b.since, b.late, b.before = now, 0, b.late
	}
	b.late += cost
}

// cancel gives back what was not sent.
func (b *spending) cancel(now time.Time, cost int) {
	if b.Kind == Bucket {
		b.roll(now, nil)
	}
	b.inFlight -= cost
	b.used = max(0, b.used-cost)
	b.tokens += float64(cost)
}

// observe applies the count of an aligned budget that a response gives. sent is the
// window the venue's clock had reached when the request was sent.
func (b *spending) observe(now time.Time, sent int64, used int, date time.Time) {
	if !date.IsZero() {
		second, period := date.Unix(), int64(b.Period/time.Second)
		window := second / period
		if window < b.window || window > sent && second%period == 0 {
			// The count of the last window. Date has whole seconds: in the first second
			// of a window, only requests sent within it certainly count.
			return
		}
		if window > b.window {
			if b.window != 0 {
				b.opened, b.used = now, 0
			}
			b.window = window
		}
	} else if sent != b.window {
		return
	}
	b.used = max(b.used, used+b.inFlight)
}
