package api

import (
	"net/http"
	"runtime"
	rt "runtime/metrics"

	"tidemark/memory"
	"tidemark/wire"
)

// getMemory serves GET /memory: the memory of this process, by several measures.
func (a *API) getMemory(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	m := memory.Read()
	heap := []rt.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	rt.Read(heap)
	bytes := func(n int64) *int64 {
		if n == 0 {
			return nil
		}
		return &n
	}
	reply := wire.Memory{
		WorkingSetBytes: bytes(m.WorkingSet), RSSBytes: bytes(m.RSS), FilesBytes: bytes(m.Files), PeakRSSBytes: bytes(m.PeakRSS),
		HeapBytes: int64(heap[0].Value.Uint64()), LimitBytes: bytes(m.Limit), BudgetBytes: bytes(a.MemoryBudget), Goroutines: runtime.NumGoroutine(),
	}
	if last, ok := a.Jobs.LastBatch(); ok {
		reply.LastBatch = &wire.LastBatch{
			Symbols: last.Pairs, SymbolsFailed: last.Failed, Seconds: wire.Rounded(last.Took.Seconds(), 3), PeakRSSBytes: last.PeakRSS, EndedAt: wire.Moment(last.Ended),
		}
	}
	return sendJSON(w, &reply)
}
