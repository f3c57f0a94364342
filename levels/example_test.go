package levels_test

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"tidemark/levels"
)

// A market that goes to and fro between 100 and 120 every forty hours.
func tide(n int) *levels.Candles {
	c := new(levels.Candles)
	c.Reset("1h", n)
	price := func(i int) float64 { return 110 - 10*math.Cos(float64(i)*math.Pi/20) }
	for i := range n {
		open, closed := price(i), price(i+1)
		err := c.Append(levels.Candle{
			OpenTime: 1_700_000_000_000/3_600_000*3_600_000 + int64(i)*3_600_000,
			Open:     open, High: max(open, closed) + 0.1, Low: min(open, closed) - 0.1, Close: closed,
			Volume: 50,
		})
		if err != nil {
			fmt.Println(err)
		}
	}
	return c
}

func ExampleFinder_Find() {
	var f levels.Finder // keep it: its memory serves the next series
	a, err := f.Find(tide(491))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("last price %.1f, ATR %.2f\n", a.LastPrice, a.ATR)
	for _, l := range slices.Concat(a.Resistances, a.Supports) {
		if l.Status != levels.Active {
			continue // price has closed through it
		}
		fmt.Printf("%-10s %.1f (%.1f to %.1f), %s, %d touches, %v\n",
			l.Role, l.Price, l.Low, l.High, l.Status, l.Touches, l.Sources.AppendNames(nil))
	}
	// Output:
	// last price 111.6, ATR 1.20
	// resistance 119.9 (119.6 to 120.2), active, 12 touches, [swing volume ends]
	// support    100.1 (99.8 to 100.4), active, 12 touches, [swing poc value_area volume ends]
}

func ExampleCandles_Append() {
	var c levels.Candles
	c.Reset("1h", 2)
	err := c.Append(levels.Candle{OpenTime: 0, Open: 10, High: 9, Low: 11, Close: 10})
	fmt.Println(errors.Is(err, levels.ErrBadCandle), err)
	// Output: true bad candle: high 9 is below low 11
}

func ExampleParseInterval() {
	_, err := levels.ParseInterval("1M")
	fmt.Println(err)
	// Output: unknown interval "1M": one of 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d, 3d, 1w
}
