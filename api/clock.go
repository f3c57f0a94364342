package api

import "time"

// elsewhen is the least difference from this machine's clock at which a simulated exchange
// counts as having its own clock, as a replay or a fast market has.
const elsewhen = time.Minute

// clock converts now, the time of this machine, to the clock of a simulated exchange that
// has its own: candles replayed from years ago would otherwise be stale at once. For other
// exchanges, and those of other processes, it returns now.
func (a *API) clock(exchange string, now time.Time) time.Time {
	if a.Status == nil {
		return now
	}
	if m, err := a.Analyzer.Market(exchange); err != nil || !m.Simulated {
		return now
	}
	if skew := a.skew(exchange); skew.Abs() > elsewhen {
		return now.Add(-skew)
	}
	return now
}

// skew returns this machine's clock less that of an exchange, 0 if it is not known. It
// reads the status, which costs as much as a cached reply, once a second.
func (a *API) skew(exchange string) time.Duration {
	if known, ok := a.skews.Load(exchange); ok {
		if k := known.(*skewAt); time.Since(k.at) < time.Second {
			return k.skew
		}
	}
	k := &skewAt{at: time.Now()}
	if skew := a.Status(exchange).ClockSkew; skew != nil {
		k.skew = *skew
	}
	a.skews.Store(exchange, k)
	return k.skew
}

type skewAt struct {
	at   time.Time // when it was read
	skew time.Duration
}
