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

// Without small areas the kernel maps up to 64 KiB of the file around every page fault.
func TestDropPages_AFaultMapsLittle(t *testing.T) {
	app.DropPages()
	status, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	areas, most := 0, 0
	for _, m := range regexp.MustCompile(`(?m)^[0-9a-f]+-[0-9a-f]+ r-xp .* `+regexp.QuoteMeta(program)+`\nSize: +(\d+) kB`).FindAllSubmatch(status, -1) {
		size, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		areas, most = areas+1, max(most, size)
	}
	if areas < 100 || most > 8 {
		t.Errorf("the code is in %d areas of at most %d KiB", areas, most)
	}
}
