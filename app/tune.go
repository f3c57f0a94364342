package app

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/memory"
)

// gcPercent is the heap growth, in percent, that triggers a collection.
const gcPercent = 25

// freePercent is that growth while a serving process without a memory budget works. A
// sweep of 500 pairs at 20/50 then takes 0.1 s less of processor time, and 0.7 MiB more.
const freePercent = 50

// leastHeap is the heap size, in bytes, below which a serving process is not collected.
// An idle service has 1.5 to 3 MiB in use, and a GOGC of 25 would collect it every 150
// replies. Go's own minimum of 4 MiB leaves a process with little in use, such as a bare
// handler, more room than a service; with 6 MiB both have about the same.
const leastHeap = 6 << 20

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
// collection it sets the percentage for that. It does so only at rest, and takes it back
// when work begins, since work makes the peak. A memory limit still makes the collector
// run earlier.
type grower struct {
	least   uint64
	percent int           // the growth while there is work
	steps   atomic.Uint64 // of work
	last    atomic.Int64  // when the last step was, in Unix ns
	grown   atomic.Bool   // at rest: the heap may grow to least
	samples [3]metrics.Sample

	mu      sync.Mutex
	dropped time.Time // when the pages of the program file were released last at rest
	stopped bool
}

// growHeap starts a grower at the next collection. The heap may grow by percent while
// there is work. If the environment sets GOGC, growHeap returns nil.
func growHeap(least uint64, percent int) *grower {
	if !tuned {
		return nil
	}
	g := &grower{least: least, percent: percent, samples: [3]metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}}
	g.grown.Store(true) // the start is a rest, too
	g.await()
	return g
}

// restAfter is how long after the last step of work a rest begins.
const restAfter = time.Second

// stepsPerDrop is after how many steps of work the pages of the program file are
// released again: those that the work still needs return within a millisecond.
const stepsPerDrop = 200

// dropAfter is how long a process at rest keeps the pages of the program file that
// requests have touched. They make room for the heap that may grow.
const dropAfter = time.Second

// step notes a step of work. The first one after a rest makes the heap small again and
// releases the pages of the program that only the rest needed.
func (g *grower) step() {
	if g == nil {
		return
	}
	g.last.Store(time.Now().UnixNano())
	n := g.steps.Add(1)
	if !g.grown.CompareAndSwap(true, false) {
		if n%stepsPerDrop == 0 {
			DropPages()
		}
		return
	}
	g.mu.Lock()
	debug.SetGCPercent(g.percent)
	g.mu.Unlock()
	releaseMemory()
}

// releaseMemory returns to the kernel what only the time before needed: garbage, and
// pages of the program file.
func releaseMemory() {
	debug.FreeOSMemory()
	DropPages()
}

// stop ends the growth.
func (g *grower) stop() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	debug.SetGCPercent(gcPercent)
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
	percent := g.percent
	if time.Since(time.Unix(0, g.last.Load())) >= restAfter {
		metrics.Read(g.samples[:])
		percent = max(percent, growth(g.least, g.samples[0].Value.Uint64(), g.samples[1].Value.Uint64()+g.samples[2].Value.Uint64()))
		if time.Since(g.dropped) >= dropAfter {
			DropPages()
			g.dropped = time.Now()
		}
	}
	debug.SetGCPercent(percent)
	g.grown.Store(percent > g.percent)
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
