package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// program builds the program as in the image, once, and returns its path. The binary of
// the tests is not it: the race detector takes many times the memory.
func program(t *testing.T) (exe string) {
	t.Helper()
	exe, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tidemark-built-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	exe := filepath.Join(dir, "tidemark")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", exe, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return exe, nil
})

var builtIn string // the folder of built

func TestMain(m *testing.M) {
	flag.Parse()
	// Many of the tests wait most of the time.
	if few, _ := strconv.Atoi(flag.Lookup("test.parallel").Value.String()); few < 6 {
		flag.Set("test.parallel", "6")
	}
	code := m.Run()
	os.RemoveAll(builtIn)
	endChromium()
	os.Exit(code)
}

func TestConfig_ShowsTheEffectiveBudget(t *testing.T) {
	_, out, _ := execute(t, []string{"MEMORY_BUDGET=32MiB"}, "config")
	for _, want := range []string{"MEMORY_BUDGET=32MiB\n", "# memory budget: 32.0 MiB (MEMORY_BUDGET)\n", "replies 1.0 MiB", "each slot of 2000 klines 0.2 MiB"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if _, out, _ = execute(t, []string{"MEMORY_BUDGET=0"}, "config"); !strings.Contains(out, "# memory budget: none\n") {
		t.Errorf("without a budget:\n%s", out)
	}
}
