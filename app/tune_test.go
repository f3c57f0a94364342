// Pins how often the heap is collected: a small one may grow to what Go lets every heap
// grow to, a larger one by a quarter, and the environment has the last word.
package app

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGrowth_ASmallHeapMayGrowToTheLeastAndALargeOneByAQuarter(t *testing.T) {
	for _, c := range []struct {
		live, roots uint64
		want        int
	}{
		{0, 0, 25},
		{1 << 20, 0, 300},
		{1 << 20, 1 << 20, 150},
		{2 << 20, 0, 100},
		{3 << 20, 0, 33},
		{7 << 19, 0, 25}, // 3.5 MiB
		{4 << 20, 0, 25},
		{64 << 20, 0, 25},
	} {
		if got := growth(4<<20, c.live, c.roots); got != c.want {
			t.Errorf("%d bytes in use, %d of roots: %d %%, want %d", c.live, c.roots, got, c.want)
		}
	}
}

// percent is what the runtime was told last.
func percent() uint64 {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestGrowHeap_FollowsTheHeapUntilItIsStopped(t *testing.T) {
	was, wasTuned := debug.SetGCPercent(gcPercent), tuned
	t.Cleanup(func() { debug.SetGCPercent(was); tuned = wasTuned })

	tuned = false // GOGC is in the environment
	heap := growHeap(1<<30, gcPercent)
	for range 3 {
		runtime.GC()
	}
	heap.step()
	if heap.stop(); percent() != gcPercent {
		t.Errorf("%d %%, though the environment sets GOGC", percent())
	}

	tuned = true
	heap = growHeap(1<<30, gcPercent)
	grows := func() {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); percent() == gcPercent; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the heap may not grow")
			}
			runtime.GC()
		}
	}
	grows()
	heap.step()
	if percent() != gcPercent {
		t.Errorf("%d %% when work has begun", percent())
	}
	grows()
	heap.stop()
	for range 3 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	if percent() != gcPercent {
		t.Errorf("%d %% after the end", percent())
	}
}
