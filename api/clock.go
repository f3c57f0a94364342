package api

import "time"

// elsewhen is how far the clock of a simulated exchange differs from this machine's at
// least if it shows the time of a replay, or runs faster.
const elsewhen = time.Minute

// clock returns the time now of this machine on the clock of an exchange, if that is a
// simulated one with a time of its own. What is replayed from years ago would be stale by
// this machine's clock as soon as it is found. The clocks of real exchanges are this
// machine's, up to an error, and so is that of an exchange of another process.
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
