package service

// These tests pin which pair a name means: exact names before other spellings, traded pairs
// before delisted ones, the choices where several remain, and the exchange's own list where
// no sweep has been planned.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func pairOf(exchange, symbol, name string, active bool) KnownPair {
	assets, settle, _ := strings.Cut(name, ":")
	base, quote, _ := strings.Cut(assets, "/")
	return KnownPair{exchange, symbol, name, base, quote, settle, active}
}

func spell(text string) Spelling {
	return Spell(text, strings.NewReplacer("-", "", "/", "").Replace(strings.ToUpper(text)))
}

func analyzerOf(t *testing.T, s *fakeStore, exchanges ...*fakeExchange) *Analyzer {
	t.Helper()
	var all []Exchange
	for _, x := range exchanges {
		all = append(all, x)
	}
	a := New(Config{Concurrency: 1, KlineLimit: 200, QueueLimit: 1, Interval: "1h", Timeout: time.Minute}, all, s,
		prometheus.NewRegistry(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	t.Cleanup(func() { a.Stop(context.Background()) })
	return a
}

func TestResolve_FindsThePairThatANameMeans(t *testing.T) {
	store := &fakeStore{pairs: []KnownPair{
		pairOf("binance", "BTCUSDT", "BTC/USDT", true),
		pairOf("binance", "OLDUSDT", "OLD/USDT", false),
		pairOf("okx", "BTC-USDT", "BTC/USDT", true),
		pairOf("okx", "ONLY-USDT", "ONLY/USDT", true),
		pairOf("okx", "OLD-USDT", "OLD/USDT", true),
		pairOf("okx-swap", "BTC-USDT-SWAP", "BTC/USDT:USDT", true),
		pairOf("gone", "DOGEUSDT", "DOGE/USDT", true), // of another process
		pairOf("perps", "kPEPE", "kPEPE/USDC:USDC", true),
	}}
	several := analyzerOf(t, store, &fakeExchange{name: "binance"}, &fakeExchange{name: "okx"}, &fakeExchange{name: "okx-swap"})
	one := analyzerOf(t, store, &fakeExchange{name: "okx"})
	for _, c := range []struct {
		a              *Analyzer
		exchange, text string
		want           string // pairs, or the code of the error
	}{
		{several, "", "BTCUSDT", "binance BTCUSDT"},
		{several, "", "BTC-USDT", "okx BTC-USDT"},
		{several, "", "BTC/USDT", "binance BTCUSDT, okx BTC-USDT"},
		{several, "", "btc/usdt", "binance BTCUSDT, okx BTC-USDT"},
		{several, "", "btcusdt", "binance BTCUSDT"},
		{several, "", "BTC/USDT:USDT", "okx-swap BTC-USDT-SWAP"},
		{several, "", "onlyusdt", "okx ONLY-USDT"},
		{several, "", "OLD/USDT", "okx OLD-USDT"}, // the other one is delisted
		{several, "", "DOGEUSDT", "unknown_symbol"},
		{several, "", "NONE", "unknown_symbol"},
		{several, "okx", "BTCUSDT", "okx BTC-USDT"},
		{several, "okx", "BTC/USDT", "okx BTC-USDT"},
		{several, "binance", "OLD/USDT", "binance OLDUSDT"},
		{several, "gone", "DOGE/USDT", "gone DOGEUSDT"},
		{several, "okx-swap", "BTC/USDT", "unknown_symbol"},
		{several, "perps", "kPEPE", "perps kPEPE"},
		{several, "perps", "kPEPE/USDC:USDC", "perps kPEPE"},
		{one, "", "BTC/USDT", "okx BTC-USDT"},
		{one, "", "BTCUSDT", "okx BTC-USDT"},
		{one, "gone", "DOGEUSDT", "gone DOGEUSDT"},
	} {
		p, err := c.a.Resolve(t.Context(), c.exchange, spell(c.text))
		got := p.Exchange + " " + p.Symbol
		var several *AmbiguousError
		switch {
		case errors.As(err, &several):
			var names []string
			for _, p := range several.Choices {
				names = append(names, p.Exchange+" "+p.Symbol)
			}
			got = strings.Join(names, ", ")
			if Code(err) != "ambiguous_symbol" {
				t.Errorf("code %s", Code(err))
			}
		case err != nil:
			got = Code(err)
		}
		if got != c.want {
			t.Errorf("%q %q: %s, want %s (%v)", c.exchange, c.text, got, c.want, err)
		}
	}
}

func TestResolve_AsksTheListWhereNoSweepWasPlanned(t *testing.T) {
	lists := func(name string, ids ...string) *fakeExchange {
		return &fakeExchange{name: name, SymbolFunc: func(_ context.Context, id string) (Symbol, error) {
			if slices.Contains(ids, id) {
				return Symbol{Name: id, Base: "BTC", Quote: "USDT", Trading: true}, nil
			}
			return Symbol{}, fmt.Errorf("%w: %q", ErrUnknownSymbol, id)
		}}
	}
	fails := &fakeExchange{name: "fails", SymbolFunc: func(context.Context, string) (Symbol, error) { return Symbol{}, ErrExchange }}
	planned := &fakeExchange{name: "planned", SymbolFunc: func(context.Context, string) (Symbol, error) {
		t.Error("an exchange whose pairs are known was asked")
		return Symbol{}, ErrExchange
	}}
	store := &fakeStore{pairs: []KnownPair{pairOf("planned", "ETHUSDT", "ETH/USDT", true)}}
	a := analyzerOf(t, store, planned, lists("new", "BTC-USDT"), fails)
	for _, text := range []string{"BTC/USDT", "BTC-USDT", "btc-usdt"} {
		if p, err := a.Resolve(t.Context(), "", spell(text)); err != nil || p != pairOf("new", "BTC-USDT", "BTC/USDT", true) {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
	}
	if _, err := a.Resolve(t.Context(), "", spell("NONE")); !errors.Is(err, ErrExchange) {
		t.Errorf("a pair that the exchange without an answer may have: %v", err)
	}
	if _, err := a.Resolve(t.Context(), "new", spell("NONE")); !errors.Is(err, ErrUnknownSymbol) {
		t.Errorf("a pair that the exchange does not list: %v", err)
	}
}
