package hyperliquid

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"tidemark/exchange"
)

// entries yields a text, and then entries without end, each with another number.
type entries struct {
	text, format string
	n            int
}

func (e *entries) Read(p []byte) (int, error) {
	if e.text == "" {
		for range 100 {
			e.n++
			e.text += fmt.Sprintf(e.format, e.n)
		}
	}
	n := copy(p, e.text)
	e.text = e.text[n:]
	return n, nil
}

// A list far longer than any real one is refused before much of it is held in memory.
func TestDecodeListing_RefusesAListWithoutEnd(t *testing.T) {
	for _, e := range []entries{
		{text: `[{"universe":[{}`, format: `,{"szDecimals":%d}`},
		{text: `[{"tokens":[{}`, format: `,{"index":%d}`},
		{text: `[{"universe":[]},[{}`, format: `,{"coin":"A%d"}`},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := Spot.DecodeListing(0, exchange.NewScanner(io.LimitReader(&e, 10<<20), nil), new(exchange.Listing))
		runtime.ReadMemStats(&after)
		took := (after.TotalAlloc - before.TotalAlloc) >> 20
		if err == nil || !strings.Contains(err.Error(), "more than 20000 entries") || took > 64 {
			t.Errorf("%s: %d MiB, %v", e.format, took, err)
		}
	}
}
