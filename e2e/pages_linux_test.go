package e2e

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"tidemark/app"
)

// This test pins that DropPages removes pages of the program file from memory, and that
// the program still works.

func TestDropPages_GivesBackWhatStartingUpTouched(t *testing.T) {
	file := func() int {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		kib, err := strconv.Atoi(string(regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(status)[1]))
		if err != nil {
			t.Fatal(err)
		}
		return kib
	}
	before := file()
	app.DropPages()
	if after := file(); after >= before {
		t.Errorf("%d KiB of files in memory before, %d after", before, after)
	}
	if code, out, errs := execute(t, nil, "version"); code != 0 || out == "" {
		t.Errorf("afterwards: %d %q %q", code, out, errs)
	}
}
