package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"tidemark/config"
	"tidemark/event/notify"
	"tidemark/exchange/venues"

	// These tests pin what is shipped around the program, because nothing else
	// would notice when it no longer fits: the Dockerfile builds a static binary
	// from the context .dockerignore leaves, the compose file sets variables there
	// are and mounts files there are, the dashboard asks for metrics the program
	// has in a syntax Prometheus understands, so do the alert rules, each of which has
	// a unit test and a section in the runbook, the papers name every variable,
	// route and command, both memory guides say the same, their arithmetic is that
	// of the real types, and every linked module is in the notices.

	yaml "github.com/oasdiff/yaml3"

	"tidemark/levels"
	"tidemark/service"
)

func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// knownVariable tells whether tidemark takes an environment variable.
func knownVariable(name string) bool {
	known, err := config.Recognise(name, "", venues.Names())
	return known && err == nil
}

// --- the image

func TestDockerfile_SaysWhatAnOrchestratorNeeds(t *testing.T) {
	file := text(t, "Dockerfile")
	for _, want := range []string{
		"FROM scratch\n",
		"\nUSER 65532:65532\n",
		"\nEXPOSE 8080\n",
		"\nVOLUME /data\n",
		`CMD ["/tidemark", "healthcheck"]`,
		"COPY --from=build --chown=65532:65532 /out/data /data",
		"/etc/ssl/certs/ca-certificates.crt",
	} {
		if !strings.Contains(file, want) {
			t.Errorf("no %q", want)
		}
	}
	mod := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(text(t, "go.mod"))
	if !strings.Contains(file, " golang:"+mod[1]+" AS build") {
		t.Errorf("the image is not built with Go %s, which go.mod names", mod[1])
	}
	env := file[strings.Index(file, "\nENV "):]
	env, _, _ = strings.Cut(env, "\nEXPOSE")
	var lines []string
	for _, m := range regexp.MustCompile(`([A-Z_]+)=(\S+)`).FindAllStringSubmatch(env, -1) {
		lines = append(lines, m[0])
		if m[1] != "TMPDIR" && !knownVariable(m[1]) {
			t.Errorf("ENV %s is no variable of tidemark", m[1])
		}
	}
	if len(lines) == 0 {
		t.Fatal("no ENV found")
	}
	// Reachable from outside the container, so refused until somebody decided.
	c, err := config.Load(lines, nil, venues.Names())
	if err != nil {
		t.Fatal(err)
	}
	if c.CheckExposure() == nil {
		t.Error("the image serves strangers without having been told to")
	}
	c, err = config.Load(append(lines, "API_KEYS=0123456789abcdef"), nil, venues.Names())
	if err != nil || c.CheckExposure() != nil {
		t.Errorf("with a key: %v, %v", err, c.CheckExposure())
	}
}

func TestDockerfile_BuildsAStaticBinaryFromItsContext(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the image is for Linux")
	}
	line := regexp.MustCompile(`CGO_ENABLED=0 GOOS=\$TARGETOS GOARCH=\$TARGETARCH (go build .+)`).FindStringSubmatch(text(t, "Dockerfile"))
	if line == nil {
		t.Fatal("the Dockerfile has no build command")
	}
	program(t) // first, so that what both are made of is compiled once
	exe := filepath.Join(t.TempDir(), "tidemark")
	cmd := exec.Command("sh", "-c", strings.Replace(line[1], "/out/tidemark", exe, 1))
	cmd.Dir = dockerContext(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "VERSION=1.2.3-test")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line[1], err, out)
	}
	f, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary asks for a dynamic linker, which scratch has not")
		}
	}
	if out, err := exec.Command(exe, "version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "tidemark 1.2.3-test ") {
		t.Errorf("version: %q, %v", out, err)
	}
	if info, err := os.Stat(exe); err == nil {
		t.Logf("%.1f MiB", float64(info.Size())/(1<<20))
	}
}

// dockerContext copies what .dockerignore lets through: of the files and
// folders it names with "!", all but those its "**/" patterns match.
func dockerContext(t *testing.T) string {
	t.Helper()
	var in, out []string
	for line := range strings.Lines(text(t, ".dockerignore")) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "!"); ok {
			in = append(in, name)
		} else if name, ok := strings.CutPrefix(line, "**/"); ok {
			out = append(out, name)
		} else if line != "" && line != "*" && !strings.HasPrefix(line, "#") {
			t.Fatalf(".dockerignore: this test does not understand %q", line)
		}
	}
	matches := func(patterns []string, name string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { ok, _ := path.Match(p, name); return ok })
	}
	dir := t.TempDir()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case matches(out, d.Name()), !strings.Contains(name, "/") && !matches(in, name):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return os.Mkdir(filepath.Join(dir, name), 0o755)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// --- compose.yaml and what it mounts

type composeFile struct {
	Services map[string]struct {
		Image       string
		Profiles    []string
		Ports       []string
		Volumes     []string
		Environment map[string]string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		SecurityOpt []string `yaml:"security_opt"`
		MemLimit    string   `yaml:"mem_limit"`
		Healthcheck struct{ Test []string }
	}
	Volumes map[string]any
}

func TestCompose_FitsTheProgram(t *testing.T) {
	var c composeFile
	if err := yaml.Unmarshal([]byte(text(t, "compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	var alone []string
	for name, s := range c.Services {
		if len(s.Profiles) == 0 {
			alone = append(alone, name)
		} else if !slices.Equal(s.Profiles, []string{"full"}) {
			t.Errorf("%s has the profiles %v", name, s.Profiles)
		}
		if _, tag, _ := strings.Cut(s.Image, ":"); tag == "" || tag == "latest" {
			t.Errorf("%s: the image %s is not pinned", name, s.Image)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %s to other machines", name, p)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(from, "./") {
				if _, ok := c.Volumes[from]; !ok {
					t.Errorf("%s mounts the volume %s, which is not declared", name, from)
				}
			} else if _, err := os.Stat(from); err != nil {
				t.Errorf("%s mounts %v", name, err)
			}
		}
		if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may gain privileges", name)
		}
	}
	if !slices.Equal(alone, []string{"tidemark"}) {
		t.Fatalf("without a profile there is %v", alone)
	}

	s := c.Services["tidemark"]
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.MemLimit != "64m" || !slices.Equal(s.Healthcheck.Test, []string{"CMD", "/tidemark", "healthcheck"}) {
		t.Errorf("the service is not locked down as it should be: %+v", s)
	}
	// The defaults start as they stand, with the address the image sets, and so
	// does what deploy/full.env puts in their place.
	defaults := regexp.MustCompile(`\$\{([A-Z_]+):-([^}]*)\}`)
	full := environmentFile(t, "deploy/full.env")
	for _, given := range []map[string]string{nil, full} {
		lines := []string{"HTTP_ADDR=0.0.0.0:8080"}
		for name, value := range s.Environment {
			if !knownVariable(name) {
				t.Errorf("%s is no variable of tidemark", name)
			}
			value = defaults.ReplaceAllStringFunc(value, func(m string) string {
				part := defaults.FindStringSubmatch(m)
				if v, ok := given[part[1]]; ok {
					return v
				}
				return part[2]
			})
			lines = append(lines, name+"="+value)
		}
		cfg, err := config.Load(lines, nil, venues.Names())
		if err != nil {
			t.Fatal(err)
		}
		if err := cfg.CheckExposure(); err != nil {
			t.Error(err)
		}
		if want := given["DATABASE_URL"]; want != "" && cfg.DatabaseURL != want {
			t.Errorf("with full.env the database is %s", cfg.DatabaseURL)
		}
	}
	whole := text(t, "compose.yaml")
	for name := range full {
		if !strings.Contains(whole, "${"+name+":-") {
			t.Errorf("compose.yaml does not read %s of deploy/full.env", name)
		}
	}
	if !strings.Contains(full["DATABASE_URL"], ":"+full["POSTGRES_PASSWORD"]+"@postgres/") {
		t.Error("the password in DATABASE_URL is not that of PostgreSQL")
	}
}

func environmentFile(t *testing.T, file string) map[string]string {
	t.Helper()
	values := map[string]string{}
	for line := range strings.Lines(text(t, file)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			values[name] = value
		}
	}
	return values
}

func TestPrometheusConfig_IsValidAndScrapesTheService(t *testing.T) {
	out, err := exec.Command("promtool", "check", "config", "deploy/prometheus.yml").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(text(t, "deploy/prometheus.yml"), "targets: [tidemark:8080]") {
		t.Error("the service of compose.yaml is not scraped")
	}
}

// --- the dashboard

// dashboardExprs returns the PromQL of the dashboard, by "panel / legend".
func dashboardExprs(t *testing.T) map[string]string {
	t.Helper()
	var d struct {
		UID        string
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
		Panels []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Datasource  struct{ UID string }
			Targets     []struct {
				Expr, LegendFormat string
				Datasource         struct{ UID string }
			}
		}
	}
	if err := json.Unmarshal([]byte(text(t, "deploy/grafana/dashboards/tidemark.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID != "tidemark" {
		t.Errorf("the uid is %q: links to the dashboard break", d.UID)
	}
	exprs, ids := map[string]string{}, map[int]bool{}
	for i, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%s: the id %d is there twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		for _, q := range d.Panels[:i] {
			a, b := p.GridPos, q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%s covers %s", p.Title, q.Title)
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			if p.Datasource.UID != "${DS_PROMETHEUS}" || target.Datasource.UID != "${DS_PROMETHEUS}" {
				t.Errorf("%s names a data source of its own", p.Title)
			}
			exprs[p.Title+" / "+target.LegendFormat] = target.Expr
		}
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			exprs["variable "+v.Name] = regexp.MustCompile(`label_values\((\w+),`).FindStringSubmatch(v.Definition)[1]
		}
	}
	return exprs
}

// guideExprs returns the PromQL of the memory guide, one expression a line.
func guideExprs(t *testing.T) map[string]string {
	t.Helper()
	exprs := map[string]string{}
	for _, block := range regexp.MustCompile("(?ms)^```promql$(.*?)^```$").FindAllStringSubmatch(text(t, "docs/memory.md"), -1) {
		for line := range strings.Lines(block[1]) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				exprs["docs/memory.md: "+line] = line
			}
		}
	}
	if len(exprs) < 5 {
		t.Fatalf("%d expressions found in the memory guide", len(exprs))
	}
	return exprs
}

func TestDashboard_AsksForMetricsThereAre(t *testing.T) {
	names, labels := metricsOfASweep(t)
	// set by Prometheus, not by us
	labels["instance"], labels["job"], names["up"] = true, true, true
	quoted := regexp.MustCompile(`"[^"]*"`)
	matchers := regexp.MustCompile(`\{([^}]*)\}|\b(?:by|on|group_left) \(([^)]*)\)`)
	duration := regexp.MustCompile(`\b[0-9]+[smhdwy]\b`)
	operators := []string{"and", "or", "unless", "offset"}
	label := regexp.MustCompile(`[a-z_]+`)
	word := regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\b *\(?`)
	asked := map[string]bool{}
	look := func(where, expr string, asked map[string]bool) {
		bare := regexp.MustCompile(`\[[^]]*\]`).ReplaceAllString(quoted.ReplaceAllString(expr, ""), "")
		bare = duration.ReplaceAllString(bare, "")
		for _, m := range matchers.FindAllStringSubmatch(bare, -1) {
			for _, l := range label.FindAllString(m[1]+","+m[2], -1) {
				if !labels[l] {
					t.Errorf("%s: no metric has the label %s", where, l)
				}
			}
		}
		for _, w := range word.FindAllString(matchers.ReplaceAllString(bare, ""), -1) {
			if strings.HasSuffix(w, "(") {
				continue // a function
			}
			name := strings.TrimSpace(w)
			if slices.Contains(operators, name) {
				continue
			}
			asked[name] = true
			if !names[name] {
				t.Errorf("%s: metric %s does not exist", where, name)
			}
		}
	}
	for where, expr := range dashboardExprs(t) {
		look(where, expr, asked)
	}
	for where, expr := range guideExprs(t) {
		look(where, expr, map[string]bool{})
	}
	recorded := rules(t)
	for _, r := range recorded {
		names[r.Record] = true
	}
	for _, r := range recorded {
		look(r.Record+r.Alert, r.Expr, map[string]bool{})
	}
	for metric := range runbookMetrics(t) {
		if !names[metric] {
			t.Errorf("the runbook uses %s, which does not exist", metric)
		}
	}
	if len(asked) < 20 {
		t.Fatalf("only %d metrics found in the dashboard: this test reads it wrong", len(asked))
	}
	// and the other way round: what we export ourselves is looked at
	for name := range names {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		shown := asked[name] || asked[base+"_bucket"] || asked[base+"_sum"] || asked[base+"_count"]
		if strings.HasPrefix(name, "tidemark_") && !shown {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// --- the rules

type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

// rules are the recording and alert rules.
func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	if err := yaml.Unmarshal([]byte(text(t, "deploy/prometheus/tidemark.rules.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 20 {
		t.Fatalf("%d rules found", len(all))
	}
	return all
}

// runbookMetrics are the metrics the runbook tells to look at.
func runbookMetrics(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`\b(?:tidemark|go|process)_[a-z_]+`).FindAllString(text(t, "docs/runbook.md"), -1) {
		all[m] = true
	}
	if len(all) < 10 {
		t.Fatalf("%d metrics found in the runbook", len(all))
	}
	return all
}

// ruleTests are the files with the unit tests of the rules.
func ruleTests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("deploy/prometheus/*.test.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests of the rules: %v", err)
	}
	return files
}

func TestRules_PassTheirUnitTests(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("promtool", append([]string{"test", "rules"}, ruleTests(t)...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRules_EveryAlertIsTestedAndHasASectionInTheRunbook(t *testing.T) {
	lengths := 0
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, file := range ruleTests(t) {
		var tests struct {
			Tests []struct {
				AlertRuleTest []struct {
					Alertname string
					ExpAlerts []any `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			}
		}
		if err := yaml.Unmarshal([]byte(text(t, file)), &tests); err != nil {
			t.Fatal(err)
		}
		for _, group := range tests.Tests {
			for _, a := range group.AlertRuleTest {
				if len(a.ExpAlerts) > 0 {
					fires[a.Alertname] = true
				} else {
					rests[a.Alertname] = true
				}
			}
		}
	}
	for _, r := range rules(t) {
		if i := levels.Interval(r.Labels["interval"]); r.Record == "tidemark:interval:seconds" && r.Expr != fmt.Sprintf("vector(%.0f)", i.Duration().Seconds()) {
			t.Errorf("%s is said to be %s", i, r.Expr)
		} else if r.Record == "tidemark:interval:seconds" {
			lengths++
		}
	}
	if lengths != len(levels.Intervals()) {
		t.Errorf("%d intervals have a length, there are %d", lengths, len(levels.Intervals()))
	}
	sections := anchors(text(t, "docs/runbook.md"))[1:] // without the title
	var alerts []string
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		alerts = append(alerts, strings.ToLower(r.Alert))
		if !fires[r.Alert] {
			t.Errorf("no test sees %s fire", r.Alert)
		}
		// a pause that is no ban is what a ban is told from
		if !rests[r.Alert] && r.Alert != "TidemarkExchangeBanned" {
			t.Errorf("no test sees %s rest", r.Alert)
		}
		if s := r.Labels["severity"]; s != "warning" && s != "critical" {
			t.Errorf("%s has the severity %q", r.Alert, s)
		}
		if r.For == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s lacks a duration, a summary or a description", r.Alert)
		}
		if want := "docs/runbook.md#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s leads to %s, want %s", r.Alert, r.Annotations["runbook_url"], want)
		}
	}
	if !slices.Equal(alerts, sections) {
		t.Errorf("the alerts are\n%v\nthe sections of the runbook\n%v", alerts, sections)
	}
}

func TestDashboard_ExpressionsAreValidPromQL(t *testing.T) {
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	exprs := dashboardExprs(t)
	maps.Copy(exprs, guideExprs(t))
	for where, expr := range exprs {
		expr = strings.NewReplacer("$__rate_interval", "1m", "$__range", "6h", "$instance", ".*").Replace(expr)
		fmt.Fprintf(&rules, "  - record: dashboard:expression:%d\n    labels: {where: %q}\n    expr: %q\n", n, where, expr)
		n++
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// metricsOfASweep serves a small simulated market, sweeps it, asks for some
// levels and returns the names and labels of all that /metrics then shows.
func metricsOfASweep(t *testing.T) (names, labels map[string]bool) {
	t.Helper()
	r := serve(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=5", "ANALYSIS_KLINE_LIMIT=200", "ANALYSIS_SCHEDULE=1h", "ANALYSIS_LIVE=true", "PRICES_EVERY=10s")
	r.sweepTo(t)
	r.get(t, "/levels/BTCUSDT", nil)
	names, labels = map[string]bool{}, map[string]bool{}
	sample := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? `)
	pair := regexp.MustCompile(`([a-z_]+)="`)
	for line := range strings.Lines(r.metrics(t)) {
		if m := sample.FindStringSubmatch(line); m != nil {
			names[m[1]] = true
			for _, l := range pair.FindAllStringSubmatch(m[2], -1) {
				labels[l[1]] = true
			}
		}
	}
	return names, labels
}

// --- the papers

// configTable is what docs/configuration.md shows of config.Config.
func configTable() string {
	var b strings.Builder
	b.WriteString("| variable | default | values | what it does |\n| --- | --- | --- | --- |\n")
	code := func(s string) string {
		if s == "" {
			return "–"
		}
		return "`" + s + "`"
	}
	for _, v := range config.Variables {
		values := "–"
		switch {
		case len(v.OneOf) > 0:
			values = "`" + strings.Join(v.OneOf, "`, `") + "`"
		case v.Type() == reflect.TypeFor[levels.Interval]():
			all := levels.Intervals()
			values = fmt.Sprintf("`%s` to `%s`", all[0], all[len(all)-1])
		case v.Type().Kind() == reflect.Bool:
			values = "`true`, `false`"
		case v.Max != "":
			values = v.Min + " to " + v.Max
		case v.Min != "":
			values = "at least " + v.Min
		}
		name := code(v.Name)
		if v.Secret != "" {
			name += ", " + code(v.Name+"_FILE")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, code(v.Default), values, v.Help)
	}
	return b.String()
}

// between returns what stands between two marker comments of a document.
func between(t *testing.T, document, marker string) string {
	t.Helper()
	_, rest, ok := strings.Cut(document, "<!-- "+marker+":begin -->\n")
	part, _, closed := strings.Cut(rest, "<!-- "+marker+":end -->")
	if !ok || !closed {
		t.Fatalf("no %s:begin and %s:end", marker, marker)
	}
	return part
}

func TestPapers_ConfigurationTableIsThatOfConfigGo(t *testing.T) {
	const file = "docs/configuration.md"
	page := text(t, file)
	got, want := between(t, page, "config"), configTable()
	if got == want {
		return
	}
	if os.Getenv("UPDATE_PAPERS") != "" {
		if err := os.WriteFile(file, []byte(strings.Replace(page, "config:begin -->\n"+got, "config:begin -->\n"+want, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the table differs from config.Config; UPDATE_PAPERS=1 go test -run Papers ./e2e rewrites it. Wanted:\n%s", want)
}

func TestPapers_AreShort(t *testing.T) {
	for file, most := range map[string]int{"README.md": 1500, "ARCHITECTURE.md": 3000} {
		if n := len(strings.Fields(text(t, file))); n > most {
			t.Errorf("%s has %d words, at most %d are wanted", file, n, most)
		}
	}
}

func TestPapers_NameEveryRouteAndEveryCommand(t *testing.T) {
	routes, commands := text(t, "docs/http.md"), text(t, "docs/commands.md")
	var document struct{ Paths map[string]map[string]any }
	if err := yaml.Unmarshal(contract, &document); err != nil {
		t.Fatal(err)
	}
	if len(document.Paths) < 10 {
		t.Fatalf("openapi.yaml has %d paths", len(document.Paths))
	}
	for where, methods := range document.Paths {
		for method := range methods {
			if m := strings.ToUpper(method); slices.Contains([]string{"GET", "POST", "PUT", "DELETE"}, m) && !strings.Contains(routes, "| `"+m+" "+where+"`") {
				t.Errorf("no row for %s %s", m, where)
			}
		}
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, nil, &help, &help); err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(help.String(), "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	n := 0
	for line := range strings.Lines(list) {
		if name := strings.Fields(line)[0]; name != "help" {
			n++
			if !strings.Contains(commands, "| `"+name) {
				t.Errorf("no row for the command %s", name)
			}
		}
	}
	if n < 10 {
		t.Fatalf("%d commands in:\n%s", n, help.String())
	}
}

// papers are all documents written for people.
func papers(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages in docs: %v", len(pages), err)
	}
	index := text(t, "docs/README.md")
	for _, p := range pages {
		if name := filepath.Base(p); name != "README.md" && !strings.Contains(index, "("+name+")") {
			t.Errorf("docs/README.md does not list %s", name)
		}
	}
	return append(pages, "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "THIRD_PARTY_NOTICES.md")
}

func TestPapers_LinksLeadSomewhere(t *testing.T) {
	links := 0
	for _, file := range papers(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text(t, file), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			to := filepath.Join(filepath.Dir(file), target)
			if target == "" {
				to = file
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(text(t, to)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", file, m[1])
			}
		}
	}
	if links < 5 {
		t.Fatalf("%d links found: this test reads them wrong", links)
	}
}

// anchors are the headings of a document as GitHub makes links of them.
func anchors(document string) []string {
	var all []string
	for _, h := range headings(document) {
		h = strings.ToLower(strings.TrimLeft(h, "# "))
		h = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(h, "")
		all = append(all, strings.ReplaceAll(h, " ", "-"))
	}
	return all
}

func headings(document string) []string {
	return regexp.MustCompile(`(?m)^#+ .*$`).FindAllString(fenced.ReplaceAllString(document, ""), -1)
}

var fenced = regexp.MustCompile("(?ms)^ *```.*?^ *```$")

func TestPapers_CommandsInCodeBlocksExist(t *testing.T) {
	command := regexp.MustCompile(`(?m)^(?:[A-Z_]+=\S+ )*(?:tidemark|\./tidemark|docker compose exec tidemark /tidemark|go run \.) +([a-z]+)(.*)$`)
	found := 0
	for _, file := range papers(t) {
		for _, block := range fenced.FindAllString(text(t, file), -1) {
			for _, m := range command.FindAllStringSubmatch(block, -1) {
				found++
				var help bytes.Buffer
				if err := run(t.Context(), []string{m[1], "--help-all"}, nil, &help, &help); err != nil {
					t.Errorf("%s: %s: %v", file, m[0], err)
				}
				options, _, _ := strings.Cut(m[2], "#")
				for _, flag := range regexp.MustCompile(` (--[a-z-]+)`).FindAllStringSubmatch(options, -1) {
					if !strings.Contains(help.String(), flag[1]+" ") {
						t.Errorf("%s: %s: %s has no %s", file, m[0], m[1], flag[1])
					}
				}
			}
		}
	}
	if found < 10 {
		t.Fatalf("%d commands found: this test reads them wrong", found)
	}
}

// --- the memory guide

func TestMemoryGuide_SaysTheSameInBothLanguages(t *testing.T) {
	en, zh := text(t, "docs/memory.md"), text(t, "docs/memory.zh-CN.md")
	rank := func(document string) (ranks []int) {
		for _, h := range headings(document) {
			ranks = append(ranks, strings.Index(h, " "))
		}
		return ranks
	}
	if a, b := rank(en), rank(zh); !slices.Equal(a, b) || len(a) < 8 {
		t.Errorf("ranks of headings: %v in English, %v in Chinese", a, b)
	}
	a, b := fenced.FindAllString(en, -1), fenced.FindAllString(zh, -1)
	if len(a) != len(b) || len(a) == 0 {
		t.Fatalf("%d code blocks in English, %d in Chinese", len(a), len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("code block %d differs:\n%s\n%s", i+1, a[i], b[i])
		}
	}
	for _, marker := range []string{"bench", "slots", "admitted"} {
		numbers := regexp.MustCompile(`(?m)^\| *\d.*$`)
		a, b := numbers.FindAllString(between(t, en, marker), -1), numbers.FindAllString(between(t, zh, marker), -1)
		if !slices.Equal(a, b) {
			t.Errorf("the rows of the table %s differ:\n%s\n%s", marker, strings.Join(a, "\n"), strings.Join(b, "\n"))
		}
	}
}

func TestMemoryGuide_TableOfSlotsIsThatOfTheRealTypes(t *testing.T) {
	rows := 0
	for line := range strings.Lines(between(t, text(t, "docs/memory.md"), "slots")) {
		var klines, columns, buffer, slot, finder int
		if n, _ := fmt.Sscanf(line, "| %d | %d | %d | %d | %d |", &klines, &columns, &buffer, &slot, &finder); n != 5 {
			continue
		}
		rows++
		if slot != columns+buffer {
			t.Errorf("%d klines: %d + %d is not %d", klines, columns, buffer, slot)
		}
		near := func(what string, said int, bytes uint64) {
			if kib := float64(bytes) / 1024; float64(said) < kib*0.85 || float64(said) > kib*1.2+1 {
				t.Errorf("%d klines: the %s takes %.1f KiB, the guide says %d", klines, what, kib, said)
			}
		}
		var c levels.Candles
		c.Reset("1h", klines+1) // as service.fetch does
		near("group of columns", columns, uint64(8*(cap(c.OpenTime)+cap(c.Open)+cap(c.High)+cap(c.Low)+cap(c.Close)+cap(c.Volume))))
		finders := make([]levels.Finder, 20)
		before := heap()
		for i := range finders {
			c.Reset("1h", klines+1)
			wander(&c, klines, uint64(i+1))
			finders[i].Faint = true // as in the service
			if _, err := finders[i].Find(&c); err != nil {
				t.Fatal(err)
			}
		}
		near("finder", finder, (heap()-before)/uint64(len(finders)))
		runtime.KeepAlive(finders)
		if !strings.Contains(text(t, "service/slots.go"), fmt.Sprintf("decodeBuffer = %d << 10", buffer)) {
			t.Errorf("the buffer of a slot is not %d KiB any more", buffer)
		}
	}
	if rows < 3 {
		t.Fatalf("%d rows found", rows)
	}
}

func TestMemoryGuide_TableOfAdmissionIsWhatTheServiceDoes(t *testing.T) {
	rows := 0
	for line := range strings.Lines(between(t, text(t, "docs/memory.md"), "admitted")) {
		var klines, kib int64
		if n, _ := fmt.Sscanf(line, "| %d | %d |", &klines, &kib); n != 2 {
			continue
		}
		rows++
		if bytes := service.SlotBytes(int(klines)); kib != (bytes+512)>>10 {
			t.Errorf("%d klines are admitted with %d bytes, the guide says %d KiB", klines, bytes, kib)
		}
	}
	if rows < 3 {
		t.Fatalf("%d rows found", rows)
	}
}

// heap is what is reachable on the heap, in bytes.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the second finishes what the first began to sweep
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// wander fills c with n candles of a deterministic random walk, another one for
// each seed.
func wander(c *levels.Candles, n int, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 2))
	price := 100.0
	for i := range n {
		open := price
		price *= math.Exp(0.01 * random.NormFloat64())
		k := levels.Candle{
			OpenTime: int64(i) * c.Interval.Milliseconds(), Open: open, Close: price,
			High: max(open, price) * (1 + 0.003*random.Float64()), Low: min(open, price) * (1 - 0.003*random.Float64()), Volume: 1000 * random.Float64(),
		}
		if err := c.Append(k); err != nil {
			panic(err)
		}
	}
}

// --- what is kept a copy of

func TestVendor_AsksTheNpmClientAndChecksWhatItGets(t *testing.T) {
	script := text(t, "scripts/vendor")
	if strings.Contains(script, "://") {
		t.Error("scripts/vendor names an address; npm knows where packages are")
	}
	found := 0
	for _, m := range regexp.MustCompile(`(?m)^fetch (\S+) \S+ .*\\\n\t([0-9a-f]{64}) (\S+)$`).FindAllStringSubmatch(script, -1) {
		found++
		packed, err := os.Open(m[3])
		if err != nil {
			t.Fatal(err)
		}
		defer packed.Close()
		z, err := gzip.NewReader(packed)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, z); err != nil || hex.EncodeToString(sum.Sum(nil)) != m[2] {
			t.Errorf("%s is not what scripts/vendor fetches of %s: %x, %v", m[3], m[1], sum.Sum(nil), err)
		}
	}
	if found == 0 {
		t.Error("no package found: this test reads the script wrong")
	}
}

// --- licences

func TestNotices_ListEveryModuleThatIsLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Fields(string(out))
	slices.Sort(linked)
	linked = slices.Compact(linked)
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(text(t, "THIRD_PARTY_NOTICES.md"), -1) {
		listed = append(listed, m[1])
	}
	if !slices.Equal(linked, listed) {
		t.Errorf("linked are\n%s\nlisted are\n%s", strings.Join(linked, "\n"), strings.Join(listed, "\n"))
	}
}

// --- releases

func TestPackage_TheUnitAndItsFilesFit(t *testing.T) {
	unit := text(t, "deploy/package/tidemark.service")
	environ := regexp.MustCompile(`(?m)^Environment=(.+)$`).FindAllStringSubmatch(unit, -1)
	lines := []string{"HTTP_ADDR=127.0.0.1:8080"}
	for _, m := range environ {
		lines = append(lines, m[1])
	}
	for name, value := range environmentFile(t, "deploy/package/tidemark.env") {
		lines = append(lines, name+"="+value)
	}
	for _, m := range regexp.MustCompile(`(?m)^#([A-Z_]+)=`).FindAllStringSubmatch(text(t, "deploy/package/tidemark.env"), -1) {
		if !knownVariable(m[1]) {
			t.Errorf("tidemark.env shows %s, which is no variable of tidemark", m[1])
		}
	}
	c, err := config.Load(lines, nil, venues.Names())
	if err != nil || c.CheckExposure() != nil || c.DatabaseURL != "sqlite:///var/lib/tidemark/tidemark.db" {
		t.Errorf("%v, %v: %s", err, c.CheckExposure(), c.DatabaseURL)
	}
	if stop := regexp.MustCompile(`TimeoutStopSec=(\d+)`).FindStringSubmatch(unit); stop == nil || stop[1] <= fmt.Sprint(c.StopTimeout.Seconds()) {
		t.Errorf("systemd kills it after %v, STOP_TIMEOUT is %s", stop, c.StopTimeout)
	}
	sources := regexp.MustCompile(`\$\{SHARED\}/((?:deploy/|LICENSE)\S*)`).FindAllStringSubmatch(text(t, "deploy/package/nfpm.yaml"), -1)
	if len(sources) < 5 || len(environ) == 0 {
		t.Fatalf("%d files of the package, %d variables of the unit", len(sources), len(environ))
	}
	for _, m := range sources {
		if _, err := os.Stat(m[1]); err != nil {
			t.Error(err)
		}
	}
}

func TestKubernetes_ManifestsFitTheProgram(t *testing.T) {
	type container struct {
		Env             []struct{ Name, Value string }
		LivenessProbe   probe `yaml:"livenessProbe"`
		ReadinessProbe  probe `yaml:"readinessProbe"`
		SecurityContext struct {
			ReadOnlyRootFilesystem bool `yaml:"readOnlyRootFilesystem"`
		} `yaml:"securityContext"`
		Resources    struct{ Limits map[string]string }
		VolumeMounts []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
	}
	var data, files map[string]string
	roles := map[string]container{}
	for _, document := range strings.Split(text(t, "deploy/kubernetes/tidemark.yaml"), "\n---\n") {
		var object struct {
			Kind       string
			Data       map[string]string
			StringData map[string]string `yaml:"stringData"`
			Spec       struct {
				Template struct {
					Spec struct{ Containers []container }
				}
			}
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		switch object.Kind {
		case "ConfigMap":
			data = object.Data
		case "Secret":
			files = object.StringData
		case "Deployment":
			c := object.Spec.Template.Spec.Containers[0]
			roles[c.Env[0].Value] = c
		}
	}
	folder := t.TempDir()
	for name, value := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, role := range []string{"api", "worker"} {
		c, is := roles[role]
		if !is || c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" || !c.SecurityContext.ReadOnlyRootFilesystem || c.Resources.Limits["memory"] == "" {
			t.Errorf("%s: %+v", role, c)
		}
		lines := []string{"HTTP_ADDR=0.0.0.0:8080"} // of the image
		for name, value := range data {
			lines = append(lines, name+"="+strings.Replace(value, c.VolumeMounts[0].MountPath, folder, 1))
		}
		for _, e := range c.Env {
			lines = append(lines, e.Name+"="+e.Value)
		}
		cfg, err := config.Load(lines, nil, venues.Names())
		if err != nil || cfg.CheckExposure() != nil || cfg.Role != role || !strings.HasPrefix(cfg.DatabaseURL, "postgres://") {
			t.Errorf("%s: %v, %v, %s", role, err, cfg.CheckExposure(), cfg.Role)
		}
		if _, err := notify.NewSealer(cfg.SecretsKey); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
}

type probe struct {
	HTTPGet struct{ Path string } `yaml:"httpGet"`
}
