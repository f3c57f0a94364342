package exchange

import (
	"log/slog"
	"slices"
	"testing"

	"tidemark/service"
)

// Of more series than the connections of an address carry, the first are pushed.
func TestFeed_WantsNoMoreThanAnAddressMayHave(t *testing.T) {
	series := []service.Key{{Symbol: "E"}, {Symbol: "B"}, {Symbol: "D"}, {Symbol: "A"}, {Symbol: "C"}}
	want := []service.Key{{Symbol: "A"}, {Symbol: "B"}, {Symbol: "D"}, {Symbol: "E"}}
	f := &Feed{c: &Client{log: slog.New(slog.DiscardHandler)}, facts: &Stream{Series: 2, Most: 2}, wake: make(chan struct{}, 1)}
	if f.Want(series); !slices.Equal(f.want, want) {
		t.Errorf("%+v", f.want)
	}
}
