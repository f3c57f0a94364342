package app

import (
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/config"
	"tidemark/exchange/venues"
)

// The markets of one venue behind one address have one budget: the smallest share that is
// set for one of them applies, in any order of EXCHANGE.
func TestOpenVenues_TheSmallestShareOfAnAddressHolds(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  []float64
	}{
		{[]string{"EXCHANGE=okx,okx-swap,binance", "EXCHANGE_OKX_SWAP_WEIGHT_SHARE=0.3"}, []float64{0.3, 0.3, 0.7}},
		{[]string{"EXCHANGE=okx-swap,okx", "EXCHANGE_OKX_SWAP_WEIGHT_SHARE=0.3"}, []float64{0.3, 0.3}},
		{[]string{"EXCHANGE=okx,okx-swap", "EXCHANGE_OKX_SWAP_WEIGHT_SHARE=0.3", "EXCHANGE_OKX_SWAP_EGRESS=other"}, []float64{0.7, 0.3}},
	} {
		cfg, err := config.Load(c.lines, nil, venues.Names())
		if err != nil {
			t.Fatal(err)
		}
		a := &App{Config: cfg, requests: newExchangeMetrics(prometheus.NewRegistry())}
		if err := a.openVenues(slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		for i, v := range a.Venues {
			if v.WeightShare != c.want[i] {
				t.Errorf("%v: the share of %s is %v, want %v", c.lines, v.Name, v.WeightShare, c.want[i])
			}
			v.Close()
		}
	}
}
