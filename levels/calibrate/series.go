package calibrate

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tidemark/levels"
)

// longest is the longest fitted interval. Of longer ones there are too few horizons
// to validate odds.
const longest = levels.Interval("1d")

// series is the candles of one pair on one interval.
type series struct {
	symbol   string
	interval levels.Interval
	files    []string        // joined by time
	of       levels.Interval // of the files' candles: interval, or one that divides it
}

// list returns the series in the folders and below them by interval, shortest first,
// and symbol. If a pair has no file of an interval, its candles are aggregated from
// the longest shorter interval with a file.
func list(folders []string) ([]series, error) {
	files := map[string][]string{} // by name
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				files[e.Name()] = append(files[e.Name()], path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	var all []series
	for _, to := range levels.Intervals() {
		if to.Duration() > longest.Duration() {
			break
		}
		found := map[string]series{}
		for _, from := range levels.Intervals() {
			if to.Duration()%from.Duration() != 0 {
				continue
			}
			for name, paths := range files {
				if symbol, ok := strings.CutSuffix(name, "-"+string(from)+".csv.gz"); ok && symbol != "" {
					slices.Sort(paths)
					found[symbol] = series{symbol, to, paths, from} // the longest comes last
				}
			}
		}
		all = append(all, slices.SortedFunc(maps.Values(found), func(a, b series) int { return strings.Compare(a.symbol, b.symbol) })...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no file in %s is named SYMBOL-INTERVAL.csv.gz", strings.Join(folders, ", "))
	}
	return all, nil
}

// read fills c with the candles of s that close by until, in Unix ms; 0 for all. It
// writes the names and contents of the files to sum.
func (s series) read(c *levels.Candles, until int64, sum io.Writer) error {
	parts := make([]levels.Candles, len(s.files))
	for i, file := range s.files {
		parts[i].Reset(s.of, 0)
		fmt.Fprintln(sum, filepath.Base(file))
		if err := read(&parts[i], file, sum); err != nil {
			return err
		}
		if parts[i].Len() == 0 {
			return fmt.Errorf("%s: no candles", file)
		}
	}
	slices.SortStableFunc(parts, func(a, b levels.Candles) int { return cmp.Compare(a.OpenTime[0], b.OpenTime[0]) })
	*c = parts[0]
	for _, part := range parts[1:] {
		for i := range part.Len() {
			if part.OpenTime[i] >= c.AsOf() {
				_ = c.Append(part.At(i)) // checked when it was read
			}
		}
	}
	if until > 0 {
		n, _ := slices.BinarySearch(c.OpenTime, until-s.of.Milliseconds()+1)
		c.Truncate(n)
	}
	if s.of != s.interval && c.Len() > 0 {
		merge(c, s.interval)
	}
	return nil
}

// base returns the base asset of a symbol, which all its markets share: SOLUSDT,
// SOLUSDC and SOLUSDT_PERP are one pair to any split.
func base(symbol string) string {
	symbol = strings.TrimSuffix(symbol, "_PERP")
	for _, quote := range [...]string{"USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "BTC", "ETH", "BNB", "EUR", "TRY"} {
		if rest, ok := strings.CutSuffix(symbol, quote); ok && rest != "" {
			symbol = rest
			break
		}
	}
	for _, multiple := range [...]string{"1000000", "10000", "1000", "1M"} {
		if rest, ok := strings.CutPrefix(symbol, multiple); ok && rest != "" {
			return rest
		}
	}
	return symbol
}

// merge aggregates the candles of c to a longer interval. Candles start at multiples
// of its length since the epoch, as at the venues. The first and the last are dropped
// unless complete. Where candles are missing, the longer candle contains the rest, as
// at the venue.
func merge(c *levels.Candles, to levels.Interval) {
	from, length := c.Interval.Milliseconds(), to.Milliseconds()
	begin := (c.OpenTime[0] + length - 1) / length * length
	end := (c.OpenTime[c.Len()-1] + from) / length * length
	var merged levels.Candles
	merged.Reset(to, 0)
	var one levels.Candle
	for i := range c.Len() {
		k := c.At(i)
		at := k.OpenTime / length * length
		switch {
		case at < begin || at >= end:
			continue
		case at != one.OpenTime || one.Open == 0:
			if one.Open > 0 {
				_ = merged.Append(one)
			}
			one = k
			one.OpenTime = at
		default:
			one.High, one.Low, one.Close = max(one.High, k.High), min(one.Low, k.Low), k.Close
			one.Volume += k.Volume
		}
	}
	if one.Open > 0 {
		_ = merged.Append(one)
	}
	*c = merged
}

// read appends the candles of a gzipped CSV file with the header
// open_time_ms,open,high,low,close,volume to c and its bytes to sum. A candle
// with invalid values is skipped, as a venue's decoder would refuse it.
func read(c *levels.Candles, file string, sum io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	r := csv.NewReader(io.TeeReader(z, sum))
	r.ReuseRecord, r.FieldsPerRecord = true, 6
	for line := 1; ; line++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if line == 1 {
			if got := strings.Join(row, ","); got != "open_time_ms,open,high,low,close,volume" {
				return fmt.Errorf("%s: its header is %q, not open_time_ms,open,high,low,close,volume", file, got)
			}
			continue
		}
		at, err := strconv.ParseInt(row[0], 10, 64)
		var v [5]float64
		for i := range v {
			if err == nil {
				v[i], err = strconv.ParseFloat(row[i+1], 64)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", file, line, err)
		}
		_ = c.Append(levels.Candle{OpenTime: at, Open: v[0], High: v[1], Low: v[2], Close: v[3], Volume: v[4]})
	}
}
