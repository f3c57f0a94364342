package evaluate

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
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

// Folder returns the candle files of one interval in a folder, by symbol. A file
// is named SYMBOL-INTERVAL.csv or SYMBOL-INTERVAL.csv.gz; its first line is
//
//	open_time_ms,open,high,low,close,volume
//
// and every other line a closed candle, oldest first, with open times in Unix ms.
// Other files are ignored. For a bad line, loading a series returns an error with
// file and line.
func Folder(folder string, interval levels.Interval) ([]Series, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var all []Series
	for _, e := range entries {
		name, ok := strings.CutSuffix(strings.TrimSuffix(e.Name(), ".gz"), "-"+string(interval)+".csv")
		if !ok || name == "" || e.IsDir() {
			continue
		}
		if len(all) > 0 && all[len(all)-1].Symbol == name {
			return nil, fmt.Errorf("%s: two files with the %s candles of %s", folder, interval, name)
		}
		path := filepath.Join(folder, e.Name())
		all = append(all, Series{name, func(ctx context.Context, dst *levels.Candles) error { return readFile(ctx, path, dst) }})
	}
	slices.SortFunc(all, func(a, b Series) int { return strings.Compare(a.Symbol, b.Symbol) })
	return all, nil
}

func readFile(ctx context.Context, path string, dst *levels.Candles) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		unzipped, err := gzip.NewReader(f)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		r = unzipped
	}
	if line, err := ReadCandles(ctx, r, dst); err != nil {
		return fmt.Errorf("%s:%d: %w", path, line, err)
	}
	return nil
}

// Header is the first line of a file of candles.
const Header = "open_time_ms,open,high,low,close,volume"

// ReadCandles appends the candles of a CSV file, as Folder describes it, to dst.
// An error comes with the line it was found in, from 1 on.
func ReadCandles(ctx context.Context, r io.Reader, dst *levels.Candles) (line int, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line++
		text := bytes.TrimSuffix(lines.Bytes(), []byte("\r"))
		if line == 1 {
			if string(text) != Header {
				return line, fmt.Errorf("the first line is %.60q, not %q", text, Header)
			}
			continue
		}
		if line%10_000 == 0 && ctx.Err() != nil {
			return line, ctx.Err()
		}
		k, err := parseCandle(text)
		if err != nil {
			return line, err
		}
		if err := dst.Append(k); err != nil {
			return line, err
		}
	}
	if err := lines.Err(); err != nil {
		return line + 1, err
	}
	if line == 0 {
		return 1, errors.New("the file is empty")
	}
	return line, nil
}

var columns = strings.Split(Header, ",")

func parseCandle(text []byte) (levels.Candle, error) {
	var k levels.Candle
	fields := [...]*float64{&k.Open, &k.High, &k.Low, &k.Close, &k.Volume}
	for i, name := range columns {
		field, rest, more := bytes.Cut(text, []byte(","))
		var err error
		if i == 0 {
			k.OpenTime, err = strconv.ParseInt(string(field), 10, 64)
		} else {
			*fields[i-1], err = strconv.ParseFloat(string(field), 64)
		}
		if last := i == len(columns)-1; more == last {
			return k, fmt.Errorf("a line has %d columns, this one %d", len(columns), i+1+bytes.Count(text, []byte(",")))
		}
		if err != nil {
			return k, fmt.Errorf("%s: %.40q is not a number", name, field)
		}
		text = rest
	}
	return k, nil
}
