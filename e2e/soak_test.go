package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tidemark/command"
)

// These tests pin the soak: every sweep under faults ends complete and leaves a
// sample of memory, goroutines and files, the market's clock runs as fast as it is
// told, and the plot shows what was sampled. That nothing grows is the command's
// own result, at full length; here it is too short to tell.

func TestSoak_SamplesEverySweepAndDrawsThem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plot := filepath.Join(dir, "soak.svg")
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program(t), "soak", "--sweeps", "12", "--pairs", "10",
		"--faults", "500=0.05,short=0.05", "--plot", plot, "--json")
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	var runs []struct {
		Samples []struct {
			Sweep, Goroutines int
			Done              int   `json:"symbols_done"`
			RSS               int64 `json:"rss_bytes"`
			Files             int64 `json:"file_bytes"`
			Heap              int64 `json:"heap_bytes"`
			OpenFiles         int   `json:"open_files"`
		}
	}
	if err := json.Unmarshal(out, &runs); err != nil || len(runs) != 1 || len(runs[0].Samples) != 12 {
		t.Fatalf("%v: %s", err, out)
	}
	for i, s := range runs[0].Samples {
		if s.Sweep != i+1 || s.Done < 10 || s.RSS < 1<<20 || s.Files <= 0 || s.Files >= s.RSS || s.Heap < 1<<20 || s.Goroutines < 10 || s.OpenFiles < 5 {
			t.Errorf("sample %d: %+v", i, s)
		}
	}
	drawn, err := os.ReadFile(plot)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for d := xml.NewDecoder(bytes.NewReader(drawn)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		element, ok := token.(xml.StartElement)
		if !ok || element.Name.Local != "polyline" {
			continue
		}
		lines++
		if n := strings.Count(element.Attr[0].Value, ","); n != 12 {
			t.Errorf("a line has %d points, want 12", n)
		}
	}
	if lines != 3 {
		t.Errorf("%d lines drawn, want one in each of three panels", lines)
	}
}

func TestSoak_SaysWhatItCannotDo(t *testing.T) {
	for _, c := range []struct{ flag, value, want string }{
		{"--setting", "3", "concurrency/batch"}, {"--sweeps", "10", "too few"},
	} {
		var out bytes.Buffer
		err := run(t.Context(), []string{"soak", c.flag, c.value}, nil, &out, &out)
		if command.ExitCode(err, &out) != command.ExitUsage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v", c.flag, c.value, err)
		}
	}
}

func TestSimulate_ItsClockRunsAsFastAsTold(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out := &syncBuffer{}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"simulate", "--addr", "127.0.0.1:0", "--pairs", "1", "--speed", "100000"}, nil, out, out)
	}()
	defer func() { stop(); <-done }()
	base := ""
	for deadline := time.Now().Add(2 * time.Minute); base == ""; time.Sleep(10 * time.Millisecond) {
		if m := regexp.MustCompile(`exchange on (http://\S+)`).FindStringSubmatch(out.String()); m != nil {
			base = m[1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("it did not begin: %s", out)
		}
	}
	var told struct{ ServerTime int64 }
	r := &running{base: base}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if r.get(t, "/api/v3/time", &told); time.UnixMilli(told.ServerTime).After(time.Now().Add(24 * time.Hour)) {
			return // a day has passed in less than a minute
		}
		if time.Now().After(deadline) {
			t.Fatalf("its clock says %v", time.UnixMilli(told.ServerTime))
		}
	}
}
