package exchange

import (
	"strings"
	"testing"

	"tidemark/service"
)

func TestListing_Ticker(t *testing.T) {
	for body, want := range map[string]float64{
		`{"id":"AB","x":{"id":"C"},"volume":"2.5"}`: 2.5,
		`{"volume":2.5,"id":"\u0041B"}`:             2.5,
		`{"id":"AB","volume":null}`:                 0, // no trades
		`{"id":"AB","volume":""}`:                   0,
		`{"id":"AB"}`:                               -1,
		`{"volume":"2.5"}`:                          -1,
		`{"id":"AB","volume":"-2.5"}`:               -1,
		`{"id":"AB","volume":"x"}`:                  -1,
		`{"id":"AB","volume":"2.5"`:                 -1,
	} {
		l := &Listing{volumes: []float64{-1}}
		l.symbols = append(l.symbols, service.Symbol{Name: "AB"})
		s := NewScanner(strings.NewReader(body), nil)
		l.Ticker(s, "id", "last", "volume")
		err := s.End()
		if err == nil {
			err = l.err
		}
		if (err != nil) != (want < 0) || err == nil && l.volumes[0] != want {
			t.Errorf("%s: %v, %v, want %v", body, l.volumes[0], err, want)
		}
	}
}

func TestIsLeveraged(t *testing.T) {
	for base, want := range map[string]bool{
		"BTC3L": true, "ETH5S": true, "1INCH2S": true, "TOMO3L": true, "3L": false, "G3L": false, "BTC": false, "TOOLS": false, "LAS9L": false, "ABC13L": false, "BTC1L": false,
	} {
		if got := IsLeveraged(base); got != want {
			t.Errorf("%s: %v", base, got)
		}
	}
}
