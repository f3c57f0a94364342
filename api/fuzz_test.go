// Pins what holds for any input: bodies, symbols, tags, cursors, queries and
// cells never panic, are refused with a problem of the client's or understood,
// and what is understood is canonical.
package api

import (
	"encoding/csv"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"tidemark/levels"
	"tidemark/service"
)

func FuzzAnalyzeBody(f *testing.F) {
	for _, seed := range []string{
		`{"symbol":"BTCUSDT"}`, `{"symbols":["A","B-C"],"interval":"4h","kline_limit":100}`, `{"all":true,"store":true}`,
		`{"interval":"1h","klines":[[0,1,2,1,2,5],[3600000,"1","2","1","2","5",0]]}`, `{"klines":[[0,1,1,1,1,0]],"interval":"1d","exchange":"x"}`,
		`{"klines":[[1e3,1,1,1,1,0],[6.1e4,1,1,1,1,0]],"interval":"1m"}`, `{}`, `[]`, `{"symbol":"\u0000"}`, `{"klines":[[`,
	} {
		f.Add(seed)
	}
	r := localRequest("POST", "/analyze", nil)
	f.Fuzz(func(t *testing.T, text string) {
		plain, err1 := decodeAnalyze(strings.NewReader(text), service.MaxKlineLimit)
		guarded, err2 := decodeAnalyze(&tokens{r: iotest.OneByteReader(strings.NewReader(text))}, service.MaxKlineLimit)
		for _, err := range []error{err1, err2} {
			if err != nil && status(r, err).status != 400 {
				t.Fatalf("%v is status %d", err, status(r, err).status)
			}
		}
		if err1 != nil {
			return
		}
		if (err2 != nil || !reflect.DeepEqual(plain, guarded)) && len(text) <= maxToken {
			t.Fatalf("whole: %+v; in pieces: %+v, %v", plain, guarded, err2)
		}
		if !plain.Klines.given {
			return
		}
		dst, interval := newCandles(), levels.Interval(plain.Interval)
		if _, err := plain.Klines.fill(dst, interval, plain.KlineLimit); err != nil {
			if status(r, err).status != 400 {
				t.Fatalf("%v is status %d", err, status(r, err).status)
			}
			return
		}
		if dst.Interval != interval || dst.Len() > plain.Klines.n {
			t.Fatalf("%d candles of %s out of %d of %s", dst.Len(), dst.Interval, plain.Klines.n, interval)
		}
	})
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"BTCUSDT", "btc-usdt", "BTC/USDT", "币安人生USDT", "", "-", "A B", "ǆ", "1000SATS", "btcusdt_231229", "\xff", strings.Repeat("a", 41)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, ok := canonical(text)
		if !ok {
			return
		}
		if again, ok := canonical(s); !ok || again != s {
			t.Fatalf("%q became %q, and that %q", text, s, again)
		}
		if n := utf8.RuneCountInString(s); n < 1 || n > maxSymbol || strings.ContainsAny(s, "-/ \x00\"'<>") {
			t.Fatalf("%q became %q", text, s)
		}
	})
}

func FuzzIfNoneMatch(f *testing.F) {
	const tag = `"abcdefghijklmnop"`
	for _, seed := range []string{tag, "W/" + tag, `"x",` + tag, "*", `"`, `W/`, `,,`, `"a" "b"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		if matches(list, tag) && strings.TrimSpace(list) != "*" && !strings.Contains(list, tag) {
			t.Fatalf("%q matches %s", list, tag)
		}
		if !strings.ContainsAny(list, `"`) && !matches(list+tag, tag) && strings.Trim(list, " \t,") == "" {
			t.Fatalf("%q does not match %s", list+tag, tag)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor{1, position{0.5, "BTCUSDT", 0, 7, levels.Resistance}}.String())
	f.Add(cursor{1 << 31, position{math.Inf(1), "币安USDT", 0, math.MaxUint64, levels.Support}}.String())
	f.Add("AAAA")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := parseCursor(text)
		if !ok {
			return
		}
		if again := c.String(); again != text {
			t.Fatalf("%q is read as %+v, which is %q", text, c, again)
		}
	})
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"limit=5", "a=1&limit=2&limit=3", "%zz", "limit=%ff", "=&&=", "at=2000-01-01T00%3A00%3A00%2B01%3A00"} {
		f.Add(seed)
	}
	r := localRequest("GET", "/", nil)
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw, "limit", "at", "share")
		if err == nil {
			_, err1 := q.integer("limit", 1, 10, 5)
			_, err2 := q.moment("at")
			share, _, err3 := q.number("share")
			if !(share >= 0) {
				t.Fatalf("%q is the number %v", raw, share)
			}
			err = errors.Join(err1, err2, err3)
		}
		if err == nil {
			return
		}
		p := status(r, err)
		if p.status != 400 || !p.located || !utf8.ValidString(p.detail) {
			t.Fatalf("%q: %+v", raw, p)
		}
	})
}

func FuzzCSVCell(f *testing.F) {
	for _, seed := range []string{"BTCUSDT", "=1+1", `a"b`, "a,b\r\n", "'=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := csv.NewReader(strings.NewReader(string(appendCell(nil, text)) + ",x\n")).ReadAll()
		if err != nil || len(rows) != 1 || len(rows[0]) != 2 {
			t.Fatalf("%q: %q, %v", text, rows, err)
		}
		if cell := rows[0][0]; cell != "" && strings.IndexByte("=+-@\t\r", cell[0]) >= 0 {
			t.Fatalf("%q is run by a spreadsheet as %q", text, cell)
		}
	})
}

func FuzzProblem(f *testing.F) {
	f.Add("detail", "/path", "id", "\xff\"\\")
	f.Fuzz(func(t *testing.T, detail, path, id, pointer string) {
		p := problem{status: 400, code: "invalid_request", detail: detail, pointer: pointer, located: true}
		var doc any
		if err := unmarshal(appendProblem(nil, p, path, id), &doc); err != nil {
			t.Fatal(err)
		}
	})
}

var _ service.Exchange = (*fakeExchange)(nil)
