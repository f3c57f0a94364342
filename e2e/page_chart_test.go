package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tidemark/wire"
)

// box returns the place of an element in the window: left, top, width, height.
func (b *browser) box(t *testing.T, selector string) [4]float64 {
	t.Helper()
	return eval[[4]float64](t, b, fmt.Sprintf(`(r => [r.x, r.y, r.width, r.height])(document.querySelector(%q).getBoundingClientRect())`, selector))
}

// hover moves the pointer down the chart, left of the names, until the legend says text. It
// returns where that is, and whether it is anywhere.
func (b *browser) hover(t *testing.T, text string) (x, y float64, ok bool) {
	t.Helper()
	chart := b.box(t, "#chart")
	x = chart[0] + 5
	for y = chart[1] + 3; y < chart[1]+chart[3]; y += 6 { // a zone can be hit within three pixels of it
		b.do(t, chromedp.MouseEvent(chromedp.MouseMoved, x, y))
		if strings.Contains(eval[string](t, b, `document.getElementById("legend").textContent`), text) {
			return x, y, true
		}
	}
	return 0, 0, false
}

// tested counts the pixels of the chart in the colours of tests, which are opaque.
const tested = `(() => {
	const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true }), wanted = new Set();
	for (const name of ["support", "resistance"]) {
		probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
		probe.fillRect(0, 0, 1, 1);
		wanted.add(new Uint32Array(probe.getImageData(0, 0, 1, 1).data.buffer)[0]);
	}
	let n = 0;
	for (const c of document.querySelectorAll("#chart canvas")) {
		if (!c.width || !c.height) continue;
		for (const pixel of new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer)) n += wanted.has(pixel);
	}
	return n;
})()`

// The chart shows the level that is asked for, follows the price, and has the tools of a chart.
func TestPage_Chart(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	s := serve(t, "DATABASE_URL="+url, "EXCHANGE_SIMULATED_PAIRS=16", "PRICES_EVERY=1s")
	s.sweepTo(t)
	for _, interval := range []string{"4h", "1d"} {
		if status := s.post(t, `{"symbol":"BTCUSDT","interval":"`+interval+`"}`, nil); status != http.StatusOK {
			t.Fatal(interval, status)
		}
	}
	var close atomic.Pointer[float64] // of the forming candle of BTCUSDT, if not that of the service
	address := front(t, s.base, func(w http.ResponseWriter, r *http.Request) bool {
		price := close.Load()
		if price == nil || r.URL.Path != "/klines/BTCUSDT/forming" {
			return false
		}
		var f wire.FormingKline
		s.get(t, "/klines/BTCUSDT/forming?interval=1h", &f)
		f.Kline[4] = *price
		f.Kline[2], f.Kline[3] = max(f.Kline[2], *price), min(f.Kline[3], *price)
		f.At = new(f.At.Add(time.Minute)) // newer than what the service has read
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(&f)
		return true
	})
	b := browse(t)
	b.show(t, 1440, 900, "dark")
	open := func(t *testing.T, query string) {
		t.Helper()
		b.do(t, chromedp.Navigate("about:blank"), chromedp.Navigate(address+"/?interval=1h&symbol="+query))
		symbol, _, _ := strings.Cut(query, "&")
		b.until(t, `document.body.dataset.ready === "`+symbol+` 1h"`)
		eval[bool](t, b, `innerWidth < 1100 && document.getElementById("market").scrollIntoView(), true`) // its rows come once it is nearly in sight
		b.until(t, `document.querySelector("#market tbody tr")`)
	}
	click := func(what string) { t.Helper(); eval[bool](t, b, what+`.click(), true`) }
	flip := func(name string, on bool) {
		t.Helper()
		if eval[bool](t, b, `document.querySelector("[data-flip=`+name+`]").getAttribute("aria-pressed") === "true"`) != on {
			click(`document.querySelector("[data-flip=` + name + `]")`)
		}
	}
	const label = `document.getElementById("chart").getAttribute("aria-label")`

	t.Run("BeginsAtTheNewestCandles", func(t *testing.T) {
		const axis = `[...document.querySelectorAll("#chart tr:last-child canvas")].map(c => c.toDataURL()).join()`
		for _, width := range []int64{1440, 390} {
			b.show(t, width, 900, "dark")
			open(t, "BTCUSDT")
			time.Sleep(300 * time.Millisecond) // it draws again once it has its size
			before := eval[string](t, b, axis)
			click(`document.querySelector("[data-act=home]")`)
			time.Sleep(300 * time.Millisecond)
			if after := eval[string](t, b, axis); before != after || len(before) < 1000 {
				t.Errorf("on %d pixels it shows other times than after a click on Newest", width)
			}
		}
		b.show(t, 1440, 900, "dark")
	})

	t.Run("ShowsTheLevelThatIsAskedFor", func(t *testing.T) {
		var rows struct {
			Levels []struct {
				ID, Symbol string
				Price      float64
			}
		}
		s.get(t, "/levels?sort=-edge&limit=4", &rows)
		for i, l := range rows.Levels {
			if i%2 == 0 { // by a link, of one who shows little
				open(t, l.Symbol+"&per_side=1&least_edge=20&level="+l.ID)
			} else { // by the screener
				row := fmt.Sprintf(`document.querySelector('#market button.pair[data-row$="%s"]')`, l.ID)
				open(t, "BTCUSDT&per_side=1&least_edge=20&state=any&sort=-edge")
				b.until(t, row)
				click(row)
			}
			b.until(t, fmt.Sprintf(`document.body.dataset.ready === "%s 1h" && document.querySelector('#levels [data-level="%s"][aria-expanded=true]') && %s.endsWith("is selected")`, l.Symbol, l.ID, label))
			price := priceOf(eval[string](t, b, label))
			if _, _, ok := b.hover(t, " "+price+" ("); !ok {
				t.Errorf("%s of %s at %v is not in the picture as %s", l.ID, l.Symbol, l.Price, price)
			}
		}
		b.clean(t, address)
	})

	t.Run("ShowsWhereALevelWasThatIsNotThereAnyMore", func(t *testing.T) {
		var a analysisReply
		s.get(t, "/levels/BTCUSDT", &a)
		store := eventStore(t, url)
		name, at := "BTC/USDT", time.Now().UTC()
		store(wire.Event{ID: fmt.Sprintf("%032x", 1), Kind: "vanished", Symbol: "BTCUSDT", Name: &name, Interval: "1h", OccurredAt: at, EmittedAt: at, AsOf: at, Begun: at, Price: a.Supports[0].Price, ATR: 1,
			ReplacedBy: &a.Supports[0].ID, Level: wire.EventLevel{ID: "00000000000000aa", Role: "support", Price: a.Supports[0].Price * 1.001, Low: a.Supports[0].Price, High: a.Supports[0].Price * 1.002, State: "held"}})
		open(t, "BTCUSDT&level=00000000000000aa")
		b.until(t, `document.getElementById("shown").innerText.startsWith("The level that was asked for is not there any more; the dashed zone is where it was.") && `+label+`.endsWith(" is selected")`)
		if _, _, ok := b.hover(t, "gone"); !ok {
			t.Error("it is not in the picture")
		}
		click(`document.querySelector("#shown button")`)
		b.until(t, fmt.Sprintf(`document.querySelector('#levels [data-level="%s"][aria-expanded=true]')`, a.Supports[0].ID))
		b.clean(t, address)
	})

	t.Run("AZoneIsClickedAndATestIsShown", func(t *testing.T) {
		open(t, "BTCUSDT&per_side=10&least_edge=0&all=yes")
		b.until(t, label+`.includes(" S1 ")`)
		price := eval[string](t, b, label+`.match(/ S1 ([\d,.]+\d)/)[1]`)
		x, y, ok := b.hover(t, " "+price+" (") // whatever side price is on by now
		if !ok {
			t.Fatalf("S1 at %s is not in the picture", price)
		}
		b.do(t, chromedp.MouseClickXY(x, y))
		b.until(t, `document.querySelector(".why .touches li") && document.activeElement.className === "name" && location.search.includes("level=")`)
		// the oldest test listed comes to the middle
		n := eval[int](t, b, `document.querySelectorAll(".why .touches li").length`)
		from := eval[string](t, b, fmt.Sprintf(`document.querySelectorAll(".why .touches li")[%d].querySelector(".t").textContent.trim()`, n-1))
		chart := b.box(t, "#chart")
		axis := eval[float64](t, b, `document.querySelector("#chart tr td:nth-child(2)").clientWidth`)
		b.after(t, func() {
			click(fmt.Sprintf(`document.querySelectorAll(".why .touches li")[%d]`, n-1))
			b.do(t, chromedp.MouseEvent(chromedp.MouseMoved, chart[0]+axis/2, chart[1]+30))
		}, fmt.Sprintf(`document.getElementById("legend").textContent.startsWith(%q)`, from))
		b.clean(t, address)
	})

	t.Run("StaysInSightWhileTheTableIsRead", func(t *testing.T) {
		open(t, "BTCUSDT&per_side=10&least_edge=0&all=yes")
		eval[bool](t, b, `[...document.querySelectorAll("#levels tr")].at(-1).scrollIntoView({block: "end"}), true`)
		eval[bool](t, b, `scrollBy(0, 200), true`)
		if at := b.box(t, "#chart"); at[1] < 0 || at[1]+at[3] > 700 || eval[float64](t, b, "scrollY") < 100 {
			t.Errorf("with the page at %v the chart is at %v", eval[float64](t, b, "scrollY"), at)
		}
		// what the keyboard is at is not behind it
		eval[bool](t, b, `scrollTo(0, 0), true`)
		for range 12 {
			b.keys(t, kb.ArrowDown)
			focus, chart := eval[[2]float64](t, b, `(r => [r.top, r.bottom])(document.activeElement.getBoundingClientRect())`), b.box(t, ".view")
			if focus[0] < chart[1]+chart[3]-1 || focus[1] > 900 {
				t.Fatalf("the focus is at %v, the chart at %v", focus, chart)
			}
		}
	})

	t.Run("FollowsThePriceAtOnce", func(t *testing.T) {
		var a analysisReply
		s.get(t, "/levels/BTCUSDT?min_edge=0", &a)
		l := a.Supports[0]
		price := math.Floor(100*l.Price-1) / 100 // through it
		close.Store(&price)
		defer close.Store(nil)
		open(t, "BTCUSDT&per_side=10&least_edge=0&all=yes")
		b.until(t, fmt.Sprintf(`document.getElementById("price").textContent.replaceAll(",", "") === "%.2f"`, price))
		b.until(t, fmt.Sprintf(`(row => row?.classList.contains("resistance") && row.innerText.includes("passed") && row.querySelector(".name").textContent === "R1")(document.querySelector('#levels [data-level="%s"]')?.closest("tr"))`, l.ID))
		for _, want := range []string{"Price ", "distances, sides and order follow it", "As of the close at "} {
			if text := eval[string](t, b, `document.getElementById("fresh").innerText`); strings.Count(text, want) != 1 {
				t.Errorf("%q is not once in %q", want, text)
			}
		}
		b.clean(t, address)
	})

	t.Run("HasTheLayersOfAChart", func(t *testing.T) {
		open(t, "BTCUSDT&per_side=10&least_edge=0&all=yes")
		b.until(t, tested+" > 100") // without a click
		flip("dots", false)
		b.until(t, tested+" < 100")
		flip("dots", true)
		rows := eval[int](t, b, `document.querySelectorAll("#chart tr").length`)
		flip("volume", false)
		b.until(t, fmt.Sprintf(`document.querySelectorAll("#chart tr").length < %d`, rows))
		flip("volume", true)
		b.until(t, fmt.Sprintf(`document.querySelectorAll("#chart tr").length === %d`, rows))
		flip("before", true)
		b.until(t, `/ P[DW][HL] [\d,.]+/.test(`+label+`)`)
		flip("beside", true)
		b.until(t, `/ (4h|1d) [SR]1 /.test(`+label+`)`)
		if _, _, ok := b.hover(t, "│"); !ok {
			t.Error("the legend does not say what level is at the pointer")
		}
		_, before, _ := b.hover(t, "S1 ")
		flip("log", true)
		b.until(t, `JSON.parse(localStorage.getItem("tidemark-chart")).log`)
		if _, after, ok := b.hover(t, "S1 "); !ok || after == before {
			t.Logf("S1 is at %v, and was at %v on the other scale", after, before) // the difference may be less than a step
		}
		open(t, "BTCUSDT")
		if on := eval[[]string](t, b, `[...document.querySelectorAll("[data-flip][aria-pressed=true]")].map(e => e.dataset.flip)`); !slices.Equal(on, []string{"dots", "beside", "before", "volume", "log"}) {
			t.Errorf("after it was loaded again, these are on: %q", on)
		}
		keepsNobodyOut(t, b)
		for _, name := range []string{"beside", "before", "log"} {
			flip(name, false)
		}
		b.clean(t, address, "willReadFrequently")
	})

	t.Run("ScrollsBackToTheFirstCandle", func(t *testing.T) {
		open(t, "BTCUSDT")
		if n := b.asked("limit=2000"); n > 0 {
			t.Errorf("all candles are asked for %d times before they are wanted", n)
		}
		chart := b.box(t, "#chart")
		var a struct{ Klines int }
		s.get(t, "/levels/BTCUSDT", &a)
		var k struct{ Klines [][]float64 }
		s.get(t, fmt.Sprintf("/klines/BTCUSDT?limit=%d", a.Klines), &k)
		first := time.UnixMilli(int64(k.Klines[0][0])).UTC().Format("02 Jan")
		b.after(t, func() {
			for range 5 {
				b.do(t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
					_, err := cdp.Call(ctx, tab, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: "mouseWheel", X: chart[0] + 200, Y: chart[1] + 100, DeltaX: -4000, DeltaY: 1e-9})
					return err
				}))
			}
			b.do(t, chromedp.MouseEvent(chromedp.MouseMoved, chart[0]+3, chart[1]+30))
		}, fmt.Sprintf(`document.getElementById("legend").textContent.startsWith(%q)`, first))
		if n := b.asked(fmt.Sprintf("limit=%d", a.Klines)); n != 1 {
			t.Errorf("all candles are asked for %d times", n)
		}
		click(`document.querySelector("[data-act=home]")`)
		b.clean(t, address)
	})

	t.Run("WritesTimesAsTheyAreHere", func(t *testing.T) {
		b.do(t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			_, err := cdp.Call(ctx, tab, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kolkata"})
			return err
		}))
		open(t, "BTCUSDT")
		time := func() string { return eval[string](t, b, `document.getElementById("legend").textContent`) }
		if got := time(); !strings.Contains(got, ":00 UTC ") {
			t.Errorf("the legend begins %q", got)
		}
		flip("local", true)
		if got := time(); !strings.Contains(got, ":30 local time ") {
			t.Errorf("the legend begins %q", got)
		}
		flip("local", false)
		b.clean(t, address)
	})

	t.Run("IsTakenAsAPictureAndALink", func(t *testing.T) {
		dir := t.TempDir()
		b.do(t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			_, err := cdp.Call(ctx, tab, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{Behavior: "allow", BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID, DownloadPath: dir})
			return err
		}))
		open(t, "BTCUSDT")
		click(`document.querySelector("[data-act=save]")`)
		file := filepath.Join(dir, "BTCUSDT-1h.png")
		var picture []byte
		for deadline := time.Now().Add(30 * time.Second); len(picture) == 0; time.Sleep(20 * time.Millisecond) {
			if picture, _ = os.ReadFile(file); time.Now().After(deadline) {
				t.Fatal("no picture is downloaded")
			}
		}
		at := b.box(t, "#chart")
		// no line of its text is cut off
		eval[bool](t, b, `(of => { CanvasRenderingContext2D.prototype.fillText = function (text, x, ...more) {
			if (x + this.measureText(text).width > this.canvas.width && !this.canvas.isConnected && document.getElementById("fresh").textContent.includes(text)) (window.cut ??= []).push(text);
			return of.call(this, text, x, ...more);
		}; return true })(CanvasRenderingContext2D.prototype.fillText)`)
		click(`document.querySelector("[data-act=save]")`)
		if cut := eval[[]string](t, b, "window.cut ?? []"); len(cut) > 0 {
			t.Errorf("in the picture these lines are cut off: %q", cut)
		}
		if p, err := png.DecodeConfig(bytes.NewReader(picture)); err != nil || p.Width < int(at[2])-2 || p.Height <= int(at[3]) {
			t.Errorf("the picture is %dx%d (%v), the chart %vx%v", p.Width, p.Height, err, at[2], at[3])
		}
		// the clipboard of the machine is not that of the test
		eval[bool](t, b, `Object.defineProperty(navigator, "clipboard", { value: {
			write: async ([item]) => { window.copied = (await item.getType("image/png")).size },
			writeText: async (text) => { window.copied = text } } }), true`)
		click(`document.querySelector("[data-act=copy]")`)
		b.until(t, `window.copied > 10000 && document.querySelector(".said").textContent === "The picture is on the clipboard."`)
		click(`document.querySelector("[data-act=share]")`)
		b.until(t, `window.copied === location.href`)
		b.clean(t, address)
	})

	t.Run("IsUsedWithKeysFromAnywhere", func(t *testing.T) {
		open(t, "BTCUSDT&per_side=10&least_edge=0&all=yes")
		names := eval[[]string](t, b, `[...document.querySelectorAll("#levels button.name")].map(e => e.textContent)`)
		at := slices.Index(names, "S1")
		const focus = `document.activeElement.textContent`
		for _, step := range []struct {
			key string
			to  int
		}{{kb.ArrowDown, at}, {kb.ArrowDown, at + 1}, {kb.ArrowUp, at}} {
			b.keys(t, step.key)
			if got := eval[string](t, b, focus); got != names[step.to] {
				t.Fatalf("the focus is at %q, want %q of %q", got, names[step.to], names)
			}
		}
		b.keys(t, kb.Enter)
		b.until(t, `document.querySelector(".why .touches, .why .problem") && document.activeElement.getAttribute("aria-expanded") === "true"`)
		b.keys(t, kb.Escape)
		b.until(t, `!document.querySelector(".why")`)
		b.keys(t, "?")
		b.until(t, `document.getElementById("keys").open`)
		for _, v := range b.violations(t) {
			t.Errorf("the keys: %s", v)
		}
		b.keys(t, kb.Escape)
		b.until(t, `!document.getElementById("keys").open`)
		height := b.box(t, "#chart")[3]
		b.keys(t, "f")
		b.until(t, fmt.Sprintf(`document.getElementById("chart").clientHeight > %v`, height*1.3))
		b.keys(t, "f")
		b.until(t, fmt.Sprintf(`document.getElementById("chart").clientHeight === %v && !document.fullscreenElement`, height))
		b.clean(t, address)
	})

	t.Run("IsWalkedInFullScreen", func(t *testing.T) {
		open(t, "BTCUSDT&per_side=10&least_edge=0&all=yes")
		b.keys(t, "f")
		b.until(t, `!!document.querySelector(".view.full")`)
		price := eval[string](t, b, label+`.match(/ S1 ([\d,.]+\d)/)[1]`)
		b.keys(t, kb.ArrowDown)
		b.until(t, label+`.endsWith(" S1 `+price+` is selected") && document.getElementById("legend").textContent.includes("S1 `+price+` (")`)
		b.keys(t, kb.ArrowDown)
		b.until(t, `/ S2 [\d,.]+ is selected$/.test(`+label+`) && document.getElementById("legend").textContent.includes("S2 ")`)
		b.keys(t, "f")
		b.clean(t, address)
	})

	t.Run("IsInSightOnAPhone", func(t *testing.T) {
		b.show(t, 390, 844, "dark")
		defer b.show(t, 1440, 900, "dark")
		const inSight = `(r => r.top >= 0 && r.bottom <= innerHeight)(document.getElementById("chart").getBoundingClientRect())`
		open(t, "BTCUSDT&per_side=10&least_edge=0&all=yes&sort=-edge")
		row := `[...document.querySelectorAll("#market tbody tr")].find(r => r.cells[0].querySelector(".pair").textContent !== "BTCUSDT").querySelector("button.pair")`
		eval[bool](t, b, `(document.getElementById("market").scrollIntoView(), `+row+`.click(), true)`)
		b.until(t, `!document.body.dataset.ready.startsWith("BTCUSDT ") && document.querySelector(".why .touches li") && `+inSight)
		eval[bool](t, b, `(e => (e.scrollIntoView(), e.click(), true))(document.querySelector(".why .touches li button"))`)
		b.until(t, inSight)
		b.clean(t, address)
	})

	t.Run("SaysThatNothingIsFound", func(t *testing.T) {
		b.keys(t, "/")
		b.keys(t, "nosuchpair")
		b.until(t, `document.querySelector("#found li")?.textContent === "Nothing found"`)
		b.keys(t, kb.Escape)
	})
}

// priceOf returns the price of the level that the label of a chart ends with.
func priceOf(label string) string {
	words := strings.Fields(strings.TrimSuffix(label, " is selected"))
	return words[len(words)-1]
}
