package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"tidemark/command"
	"tidemark/exchange/simulated"
)

// These tests pin what people see on a terminal, a real pseudo-terminal here:
// colours unless they are unwanted, no line wider than the screen, nothing lost on
// a narrow one; and that what is piped has neither colours nor a width.

// onTerminal runs one command line with its output on a terminal so many columns
// wide, and returns what was written to it.
func onTerminal(t *testing.T, columns uint16, environ []string, args ...string) (code int, screen string) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(&shown, master)
		read <- err
	}()
	code = command.ExitCode(run(t.Context(), args, environ, tty, tty), tty)
	tty.Close()
	// EIO is how Linux tells that nobody holds the terminal any more
	if err := <-read; err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	return code, strings.ReplaceAll(shown.String(), "\r\n", "\n")
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// widest is the width of the widest line, without what takes no room.
func widest(screen string) int {
	widest := 0
	for line := range strings.Lines(escapes.ReplaceAllString(screen, "")) {
		widest = max(widest, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")))
	}
	return widest
}

func TestTerminal_LevelsAreColouredAndFit(t *testing.T) {
	// an hour at which BTCUSDT has levels on both sides, and long ago
	hour := time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)
	_, exchange := market(t, simulated.Options{Pairs: 6, Now: func() time.Time { return hour }})
	environ := []string{"EXCHANGE=simulated", "EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + sqliteURL(t), "TERM=xterm"}
	code, wide := onTerminal(t, 200, environ, "analyze", "BTCUSDT")
	if code != 0 || !strings.HasPrefix(wide, "\x1b[1;33mSIMULATED \x1b[0m\x1b[1msimulated BTCUSDT 1h\x1b[0m (BTC/USDT) as of ") {
		t.Fatalf("analyze: %d %q", code, wide)
	}
	code, piped, errs := execute(t, environ, "levels", "BTCUSDT")
	if code != 0 || strings.Contains(piped, "\x1b") {
		t.Fatalf("levels, piped: %d %q %s", code, piped, errs)
	}
	code, out, _ := execute(t, environ, "levels", "BTCUSDT", "--json")
	var a analysisReply
	if err := json.Unmarshal([]byte(out), &a); code != 0 || err != nil || len(a.Supports) == 0 || len(a.Resistances) == 0 {
		t.Fatalf("levels --json: %d %v %s", code, err, out)
	}
	_, wide = onTerminal(t, 200, environ, "levels", "BTCUSDT")
	lines := func(colours string) int {
		return len(regexp.MustCompile("\x1b\\["+colours+"m").FindAllString(wide, -1))
	}
	if red, green := lines("(1;)?31"), lines("(1;)?32"); red != len(a.Resistances) || green != len(a.Supports) {
		t.Errorf("%d lines are red and %d green, of %d resistances and %d supports", red, green, len(a.Resistances), len(a.Supports))
	}
	better := 0
	for _, l := range append(a.Supports, a.Resistances...) {
		if l.HoldInterval != nil && l.HoldInterval[0] > *l.Baseline {
			better++
		}
	}
	if bright := lines("1;3[12]"); bright != better || better == 0 || better == len(a.Supports)+len(a.Resistances) {
		t.Errorf("%d lines are bright; %d levels surely hold more often than any line", bright, better)
	}
	if plain := escapes.ReplaceAllString(wide, ""); plain != piped {
		t.Errorf("a wide terminal shows\n%s\na pipe\n%s", plain, piped)
	}

	for _, columns := range []uint16{80, 40} {
		_, narrow := onTerminal(t, columns, environ, "levels", "BTCUSDT")
		_, table, stale := strings.Cut(narrow, "\n\x1b[1;33mSTALE: ")
		if !stale {
			t.Fatalf("%d columns: the levels are not said to be stale:\n%s", columns, narrow)
		}
		_, table, _ = strings.Cut(table, "\n") // the sentences above the table wrap by themselves
		if got := widest(table); got > int(columns) {
			t.Errorf("%d columns: a line of the table has %d:\n%s", columns, got, narrow)
		}
		for _, word := range strings.Fields(piped) {
			if !strings.Contains(narrow, word) {
				t.Errorf("%d columns: %q is lost:\n%s", columns, word, narrow)
			}
		}
	}

	for _, unwanted := range []string{"NO_COLOR=1", "TERM=dumb"} {
		if _, screen := onTerminal(t, 200, append(environ[:3:3], unwanted), "levels", "BTCUSDT"); screen != piped {
			t.Errorf("%s: %q", unwanted, screen)
		}
	}
	if _, screen := onTerminal(t, 200, append(environ, "NO_COLOR="), "levels", "BTCUSDT"); !strings.Contains(screen, "\x1b[") {
		t.Errorf("NO_COLOR set to nothing takes the colours away: %q", screen)
	}
	if _, screen := onTerminal(t, 200, environ, "levels", "BTCUSDT", "--json"); strings.Contains(screen, "\x1b") {
		t.Errorf("--json on a terminal: %q", screen)
	}

	// levels have names, from the price outwards, and ids
	for name, id := range map[string]string{"R1": a.Resistances[0].ID, "s1": a.Supports[0].ID} {
		if !regexp.MustCompile(`(?m)^ +` + strings.ToUpper(name) + ` .* ` + id + `$`).MatchString(piped) {
			t.Errorf("%s is not %s:\n%s", name, id, piped)
		}
		_, byID, _ := execute(t, environ, "levels", "BTCUSDT", "--explain", id)
		if code, byName, errs := execute(t, environ, "levels", "BTCUSDT", "--explain", name); code != 0 || byName != byID {
			t.Errorf("--explain %s: %d %s\n%s\n--explain %s:\n%s", name, code, errs, byName, id, byID)
		}
	}
	if code, _, errs := execute(t, environ, "levels", "BTCUSDT", "--explain", "R99"); code != command.ExitFailed || !strings.Contains(errs, "there is no R99") {
		t.Errorf("--explain R99: %d %s", code, errs)
	}

	// in Chinese the table fits, too; programs read the same
	in := append(environ, "LANG=zh_CN.UTF-8")
	if _, narrow := onTerminal(t, 80, in, "levels", "BTCUSDT"); !strings.Contains(narrow, "任意线") || !strings.Contains(narrow, "已过时：") || strings.Contains(narrow, "edge") {
		t.Errorf("Chinese:\n%s", narrow)
	}
	if _, json, _ := execute(t, in, "levels", "BTCUSDT", "--json"); json != out {
		t.Errorf("--json in Chinese:\n%s", json)
	}
	_, why, _ := execute(t, in, "levels", "BTCUSDT", "--explain", "R1")
	if english := regexp.MustCompile(`[a-z]{3,} [a-z]{3,} [a-z]{3,}`).FindString(why); english != "" || !strings.Contains(why, "阻力位") {
		t.Errorf("the explanation in Chinese has %q:\n%s", english, why)
	}
}

func TestTerminal_AnExplanationShowsWhatHeldAndWhatBroke(t *testing.T) {
	t.Parallel()
	_, exchange := market(t, simulated.Options{Pairs: 6})
	environ := []string{"EXCHANGE=simulated", "EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + sqliteURL(t), "TERM=xterm"}
	code, out, errs := execute(t, environ, "analyze", "BTCUSDT", "--json")
	var a struct{ Supports, Resistances []struct{ ID string } }
	if err := json.Unmarshal([]byte(out), &a); code != 0 || err != nil {
		t.Fatalf("analyze: %d %v %s", code, err, errs)
	}
	held, broke := 0, 0
	for _, l := range append(a.Supports, a.Resistances...) {
		_, piped, _ := execute(t, environ, "levels", "BTCUSDT", "--explain", l.ID)
		code, screen := onTerminal(t, 200, environ, "levels", "BTCUSDT", "--explain", l.ID)
		if plain := escapes.ReplaceAllString(screen, ""); code != 0 || plain != piped {
			t.Fatalf("%d: a terminal shows\n%s\na pipe\n%s", code, plain, piped)
		}
		for line := range strings.Lines(screen) {
			switch isGreen, isRed := strings.HasPrefix(line, "\x1b[32m"), strings.HasPrefix(line, "\x1b[31m"); {
			case strings.Contains(line, "  held  "):
				held++
				if !isGreen {
					t.Errorf("%q is not green", line)
				}
			case strings.Contains(line, "  broke  "):
				broke++
				if !isRed {
					t.Errorf("%q is not red", line)
				}
			case isGreen || isRed:
				t.Errorf("%q is coloured", line)
			}
		}
	}
	if held == 0 || broke == 0 {
		t.Errorf("%d held and %d broke: too few to tell anything", held, broke)
	}
}

func TestTerminal_AnEvaluationFits(t *testing.T) {
	t.Parallel()
	folder := candleFolder(t, 2)
	evaluate := []string{"evaluate", folder, "--klines", "1000", "--methods", "tidemark,random"}
	code, piped, errs := execute(t, nil, evaluate...)
	if code != 0 || strings.Contains(piped, "\x1b") {
		t.Fatalf("evaluate, piped: %d %q %s", code, piped, errs)
	}
	code, screen := onTerminal(t, 70, []string{"TERM=xterm"}, evaluate...)
	_, screen, _ = strings.Cut(screen, "\x1b[K\x1b[1m"+strings.SplitN(piped, "\n", 2)[0]+"\x1b[0m\n") // after the bar and the title
	if code != 0 || screen == "" {
		t.Fatalf("evaluate: %d %q", code, screen)
	}
	for _, word := range strings.Fields(piped[strings.Index(piped, "\n"):]) {
		if !strings.Contains(screen, word) {
			t.Errorf("%q is lost:\n%s", word, screen)
		}
	}
	tables := 0
	for line := range strings.Lines(screen) {
		if !strings.HasPrefix(line, "  ") { // sentences wrap by themselves
			continue
		}
		tables++
		if got := widest(line); got > 70 {
			t.Errorf("a line of a table has %d columns: %q", got, line)
		}
	}
	if tables < 12 {
		t.Errorf("%d lines of tables:\n%s", tables, screen)
	}
}

func TestTerminal_ASweepDrawsItsBarWithinTheScreen(t *testing.T) {
	t.Parallel()
	_, exchange := market(t, simulated.Options{Pairs: 6})
	environ := []string{"EXCHANGE=simulated", "EXCHANGE_BASE_URL=" + exchange}
	sweep := func(extra string) string {
		code, screen := onTerminal(t, 60, append(environ, "DATABASE_URL="+sqliteURL(t), extra), "sweep")
		if code != command.ExitPartial || !strings.Contains(screen, "pairs analysed") {
			t.Fatalf("sweep: %d %q", code, screen)
		}
		return screen
	}
	screen := sweep("TERM=xterm")
	bars := strings.Split(screen, "\r\x1b[K")
	if len(bars) < 3 {
		t.Fatalf("no bar was drawn: %q", screen)
	}
	for _, bar := range bars[1 : len(bars)-1] {
		if got := utf8.RuneCountInString(bar); got >= 60 {
			t.Errorf("a bar of %d columns on a screen of 60: %q", got, bar)
		}
	}
	if report := bars[len(bars)-1]; !strings.Contains(report, "\x1b[32mcompleted\x1b[0m") || !strings.Contains(report, "\x1b[31mtoo_few_candles\x1b[0m") {
		t.Errorf("the report: %q", report)
	}
	if screen := sweep("TERM=dumb"); strings.ContainsAny(screen, "\x1b\r") || !strings.Contains(screen, "pairs/s") {
		t.Errorf("TERM=dumb: %q", screen)
	}
}
