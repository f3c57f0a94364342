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

// gcPercent is what a heap may grow by before it is collected, in percent of itself.
const gcPercent = 25

// leastHeap is what the heap of a process that serves may grow to before it is collected,
// in bytes. It is what Go lets every heap grow to, and divides by four at a quarter of
// growth. A service at rest has 1.5 MiB in use: a quarter of that is 150 replies.
const leastHeap = 4 << 20

// TuneMemory trades a little processor time for memory unless the environment
// already said otherwise: the heap is a few MiB, so collecting it four times as
// often costs 0.05 s of a sweep of 500 pairs and saves 1.5 MiB at its peak. Still
// more often saves nothing more. Inside a memory limit the collector is told to
// respect it; Go does not read the cgroup by itself. Allocations are sampled for a
// heap profile only once somebody can ask for one (DEBUG_ADDR): the table of what
// was sampled takes 1.5 MiB.
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

// tuned is set once TuneMemory, and not the environment, has chosen how often to collect.
var tuned bool

// grower lets a small heap grow to least bytes before it is collected: after each
// collection it sets by how many percent that is. Not while work is done, which is what
// makes the peak: work counts its steps. A memory limit has the collector run earlier all
// the same.
type grower struct {
	least uint64
	work  func() uint64

	mu      sync.Mutex
	samples [3]metrics.Sample
	done    uint64 // work at the last collection
	stopped bool
}

// growHeap begins with the next collection, and returns a function that ends it. Where the
// environment says how often to collect, nothing happens.
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

// await has adjust called after the next collection: it finds an object that nothing
// points to.
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

// growth returns by how many percent a heap with so many bytes in use may grow. The
// collector takes them of the roots, which are stacks and globals, as well.
func growth(least, live, roots uint64) int {
	if live == 0 || live >= least {
		return gcPercent
	}
	return max(gcPercent, int((least-live)*100/(live+roots)))
}
