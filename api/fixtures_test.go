// Inputs the tests of this package share.
package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// quiet turns off what only a test reads, and the limit on requests.
func quiet(c *Config, _ *service.Config) { c.Log = nil }

func newCandles() *levels.Candles {
	c := &levels.Candles{}
	c.Reset("1h", 0)
	return c
}

// klines are n closed hourly candles that end in 1999: the clock of synctest
// begins with the year 2000.
func klines(n int) []levels.Candle {
	list := make([]levels.Candle, n)
	for i := range list {
		list[i] = waves((260000-int64(n-i))*3600_000, 3600_000, 50000)
	}
	return list
}

// klinesBody is the body of POST /analyze with n klines, written by this API's
// own hand or the way exchanges do: strings, and columns nobody asked for.
func klinesBody(n int, asExchange bool) string {
	var b strings.Builder
	b.WriteString(`{"interval":"1h","klines":[`)
	for i, k := range klines(n) {
		if i > 0 {
			b.WriteByte(',')
		}
		if asExchange {
			fmt.Fprintf(&b, `[%d,"%.8f","%.8f","%.8f","%.8f","%.8f",%d,"1.0",12,"0.5","0.5","0"]`,
				k.OpenTime, k.Open, k.High, k.Low, k.Close, k.Volume, k.OpenTime+3599999)
		} else {
			b.Write(appendKline(nil, k))
		}
	}
	b.WriteString("]}")
	return b.String()
}

// snapshot is a stored analysis as of the last close before now, with two
// supports and one resistance.
func snapshot(symbol string, now time.Time) service.Snapshot {
	asOf := now.UTC().Truncate(time.Hour)
	return service.Snapshot{
		Key:  service.Key{Exchange: "simulated", Symbol: symbol, Interval: "1h"},
		AsOf: asOf, ComputedAt: asOf.Add(41207 * time.Millisecond), LastPrice: 100, ATR: 2, Klines: 500, Simulated: true, Algorithm: "1", Decimals: 2,
		Supports: []levels.Level{
			{ID: 0xb1c90d2e4f5a6b7c, Role: levels.Support, Price: 99, Low: 98.5, High: 99.5, Edge: 6.25, DrawnEdge: 5.5, Strength: 0.81234, Touches: 4,
				FirstTouch: asOf.Add(-90 * time.Hour).UnixMilli(), LastTouch: asOf.Add(-9 * time.Hour).UnixMilli(),
				FirstTested: asOf.Add(-200 * time.Hour).UnixMilli(), LastTested: asOf.Add(-8 * time.Hour).UnixMilli(),
				Record:           levels.Record{Tests: 6, Held: 3, Broke: 2, Recent: 0b11011, State: levels.Stood, HeldInRole: 2},
				Replaces:         0x5c2f09a4e1b77d38,
				Sources:          levels.SourceSwing | levels.SourceVolume,
				TouchProbability: 0.8417, HoldProbability: 0.47, HoldInterval: [2]float32{0.4521, 0.4903}, BaselineHold: 0.4495, Samples: 4718},
			{ID: 0x1, Role: levels.Support, Status: levels.Flipped, Price: 95, Low: 94, High: 95.5, Edge: 3.25, DrawnEdge: 3.5, Strength: 0.4, Sources: levels.SourceSwing,
				TouchProbability: 0.5, HoldProbability: 0.44, HoldInterval: [2]float32{0.42, 0.46}, BaselineHold: 0.4312, Samples: 4600},
		},
		Resistances: []levels.Level{
			{ID: 0xa, Role: levels.Resistance, Status: levels.Broken, Price: 103, Low: 102, High: 104, Edge: 4.5, DrawnEdge: 4, Strength: 0.6, Touches: 1,
				FirstTouch: asOf.Add(-5 * time.Hour).UnixMilli(), LastTouch: asOf.Add(-5 * time.Hour).UnixMilli(),
				Record:           levels.Record{State: levels.Unjudged},
				Sources:          levels.SourcePointOfControl,
				TouchProbability: 0.6, HoldProbability: 0.45, HoldInterval: [2]float32{0.43, 0.47}, BaselineHold: 0.4401, Samples: 4690},
		},
	}
}

// market stores analyses of n pairs whose levels all differ a little.
func market(h *harness, n int) {
	var b service.Results
	for i := range n {
		s := snapshot("S"+strconv.Itoa(1000+i)+"USDT", time.Now())
		for _, side := range [][]levels.Level{s.Supports, s.Resistances} {
			for j := range side {
				side[j].ID += uint64(i) << 8
				side[j].Price += float64((i*7919)%97) / 100
				side[j].Strength = float32((i*31+j*17)%100) / 100
				side[j].Edge = 3 + 5*side[j].Strength
			}
		}
		b.Snapshots = append(b.Snapshots, s)
	}
	h.store.Put(context.Background(), b)
}

// slowly makes an exchange wait for a channel before it answers with candles.
func slowly(h *harness, until <-chan struct{}) func(context.Context, string, int64, *levels.Candles) error {
	return func(ctx context.Context, symbol string, from int64, dst *levels.Candles) error {
		select {
		case <-until:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return (&fakeExchange{}).Candles(ctx, symbol, from, dst, nil)
	}
}

type ctx = context.Context

// failing makes an exchange fail.
func failing(err error) func(ctx, string, int64, *levels.Candles) error {
	return func(ctx, string, int64, *levels.Candles) error { return err }
}

// manyKlines is a body with one kline more than are taken.
func manyKlines() string {
	b := []byte(`{"interval":"1m","klines":[[0,1,1,1,1,1]`)
	for i := range int64(service.MaxKlineLimit) {
		b = appendKline(append(b, ','), levels.Candle{OpenTime: (i + 1) * 60_000, Open: 1, High: 1, Low: 1, Close: 1, Volume: 1})
	}
	return string(b) + "]}"
}
