// This file pins that the page is complete and safe: well-formed, all shapes inside
// their picture, text escaped, and no request to anywhere.

package evaluate

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
)

func TestHTML_IsOneWellFormedPage(t *testing.T) {
	computes(t)
	o := options(append(Methods(1, nil), promising(1))...)
	r, err := Run(t.Context(), echoes()[:12], o)
	if err != nil {
		t.Fatal(err)
	}
	r.Source, r.Simulated = "<script>alert(1)</script>", true
	r.Failures = append(r.Failures, Failure{"A&B", "bad.csv:7: <nonsense>"})
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, bad := range []string{"NaN", "Inf", "%!", "<script", "http://", "https://", "url(", "@import"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q in the page", bad)
		}
	}
	for _, want := range []string{"SIMULATED", "A&amp;B", "promising: holds", "promising: touches", "tidemark: touches", "prefers-color-scheme: dark"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	d := xml.NewDecoder(strings.NewReader(text))
	seen := map[string]int{}
	var width, height float64
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("line %d: %v", lineOf(text, d.InputOffset()), err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		seen[e.Name.Local]++
		for _, a := range e.Attr {
			if a.Name.Local == "viewBox" {
				if _, err := fmt.Sscanf(a.Value, "0 0 %f %f", &width, &height); err != nil {
					t.Fatal(a.Value, err)
				}
			}
			var limit float64
			switch a.Name.Local {
			case "x", "x1", "x2", "cx":
				limit = width
			case "y", "y1", "y2", "cy":
				limit = height
			default:
				continue
			}
			if v, err := strconv.ParseFloat(a.Value, 64); err != nil || v < 0 || v > limit {
				t.Errorf("<%s %s=%q> lies outside a picture of %v × %v", e.Name.Local, a.Name.Local, a.Value, width, height)
			}
		}
	}
	// lifts, the odds of our levels, those of the walk on them, and the odds of one more
	// method for touches and holds
	if seen["svg"] != 5 || seen["polyline"] != 6 || seen["table"] != 8 {
		t.Errorf("%d pictures, %d curves, %d tables: want 5, 6 and 8", seen["svg"], seen["polyline"], seen["table"])
	}
}

func lineOf(text string, offset int64) int { return 1 + strings.Count(text[:offset], "\n") }

// full is a writer that always fails.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestReport_SaysWhenItCannotBeWritten(t *testing.T) {
	r, err := Run(t.Context(), walks()[:1], options(methods(t, "random")...))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.HTML(full{}); err == nil {
		t.Error("the page went nowhere without an error")
	}
	if err := plainText(r, full{}); err == nil {
		t.Error("the text went nowhere without an error")
	}
}
