package exchange

import (
	"fmt"
	"testing"
)

// A body of nothing but new words takes no memory for each of them.
func TestListing_KeepsABoundedNumberOfWords(t *testing.T) {
	var l Listing
	for i := range 10 * maxSymbols {
		if w := l.Word(fmt.Append(nil, "W", i)); w != fmt.Sprint("W", i) {
			t.Fatalf("%q", w)
		}
	}
	if len(l.words) > 2*maxSymbols {
		t.Errorf("%d words are kept", len(l.words))
	}
}
