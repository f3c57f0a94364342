package config

// These tests pin the configuration: the defaults of the contract, that every
// bad value and every unknown name stops the start with one sentence naming the
// variable, that flags win, and that secrets are never shown.

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// known are the exchanges of a program.
var known = []string{"binance", "okx", "okx-swap", "kraken", "simulated"}

func TestLoadConfig_DefaultsAreThoseOfTheContract(t *testing.T) {
	c, err := Load(nil, nil, known)
	if err != nil {
		t.Fatal(err)
	}
	if c.AnalysisConcurrency != 3 || c.AnalysisBatchSize != 20 || c.AnalysisKlineLimit != 2000 ||
		c.AnalysisInterval != "1h" || strings.Join(c.AnalysisQuoteAssets, ",") != "auto" ||
		c.DatabaseURL != "sqlite://tidemark.db" || strings.Join(c.Exchanges, ",") != "binance" || c.HTTPAddr != "127.0.0.1:8080" ||
		c.DBPoolSize != 5 || c.DBMaxOverflow != 10 || c.DBPoolRecycle != 3600 || !c.DBPoolPrePing {
		t.Errorf("defaults are %+v", c)
	}
}

func TestLoadConfig_RefusesInOneSentenceThatNamesTheVariable(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"ANALYSIS_CONCURENCY=5", "unknown variable ANALYSIS_CONCURENCY; did you mean ANALYSIS_CONCURRENCY?"},
		{"DB_POOLSIZE=5", "DB_POOL_SIZE"},
		{"EXCHANGE_URL=http://x", "unknown variable EXCHANGE_URL"},
		{"ANALYSIS_SPEED=9", "unknown variable ANALYSIS_SPEED"},
		{"HTTP_CORS_ORIGINS=*", "HTTP_CORS_ORIGINS: * without API_KEYS"},
		{"HTTP_CORS_ORIGINS=https://a.example,charts.example.org", `HTTP_CORS_ORIGINS: "charts.example.org" is not an origin`},
		{"HTTP_CORS_ORIGINS=https://a.example/", `HTTP_CORS_ORIGINS: "https://a.example/" is not an origin`},
		{"HTTP_CORS_ORIGINS=https://*.example", "HTTP_CORS_ORIGINS"},
		{"HTTP_CORS_ORIGINS=null", "HTTP_CORS_ORIGINS"},
		{"PUBLIC_URL=levels.example.org", `PUBLIC_URL: "levels.example.org" is not an address such as`},
		{"PUBLIC_URL=https://levels.example.org/?a=b", "PUBLIC_URL"},
		{"API_KEYS_FILE=/dev/null", "API_KEYS_FILE: /dev/null has no key"},
		{"HTP_ADDR=:80", "; did you mean HTTP_ADDR?"},
		{"LOG_LEVLE=INFO", "; did you mean LOG_LEVEL?"},
		{"ANALYSIS_CONCURRENCY=0", "ANALYSIS_CONCURRENCY: 0 is not between 1 and 256"},
		{"ANALYSIS_CONCURRENCY=300", "ANALYSIS_CONCURRENCY"},
		{"ANALYSIS_CONCURRENCY=three", `ANALYSIS_CONCURRENCY: "three" is not a whole number between 1 and 256`},
		{"ANALYSIS_CONCURRENCY=", "ANALYSIS_CONCURRENCY is empty"},
		{"ANALYSIS_CONCURRENCY=5.5", "ANALYSIS_CONCURRENCY"},
		{"ANALYSIS_KLINE_LIMIT=99", "ANALYSIS_KLINE_LIMIT"},
		{"ANALYSIS_MIN_QUOTE_VOLUME=-1", "ANALYSIS_MIN_QUOTE_VOLUME: -1 is not of at least 0"},
		{"ANALYSIS_MIN_QUOTE_VOLUME=NaN", "ANALYSIS_MIN_QUOTE_VOLUME"},
		{"ANALYSIS_MIN_QUOTE_VOLUME=Inf", "ANALYSIS_MIN_QUOTE_VOLUME"},
		{"ANALYSIS_INTERVAL=7m", "ANALYSIS_INTERVAL"},
		{"ANALYSIS_INTERVAL=1M", "ANALYSIS_INTERVAL"},
		{"ANALYSIS_TIMEOUT=30", "ANALYSIS_TIMEOUT"},
		{"ANALYSIS_TIMEOUT=1ms", "ANALYSIS_TIMEOUT: 1ms is not between 1s and 10m"},
		{"EXCHANGE=binanse", `EXCHANGE: "binanse" is not one of binance, okx, okx-swap, kraken, simulated; did you mean binance?`},
		{"EXCHANGE_BASE_URL=ftp://x", "EXCHANGE_BASE_URL"},
		{"EXCHANGE_BASE_URL=localhost:80", "EXCHANGE_BASE_URL"},
		{"EXCHANGE_BASE_URL=http://mirror.example/api?key=1", "EXCHANGE_BASE_URL: a query string or fragment cannot be part of the address: remove everything after http://mirror.example/api"},
		{"EXCHANGE_BASE_URL=http://mirror.example/?", "EXCHANGE_BASE_URL: a query string"},
		{"EXCHANGE_BASE_URL=http://mirror.example/#top", "EXCHANGE_BASE_URL: a query string"},
		{"EXCHANGE_WEIGHT_SHARE=1.5", "EXCHANGE_WEIGHT_SHARE"},
		{"HTTP_ADDR=127.0.0.1:99999", `HTTP_ADDR: "99999" is not a port`},
		{"HTTP_ADDR=127.0.0.1:-1", "HTTP_ADDR"},
		{"HTTP_ADDR=", "HTTP_ADDR"},
		{"DEBUG_ADDR=127.0.0.1:65536", "DEBUG_ADDR"},
		{"HTTP_ADDR=8080", "HTTP_ADDR"},
		{"HTTP_ALLOWED_HOSTS=http://levels.example.org", `HTTP_ALLOWED_HOSTS: "http://levels.example.org" is not a host name`},
		{"HTTP_ALLOWED_HOSTS=*.example.org", "HTTP_ALLOWED_HOSTS"},
		{"DEBUG_ADDR=x", "DEBUG_ADDR"},
		{"API_KEYS=short", "API_KEYS"},
		{"ALLOW_ANONYMOUS=maybe", "ALLOW_ANONYMOUS"},
		{"LOG_LEVEL=LOUD", "LOG_LEVEL"},
		{"LOG_FORMAT=xml", "LOG_FORMAT"},
		{"DATABASE_URL_FILE=/does/not/exist", "DATABASE_URL_FILE"},
	} {
		_, err := Load([]string{c.line}, nil, known)
		switch {
		case err == nil:
			t.Errorf("%s was accepted", c.line)
		case !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %q does not say %q", c.line, err, c.want)
		case strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: more than one line: %q", c.line, err)
		}
	}
}

func TestLoadConfig_OfSeveralBadValuesReportsTheFirstOfTheStruct(t *testing.T) {
	// each as Config declares them: a range, not a number, empty, a word, a rule of check
	bad := []struct{ line, want string }{
		{"ANALYSIS_BATCH_SIZE=0", "ANALYSIS_BATCH_SIZE: 0 is not between 1 and 1000"},
		{"ANALYSIS_KLINE_LIMIT=many", `ANALYSIS_KLINE_LIMIT: "many" is not a whole number between 100 and 10000`},
		{"ANALYSIS_TIMEOUT=", "ANALYSIS_TIMEOUT is empty; leave it out for its default 30s"},
		{"LOG_LEVEL=LOUD", `LOG_LEVEL: "LOUD" is not a log level: DEBUG, INFO, WARN or ERROR`},
		{"ANALYSIS_INTERVAL=7m", `ANALYSIS_INTERVAL: unknown interval "7m": one of 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d, 3d, 1w`},
	}
	for first := range bad {
		var lines []string
		for _, b := range bad[first:] {
			lines = append([]string{b.line}, lines...) // the environment has them in the opposite order
		}
		if _, err := Load(lines, nil, known); err == nil || err.Error() != bad[first].want {
			t.Errorf("%v:\n%v, want\n%s", lines, err, bad[first].want)
		}
	}
}

func TestLoadConfig_LeavesOtherProgramsVariablesAlone(t *testing.T) {
	_, err := Load([]string{"HTTP_PROXY=http://p", "PATH=/bin", "LOGNAME=me", "=C:=C:\\", "HTTPS_PROXY=x", "DATABASE=x"}, nil, known)
	if err != nil {
		t.Error(err)
	}
}

func TestLoadConfig_LeavesTheVariablesOfServicesAlone(t *testing.T) {
	kubernetes := func(name string) []string {
		return []string{
			name + "_SERVICE_HOST=10.0.0.1", name + "_SERVICE_PORT=5432", name + "_SERVICE_PORT_HTTP=80", name + "_SERVICE_PORT_HTTP_ALT=81",
			name + "_PORT=tcp://10.0.0.1:5432", name + "_PORT_5432_TCP=tcp://10.0.0.1:5432", name + "_PORT_5432_TCP_PROTO=tcp",
			name + "_PORT_5432_TCP_PORT=5432", name + "_PORT_5432_TCP_ADDR=10.0.0.1", name + "_PORT_53_UDP=udp://[fd00::1]:53",
			name + "_PORT_9_SCTP_ADDR=fd00::1",
		}
	}
	link := []string{"DB_NAME=/tidemark/db", "DB_ENV_POSTGRES_DB=levels", "DB_PORT=tcp://172.17.0.2:5432", "DB_PORT_5432_TCP_ADDR=172.17.0.2"}
	for _, lines := range [][]string{kubernetes("DB"), kubernetes("DB_REPLICA"), kubernetes("EXCHANGE"), kubernetes("EXCHANGE_GATEWAY"), kubernetes("ANALYSIS"), link} {
		c, err := Load(lines, nil, known)
		if err != nil || c.DBPoolSize != 5 {
			t.Errorf("%v: %v", lines[0], err)
		}
	}
	for _, line := range []string{
		"DB_PORT=5432", "DB_PORT=", "DB_NAME=levels", "DB_HOST=db", "DB_SERVICE=x", "DB_SERVICE_PORT=", "DB_PORT_5432=tcp", "DB_PORT_TCP=tcp://x",
		"DB_URL=postgres://x", "EXCHANGE_PORT=80", "ANALYSIS_PORT=x", "EXCHANGE_ENV=x",
	} {
		if _, err := Load([]string{line}, nil, known); err == nil || !strings.Contains(err.Error(), "unknown variable ") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestLoadConfig_SuggestsOnlyWhatIsNear(t *testing.T) {
	for line, want := range map[string]string{
		"DB_PORT=5432":           "unknown variable DB_PORT",
		"ANALYSIS_SPEED=9":       "unknown variable ANALYSIS_SPEED",
		"ANALYSIS_INTERVAAAL=1h": "unknown variable ANALYSIS_INTERVAAAL; did you mean ANALYSIS_INTERVAL?",
		"DB_POOL=9":              "unknown variable DB_POOL",
	} {
		if _, err := Load([]string{line}, nil, known); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

func TestLoadConfig_AnEmptyListMeansAll(t *testing.T) {
	c, err := Load([]string{"ANALYSIS_QUOTE_ASSETS="}, nil, known)
	if err != nil || len(c.AnalysisQuoteAssets) != 0 {
		t.Errorf("%q, %v", c.AnalysisQuoteAssets, err)
	}
	c, err = Load([]string{"ANALYSIS_QUOTE_ASSETS= usdt, btc ,"}, nil, known)
	if err != nil || strings.Join(c.AnalysisQuoteAssets, "|") != "USDT|BTC" {
		t.Errorf("%q, %v", c.AnalysisQuoteAssets, err)
	}
}

func TestLoadConfig_FlagsWin(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse([]string{"--analysis-concurrency", "7", "--allow-anonymous"}); err != nil {
		t.Fatal(err)
	}
	c, err := Load([]string{"ANALYSIS_CONCURRENCY=5", "ANALYSIS_BATCH_SIZE=6"}, flags, known)
	if err != nil || c.AnalysisConcurrency != 7 || c.AnalysisBatchSize != 6 || !c.AllowAnonymous {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestLoadConfig_SecretsComeFromFilesAndAreNeverShown(t *testing.T) {
	dir := t.TempDir()
	keys, url := filepath.Join(dir, "keys"), filepath.Join(dir, "url")
	os.WriteFile(keys, []byte("first-secret-key-1\nsecond-secret-key-2\n"), 0o600)
	os.WriteFile(url, []byte("postgres://me:hunter22@db/levels?sslpassword=hunter33\n"), 0o600)
	c, err := Load([]string{"API_KEYS_FILE=" + keys, "DATABASE_URL_FILE=" + url}, nil, known)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.APIKeys) != 2 || c.APIKeys[1] != "second-secret-key-2" || !strings.Contains(c.DatabaseURL, "hunter22") {
		t.Errorf("read %q and %q", c.APIKeys, c.DatabaseURL)
	}
	c.ExchangeBaseURL = "https://me:hunter44@mirror.example/binance"
	var shown bytes.Buffer
	c.Print(&shown)
	slog.New(slog.NewTextHandler(&shown, nil)).Info("configuration", "effective", c)
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("configuration", "effective", c)
	for _, secret := range []string{"hunter22", "hunter33", "hunter44", "first-secret", "second-secret"} {
		if strings.Contains(shown.String(), secret) {
			t.Errorf("%s is shown in %s", secret, shown.String())
		}
	}
	if !strings.Contains(shown.String(), "ANALYSIS_CONCURRENCY=3") || !strings.Contains(shown.String(), "me:xxxxx@db") {
		t.Errorf("shown: %s", shown.String())
	}
	if _, err := Load([]string{"API_KEYS=aaaaaaaaaaaaaaaaaaaa", "API_KEYS_FILE=" + keys}, nil, known); err == nil {
		t.Error("both a secret and its file were accepted")
	}
	for content, want := range map[string]string{"third-secret-key-03\n, second-secret-key-2": "third-secret-key-03 second-secret-key-2", "short": "", "": "", " ,\n": ""} {
		os.WriteFile(keys, []byte(content), 0o600)
		if again, given, err := c.ReadKeys(); !given || strings.Join(again, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%q is read again as %q, %v", content, again, err)
		}
	}
	os.Remove(keys)
	if _, _, err := c.ReadKeys(); err == nil {
		t.Error("a missing file of keys is read")
	}
	if _, given, err := c.ReadSecretsKey(); given || err != nil {
		t.Errorf("a file that is not set is read: %v", err)
	}
}

func TestLoadConfig_AnAddressThatIsRefusedKeepsItsPassword(t *testing.T) {
	for _, address := range []string{
		"ftp://me:hunter55@mirror.example", "me:hunter55@mirror.example", "http://me:hunter55@", "http://me:hunter55@mirror.example:port",
		"http://me:hunter55@mirror.example/?key=hunter55", "http://me:hunter55@mirror.example/#hunter55", "http://me:hunter55@mirror.example/%zz",
	} {
		_, err := Load([]string{"EXCHANGE_BASE_URL=" + address}, nil, known)
		if err == nil || !strings.Contains(err.Error(), "EXCHANGE_BASE_URL") || strings.Contains(err.Error(), "hunter55") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestConfig_AnAddressThatCannotBeReadIsNotShown(t *testing.T) {
	for _, address := range []string{
		"me:hunter66@db/levels", "postgres:me:hunter66@db/levels", "postgres:/me:hunter66@db/levels", "host=db password=hunter66",
		"postgres://me:1/hunter66@db/levels", "postgres://me:1?hunter66@db/levels", "postgres://me:1#hunter66@db/levels", "postgres://me:hunter66@[::1",
	} {
		c, err := Load([]string{"DATABASE_URL=" + address}, nil, known)
		if err != nil {
			t.Fatal(err)
		}
		var shown bytes.Buffer
		if c.Print(&shown); strings.Contains(shown.String(), "hunter66") || !strings.Contains(shown.String(), "DATABASE_URL=…\n") {
			t.Errorf("%s is shown in %s", address, shown.String())
		}
	}
}

func TestConfig_TheAddressOfAVenueIsTheOneThatWasGiven(t *testing.T) {
	for _, given := range []string{"", "http://127.0.0.1:8081", "https://me:p%40ss@mirror.example/binance/"} {
		c, err := Load([]string{"EXCHANGE_BASE_URL=" + given}, nil, known)
		if err != nil {
			t.Fatal(err)
		}
		switch u := c.Venues()[0].BaseURL; {
		case (u == nil) != (given == ""):
			t.Errorf("%q: %v", given, u)
		case u != nil && u.String() != given:
			t.Errorf("%q became %q", given, u)
		}
	}
}

func TestCheckExposure_StrangersNeedAKeyOrAnExplicitWord(t *testing.T) {
	for _, c := range []struct {
		env  []string
		okay bool
	}{
		{nil, true},
		{[]string{"HTTP_ADDR=localhost:1"}, true},
		{[]string{"HTTP_ADDR=[::1]:1"}, true},
		{[]string{"HTTP_ADDR=0.0.0.0:8080"}, false},
		{[]string{"HTTP_ADDR=:8080"}, false},
		{[]string{"HTTP_ADDR=[::]:8080"}, false},
		{[]string{"HTTP_ADDR=example.com:8080"}, false},
		{[]string{"HTTP_ADDR=:8080", "API_KEYS=0123456789abcdef"}, true},
		{[]string{"HTTP_ADDR=:8080", "ALLOW_ANONYMOUS=true"}, true},
		{[]string{"DEBUG_ADDR=127.0.0.1:6060"}, true},
		{[]string{"DEBUG_ADDR=:6060"}, false},
		{[]string{"DEBUG_ADDR=192.0.2.1:6060", "API_KEYS=0123456789abcdef"}, false},
		{[]string{"DEBUG_ADDR=:6060", "ALLOW_ANONYMOUS=true"}, true},
	} {
		cfg, err := Load(c.env, nil, known)
		if err != nil {
			t.Fatal(err)
		}
		if err := cfg.CheckExposure(); (err == nil) != c.okay {
			t.Errorf("%v: %v", c.env, err)
		}
	}
}

func FuzzLoadConfig(f *testing.F) {
	for _, v := range Variables {
		f.Add(v.Name, v.Default)
	}
	f.Add("ANALYSIS_TIMEOUT", "-1h")
	f.Add("DATABASE_URL", "postgres://a:b@[::1")
	f.Fuzz(func(t *testing.T, name, value string) {
		if strings.HasSuffix(name, "_FILE") || strings.ContainsAny(name, "=\x00") {
			t.Skip() // would read files of this machine
		}
		c, err := Load([]string{name + "=" + value}, nil, known)
		if err != nil {
			if strings.ContainsRune(err.Error(), '\n') && !strings.ContainsRune(name+value, '\n') {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		if c.AnalysisConcurrency < 1 || c.AnalysisConcurrency > 256 || c.AnalysisKlineLimit < 100 ||
			c.AnalysisKlineLimit > 10000 || c.AnalysisTimeout <= 0 || c.StopTimeout <= 0 {
			t.Errorf("%s=%q gave %+v", name, value, c)
		}
	})
}
