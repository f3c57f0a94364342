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

	"tidemark/exchange"
	"tidemark/levels"
	"tidemark/service"
)

// manyRows prints n hours, prices and volumes of various lengths.
func manyRows(from int64, n int) string {
	rows := make([]string, n)
	for i := range rows {
		low := 3600 + float64(i*7919%1000)/13
		rows[i] = row(from+int64(i)*hour, fmt.Sprintf("%.8f", low+1), fmt.Sprintf("%.8f", low+7.25), fmt.Sprintf("%.8f", low),
			fmt.Sprintf("%.8f", low+3.5), fmt.Sprintf("%.8f", float64(i*104729%1_000_000)*1.37))
	}
	return page(rows...)
}

var everything = window{0, math.MaxInt64}

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
	text := func(v any) string { // a string, or a number, which is accepted in its place
		if n, ok := v.(json.Number); ok {
			return n.String()
		}
		return v.(string)
	}
	candles := make([]levels.Candle, len(rows))
	for i, r := range rows {
		if len(r) < 12 {
			t.Fatalf("row %d has %d columns", i, len(r))
		}
		open, err := strconv.ParseInt(text(r[0]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		var f [6]float64
		for j := 1; j < 6; j++ {
			if f[j], err = strconv.ParseFloat(text(r[j]), 64); err != nil {
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
		manyRows(0, 1000),
		strings.ReplaceAll(manyRows(0, 10), ",", " ,\n\t"),
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
	body := manyRows(0, 60)
	want := oracle(t, []byte(body))
	readers := map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
		"halves": iotest.HalfReader, "end with data": iotest.DataErrReader,
	}
	for name, wrap := range readers {
		for _, size := range []int{0, 1, 100, 4096, 4097, 5000, 32 << 10, 1 << 20} {
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
		if n > 0 && !strings.Contains(err.Error(), "ends in the middle") {
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
		{"half an object", `{"rows":`, "ends in the middle"},
		{"a number", "17", "instead of ["},
		{"null", "null", "instead of ["},
		{"rows that are objects", `[{"t":1}]`, "instead of [, at byte 1"},
		{"null rows", "[null]", "instead of [, at byte 1"},
		{"a row of 11", page(strings.Replace(good, `,"0"]`, "]", 1)), "instead of a comma"},
		{"a row of 8", `[[1,"1","1","1","1","1",2,"3"]]`, "instead of a comma"},
		{"an empty row", "[[]]", "instead of a whole number"},
		{"no comma", "[" + good + good + "]", "instead of a comma or the end"},
		{"a comma too many", "[" + good + ",]", "after a comma"},
		{"a comma first", "[," + good + "]", "instead of ["},
		{"a list too many", page(good) + "[]", "after the end"},
		{"garbage after the end", page(good) + "x", "after the end"},
		{"a NUL after the end", page(good) + "\x00", "after the end"},
		{"a NUL inside", "[\x00" + good + "]", "instead of ["},
		{"a negative time", page(strings.Replace(good, "[0,", `[-3600000,`, 1)), "open time"},
		{"a time with zeros", page(strings.Replace(good, "[0,", `[00,`, 1)), "instead of a whole number, at byte 2"},
		{"a time too long", page(strings.Replace(good, "[0,", `[9223372036854775808,`, 1)), "instead of a whole number"},
		{"a time beyond all", page(strings.Replace(good, "[0,", `[999999999999999999,`, 1)), "open time"},
		{"NaN", page(row(0, "NaN", "2", "1", "1", "1")), "a decimal, at byte"},
		{"Inf", page(row(0, "1", "Inf", "1", "1", "1")), "a decimal, at byte"},
		{"overflow", page(row(0, "1", "1e999", "1", "1", "1")), "a decimal, at byte"},
		{"hexadecimal", page(row(0, "0x1p4", "2", "1", "1", "1")), "a decimal, at byte"},
		{"underscores", page(row(0, "1_0", "2", "1", "1", "1")), "a decimal, at byte"},
		{"an empty price", page(row(0, "", "2", "1", "1", "1")), "a decimal, at byte"},
		{"a price with a space", page(row(0, " 1", "2", "1", "1", "1")), "a decimal, at byte"},
		{"a plus", page(row(0, "+1", "2", "1", "1", "1")), "a decimal, at byte"},
		{"leading zeros", page(row(0, "01", "2", "1", "1", "1")), "a decimal, at byte"},
		{"leading zeros of a number", `[[0,"1","1","1","1","0",0,"0",00,"0","0","0"]]`, "not a value"},
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
		{"an endless row", "[[" + strings.Repeat("1", 8000), "instead of a whole number"},
	} {
		_, err := decode(tt.body, window{math.MinInt64, math.MaxInt64})
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v; want it to say %q", tt.name, err, tt.says)
		}
	}
}

// A venue may print more than is read, or otherwise, without a change of its version.
func TestDecodeKlines_TakesWhatMeansTheSame(t *testing.T) {
	good := plainRow(0)
	for name, body := range map[string]string{
		"a row of 13":              page(strings.Replace(good, `,"0"]`, `,"0",{"x":[1]}]`, 1)),
		"a bare price":             page(strings.Replace(good, `"3701.23000000"`, "3701.23", 1)),
		"a quoted time":            page(strings.Replace(good, "[0,", `["0",`, 1)),
		"much white space":         "[" + strings.Repeat(" ", 100_000) + good + "]",
		"a word in an unused one":  page(strings.Replace(good, `"0"]`, `"\u0030"]`, 1)),
		"null in an unused column": page(strings.Replace(good, ",154,", ",null,", 1)),
	} {
		got, err := decode(body, everything)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sameCandles(t, got, oracle(t, []byte(body)))
	}
}

func TestDecodeKlines_PassesOnReadErrors(t *testing.T) {
	broken := errors.New("connection reset by peer")
	body := manyRows(0, 200)
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

func TestDecodeKlines_KnowsTheVenuesErrors(t *testing.T) {
	_, err := decode(`{"code":-1121,"msg":"Invalid symbol."}`, everything)
	if !errors.Is(err, service.ErrUnknownSymbol) {
		t.Errorf("invalid symbol: %v", err)
	}
	_, err = decode(`{"code":-1003,"msg":"Too many requests."}`, everything)
	if !errors.Is(err, service.ErrRateLimited) {
		t.Errorf("too many requests: %v", err)
	}
}

// The volume of COIN-M is the base volume, because the other is in contracts.
func TestDecodeKlines_VolumesAreInTheBaseAsset(t *testing.T) {
	for market, want := range map[exchange.Venue]float64{Spot: 23741.68703300, USDM: 23741.68703300, COINM: 8814.24909230} {
		err := market.DecodeKlines(exchange.NewScanner(strings.NewReader(page(plainRow(0))), nil), exchange.Native{}, func(k levels.Candle) error {
			if k.Volume != want {
				t.Errorf("%s: %v, want %v", market.Spec().Name, k.Volume, want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestDecodeKlines_AllocatesNothing(t *testing.T) {
	body := []byte(manyRows(0, 1000))
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
	body := []byte(manyRows(0, 1000))
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
		"", "[]", page(plainRow(0)), manyRows(0, 3), page(plainRow(0)) + "x",
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
