package calibrate

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tidemark/levels"
)

// series is the candles of one pair on one interval.
type series struct {
	symbol   string
	interval levels.Interval
	file     string
	of       levels.Interval // of the file's candles: interval, or one that divides it
}

// longest is the longest fitted interval. Series of longer ones have too few candles
// to validate odds.
const longest = levels.Interval("4h")

// list returns the series in a folder by interval, shortest first, and symbol. If a
// pair has no file of an interval, its candles are aggregated from the next shorter
// interval with a file.
func list(folder string) ([]series, error) {
	var all []series
	for _, to := range levels.Intervals() {
		if to.Duration() > longest.Duration() {
			break
		}
		files := map[string]series{}
		for _, from := range levels.Intervals() {
			if to.Duration()%from.Duration() != 0 {
				continue
			}
			names, err := filepath.Glob(filepath.Join(folder, "*-"+string(from)+".csv.gz"))
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				symbol := strings.TrimSuffix(filepath.Base(name), "-"+string(from)+".csv.gz")
				files[symbol] = series{symbol, to, name, from} // the longest comes last
			}
		}
		var some []series
		for _, s := range files {
			some = append(some, s)
		}
		slices.SortFunc(some, func(a, b series) int { return strings.Compare(a.symbol, b.symbol) })
		all = append(all, some...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no file in %q is named SYMBOL-INTERVAL.csv.gz", folder)
	}
	return all, nil
}

// read fills c with the candles of s. It writes the name and the content of the file
// to sum.
func (s series) read(c *levels.Candles, sum io.Writer) error {
	c.Reset(s.of, 0)
	fmt.Fprintln(sum, filepath.Base(s.file))
	if err := read(c, s.file, sum); err != nil {
		return err
	}
	if c.Len() == 0 {
		return fmt.Errorf("%s: no candles", s.file)
	}
	if s.of != s.interval {
		merge(c, s.interval)
	}
	return nil
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
