package app

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"

	"tidemark/memory"
)

// gcPercent is the heap growth, in percent, that triggers a collection.
const gcPercent = 25

// leastHeap is the heap size, in bytes, below which a serving process is not collected.
// It is Go's own minimum, of which a GOGC of 25 leaves a quarter. An idle service has
// 1.5 MiB in use: a quarter of that is 150 replies.
const leastHeap = 4 << 20

// TuneMemory trades a little processor time for memory, unless the environment sets
// GOGC: the heap is a few MiB, so collecting it four times as often costs 0.05 s of a
// sweep of 500 pairs and saves 1.5 MiB at its peak. Collecting even more often saves
// nothing more. Under a cgroup memory limit, TuneMemory sets the collector's limit,
// unless GOMEMLIMIT is set; Go does not read the cgroup itself. It disables heap
// profiling, whose table takes 1.5 MiB, until a profile can be requested (DEBUG_ADDR).
func TuneMemory(environ []string) {
	set := func(name string) bool {
		return slices.ContainsFunc(environ, func(line string) bool { return strings.HasPrefix(line, name+"=") })
	}
	runtime.MemProfileRate = 0
	if !set("GOGC") {
		debug.SetGCPercent(gcPercent)
		tuned = true
	}
	if limit := memory.Read().Limit; limit > 0 && !set("GOMEMLIMIT") {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// tuned is set if TuneMemory, and not the environment, has set GOGC.
var tuned bool

// grower lets a small heap grow to least bytes before it is collected: after each
// collection it sets the percentage for that. It does not while work, which counts
// steps, advances, since work makes the peak. A memory limit still makes the collector
// run earlier.
type grower struct {
	least uint64
	work  func() uint64

	mu      sync.Mutex
	samples [3]metrics.Sample
	done    uint64 // work at the last collection
	stopped bool
}

// growHeap starts a grower at the next collection, and returns a function that stops
// it. If the environment sets GOGC, it does nothing.
func growHeap(least uint64, work func() uint64) (stop func()) {
	if !tuned {
		return func() {}
	}
	g := &grower{least: least, work: work, done: work(), samples: [3]metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}}
	g.await()
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.stopped = true
		debug.SetGCPercent(gcPercent)
	}
}

// await arranges a call of adjust after the next collection, by a cleanup of an
// unreachable object.
func (g *grower) await() { runtime.AddCleanup(&struct{ _ *byte }{}, (*grower).adjust, g) }

func (g *grower) adjust() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return
	}
	percent := gcPercent
	if done := g.work(); done == g.done {
		metrics.Read(g.samples[:])
		percent = growth(g.least, g.samples[0].Value.Uint64(), g.samples[1].Value.Uint64()+g.samples[2].Value.Uint64())
	} else {
		g.done = done
	}
	debug.SetGCPercent(percent)
	g.await()
}

// growth returns the percentage by which a heap with live bytes in use may grow. The
// collector applies it to the roots, which are stacks and globals, as well.
func growth(least, live, roots uint64) int {
	if live == 0 || live >= least {
		return gcPercent
	}
	return max(gcPercent, int((least-live)*100/(live+roots)))
}
