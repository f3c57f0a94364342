package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidemark/wire"
)

// ErrMissed is an element of the sequences of events, which continue after it: events before
// the next one may have been deleted, because they were too old.
var ErrMissed = errors.New("older events have been deleted")

// EventFilter selects events. Zero values select everything.
type EventFilter struct {
	// Since is after which event to begin: its number or id, a time (RFC 3339) or a duration
	// before now (1h, 2d) since when events were stored, or latest for those to come. 0
	// means all that are stored; empty means the newest Limit.
	Since     string
	Exchange  string
	Symbols   []string // by either name of a pair
	Intervals []string
	Kinds     []string // of wire.EventKinds
	Levels    []string // ids
	Role      string
	MinEdge   float64 // points
	Limit     int     // events a page, at most 1,000; 0 for 100

	// Retry is called by FollowEvents after each failure that may pass, with the number of
	// failures in a row, and reports whether to try again. nil gives up after five.
	Retry func(failures int, err error) bool
}

func (f EventFilter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"since": f.Since, "exchange": f.Exchange, "role": f.Role, "symbols": strings.Join(f.Symbols, ","), "interval": strings.Join(f.Intervals, ","),
		"kind": strings.Join(f.Kinds, ","), "level": strings.Join(f.Levels, ","),
	} {
		set(q, name, value)
	}
	if f.MinEdge != 0 {
		q.Set("min_edge", strconv.FormatFloat(f.MinEdge, 'f', -1, 64))
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q
}

// Events returns the stored events that f selects, in their order. It fetches pages as
// needed. An error other than ErrMissed ends the sequence.
func (c *Client) Events(ctx context.Context, f EventFilter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		q := f.query()
		for {
			page, err := get[wire.EventPage](ctx, c, "/events", q)
			if err != nil {
				yield(Event{}, err)
				return
			}
			if page.Missed && !yield(Event{}, ErrMissed) {
				return
			}
			for _, e := range page.Events {
				if !yield(e, nil) {
					return
				}
			}
			if !page.More {
				return
			}
			q.Set("since", strconv.FormatInt(page.Next, 10))
		}
	}
}

// errEventsBroken means that a stream of events ended.
var errEventsBroken = errors.New("the event stream ended")

// eventsSilence is the longest time without a byte in a stream of events. The service sends
// something every 15 seconds.
const eventsSilence = 45 * time.Second

// maxEventLine bounds a line of a stream of events, in bytes.
const maxEventLine = 64 << 10

// FollowEvents returns the events that f selects, first those that are stored, then those
// to come, in their order, each once. If the stream breaks or is temporarily refused (429,
// 5xx), FollowEvents continues after the last event with a new one, as often as f.Retry
// says. It respects Retry-After; one of more than five minutes ends the sequence with its
// Problem. If ctx ends, the error is that of ctx.
func (c *Client) FollowEvents(ctx context.Context, f EventFilter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		last := "" // id of the stream: everything up to it has been seen
		for failures := 0; ; {
			stopped, began := false, time.Now()
			err := c.streamEvents(ctx, f, &last, func(e Event, err error) bool {
				failures = 0
				stopped = !yield(e, err)
				return !stopped
			})
			if stopped {
				return
			}
			if failures++; time.Since(began) > eventsSilence {
				failures = 1 // the stream was well
			}
			wait := min(time.Duration(failures)*200*time.Millisecond, 5*time.Second)
			final := false
			if p := (*Problem)(nil); errors.As(err, &p) {
				wait = max(wait, p.RetryAfter)
				final = p.RetryAfter > maxWait || p.Status < 500 && p.Status != http.StatusTooManyRequests
			}
			if ctx.Err() == nil && (final || f.Retry == nil && failures > 5 || f.Retry != nil && !f.Retry(failures, err)) {
				yield(Event{}, err)
				return
			}
			select {
			case <-ctx.Done():
				yield(Event{}, fmt.Errorf("following events: %w", ctx.Err()))
				return
			case <-time.After(wait):
			}
		}
	}
}

// streamEvents reads one stream of server-sent events (WHATWG HTML, section 9.2) until step
// is false. It begins after last, if that is set, and keeps it.
func (c *Client) streamEvents(ctx context.Context, f EventFilter, last *string, step func(Event, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(eventsSilence, cancel)
	defer silent.Stop()
	res, err := c.sendAfter(ctx, http.MethodGet, "/events", f.query(), nil, "text/event-stream", *last)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	s := bufio.NewScanner(res.Body)
	s.Buffer(nil, maxEventLine)
	id, kind := *last, ""
	var data []byte
	for s.Scan() {
		silent.Reset(eventsSilence)
		name, value, _ := bytes.Cut(s.Bytes(), []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			id = string(value)
			continue
		case "event":
			kind = string(value)
			continue
		case "data":
			data = append(data, value...)
			continue
		}
		if len(s.Bytes()) > 0 {
			continue // a comment, or retry
		}
		// the end of a block
		switch {
		case kind == "missed":
			if !step(Event{}, ErrMissed) {
				return nil
			}
		case len(data) > 0:
			var e Event
			if err := json.Unmarshal(data, &e); err != nil {
				return fmt.Errorf("an event of the stream is invalid: %w", err)
			}
			*last = id
			if !step(e, nil) {
				return nil
			}
		}
		*last, kind, data = id, "", data[:0]
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%w: %w", errEventsBroken, err)
	}
	return errEventsBroken
}
