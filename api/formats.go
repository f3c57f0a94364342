package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

// format is an output format of levels.
type format string

const (
	formatJSON   format = "json"
	formatCSV    format = "csv"
	formatNDJSON format = "ndjson"
	formatPine   format = "pine"
	formatEvents format = "sse" // server-sent events
)

// formatTypes are the Content-Types. List formats have one row for each level.
var formatTypes = map[format][]string{
	formatJSON:   contentJSON,
	formatCSV:    {"text/csv; charset=utf-8; header=present"},
	formatNDJSON: {"application/x-ndjson"},
	formatPine:   {"text/plain; charset=utf-8"},
	formatEvents: contentEvents,
}

var varyAccept = []string{"Accept"}

// byMedia are the formats that an Accept header can ask for, besides JSON.
var byMedia = map[string]format{"text/csv": formatCSV, "application/x-ndjson": formatNDJSON, "text/event-stream": formatEvents}

// negotiated returns the format among values that an Accept header ranks highest, JSON if
// it ranks as high. Ranges (text/*) and a missing header mean JSON.
func negotiated(accept []string, values ...string) format {
	best, highest := formatJSON, 0.0
	json := 0.0
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			media, parameters, _ := strings.Cut(part, ";")
			quality := 1.0
			for p := range strings.SplitSeq(parameters, ";") {
				if v, is := strings.CutPrefix(strings.TrimSpace(p), "q="); is {
					quality, _ = strconv.ParseFloat(v, 64)
				}
			}
			media = strings.ToLower(strings.TrimSpace(media))
			if media == "application/json" {
				json = quality
			} else if f, known := byMedia[media]; known && quality > highest && slices.Contains(values, string(f)) {
				best, highest = f, quality
			}
		}
	}
	if json >= highest {
		return formatJSON
	}
	return best
}

// format returns the requested format, one of values: from the parameter, or else from
// the Accept header.
func (q *query) format(r *http.Request, values ...string) (format, error) {
	text, err := q.oneOf("format", values...)
	if err != nil || text != "" {
		return format(text), err
	}
	return negotiated(r.Header["Accept"], values...), nil
}

// appendRows appends the levels of s that are shown as rows, judged at the time now.
func appendRows(b []byte, f format, s *service.Snapshot, now time.Time, show Shown) []byte {
	return appendLevels(appendHeader(b, f), f, s, now, show, nil)
}

// appendLevels appends the rows alone, with the confluence of each unless it is nil.
func appendLevels(b []byte, f format, s *service.Snapshot, now time.Time, show Shown, confluence [][]wire.LevelRef) []byte {
	q := screenQuery{exchanges: []string{s.Exchange}, interval: s.Interval, shown: show}
	r := rowOf(s, now)
	var values rowValues
	for _, role := range [...]levels.Role{levels.Support, levels.Resistance} {
		for i, l := range side(s, role) {
			r.level, r.passed = l, s.Passed(role, i)
			if r.level.Role = role; show.has(&r.level) {
				w := values.of(&q, &r)
				if confluence != nil {
					w.Confluence, confluence = confluence[0], confluence[1:]
				}
				b = appendRow(b, f, w)
			}
		}
	}
	return b
}

// appendHeader appends what precedes the first row.
func appendHeader(b []byte, f format) []byte {
	if f == formatCSV {
		b = append(b, csvHeader...)
	}
	return b
}

// appendRow appends a level as a row.
func appendRow(b []byte, f format, r *wire.Row) []byte {
	if f == formatCSV {
		return appendCSV(b, r)
	}
	return append(appendJSON(b, r), '\n')
}

// AppendCSV appends a header and the levels of s, with the columns of GET /levels as
// CSV, at the time now.
func AppendCSV(b []byte, s *service.Snapshot, now time.Time, show Shown) []byte {
	return appendRows(b, formatCSV, s, now, show)
}
