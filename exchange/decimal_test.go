package exchange

// Decimals are parsed to the float64 of strconv, bit for bit, or refused; price
// steps are parsed to exact integers.

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tidemark/service"
)

var grammar = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// checkDecimal compares ParseDecimal with the grammar of JSON and strconv.
func checkDecimal(t interface {
	Fatalf(format string, args ...any)
}, s string) {
	got, err := parseDecimal([]byte(s))
	want, wantErr := strconv.ParseFloat(s, 64)
	if accept := wantErr == nil && grammar.MatchString(s); accept != (err == nil) {
		t.Fatalf("%q: error %v; accepted by grammar and strconv: %v", s, err, accept)
	}
	if err == nil && math.Float64bits(got) != math.Float64bits(want) {
		t.Fatalf("%q is %v (%x), want %v (%x)", s, got, math.Float64bits(got), want, math.Float64bits(want))
	}
}

func TestParseDecimal_IsStrconvBitForBit(t *testing.T) {
	for _, s := range []string{
		"0", "-0", "0.0", "1", "9", "10", "0.1", "0.3", "3701.23000000", "0.00000001", "23741.68703300", "1343961239.70000000",
		"9007199254740991", "9007199254740992", "9007199254740993", "9007199254740993.00000000", "900719925474099.3",
		"1234567890123456789", "9999999999999999999", "18446744073709551615", "18446744073709551616", "99999999999999999999",
		"0.0000000000000000000000000001", "1.7976931348623157e308", "1e309", "4.9e-324", "1e-400", "1e5", "1E-5", "-2.5e+3",
		"1.33088616861891200000000E7", "12345678.12345678", "0.12345678901234567",
		"", "-", "+1", ".5", "1.", "01", "00", "-01", "1e", "1e+", "NaN", "Inf", "-Inf", "0x10", "1_000", " 1", "1 ", "1,5", "1.2.3", "--1", "1.-5",
		"1234567:", "0.1234567/", "0.1234567:",
	} {
		checkDecimal(t, s)
	}
}

func TestParseDecimal_IsStrconvOnGeneratedDecimals(t *testing.T) {
	digits := rapid.StringMatching(`[0-9]{1,24}`)
	rapid.Check(t, func(t *rapid.T) {
		s := digits.Draw(t, "whole")
		if rapid.Bool().Draw(t, "normal") {
			if s = strings.TrimLeft(s, "0"); s == "" {
				s = "0"
			}
		}
		if rapid.Bool().Draw(t, "fraction") {
			s += "." + digits.Draw(t, "decimals")
		}
		if rapid.IntRange(0, 3).Draw(t, "zeros") == 0 {
			s += strings.Repeat("0", rapid.IntRange(0, 8).Draw(t, "how many"))
		}
		if rapid.IntRange(0, 4).Draw(t, "exponent") == 0 {
			s += "e" + strconv.Itoa(rapid.IntRange(-330, 330).Draw(t, "power"))
		}
		checkDecimal(t, s)
	})
}

func TestParseDecimal_ReadsBackEveryFloat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkDecimal(t, strconv.FormatFloat(rapid.Float64().Draw(t, "value"), 'f', -1, 64))
	})
}

func TestScanDecimal_StopsWhereTheNumberEnds(t *testing.T) {
	for s, want := range map[string]int{`12.5",`: 4, `0]`: 1, `1e5x`: 3, `12345678.12345678"`: 17, `x`: 0, ``: 0, `1.x`: 0, `7-`: 1} {
		if _, n := ScanDecimal([]byte(s)); n != want {
			t.Errorf("%q: %d bytes, want %d", s, n, want)
		}
	}
}

func TestParseTick_IsExact(t *testing.T) {
	for s, want := range map[string]service.Tick{
		"0.00050000": {Units: 5, Decimals: 4}, "0.00000100": {Units: 1, Decimals: 6}, "1.00000000": {Units: 1},
		"10.00000000": {Units: 10}, "0.01": {Units: 1, Decimals: 2}, "25": {Units: 25}, "0.00000000": {}, "0": {},
		"0.000000000000000001": {Units: 1, Decimals: 18}, "1e-05": {Units: 1, Decimals: 5}, "2.50E-8": {Units: 25, Decimals: 9}, "0e-7": {}, "5e0": {Units: 5},
	} {
		if got, err := ParseTick([]byte(s)); err != nil || got != want {
			t.Errorf("%q is %+v (%v), want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", ".", "1.", ".1", "-1", "1e5", "1e-", "e-5", "1.e-5", "1e-19", "0.00001e-18", "1.2.3", "x", "999999999999999999999", "0.0000000000000000000000000001"} {
		if got, err := ParseTick([]byte(s)); err == nil {
			t.Errorf("%q is %+v", s, got)
		}
	}
}

func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"0", "3701.23000000", "1343961239.70000000", "9007199254740993", "1e22", "-1.5E-7", "NaN", "1.", "0.1234567:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkDecimal(t, s) })
}

func BenchmarkParseDecimal(b *testing.B) {
	for _, s := range []string{"3701.23000000", "0.00000123", "1343961239.70000000", "12345678901234567890.5"} {
		b.Run(s, func(b *testing.B) {
			in := []byte(s)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parseDecimal(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// parseDecimal is ScanDecimal for a decimal that fills all of b.
func parseDecimal(b []byte) (float64, error) {
	if f, n := ScanDecimal(b); n > 0 && n == len(b) {
		return f, nil
	}
	return 0, fmt.Errorf("%.40q is not a finite decimal number", b)
}
