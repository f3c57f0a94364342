package app

import (
	"fmt"
	"testing"

	"tidemark/config"
	"tidemark/exchange/venues"
)

// These tests pin the memory budget: its source, its division, and the smallest budget
// that the error of a too small one names.

func TestBudget_IsThatOfTheConfigurationElseOfTheCgroup(t *testing.T) {
	const limit = 100 << 20
	for _, c := range []struct {
		given string
		limit int64
		want  int64
	}{
		{"", 0, 0}, {"", limit, 90 << 20}, {"32MiB", limit, 32 << 20}, {"200MiB", limit, 200 << 20}, {"32MiB", 0, 32 << 20}, {"0", limit, 0},
	} {
		cfg, err := config.Load([]string{"MEMORY_BUDGET=" + c.given}, nil, venues.Names())
		if err != nil {
			t.Fatal(err)
		}
		if b := NewBudget(cfg, c.limit); b.Total != c.want {
			t.Errorf("MEMORY_BUDGET=%s in a cgroup of %d: %d, want %d", c.given, c.limit, b.Total, c.want)
		}
	}
}

func TestBudget_CachesGetAFixedShare(t *testing.T) {
	for _, c := range []struct {
		lines          []string
		replies, pages int64
	}{
		{nil, 2 << 20, 640 << 10},
		{[]string{"MEMORY_BUDGET=32MiB"}, 1 << 20, 640 << 10},
		{[]string{"MEMORY_BUDGET=16MiB"}, 512 << 10, 512 << 10},
		{[]string{"MEMORY_BUDGET=1GiB"}, 2 << 20, 640 << 10},
		{[]string{"MEMORY_BUDGET=32MiB", "HTTP_CACHE_BYTES=1000"}, 1000, 640 << 10},
		{[]string{"MEMORY_BUDGET=32MiB", "DATABASE_URL=postgres://a@b/c"}, 1 << 20, 0},
	} {
		cfg, err := config.Load(c.lines, nil, venues.Names())
		if err != nil {
			t.Fatal(err)
		}
		if b := NewBudget(cfg, 0); b.replies() != c.replies || b.pages() != c.pages {
			t.Errorf("%v: %d for replies and %d for pages, want %d and %d", c.lines, b.replies(), b.pages(), c.replies, c.pages)
		}
	}
}

func TestBudget_TheSmallestHasRoomForOneSlotAndNoMuchSmallerOneHas(t *testing.T) {
	for _, lines := range [][]string{
		nil,
		{"ANALYSIS_KLINE_LIMIT=10000"},
		{"ANALYSIS_BATCH_SIZE=1000", "ANALYSIS_CONCURRENCY=256"},
		{"DATABASE_URL=postgres://a@b/c", "DB_POOL_SIZE=100"},
		{"HTTP_CACHE_BYTES=0"},
	} {
		cfg, err := config.Load(lines, nil, venues.Names())
		if err != nil {
			t.Fatal(err)
		}
		const base = 20 << 20
		b := Budget{Config: cfg}
		b.Total = int64(b.smallest(base))
		if b.slots(base) < b.Slot() {
			t.Errorf("%v: %s leaves %d bytes, a slot needs %d", lines, config.Bytes(b.Total), b.slots(base), b.Slot())
		}
		if b.Total -= 2 << 20; b.slots(base) >= b.Slot() {
			t.Errorf("%v: %s is enough, too", lines, config.Bytes(b.Total))
		}
	}
}

func TestBudget_ClientsGetAShareThatLeavesASlot(t *testing.T) {
	const base = 24 << 20
	for _, c := range []struct {
		lines []string
		want  clients
	}{
		{nil, manyClients},
		{[]string{"HTTP_MAX_CONNECTIONS=50"}, clients{50, manyClients.streams, manyClients.replies, manyClients.uploads}},
		{[]string{"MEMORY_BUDGET=20MiB"}, leastClients}, // which does not start
	} {
		cfg, err := config.Load(c.lines, nil, venues.Names())
		if err != nil {
			t.Fatal(err)
		}
		if got := NewBudget(cfg, 0).clients(base); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.lines, got, c.want)
		}
	}
	last := leastClients
	for mib := 29; mib < 256; mib++ {
		cfg, err := config.Load([]string{fmt.Sprintf("MEMORY_BUDGET=%dMiB", mib), "HTTP_MAX_CONNECTIONS=100"}, nil, venues.Names())
		if err != nil {
			t.Fatal(err)
		}
		b := NewBudget(cfg, 0)
		got := b.clients(base)
		if got.connections < last.connections || got.connections > 100 || got.streams < last.streams || got.replies < last.replies || got.uploads < last.uploads {
			t.Errorf("%d MiB leave clients %+v, one less %+v", mib, got, last)
		}
		if b.slots(base) < b.Slot() {
			t.Errorf("%d MiB leave no slot", mib)
		}
		last = got
	}
}
