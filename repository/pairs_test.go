package repository

// These tests pin the table of pairs on both databases: only rows that change are written,
// delisted pairs stay, and every spelling finds its pair.

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/service"
)

func listedPairs() []service.Symbol {
	return []service.Symbol{
		{Name: "BTC-USDT", Base: "BTC", Quote: "USDT", Trading: true, Tick: service.Tick{Units: 1, Decimals: 1}},
		{Name: "OLD-USDT", Base: "OLD", Quote: "USDT"},
		{Name: "BTC-USDT-SWAP", Base: "BTC", Quote: "USDT", Settle: "USDT", Trading: true, Digits: 5},
	}
}

func TestPairs_OnlyRowsThatChangeAreWritten(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		first, later := time.UnixMilli(1_000_000), time.UnixMilli(2_000_000)
		listed := listedPairs()
		for i := range 250 { // more than a statement has
			listed = append(listed, service.Symbol{Name: fmt.Sprint("P", i), Base: "P", Quote: fmt.Sprint("Q", i), Trading: true})
		}
		if err := db.PutPairs(t.Context(), "okx", listed, nil, first); err != nil {
			t.Fatal(err)
		}
		written := func() (n int) {
			t.Helper()
			if err := db.read.Get(&n, db.read.Rebind(`SELECT COUNT(*) FROM pairs WHERE delisted_at = ?`), later.UnixMilli()); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if err := db.PutPairs(t.Context(), "okx", listed, nil, later); err != nil {
			t.Fatal(err)
		}
		if n := written(); n != 0 {
			t.Errorf("the same list changes %d rows", n)
		}
		listed[0].Trading, listed[1].Trading, listed[2].Digits = false, true, 4
		if err := db.PutPairs(t.Context(), "okx", listed[:3], []string{"P7", "unknown"}, later); err != nil {
			t.Fatal(err)
		}
		if n := written(); n != 2 {
			t.Errorf("%d pairs are delisted, want the one that stopped trading and the one that is gone", n)
		}
		active, err := db.ActivePairs(t.Context(), "okx")
		if err != nil || len(active) != 2+250-1 || active["BTC-USDT"] || !active["OLD-USDT"] || active["P7"] {
			t.Errorf("%d pairs are active, %v", len(active), err)
		}
		var row struct {
			Digits     int
			DelistedAt *int64 `db:"delisted_at"`
		}
		if err := db.read.Get(&row, `SELECT digits, delisted_at FROM pairs WHERE symbol = 'BTC-USDT-SWAP'`); err != nil || row.Digits != 4 || row.DelistedAt != nil {
			t.Errorf("%+v, %v", row, err)
		}
		if err := db.read.Get(&row, `SELECT digits, delisted_at FROM pairs WHERE symbol = 'OLD-USDT'`); err != nil || row.DelistedAt != nil {
			t.Errorf("a pair that trades again: %+v, %v", row, err)
		}
	})
}

func TestPairs_EverySpellingFindsItsPair(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		binance := []service.Symbol{{Name: "BTCUSDT", Base: "BTC", Quote: "USDT", Trading: true}}
		perps := []service.Symbol{{Name: "kPEPE", Base: "kPEPE", Quote: "USDT", Settle: "USDT", Trading: true}}
		for exchange, listed := range map[string][]service.Symbol{"okx": listedPairs(), "binance": binance, "perps": perps} {
			if err := db.PutPairs(t.Context(), exchange, listed, nil, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct{ exchange, text, want string }{
			{"", "BTC/USDT", "binance BTCUSDT, okx BTC-USDT, okx BTC-USDT-SWAP"}, // whose base and quote are the same
			{"okx", "BTCUSDT", "okx BTC-USDT, okx BTC-USDT-SWAP"},
			{"binance", "btc-usdt", "binance BTCUSDT"},
			{"", "BTC/USDT:USDT", "okx BTC-USDT-SWAP"},
			{"", "BTC-USDT-SWAP", "okx BTC-USDT-SWAP"},
			{"okx", "OLD/USDT", "okx OLD-USDT"},
			{"kraken", "BTC/USDT", ""},
			{"", "BTC", ""},
			{"", "kPEPE/USDT:USDT", "perps kPEPE"}, // an asset with small letters
		} {
			plain := strings.NewReplacer("-", "", "/", "").Replace(strings.ToUpper(c.text))
			found, err := db.FindPairs(t.Context(), c.exchange, service.Spell(c.text, plain))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range found {
				got = append(got, p.Exchange+" "+p.Symbol)
				if p.Active != (p.Base != "OLD") || p.Name == "" || p.Quote != "USDT" {
					t.Errorf("%+v", p)
				}
			}
			slices.Sort(got)
			if strings.Join(got, ", ") != c.want {
				t.Errorf("%q %q finds %v, want %s", c.exchange, c.text, got, c.want)
			}
		}
		// stored analyses have the canonical name
		for _, key := range []service.Key{{Exchange: "okx", Symbol: "BTC-USDT-SWAP", Interval: "1h"}, {Exchange: "kraken", Symbol: "XBTUSD", Interval: "1h"}} {
			want := map[string]string{"okx": "BTC/USDT:USDT"}[key.Exchange]
			asOf := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
			if err := db.Put(t.Context(), service.Results{Snapshots: []service.Snapshot{{Key: key, AsOf: asOf, ComputedAt: asOf}}}); err != nil {
				t.Fatal(err)
			}
			if s, err := db.Snapshot(t.Context(), key, time.Time{}); err != nil || s.Name != want {
				t.Errorf("%v has the name %q, %v", key, s.Name, err)
			}
			for s, err := range db.Latest(t.Context(), key.Exchange, "1h") {
				if err != nil || s.Name != want {
					t.Errorf("%v has the name %q in its market, %v", key, s.Name, err)
				}
			}
		}
		for exchange, want := range map[string]bool{"okx": true, "kraken": false} {
			if has, err := db.HasPairs(t.Context(), exchange); err != nil || has != want {
				t.Errorf("%s has pairs: %v, %v", exchange, has, err)
			}
		}
	})
}
