// Package config reads the settings of the program: environment variables, flags of
// the same names and files that hold secrets. Every setting has a default and a range.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v10"
	"github.com/spf13/pflag"

	"tidemark/levels"
)

// Config holds every setting of tidemark. Each field is an environment variable
// and a flag of the same name. The tags min and max are inclusive bounds, oneof
// lists the valid values, and secret masks the value wherever it is printed and
// allows a variable …_FILE that names a file with the value.
type Config struct {
	AnalysisConcurrency        int             `env:"ANALYSIS_CONCURRENCY" envDefault:"3" min:"1" max:"256" help:"pairs of each exchange analysed at once; each needs its own workspace"`
	AnalysisBatchSize          int             `env:"ANALYSIS_BATCH_SIZE" envDefault:"20" min:"1" max:"1000" help:"pairs stored in one transaction"`
	AnalysisKlineLimit         int             `env:"ANALYSIS_KLINE_LIMIT" envDefault:"2000" min:"100" max:"10000" help:"closed candles one analysis uses"`
	AnalysisInterval           levels.Interval `env:"ANALYSIS_INTERVAL" envDefault:"1h" help:"candle length, unless a request names another"`
	AnalysisQuoteAssets        []string        `env:"ANALYSIS_QUOTE_ASSETS" envDefault:"auto" help:"quote assets a sweep covers, separated by commas; auto: the usual ones of each exchange, such as USDT; empty for all"`
	AnalysisMinQuoteVolume     float64         `env:"ANALYSIS_MIN_QUOTE_VOLUME" envDefault:"0" min:"0" help:"minimum 24 h volume of a pair, in its quote asset"`
	AnalysisExcludeLeveraged   bool            `env:"ANALYSIS_EXCLUDE_LEVERAGED" envDefault:"true" help:"leave out leveraged tokens (BTCUP, ETHDOWN)"`
	AnalysisExcludeStablePairs bool            `env:"ANALYSIS_EXCLUDE_STABLE_PAIRS" envDefault:"true" help:"leave out pairs of two coins or currencies that follow a currency"`
	AnalysisQueueLimit         int             `env:"ANALYSIS_QUEUE_LIMIT" envDefault:"100" min:"1" max:"10000" help:"requests of each exchange that may wait for a slot, and jobs of each that may be open; beyond it the answer is 503"`
	AnalysisTimeout            time.Duration   `env:"ANALYSIS_TIMEOUT" envDefault:"30s" min:"1s" max:"10m" help:"time limit of one analysis requested on its own, waiting included"`
	AnalysisSchedule           string          `env:"ANALYSIS_SCHEDULE" help:"when sweeps begin without a request: a duration such as 1h or 4h, or five cron fields in UTC such as 0 */4 * * *; empty: never"`
	AnalysisIntervals          []string        `env:"ANALYSIS_INTERVALS" help:"candle lengths that ANALYSIS_SCHEDULE sweeps and ANALYSIS_LIVE keeps, separated by commas; empty: ANALYSIS_INTERVAL alone"`
	AnalysisLive               bool            `env:"ANALYSIS_LIVE" envDefault:"true" help:"serve analyses the pairs of a sweep whenever a candle of ANALYSIS_INTERVALS closes, pushed by the exchange or asked for"`
	AnalysisHistory            int             `env:"ANALYSIS_HISTORY" envDefault:"200" min:"1" max:"10000" help:"analyses kept for each pair and interval"`

	LevelsMinEdge float64 `env:"LEVELS_MIN_EDGE" envDefault:"3" min:"0" max:"20" help:"edge, in points, from which levels are shown unless a request says otherwise; the others are faint"`

	Exchanges           []string      `env:"EXCHANGE" envDefault:"binance" help:"where klines come from: names of exchanges, separated by commas; all: every one but simulated. Settings of one exchange, such as EXCHANGE_OKX_TIMEOUT, replace the general ones"`
	ExchangeBaseURL     string        `env:"EXCHANGE_BASE_URL" secret:"url" help:"overrides the exchange's own address: a mirror, a proxy, a simulated exchange; for one exchange only"`
	ExchangeWeightShare float64       `env:"EXCHANGE_WEIGHT_SHARE" envDefault:"0.7" min:"0.01" max:"1" help:"share of the exchange's request limit to stay under"`
	ExchangeEgress      string        `env:"EXCHANGE_EGRESS" help:"name of the address the exchange sees this process under; processes on one database with the same name, or none, share a ban"`
	ExchangeTimeout     time.Duration `env:"EXCHANGE_TIMEOUT" envDefault:"10s" min:"100ms" max:"5m" help:"time of one request to the exchange"`
	ExchangeAttempts    int           `env:"EXCHANGE_ATTEMPTS" envDefault:"6" min:"1" max:"20" help:"attempts of one request whose failures may be temporary"`
	ExchangePairs       int           `env:"EXCHANGE_SIMULATED_PAIRS" envDefault:"500" min:"1" max:"5000" help:"healthy pairs of the built-in simulated exchange"`
	ExchangeSeed        uint64        `env:"EXCHANGE_SIMULATED_SEED" envDefault:"1" help:"seed of the market of the built-in simulated exchange"`

	PricesEvery time.Duration `env:"PRICES_EVERY" envDefault:"10s" min:"0s" max:"10m" help:"how often the last prices of all pairs are read from each exchange, for the distances and roles between closes: from 1s on; 0: never"`

	SecretsKey        string        `env:"SECRETS_KEY" secret:"all" help:"key that encrypts the settings of receivers of messages: 32 bytes in base64 or hex; several, separated by commas, to replace the first; empty: no messages"`
	MCPRules          bool          `env:"MCP_RULES" help:"let agents at POST /mcp list, preview, create and delete rules; they only send to receivers that exist"`
	PublicURL         string        `env:"PUBLIC_URL" help:"address of this service for people, such as https://levels.example.org: messages link to the page, the picture and the explanation of their level"`
	RulesFile         string        `env:"RULES_FILE" help:"JSON file with receivers, rules, watchlists and silences, read at the start; they replace those of the file before"`
	ReceiversAllow    []string      `env:"RECEIVERS_ALLOW" help:"networks beyond the public internet to which messages may be sent, such as 10.1.0.0/16, separated by commas; private: loopback and private ones"`
	DeliveryRetention time.Duration `env:"DELIVERY_RETENTION" envDefault:"168h" min:"1h" max:"8760h" help:"time after which a message that was delivered or given up is deleted"`

	Role         string        `env:"ROLE" envDefault:"all" oneof:"all api worker" help:"what serve does: all; api answers requests and leaves jobs to others; worker works on jobs, and serves only its health and metrics"`
	JobRetention time.Duration `env:"JOB_RETENTION" envDefault:"168h" min:"1h" max:"87600h" help:"time after which a job that has ended is deleted; its analyses stay"`

	EventsKeep time.Duration `env:"EVENTS_KEEP" envDefault:"720h" min:"1h" max:"87600h" help:"time after which an event is deleted"`
	EventsMax  int           `env:"EVENTS_MAX" envDefault:"200000" min:"1000" max:"100000000" help:"events kept, about 1.5 KB each; beyond it the oldest are deleted"`

	DatabaseURL   string `env:"DATABASE_URL" envDefault:"sqlite://tidemark.db" secret:"url" help:"sqlite://FILE or postgres://USER:PASSWORD@HOST/NAME"`
	DBPoolSize    int    `env:"DB_POOL_SIZE" envDefault:"5" min:"1" max:"1000" help:"PostgreSQL connections kept open"`
	DBMaxOverflow int    `env:"DB_MAX_OVERFLOW" envDefault:"10" min:"0" max:"1000" help:"PostgreSQL connections opened beyond the pool under load"`
	DBPoolRecycle int    `env:"DB_POOL_RECYCLE" envDefault:"3600" min:"1" max:"604800" help:"seconds after which a PostgreSQL connection is replaced"`
	DBPoolPrePing bool   `env:"DB_POOL_PRE_PING" envDefault:"true" help:"test a PostgreSQL connection before it is used again"`

	MemoryBudget Bytes `env:"MEMORY_BUDGET" help:"memory the process may take, such as 48MiB; empty: 90 % of the cgroup's limit, if it has one; 0: no limit"`

	HTTPAddr       string        `env:"HTTP_ADDR" envDefault:"127.0.0.1:8080" help:"address to serve on"`
	HTTPHosts      []string      `env:"HTTP_ALLOWED_HOSTS" help:"host names of the service, separated by commas, in addition to addresses and localhost; without API_KEYS requests for other names are refused"`
	HTTPOrigins    []string      `env:"HTTP_CORS_ORIGINS" help:"origins whose pages may use the service from a browser, such as https://charts.example.org, separated by commas; *: every one, with API_KEYS only"`
	HTTPRateLimit  float64       `env:"HTTP_RATE_LIMIT" envDefault:"100" min:"0" max:"1000000" help:"requests a second each key may make, or without keys each client address but the loopback; 0 for no limit"`
	HTTPCacheBytes int64         `env:"HTTP_CACHE_BYTES" envDefault:"2097152" min:"0" max:"1073741824" help:"bytes of encoded replies kept in memory"`
	HTTPMaxConns   int           `env:"HTTP_MAX_CONNECTIONS" envDefault:"0" min:"0" max:"1000000" help:"client connections at once; 0: what the memory budget has room for, 4096 without one; always fewer than files may be open"`
	APIKeys        []string      `env:"API_KEYS" secret:"all" help:"keys clients must present, separated by commas; empty for none"`
	AllowAnonymous bool          `env:"ALLOW_ANONYMOUS" envDefault:"false" help:"serve without keys, profiles included, on an address others can reach"`
	DebugAddr      string        `env:"DEBUG_ADDR" help:"address for /debug/pprof; empty: off"`
	StopTimeout    time.Duration `env:"STOP_TIMEOUT" envDefault:"30s" min:"1s" max:"1h" help:"time that work under way has to finish when the process stops"`

	LogLevel  slog.Level `env:"LOG_LEVEL" envDefault:"INFO" help:"DEBUG, INFO, WARN or ERROR"`
	LogFormat string     `env:"LOG_FORMAT" envDefault:"text" oneof:"text json" help:"how log lines are written"`

	own   map[string]string // the variables of single exchanges that are set
	files map[string]string // the files of secrets, by variable
}

// Load reads the environment ("NAME=value" lines) and then the flags that are set,
// which win. A name that looks like a setting but is not one, and a value that is
// not valid, are errors of one sentence that names the variable. Of several such
// values the first in the order of Config is reported. exchanges are the names of all
// exchanges that EXCHANGE may list.
func Load(environ []string, flags *pflag.FlagSet, exchanges []string) (Config, error) {
	values, files, err := collect(environ, flags, exchanges)
	if err != nil {
		return Config{}, err
	}
	c := Config{files: files}
	unreadable, err := parse(&c, values, "")
	if err != nil {
		return Config{}, err
	}
	for _, v := range Variables {
		field := reflect.ValueOf(&c).Elem().FieldByIndex(v.field.Index)
		value, given := values[v.Name]
		// env replaces an empty value by the default, which would turn "all quote
		// assets" into USDT and hide a variable that lost its value.
		emptied := given && value == "" && v.Default != ""
		switch {
		case emptied && v.Type().Kind() == reflect.Slice:
			field.SetZero()
		case emptied:
			return Config{}, fmt.Errorf("%s is empty; leave it out for its default %s", v.Name, v.Default)
		case unreadable[v.field.Name]:
			return Config{}, fmt.Errorf("%s: %q is not a %s%s", v.Name, v.masked(value), v.kind(), v.bounds())
		}
		if err := v.check(field); err != nil {
			return Config{}, err
		}
	}
	for _, v := range Variables {
		delete(values, v.Name)
	}
	c.own = values
	if err := c.check(exchanges); err != nil {
		return Config{}, err
	}
	return c, nil
}

// collect returns the value of every variable that has one: from a flag, the
// environment or the file of a secret. It also returns the files whose values count.
func collect(environ []string, flags *pflag.FlagSet, exchanges []string) (values, files map[string]string, err error) {
	variables := everyVariable(exchanges)
	names := namesOf(variables)
	values = map[string]string{}
	for _, line := range environ {
		name, value, ok := strings.Cut(line, "=")
		if !ok || name == "" {
			continue
		}
		known, err := recognise(name, value, names)
		if err != nil {
			return nil, nil, err
		}
		if known {
			values[name] = value
		}
	}
	if files, err = readSecretFiles(values, variables); err != nil {
		return nil, nil, err
	}
	for _, v := range Variables {
		if flags == nil {
			break
		}
		if f := flags.Lookup(v.Flag()); f != nil && f.Changed {
			values[v.Name] = f.Value.String()
			delete(files, v.Name)
		}
	}
	for name, value := range values {
		values[name] = strings.TrimSpace(value)
	}
	return values, files, nil
}

// readSecretFiles takes a secret from the file its …_FILE variable names, and returns the
// files by variable.
func readSecretFiles(values map[string]string, variables []Variable) (files map[string]string, err error) {
	files = map[string]string{}
	for _, v := range variables {
		file, ok := values[v.Name+"_FILE"]
		if v.Secret == "" || !ok {
			continue
		}
		delete(values, v.Name+"_FILE")
		if _, both := values[v.Name]; both {
			return nil, fmt.Errorf("%s and %s_FILE are both set; one of them must go", v.Name, v.Name)
		}
		files[v.Name] = file
		if values[v.Name], err = readSecret(v.Name, file); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// readSecret reads the file of a secret: one key a line is how such files are often
// written.
func readSecret(name, file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", ","), nil
}

// ReadKeys reads the file of API_KEYS_FILE again; given is false without one. Its errors
// are those of Load: a key that is too short, or none.
func (c *Config) ReadKeys() (keys []string, given bool, err error) {
	text, given, err := c.readAgain(apiKeys)
	if err == nil && given {
		keys, err = c.checkKeys(strings.Split(text, ","))
	}
	return keys, given, err
}

// ReadSecretsKey reads the file of SECRETS_KEY_FILE again; given is false without one.
func (c *Config) ReadSecretsKey() (key string, given bool, err error) { return c.readAgain(secretsKey) }

func (c *Config) readAgain(name string) (text string, given bool, err error) {
	file, given := c.files[name]
	if given {
		text, err = readSecret(name, file)
	}
	return text, given, err
}

// The variables whose files are read again.
const (
	apiKeys    = "API_KEYS"
	secretsKey = "SECRETS_KEY"
)

// checkKeys cleans the list of keys and refuses short ones, and a file without any, which
// would open the service.
func (c *Config) checkKeys(keys []string) ([]string, error) {
	keys = cleanList(keys)
	for _, k := range keys {
		if len(k) < 16 {
			return nil, fmt.Errorf("API_KEYS: a key of %d characters can be guessed; use at least 16", len(k))
		}
	}
	if file := c.files[apiKeys]; file != "" && len(keys) == 0 {
		return nil, fmt.Errorf("API_KEYS_FILE: %s has no key", file)
	}
	return keys, nil
}

// parse sets the fields of the struct that into points to. It returns the names of those
// whose values cannot be read as their types; env reads all fields and reports every such
// value.
func parse(into any, values map[string]string, prefix string) (unreadable map[string]bool, err error) {
	err = env.ParseWithOptions(into, env.Options{Environment: values, Prefix: prefix})
	var all env.AggregateError
	if err != nil && !errors.As(err, &all) {
		return nil, err
	}
	unreadable = map[string]bool{}
	for _, err := range all.Errors {
		var field env.ParseError
		if !errors.As(err, &field) {
			return nil, err // a tag or a type that env does not support
		}
		unreadable[field.Name] = true
	}
	return unreadable, nil
}

// check cleans the lists and makes the checks that the tags cannot express.
func (c *Config) check(exchanges []string) (err error) {
	if _, err := levels.ParseInterval(string(c.AnalysisInterval)); err != nil {
		return fmt.Errorf("ANALYSIS_INTERVAL: %w", err)
	}
	if c.AnalysisIntervals = cleanList(c.AnalysisIntervals); len(c.AnalysisIntervals) == 0 {
		c.AnalysisIntervals = []string{string(c.AnalysisInterval)}
	}
	if _, err := c.Schedules(); err != nil {
		return err
	}
	if c.AnalysisQuoteAssets, err = quoteAssets("ANALYSIS_QUOTE_ASSETS", c.AnalysisQuoteAssets); err != nil {
		return err
	}
	if _, err := parseBaseURL("EXCHANGE_BASE_URL", c.ExchangeBaseURL); err != nil {
		return err
	}
	if err := c.checkExchanges(exchanges); err != nil {
		return err
	}
	if c.PricesEvery > 0 && c.PricesEvery < time.Second {
		return fmt.Errorf("PRICES_EVERY: %s is neither 0 nor at least 1s", c.PricesEvery)
	}
	c.ReceiversAllow = cleanList(c.ReceiversAllow)
	for _, s := range c.ReceiversAllow {
		if _, err := netip.ParsePrefix(s); err != nil && s != privateNetworks {
			return fmt.Errorf("RECEIVERS_ALLOW: %q is neither a network such as 10.1.0.0/16 nor private", s)
		}
	}
	if c.APIKeys, err = c.checkKeys(c.APIKeys); err != nil {
		return err
	}
	c.HTTPHosts = cleanList(c.HTTPHosts)
	for i, name := range c.HTTPHosts {
		name = strings.ToLower(name)
		if u, err := url.Parse("http://" + name); err != nil || u.Host != name || strings.Contains(name, "*") {
			return fmt.Errorf("HTTP_ALLOWED_HOSTS: %q is not a host name such as levels.example.org", name)
		}
		c.HTTPHosts[i] = name
	}
	c.HTTPOrigins = cleanList(c.HTTPOrigins)
	for i, origin := range c.HTTPOrigins {
		origin = strings.ToLower(origin)
		u, err := url.Parse(origin)
		switch {
		case origin == anyOrigin && len(c.APIKeys) == 0:
			return errors.New("HTTP_CORS_ORIGINS: * without API_KEYS would open the service to every page in the browsers of its network; name the origins, or set keys")
		case origin != anyOrigin && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || origin != u.Scheme+"://"+u.Host || strings.Contains(origin, "*")):
			return fmt.Errorf("HTTP_CORS_ORIGINS: %q is not an origin such as https://charts.example.org", origin)
		}
		c.HTTPOrigins[i] = origin
	}
	if c.PublicURL = strings.TrimRight(c.PublicURL, "/"); c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || len(c.PublicURL) > 200 ||
			strings.ContainsFunc(c.PublicURL, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`?#<>|"`, r) }) {
			return fmt.Errorf("PUBLIC_URL: %q is not an address such as https://levels.example.org", c.PublicURL)
		}
	}
	if err := checkAddress("HTTP_ADDR", c.HTTPAddr); err != nil || c.DebugAddr == "" {
		return err
	}
	return checkAddress("DEBUG_ADDR", c.DebugAddr)
}

// anyOrigin is a value of HTTP_CORS_ORIGINS.
const anyOrigin = "*"

// cleanList returns the items without the spaces around them, and no empty ones.
func cleanList(list []string) []string {
	var out []string
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// checkAddress refuses an address that no process could listen on.
func checkAddress(name, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return fmt.Errorf("%s: %q is not an address such as 127.0.0.1:8080", name, addr)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%s: %q is not a port; there are 0 to 65535", name, port)
	}
	return nil
}

// parseBaseURL reads the address of an exchange, nil if it is empty: the exchange's own.
// It is http or https, its path comes before those of the API, and it may hold a user and
// a password for Basic authentication. The errors name the variable and do not show the
// password.
func parseBaseURL(name, text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil: // which quotes the text
		return nil, errors.New(name + ": not an http or https address")
	case (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") && strings.Contains(text, "@"):
		return nil, errors.New(name + ": not an http or https address")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("%s: %q is not an http or https address", name, text)
	case strings.ContainsAny(text, "?#"):
		u.RawQuery, u.Fragment, u.RawFragment, u.ForceQuery = "", "", "", false
		return nil, fmt.Errorf("%s: a query string or fragment cannot be part of the address: remove everything after %s", name, u.Redacted())
	}
	return u, nil
}

// CheckExposure returns an error if other machines could reach the API without a
// key, or the profiles at all, and ALLOW_ANONYMOUS does not permit it.
func (c *Config) CheckExposure() error {
	if c.AllowAnonymous {
		return nil
	}
	if c.DebugAddr != "" && !Loopback(c.DebugAddr) {
		return fmt.Errorf("DEBUG_ADDR %s can be reached from other machines, and profiles ask for no key: name a loopback address, or set ALLOW_ANONYMOUS=true if that is meant", c.DebugAddr)
	}
	if len(c.APIKeys) > 0 || Loopback(c.HTTPAddr) {
		return nil
	}
	return fmt.Errorf("HTTP_ADDR %s can be reached from other machines: set API_KEYS, or ALLOW_ANONYMOUS=true if that is meant", c.HTTPAddr)
}

// Loopback reports whether addr, a host and a port, can be reached only from this
// machine.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// privateNetworks is a value of RECEIVERS_ALLOW.
const privateNetworks = "private"

// ReceiverNetworks returns RECEIVERS_ALLOW: whether it has private networks, and the others.
func (c *Config) ReceiverNetworks() (private bool, others []netip.Prefix) {
	for _, s := range c.ReceiversAllow {
		if p, err := netip.ParsePrefix(s); err == nil {
			others = append(others, p)
		}
	}
	return slices.Contains(c.ReceiversAllow, privateNetworks), others
}

// AllowedHosts returns the names under which the service answers: HTTP_ALLOWED_HOSTS
// and the host of HTTP_ADDR.
func (c *Config) AllowedHosts() []string {
	host, _, _ := net.SplitHostPort(c.HTTPAddr)
	return append(slices.Clone(c.HTTPHosts), host)
}
