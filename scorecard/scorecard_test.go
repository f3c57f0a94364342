package scorecard

// This test pins the figures computed from the sums of a scorecard.

import (
	"math"
	"testing"
)

func TestScores_TellSkillAndErrorOfTheirSums(t *testing.T) {
	var s Scores
	if _, _, _, ok := s.Total().Means(); ok {
		t.Error("a score without outcomes has a mean")
	}
	// odds 0.4 for 600 outcomes, 300 of them positive; 0.8 for 400, 320 of them positive
	for i := range 600 {
		s[4].add(0.4, i < 300)
	}
	if _, ok := s.CalibrationError(); ok {
		t.Error("600 outcomes have a calibration error")
	}
	if _, ok := s.Total().Skill(); ok {
		t.Error("600 outcomes have a skill")
	}
	for i := range 400 {
		s[8].add(0.8, i < 320)
	}
	promised, realised, brier, ok := s.Total().Means()
	skill, known := s.Total().Skill()
	calibrationError, hasError := s.CalibrationError()
	missed := (300*0.36 + 300*0.16 + 320*0.04 + 80*0.64) / 1000
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"promised", promised, 0.56}, {"realised", realised, 0.62}, {"Brier score", brier, missed},
		{"skill", skill, 1 - missed/(0.62*0.38)}, {"calibration error", calibrationError, 0.06},
	} {
		if math.Abs(c.got-c.want) > 1e-9 || !ok || !known || !hasError {
			t.Errorf("%s is %v, want %v", c.name, c.got, c.want)
		}
	}
	var same Scores
	for range MinSamples {
		same[9].add(0.99, true)
	}
	if skill, ok := same.Total().Skill(); ok {
		t.Errorf("with only positive outcomes the skill is %v, want none", skill)
	}
}
