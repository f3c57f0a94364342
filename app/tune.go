package app

import (
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"tidemark/memory"
)

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
		debug.SetGCPercent(25)
	}
	if limit := memory.Read().Limit; limit > 0 && !set("GOMEMLIMIT") {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}
