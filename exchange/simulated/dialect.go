package simulated

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// dialect is the wire format of one market of a venue. It is data and small functions:
// which pairs the venue lists, how it parses requests, and how it words everything
// that is not the same everywhere.
type dialect struct {
	venue string // as in Options.Venue
	// id returns the venue's name of a pair, "" for a pair that it does not list.
	id func(p *Pair) string
	// quote replaces USDT in every pair; "" leaves it.
	quote string
	swap  bool // perpetual contracts

	contentType string // of responses that set none
	counters    []counter
	// An address that goes on during a pause is banned (the Binance family).
	bans            bool
	ban, longestBan time.Duration // the first ban and the longest; default 2 minutes and 72 hours

	socket *socket // nil if the dialect pushes no candles
	parse  func(s *Server, r *http.Request, now time.Time) request
	// usage sets the headers of a counter that a request was charged to. It may be nil.
	usage func(h http.Header, u usage)
	// failure returns the venue's response for one of fault500, faultEnvelope, fault429
	// (over a limit, or in a pause) and faultBan. v is nil for the first two.
	failure func(kind fault, v *verdict, now time.Time) answer
}

// dialects by venue; each file of a dialect adds its own.
var dialects = map[string]*dialect{}

func register(d *dialect) { dialects[d.venue] = d }

// Venues returns the values of Options.Venue, sorted.
func Venues() []string { return slices.Sorted(maps.Keys(dialects)) }

func dialectOf(venue string) *dialect {
	if venue == "" {
		venue = "binance"
	}
	d, ok := dialects[venue]
	if !ok {
		panic(fmt.Sprintf("simulated: unknown venue %q", venue))
	}
	return d
}

// request is one parsed request. A response is klines or written by write.
type request struct {
	endpoint string // in Stats
	costs    [3]cost

	klines *klinesQuery

	write       func(o *out, now time.Time)
	status      int    // of what write writes; 0 is 200
	contentType string // "" is the dialect's
	header      http.Header
}

// charge adds weight to what q costs of one of the dialect's counters.
func (q *request) charge(counter, weight int) {
	for i := range q.costs {
		if q.costs[i].weight == 0 {
			q.costs[i] = cost{counter, weight}
			return
		}
	}
	panic("simulated: a request is charged to too many counters")
}

// reply makes the response of q a fixed body.
func (q *request) reply(status int, body []byte) {
	q.klines, q.status = nil, status
	q.write = func(o *out, _ time.Time) { o.buf = append(o.buf, body...) }
}

// answer is a response without data.
type answer struct {
	status      int
	contentType string // "" is the dialect's
	header      http.Header
	body        string
	retryAfter  bool // send the header Retry-After
	announced   bool // the client knows the end of the pause without it
}

// whole parses a whole number parameter; without it n is missing, and ok is false if
// it is not a number or too large for a time in milliseconds.
func whole(q url.Values, name string, missing int64) (n int64, ok bool) {
	s := q.Get(name)
	if s == "" {
		return missing, true
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return missing, false
	}
	return min(max(n, -latestTime), latestTime), true
}

// intervalNamed returns the interval with a wire name.
func intervalNamed(all []interval, name string) (interval, bool) {
	i := slices.IndexFunc(all, func(iv interval) bool { return iv.name == name })
	if i < 0 {
		return interval{}, false
	}
	return all[i], true
}

// body reads the body of a POST, up to a limit that no request needs.
func body(r *http.Request) []byte {
	b, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return nil
	}
	return b
}

// swappable reports whether a market of linear perpetual contracts lists a contract on p.
func swappable(p *Pair, quote string) bool {
	return p.Quote == quote && p.Kind != Leveraged && p.Kind != Stable
}

// trading accepts the pairs that trade at now.
func trading(now time.Time) func(*pair) bool {
	return func(p *pair) bool { return p.trading(now.Unix()) }
}

// appendMs appends Unix seconds as milliseconds.
func appendMs(dst []byte, seconds int64) []byte { return strconv.AppendInt(dst, seconds*1000, 10) }

// A contract is 100 lot steps of the base asset, and can be split into hundredths.
const contractDecimals = 2

// contract returns the size of a contract in the base asset.
func (p *pair) contract() string { return p.size(100) }
