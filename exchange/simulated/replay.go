package simulated

import (
	"archive/zip"
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Replay is a folder of recorded candles, which a Server serves in place of a made-up
// market. Its pairs trade until the end of their data.
type Replay struct {
	series      []*series
	first, last time.Time // open of the first candle, and end of the last
}

// series is the history of a recorded pair.
type series struct {
	base, quote               string
	swap                      bool
	iv                        interval
	tickDecimals, lotDecimals int
	bars                      []bar
}

// bar is a recorded candle: the open time in Unix seconds, prices in ticks, the volume
// in lot steps.
type bar struct {
	open, o, h, l, c, trades uint32
	volume                   uint64
}

// fileName is SYMBOL-INTERVAL, as in the public data of Binance with a month or a day.
var fileName = regexp.MustCompile(`^([^-]+?)(_PERP)?-([0-9]+(?:mo|[smhdwM]))(?:-[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?)?\.(?:csv|csv\.gz|zip)$`)

// quotes are what the symbol of a file may end in.
var quotes = []string{"USDT", "FDUSD", "USDC", "BUSD", "TUSD", "USDP", "DAI", "BTC", "ETH", "BNB", "EUR", "GBP", "TRY", "BRL", "JPY", "USD"}

// ReadReplay reads the files of a folder, each with the candles of one pair and
// interval: SYMBOL-INTERVAL.csv, .csv.gz or .zip, with the columns open time, open, high,
// low, close and volume, and perhaps a header and the other columns of Binance's public
// data. Files of one pair and interval (months) are joined; of several intervals only
// the finest is read. SYMBOL_PERP is a perpetual contract. Other files are ignored.
func ReadReplay(folder string) (*Replay, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	type group struct {
		series
		files []string
	}
	groups := map[string]*group{}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !strings.HasSuffix(name, ".csv") && !strings.HasSuffix(name, ".csv.gz") && !strings.HasSuffix(name, ".zip") {
			continue
		}
		m := fileName.FindStringSubmatch(name)
		if m == nil {
			return nil, fmt.Errorf("%s is not named SYMBOL-INTERVAL, as in BTCUSDT-1h.csv", name)
		}
		iv, ok := intervalNamed(intervals, strings.Replace(m[3], "mo", "M", 1))
		if !ok || iv.seconds == 0 || iv.seconds > day {
			return nil, fmt.Errorf("%s: the interval %s is none from 1s to 1d", name, m[3])
		}
		i := slices.IndexFunc(quotes, func(q string) bool { return len(m[1]) > len(q) && strings.HasSuffix(m[1], q) })
		if i < 0 {
			return nil, fmt.Errorf("%s: the symbol %s ends in no known quote asset, such as USDT", name, m[1])
		}
		g := groups[m[1]+m[2]]
		if g == nil || iv.seconds < g.iv.seconds {
			g = &group{series: series{base: strings.TrimSuffix(m[1], quotes[i]), quote: quotes[i], swap: m[2] != "", iv: iv}}
			groups[m[1]+m[2]] = g
		}
		if g.iv == iv {
			g.files = append(g.files, name)
		}
	}
	if len(groups) == 0 {
		return nil, fmt.Errorf("%s has no file of candles, such as BTCUSDT-1h.csv", folder)
	}
	r := &Replay{}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		g := groups[key]
		if err := g.read(folder, g.files); err != nil {
			return nil, err
		}
		r.series = append(r.series, &g.series)
		first, last := time.Unix(int64(g.bars[0].open), 0).UTC(), time.Unix(g.end(), 0).UTC()
		if r.first.IsZero() || first.Before(r.first) {
			r.first = first
		}
		if last.After(r.last) {
			r.last = last
		}
	}
	return r, nil
}

// Dates returns the first and the last day of the data: 2021-04-04/2023-12-30.
func (r *Replay) Dates() string {
	return r.first.Format(time.DateOnly) + "/" + r.last.Add(-time.Second).Format(time.DateOnly)
}

// Clock returns a clock for Options.Now. It begins so many candles, of the finest
// interval that there is, before the end of the data, and goes at a multiple of real
// time. If pairs end at different times, the middle one counts. It does not begin in the
// first half of the data.
func (r *Replay) Clock(candles int, speed float64) func() time.Time {
	finest, ends := int64(math.MaxInt64), make([]int64, len(r.series))
	for i, s := range r.series {
		finest, ends[i] = min(finest, s.iv.seconds), s.end()
	}
	slices.Sort(ends)
	end := ends[len(ends)/2]
	half := (end - r.first.Unix()) / 2 / finest * finest
	begin := time.Unix(end-min(int64(candles)*finest, half), 0).UTC()
	start := time.Now()
	return func() time.Time { return begin.Add(time.Duration(float64(time.Since(start)) * speed)) }
}

// market returns the pairs of r, before speak. A market of contracts takes a perpetual
// contract where there is one.
func (r *Replay) market(swap bool, now time.Time) *market {
	m := new(market)
	for _, s := range r.series {
		if s.swap && !swap || !s.swap && swap && slices.ContainsFunc(r.series, func(o *series) bool {
			return o.swap && o.base == s.base && o.quote == s.quote
		}) {
			continue
		}
		last := s.bars[len(s.bars)-1]
		p := pair{
			Pair: Pair{
				Base: s.base, Quote: s.quote, TickDecimals: s.tickDecimals, LotDecimals: s.lotDecimals,
				Listed: time.Unix(int64(s.bars[0].open), 0).UTC(), Halted: time.Unix(s.end(), 0).UTC(),
			},
			history: s,
			path:    path{hash: hashString(0, s.base+s.quote), base: math.Log(float64(last.c))},
			life:    span{int64(s.bars[0].open), s.end()},
			tick:    math.Pow10(-s.tickDecimals),
			lot:     math.Pow10(-s.lotDecimals),
		}
		switch {
		case !p.trading(now.Unix()):
			p.Kind = Halted
		case p.Quote != "USDT":
			p.Kind = OtherQuote
		}
		m.pairs = append(m.pairs, p)
	}
	return m
}

// end returns the end of the last candle.
func (s *series) end() int64 { return s.iv.next(int64(s.bars[len(s.bars)-1].open)) }

// within reports whether a candle of iv consists of whole bars.
func (s *series) within(iv interval) bool {
	return iv.seconds%s.iv.seconds == 0 && iv.offset%s.iv.seconds == 0
}

// from returns the index of the first bar that opens at t or later.
func (s *series) from(t int64) int {
	return sort.Search(len(s.bars), func(i int) bool { return int64(s.bars[i].open) >= t })
}

// at returns bar i as a candle. A bar that has not ended by now is as at its open.
func (s *series) at(i int, now int64) candle {
	b := s.bars[i]
	c := candle{open: int64(b.open), o: int64(b.o), h: int64(b.h), l: int64(b.l), c: int64(b.c)}
	if s.iv.next(c.open) > now {
		c.h, c.l, c.c = c.o, c.o, c.o
		return c
	}
	c.volume, c.taker, c.trades = int64(b.volume), int64(b.volume/2), int64(b.trades)
	return c
}

func (c *candle) merge(next *candle) {
	c.h, c.l, c.c = max(c.h, next.h), min(c.l, next.l), next.c
	c.volume, c.taker, c.trades = c.volume+next.volume, c.taker+next.taker, c.trades+next.trades
}

func (s *series) candles(iv interval, in span, emit func(*candle) bool) {
	if !s.within(iv) {
		return
	}
	var sum candle
	end := int64(math.MinInt64) // of sum
	for i := s.from(in.from); i < len(s.bars) && int64(s.bars[i].open) < in.to; i++ {
		c := s.at(i, in.to)
		if c.open < end {
			sum.merge(&c)
			continue
		}
		if end > math.MinInt64 && !emit(&sum) {
			return
		}
		sum = c
		sum.open = iv.floor(c.open)
		end = iv.next(sum.open)
	}
	if end > math.MinInt64 {
		emit(&sum)
	}
}

func (s *series) count(iv interval, first, last int64, _ span) (n int) {
	s.candles(iv, span{first, iv.next(last)}, func(*candle) bool { n++; return true })
	return n
}

func (s *series) sum(in span) (sum candle, ok bool) {
	for i := s.from(in.from); i < len(s.bars) && int64(s.bars[i].open) < in.to; i++ {
		c := s.at(i, in.to)
		if ok {
			sum.merge(&c)
		} else {
			sum, ok = c, true
		}
	}
	return sum, ok
}

func (s *series) price(t int64) int64 {
	i := s.from(t+1) - 1
	if i < 0 {
		return int64(s.bars[0].o)
	}
	c := s.at(i, t+1)
	return c.c
}

// row is one line of a file: prices in units of 10^-8.
type row struct {
	open       int64
	o, h, l, c int64
	volume     float64
	trades     uint32
}

// read reads the rows of all files of s.
func (s *series) read(folder string, files []string) error {
	type part struct {
		rows []row
		file string
	}
	var parts []part
	decimals := [2]int{} // of prices and volumes
	for _, file := range files {
		rows, err := s.readFile(filepath.Join(folder, file), &decimals)
		if err != nil {
			return fmt.Errorf("%s%w", file, err)
		}
		parts = append(parts, part{rows, file})
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.rows[0].open, b.rows[0].open) })
	var price, volume float64
	n := 0
	for i, p := range parts {
		if i > 0 {
			before := parts[i-1]
			if last := before.rows[len(before.rows)-1].open; p.rows[0].open <= last {
				return fmt.Errorf("%s begins before %s ends", p.file, before.file)
			}
		}
		n += len(p.rows)
		for _, r := range p.rows {
			price, volume = max(price, float64(r.h)), max(volume, r.volume)
		}
	}
	// Numbers too large for so many decimals have fewer, at least nine digits in all.
	s.tickDecimals, s.lotDecimals = decimals[0], decimals[1]
	for s.tickDecimals > 0 && price/math.Pow10(8-s.tickDecimals) > math.MaxUint32 {
		s.tickDecimals--
	}
	for s.lotDecimals > 0 && volume*math.Pow10(s.lotDecimals) > 1e15 {
		s.lotDecimals--
	}
	tick, lots := pow10[8-s.tickDecimals], math.Pow10(s.lotDecimals)
	ticks := func(v int64) uint32 { return uint32(max(1, (v+tick/2)/tick)) }
	s.bars = make([]bar, 0, n)
	for _, p := range parts {
		for _, r := range p.rows {
			s.bars = append(s.bars, bar{uint32(r.open), ticks(r.o), ticks(r.h), ticks(r.l), ticks(r.c), r.trades, uint64(math.Round(r.volume * lots))})
		}
	}
	return nil
}

// readFile reads a file; errors begin after the file's name.
func (s *series) readFile(path string, decimals *[2]int) (rows []row, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf(": %w", errors.Unwrap(err))
	}
	defer f.Close()
	var in io.Reader = f
	switch filepath.Ext(path) {
	case ".gz":
		if in, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf(": %w", err)
		}
	case ".zip":
		z, err := zip.OpenReader(path)
		if err != nil {
			return nil, fmt.Errorf(": %w", err)
		}
		defer z.Close()
		if len(z.File) != 1 {
			return nil, fmt.Errorf(": %d files in it, want one", len(z.File))
		}
		member, err := z.File[0].Open()
		if err != nil {
			return nil, fmt.Errorf(": %w", err)
		}
		defer member.Close()
		in = member
	}
	lines := bufio.NewScanner(in)
	last := int64(math.MinInt64)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || n == 1 && strings.HasPrefix(strings.TrimLeft(line, "\ufeff\""), "open") {
			continue
		}
		r, err := parseRow(line, decimals)
		switch {
		case err != nil:
		case s.iv.floor(r.open) != r.open:
			err = fmt.Errorf("%s is not the open of a candle of %s", time.Unix(r.open, 0).UTC().Format(time.RFC3339), s.iv.name)
		case r.open <= last:
			err = fmt.Errorf("%s is not after the row before", time.Unix(r.open, 0).UTC().Format(time.RFC3339))
		}
		if err != nil {
			return nil, fmt.Errorf(", line %d: %w", n, err)
		}
		last = r.open
		rows = append(rows, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf(": %w", err)
	}
	if len(rows) == 0 {
		return nil, errors.New(" has no candles")
	}
	return rows, nil
}

// parseRow parses a line, and raises decimals to what it has. Times are milliseconds,
// or microseconds as in Binance's files since 2025.
func parseRow(line string, decimals *[2]int) (r row, err error) {
	fields := strings.SplitN(line, ",", 13)
	if len(fields) < 6 {
		return r, fmt.Errorf("%d columns, want open time, open, high, low, close and volume", len(fields))
	}
	at, err := strconv.ParseInt(fields[0], 10, 64)
	if at >= 1e14 {
		at /= 1000
	}
	if err != nil || at < 0 || at/1000 > math.MaxUint32-7*day {
		return r, fmt.Errorf("%q is not a time in milliseconds", fields[0])
	}
	if at%1000 != 0 {
		return r, fmt.Errorf("%s is not a whole second", fields[0])
	}
	r.open = at / 1000
	for i, p := range []*int64{&r.o, &r.h, &r.l, &r.c} {
		v, err := strconv.ParseFloat(fields[i+1], 64)
		if err != nil || !(v >= 1e-8 && v < 4e9) {
			return r, fmt.Errorf("%q is not a price", fields[i+1])
		}
		*p = int64(math.Round(v * 1e8))
		decimals[0] = max(decimals[0], places(*p))
	}
	if r.l > min(r.o, r.c) || r.h < max(r.o, r.c) {
		return r, fmt.Errorf("the open %s and the close %s are not between the low %s and the high %s", fields[1], fields[4], fields[3], fields[2])
	}
	r.volume, err = strconv.ParseFloat(fields[5], 64)
	if err != nil || !(r.volume >= 0 && r.volume < 1e15) {
		return r, fmt.Errorf("%q is not a volume", fields[5])
	}
	if r.volume < 1e10 {
		decimals[1] = max(decimals[1], places(int64(math.Round(r.volume*1e8))))
	}
	if r.volume > 0 {
		r.trades = 1
	}
	if len(fields) > 8 {
		if n, err := strconv.ParseUint(fields[8], 10, 32); err == nil {
			r.trades = uint32(n)
		}
	}
	return r, nil
}

// places returns the number of decimals of v×10^-8.
func places(v int64) int {
	n := 8
	for ; n > 0 && v%10 == 0; n-- {
		v /= 10
	}
	return n
}
