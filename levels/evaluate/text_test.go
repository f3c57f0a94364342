// This file pins that the report is readable: its tables contain every method, and
// unknown values are a dash, never a zero or NaN.

package evaluate

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"tidemark/levels"
)

// promising is random levels with odds: the right ones for touches as far as a
// walk goes, and a constant for holds.
func promising(seed uint64) Method {
	return Method{Name: "promising", About: "uniform, <with odds>", New: func() Find {
		find := uniform(seed)
		return func(dst []Price, c *levels.Candles) []Price {
			first := len(dst)
			dst = find(dst, c)
			m, sigma := levels.MomentOf(c), volatility(c)
			for i := range dst[first:] {
				p := &dst[first+i]
				p.ID, p.Touch, p.Hold = uint64(i+1), reflection(m, p.Price, sigma), 0.47
			}
			return dst
		}
	}}
}

// plainText writes the report with its cells two blanks apart.
func plainText(r *Report, w io.Writer) error {
	return r.Text(w, func(caption string) string { return caption }, func(head []string, rows [][]string) error {
		for _, row := range append([][]string{head}, rows...) {
			if _, err := fmt.Fprintln(w, strings.Join(row, "  ")); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestText_ShowsEveryMethodAndNoNumberThatIsNone(t *testing.T) {
	computes(t)
	o := options(append(methods(t, "tidemark", "random"), promising(1))...)
	r, err := Run(t.Context(), walks()[:5], o)
	if err != nil {
		t.Fatal(err)
	}
	r.Source, r.Simulated = "a walk", true
	r.Failures = append(r.Failures, Failure{"BADUSDT", "bad.csv:7: nonsense"})
	var b bytes.Buffer
	if err := plainText(r, &b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if !strings.HasPrefix(text, "SIMULATED a walk 1h: 5 pairs, 104 moments in 11 blocks of 14 days from 2021-") {
		t.Errorf("it begins %.80q", text)
	}
	for _, want := range []string{"bad.csv:7", "promised and observed touches of promising", "promised and observed holds of promising"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, bad := range []string{"NaN", "Inf", "%!"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q in\n%s", bad, text)
		}
	}
	for _, m := range r.MethodsFound {
		if strings.Count(text, m.Name+"  ") < 4 {
			t.Errorf("%s is not in all tables:\n%s", m.Name, text)
		}
	}
}

func TestOdds_AreJudgedWhereAMethodGivesThem(t *testing.T) {
	computes(t)
	_, found := evaluate(t, walks(), options(promising(1)))
	m := found["promising"]
	if m.TouchOdds == nil || m.HoldOdds == nil {
		t.Fatal("no odds")
	}
	// Of a walk, the walk's own odds are nearly true, and equal to the yardstick.
	if !m.TouchOdds.Skill.Above(0.1) || m.TouchOdds.CalibrationError > 0.05 {
		t.Errorf("touch odds: skill %s, calibration error %v", m.TouchOdds.Skill.points(), m.TouchOdds.CalibrationError)
	}
	if math.Abs(float64(m.OverReflection.Value)) > 1e-6 {
		t.Errorf("the yardstick beats itself by %s", m.OverReflection.points())
	}
	// A constant has no skill, and as little error as it is near the base rate.
	o := m.HoldOdds
	if o.Skill.Value > 0 || o.Skill.Value < -0.01 {
		t.Errorf("a constant has a skill of %s", o.Skill.points())
	}
}
