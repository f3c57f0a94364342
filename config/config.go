// Package config is what the program can be told: environment variables and flags of the
// same names, secrets from files, their ranges and defaults.
package config

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v10"
	"github.com/spf13/pflag"

	"tidemark/exchange"
	"tidemark/levels"
)

// Config is everything tidemark can be told, each field an environment
// variable and a flag of the same name. The tags min and max are inclusive
// bounds; oneof lists the values there are; secret masks the value wherever it
// is printed and makes …_FILE work.
type Config struct {
	AnalysisConcurrency        int             `env:"ANALYSIS_CONCURRENCY" envDefault:"3" min:"1" max:"256" help:"pairs analysed at once; each has a workspace of its own"`
	AnalysisBatchSize          int             `env:"ANALYSIS_BATCH_SIZE" envDefault:"20" min:"1" max:"1000" help:"pairs stored in one transaction"`
	AnalysisKlineLimit         int             `env:"ANALYSIS_KLINE_LIMIT" envDefault:"2000" min:"100" max:"10000" help:"closed candles an analysis is made from"`
	AnalysisInterval           levels.Interval `env:"ANALYSIS_INTERVAL" envDefault:"1h" help:"candle length, unless a request names another"`
	AnalysisQuoteAssets        []string        `env:"ANALYSIS_QUOTE_ASSETS" envDefault:"USDT" help:"quote assets a sweep covers, separated by commas; empty for all"`
	AnalysisMinQuoteVolume     float64         `env:"ANALYSIS_MIN_QUOTE_VOLUME" envDefault:"0" min:"0" help:"least 24 h volume of a pair in its quote asset"`
	AnalysisExcludeLeveraged   bool            `env:"ANALYSIS_EXCLUDE_LEVERAGED" envDefault:"true" help:"leave out leveraged tokens (BTCUP, ETHDOWN)"`
	AnalysisExcludeStablePairs bool            `env:"ANALYSIS_EXCLUDE_STABLE_PAIRS" envDefault:"true" help:"leave out pairs of two coins or currencies that follow a currency"`
	AnalysisQueueLimit         int             `env:"ANALYSIS_QUEUE_LIMIT" envDefault:"100" min:"1" max:"10000" help:"requests that may wait for a slot, and jobs that may be open; beyond it the answer is 503"`
	AnalysisTimeout            time.Duration   `env:"ANALYSIS_TIMEOUT" envDefault:"30s" min:"1s" max:"10m" help:"time one analysis asked for by itself may take, waiting included"`
	AnalysisSchedule           string          `env:"ANALYSIS_SCHEDULE" help:"when sweeps begin by themselves: every so long, such as 1h or 4h, or five cron fields in UTC, such as 0 */4 * * *; empty: on request only"`
	AnalysisIntervals          []string        `env:"ANALYSIS_INTERVALS" help:"candle lengths ANALYSIS_SCHEDULE sweeps, separated by commas; empty: ANALYSIS_INTERVAL alone"`
	AnalysisHistory            int             `env:"ANALYSIS_HISTORY" envDefault:"200" min:"1" max:"10000" help:"analyses kept for each pair and interval"`

	Exchange            string        `env:"EXCHANGE" envDefault:"binance" oneof:"binance simulated" help:"where klines come from"`
	ExchangeBaseURL     string        `env:"EXCHANGE_BASE_URL" secret:"url" help:"overrides the exchange's own address: a mirror, a proxy, a simulated exchange"`
	ExchangeWeightShare float64       `env:"EXCHANGE_WEIGHT_SHARE" envDefault:"0.7" min:"0.01" max:"1" help:"share of the exchange's request limit to stay under"`
	ExchangeEgress      string        `env:"EXCHANGE_EGRESS" help:"name of the address the exchange sees this process under; processes on one database with the same name, or none, share a ban"`
	ExchangeTimeout     time.Duration `env:"EXCHANGE_TIMEOUT" envDefault:"10s" min:"100ms" max:"5m" help:"time of one request to the exchange"`
	ExchangeAttempts    int           `env:"EXCHANGE_ATTEMPTS" envDefault:"6" min:"1" max:"20" help:"tries of a request that fails in a way that may heal"`
	ExchangePairs       int           `env:"EXCHANGE_SIMULATED_PAIRS" envDefault:"500" min:"1" max:"5000" help:"healthy pairs of the built-in simulated exchange"`
	ExchangeSeed        uint64        `env:"EXCHANGE_SIMULATED_SEED" envDefault:"1" help:"which market the built-in simulated exchange plays"`

	Role         string        `env:"ROLE" envDefault:"all" oneof:"all api worker" help:"what serve does: all; api answers requests and leaves jobs to others; worker works on jobs, and serves only its health and metrics"`
	JobRetention time.Duration `env:"JOB_RETENTION" envDefault:"168h" min:"1h" max:"87600h" help:"time after which a job that has ended is forgotten; its analyses stay"`

	DatabaseURL   string `env:"DATABASE_URL" envDefault:"sqlite://tidemark.db" secret:"url" help:"sqlite://FILE or postgres://USER:PASSWORD@HOST/NAME"`
	DBPoolSize    int    `env:"DB_POOL_SIZE" envDefault:"5" min:"1" max:"1000" help:"PostgreSQL connections kept open"`
	DBMaxOverflow int    `env:"DB_MAX_OVERFLOW" envDefault:"10" min:"0" max:"1000" help:"PostgreSQL connections opened beyond the pool under load"`
	DBPoolRecycle int    `env:"DB_POOL_RECYCLE" envDefault:"3600" min:"1" max:"604800" help:"seconds after which a PostgreSQL connection is replaced"`
	DBPoolPrePing bool   `env:"DB_POOL_PRE_PING" envDefault:"true" help:"ask a PostgreSQL connection whether it lives before using it again"`

	MemoryBudget Bytes `env:"MEMORY_BUDGET" help:"memory the process may take, such as 48MiB; empty: 90 % of the cgroup's limit, if it has one; 0: no bound"`

	HTTPAddr       string        `env:"HTTP_ADDR" envDefault:"127.0.0.1:8080" help:"address to serve on"`
	HTTPHosts      []string      `env:"HTTP_ALLOWED_HOSTS" help:"names clients reach the service under, separated by commas, beside addresses and localhost; without API_KEYS it answers under no other name"`
	HTTPRateLimit  float64       `env:"HTTP_RATE_LIMIT" envDefault:"100" min:"0" max:"1000000" help:"requests a second each key may make, or without keys each client address but the loopback; 0 for no limit"`
	HTTPCacheBytes int64         `env:"HTTP_CACHE_BYTES" envDefault:"2097152" min:"0" max:"1073741824" help:"bytes of encoded replies kept in memory"`
	HTTPMaxConns   int           `env:"HTTP_MAX_CONNECTIONS" envDefault:"0" min:"0" max:"1000000" help:"connections of clients there may be; 0: what the memory budget has room for, 4096 without one; always fewer than files may be open"`
	APIKeys        []string      `env:"API_KEYS" secret:"all" help:"keys clients must present, separated by commas; empty for none"`
	AllowAnonymous bool          `env:"ALLOW_ANONYMOUS" envDefault:"false" help:"serve without keys, profiles included, on an address others can reach"`
	DebugAddr      string        `env:"DEBUG_ADDR" help:"address for /debug/pprof; empty for off"`
	StopTimeout    time.Duration `env:"STOP_TIMEOUT" envDefault:"30s" min:"1s" max:"1h" help:"time work under way gets to finish when the process is told to stop"`

	LogLevel  slog.Level `env:"LOG_LEVEL" envDefault:"INFO" help:"DEBUG, INFO, WARN or ERROR"`
	LogFormat string     `env:"LOG_FORMAT" envDefault:"text" oneof:"text json" help:"how log lines are written"`
}

// variable is one field of Config seen from outside.
type variable struct {
	Name   string // ANALYSIS_CONCURRENCY
	Field  int
	Tag    reflect.StructTag
	Secret string
}

func (v variable) Flag() string { return strings.ToLower(strings.ReplaceAll(v.Name, "_", "-")) }

var Variables = func() []variable {
	t := reflect.TypeFor[Config]()
	all := make([]variable, t.NumField())
	for i := range all {
		tag := t.Field(i).Tag
		all[i] = variable{Name: tag.Get("env"), Field: i, Tag: tag, Secret: tag.Get("secret")}
	}
	return all
}()

// AddFlags gives a command every variable as a flag.
func AddFlags(flags *pflag.FlagSet) {
	for _, v := range Variables {
		help := v.Tag.Get("help")
		if d := v.Tag.Get("envDefault"); d != "" {
			help += " (default " + d + ")"
		}
		flags.String(v.Flag(), "", help)
		flags.Lookup(v.Flag()).NoOptDefVal = noOptDefault(v)
	}
}

// noOptDefault lets --allow-anonymous stand for --allow-anonymous=true.
func noOptDefault(v variable) string {
	if reflect.TypeFor[Config]().Field(v.Field).Type.Kind() == reflect.Bool {
		return "true"
	}
	return ""
}

// Load reads the environment ("NAME=value" lines) and then the flags that
// were set, which win. What it does not know, or what is out of range, is an
// error of one sentence that names the variable.
func Load(environ []string, flags *pflag.FlagSet) (Config, error) {
	values := map[string]string{}
	for _, line := range environ {
		name, value, ok := strings.Cut(line, "=")
		if !ok || name == "" {
			continue
		}
		known, err := Recognise(name, value)
		if err != nil {
			return Config{}, err
		}
		if known {
			values[name] = value
		}
	}
	if err := readSecretFiles(values); err != nil {
		return Config{}, err
	}
	if flags != nil {
		flags.Visit(func(f *pflag.Flag) {
			for _, v := range Variables {
				if v.Flag() == f.Name {
					values[v.Name] = f.Value.String()
				}
			}
		})
	}
	var c Config
	for _, v := range Variables {
		// One at a time, so that an error names its variable.
		one := map[string]string{}
		if value, ok := values[v.Name]; ok {
			one[v.Name] = strings.TrimSpace(value)
		}
		if err := parseOne(&c, v, one); err != nil {
			return Config{}, err
		}
	}
	return c, c.check()
}

// parseOne sets the field of one variable.
func parseOne(c *Config, v variable, value map[string]string) error {
	structType := reflect.StructOf([]reflect.StructField{{
		Name: "Value",
		Type: reflect.TypeFor[Config]().Field(v.Field).Type,
		Tag:  v.Tag,
	}})
	// The env package takes its default for an empty value, which would turn "all
	// quote assets" into USDT and hide a variable that lost its value.
	if given, ok := value[v.Name]; ok && given == "" && v.Tag.Get("envDefault") != "" {
		if structType.Field(0).Type.Kind() == reflect.Slice {
			return nil
		}
		return fmt.Errorf("%s is empty; leave it out for its default %s", v.Name, v.Tag.Get("envDefault"))
	}
	target := reflect.New(structType)
	if err := env.ParseWithOptions(target.Interface(), env.Options{Environment: value}); err != nil {
		return fmt.Errorf("%s: %q is not a %s%s", v.Name, v.masked(value[v.Name]), kindName(structType.Field(0).Type), allowed(v))
	}
	got := target.Elem().Field(0)
	if err := v.inRange(got); err != nil {
		return err
	}
	reflect.ValueOf(c).Elem().Field(v.Field).Set(got)
	return nil
}

func kindName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return `duration such as "30s" or "5m"`
	case t == reflect.TypeFor[slog.Level]():
		return "log level: DEBUG, INFO, WARN or ERROR"
	case t == reflect.TypeFor[Bytes]():
		return "number of bytes such as 48MiB"
	case t.Kind() == reflect.Bool:
		return "truth value: true or false"
	case t.Kind() == reflect.Float64:
		return "number"
	}
	return "whole number"
}

func allowed(v variable) string {
	low, high := v.Tag.Get("min"), v.Tag.Get("max")
	switch {
	case low != "" && high != "":
		return fmt.Sprintf(" between %s and %s", low, high)
	case low != "":
		return " of at least " + low
	}
	return ""
}

// inRange checks min, max and oneof.
func (v variable) inRange(got reflect.Value) error {
	if list := v.Tag.Get("oneof"); list != "" {
		values := strings.Fields(list)
		if !slices.Contains(values, got.String()) {
			return fmt.Errorf("%s: %q is not one of %s%s", v.Name, got.String(), strings.Join(values, ", "), DidYouMean(got.String(), values))
		}
	}
	bound := func(text string) float64 {
		if got.Type() == reflect.TypeFor[time.Duration]() {
			d, _ := time.ParseDuration(text)
			return float64(d)
		}
		f, _ := strconv.ParseFloat(text, 64)
		return f
	}
	var value float64
	switch got.Kind() {
	case reflect.Int, reflect.Int64:
		value = float64(got.Int())
	case reflect.Float64:
		value = got.Float()
	default:
		return nil
	}
	low, high := v.Tag.Get("min"), v.Tag.Get("max")
	// NaN compares false with everything, so the test is for being inside.
	if inside := (low == "" || value >= bound(low)) && (high == "" || value <= bound(high)); (low != "" || high != "") && (!inside || math.IsInf(value, 0)) {
		return fmt.Errorf("%s: %v is not%s", v.Name, got.Interface(), allowed(v))
	}
	return nil
}

// prefixes under which every variable must be one of ours. Elsewhere (HTTP_PROXY
// is not ours) only a name one slip away from one of ours is refused.
var prefixes = []string{"ANALYSIS_", "DB_", "EXCHANGE"}

// injected is what an orchestrator says of its services, as NAME=value: Kubernetes of
// a Service (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables),
// Docker of a link. A service named db makes DB_PORT, whose value is then an address;
// DB_PORT=5432 is somebody's mistake.
var injected = regexp.MustCompile(`^[A-Z][A-Z0-9_]*(` +
	`_SERVICE_HOST=|_SERVICE_PORT(_[A-Z0-9_]+)?=[0-9]` +
	`|_PORT(_[0-9]+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://` +
	`|_PORT_[0-9]+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=` +
	`|_NAME=/[^/]+/|_ENV_[A-Za-z0-9_]+=)`)

// Recognise tells whether a variable of the environment is one of ours. One that
// looks like it and is not is an error.
func Recognise(name, value string) (known bool, err error) {
	names := make([]string, 0, 2*len(Variables))
	for _, v := range Variables {
		names = append(names, v.Name)
		if v.Secret != "" {
			names = append(names, v.Name+"_FILE")
		}
	}
	if slices.Contains(names, name) {
		return true, nil
	}
	if injected.MatchString(name + "=" + value) {
		return false, nil
	}
	ours := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	if _, distance := nearest(name, names); ours || distance == 1 {
		return false, fmt.Errorf("unknown variable %s%s", name, DidYouMean(name, names))
	}
	return false, nil
}

// readSecretFiles takes a secret from the file its …_FILE variable names.
func readSecretFiles(values map[string]string) error {
	for _, v := range Variables {
		file, ok := values[v.Name+"_FILE"]
		if v.Secret == "" || !ok {
			continue
		}
		delete(values, v.Name+"_FILE")
		if _, both := values[v.Name]; both {
			return fmt.Errorf("%s and %s_FILE are both set; one of them must go", v.Name, v.Name)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%s_FILE: %w", v.Name, err)
		}
		// one key a line is how secret files are often written
		values[v.Name] = strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", ",")
	}
	return nil
}

// check is for what no single field can tell.
func (c *Config) check() error {
	interval, err := levels.ParseInterval(string(c.AnalysisInterval))
	if err != nil {
		return fmt.Errorf("ANALYSIS_INTERVAL: %w", err)
	}
	c.AnalysisInterval = interval
	if c.AnalysisIntervals = cleanList(c.AnalysisIntervals, func(s string) string { return s }); len(c.AnalysisIntervals) == 0 {
		c.AnalysisIntervals = []string{string(interval)}
	}
	if _, err := c.Schedules(); err != nil {
		return err
	}
	c.AnalysisQuoteAssets = cleanList(c.AnalysisQuoteAssets, strings.ToUpper)
	c.APIKeys = cleanList(c.APIKeys, func(s string) string { return s })
	for _, k := range c.APIKeys {
		if len(k) < 16 {
			return fmt.Errorf("API_KEYS: a key of %d characters can be guessed; use at least 16", len(k))
		}
	}
	c.HTTPHosts = cleanList(c.HTTPHosts, strings.ToLower)
	for _, name := range c.HTTPHosts {
		if u, err := url.Parse("http://" + name); err != nil || u.Host != name || strings.Contains(name, "*") {
			return fmt.Errorf("HTTP_ALLOWED_HOSTS: %q is not a host name such as levels.example.org", name)
		}
	}
	if c.ExchangeBaseURL != "" {
		if _, err := exchange.ParseBaseURL(c.ExchangeBaseURL); err != nil {
			return fmt.Errorf("EXCHANGE_BASE_URL: %w", err)
		}
	}
	if err := checkAddress("HTTP_ADDR", c.HTTPAddr); err != nil || c.DebugAddr == "" {
		return err
	}
	return checkAddress("DEBUG_ADDR", c.DebugAddr)
}

// checkAddress refuses what nobody can listen on.
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

// CheckExposure refuses to serve strangers by accident.
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

func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// AllowedHosts are the names the service is reached under: those told, and the one it
// listens on.
func (c *Config) AllowedHosts() []string {
	host, _, _ := net.SplitHostPort(c.HTTPAddr)
	return append(slices.Clone(c.HTTPHosts), host)
}

func cleanList(list []string, f func(string) string) []string {
	var out []string
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, f(s))
		}
	}
	return out
}

// masked is a value as it may be shown.
func (v variable) masked(value string) string {
	switch {
	case value == "" || v.Secret == "":
		return value
	case v.Secret == "url":
		u, err := url.Parse(value)
		if err != nil {
			return "…"
		}
		q := u.Query()
		for key := range q {
			if strings.Contains(strings.ToLower(key), "password") {
				q.Set(key, "…")
				u.RawQuery = q.Encode()
			}
		}
		return u.Redacted()
	}
	return fmt.Sprintf("… (%d)", strings.Count(value, ",")+1)
}

// settings yields every variable with its value as it may be shown.
func (c *Config) settings(yield func(name, value string) bool) {
	for _, v := range Variables {
		field := reflect.ValueOf(*c).Field(v.Field)
		text := fmt.Sprint(field.Interface())
		if list, ok := field.Interface().([]string); ok {
			text = strings.Join(list, ",")
		}
		if !yield(v.Name, v.masked(text)) {
			return
		}
	}
}

// Print writes the configuration as lines that an environment file could hold.
func (c *Config) Print(w io.Writer) {
	for name, value := range c.settings {
		fmt.Fprintf(w, "%s=%s\n", name, value)
	}
}

// LogValue makes the configuration one group of a log line, secrets masked.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for name, value := range c.settings {
		attrs = append(attrs, slog.String(name, value))
	}
	return slog.GroupValue(attrs...)
}

func DidYouMean(got string, names []string) string {
	if near, distance := nearest(got, names); distance <= 3 {
		return "; did you mean " + near + "?"
	}
	return ""
}

// nearest returns the name fewest slips away from got and their number. A slip
// is a letter too many, too few or wrong, or two neighbours swapped (optimal
// string alignment distance).
func nearest(got string, names []string) (string, int) {
	best, least := "", math.MaxInt
	for _, n := range names {
		if d := slips(got, n); d < least {
			best, least = n, d
		}
	}
	return best, least
}

func slips(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
