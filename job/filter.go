package job

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"tidemark/service"
)

// Filter decides which pairs a sweep covers. Pairs with other quote assets and pairs
// that are not trading are outside the market of the sweep. The other rules skip pairs
// of that market; the job lists each of them with the reason.
type Filter struct {
	QuoteAssets     []string // upper case; empty means every quote asset
	MinQuoteVolume  float64  // 24 h, in the quote asset
	KeepLeveraged   bool     // UP, DOWN, BULL, BEAR tokens
	KeepStablePairs bool     // pairs of two stable coins or currencies
}

// Listing is a pair of the exchange and whether a sweep covers it.
type Listing struct {
	service.Symbol
	Selected bool
	Reason   Outcome // why not; zero if selected
}

// Symbols streams the pairs of an exchange and whether a sweep covers them. Pairs
// whose base may be a leveraged token come last, because the decision needs the base
// assets of all other pairs.
func (r *Runner) Symbols(ctx context.Context, exchange string) iter.Seq2[Listing, error] {
	x, err := r.exchange(exchange)
	if err != nil {
		return func(yield func(Listing, error) bool) { yield(Listing{}, err) }
	}
	return filtered(x, x.Symbols(ctx), r.filter(x))
}

// LastSymbols returns the stream of Symbols and the time at which it was read. If it
// cannot be read now, LastSymbols returns the last one that was read.
func (r *Runner) LastSymbols(ctx context.Context, exchange string) (iter.Seq2[Listing, error], time.Time, error) {
	x, err := r.exchange(exchange)
	if err != nil {
		return nil, time.Time{}, err
	}
	symbols, at, err := x.LastSymbols(ctx)
	if err != nil {
		return nil, time.Time{}, symbolsError(x, err)
	}
	return filtered(x, symbols, r.filter(x)), at, nil
}

func symbolsError(x Exchange, err error) error {
	return fmt.Errorf("symbols of %s: %w", x.Market().Exchange, err)
}

func filtered(x Exchange, symbols iter.Seq2[service.Symbol, error], filter *Filter) iter.Seq2[Listing, error] {
	return func(yield func(Listing, error) bool) {
		bases := map[string]bool{}
		emit := func(s service.Symbol) bool {
			reason := filter.reject(s, bases)
			return yield(Listing{Symbol: s, Selected: reason == Outcome{}, Reason: reason}, nil)
		}
		var suspects []service.Symbol
		for s, err := range symbols {
			if err != nil {
				yield(Listing{}, symbolsError(x, err))
				return
			}
			bases[s.Base] = true
			if _, suspect := stem(s.Base); suspect {
				suspects = append(suspects, s)
			} else if !emit(s) {
				return
			}
		}
		for _, s := range suspects {
			if !emit(s) {
				return
			}
		}
	}
}

// The codes of the rules that put a pair outside the market of the sweep. A pair
// rejected by another rule is skipped.
const (
	notTrading = "not_trading"
	quoteAsset = "quote_asset"
)

// reject returns why a sweep excludes s, or the zero Outcome. bases are the base assets
// of the whole exchange.
func (f Filter) reject(s service.Symbol, bases map[string]bool) Outcome {
	out := func(code, format string, args ...any) Outcome {
		return Outcome{Symbol: s.Name, Code: code, Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(f.QuoteAssets) > 0 && !slices.Contains(f.QuoteAssets, s.Quote):
		return out(quoteAsset, "quoted in %s; sweeps cover %s (ANALYSIS_QUOTE_ASSETS)", s.Quote, strings.Join(f.QuoteAssets, ","))
	case !s.Trading:
		return out(notTrading, "not open for trading: status %s", s.Status)
	case !f.KeepLeveraged && leveraged(s.Base, bases):
		return out("leveraged", "%s is a leveraged token (ANALYSIS_EXCLUDE_LEVERAGED)", s.Base)
	case s.Unusual == service.Leveraged && !f.KeepLeveraged:
		return out(string(s.Unusual), "the exchange lists %s as a leveraged token (ANALYSIS_EXCLUDE_LEVERAGED)", s.Base)
	case s.Unusual == service.Stock:
		return out(string(s.Unusual), "%s is an asset of a traditional market, which closes", s.Base)
	case s.Unusual == service.PreListing:
		return out(string(s.Unusual), "%s is traded before it is listed", s.Base)
	case s.Unusual == service.Dated:
		return out(string(s.Unusual), "the contract expires")
	case !f.KeepStablePairs && stable[s.Base] && stable[s.Quote]:
		return out("stable_pair", "%s and %s both follow a currency (ANALYSIS_EXCLUDE_STABLE_PAIRS)", s.Base, s.Quote)
	case s.QuoteVolume < f.MinQuoteVolume:
		return out("quote_volume", "24 h volume %.0f %s is below ANALYSIS_MIN_QUOTE_VOLUME %.0f", s.QuoteVolume, s.Quote, f.MinQuoteVolume)
	}
	return Outcome{}
}

// leveraged reports whether base is a leveraged token: the name without its suffix must
// be an asset that the exchange lists. So BTCUP is one and JUP is not.
func leveraged(base string, bases map[string]bool) bool {
	asset, suspect := stem(base)
	return suspect && bases[asset]
}

// stem returns the name of an asset without the suffix of a leveraged token.
func stem(base string) (string, bool) {
	for _, suffix := range [...]string{"UP", "DOWN", "BULL", "BEAR"} {
		if asset, ok := strings.CutSuffix(base, suffix); ok && asset != "" {
			return asset, true
		}
	}
	return "", false
}

// stable holds the coins that follow a currency, and the currencies that venues list
// as assets. The price of a pair of two of them stays at a peg.
var stable = func() map[string]bool {
	set := map[string]bool{}
	for s := range strings.FieldsSeq(`
		USDT USDC FDUSD TUSD BUSD DAI USDP PAX USDS USDSB SUSD USDD USDE USD1 XUSD BFUSD PYUSD RLUSD GUSD LUSD UST USTC VAI
		EURI AEUR EURT BIDR IDRT BVND BKRW NGN BRL TRY EUR GBP AUD JPY RUB UAH ZAR PLN RON ARS MXN COP CZK CHF CAD USD`) {
		set[s] = true
	}
	return set
}()
