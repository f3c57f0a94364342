// Pins how often the heap is collected: a small one may grow to what Go lets every heap
// grow to, a larger one by a quarter, and the environment has the last word.
package app

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
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
	var work atomic.Uint64
	stop := growHeap(1<<30, work.Load)
	for range 3 {
		runtime.GC()
	}
	if stop(); percent() != gcPercent {
		t.Errorf("%d %%, though the environment says how often", percent())
	}

	tuned = true
	stop = growHeap(1<<30, work.Load)
	for deadline := time.Now().Add(10 * time.Second); percent() == gcPercent; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the heap may not grow")
		}
		runtime.GC()
	}
	for deadline := time.Now().Add(10 * time.Second); percent() != gcPercent; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the heap may grow while work is done")
		}
		work.Add(1)
		runtime.GC()
	}
	stop()
	for range 3 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	if percent() != gcPercent {
		t.Errorf("%d %% after the end", percent())
	}
}
