package api

import (
	"math"
	"net/http"
	"runtime"
	rt "runtime/metrics"
	"strconv"

	"tidemark/memory"
)

// getMemory answers GET /memory: what this process uses, by whoever counts.
func (a *API) getMemory(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	m := memory.Read()
	heap := []rt.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	rt.Read(heap)
	b := make([]byte, 0, 512)
	for _, f := range [...]struct {
		name  string
		value int64
		zero  bool // 0 is a value, not an absence
	}{
		{`{"working_set_bytes":`, m.WorkingSet, false},
		{`,"rss_bytes":`, m.RSS, false},
		{`,"files_bytes":`, m.Files, false},
		{`,"peak_rss_bytes":`, m.PeakRSS, false},
		{`,"heap_bytes":`, int64(heap[0].Value.Uint64()), true},
		{`,"limit_bytes":`, m.Limit, false},
		{`,"budget_bytes":`, a.MemoryBudget, false},
		{`,"goroutines":`, int64(runtime.NumGoroutine()), true},
	} {
		b = append(b, f.name...)
		if f.value == 0 && !f.zero {
			b = append(b, "null"...)
		} else {
			b = strconv.AppendInt(b, f.value, 10)
		}
	}
	b = append(b, `,"last_batch":`...)
	if last, ok := a.Jobs.LastBatch(); ok {
		b = append(b, `{"symbols":`...)
		b = strconv.AppendInt(b, int64(last.Pairs), 10)
		b = append(b, `,"symbols_failed":`...)
		b = strconv.AppendInt(b, int64(last.Failed), 10)
		b = append(b, `,"seconds":`...)
		b = strconv.AppendFloat(b, math.Round(last.Took.Seconds()*1e3)/1e3, 'f', -1, 64)
		b = append(b, `,"peak_rss_bytes":`...)
		b = strconv.AppendInt(b, last.PeakRSS, 10)
		b = append(b, `,"ended_at":`...)
		b = appendTime(b, last.Ended)
		b = append(b, '}')
	} else {
		b = append(b, "null"...)
	}
	return sendJSON(w, append(b, "}\n"...))
}
