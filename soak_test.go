package main

// These tests pin the soak: every sweep under faults ends complete and leaves a
// sample of memory, goroutines and files, the market's clock runs as fast as it is
// told, and the plot shows what was sampled. That nothing grows is the command's
// own result, at full length; here it is too short to tell.

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSoak_SamplesEverySweepAndDrawsThem(t *testing.T) {
	dir := t.TempDir()
	plot := filepath.Join(dir, "soak.svg")
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), buildProgram(t, dir), "soak", "--sweeps", "12", "--pairs", "10",
		"--faults", "500=0.05,short=0.05", "--plot", plot, "--json")
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	var runs []soakRun
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
		if exitCode(err, &out) != exitUsage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v", c.flag, c.value, err)
		}
	}
}

func TestSimulate_ItsClockRunsAsFastAsTold(t *testing.T) {
	dir := t.TempDir()
	b := &bencher{exe: buildProgram(t, dir), dir: dir}
	p, err := b.start(t.Context(), "simulate", "--addr", "127.0.0.1:0", "--pairs", "1", "--speed", "100000")
	if err != nil {
		t.Fatal(err)
	}
	defer p.end()
	var told struct{ ServerTime int64 }
	r := &running{base: p.base}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if r.get(t, "/api/v3/time", &told); time.UnixMilli(told.ServerTime).After(time.Now().Add(24 * time.Hour)) {
			return // a day has passed in less than a minute
		}
		if time.Now().After(deadline) {
			t.Fatalf("its clock says %v", time.UnixMilli(told.ServerTime))
		}
	}
}

func TestNiceStep_IsOneTwoOrFive(t *testing.T) {
	got := ""
	for _, v := range []float64{0.9, 1, 1.2, 2.1, 6, 14} {
		got += fmt.Sprint(niceStep(v), " ")
	}
	if want := "1 1 2 5 10 20 "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
