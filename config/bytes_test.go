package config

import (
	"fmt"
	"testing"
)

func TestByteSize_IsWrittenWithItsUnit(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  Bytes
		again string
	}{
		{"48MiB", 48 << 20, "48MiB"}, {"50331648", 48 << 20, "48MiB"}, {"1.5GiB", 3 << 29, "1536MiB"},
		{"50MB", 50e6, "50000000"}, {"100 KiB", 100 << 10, "100KiB"}, {"7B", 7, "7"}, {"0", noBudget, "0"}, {"0MiB", noBudget, "0"},
	} {
		cfg, err := Load([]string{"MEMORY_BUDGET=" + c.text}, nil, known)
		if err != nil || cfg.MemoryBudget != c.want || cfg.MemoryBudget.String() != c.again {
			t.Errorf("%s is %d, written %s, %v", c.text, cfg.MemoryBudget, cfg.MemoryBudget, err)
		}
	}
	for _, text := range []string{"48m", "48M", "48Mi", "48mib", "-1", "-1MiB", "MiB", "1e300", "NaN", "Inf", "0.5B", "all", "1.1.1MiB"} {
		_, err := Load([]string{"MEMORY_BUDGET=" + text}, nil, known)
		if want := fmt.Sprintf("MEMORY_BUDGET: %q is not a number of bytes such as 48MiB", text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0.0 MiB", 29_884_416: "28.5 MiB", 1<<30 - 1: "1024.0 MiB", 1 << 30: "1.0 GiB", 3 << 29: "1.5 GiB"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
