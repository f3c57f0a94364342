package binance

// The decoding of klines: rows become candles exactly, and everything but a list of
// closed, ordered, valid klines is refused. The oracle is encoding/json with strconv.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"tidemark/levels"
	"tidemark/service"
)

const hour = int64(3_600_000)

// row prints a kline of an hour as the venue does.
func row(open int64, o, h, l, c, v string) string {
	return fmt.Sprintf(`[%d,"%s","%s","%s","%s","%s",%d,"8814.24909230",154,"1291.91558990","4797.43586685","0"]`,
		open, o, h, l, c, v, open+hour-1)
}

func plainRow(open int64) string {
	return row(open, "3701.23000000", "3810.16000000", "3642.00000000", "3797.14000000", "23741.68703300")
}

func page(rows ...string) string { return "[" + strings.Join(rows, ",") + "]" }

// manyRows prints n hours from the epoch's first on, prices and volumes of
// various lengths.
func manyRows(n int) string {
	rows := make([]string, n)
	for i := range rows {
		low := 3600 + float64(i*7919%1000)/13
		rows[i] = row(int64(i)*hour, fmt.Sprintf("%.8f", low+1), fmt.Sprintf("%.8f", low+7.25), fmt.Sprintf("%.8f", low),
			fmt.Sprintf("%.8f", low+3.5), fmt.Sprintf("%.8f", float64(i*104729%1_000_000)*1.37))
	}
	return page(rows...)
}

var everything = window{0, math.MaxInt64, maxKlines}

func decode(body string, w window) (*levels.Candles, error) {
	var c levels.Candles
	c.Reset("1h", 0)
	err := decodeKlines(strings.NewReader(body), nil, &c, w)
	return &c, err
}

// oracle decodes with encoding/json and strconv what decodeKlines decoded.
func oracle(t testing.TB, body []byte) []levels.Candle {
	t.Helper()
	var rows [][]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&rows); err != nil {
		t.Fatalf("encoding/json refuses what was accepted: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("more follows what was accepted: %v", err)
	}
	candles := make([]levels.Candle, len(rows))
	for i, r := range rows {
		if len(r) != 12 {
			t.Fatalf("row %d has %d columns", i, len(r))
		}
		open, err := r[0].(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		var f [6]float64
		for j := 1; j < 6; j++ {
			if f[j], err = strconv.ParseFloat(r[j].(string), 64); err != nil {
				t.Fatal(err)
			}
		}
		candles[i] = levels.Candle{OpenTime: open, Open: f[1], High: f[2], Low: f[3], Close: f[4], Volume: f[5]}
	}
	return candles
}

func sameCandles(t testing.TB, got *levels.Candles, want []levels.Candle) {
	t.Helper()
	if got.Len() != len(want) {
		t.Fatalf("%d candles, want %d", got.Len(), len(want))
	}
	for i, w := range want {
		if got.At(i) != w {
			t.Fatalf("candle %d is %+v, want %+v", i, got.At(i), w)
		}
	}
}

func TestDecodeKlines_AgreesWithEncodingJSON(t *testing.T) {
	for _, body := range []string{
		"[]",
		" [ ] \n",
		page(plainRow(0)),
		page(plainRow(0), plainRow(5*hour)),
		manyRows(1000),
		strings.ReplaceAll(manyRows(10), ",", " ,\n\t"),
		page(row(0, "0.00000001", "0.00000001", "0.00000001", "0.00000001", "0.00000000")),
		page(row(0, "12345678901234567890.5", "12345678901234567890.5", "1e-8", "1.5E+3", "1343961239.70000000")),
		page(row(hour, "9007199254740993", "9007199254740993.00000001", "0.3", "0.30000000000000004", "123456789012345678")),
	} {
		got, err := decode(body, everything)
		if err != nil {
			t.Errorf("%.80s: %v", body, err)
			continue
		}
		sameCandles(t, got, oracle(t, []byte(body)))
	}
}

func TestDecodeKlines_ReadsTheSameInPiecesOfAnySize(t *testing.T) {
	body := manyRows(60)
	want := oracle(t, []byte(body))
	readers := map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
		"halves": iotest.HalfReader, "end with data": iotest.DataErrReader,
	}
	for name, wrap := range readers {
		for _, size := range []int{0, 1, 100, minBuffer, minBuffer + 1, 5000, 32 << 10, 1 << 20} {
			var c levels.Candles
			c.Reset("1h", 0)
			if err := decodeKlines(wrap(strings.NewReader(body)), make([]byte, size), &c, everything); err != nil {
				t.Fatalf("%s, buffer of %d: %v", name, size, err)
			}
			sameCandles(t, &c, want)
		}
	}
}

func TestDecodeKlines_RefusesEveryTruncation(t *testing.T) {
	body := page(plainRow(0), row(hour, "1.5e3", "2000", "1", "1500", "0.1"))
	for n := range len(body) {
		_, err := decode(body[:n], everything)
		if err == nil {
			t.Fatalf("accepted after %d of %d bytes", n, len(body))
		}
		if n > 0 && !errors.Is(err, errTruncated) {
			t.Errorf("%d of %d bytes: %v", n, len(body), err)
		}
	}
}

func TestDecodeKlines_RefusesWhatIsNoListOfKlines(t *testing.T) {
	good := plainRow(0)
	for _, tt := range []struct{ name, body, says string }{
		{"nothing", "", "empty"},
		{"white space", " \n ", "empty"},
		{"HTML", "<!DOCTYPE html><html></html>", "HTML"},
		{"an error", `{"code":-1000,"msg":"An unknown error occurred."}`, "-1000"},
		{"an object", `{"rows":[]}`, "neither data nor an error"},
		{"half an object", `{"rows":`, "neither data nor an error"},
		{"a number", "17", "not JSON"},
		{"null", "null", "not JSON"},
		{"rows that are objects", `[{"t":1}]`, "column 1 of kline 0"},
		{"null rows", "[null]", "column 1 of kline 0"},
		{"a row of 11", page(strings.Replace(good, `,"0"]`, "]", 1)), "kline 0"},
		{"a row of 13", page(strings.Replace(good, `,"0"]`, `,"0","0"]`, 1)), "kline 0"},
		{"a row of 8", `[[1,"1","1","1","1","1",2,"3"]]`, "kline 0"},
		{"an empty row", "[[]]", "column 1"},
		{"no comma", "[" + good + good + "]", "after kline 0"},
		{"a comma too many", "[" + good + ",]", "kline 1"},
		{"a comma first", "[," + good + "]", "kline 0"},
		{"a list too many", page(good) + "[]", "after the end"},
		{"garbage after the end", page(good) + "x", "after the end"},
		{"a NUL after the end", page(good) + "\x00", "after the end"},
		{"a NUL inside", "[\x00" + good + "]", "kline 0"},
		{"a bare price", page(strings.Replace(good, `"3701.23000000"`, "3701.23", 1)), "column 2"},
		{"a quoted time", page(strings.Replace(good, "[0,", `["0",`, 1)), "column 1"},
		{"a negative time", page(strings.Replace(good, "[0,", `[-3600000,`, 1)), "column 1"},
		{"a time with zeros", page(strings.Replace(good, "[0,", `[00,`, 1)), "column 1"},
		{"a time too long", page(strings.Replace(good, "[0,", `[9223372036854775808,`, 1)), "column 1"},
		{"a time beyond all", page(strings.Replace(good, "[0,", `[999999999999999999,`, 1)), "open time"},
		{"NaN", page(row(0, "NaN", "2", "1", "1", "1")), "column 2"},
		{"Inf", page(row(0, "1", "Inf", "1", "1", "1")), "column 3"},
		{"overflow", page(row(0, "1", "1e999", "1", "1", "1")), "column 3"},
		{"hexadecimal", page(row(0, "0x1p4", "2", "1", "1", "1")), "column 2"},
		{"underscores", page(row(0, "1_0", "2", "1", "1", "1")), "column 2"},
		{"an empty price", page(row(0, "", "2", "1", "1", "1")), "column 2"},
		{"a price with a space", page(row(0, " 1", "2", "1", "1", "1")), "column 2"},
		{"a plus", page(row(0, "+1", "2", "1", "1", "1")), "column 2"},
		{"leading zeros", page(row(0, "01", "2", "1", "1", "1")), "column 2"},
		{"leading zeros of a number", `[[0,"1","1","1","1","0",0,"0",00,"0","0","0"]]`, "column 9"},
		{"a zero price", page(row(0, "0.00000000", "2", "0.00000000", "1", "1")), "positive"},
		{"an underflow to zero", page(row(0, "1", "2", "1e-999", "1", "1")), "positive"},
		{"a negative price", page(row(0, "1", "2", "-1", "1", "1")), "positive"},
		{"a negative volume", page(row(0, "1", "2", "1", "1", "-1")), "volume"},
		{"high below low", page(row(0, "1", "1", "2", "1", "1")), "below low"},
		{"open outside", page(row(0, "3", "2", "1", "1", "1")), "open 3"},
		{"close outside", page(row(0, "1", "2", "1", "3", "1")), "close 3"},
		{"a repeated row", page(good, good), "repeated"},
		{"rows out of order", page(plainRow(hour), plainRow(0)), "ascending"},
		{"rows too near", page(plainRow(0), plainRow(hour/2)), "less than one interval"},
		{"an endless row", "[[" + strings.Repeat("1", 8000), "longer than"},
		{"an endless space", "[" + strings.Repeat(" ", 100_000) + good + "]", "longer than"},
		{"an escaped column", page(strings.Replace(good, `"0"]`, `"\u0030"]`, 1)), "column 12"},
		{"a word in an ignored column", page(strings.Replace(good, `"0"]`, `"x"]`, 1)), "column 12"},
		{"a fraction of a trade", page(strings.Replace(good, ",154,", ",15.4,", 1)), "column 9"},
	} {
		_, err := decode(tt.body, everything)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v; want it to say %q", tt.name, err, tt.says)
		}
	}
}

func TestDecodeKlines_TakesOnlyWhatWasAskedFor(t *testing.T) {
	body := page(plainRow(hour), plainRow(2*hour), plainRow(3*hour))
	if c, err := decode(body, window{hour, 2 * hour, 3}); err != nil || c.Len() != 2 || c.OpenTime[1] != 2*hour {
		t.Errorf("the candle that is still open is not dropped: %v, %v", c.OpenTime, err)
	}
	if _, err := decode(body, window{hour + 1, 9 * hour, 3}); err == nil || !strings.Contains(err.Error(), "before") {
		t.Errorf("a row from before the range: %v", err)
	}
	if c, err := decode(body, window{hour, 9 * hour, 2}); err == nil || !strings.Contains(err.Error(), "more than the 2") || c.Len() > 2 {
		t.Errorf("a row too many: %d rows, %v", c.Len(), err)
	}
}

func TestDecodeKlines_PassesOnReadErrors(t *testing.T) {
	broken := errors.New("connection reset by peer")
	body := manyRows(200)
	for _, n := range []int{0, 1, 5000, len(body)} {
		var c levels.Candles
		c.Reset("1h", 0)
		err := decodeKlines(io.MultiReader(strings.NewReader(body[:n]), iotest.ErrReader(broken)), nil, &c, everything)
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	var c levels.Candles
	c.Reset("1h", 0)
	if err := decodeKlines(stuck{}, nil, &c, everything); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that yields nothing: %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestEnvelope_KnowsTheVenuesErrors(t *testing.T) {
	_, err := decode(`{"code":-1121,"msg":"Invalid symbol."}`, everything)
	if !errors.Is(err, service.ErrUnknownSymbol) {
		t.Errorf("invalid symbol: %v", err)
	}
	_, err = decode(`{"code":-1003,"msg":"Too many requests."}`, everything)
	if !errors.Is(err, service.ErrRateLimited) {
		t.Errorf("too many requests: %v", err)
	}
}

func TestDecodeKlines_AllocatesNothing(t *testing.T) {
	body := []byte(manyRows(1000))
	buf := make([]byte, 32<<10)
	var c levels.Candles
	r := bytes.NewReader(body)
	allocs := testing.AllocsPerRun(20, func() {
		r.Reset(body)
		c.Reset("1h", 1000)
		if err := decodeKlines(r, buf, &c, everything); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 2 {
		t.Errorf("%v allocations a page", allocs)
	}
}

func BenchmarkDecodeKlines(b *testing.B) {
	body := []byte(manyRows(1000))
	buf := make([]byte, 32<<10)
	var c levels.Candles
	r := bytes.NewReader(body)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(body)
		c.Reset("1h", 1000)
		if err := decodeKlines(r, buf, &c, everything); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzDecodeKlines(f *testing.F) {
	for _, s := range []string{
		"", "[]", page(plainRow(0)), manyRows(3), page(plainRow(0)) + "x",
		page(row(0, "1e3", "2e3", "1", "1500.00000001", "123456789012345678901234567890")),
		page(row(hour, "9007199254740993", "9007199254740993.00000001", "0.3", "0.30000000000000004", "0")),
		`{"code":-1121,"msg":"Invalid symbol."}`, "<html>", "[ [ 1 , \"1\" ",
	} {
		f.Add([]byte(s), uint16(0))
	}
	f.Fuzz(func(t *testing.T, body []byte, size uint16) {
		var c levels.Candles
		c.Reset("1h", 0)
		if err := decodeKlines(bytes.NewReader(body), make([]byte, size), &c, everything); err != nil {
			return
		}
		sameCandles(t, &c, oracle(t, body))
	})
}
