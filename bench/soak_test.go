package bench

import (
	"fmt"
	"testing"
)

func TestNiceStep_IsOneTwoOrFive(t *testing.T) {
	got := ""
	for _, v := range []float64{0.9, 1, 1.2, 2.1, 6, 14} {
		got += fmt.Sprint(niceStep(v), " ")
	}
	if want := "1 1 2 5 10 20 "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
