// Package client is a client of the tidemark HTTP API: levels of a pair, levels of a
// market, explanations, analyses, events, and sweeps with their progress. It needs only the
// address of the service, and imports only package wire, which has its types.
//
//	c := client.Client{BaseURL: "http://127.0.0.1:8080"}
//	a, err := c.Levels(ctx, "BTCUSDT", client.Options{Interval: "1h"})
//
// The types are those of openapi.yaml. Times are UTC, prices are in the quote asset.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidemark/wire"
)

// Client sends requests to one service. It is safe for concurrent use.
type Client struct {
	BaseURL string       // such as http://127.0.0.1:8080
	Key     string       // one of the service's API_KEYS; empty if it has none
	HTTP    *http.Client // nil means http.DefaultClient
}

// maxBody bounds a reply that is read as a whole, in bytes.
const maxBody = 64 << 20

// Options are the options of Levels and Explain.
type Options struct {
	Interval string    // such as 1h; empty for the service's default
	Exchange string    // empty for the only one of the service that has the pair
	At       time.Time // for Levels: the analysis that was the newest at this time; zero for the newest
	MinEdge  float64   // for Levels: only levels with at least this edge, in points; 0 for that of the service
	Faint    bool      // for Levels: faint levels, too, with less than the service's least edge
}

func (o Options) query() url.Values {
	q := url.Values{}
	set(q, "interval", o.Interval)
	set(q, "exchange", o.Exchange)
	if !o.At.IsZero() {
		q.Set("at", o.At.UTC().Format(time.RFC3339))
	}
	if o.MinEdge != 0 {
		q.Set("min_edge", strconv.FormatFloat(o.MinEdge, 'f', -1, 64))
	}
	if o.Faint {
		q.Set("faint", "true")
	}
	return q
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// Levels returns the stored analysis of a pair. For a pair that was never analysed it
// returns a Problem with the code not_analyzed.
func (c *Client) Levels(ctx context.Context, symbol string, o Options) (*Analysis, error) {
	return get[Analysis](ctx, c, "/levels/"+url.PathEscape(symbol), o.query())
}

// LevelsAt returns the stored analyses of a pair on several intervals, in their order. It
// ignores o.Interval; without intervals, it is the service's default. Each level has in Confluence those of the other intervals beside it.
// An interval without an analysis has a Problem instead; if none has one, the error is a
// Problem with the code not_analyzed.
func (c *Client) LevelsAt(ctx context.Context, symbol string, intervals []string, o Options) (*PairOnIntervals, error) {
	if len(intervals) < 2 { // which the service answers without a list
		o.Interval = strings.Join(intervals, "")
		a, err := c.Levels(ctx, symbol, o)
		if err != nil {
			return nil, err
		}
		one := &PairOnIntervals{Intervals: []OnInterval{{Analysis: *a}}}
		if a.Symbol != nil && a.Exchange != nil {
			one.Symbol, one.Exchange = *a.Symbol, *a.Exchange
		}
		return one, nil
	}
	o.Interval = strings.Join(intervals, ",")
	return get[PairOnIntervals](ctx, c, "/levels/"+url.PathEscape(symbol), o.query())
}

// Marks returns the prices that every trader sees, as of the newest analysis of a pair.
func (c *Client) Marks(ctx context.Context, symbol string, o Options) (*PriceMarks, error) {
	return get[PriceMarks](ctx, c, "/levels/"+url.PathEscape(symbol)+"/marks", o.query())
}

// Explain explains the level id of the newest analysis of a pair.
func (c *Client) Explain(ctx context.Context, symbol, id string, o Options) (*Explanation, error) {
	return get[Explanation](ctx, c, "/levels/"+url.PathEscape(symbol)+"/"+url.PathEscape(id), o.query())
}

// Screen selects and sorts the levels of a market. Zero values select everything.
type Screen struct {
	Interval, Exchange   string
	Role, State, FoundBy string // State may have several, separated by commas
	// Deprecated: State and FoundBy replace Status and Source.
	Status, Source string
	MinEdge        float64  // points; 0 for that of the service
	Faint          bool     // faint levels, too: those with less than the service's least edge
	MinStrength    float64  // 0 to 1
	MaxDistancePct float64  // percent of the last price, on either side; 0 for no limit
	MaxDistanceATR float64  // on either side; 0 for no limit
	MinQuoteVolume float64  // of 24 h, in the quote asset; 0 for no limit
	Confluence     []string // intervals that have a level beside it, three at most
	Symbols        []string
	Watchlist      string // its name; empty for all pairs
	Sort           string // such as -edge; empty for nearest first
	Limit          int    // rows a page, at most 1,000; 0 for 100
}

func (s Screen) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"interval": s.Interval, "exchange": s.Exchange, "role": s.Role, "state": s.State, "found_by": s.FoundBy, "status": s.Status, "source": s.Source,
		"confluence": strings.Join(s.Confluence, ","), "symbols": strings.Join(s.Symbols, ","), "watchlist": s.Watchlist, "sort": s.Sort,
	} {
		set(q, name, value)
	}
	for name, value := range map[string]float64{
		"min_edge": s.MinEdge, "min_strength": s.MinStrength, "max_distance_pct": s.MaxDistancePct, "max_distance_atr": s.MaxDistanceATR, "min_quote_volume": s.MinQuoteVolume,
	} {
		if value != 0 {
			q.Set(name, strconv.FormatFloat(value, 'f', -1, 64))
		}
	}
	if s.Faint {
		q.Set("faint", "true")
	}
	if s.Limit != 0 {
		q.Set("limit", strconv.Itoa(s.Limit))
	}
	return q
}

// Market returns the levels of all pairs that s selects. It fetches pages as needed. An
// error ends the sequence.
func (c *Client) Market(ctx context.Context, s Screen) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		q := s.query()
		for {
			page, err := get[wire.LevelPage[[]Row]](ctx, c, "/levels", q)
			if err != nil {
				yield(Row{}, err)
				return
			}
			for _, r := range page.Levels {
				if !yield(r, nil) {
					return
				}
			}
			if page.Next == nil {
				return
			}
			q.Set("cursor", *page.Next)
		}
	}
}

// Analyze fetches the candles of a pair and finds its levels now. The analysis is
// stored, unless o.NoStore is set or o.KlineLimit differs from the service's default;
// o.Store stores it in that case too.
func (c *Client) Analyze(ctx context.Context, symbol string, o AnalyzeOptions) (*Analysis, error) {
	body := wire.AnalyzeRequest[[]wire.Kline]{Symbol: symbol, Exchange: o.Exchange, Interval: o.Interval, KlineLimit: o.KlineLimit}
	if o.NoStore || o.Store {
		body.Store = new(!o.NoStore)
	}
	if o.Faint {
		body.Faint = new(true)
	}
	return post[Analysis](ctx, c, "/analyze", body)
}

// AnalyzeOptions are the options of Analyze.
type AnalyzeOptions struct {
	Exchange   string // empty for the only one of the service that has the pair
	Interval   string // empty for the service's default
	KlineLimit int    // 0 for the service's default
	NoStore    bool   // do not store the analysis
	Store      bool   // store it although KlineLimit differs from the default
	Faint      bool   // return the faint levels, too
}

// AnalyzeKlines finds the levels of klines of one's own, at least 50, oldest first and closed.
// Nothing is stored. Prices are rounded to the tick size, or if it is 0 to the decimals of
// the klines.
func (c *Client) AnalyzeKlines(ctx context.Context, interval string, klines []Kline, tickSize float64) (*Analysis, error) {
	return post[Analysis](ctx, c, "/analyze", wire.AnalyzeRequest[[]wire.Kline]{Interval: interval, Klines: klines, TickSize: tickSize})
}

// HistoryOptions are the options of History. Exactly one of Moments and Every is given.
type HistoryOptions struct {
	Moments    []time.Time // at most 10,000
	Every      int64       // at closes of a multiple of so many intervals since 1970
	From       time.Time   // with Every: the first moment; zero for all
	KlineLimit int         // klines of each analysis; 0 for the service's default
	TickSize   float64     // 0: that of the decimals of the klines up to each moment
	Faint      bool        // faint levels, too
}

// History returns the levels of klines of one's own as of past moments, each as
// AnalyzeKlines would with only the klines that had closed by then. A moment with too few
// klines has a Problem.
func (c *Client) History(ctx context.Context, interval string, klines []Kline, o HistoryOptions) (*History, error) {
	body := wire.HistoryRequest[[]wire.Kline, []time.Time, time.Time]{
		Klines: klines, Interval: interval, Moments: o.Moments, Every: o.Every, From: o.From, KlineLimit: o.KlineLimit, TickSize: o.TickSize,
	}
	if o.Faint {
		body.Faint = new(true)
	}
	return post[History](ctx, c, "/analyze/history", body)
}

// Sweep starts an analysis of the whole market, or joins a running one. It returns the
// job at once; use Follow for its progress. If the service has several exchanges, use
// SweepExchange.
func (c *Client) Sweep(ctx context.Context, interval string) (*Job, error) {
	return c.SweepExchange(ctx, "", interval)
}

// SweepExchange is Sweep of the market of an exchange.
func (c *Client) SweepExchange(ctx context.Context, exchange, interval string) (*Job, error) {
	body := wire.AnalyzeRequest[[]wire.Kline]{All: true, Exchange: exchange, Interval: interval}
	return post[Job](ctx, c, "/analyze", body)
}

// Exchanges returns the exchanges of the service and how requests to them fare, then
// others with stored levels.
func (c *Client) Exchanges(ctx context.Context) ([]Exchange, error) {
	list, err := get[wire.ExchangeList](ctx, c, "/exchanges", nil)
	if err != nil {
		return nil, err
	}
	return list.Exchanges, nil
}

// Calibration returns where the odds of an exchange come from and how they did, for one
// interval or, if that is empty, for all. If the service has one exchange, its name may be
// empty.
func (c *Client) Calibration(ctx context.Context, exchange, interval string) (*Calibration, error) {
	q := url.Values{}
	set(q, "exchange", exchange)
	set(q, "interval", interval)
	return get[Calibration](ctx, c, "/calibration", q)
}

// Job returns the current state of a job.
func (c *Client) Job(ctx context.Context, id string) (*Job, error) {
	return get[Job](ctx, c, "/jobs/"+url.PathEscape(id), nil)
}

// Cancel cancels a job.
func (c *Client) Cancel(ctx context.Context, id string) error {
	res, err := c.send(ctx, http.MethodDelete, "/jobs/"+url.PathEscape(id), nil, nil, "application/json")
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// maxWait is the longest wait of Follow before a retry.
const maxWait = 5 * time.Minute

// errBroken means that a stream ended before its job.
var errBroken = errors.New("the event stream ended before the job")

// Follow returns the states of a job until it ends. The last element is the ended job or
// an error. If the stream breaks or is temporarily refused (429, 5xx), Follow reconnects
// up to five times in a row and respects Retry-After. A Retry-After of more than five
// minutes ends the sequence with its Problem. If ctx ends, the error is that of ctx.
// Only Job returns failures, skips and the result.
func (c *Client) Follow(ctx context.Context, id string) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		for failures := 0; ; {
			ended, stopped := false, false
			err := c.events(ctx, id, func(j Job) bool {
				failures, ended = 0, j.Ended()
				stopped = !yield(j, nil)
				return !stopped && !ended
			})
			if ended || stopped {
				return
			}
			failures++
			wait := time.Duration(failures) * 200 * time.Millisecond
			final := failures > 5
			if p := (*Problem)(nil); errors.As(err, &p) {
				wait = max(wait, p.RetryAfter)
				final = final || p.RetryAfter > maxWait || p.Status < 500 && p.Status != http.StatusTooManyRequests
			}
			if final && ctx.Err() == nil {
				yield(Job{}, err)
				return
			}
			select {
			case <-ctx.Done():
				yield(Job{}, fmt.Errorf("following job %s: %w", id, ctx.Err()))
				return
			case <-time.After(wait):
			}
		}
	}
}

// events reads one stream of server-sent events (WHATWG HTML, section 9.2) until step
// is false.
func (c *Client) events(ctx context.Context, id string, step func(Job) bool) error {
	res, err := c.send(ctx, http.MethodGet, "/jobs/"+url.PathEscape(id)+"/events", nil, nil, "text/event-stream")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	s := bufio.NewScanner(res.Body)
	for s.Scan() {
		data, is := bytes.CutPrefix(s.Bytes(), []byte("data: "))
		if !is {
			continue
		}
		var j Job
		if err := json.Unmarshal(data, &j); err != nil {
			return fmt.Errorf("an event is not a job: %w", err)
		}
		if !step(j) {
			return nil
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return errBroken
}

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (*T, error) {
	res, err := c.send(ctx, http.MethodGet, path, q, nil, "application/json")
	if err != nil {
		return nil, err
	}
	return decode[T](res)
}

func post[T any](ctx context.Context, c *Client, path string, body any) (*T, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	res, err := c.send(ctx, http.MethodPost, path, nil, b, "application/json")
	if err != nil {
		return nil, err
	}
	return decode[T](res)
}

func decode[T any](res *http.Response) (*T, error) {
	defer res.Body.Close()
	v := new(T)
	if err := json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(v); err != nil {
		return nil, fmt.Errorf("the reply of %s is invalid: %w", res.Request.URL.Path, err)
	}
	return v, nil
}

// send makes a request and returns its reply, or an error for a status of 300 or above.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, body []byte, accept string) (*http.Response, error) {
	return c.sendAfter(ctx, method, path, q, body, accept, "")
}

// sendAfter is send with the id of the last event of a stream; empty for none.
func (c *Client) sendAfter(ctx context.Context, method, path string, q url.Values, body []byte, accept, lastEventID string) (*http.Response, error) {
	target := strings.TrimSuffix(c.BaseURL, "/") + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.Key != "" {
		r.Header.Set("X-API-Key", c.Key)
	}
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	res, err := h.Do(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	p := &Problem{Status: res.StatusCode, Code: "unknown", Detail: res.Status}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
		if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(p); err != nil {
			return nil, fmt.Errorf("%s %s: %s, with an unreadable problem: %w", method, path, res.Status, err)
		}
	}
	p.RetryAfter = retryAfter(res.Header.Get("Retry-After"))
	return nil, fmt.Errorf("%s %s: %w", method, path, p)
}

// retryAfter parses a header with seconds or a date, which proxies send (RFC 9110,
// section 10.2.3). It returns 0 for anything else.
func retryAfter(header string) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	} else if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt32 * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
