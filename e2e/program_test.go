package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// buildProgram builds the program as in the image and returns its path.
func buildProgram(t *testing.T, dir string) string {
	t.Helper()
	exe := filepath.Join(dir, "tidemark")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", exe, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return exe
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
