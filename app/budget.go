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

// The parts of the memory that are not measured at the start and have no setting, in
// bytes.
const (
	// Growth is the growth of a process that serves and sweeps with one slot: the list
	// of pairs, the least memory of clients without a page of levels, and the runtime's
	// bookkeeping.
	Growth = 512 << 10
	// programPages is the part of the program's file that a sweep keeps in memory between
	// two calls of DropPages: 10.8 to 12.7 MiB measured. At the start it is less.
	programPages = 13 << 20
	// sqliteShare is the memory of SQLite outside the Go heap and its page cache.
	sqliteShare = 512 << 10
	// postgresConnection is the memory of a connection to PostgreSQL: buffers and
	// goroutine stack.
	postgresConnection = 32 << 10
	// listing is the list of pairs of an exchange after the first one: 3,500 pairs of
	// Binance take 420 KiB.
	listing = 512 << 10
	// lastPrices is the last prices of an exchange: 70 KiB for 3,500 pairs of Binance.
	// readingPrices is what one reading of them takes in addition: a second list, and the
	// buffers to decompress the response. Exchanges are read one after the other.
	lastPrices    = 96 << 10
	readingPrices = 256 << 10
	// deliveries is the memory to turn events into messages and to send some at once: an
	// attempt takes about 30 KiB.
	deliveries = 1 << 20
	// waitingAnalysis is the memory of an analysis that waits for the end of its batch,
	// with the newest block of its candles.
	waitingAnalysis = 5 << 10
)

// Budget divides the memory of the process. The zero value has no limit.
type Budget struct {
	Total  int64  // bytes
	Source string // of Total, for messages
	Config config.Config
}

// NewBudget returns the configured budget, or nine tenths of the cgroup's limit (0 for
// none). The rest is for its kernel memory and the page cache of the database.
func NewBudget(cfg config.Config, limit int64) Budget {
	switch {
	case cfg.MemoryBudget > 0:
		return Budget{int64(cfg.MemoryBudget), "MEMORY_BUDGET", cfg}
	case cfg.MemoryBudget == 0 && limit > 0:
		return Budget{limit / 10 * 9, "90 % of the cgroup's " + config.FormatBytes(limit), cfg}
	}
	return Budget{Config: cfg}
}

// replies returns the size of the cache of encoded replies: the configured size, but at
// most 1/32 of the budget.
func (b Budget) replies() int64 { return b.share(b.Config.HTTPCacheBytes) }

// clients holds the limits of what clients may use.
type clients struct {
	connections, streams int
	replies, uploads     int64 // bytes
}

// The minimum for clients, and their limits without a budget.
var (
	leastClients = clients{connections: 16, streams: 8, replies: api.ScreenBytes, uploads: 256 << 10}
	manyClients  = clients{connections: 4096, streams: 100, replies: 64 << 20, uploads: 32 << 20}
)

// clients returns the limits of clients for a process that uses base bytes before it
// serves. In addition to the minimum, clients get half of what a slot leaves, at most 3/16
// of the budget: a third each for connections, replies and uploads. It assumes one event
// stream for every two connections.
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
	limit := b.Config.HTTPMaxConns
	if limit > 0 && (b.Total == 0 || limit < c.connections) {
		c.connections = limit
	}
	// The database, the exchanges and the log have open files too.
	others := 64 + b.Config.DBPoolSize + b.Config.DBMaxOverflow + 2*b.Config.AnalysisConcurrency*len(b.Config.Exchanges)
	c.connections = max(1, min(c.connections, maxFiles()-others))
	return c
}

// pages returns the size of the page cache of SQLite's two connections together: 640 KiB,
// but at most 1/32 of the budget.
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

// live returns the memory of live series and connections: at most 1/16 of the budget, and
// no more than 512 KiB for each exchange, which is enough for some 700 series. It is 0 if
// no pairs are kept live, and without a budget.
func (b Budget) live() int64 {
	if !b.Config.AnalysisLive || b.Config.Role == roleAPI {
		return 0
	}
	return min(b.Total/16, int64(len(b.Config.Exchanges))*(512<<10))
}

func (b Budget) sqlite() bool { return strings.HasPrefix(b.Config.DatabaseURL, "sqlite:") }

// database returns the memory of the database when it is in use.
func (b Budget) database() int64 {
	if b.sqlite() {
		return b.pages() + sqliteShare
	}
	return int64(b.Config.DBPoolSize+b.Config.DBMaxOverflow) * postgresConnection
}

// batches returns the memory of the results of open batches: two of each exchange, and
// what the slots have finished.
func (b Budget) batches() int64 {
	waiting := int64(b.Config.AnalysisConcurrency) + 2*int64(b.Config.AnalysisBatchSize)
	if b.live() > 0 { // those that are stored, and the next ones
		waiting += 2 * int64(b.Config.AnalysisBatchSize)
	}
	return waiting * int64(len(b.Config.Exchanges)) * waitingAnalysis
}

// venues returns the memory of the exchanges after the first one: lists of pairs, and idle
// connections. Those of one exchange are counted with the slots.
func (b Budget) venues() int64 {
	return int64(len(b.Config.Exchanges)-1) * (listing + int64(b.Config.AnalysisConcurrency)*service.ConnectionBytes)
}

// prices returns the memory of the prices between closes.
func (b Budget) prices() int64 {
	if !readsPrices(b.Config) {
		return 0
	}
	return readingPrices + int64(len(b.Config.Exchanges))*lastPrices
}

// alerts returns the memory of messages to receivers.
func (b Budget) alerts() int64 {
	if !delivers(b.Config) {
		return 0
	}
	return deliveries
}

// finders returns the memory of the shared finders.
func (b Budget) finders() int64 {
	return service.FindersBytes(b.Config.AnalysisConcurrency, b.Config.AnalysisKlineLimit)
}

// Slot returns the memory of one slot for the configured number of klines.
func (b Budget) Slot() int64 { return service.SlotBytes(b.Config.AnalysisKlineLimit) }

// room returns the memory left for slots, and for clients above their minimum, in a
// process that uses base bytes before it serves.
func (b Budget) room(base int64) int64 {
	return b.Total - base - Growth - b.replies() - leastClients.replies - b.database() - b.batches() - b.venues() - b.prices() - b.alerts() - b.finders() - b.live()
}

// slots returns the memory left for slots.
func (b Budget) slots(base int64) int64 {
	c := b.clients(base)
	return b.room(base) - max(0, c.uploads-leastClients.uploads)*3
}

// smallest returns the smallest budget, in whole MiB, that is enough for one slot, even if
// the next start is measured up to 1 MiB larger, as it may be on a busy machine.
func (b Budget) smallest(base int64) config.Bytes {
	const spread = 1 << 20
	for b.Total = 1 << 20; b.slots(base+spread) < b.Slot(); {
		b.Total += 1 << 20
	}
	return config.Bytes(b.Total)
}

// wholeMebibytes returns the smallest budget, in whole MiB, that a start with a peak of so
// many bytes stays under, even if the next one takes slightly more.
func wholeMebibytes(peak int64) config.Bytes {
	const spread = 512 << 10
	return config.Bytes((peak + spread + 1<<20 - 1) >> 20 << 20)
}

// Settle measures the memory of the process, sets the memory limit of the runtime, and
// returns the memory left for slots (0 for no limit) and the limits of clients. extra is
// the memory that the process will allocate before it starts to work. If the budget is too
// small for one slot or for the start, the error names the smallest one that is enough.
func (b Budget) Settle(extra int64) (slots int64, c clients, m memory.Usage, err error) {
	if b.Total == 0 {
		return 0, b.clients(0), m, nil
	}
	debug.FreeOSMemory() // garbage of the start
	m = memory.Read()
	if m.RSS == 0 {
		return 0, c, m, config.Usage(errors.New("MEMORY_BUDGET: this system does not report the memory of a process, so it cannot be limited"))
	}
	files := max(m.Files, programPages)
	base := m.RSS - m.Files + files + extra
	slots = b.slots(base)
	if slots < b.Slot() || m.PeakRSS > b.Total {
		return 0, c, m, config.Usage(fmt.Errorf("a memory budget of %s (%s) is too small for one analysis of %d klines in addition to the %s this process uses without one: the smallest budget that works with this configuration is %s",
			config.FormatBytes(b.Total), b.Source, b.Config.AnalysisKlineLimit, config.FormatBytes(base), max(b.smallest(base), wholeMebibytes(m.PeakRSS))))
	}
	// The runtime does not count pages of files and SQLite's memory, but it counts memory
	// that is reserved and untouched, about 3 MiB. The limit never exceeds the one from
	// GOMEMLIMIT or the cgroup.
	outside := files
	if b.sqlite() {
		outside += b.database()
	}
	var r runtime.MemStats
	runtime.ReadMemStats(&r)
	untouched := max(0, int64(r.Sys-r.HeapReleased)-(m.RSS-m.Files))
	debug.SetMemoryLimit(min(b.Total-outside+untouched, debug.SetMemoryLimit(-1)))
	return slots, b.clients(base), m, nil
}

// Print prints how the budget is divided, as far as it is known without opening the
// database. The lines are comments of an environment file.
func (b Budget) Print(w io.Writer) {
	if b.Total == 0 {
		fmt.Fprintln(w, "# memory budget: none")
		return
	}
	fmt.Fprintf(w, "# memory budget: %s (%s)\n", config.FormatBytes(b.Total), b.Source)
	fmt.Fprintf(w, "# of it: replies %s, database %s, open batches %s, further exchanges %s, live pairs %s, last prices %s, messages %s, finders %s, each slot of %d klines %s\n",
		config.FormatBytes(b.replies()), config.FormatBytes(b.database()), config.FormatBytes(b.batches()), config.FormatBytes(b.venues()), config.FormatBytes(b.live()), config.FormatBytes(b.prices()), config.FormatBytes(b.alerts()), config.FormatBytes(b.finders()), b.Config.AnalysisKlineLimit, config.FormatBytes(b.Slot()))
}
