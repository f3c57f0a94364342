package config

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a number of bytes, written as "48MiB", "50MB" or "50331648". Zero means that
// no number is given; a 0 that is given is noBudget.
type Bytes int64

const noBudget Bytes = -1

// units are the suffixes of Bytes. Docker's "m" and Kubernetes' "M" differ, so neither
// is one.
var units = []struct {
	suffix string
	bytes  float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Bytes) UnmarshalText(text []byte) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(string(text), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if n *= u.bytes; err != nil || !(n >= 0 && n < 1<<50) || n != math.Trunc(n) {
			break
		}
		*s = cmp.Or(Bytes(n), noBudget)
		return nil
	}
	return fmt.Errorf("%q is not a number of bytes", text)
}

// String returns the number as UnmarshalText reads it.
func (s Bytes) String() string {
	switch {
	case s == 0:
		return ""
	case s == noBudget:
		return "0"
	case s%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", s>>20)
	case s%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", s>>10)
	}
	return strconv.FormatInt(int64(s), 10)
}

// FormatBytes formats n bytes for a person: "28.5 MiB", from 1 GiB on "1.5 GiB".
func FormatBytes(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
