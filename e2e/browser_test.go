package e2e

// These tests open the page in a real browser, Debian's Chromium. The program serves it
// on a simulated market. The page loads nothing from other hosts and follows its content
// security policy, shows the levels, follows the events of the service, survives a
// restart of the service, works with the keyboard alone, and has no finding of axe.

import (
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tidemark/exchange/simulated"
	"tidemark/job"
)

// browser is one tab. It notes what the page must not do.
type browser struct {
	ctx context.Context

	mu       sync.Mutex
	faults   []string // errors of the console, exceptions, violations of the policy
	requests []string // addresses asked for
}

// chromium is the browser of all tests, and how to end it.
var chromium = sync.OnceValues(func() (context.Context, error) {
	var program string
	for _, name := range []string{"chromium-headless-shell", "chromium"} {
		if path, err := exec.LookPath(name); err == nil && program == "" {
			program = path
		}
	}
	if program == "" {
		return nil, errors.New("found neither chromium-headless-shell nor chromium: run ./test.sh, which installs one")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.Flag("disable-component-update", true))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.Flag("no-sandbox", true))
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	endChromium = func() { cancel(); stop() }
	return ctx, chromedp.Do(ctx)
})

var endChromium = func() {}

// browse opens a tab that shares nothing with those of other tests, such as what a page stores.
func browse(t *testing.T) *browser {
	t.Helper()
	parent, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	b := &browser{ctx: ctx}
	err = chromedp.Listen(ctx, func(ev any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch ev := ev.(type) {
		case *network.EventRequestWillBeSent:
			b.requests = append(b.requests, ev.Request.URL)
		case *runtime.EventExceptionThrown:
			b.faults = append(b.faults, "exception: "+ev.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			b.faults = append(b.faults, fmt.Sprintf("console.%s", ev.Type))
		case *log.EventEntryAdded:
			b.faults = append(b.faults, strings.TrimSpace(ev.Entry.Text+" "+ev.Entry.URL))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.do(t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		return err
	}))
	return b
}

// do runs steps in the tab.
func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// eval returns what an expression is in the page.
func eval[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true in the page.
func (b *browser) until(t *testing.T, expression string) {
	t.Helper()
	wait := 10 * time.Millisecond // longer and longer: to look takes time of the page
	for deadline := time.Now().Add(time.Minute); !eval[bool](t, b, "!!("+expression+")"); wait = min(wait*3/2, 100*time.Millisecond) {
		time.Sleep(wait)
		if time.Now().After(deadline) {
			t.Fatalf("the page never came to %s; it says:\n%s\nfaults: %q", expression, eval[string](t, b, "document.body.innerText"), b.faults)
		}
	}
}

// after waits until an expression is true after act, which is repeated: the chart may move
// between the moment that act looks and the moment that it points.
func (b *browser) after(t *testing.T, act func(), expression string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		act()
		for soon := time.Now().Add(time.Second); time.Now().Before(soon); time.Sleep(20 * time.Millisecond) {
			if eval[bool](t, b, "!!("+expression+")") {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("whatever is done the page never comes to %s; faults: %q", expression, b.faults)
		}
	}
}

// keys presses keys, one after the other.
func (b *browser) keys(t *testing.T, keys string) {
	t.Helper()
	b.do(t, chromedp.KeyEvent(keys))
}

// show sets what the page is seen with.
func (b *browser) show(t *testing.T, width, height int64, scheme string) {
	t.Helper()
	b.do(t, chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		return err
	}))
}

// clean fails if the page did what it must not since the last time, but for faults
// that contain one of allowed.
func (b *browser) clean(t *testing.T, base string, allowed ...string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		if !slices.ContainsFunc(allowed, func(a string) bool { return strings.Contains(f, a) }) {
			t.Errorf("the browser complains: %s", f)
		}
	}
	for _, r := range b.requests {
		if !strings.HasPrefix(r, base+"/") && !strings.HasPrefix(r, "data:image/svg+xml") { // icons in the style sheet, and the browser's own
			t.Errorf("the page asks for %s", r)
		}
	}
	if len(b.requests) == 0 {
		t.Error("no request was seen")
	}
	b.faults, b.requests = nil, nil
}

// axe is axe-core, which scripts/vendor fetched.
var axe = sync.OnceValues(func() (string, error) {
	f, err := os.Open("testdata/axe.min.js.gz")
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", err
	}
	source, err := io.ReadAll(z)
	if err != nil {
		return "", err
	}
	vendor, err := os.ReadFile("scripts/vendor")
	if sum := sha256.Sum256(source); !strings.Contains(string(vendor), hex.EncodeToString(sum[:])) {
		return "", cmp.Or(err, errors.New("testdata/axe.min.js.gz is not what scripts/vendor fetches"))
	}
	return string(source), nil
})

// violations returns what keeps people out of the page as it is shown.
func (b *browser) violations(t *testing.T) []string {
	t.Helper()
	if !eval[bool](t, b, `"axe" in window`) {
		source, err := axe()
		if err != nil {
			t.Fatal(err)
		}
		eval[bool](t, b, source+"; true")
	}
	return eval[[]string](t, b, `axe.run(document, {preload: false}).then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ": " + n.html + " " + n.failureSummary)))`)
}

const shown = `document.querySelectorAll("#levels tr.support, #levels tr.resistance").length`

func TestPage_InABrowser(t *testing.T) {
	t.Parallel()
	database := "DATABASE_URL=" + sqliteURL(t)
	const pairs = "EXCHANGE_SIMULATED_PAIRS=24"
	s := serve(t, database, pairs)
	s.sweepTo(t)
	b := browse(t)
	b.show(t, 1440, 900, "dark")
	b.do(t, chromedp.Navigate(s.base+"/"))
	b.until(t, `document.body.dataset.ready === "BTCUSDT 1h"`)

	t.Run("ShowsTheStoredLevelsUnderItsPolicy", func(t *testing.T) {
		var a analysisReply
		s.get(t, "/levels/BTCUSDT", &a)
		supports := a.Supports.unbroken()
		want := min(6, len(supports)) + min(6, len(a.Resistances.unbroken()))
		if got := eval[int](t, b, shown); got != want { // there may be none at this hour
			t.Errorf("%d levels are shown, %d are stored within six a side", got, want)
		}
		prices := eval[[]string](t, b, `[...document.querySelectorAll("#levels tr.support td b:first-child")].map(e => e.textContent)`)
		// price may have passed one since
		var stored []string
		for _, l := range slices.Concat(a.Supports, a.Resistances) {
			stored = append(stored, fmt.Sprintf("%.2f", l.Price))
		}
		if first := strings.ReplaceAll(prices[0], ",", ""); !slices.Contains(stored, first) {
			t.Errorf("the first support is shown at %s, stored are %q", first, stored)
		}
		if banner := eval[string](t, b, `document.getElementById("simulated").innerText + document.title`); strings.Count(banner, "SIMULATED") != 2 {
			t.Errorf("the banner of a simulated market is %q", banner)
		}
		if painted := eval[int](t, b, `[...document.querySelectorAll("#chart canvas")].reduce((n, c) => n + (c.width && new Set(c.getContext("2d").getImageData(0, 0, c.width, c.height).data).size > 8), 0)`); painted == 0 {
			t.Error("nothing is painted on the chart")
		}
		t.Logf("shown %.0f ms after it was asked for", eval[float64](t, b, `performance.getEntriesByName("shown")[0].startTime`))
		b.clean(t, s.base)
	})

	t.Run("AsksForAPairBeforeItsScriptsAreRead", func(t *testing.T) {
		b.do(t, chromedp.Navigate("about:blank"), chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h"))
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h"`)
		early := eval[[]string](t, b, `performance.getEntriesByType("resource").filter(e => e.initiatorType === "fetch" && e.startTime < performance.getEntriesByType("navigation")[0].domInteractive).map(e => e.name)`)
		slices.Sort(early)
		var want []string
		for _, path := range []string{"/exchanges", "/jobs?limit=8", "/klines/BTCUSDT?interval=1h&limit=300", "/levels/BTCUSDT/marks?interval=1h", "/levels/BTCUSDT?interval=1h&faint=true"} {
			want = append(want, s.base+path)
		}
		if !slices.Equal(early, want) {
			t.Errorf("before, it asks for %q, want %q", early, want)
		}
		for _, name := range want[2:] { // the first two are polled
			if n := eval[int](t, b, fmt.Sprintf(`performance.getEntriesByName(%q).length`, name)); n != 1 {
				t.Errorf("%s is asked for %d times", name, n)
			}
		}
		b.do(t, chromedp.Navigate(s.base+"/"))
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h"`)
		b.clean(t, s.base)
	})

	t.Run("TellsTheFormingCandleApart", func(t *testing.T) {
		b.until(t, `document.getElementById("fresh").innerText.includes("Forming candle (hollow): ")`)
		var f struct{ Kline []float64 }
		s.get(t, "/klines/BTCUSDT/forming", &f)
		said := regexp.MustCompile(`hollow\): ([\d,.]+\d)`).FindStringSubmatch(eval[string](t, b, `document.getElementById("fresh").innerText`))
		if price, err := strconv.ParseFloat(strings.ReplaceAll(said[1], ",", ""), 64); err != nil || math.Abs(price/f.Kline[4]-1) > 0.02 {
			t.Errorf("the candle that forms is said to be at %s, it is at %v", said[1], f.Kline[4])
		}
		if legend := eval[string](t, b, `document.getElementById("legend").innerText`); strings.Contains(legend, "forming") {
			t.Errorf("without a cursor the last closed candle is told, not %q", legend)
		}
	})

	t.Run("KeepsItsStateInTheAddress", func(t *testing.T) {
		b.do(t, chromedp.Navigate(s.base+"/?symbol=ETHUSDT&interval=1h&per_side=2"))
		b.until(t, `document.body.dataset.ready === "ETHUSDT 1h"`)
		if got := eval[int](t, b, shown); got < 1 || got > 4 {
			t.Errorf("%d levels are shown of two a side", got)
		}
		eval[bool](t, b, `(e => { e.value = 1; e.dispatchEvent(new Event("input")); return true })(document.getElementById("per-side"))`)
		b.until(t, shown+" <= 2")
		if got := eval[string](t, b, "location.search"); got != "?symbol=ETHUSDT&interval=1h&per_side=1" {
			t.Errorf("the address says %s", got)
		}
		b.clean(t, s.base)
	})

	t.Run("IsUsedWithTheKeyboardAlone", func(t *testing.T) {
		b.do(t, chromedp.Navigate(s.base+"/?symbol=ETHUSDT&interval=1h"))
		b.until(t, `document.body.dataset.ready === "ETHUSDT 1h"`)
		b.keys(t, "/")
		b.until(t, `document.activeElement.id === "search"`)
		b.keys(t, "btcu")
		b.until(t, `document.querySelector("#found li")?.textContent === "BTCUSDT"`)
		b.keys(t, kb.Enter)
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h"`)
		eval[bool](t, b, `document.activeElement.blur(), true`)
		for range 60 { // whatever is on the way, the levels come
			b.keys(t, kb.Tab)
			if eval[bool](t, b, `document.activeElement.className === "name"`) {
				break
			}
		}
		b.keys(t, kb.ArrowDown)
		b.keys(t, kb.Enter)
		b.until(t, `document.querySelectorAll(".why .factors li").length > 3 && document.querySelector(".why .touches li")`)
		if !eval[bool](t, b, `document.activeElement.getAttribute("aria-expanded") === "true" && location.search.includes("level=")`) {
			t.Error("the level opened is not the one in focus, or not in the address")
		}
		b.keys(t, kb.Enter)
		b.until(t, `!document.querySelector(".why")`)
		b.clean(t, s.base)
	})

	t.Run("ExplainsInPointsThatAddUp", func(t *testing.T) {
		eval[bool](t, b, `document.querySelector("#levels tr.support").click(), true`)
		b.until(t, `document.querySelectorAll(".why .factors li").length > 3`)
		off := eval[float64](t, b, `(p => Math.abs(p.slice(0, -1).reduce((a, x) => a + x, 0) - p.at(-1)))(
			[...document.querySelectorAll(".why .points")].map(e => Number(e.textContent.replace("−", "-").replace("±", ""))))`)
		if off > 0.1 { // each is rounded to hundredths
			t.Errorf("the points shown miss their sum by %v", off)
		}
		b.clean(t, s.base)
	})

	t.Run("SwitchesTheIntervalAndFindsLevelsWhereThereAreNone", func(t *testing.T) {
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h"))
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h"`)
		eval[bool](t, b, `document.querySelector("#intervals input[value='4h']").click(), true`)
		b.until(t, `document.body.dataset.ready === "BTCUSDT 4h" && document.querySelector("#missing button")`)
		if eval[bool](t, b, `!document.getElementById("table").hidden`) {
			t.Error("the levels of another interval are still shown")
		}
		b.clean(t, s.base, "404 (Not Found) "+s.base+"/levels/BTCUSDT?interval=4h&faint=true")
		eval[bool](t, b, `document.querySelector("#missing button").click(), true`)
		b.until(t, shown+` > 0 && !document.querySelector("#missing button") && location.search.includes("interval=4h")`)
		b.clean(t, s.base)
	})

	t.Run("FollowsASweepLive", func(t *testing.T) {
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h"))
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && document.querySelector("#jobs .completed") && !document.getElementById("sweep").disabled`)
		before := eval[string](t, b, "document.body.dataset.computed")
		var known struct{ Jobs []jobReply }
		s.get(t, "/jobs", &known)
		eval[bool](t, b, `document.getElementById("sweep").click(), true`)
		b.until(t, `document.getElementById("said").textContent === "Sweep of 1h: completed" && document.body.dataset.computed > `+fmt.Sprintf("%q", before))
		var now struct{ Jobs []jobReply }
		s.get(t, "/jobs", &now)
		if len(now.Jobs) != len(known.Jobs)+1 {
			t.Fatalf("%d jobs have become %d", len(known.Jobs), len(now.Jobs))
		}
		b.mu.Lock()
		streamed := slices.Contains(b.requests, s.base+"/jobs/"+now.Jobs[0].ID+"/events")
		b.mu.Unlock()
		if !streamed {
			t.Error("the sweep was not followed by its events")
		}
		b.until(t, fmt.Sprintf(`document.getElementById("jobs").innerText.includes("%d of %d pairs")`, now.Jobs[0].Done+now.Jobs[0].Failed, now.Jobs[0].Total-now.Jobs[0].Skipped))
		b.clean(t, s.base)
	})

	t.Run("NoticesASweepOfSomebodyElse", func(t *testing.T) {
		before := eval[string](t, b, "document.body.dataset.computed")
		s.sweepTo(t)
		b.until(t, "document.body.dataset.computed > "+fmt.Sprintf("%q", before))
		b.clean(t, s.base)
	})

	t.Run("FollowsASweepByAskingWhereEventsDoNotComeThrough", func(t *testing.T) {
		eval[bool](t, b, `window.fetch = (plain => (path, options) => String(path).endsWith("/events") ? Promise.reject(new TypeError("held back")) : plain(path, options))(window.fetch), true`)
		before := eval[string](t, b, "document.body.dataset.computed")
		b.until(t, `!document.getElementById("sweep").disabled`)
		eval[bool](t, b, `document.getElementById("sweep").click(), true`)
		b.until(t, `document.getElementById("sweep").disabled === false && document.body.dataset.computed > `+fmt.Sprintf("%q", before))
		b.clean(t, s.base)
	})

	t.Run("ScreensTheMarketNearestFirst", func(t *testing.T) {
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h&role=support&sort=-edge"))
		const rows = `[...document.querySelectorAll("#market tbody tr")]`
		b.until(t, rows+`.length > 0 && document.body.dataset.ready`)
		edges := eval[[]float64](t, b, rows+`.map(r => Number(r.cells[4].querySelector("b").textContent))`)
		if !slices.IsSortedFunc(edges, func(a, b float64) int { return int(1000 * (b - a)) }) {
			t.Errorf("the edges are %v", edges)
		}
		if other := eval[int](t, b, rows+`.filter(r => !r.classList.contains("support")).length`); other > 0 {
			t.Errorf("%d rows are no supports", other)
		}
		eval[bool](t, b, `document.querySelector("#market th[data-sort=distance_atr] button").click(), true`)
		b.until(t, `location.search.includes("sort=distance_atr")`)
		b.until(t, rows+`.map(r => Math.abs(Number(r.cells[2].textContent.replace("−", "-")))).every((x, i, all) => !i || x >= all[i - 1])`)
		href := eval[string](t, b, `document.querySelector("#market a.csv").href`)
		res, err := http.Get(href)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || !strings.HasPrefix(kind, "text/csv") || !strings.Contains(href, "role=support") {
			t.Errorf("%s: %s, %s", href, res.Status, kind)
		}
		pair := eval[string](t, b, rows+`.map(r => r.cells[0].innerText).find(s => s !== "BTCUSDT")`)
		eval[bool](t, b, rows+`.find(r => r.cells[0].innerText === "`+pair+`").querySelector("button").click(), true`)
		b.until(t, `document.body.dataset.ready === "`+pair+` 1h" && document.querySelector(".why .touches li")`)
		b.clean(t, s.base)
	})

	choose := func(name, value string) {
		t.Helper()
		eval[bool](t, b, fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event("change", {bubbles: true})); return e.value === %[1]q })(document.querySelector("#market [name=%[2]s]"))`, value, name))
	}
	const marketRows = `[...document.querySelectorAll("#market tbody tr")]`

	t.Run("SaysTheEdgeAndTheOwnRecord", func(t *testing.T) {
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h&per_side=20"))
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && `+shown+` > 0`)
		var drawn, all analysisReply
		s.get(t, "/levels/BTCUSDT?interval=1h", &drawn)
		s.get(t, "/levels/BTCUSDT?interval=1h&faint=true", &all)
		cells := eval[map[string]string](t, b, `Object.fromEntries([...document.querySelectorAll("#levels button.name")].map(e => [e.dataset.level, e.closest("tr").querySelector(".edge").innerText.replace(/\s+/g, " ")]))`)
		levels := append(drawn.Supports.unbroken(), drawn.Resistances.unbroken()...)
		if len(cells) != len(levels) {
			t.Errorf("%d levels are shown, %d have an edge and are not broken", len(cells), len(levels))
		}
		for _, l := range levels {
			if want := fmt.Sprintf("+%.1f over any line held %d of %d", math.Round(10*l.Edge)/10, *l.Held, *l.Held+*l.Broke); cells[l.ID] != want && *l.Held+*l.Broke > 0 {
				t.Errorf("level %s is said to be %q, want %q", l.ID, cells[l.ID], want)
			}
		}
		heads := eval[[]string](t, b, `[...document.querySelectorAll("#table thead th")].map(e => e.innerText)`)
		if got := strings.Join(heads, "|"); got != "Level|Price, zone|Dist. %|ATR|Edge, own record|State|First test|Last test|Chance of a touch|Found by" {
			t.Errorf("the columns are %s", got)
		}
		// a least edge is said once it is chosen; until then levels are shown that had it when they were found
		const least = `document.getElementById("min-edge-value").textContent`
		if got := eval[string](t, b, least); got != "with an edge" {
			t.Errorf("the least edge is said to be %q", got)
		}
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h&per_side=20&least_edge=3"))
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && `+least+` === "3 points" && [...document.querySelectorAll("#levels .edge b")].every(e => Number(e.textContent.replace("−", "-")) >= 3)`)
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h&per_side=20"))
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && `+shown+` > 0`)
		count := len(all.Supports) + len(all.Resistances)
		if count == len(levels) {
			t.Fatal("no level is behind the toggle")
		}
		eval[bool](t, b, `document.querySelector("#also input").click(), true`)
		b.until(t, fmt.Sprintf(`%s === %d && location.search.endsWith("&all=yes") && document.querySelector("#also").innerText.startsWith("also ")`, shown, count))
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h&least_edge=20"))
		b.until(t, `document.querySelector("#levels tr.none")?.innerText.startsWith("No level of this pair has an edge of at least 20 points now")`)
		if n := eval[int](t, b, `document.querySelectorAll("#levels tr").length`); n != 2 {
			t.Errorf("where nothing has an edge there are %d rows", n)
		}
		eval[bool](t, b, `document.querySelector("#table .words").click(), true`)
		b.until(t, `document.getElementById("glossary").matches(":popover-open") && document.getElementById("glossary").innerText.includes("of 12 decided tests it held 2")`)
		for _, v := range b.violations(t) {
			t.Errorf("with the glossary: %s", v)
		}
		b.keys(t, kb.Escape)
		b.until(t, `!document.getElementById("glossary").matches(":popover-open")`)
		b.clean(t, s.base)
	})

	t.Run("FiltersTheMarket", func(t *testing.T) {
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h"))
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && `+marketRows+`.length > 0 && document.querySelector("#market [name=confluence] option[value='4h']")`)
		if got := eval[[]string](t, b, `[...new Set(performance.getEntriesByType("resource").map(e => new URL(e.name)).filter(u => u.pathname === "/levels" && u.searchParams.get("limit") === "50").map(u => u.searchParams.get("state")))]`); len(got) != 1 || strings.Contains(got[0], "broken") {
			t.Errorf("without a choice it asks for the states %q", got)
		}
		b.mu.Lock()
		b.requests = b.requests[:0]
		b.mu.Unlock()
		choose("min_quote_volume", "100000000")
		choose("state", "any")
		choose("confluence", "4h")
		b.until(t, `location.search.includes("min_quote_volume=100000000&confluence=4h") && document.querySelector("#market .note").innerText.startsWith("No level passes these filters.") || `+marketRows+`.length > 0`)
		if b.asked("min_quote_volume=100000000&confluence=4h") == 0 {
			t.Error("the filters were not sent")
		}
		choose("min_edge", "9")
		choose("max_distance_atr", "0.5")
		choose("role", "resistance")
		b.until(t, marketRows+`.length === 0 && document.querySelector("#market .note button")?.innerText === "Clear the filters"`)
		eval[bool](t, b, `document.querySelector("#market .note button").click(), true`)
		b.until(t, marketRows+`.length > 0 && location.search === "?symbol=BTCUSDT&interval=1h"`)

		choose("of", "4h") // only BTCUSDT was analysed on it
		b.until(t, marketRows+`.length > 0 && `+marketRows+`.every(r => r.cells[0].innerText === "BTCUSDT")`)
		eval[bool](t, b, marketRows+`[0].querySelector(".pair").click(), true`)
		b.until(t, `document.body.dataset.ready === "BTCUSDT 4h" && document.querySelector(".why .touches")`)

		choose("of", "")
		eval[bool](t, b, `document.querySelector("#intervals input[value='15m']").click(), true`)
		b.until(t, `document.querySelector("#market .note").innerText.startsWith("Nothing of 15m has been analysed yet.")`)
		eval[bool](t, b, `document.querySelector("#market .note button").click(), true`)
		b.until(t, marketRows+`.length > 0 && location.search.includes("interval=15m")`)
		b.clean(t, s.base, "404 (Not Found)")
	})

	t.Run("NamesThePairsThatFailed", func(t *testing.T) {
		var failed jobReply // the newest job that has ended with failures
		waitFor(t, "a job that has ended with failures", func() bool {
			var jobs struct{ Jobs []jobReply }
			s.get(t, "/jobs", &jobs)
			i := slices.IndexFunc(jobs.Jobs, func(j jobReply) bool { return j.State == job.Completed && j.Failed > 0 })
			if i >= 0 {
				s.get(t, "/jobs/"+jobs.Jobs[i].ID, &failed)
			}
			return i >= 0
		})
		summary := fmt.Sprintf(`document.querySelector('#jobs [data-job="failed %s"]')`, failed.ID)
		b.until(t, summary)
		eval[bool](t, b, summary+`.click(), true`)
		b.until(t, `document.querySelectorAll("#jobs details li").length > 0`)
		names := eval[[]string](t, b, `[...document.querySelectorAll("#jobs details li b")].map(e => e.innerText)`)
		for i, f := range failed.Failures {
			if i >= len(names) || names[i] != f.Symbol {
				t.Fatalf("failed: %+v, named are %q", failed.Failures, names)
			}
		}
	})

	t.Run("KeepsListsOnTheServer", func(t *testing.T) {
		b.do(t, chromedp.Navigate(s.base+"/?symbol=ETHUSDT&interval=1h"))
		b.until(t, `document.body.dataset.ready === "ETHUSDT 1h" && document.querySelector("#pair-acts .star")`)
		eval[bool](t, b, `document.querySelector("#pair-acts .star").click(), document.querySelector("#watched summary").click(), document.querySelector("#watched form button").click(), true`)
		b.until(t, `document.getElementById("watched").textContent.includes("Saved as @watched")`)
		eval[bool](t, b, `document.querySelector("#pair-acts .star").click(), true`) // not watched any more, still on the list
		b.until(t, `document.querySelector("#market [name=watched] option[value='@watched']")`)
		choose("watched", "@watched")
		b.until(t, `location.search.includes("watched=%40watched") && (rows => rows.length && rows.every(r => r.cells[0].innerText === "ETHUSDT"))(`+marketRows+`)`)
		for range 2 {
			eval[bool](t, b, `document.querySelector("#watched .names button:last-child").click(), true`)
		}
		b.until(t, `!document.querySelector("#watched .names")`)
		b.clean(t, s.base)
	})

	t.Run("SaysWhatIsNotFound", func(t *testing.T) {
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h"))
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && document.getElementById("shown").innerText`)
		b.keys(t, "/")
		b.until(t, `document.activeElement.id === "search"`)
		b.keys(t, "NOSUCH"+kb.Enter)
		b.until(t, `document.getElementById("missing").innerText === "Nothing found: no pair here has the name NOSUCH." && document.getElementById("pair").innerText === "NOSUCH"`)
		if left := eval[string](t, b, `["shown", "no-chart", "atr", "fresh"].map(id => document.getElementById(id).innerText.trim()).join("") + document.getElementById("legend").innerText.replace(/[^0-9]/g, "")`); left != "" || eval[bool](t, b, `!document.getElementById("table").hidden`) {
			t.Errorf("of the pair before it still says %q", left)
		}
		for _, name := range []string{"比特币", "<b>", strings.Repeat("A", 3000)} { // no pair can have such a name
			b.do(t, chromedp.Navigate(s.base+"/?interval=1h&symbol="+url.QueryEscape(name)))
			b.until(t, `document.getElementById("missing").innerText === "Nothing found: no pair here has the name `+name+`."`)
			if said := eval[string](t, b, `document.getElementById("no-chart").innerText`); said != "" || eval[int](t, b, "document.documentElement.scrollWidth") > 1440 {
				t.Errorf("for %.10s the chart says %q", name, said)
			}
		}
		b.clean(t, s.base, "404 (Not Found)", "422 (Unprocessable Entity)", "400 (Bad Request)")
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h&level=cut-off"))
		b.until(t, `document.getElementById("shown").innerText.startsWith("The level that was asked for is not there any more.")`)
		b.clean(t, s.base)
	})

	t.Run("ExplainsInChinese", func(t *testing.T) {
		b.do(t, chromedp.Navigate("about:blank"), chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			_, err := cdp.Call(ctx, tab, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": "zh-CN"}})
			return err
		}))
		var a analysisReply
		s.get(t, "/levels/BTCUSDT?faint=true", &a)
		for _, l := range append(a.Supports, a.Resistances...) {
			b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h&level="+l.ID))
			b.until(t, `document.documentElement.lang === "zh-CN" && document.querySelector(".why .touches")`)
			if english := eval[[]string](t, b, `document.querySelector(".why").innerText.match(/[A-Za-z]{2,}/g) ?? []`); slices.ContainsFunc(english, func(word string) bool { return word != "ATR" && word != "POC" }) {
				t.Errorf("%s is explained with %q", l.ID, english)
			}
			if high := eval[float64](t, b, `document.querySelector(".why .touches .t").getBoundingClientRect().height`); high > 30 {
				t.Errorf("the time of a test is %v high: it is on several lines", high)
			}
		}
		b.until(t, `document.querySelector('#jobs details summary')`)
		eval[bool](t, b, `document.querySelector("#jobs details summary").click(), true`)
		b.until(t, `document.querySelector("#jobs details li .soft")?.innerText.startsWith("K线太少：")`)
		b.do(t, chromedp.Navigate("about:blank"), chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			_, err := cdp.Call(ctx, tab, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{}})
			return err
		}))
		b.clean(t, s.base)
	})

	t.Run("FitsAPhone", func(t *testing.T) {
		b.show(t, 390, 844, "light")
		b.do(t, chromedp.Navigate("about:blank"), chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h&all=yes"))
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && document.querySelector("#also input").checked`)
		if n := eval[int](t, b, marketRows+`.length`); n != 0 {
			t.Errorf("%d rows of the screener were asked for, which is out of sight", n)
		}
		eval[bool](t, b, `document.getElementById("market").scrollIntoView(), true`)
		b.until(t, marketRows+`.length > 0`)
		for _, box := range []string{".scroll", ".rows", ".venues-card .lines"} {
			if over := eval[int](t, b, fmt.Sprintf(`(e => e.scrollWidth - e.clientWidth)(document.querySelector(%q))`, box)); over > 0 {
				t.Errorf("the table in %s is %d too wide", box, over)
			}
		}
		visible := func(of string) string {
			return eval[string](t, b, fmt.Sprintf(`[...document.querySelectorAll("%s thead th")].filter(e => e.offsetWidth).map(e => e.innerText).join("|")`, of))
		}
		if levels, market := visible("#table"), visible("#market"); levels != "Level|Price, zone|Dist. %|Edge, own record" || market != "Pair|Level|Dist. % ↑|Edge" && market != "Pair|Level|Dist. %|Edge" {
			t.Errorf("the columns are %s and %s", levels, market)
		}
		eval[bool](t, b, `document.querySelector("#levels tr.support").click(), true`)
		b.until(t, `document.querySelector(".why .touches")`)
		if rest := eval[string](t, b, `[...document.querySelectorAll(".why .rest dt")].filter(e => e.offsetWidth).map(e => e.innerText).join("|")`); rest != "Zone|State|Chance of a touch|First test|Last test|Found by" {
			t.Errorf("below a level it says %s", rest)
		}
		if over := eval[int](t, b, `(e => e.scrollWidth - e.clientWidth)(document.querySelector(".scroll"))`); over > 0 {
			t.Errorf("with a level explained the table is %d too wide", over)
		}
		b.show(t, 1440, 900, "dark")
		b.clean(t, s.base)
	})

	t.Run("TellsItsMemory", func(t *testing.T) {
		var m struct {
			RSS       int64 `json:"rss_bytes"`
			LastBatch struct {
				Symbols int
				Peak    int64 `json:"peak_rss_bytes"`
			} `json:"last_batch"`
		}
		s.get(t, "/memory", &m)
		if m.LastBatch.Symbols < 1 || m.LastBatch.Peak < 1<<20 {
			t.Errorf("the last batch is told as %+v", m.LastBatch)
		}
		b.until(t, fmt.Sprintf(`document.getElementById("memory").innerText.includes("Last batch: %d pairs")`, m.LastBatch.Symbols))
		b.until(t, `document.querySelector("#memory .spark polyline")`)
		var whole struct {
			WorkingSet *int64 `json:"working_set_bytes"`
		}
		s.get(t, "/memory", &whole)
		want := "Resident|Heap|Peak|Its cgroup|Limit"
		if whole.WorkingSet == nil {
			want = "Resident|Heap|Peak|Limit"
		}
		if got := eval[string](t, b, `[...document.querySelectorAll("#memory dt")].map(e => e.innerText).join("|")`); got != want {
			t.Errorf("it tells %s", got)
		}
	})

	t.Run("KeepsNobodyOut", func(t *testing.T) {
		for _, c := range []struct {
			scheme string
			width  int64
		}{{"dark", 1440}, {"light", 1440}, {"dark", 390}, {"light", 390}} {
			b.show(t, c.width, 844, c.scheme)
			b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h"))
			b.until(t, `document.body.dataset.ready === "BTCUSDT 1h"`)
			eval[bool](t, b, `document.getElementById("market").scrollIntoView(), document.querySelector("#levels tr.resistance").click(), true`)
			b.until(t, `document.querySelector(".why .touches li") && document.querySelector("#market tbody tr") && document.querySelector("#memory dl")`)
			if wide := eval[int](t, b, "document.documentElement.scrollWidth"); int64(wide) > c.width {
				t.Errorf("the page is %d wide on a screen of %d", wide, c.width)
			}
			for _, v := range b.violations(t) {
				t.Errorf("%s, %d wide: %s", c.scheme, c.width, v)
			}
		}
		b.show(t, 1440, 900, "dark")
	})

	t.Run("SurvivesARestartOfTheService", func(t *testing.T) {
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h"))
		b.until(t, `document.body.dataset.ready === "BTCUSDT 1h"`)
		if err := s.end(t); err != nil {
			t.Fatal(err)
		}
		eval[bool](t, b, `document.querySelector("#intervals input[value='4h']").click(), true`)
		b.until(t, `document.getElementById("connection").textContent.startsWith("not connected")`)
		s = serve(t, database, pairs, "HTTP_ADDR="+strings.TrimPrefix(s.base, "http://"))
		b.until(t, `document.getElementById("connection").textContent === "connected" && document.body.dataset.ready === "BTCUSDT 4h" && `+shown+" > 0")
		b.clean(t, s.base, "net::ERR_", "503 (Service Unavailable)") // while it stops
	})
}

// TestPage_Pictures takes the pictures of the page for docs/ when it is asked to:
//
//	UPDATE_PICTURES=1 go test -run TestPage_Pictures ./e2e
//
// Otherwise it holds that they are there and small.
func TestPage_Pictures(t *testing.T) {
	pictures := []struct {
		file          string
		width, height int64
		scheme, query string
	}{
		{"docs/page-dark.png", 1280, 880, "dark", ""},
		{"docs/page-light.png", 1280, 800, "light", "&level=nearest"},
		{"docs/page-phone.png", 390, 844, "dark", ""},
	}
	if os.Getenv("UPDATE_PICTURES") == "" {
		for _, p := range pictures {
			b, err := os.ReadFile(p.file)
			if err != nil {
				t.Error(err)
			} else if kind := http.DetectContentType(b); kind != "image/png" || len(b) > 250<<10 {
				t.Errorf("%s is %s of %d bytes", p.file, kind, len(b))
			}
		}
		return
	}
	s := serve(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=60", "ANALYSIS_SCHEDULE=1h", "MEMORY_BUDGET=64MiB")
	s.sweepTo(t)
	var a analysisReply
	s.get(t, "/levels/BTCUSDT", &a)
	b := browse(t)
	for _, p := range pictures {
		b.show(t, p.width, p.height, p.scheme)
		b.do(t, chromedp.Navigate(s.base+"/?symbol=BTCUSDT&interval=1h"+strings.Replace(p.query, "nearest", a.Supports[0].ID, 1)))
		b.until(t, `document.body.dataset.ready && (innerWidth < 1100 || document.querySelector("#market tbody tr")) && document.querySelector("#memory dl")`)
		if p.query != "" {
			b.until(t, `document.querySelector(".why .touches li")`)
			eval[bool](t, b, `document.querySelector(".why-row").scrollIntoView({block: "start"}), true`)
		}
		picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.file, picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// before has a script run in every document before those of the page.
func (b *browser) before(t *testing.T, script string) {
	t.Helper()
	b.do(t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
		return err
	}))
}

// front stands before a service and hands on the requests that meddle does not answer
// itself, which it says by true. It returns its address.
func front(t *testing.T, base string, meddle func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	target, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !meddle(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

// What is shown does not move when what is asked for comes, one after the other, over a
// connection that is not as fast as that of a test.
func TestPage_StandsStillWhileItLoads(t *testing.T) {
	t.Parallel() // most of it is waiting
	const still = 0.05
	s := serve(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=24")
	address := front(t, s.base, func(_ http.ResponseWriter, r *http.Request) bool {
		switch name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); name {
		case "", "page":
		case "klines":
			time.Sleep(700 * time.Millisecond) // longer than the page waits before it says that it waits
		default:
			time.Sleep(120 * time.Millisecond)
		}
		return false
	})
	b := browse(t)
	b.before(t, `
		window.shifts = [];
		const rect = (r) => [r.x, r.y, r.width, r.height].map(Math.round).join(" ");
		const name = (n) => n ? (n.id ? "#" + n.id : n.className || n.nodeName) : "?";
		new PerformanceObserver((list) => {
			for (const e of list.getEntries()) shifts.push({
				value: e.value,
				what: e.sources.map((s) => name(s.node) + " of " + name(s.node?.parentNode) + ": " + rect(s.previousRect) + " to " + rect(s.currentRect)).join("; "),
			});
		}).observe({ type: "layout-shift", buffered: true });`)
	// moved loads the page and fails if it moves before done is true or soon after.
	moved := func(t *testing.T, width, height int64, done string) {
		t.Helper()
		b.show(t, width, height, "dark")
		b.do(t, chromedp.Navigate("about:blank"), chromedp.Navigate(address+"/?symbol=BTCUSDT&interval=1h"))
		b.until(t, done+` && document.querySelector("#memory dl") && document.querySelector("#schedules p") && document.getElementById("connection").textContent === "connected"`)
		time.Sleep(500 * time.Millisecond)
		var sum float64
		var all strings.Builder
		for _, s := range eval[[]struct {
			Value float64
			What  string
		}](t, b, "shifts") {
			sum += s.Value
			fmt.Fprintf(&all, "\n%.4f %s", s.Value, s.What)
		}
		t.Logf("moved by %.4f", sum)
		if sum > still {
			t.Errorf("the page moves by %.3f, more than %v:%s", sum, still, &all)
		}
	}
	sizes := []struct {
		name          string
		width, height int64
	}{{"Phone", 390, 844}, {"Desktop", 1280, 800}}
	for _, size := range sizes {
		t.Run(size.name+"BeforeAnythingIsAnalysed", func(t *testing.T) {
			moved(t, size.width, size.height, `document.body.dataset.ready === "BTCUSDT 1h" && document.querySelector("#missing button")`)
		})
	}
	s.sweepTo(t)
	for _, size := range sizes {
		t.Run(size.name, func(t *testing.T) {
			moved(t, size.width, size.height, `document.body.dataset.ready === "BTCUSDT 1h" && `+shown+` > 0 && document.querySelector("#events ol li, #events .note:not(:empty)") && document.querySelector("#jobs .completed")`)
		})
	}
}

// A service that fails is asked ever more seldom, and not before it wishes to be.
func TestPage_AsksLessOftenWhileTheServiceFails(t *testing.T) {
	t.Parallel()
	s := serve(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=4")
	var mu sync.Mutex
	var asked []time.Time
	address := front(t, s.base, func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != "/jobs" || len(asked) > 3 {
			return false
		}
		switch asked = append(asked, time.Now()); len(asked) {
		case 1, 2:
			w.WriteHeader(http.StatusInternalServerError)
		case 3:
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			return false
		}
		return true
	})
	b := browse(t)
	b.do(t, chromedp.Navigate(address+"/"))
	b.until(t, `document.getElementById("connection").textContent === "connected"`)
	mu.Lock()
	defer mu.Unlock()
	if len(asked) < 4 {
		t.Fatalf("asked %d times", len(asked))
	}
	for i, least := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second} {
		if gap := asked[i+1].Sub(asked[i]); gap < least-50*time.Millisecond {
			t.Errorf("after failure %d it is asked again in %v, want %v or more", i+1, gap, least)
		}
	}
}

// A job whose events and state cannot be had is asked for ever more seldom, too.
func TestPage_AsksLessOftenForAJobItCannotHave(t *testing.T) {
	t.Parallel()
	s := serve(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=4")
	j := s.sweepTo(t)
	var mu sync.Mutex
	var asked []time.Time
	address := front(t, s.base, func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		switch r.URL.Path {
		case "/jobs":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jobs": [{"id": %q, "kind": "sweep", "interval": "1h", "state": "running", "created_at": "2024-01-01T00:00:00Z", "started_at": null, "batches_done": 0, "batches_total": 1, "symbols_done": 0, "symbols_failed": 0, "symbols_skipped": 0, "symbols_total": 4}]}`, j.ID)
			return true
		case "/jobs/" + j.ID:
			asked = append(asked, time.Now())
		case "/jobs/" + j.ID + "/events":
			asked = append(asked, time.Now())
			if len(asked) == 1 {
				w.Header().Set("Retry-After", "3")
			}
		default:
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	b := browse(t)
	b.do(t, chromedp.Navigate(address+"/"))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		mu.Lock()
		n := len(asked)
		mu.Unlock()
		if n >= 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("asked %d times", n)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i, least := range []time.Duration{3 * time.Second, 2 * time.Second} {
		if gap := asked[i+1].Sub(asked[i]); gap < least-50*time.Millisecond {
			t.Errorf("after failure %d it is asked again in %v, want %v or more", i+1, gap, least)
		}
	}
}

// TestPage_MemoryOfViewers measures what people who look at the page cost the
// service, each in a tab, while it sweeps:
//
//	TIDEMARK_VIEWERS=10 go test -run TestPage_MemoryOfViewers -v ./e2e
func TestPage_MemoryOfViewers(t *testing.T) {
	viewers, err := strconv.Atoi(os.Getenv("TIDEMARK_VIEWERS"))
	if err != nil {
		t.Skip("a measurement, made when TIDEMARK_VIEWERS says how many")
	}
	// peak returns the peak of a service that swept while n people looked.
	peak := func(n int) int64 {
		s := spawn(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=500")
		defer s.kill()
		s.sweepTo(t)
		tabs := make([]*browser, n)
		for i := range tabs {
			if i == 0 {
				tabs[0] = browse(t)
			} else {
				ctx, cancel := chromedp.NewContext(tabs[0].ctx)
				t.Cleanup(cancel)
				tabs[i] = &browser{ctx: ctx}
			}
			tabs[i].do(t, chromedp.Navigate(s.base+"/"))
			tabs[i].until(t, "document.body.dataset.ready && !document.hidden")
		}
		for range 8 {
			s.sweepTo(t)
		}
		if n > 0 {
			followed := regexp.MustCompile(`request_duration_seconds_count\{code="200",method="GET",route="/jobs/\{id\}/events"\} (\d+)`).FindStringSubmatch(s.metrics(t))
			if followed == nil {
				t.Fatal("nobody followed a sweep")
			}
			t.Logf("%s streams of events were followed to their end", followed[1])
		}
		var m struct {
			Peak int64 `json:"peak_rss_bytes"`
		}
		s.get(t, "/memory", &m)
		return m.Peak
	}
	alone := peak(0)
	watched := peak(viewers)
	t.Logf("peak resident memory: alone %.1f MiB, with %d viewers %.1f MiB, %+.1f MiB",
		float64(alone)/(1<<20), viewers, float64(watched)/(1<<20), float64(watched-alone)/(1<<20))
}

// Two processes with an exchange each share a database; the page of one shows what
// the other has stored.
func TestPage_SwitchesTheExchange(t *testing.T) {
	t.Parallel()
	database := "DATABASE_URL=" + sqliteURL(t)
	_, venue := market(t, simulated.Options{Pairs: 6, Seed: 7})
	other := serve(t, database, "EXCHANGE=binance", "EXCHANGE_BASE_URL="+venue, "ANALYSIS_INTERVAL=4h")
	other.get(t, "/symbols", nil) // whose answer says that this binance is simulated
	other.sweepTo(t)
	var there analysisReply
	other.get(t, "/levels/BTCUSDT", &there)
	s := serve(t, database, "EXCHANGE_SIMULATED_PAIRS=6")
	s.sweepTo(t)
	b := browse(t)
	b.show(t, 1440, 900, "dark")
	b.do(t, chromedp.Navigate(s.base+"/"))
	b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && document.querySelector("#exchange select")`)
	if got := eval[string](t, b, `[...document.querySelectorAll("#exchange option")].map(o => o.textContent + (o.selected ? "*" : "")).join(" ")`); got != "simulated* binance" {
		t.Fatalf("to choose from: %s", got)
	}
	choose := func(name string) {
		eval[bool](t, b, fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event("change")); return true })(document.querySelector("#exchange select"))`, name))
	}
	choose("binance")
	b.until(t, `document.body.dataset.ready === "BTCUSDT 4h" && document.getElementById("fresh").innerText.includes("binance is asked by another process")`)
	want := min(6, len(there.Supports.unbroken())) + min(6, len(there.Resistances.unbroken()))
	if got := eval[int](t, b, shown); got != want { // there may be none at this hour
		t.Errorf("%d levels are shown, the other process has stored %d within six a side", got, want)
	}
	if rows := eval[int](t, b, `document.querySelectorAll("#market tbody tr").length`); rows == 0 {
		t.Error("the screener shows nothing of the other exchange")
	}
	if got := eval[string](t, b, `location.search + " " + document.getElementById("sweep").hidden + " " + document.getElementById("no-chart").innerText`); got != "?exchange=binance&symbol=BTCUSDT&interval=4h true " {
		t.Errorf("address, whether a sweep can be begun, and what is said of the chart: %s", got)
	}
	b.keys(t, "/")
	b.keys(t, "eth")
	b.until(t, `document.querySelector("#found li")?.textContent === "ETHUSDT"`)
	b.keys(t, kb.Enter)
	b.until(t, `document.body.dataset.ready === "ETHUSDT 4h"`)
	b.clean(t, s.base)
	choose("simulated")
	b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && !document.getElementById("sweep").hidden && !location.search.includes("exchange")`)
	b.do(t, chromedp.NavigateBack())
	b.until(t, `document.body.dataset.ready === "ETHUSDT 4h" && document.querySelector("#exchange select").value === "binance"`)
	for _, v := range b.violations(t) {
		t.Error(v)
	}
}

// One process serves two exchanges: the page reads each by its name, and can analyse both.
func TestPage_ShowsEachExchangeOfAProcess(t *testing.T) {
	t.Parallel()
	s := serve(t, twoExchanges(t, simulated.Options{Pairs: 6, Seed: 1}, simulated.Options{Pairs: 4, Seed: 2})...)
	for _, exchange := range []string{"binance", "okx"} {
		var j jobReply
		s.post(t, `{"all":true,"exchange":"`+exchange+`"}`, &j)
		s.waitFor(t, j.ID, ended)
	}
	b := browse(t)
	b.show(t, 1440, 900, "dark")
	b.do(t, chromedp.Navigate(s.base+"/"))
	b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && document.querySelector("#exchange select")`)
	if got := eval[string](t, b, `location.search + " " + [...document.querySelectorAll("#exchange option")].map(o => o.textContent + (o.selected ? "*" : "")).join(" ")`); got != "?exchange=binance&symbol=BTCUSDT&interval=1h binance* okx" {
		t.Errorf("address and what there is to choose from: %s", got)
	}
	rows := eval[int](t, b, `document.querySelectorAll("#market tbody tr").length`)
	eval[bool](t, b, `(e => { e.value = "okx"; e.dispatchEvent(new Event("change")); return true })(document.querySelector("#exchange select"))`)
	b.until(t, `location.search === "?exchange=okx&symbol=BTC-USDT&interval=1h" && document.body.dataset.ready === "BTC-USDT 1h" && document.getElementById("fresh").innerText.includes("closes in")`)
	if eval[bool](t, b, `document.getElementById("sweep").hidden`) || rows == 0 {
		t.Error("a market of this process cannot be swept, or the screener of the other was empty")
	}
}

// sweepAll sweeps these exchanges.
func (s *running) sweepAll(t *testing.T, exchanges ...string) {
	t.Helper()
	for _, exchange := range exchanges {
		var j jobReply
		s.post(t, `{"all":true,"exchange":"`+exchange+`"}`, &j)
		s.waitFor(t, j.ID, ended)
	}
}

// asked returns how many requests contained part.
func (b *browser) asked(part string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if strings.Contains(r, part) {
			n++
		}
	}
	return n
}

// A pair of one process on three exchanges: on how many each of its levels is, and the
// others beside it. Two have the same prices, the third has its own.
func TestPage_ShowsAPairOnItsExchanges(t *testing.T) {
	t.Parallel()
	seed := lively(t, nil)
	s := serve(t, severalExchanges(t, simulated.Options{Venue: "binance", Pairs: 4, Seed: seed},
		simulated.Options{Venue: "okx", Pairs: 4, Seed: seed}, simulated.Options{Venue: "bybit", Pairs: 4, Seed: seed + 1})...)
	s.sweepAll(t, "binance")
	b := browse(t)
	b.show(t, 1440, 900, "dark")
	b.do(t, chromedp.Navigate(s.base+"/?exchange=binance&symbol=BTCUSDT&interval=1h"))
	b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && document.querySelector("#venues tr")`)
	time.Sleep(200 * time.Millisecond)
	if n := b.asked("exchange=all"); n != 0 || !eval[bool](t, b, `document.getElementById("elsewhere").hidden && !document.querySelector("#levels .venues:not(:empty)")`) {
		t.Errorf("the pair is stored once: asked for all exchanges %d times", n)
	}
	s.sweepAll(t, "okx", "bybit")
	b.do(t, chromedp.Navigate(s.base+"/?exchange=binance&symbol=BTCUSDT&interval=1h"))
	b.until(t, `document.querySelectorAll("#elsewhere tbody tr").length === 3 && document.querySelector("#levels .venues:not(:empty)")`)
	var together struct {
		Exchanges []struct {
			Exchange              string
			LastPrice             float64 `json:"last_price"`
			Supports, Resistances []struct {
				ID     string
				Venues int
			}
		}
	}
	s.get(t, "/levels/BTC/USDT?exchange=all", &together)
	marks := eval[map[string]string](t, b, `Object.fromEntries([...document.querySelectorAll("#levels button.name")].map(e => [e.dataset.level, e.parentNode.querySelector(".venues").textContent]))`)
	if len(marks) == 0 {
		t.Fatal("no level is shown")
	}
	// the nearest levels of the pair are those of its table
	near := eval[[][]string](t, b, `[[...document.querySelectorAll('#elsewhere [aria-current="true"] td')].slice(-2).map(e => e.firstChild.textContent), ["support", "resistance"].map(side => [...document.querySelectorAll("#levels tr." + side)].at(side === "support" ? 0 : -1)?.cells[1].firstChild.textContent ?? "none")]`)
	if !slices.Equal(near[0], near[1]) {
		t.Errorf("side by side, the nearest levels are %q, in the table %q", near[0], near[1])
	}
	for _, l := range slices.Concat(together.Exchanges[0].Supports, together.Exchanges[0].Resistances) {
		want := fmt.Sprintf("on %d venues", l.Venues)
		if mark, shown := marks[l.ID]; shown && mark != want || l.Venues < 2 {
			t.Errorf("level %s is marked %q, it is on %d", l.ID, mark, l.Venues)
		}
	}
	text := eval[[]string](t, b, `[...document.querySelectorAll("#elsewhere tbody tr")].map(r => r.innerText.replace(/\s+/g, " "))`)
	for i, want := range []string{"binance BTCUSDT", "okx BTC-USDT", "bybit BTCUSDT"} {
		if !strings.HasPrefix(text[i], want+" SIMULATED "+eval[string](t, b, fmt.Sprintf(`(%v).toLocaleString("en", {maximumFractionDigits: 8})`, together.Exchanges[i].LastPrice))) ||
			strings.Count(text[i], "%")+strings.Count(text[i], "none") != 2 || !strings.Contains(text[i], " UTC") {
			t.Errorf("line %d is %q", i, text[i])
		}
	}
	keepsNobodyOut(t, b)
	// with the keyboard: open it on okx
	eval[bool](t, b, `document.querySelector('#elsewhere [data-on="okx BTC-USDT"]').focus(), true`)
	b.keys(t, kb.Enter)
	b.until(t, `location.search === "?exchange=okx&symbol=BTC-USDT&interval=1h" && document.body.dataset.ready === "BTC-USDT 1h" && document.activeElement.id === "pair"`)
	if got := eval[string](t, b, `document.getElementById("name").textContent + ", " + document.querySelector("#exchange select").value + ", " + document.querySelector("#elsewhere [aria-current] b").textContent`); got != "BTC/USDT · okx, okx, okx" {
		t.Errorf("after it was opened on okx the page says %s", got)
	}

	t.Run("TheScreenerHasThemAll", func(t *testing.T) {
		const of = `[...new Set([...document.querySelectorAll("#market tbody tr")].map(r => r.cells[1].innerText.replace(/\s+/g, " ")))].toSorted().join()`
		b.until(t, of+` === "binance SIMULATED,bybit SIMULATED,okx SIMULATED"`)
		eval[bool](t, b, `(e => { e.value = "bybit"; e.dispatchEvent(new Event("change", {bubbles: true})); return true })(document.querySelector("#market [name=on]"))`)
		b.until(t, of+` === "bybit SIMULATED" && location.search.endsWith("&on=bybit")`)
		if href := eval[string](t, b, `document.querySelector("#market a.csv").href`); !strings.Contains(href, "exchange=bybit") || strings.Contains(href, "on=") {
			t.Errorf("its rows as CSV are at %s", href)
		}
		eval[bool](t, b, `document.querySelector("#market tbody button.pair").click(), true`)
		b.until(t, `location.search.includes("exchange=bybit") && document.querySelector("#exchange select").value === "bybit" && document.querySelector(".why .touches")`)
	})
	b.clean(t, s.base)
}

// keepsNobodyOut fails if axe finds something, or if the page is wider than a phone.
func keepsNobodyOut(t *testing.T, b *browser) {
	t.Helper()
	for _, scheme := range []string{"dark", "light"} {
		b.show(t, 390, 844, scheme)
		if wide := eval[int](t, b, "document.documentElement.scrollWidth"); wide > 390 {
			t.Errorf("the page is %d wide on a phone", wide)
		}
		if cut := eval[[]string](t, b, `[...document.querySelectorAll(".scroll, .rows, .lines")].filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel + " by " + (e.scrollWidth - e.clientWidth))`); len(cut) > 0 {
			t.Errorf("tables that do not fit a phone: %q", cut)
		}
		for _, v := range b.violations(t) {
			t.Errorf("%s: %s", scheme, v)
		}
	}
	b.show(t, 1440, 900, "dark")
}

// A pair is found by the venue's id and by its canonical name, and a name that several
// exchanges share is answered with buttons.
func TestPage_FindsAPairByEitherName(t *testing.T) {
	t.Parallel()
	s := serve(t, severalExchanges(t, simulated.Options{Venue: "binance", Pairs: 4, Seed: 1},
		simulated.Options{Venue: "okx-swap", Pairs: 4, Seed: 1}, simulated.Options{Venue: "kraken", Pairs: 4, Seed: 2}, simulated.Options{Venue: "okx", Pairs: 4, Seed: 2})...)
	s.sweepAll(t, "binance", "okx-swap", "kraken", "okx")
	b := browse(t)
	b.show(t, 1440, 900, "dark")
	find := func(exchange, text string) {
		t.Helper()
		b.do(t, chromedp.Navigate("about:blank"), chromedp.Navigate(s.base+"/?exchange="+exchange))
		b.until(t, `document.body.dataset.ready`)
		b.keys(t, "/")
		b.until(t, `document.activeElement.id === "search"`)
		b.keys(t, text)
		b.until(t, `document.querySelectorAll("#found li").length > 0`)
	}
	first := func() string { return eval[string](t, b, `document.querySelector("#found li").textContent`) }
	for _, c := range []struct{ exchange, typed, first, ready, name string }{
		{"binance", "btc/usdt", "BTCUSDT", "BTCUSDT 1h", "BTC/USDT · binance"},
		{"okx-swap", "btc/usdt:", "BTC-USDT-SWAP BTC/USDT:USDT", "BTC-USDT-SWAP 1h", "BTC/USDT:USDT · okx-swap"},
		{"okx-swap", "btc-usdt-s", "BTC-USDT-SWAP BTC/USDT:USDT", "BTC-USDT-SWAP 1h", "BTC/USDT:USDT · okx-swap"},
	} {
		find(c.exchange, c.typed)
		if got := first(); got != c.first {
			t.Errorf("%s: %q is found for %q", c.exchange, got, c.typed)
		}
		b.keys(t, kb.Enter)
		b.until(t, fmt.Sprintf(`document.body.dataset.ready === %q && document.getElementById("name").textContent === %q`, c.ready, c.name))
	}
	b.clean(t, s.base)

	find("okx-swap", "btc/usdt")
	b.keys(t, kb.ArrowUp) // the last: on any exchange
	b.keys(t, kb.Enter)
	b.until(t, `document.querySelectorAll("#missing .choices button").length > 1`)
	choices := eval[[]string](t, b, `[...document.querySelectorAll("#missing .choices button")].map(e => e.textContent)`)
	for _, want := range []string{"BTC/USDT · binance BTCUSDT", "BTC/USDT · okx BTC-USDT"} {
		if !slices.Contains(choices, want) {
			t.Errorf("to choose from: %q, not %q", choices, want)
		}
	}
	if got := eval[string](t, b, `location.search`); strings.Contains(got, "exchange=") {
		t.Errorf("the address of a name on any exchange is %s", got)
	}
	keepsNobodyOut(t, b)
	eval[bool](t, b, `[...document.querySelectorAll("#missing .choices button")].find(e => e.textContent.includes("okx")).focus(), true`)
	b.keys(t, kb.Enter)
	b.until(t, `document.body.dataset.ready === "BTC-USDT 1h" && location.search === "?exchange=okx&symbol=BTC-USDT&interval=1h" && !document.querySelector("#missing button")`)
	if got := eval[int](t, b, shown); got == 0 {
		t.Error("no level of the chosen pair is shown")
	}
	// a shared link may have either name, too
	b.do(t, chromedp.Navigate(s.base+"/?exchange=okx&symbol=btc/usdt&interval=1h"))
	b.until(t, `document.body.dataset.ready === "BTC-USDT 1h" && location.search === "?exchange=okx&symbol=BTC-USDT&interval=1h" && document.getElementById("fresh").innerText.includes("closes in")`)
	b.clean(t, s.base, "409 (Conflict)")
}

// The state of each exchange is a line: one that banned this address, one that does not
// answer, one whose clock is off, one that replays what was recorded.
func TestPage_TellsTheStateOfEachExchange(t *testing.T) {
	t.Parallel()
	faults, err := simulated.ParseFaults("ban=1")
	if err != nil {
		t.Fatal(err)
	}
	late := func() time.Time { return time.Now().Add(-5 * time.Second) }
	environ := severalExchanges(t, simulated.Options{Venue: "okx", Pairs: 4}, simulated.Options{Venue: "binance", Pairs: 4, Faults: faults},
		simulated.Options{Venue: "bybit", Pairs: 4, Now: late}, simulated.Options{Venue: "kraken", Pairs: 4})
	closed := httptest.NewServer(nil)
	closed.Close()
	s := serve(t, append(environ, "EXCHANGE_ATTEMPTS=1", "EXCHANGE_KRAKEN_BASE_URL="+closed.URL, "EXCHANGE_KRAKEN_ATTEMPTS=1")...)
	s.sweepAll(t, "okx", "bybit")
	for _, exchange := range []string{"binance", "kraken"} {
		s.post(t, `{"symbol":"BTC/USDT","exchange":"`+exchange+`"}`, nil)
	}
	b := browse(t)
	b.show(t, 1440, 900, "dark")
	b.do(t, chromedp.Navigate(s.base+"/"))
	b.until(t, `document.querySelectorAll("#venues tr").length === 4`)
	lines := eval[[]string](t, b, `[...document.querySelectorAll("#venues tr")].map(r => r.innerText.replace(/\s+/g, " "))`)
	for i, want := range []string{
		`^okx SIMULATED reachable \d+ % of [\d,]+ [a-z-]+ \d+ \d+ (s|min) ago$`,
		`^binance SIMULATED banned until \d\d \w{3} \d\d:\d\d UTC, \d+ (s|min) left \d+ % of [\d,]+ \w+ – `,
		`^bybit SIMULATED reachable · this clock is [45]\.\d s ahead `,
		`^kraken unreachable .* none yet$`,
	} {
		if !regexp.MustCompile(want).MatchString(lines[i]) {
			t.Errorf("line %d is %q, not like %s", i, lines[i], want)
		}
	}
	keepsNobodyOut(t, b)
	b.clean(t, s.base, "404 (Not Found)", "50")
}

// What is replayed is marked as such, with its dates.
func TestPage_MarksAReplay(t *testing.T) {
	t.Parallel()
	replay, err := simulated.ReadReplay(recordedHours(t, "BTCUSDT", 400))
	if err != nil {
		t.Fatal(err)
	}
	environ := severalExchanges(t, simulated.Options{Venue: "okx", Pairs: 4}, simulated.Options{Venue: "binance", Replay: replay, Now: replay.Clock(100, 1)})
	s := serve(t, append(environ, "ANALYSIS_KLINE_LIMIT=200")...)
	s.sweepAll(t, "okx", "binance")
	b := browse(t)
	b.show(t, 1440, 900, "dark")
	b.do(t, chromedp.Navigate(s.base+"/?exchange=binance&interval=1h"))
	b.until(t, `document.querySelectorAll("#venues tr").length === 2 && document.querySelector("#market tbody tr") && document.body.dataset.ready`)
	dates := strings.Replace(replay.Dates(), "/", " to ", 1)
	for what, want := range map[string]string{
		`document.querySelectorAll("#venues tr")[1].cells[0].innerText.replace(/\s+/g, " ")`:                                                                                   "binance REPLAY " + dates,
		`document.querySelectorAll("#venues tr")[0].cells[0].innerText.replace(/\s+/g, " ")`:                                                                                   "okx SIMULATED",
		`[...document.querySelectorAll("#market tbody tr")].map(r => r.cells[1].innerText).filter((x, i, all) => all.indexOf(x) === i).toSorted().join().replace(/\s+/g, " ")`: "binance REPLAY,okx SIMULATED",
		`document.getElementById("fresh").innerText.replace(/.*(found) \d+ (s|min) (ago).*/s, "$1 $3") + ", " + document.getElementById("fresh").innerText.includes("STALE")`:  "found ago, false",
		`document.querySelectorAll("#venues tr")[1].innerText.replace(/.*its time is \d\d (\w{3}) (\d{4}) .*/s, "$1 $2")`:                                                      "May 2023",
		`document.getElementById("simulated").textContent`:                                                                                                                     "SIMULATED market: a replay of " + dates + ".",
	} {
		if got := eval[string](t, b, what); got != want {
			t.Errorf("%s is %q, want %q", what, got, want)
		}
	}
}

func TestPage_AsksForAKeyOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=4", "API_KEYS=correct-horse-battery")
	b := browse(t)
	b.do(t, chromedp.Navigate(s.base+"/"))
	b.until(t, `document.getElementById("key").open`)
	b.keys(t, "wrong"+kb.Enter)
	b.until(t, `document.querySelector("#key [role=alert]").textContent !== ""`)
	b.keys(t, "correct-horse-battery"+kb.Enter)
	b.until(t, `document.body.dataset.ready`)
	b.do(t, chromedp.Navigate(s.base+"/?symbol=ETHUSDT"))
	b.until(t, `document.body.dataset.ready === "ETHUSDT 1h" && !document.getElementById("key").open`)
	if stored := eval[string](t, b, `JSON.stringify(localStorage) + document.cookie`); strings.Contains(stored, "horse") {
		t.Errorf("the key outlives the tab: %s", stored)
	}

	// the switch of the language is kept over loads, and only that language is asked for
	for _, c := range []struct{ lang, file, levels string }{{"zh-CN", "zh.js", "价位"}, {"en-GB", "en.js", "Levels"}} {
		eval[bool](t, b, `document.getElementById("language").click(), true`)
		there := fmt.Sprintf(`document.documentElement.lang === %q && document.body.dataset.ready === "ETHUSDT 1h"`, c.lang)
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			// an evaluation fails while the page loads itself again
			if is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](there)); err == nil && is {
				break
			}
		}
		b.until(t, there)
		if got := eval[string](t, b, `document.querySelector("#table caption").textContent + " " + performance.getEntriesByType("resource").map(e => e.name).filter(n => /\/(en|zh)\.js$/.test(n)).map(n => n.slice(-5))`); got != c.levels+" "+c.file {
			t.Errorf("%s: %q", c.lang, got)
		}
	}
	b.clean(t, s.base, "401 (Unauthorized)", "404 (Not Found)")
}

func TestPage_IsNotServedByAWorker(t *testing.T) {
	t.Parallel()
	s := serve(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=4", "ROLE=worker")
	for _, path := range []string{"/", "/page/main.js"} {
		res, err := http.Get(s.base + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}

func TestPage_FollowsThePriceBetweenCloses(t *testing.T) {
	t.Parallel()
	s := serve(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=4", "PRICES_EVERY=1s")
	if status := s.post(t, `{"symbol":"BTCUSDT"}`, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	b := browse(t)
	b.show(t, 1440, 900, "dark")
	b.do(t, chromedp.Navigate(s.base+"/"))
	const price = `document.getElementById("price").textContent`
	b.until(t, `document.body.dataset.ready && document.querySelector("#levels tr.last th")?.textContent === "now" && document.getElementById("fresh").textContent.includes("Price ")`)
	first := eval[string](t, b, price)
	// looking at the page again has it ask at once
	b.until(t, `(document.dispatchEvent(new Event("visibilitychange")), `+price+` !== "`+first+`")`)
	// so does the market while it is in sight: where a level was, or how far, is not as it was
	const market = `document.querySelector("#market tbody").innerText`
	b.until(t, market+` !== ""`)
	before := eval[string](t, b, market)
	b.until(t, fmt.Sprintf(`%s !== %q`, market, before))
	b.clean(t, s.base)
}
