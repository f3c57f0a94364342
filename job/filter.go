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

// Filter decides which pairs a sweep covers. Pairs of other quote assets and
// pairs not trading are outside the market swept; the other rules skip a pair
// of that market, and the job says which and why.
type Filter struct {
	QuoteAssets     []string // upper case; empty means every quote asset
	MinQuoteVolume  float64  // 24 h, in the quote asset
	KeepLeveraged   bool     // UP, DOWN, BULL, BEAR tokens
	KeepStablePairs bool     // a stable coin or currency against another
}

// Listing is a pair of the exchange and whether a sweep covers it.
type Listing struct {
	service.Symbol
	Selected bool
	Reason   Outcome // why not; zero if selected
}

// Symbols streams the pairs of the exchange and whether a sweep covers them.
// Pairs that may be of a leveraged token come last: whether they are shows only
// once every other pair has been seen.
func (r *Runner) Symbols(ctx context.Context) iter.Seq2[Listing, error] {
	return r.list(ctx, &r.cfg.Filter)
}

// list is Symbols for sweeps with a filter of their own.
func (r *Runner) list(ctx context.Context, filter *Filter) iter.Seq2[Listing, error] {
	return r.judged(r.exchange.Symbols(ctx), filter)
}

// LastSymbols returns what Symbols streams, and when it was read. Where it cannot
// be read now, that is what was read last.
func (r *Runner) LastSymbols(ctx context.Context) (iter.Seq2[Listing, error], time.Time, error) {
	symbols, at, err := r.exchange.LastSymbols(ctx)
	if err != nil {
		return nil, time.Time{}, r.symbolsError(err)
	}
	return r.judged(symbols, &r.cfg.Filter), at, nil
}

func (r *Runner) symbolsError(err error) error {
	return fmt.Errorf("symbols of %s: %w", r.exchange.Market().Exchange, err)
}

func (r *Runner) judged(symbols iter.Seq2[service.Symbol, error], filter *Filter) iter.Seq2[Listing, error] {
	return func(yield func(Listing, error) bool) {
		bases := map[string]bool{}
		judge := func(s service.Symbol) bool {
			reason := filter.judge(s, bases)
			return yield(Listing{Symbol: s, Selected: reason == Outcome{}, Reason: reason}, nil)
		}
		var suspects []service.Symbol
		for s, err := range symbols {
			if err != nil {
				yield(Listing{}, r.symbolsError(err))
				return
			}
			bases[s.Base] = true
			if _, suspect := stem(s.Base); suspect {
				suspects = append(suspects, s)
			} else if !judge(s) {
				return
			}
		}
		for _, s := range suspects {
			if !judge(s) {
				return
			}
		}
	}
}

// The codes of the rules that put a pair outside the market swept. The codes
// of the other rules are skips.
const (
	notTrading = "not_trading"
	quoteAsset = "quote_asset"
)

// judge returns why a sweep leaves s out, or nothing. bases are the base
// assets of the whole exchange.
func (f Filter) judge(s service.Symbol, bases map[string]bool) Outcome {
	out := func(code, format string, args ...any) Outcome {
		return Outcome{Symbol: s.Name, Code: code, Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(f.QuoteAssets) > 0 && !slices.Contains(f.QuoteAssets, s.Quote):
		return out(quoteAsset, "quoted in %s; ANALYSIS_QUOTE_ASSETS is %s", s.Quote, strings.Join(f.QuoteAssets, ","))
	case !s.Trading:
		return out(notTrading, "not open for trading: status %s", s.Status)
	case !f.KeepLeveraged && leveraged(s.Base, bases):
		return out("leveraged", "%s is a leveraged token (ANALYSIS_EXCLUDE_LEVERAGED)", s.Base)
	case !f.KeepStablePairs && stable[s.Base] && stable[s.Quote]:
		return out("stable_pair", "%s and %s both follow a currency (ANALYSIS_EXCLUDE_STABLE_PAIRS)", s.Base, s.Quote)
	case s.QuoteVolume < f.MinQuoteVolume:
		return out("quote_volume", "24 h volume %.0f %s is below ANALYSIS_MIN_QUOTE_VOLUME %.0f", s.QuoteVolume, s.Quote, f.MinQuoteVolume)
	}
	return Outcome{}
}

// leveraged tells BTCUP from JUP: the name without the suffix must be an asset
// the exchange lists.
func leveraged(base string, bases map[string]bool) bool {
	asset, suspect := stem(base)
	return suspect && bases[asset]
}

// stem cuts the suffix of a leveraged token off an asset's name.
func stem(base string) (string, bool) {
	for _, suffix := range [...]string{"UP", "DOWN", "BULL", "BEAR"} {
		if asset, ok := strings.CutSuffix(base, suffix); ok && asset != "" {
			return asset, true
		}
	}
	return "", false
}

// stable holds the coins that follow a currency and the currencies venues list
// as assets: a pair of two of them has a peg for a level and nothing to learn.
var stable = func() map[string]bool {
	set := map[string]bool{}
	for s := range strings.FieldsSeq(`
		USDT USDC FDUSD TUSD BUSD DAI USDP PAX USDS USDSB SUSD USDD USDE USD1 XUSD BFUSD PYUSD RLUSD GUSD LUSD UST USTC VAI
		EURI AEUR EURT BIDR IDRT BVND BKRW NGN BRL TRY EUR GBP AUD JPY RUB UAH ZAR PLN RON ARS MXN COP CZK CHF CAD USD`) {
		set[s] = true
	}
	return set
}()
