package config

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// allExchanges in EXCHANGE stands for every known exchange but the simulated one, and
// autoQuotes in ANALYSIS_QUOTE_ASSETS for the usual quote assets of each exchange.
const (
	allExchanges = "all"
	simulated    = "simulated"
	autoQuotes   = "auto"
)

// Venue holds the settings of one exchange of EXCHANGE.
type Venue struct {
	Name           string
	BaseURL        *url.URL // nil: the exchange's own address
	WeightShare    float64
	Timeout        time.Duration
	Attempts       int
	Egress         string
	QuoteAssets    []string // nil: the usual ones of the exchange; empty: all
	MinQuoteVolume float64
}

// venueSettings are the settings that an exchange may have of its own, in variables such
// as EXCHANGE_OKX_TIMEOUT. The tags are those of Config.
type venueSettings struct {
	BaseURL        string        `env:"BASE_URL" secret:"url" help:"as EXCHANGE_BASE_URL"`
	WeightShare    float64       `env:"WEIGHT_SHARE" min:"0.01" max:"1" help:"as EXCHANGE_WEIGHT_SHARE"`
	Timeout        time.Duration `env:"TIMEOUT" min:"100ms" max:"5m" help:"as EXCHANGE_TIMEOUT"`
	Attempts       int           `env:"ATTEMPTS" min:"1" max:"20" help:"as EXCHANGE_ATTEMPTS"`
	Egress         string        `env:"EGRESS" help:"as EXCHANGE_EGRESS"`
	QuoteAssets    []string      `env:"QUOTE_ASSETS" help:"as ANALYSIS_QUOTE_ASSETS"`
	MinQuoteVolume float64       `env:"MIN_QUOTE_VOLUME" min:"0" help:"as ANALYSIS_MIN_QUOTE_VOLUME"`
}

// VenueVariables describes the settings that an exchange may have of its own. Their names
// lack the prefix, such as EXCHANGE_OKX_.
var VenueVariables = variablesOf(reflect.TypeFor[venueSettings]())

// venuePrefix returns the prefix of the variables of one exchange: EXCHANGE_OKX_SWAP_.
func venuePrefix(exchange string) string {
	return "EXCHANGE_" + strings.ToUpper(strings.ReplaceAll(exchange, "-", "_")) + "_"
}

// ofVenue returns v as the variable of one exchange.
func (v Variable) ofVenue(exchange string) Variable {
	v.Name = venuePrefix(exchange) + v.Name
	return v
}

// everyVariable returns Variables and those of each of the exchanges.
func everyVariable(exchanges []string) []Variable {
	all := slices.Clone(Variables)
	for _, exchange := range exchanges {
		for _, v := range VenueVariables {
			all = append(all, v.ofVenue(exchange))
		}
	}
	return all
}

// Venues returns the settings of the exchanges of EXCHANGE, in this order.
func (c *Config) Venues() []Venue {
	venues := make([]Venue, len(c.Exchanges))
	for i, name := range c.Exchanges {
		venues[i], _ = c.venue(name) // Load has reported an error
	}
	return venues
}

// venue returns the settings of one exchange: the general ones, replaced by its own.
func (c *Config) venue(name string) (Venue, error) {
	s := venueSettings{
		BaseURL: c.ExchangeBaseURL, WeightShare: c.ExchangeWeightShare, Timeout: c.ExchangeTimeout, Attempts: c.ExchangeAttempts,
		Egress: c.ExchangeEgress, QuoteAssets: c.AnalysisQuoteAssets, MinQuoteVolume: c.AnalysisMinQuoteVolume,
	}
	prefix := venuePrefix(name)
	unreadable, err := parse(&s, c.own, prefix)
	if err != nil {
		return Venue{}, err
	}
	for _, v := range VenueVariables {
		of := v.ofVenue(name)
		value, given := c.own[of.Name]
		field := reflect.ValueOf(&s).Elem().FieldByIndex(v.field.Index)
		switch {
		case given && value == "" && v.Type().Kind() == reflect.Slice:
			field.SetZero()
		case given && value == "":
			return Venue{}, fmt.Errorf("%s is empty; leave it out for the setting of all exchanges", of.Name)
		case unreadable[v.field.Name]:
			return Venue{}, fmt.Errorf("%s: %q is not a %s%s", of.Name, of.masked(value), of.kind(), of.bounds())
		}
		if err := of.check(field); err != nil {
			return Venue{}, err
		}
	}
	baseURL, err := parseBaseURL(prefix+"BASE_URL", s.BaseURL)
	if err != nil {
		return Venue{}, err
	}
	quotes, err := quoteAssets(prefix+"QUOTE_ASSETS", s.QuoteAssets)
	if err != nil {
		return Venue{}, err
	}
	if slices.Equal(quotes, []string{autoQuotes}) {
		quotes = nil
	}
	return Venue{
		Name: name, BaseURL: baseURL, WeightShare: s.WeightShare, Timeout: s.Timeout, Attempts: s.Attempts,
		Egress: s.Egress, QuoteAssets: quotes, MinQuoteVolume: s.MinQuoteVolume,
	}, nil
}

// quoteAssets cleans a list of quote assets: empty for all, or auto alone.
func quoteAssets(name string, list []string) ([]string, error) {
	assets := []string{}
	for _, asset := range cleanList(list) {
		if strings.EqualFold(asset, autoQuotes) {
			assets = append(assets, autoQuotes)
		} else {
			assets = append(assets, strings.ToUpper(asset))
		}
	}
	if len(assets) > 1 && slices.Contains(assets, autoQuotes) {
		return nil, fmt.Errorf("%s: %s stands alone", name, autoQuotes)
	}
	return assets, nil
}

// checkExchanges cleans EXCHANGE and checks the settings of every known exchange, also of
// those that another process serves.
func (c *Config) checkExchanges(known []string) error {
	c.Exchanges = cleanList(c.Exchanges)
	switch {
	case len(c.Exchanges) == 0:
		return fmt.Errorf("EXCHANGE names no exchange: there are %s", strings.Join(known, ", "))
	case slices.Equal(c.Exchanges, []string{allExchanges}):
		c.Exchanges = slices.DeleteFunc(slices.Clone(known), func(name string) bool { return name == simulated })
	}
	for i, name := range c.Exchanges {
		switch {
		case name == allExchanges:
			return fmt.Errorf("EXCHANGE: %s stands alone", allExchanges)
		case !slices.Contains(known, name):
			return fmt.Errorf("EXCHANGE: %q is not one of %s%s", name, strings.Join(known, ", "), DidYouMean(name, known))
		case slices.Contains(c.Exchanges[:i], name):
			return fmt.Errorf("EXCHANGE: %s is named twice", name)
		}
	}
	if len(c.Exchanges) > 1 && c.ExchangeBaseURL != "" {
		last := c.Exchanges[len(c.Exchanges)-1]
		return fmt.Errorf("EXCHANGE_BASE_URL is the address of one exchange, and EXCHANGE names %d: set %sBASE_URL for that of %s", len(c.Exchanges), venuePrefix(last), last)
	}
	for _, name := range known {
		if _, err := c.venue(name); err != nil {
			return err
		}
	}
	return nil
}

// ownSettings yields the settings that single exchanges have of their own, as they may be
// printed.
func (c *Config) ownSettings(yield func(name, value string) bool) {
	for _, name := range slices.Sorted(maps.Keys(c.own)) {
		i := slices.IndexFunc(VenueVariables, func(v Variable) bool { return strings.HasSuffix(name, "_"+v.Name) })
		if !yield(name, VenueVariables[i].masked(c.own[name])) {
			return
		}
	}
}
