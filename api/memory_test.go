// Pins that GET /memory tells what the operating system tells, and of the last
// batch only once there was one.
package api

import (
	"encoding/json"
	"testing"

	"tidemark/memory"
	"tidemark/service"
)

func TestMemory_IsToldAsTheSystemCountsIt(t *testing.T) {
	h := start(t, func(c *Config, _ *service.Config) { c.MemoryBudget = 1 << 26 })
	var m struct {
		RSS       int64           `json:"rss_bytes"`
		Files     int64           `json:"files_bytes"`
		Peak      int64           `json:"peak_rss_bytes"`
		Heap      int64           `json:"heap_bytes"`
		Budget    int64           `json:"budget_bytes"`
		LastBatch json.RawMessage `json:"last_batch"`
	}
	rec := h.get("/memory")
	want(t, rec, 200)
	if err := json.Unmarshal(rec.Body.Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	if system := memory.Read(); system.RSS > 0 && (m.RSS <= 0 || m.Files <= 0 || m.Files > m.RSS || m.Peak < m.RSS) {
		t.Errorf("the system says %+v, the reply %+v", system, m)
	}
	if m.Heap <= 0 || m.Budget != 1<<26 || string(m.LastBatch) != "null" {
		t.Errorf("%+v, last batch %s", m, m.LastBatch)
	}
	want(t, h.get("/memory?x=1"), 400)
}
