package app

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"tidemark/api"
	"tidemark/config"
	"tidemark/memory"
	"tidemark/service"
)

// What the process takes besides what it was measured to take at its start and
// what is accounted one by one.
const (
	// Growth is by how much a process grows that serves and sweeps with one slot:
	// the list of pairs, the least that clients may take but for a page of levels,
	// the runtime's own bookkeeping. Code that
	// is not in memory yet is not in it: the pages of the program's file that only
	// the start needed are given back after the measurement (dropPages), and they
	// are more, 20 MiB measured and at most 18.5 MiB in use later.
	Growth = 1 << 20
	// sqliteShare is what SQLite takes outside the Go heap besides its page cache.
	sqliteShare = 512 << 10
	// postgresConnection is what a connection to PostgreSQL takes, buffers and
	// goroutine stack.
	postgresConnection = 32 << 10
	// waitingAnalysis is an analysis that waits for the end of its batch, with the
	// newest block of its candles.
	waitingAnalysis = 5 << 10
)

// Budget divides the memory the process may take. Its zero value is no bound.
type Budget struct {
	Total  int64  // bytes
	Source string // where total is from
	Config config.Config
}

// NewBudget takes the configured budget, or the cgroup's limit (0 for none) less
// the tenth that its kernel memory and the page cache of the database are left.
func NewBudget(cfg config.Config, limit int64) Budget {
	switch {
	case cfg.MemoryBudget > 0:
		return Budget{int64(cfg.MemoryBudget), "MEMORY_BUDGET", cfg}
	case cfg.MemoryBudget == 0 && limit > 0:
		return Budget{limit / 10 * 9, "90 % of the cgroup's " + config.Mebibytes(limit), cfg}
	}
	return Budget{Config: cfg}
}

// replies is the bound of the cache of encoded replies: what is configured, and
// of a budget at most 1/32.
func (b Budget) replies() int64 { return b.share(b.Config.HTTPCacheBytes) }

// clients is what clients may make the process hold.
type clients struct {
	connections, streams int
	replies, uploads     int64 // bytes
}

// The least that clients may take, and what they may when there is no budget.
var (
	leastClients = clients{connections: 16, streams: 8, replies: api.ScreenBytes, uploads: 256 << 10}
	manyClients  = clients{connections: 4096, streams: 100, replies: 64 << 20, uploads: 32 << 20}
)

// clients divides what clients may take of a process that takes base bytes before it
// serves: besides the least, half of what a slot leaves, up to 3/16 of the budget, a
// third of it each for connections, replies and uploads. A connection may have an
// event stream on it every other time.
func (b Budget) clients(base int64) clients {
	c := manyClients
	if b.Total > 0 {
		c = leastClients
		third := max(0, min((b.room(base)-b.Slot())/2, b.Total/16*3)) / 3
		more := int(third / (api.ConnectionBytes + api.StreamBytes/2))
		c.connections += more
		c.streams = min(c.streams+more/2, manyClients.streams)
		c.replies += third
		c.uploads += third
	}
	if most := b.Config.HTTPMaxConns; most > 0 && (b.Total == 0 || most < c.connections) {
		c.connections = most
	}
	// the database, the exchange and the log have files open as well
	others := 64 + b.Config.DBPoolSize + b.Config.DBMaxOverflow + 2*b.Config.AnalysisConcurrency
	c.connections = max(1, min(c.connections, maxFiles()-others))
	return c
}

// pages is the page cache of SQLite's two connections together: 640 KiB, and of a
// budget at most 1/32.
func (b Budget) pages() int64 {
	if !b.sqlite() {
		return 0
	}
	return b.share(640 << 10)
}

func (b Budget) share(wanted int64) int64 {
	if b.Total == 0 {
		return wanted
	}
	return min(wanted, b.Total/32)
}

func (b Budget) sqlite() bool { return strings.HasPrefix(b.Config.DatabaseURL, "sqlite:") }

// database is what the database takes once it is used.
func (b Budget) database() int64 {
	if b.sqlite() {
		return b.pages() + sqliteShare
	}
	return int64(b.Config.DBPoolSize+b.Config.DBMaxOverflow) * postgresConnection
}

// batches is what the results of the open batches take.
func (b Budget) batches() int64 {
	size := int64(b.Config.AnalysisBatchSize)
	return (int64(b.Config.AnalysisConcurrency) + 2*size) * waitingAnalysis
}

// finders is what the finders take that the slots share.
func (b Budget) finders() int64 {
	return service.FindersBytes(b.Config.AnalysisConcurrency, b.Config.AnalysisKlineLimit)
}

// Slot is what one slot of the configured number of klines needs.
func (b Budget) Slot() int64 { return service.SlotBytes(b.Config.AnalysisKlineLimit) }

// room is what is left for slots and clients, besides the least of these, of a
// process that takes base bytes before it has any.
func (b Budget) room(base int64) int64 {
	return b.Total - base - Growth - b.replies() - leastClients.replies - b.database() - b.batches() - b.finders()
}

// slots is what is left for the slots.
func (b Budget) slots(base int64) int64 {
	c := b.clients(base)
	return b.room(base) - max(0, c.uploads-leastClients.uploads)*3
}

// smallest is the smallest budget, in whole MiB, at which one slot has room, also
// when the next start is measured a little larger than this one.
func (b Budget) smallest(base int64) config.Bytes {
	const spread = 512 << 10
	for b.Total = 1 << 20; b.slots(base+spread) < b.Slot(); {
		b.Total += 1 << 20
	}
	return config.Bytes(b.Total)
}

// Settle measures what the process takes, tells the runtime its limit and
// returns what is left for slots, 0 for no bound, and for clients. Coming is what the
// process will take besides before it begins to work. A budget without room for one slot
// is an error that names the smallest that has it.
func (b Budget) Settle(coming int64) (slots int64, c clients, m memory.Usage, err error) {
	if b.Total == 0 {
		return 0, b.clients(0), m, nil
	}
	debug.FreeOSMemory() // what the start left behind
	if m = memory.Read(); m.RSS == 0 {
		return 0, c, m, config.Usage(errors.New("MEMORY_BUDGET: this system does not tell how much memory a process takes, so it cannot be bounded"))
	}
	base := m.RSS + coming
	if slots = b.slots(base); slots < b.Slot() {
		return 0, c, m, config.Usage(fmt.Errorf("a memory budget of %s (%s) leaves no room for one analysis of %d klines beside the %s this process takes before it begins: the smallest budget that works with this configuration is %s",
			config.Mebibytes(b.Total), b.Source, b.Config.AnalysisKlineLimit, config.Mebibytes(base), b.smallest(base)))
	}
	// The runtime knows nothing of pages of files and of SQLite's memory, and
	// counts what it has reserved and not touched, some 3 MiB. It is never told
	// more than GOMEMLIMIT or the cgroup told it.
	outside := m.Files
	if b.sqlite() {
		outside += b.database()
	}
	var r runtime.MemStats
	runtime.ReadMemStats(&r)
	untouched := max(0, int64(r.Sys-r.HeapReleased)-(m.RSS-m.Files))
	debug.SetMemoryLimit(min(b.Total-outside+untouched, debug.SetMemoryLimit(-1)))
	return slots, b.clients(m.RSS), m, nil
}

// Print says how the budget is divided, as far as that is known without opening
// the database, in lines that an environment file may hold.
func (b Budget) Print(w io.Writer) {
	if b.Total == 0 {
		fmt.Fprintln(w, "# memory budget: none")
		return
	}
	fmt.Fprintf(w, "# memory budget: %s (%s)\n", config.Mebibytes(b.Total), b.Source)
	fmt.Fprintf(w, "# of it: replies %s, database %s, open batches %s, finders %s, each slot of %d klines %s\n",
		config.Mebibytes(b.replies()), config.Mebibytes(b.database()), config.Mebibytes(b.batches()), config.Mebibytes(b.finders()), b.Config.AnalysisKlineLimit, config.Mebibytes(b.Slot()))
}
