// This file pins the words levels are described in: they are part of the HTTP
// contract and of what is stored.

package levels

import (
	"slices"
	"testing"
)

func TestSources_NamesComeInAFixedOrder(t *testing.T) {
	for _, test := range []struct {
		sources Sources
		want    []string
	}{
		{0, nil},
		{SourceSwing, []string{"swing"}},
		{SourceVolume | SourceSwing, []string{"swing", "volume"}},
		{SourceSwing | SourcePointOfControl | SourceValueArea | SourceVolume, []string{"swing", "poc", "value_area", "volume"}},
	} {
		if got := test.sources.AppendNames(nil); !slices.Equal(got, test.want) {
			t.Errorf("%b: %v, want %v", test.sources, got, test.want)
		}
	}
	if got := SourceSwing.AppendNames([]string{"before"}); !slices.Equal(got, []string{"before", "swing"}) {
		t.Errorf("AppendNames does not append: %v", got)
	}
}

func TestRoleAndStatus_Words(t *testing.T) {
	if Support.String() != "support" || Resistance.String() != "resistance" {
		t.Errorf("%v, %v", Support, Resistance)
	}
	if Active.String() != "active" || Broken.String() != "broken" || Flipped.String() != "flipped" {
		t.Errorf("%v, %v, %v", Active, Broken, Flipped)
	}
}
