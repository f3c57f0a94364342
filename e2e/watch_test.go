package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"

	"tidemark/command"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/wire"
)

// These tests pin what watch shows of a running service: one table or one object a
// pair where it is piped; on a real pseudo-terminal a screen that keeps to its size,
// says when the service is gone and back, and leaves the terminal as it was.

const watchKey = "0123456789abcdef-watch"

// watched is a service that has swept a market whose newest candles are as old as
// given, and the environment of who watches it.
func watched(t *testing.T, old time.Duration) (r *running, environ []string, again func() *running) {
	t.Helper()
	_, exchange := market(t, simulated.Options{Pairs: 12, Now: func() time.Time { return time.Now().Add(-old) }})
	settings := []string{"EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + sqliteURL(t)}
	environ = append(settings, "EXCHANGE=simulated", "TERM=xterm")
	if code, _, errs := execute(t, environ, "sweep"); code != command.ExitPartial {
		t.Fatalf("sweep: %d %s", code, errs)
	}
	r = serve(t, append(settings, "API_KEYS="+watchKey)...)
	address := strings.TrimPrefix(r.base, "http://")
	again = func() *running { return serve(t, append(settings, "API_KEYS="+watchKey, "HTTP_ADDR="+address)...) }
	return r, append(environ, "HTTP_ADDR="+address, "API_KEYS="+watchKey), again
}

// nearRow is what is read of a line of watch --json.
type nearRow struct {
	Symbol    string
	Name      string
	Simulated bool
	LastPrice json.Number `json:"last_price"`
}

// What watch writes to a terminal: its second screen and back, the upper left corner, and
// the end of the lines below.
const (
	enterScreenCodes = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	leaveScreenCodes = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	homeScreenCodes  = "\x1b[H"
	clearBelowCodes  = "\x1b[J"
)

func TestWatch_PipedIsOneTable(t *testing.T) {
	t.Parallel()
	r, environ, _ := watched(t, 0)
	code, out, errs := execute(t, environ, "watch", "--json")
	if code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	seen, last := map[string]bool{}, 0.0
	for line := range strings.Lines(out) {
		var l struct {
			nearRow
			DistanceATR float64 `json:"distance_atr"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if distance := max(l.DistanceATR, -l.DistanceATR); seen[l.Symbol] || distance < last || !l.Simulated {
			t.Errorf("%s after %v: %s", l.Symbol, last, line)
		} else {
			last = distance
		}
		seen[l.Symbol] = true
	}
	if len(seen) < 6 { // some pairs have no level at this hour
		t.Errorf("%d pairs:\n%s", len(seen), out)
	}
	code, table, errs := execute(t, environ, "watch", "--pairs", "3")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if code != 0 || len(lines) != 6 || !strings.Contains(lines[1], "No prices between closes") || !strings.HasPrefix(table, "SIMULATED simulated 1h: 3 pairs nearest to a level") || strings.Contains(table, "\x1b") {
		t.Errorf("%d %s\n%s", code, errs, table)
	}
	for i, line := range lines[3:] { // the same pairs in the same order
		var l nearRow
		if err := json.Unmarshal([]byte(strings.Split(out, "\n")[i]), &l); err != nil || !strings.HasPrefix(strings.TrimSpace(line), l.Name+" ") || !strings.Contains(line, l.LastPrice.String()) {
			t.Errorf("%q; want %+v, %v", line, l, err)
		}
	}
	if code, plain := onTerminal(t, 200, append(environ, "TERM=dumb"), "watch", "--pairs", "3"); code != 0 || strings.Contains(plain, "\x1b") {
		t.Errorf("TERM=dumb: %d %q", code, plain)
	}
	// on 60 columns the zone and the edge are seen, of the levels that the filters leave
	code, narrow := onTerminal(t, 60, append(environ, "TERM=dumb"), "watch", "--side", "support", "--within", "5", "--state", "untested,held,broken,reclaimed")
	head, rows, _ := strings.Cut(narrow[strings.Index(narrow, "  pair"):], "\n")
	if fields := strings.Fields(head); code != 0 || len(fields) < 4 || fields[2] != "zone" || fields[3] != "edge" || widest(narrow[strings.Index(narrow, "  pair"):]) > 60 {
		t.Errorf("60 columns: %d\n%s", code, narrow)
	}
	if rows == "" || strings.Contains(narrow, "resistance") || strings.Contains(rows, " +") {
		t.Errorf("supports at most 5 ATR away:\n%s", narrow)
	}
	if code, none, _ := execute(t, environ, "watch", "--symbols", "NOUSDT"); code != 0 || !strings.Contains(none, "No level matches the filters") {
		t.Errorf("no such pair: %d\n%s", code, none)
	}
	if code, chinese, _ := execute(t, append(environ, "LC_ALL=zh_CN.UTF-8"), "watch", "--pairs", "3"); code != 0 || !strings.HasPrefix(chinese, "模拟 simulated 1h：离价位最近的 3 个交易对") {
		t.Errorf("Chinese: %d\n%s", code, chinese)
	}
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{command.ExitUsage, "--side: ", []string{"--side", "up"}},
		{command.ExitUsage, "--state: ", []string{"--state", "gone"}},
		{command.ExitUsage, "--within: ", []string{"--within", "-1"}},
		{command.ExitUsage, "--symbols: ", []string{"--symbols", "$"}},
		{command.ExitUsage, "responds with 400", []string{"--watchlist", "@"}},
		{command.ExitUsage, "is not the address of a service", []string{"--url", "localhost:8080"}},
		{command.ExitUsage, "--every: 1ms is not between", []string{"--every", "1ms"}},
		{command.ExitUsage, "--pairs: 501 is not between", []string{"--pairs", "501"}},
		{command.ExitUsage, "--interval: ", []string{"--interval", "61m"}},
		{command.ExitFailed, "not reachable", []string{"--url", "http://127.0.0.1:1"}},
		{command.ExitFailed, "responds with 404", []string{"--url", r.base + "/nowhere"}},
		{command.ExitFailed, "requires an API key", []string{"--api-keys", "not-the-key-of-the-service"}},
	} {
		if code, _, errs := execute(t, environ, append([]string{"watch"}, c.args...)...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d %q; want %d %q", c.args, code, errs, c.code, c.want)
		}
	}
}

func TestWatch_SaysWhatIsStale(t *testing.T) {
	t.Parallel()
	_, environ, _ := watched(t, 72*time.Hour)
	_, table, _ := execute(t, environ, "watch")
	if !strings.Contains(table, "\nSTALE: ") || !strings.Contains(table, " STALE BTC") || !strings.Contains(table, " 3 d\n") {
		t.Error(table)
	}
}

// shownOn waits until the terminal was sent what is wanted after the mark, and
// returns where that ends.
func shownOn(t *testing.T, screen *syncBuffer, mark int, want string) int {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		text := screen.String()
		if at := strings.Index(text[mark:], want); at >= 0 {
			return mark + at + len(want)
		}
	}
	t.Fatalf("%q was not shown:\n%q", want, screen.String()[mark:])
	return 0
}

// watchOnTerminal starts watch on a terminal of its own. What is written to it is in screen.
func watchOnTerminal(t *testing.T, size pty.Winsize, environ []string, args ...string) (cmd *exec.Cmd, tty *os.File, screen *syncBuffer) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(program, append([]string{"watch", "--every", "1s"}, args...)...)
	cmd.Env = append(environ, childVariable+"=1")
	tty, err = pty.StartWithSize(cmd, &size)
	if err != nil {
		t.Fatal(err)
	}
	screen = &syncBuffer{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(screen, tty) // until an error, when nobody holds the terminal any more
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		<-read
		tty.Close()
	})
	return cmd, tty, screen
}

func TestWatch_OutlivesTheServiceAndRestoresTheTerminal(t *testing.T) {
	t.Parallel()
	r, environ, again := watched(t, 0)
	cmd, tty, screen := watchOnTerminal(t, pty.Winsize{Rows: 12, Cols: 90}, environ)
	mark := shownOn(t, screen, 0, enterScreenCodes)
	begin := mark
	mark = shownOn(t, screen, mark, "SIMULATED simulated 1h: 7 pairs nearest to a level")
	mark = shownOn(t, screen, mark, clearBelowCodes)

	if err := pty.Setsize(tty, &pty.Winsize{Rows: 9, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	mark = shownOn(t, screen, mark, "SIMULATED simulated 1h: 4 pairs")
	mark = shownOn(t, screen, mark, clearBelowCodes)
	if err := r.end(t); err != nil {
		t.Fatal(err)
	}
	mark = shownOn(t, screen, mark, "NO RESPONSE since ")
	again()
	mark = shownOn(t, screen, mark, "The service responds again since ")
	mark = shownOn(t, screen, mark, clearBelowCodes)
	if _, err := tty.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	shownOn(t, screen, mark, leaveScreenCodes)

	for i, picture := range strings.Split(screen.String()[begin:], homeScreenCodes)[1:] {
		rows, columns := 12, 90
		if strings.Contains(picture, ": 4 pairs") {
			rows, columns = 9, 40
		}
		picture, _, _ = strings.Cut(picture, clearBelowCodes)
		if strings.Count(picture, "\r\n") >= rows || widest(strings.ReplaceAll(picture, "\r\n", "\n")) > columns {
			t.Errorf("picture %d does not fit %d lines of %d:\n%s", i, rows, columns, picture)
		}
	}
}

func TestWatch_ObeysNoServiceOnTheTerminal(t *testing.T) {
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"exchange":"\u001b[2Jx","interval":"1h","levels":[{"symbol":"A\u001b]0;B","as_of":"2026-11-22T19:00:00Z",`+
			`"last_price":1,"market_price":1.25,"market_price_at":"2026-11-22T19:00:10Z","role":"support\u009b","low":1,"high":1,"distance_pct":0}],"next":null}`)
	}))
	defer evil.Close()
	code, out, errs := execute(t, nil, "watch", "--url", evil.URL)
	if code != 0 || !strings.Contains(out, " A]0;B ") || !strings.Contains(out, " 1.25 ") || strings.ContainsAny(out, "\x1b\u009b") {
		t.Errorf("%d %q %s", code, out, errs)
	}
}

func TestWatch_EndsWhereTheServiceRefuses(t *testing.T) {
	t.Parallel()
	_, environ, _ := watched(t, 0)
	environ[len(environ)-1] = "API_KEYS=not-the-key-of-the-service"
	code, shown := onTerminal(t, 90, environ, "watch")
	if code != command.ExitFailed || !strings.Contains(shown, "requires an API key") || strings.Contains(shown, enterScreenCodes) {
		t.Errorf("%d %q", code, shown)
	}
}

// pastALevel is a market in which the price of BTC/USDT passes a level between two closes,
// by the clock of the exchange, which stands still until it is moved.
type pastALevel struct {
	now           atomic.Int64 // Unix ms
	options       simulated.Options
	before, after int64 // on two sides of the level, Unix ms
}

func newPastALevel(t *testing.T) *pastALevel {
	t.Helper()
	opened := time.Date(2026, time.November, 2, 12, 0, 0, 0, time.UTC).UnixMilli() // always the same market
	const minute = 60_000
	for seed := range uint64(200) {
		m := &pastALevel{}
		m.options = simulated.Options{Pairs: 6, Seed: 1 + seed, Now: func() time.Time { return time.UnixMilli(m.now.Load()) }}
		m.now.Store(opened)
		c := hours(t, simulated.New(m.options))
		var f levels.Finder
		if c.Len() < levels.MinOddsCandles {
			continue
		}
		a, err := f.Find(&c)
		if err != nil {
			t.Fatal(err)
		}
		var drawn []float64
		for _, l := range slices.Concat(a.Supports, a.Resistances) {
			if !l.Faint(3) && l.Status != levels.Broken {
				drawn = append(drawn, float64(l.Price))
			}
		}
		nearest := func(price float64) (level float64) {
			for _, l := range drawn {
				if level == 0 || math.Abs(l-price) < math.Abs(level-price) {
					level = l
				}
			}
			return level
		}
		m.before = opened + minute
		first := m.prices(t)["BTC/USDT"]
		for m.after = m.before + minute; m.after < opened+50*minute; m.after += minute {
			m.now.Store(m.after)
			last := m.prices(t)["BTC/USDT"]
			if level := nearest(first); level != 0 && level == nearest(last) && (first < level) != (last < level) && level != last {
				m.now.Store(m.before)
				return m
			}
		}
	}
	t.Fatal("in no market price passes a level within an hour")
	return nil
}

// prices returns the last prices of the exchange by canonical name, of the pairs quoted in USDT.
func (m *pastALevel) prices(t *testing.T) map[string]float64 {
	t.Helper()
	o := m.options
	at := m.now.Load()
	o.Now = func() time.Time { return time.UnixMilli(at) }
	w := httptest.NewRecorder()
	simulated.New(o).ServeHTTP(w, httptest.NewRequest("GET", "/api/v3/ticker/price", nil))
	var all []struct {
		Symbol string
		Price  float64 `json:",string"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	of := map[string]float64{}
	for _, p := range all {
		if base, is := strings.CutSuffix(p.Symbol, "USDT"); is {
			of[base+"/USDT"] = p.Price
		}
	}
	return of
}

// nearestOnScreen matches a line of watch with a live price.
var nearestOnScreen = regexp.MustCompile(`(?m)^ *(\S+/USDT) +([+-][\d.]+) % +([\d.]+)–([\d.]+) +[\d.]+ +(support|resistance) +([+-][\d.]+) +([\d.]+) `)

// Between two closes watch shows the last price, and the distance, the role and the choice
// of the nearest level by it, whether the price is read or pushed. A level that price has
// passed is on its other side in the first picture with that price.
func TestWatch_FollowsThePriceBetweenCloses(t *testing.T) {
	t.Parallel()
	m := newPastALevel(t)
	m.now.Store(m.before)
	truths := []map[string]float64{m.prices(t)}
	m.now.Store(m.after)
	truths = append(truths, m.prices(t))
	for name, c := range map[string]struct{ venue, live, every string }{
		"Read":            {"binance", "false", "1s"},
		"PushedByBinance": {"binance", "true", "10m"},
		"PushedByOKX":     {"okx", "true", "10m"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := &atomic.Int64{}
			clock.Store(m.before)
			o := m.options
			o.Venue, o.Now = c.venue, func() time.Time { return time.UnixMilli(clock.Load()) }
			environ := append(severalExchanges(t, o), "ANALYSIS_KLINE_LIMIT=2000", "ANALYSIS_LIVE="+c.live, "PRICES_EVERY="+c.every)
			r := serve(t, environ...)
			environ = append(environ, "HTTP_ADDR="+strings.TrimPrefix(r.base, "http://"), "TERM=xterm")
			r.sweepAll(t, c.venue)
			_, _, screen := watchOnTerminal(t, pty.Winsize{Rows: 40, Cols: 160}, environ)
			mark := shownOn(t, screen, 0, enterScreenCodes)
			begin := mark
			for i, at := range []int64{m.before, m.after} {
				clock.Store(at)
				price := " " + strconv.FormatFloat(truths[i]["BTC/USDT"], 'f', -1, 64) + " "
				mark = shownOn(t, screen, mark, price)
			}
			mark = shownOn(t, screen, mark, clearBelowCodes)

			// what the levels are, as of the close
			stored := map[string]wire.Analysis{}
			for name := range truths[0] {
				var a wire.Analysis
				code, out, errs := execute(t, environ, "levels", name, "--json")
				if code != 0 {
					continue // not swept
				}
				if err := json.Unmarshal([]byte(out), &a); err != nil || a.Price != nil {
					t.Fatalf("%v %v %s", err, a.Price, errs)
				}
				stored[name] = a
			}
			roles, pictures := map[string][]string{}, 0
			for _, picture := range strings.Split(screen.String()[begin:mark], homeScreenCodes)[1:] {
				picture = escapes.ReplaceAllString(picture, "")
				for _, line := range nearestOnScreen.FindAllStringSubmatch(picture, -1) {
					number := func(i int) float64 {
						v, err := strconv.ParseFloat(line[i], 64)
						if err != nil {
							t.Fatal(err)
						}
						return v
					}
					name, a, price := line[1], stored[line[1]], number(7)
					if price != truths[0][name] && price != truths[1][name] && price != a.LastPrice { // before the first one is read
						t.Errorf("%s is shown at %v, it is at %v and %v", name, price, truths[0][name], truths[1][name])
					}
					all := slices.Concat(a.Supports, a.Resistances)
					i := slices.IndexFunc(all, func(l wire.Level) bool { return l.Low == number(3) && l.High == number(4) })
					if i < 0 {
						t.Errorf("no level is stored with the zone of %q", line[0])
						continue
					}
					l, want := all[i], "support"
					if l.Price > price {
						want = "resistance"
					}
					away := l.Price - price
					if line[5] != want || math.Abs(number(2)-100*away/price) > 0.0075 || math.Abs(number(6)-away/a.ATR) > 0.0075 {
						t.Errorf("%q; its level is at %v, the ATR %v", line[0], l.Price, a.ATR)
					}
					for _, other := range all {
						if math.Abs(other.Price-price) < math.Abs(away) {
							t.Errorf("%q is at %v, another level is nearer: %v", line[0], l.Price, other.Price)
						}
					}
					if of := roles[name+" "+l.ID]; len(of) == 0 || of[len(of)-1] != want {
						roles[name+" "+l.ID] = append(of, want)
					}
				}
				pictures++
			}
			passed := 0
			for of, changed := range roles {
				if strings.HasPrefix(of, "BTC/USDT ") && len(changed) == 2 {
					passed++
				}
			}
			if passed != 1 {
				t.Errorf("of the levels in %d pictures %v, want one that changed sides", pictures, roles)
			}
			t.Logf("%d pictures of %d levels", pictures, len(roles))
		})
	}
}
