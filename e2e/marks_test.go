package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"tidemark/exchange/simulated"
)

// ticks are the centres, in the window, of the lines on the chart in the colour of marks
// that are as long as a tick: [[x, y], …].
const ticks = `(() => {
	const probe = document.createElement("canvas").getContext("2d");
	probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--mark").trim();
	probe.fillRect(0, 0, 1, 1);
	const [r, g, b] = probe.getImageData(0, 0, 1, 1).data, found = [];
	for (const c of document.querySelectorAll("#chart canvas")) {
		if (!c.width || !c.height) continue;
		const box = c.getBoundingClientRect(), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
		for (let y = 0; y < c.height; y++) for (let x = 0, run = 0; x <= c.width; x++) {
			const at = 4 * (y * c.width + x);
			if (x < c.width && d[at] === r && d[at + 1] === g && d[at + 2] === b && d[at + 3] === 255) run++;
			else {
				if (run >= 11) found.push([box.x + (x - run / 2) * box.width / c.width, box.y + y * box.height / c.height]);
				run = 0;
			}
		}
	}
	return found;
})()`

// Marks are drawn on the chart unless switched off, which the browser keeps, and each tells
// its record at the pointer, at a tap and in a list.
func TestPage_ShowsMarksWithTheirRecords(t *testing.T) {
	t.Parallel()
	s := serve(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=6")
	s.sweepTo(t)
	var reply struct {
		Marks []struct {
			Kind, Label string
			Price       float64
		}
		Records []struct {
			Kind          string
			Held, Decided int
		}
	}
	s.get(t, "/levels/BTCUSDT/marks", &reply)
	if len(reply.Marks) == 0 {
		t.Fatal("BTCUSDT has no marks")
	}
	b := browse(t)
	b.show(t, 1440, 900, "dark")
	page := s.base + "/?symbol=BTCUSDT&interval=1h"
	b.do(t, chromedp.Navigate(page))
	b.until(t, fmt.Sprintf(`document.body.dataset.ready === "BTCUSDT 1h" && document.querySelectorAll("#marks li").length === %d && %s.length > 0`, len(reply.Marks), ticks))

	eval[bool](t, b, `document.querySelector("#marks summary").click(), true`)
	list := eval[[]string](t, b, `[...document.querySelectorAll("#marks li")].map(e => e.innerText.replace(/\s+/g, " "))`)
	for i, m := range reply.Marks {
		line := list[len(list)-1-i] // from the highest down
		for _, r := range reply.Records {
			if r.Kind != m.Kind {
				continue
			}
			plain := strings.ReplaceAll(line, ",", "")
			if !strings.Contains(line, m.Label) || !strings.Contains(plain, fmt.Sprintf("held %d of %d", r.Held, r.Decided)) || !strings.Contains(line, "lines beside it ") || !strings.Contains(plain, fmt.Sprintf("%.2f", m.Price)) {
				t.Errorf("mark %+v with the record %+v is listed as %q", m, r, line)
			}
		}
	}
	eval[bool](t, b, `document.querySelector("#marks summary").click(), true`)

	told := regexp.MustCompile(`^[A-Z][\w' ]+ [\d,]+\.\d+: held [\d,]+ of [\d,]+ \(\d\d\.\d %\), lines beside it \d\d\.\d %\. No odds\.`)
	var at [][2]float64
	b.after(t, func() {
		if at = eval[[][2]float64](t, b, ticks); len(at) > 0 {
			b.do(t, chromedp.MouseEvent(chromedp.MouseMoved, at[0][0], at[0][1]))
		}
	}, `!document.getElementById("mark").hidden`)
	if len(at) > len(reply.Marks) {
		t.Errorf("%d ticks for %d marks", len(at), len(reply.Marks))
	}
	if text := eval[string](t, b, `document.getElementById("mark").innerText`); !told.MatchString(text) {
		t.Errorf("at the pointer it says %q", text)
	}
	b.do(t, chromedp.MouseEvent(chromedp.MouseMoved, at[0][0]-400, at[0][1]))
	b.until(t, `document.getElementById("mark").hidden`)

	// with a finger, where there is no room for names
	b.show(t, 390, 844, "light")
	b.do(t, chromedp.Navigate("about:blank"), chromedp.Navigate(page))
	b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && document.querySelector("#marks li") && (document.getElementById("chart").scrollIntoView(), true) && `+ticks+`.length > 0`)
	touch := func(kind input.DispatchTouchEventType, points ...*input.TouchPoint) {
		b.do(t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			_, err := cdp.Call(ctx, tab, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: kind, TouchPoints: points})
			return err
		}))
	}
	b.after(t, func() {
		if at = eval[[][2]float64](t, b, ticks); len(at) > 0 {
			touch("touchStart", &input.TouchPoint{X: at[0][0], Y: at[0][1]})
			touch("touchEnd")
		}
	}, `!document.getElementById("mark").hidden && document.getElementById("mark").innerText.includes("No odds.")`)
	keepsNobodyOut(t, b)

	eval[bool](t, b, `document.getElementById("marks-shown").click(), true`)
	b.until(t, `document.getElementById("marks").hidden && document.getElementById("mark").hidden && `+ticks+`.length === 0`)
	b.clean(t, s.base, "willReadFrequently")
	b.do(t, chromedp.Navigate("about:blank"), chromedp.Navigate(page))
	b.until(t, `document.body.dataset.ready === "BTCUSDT 1h" && !document.getElementById("marks-shown").checked`)
	if n := eval[int](t, b, ticks+".length"); n > 0 || b.asked("/BTCUSDT/marks") > 0 {
		t.Errorf("switched off before, %d ticks are drawn, and asked for %d times", n, b.asked("/BTCUSDT/marks"))
	}
	eval[bool](t, b, `document.getElementById("marks-shown").click(), true`)
	b.until(t, `!document.getElementById("marks").hidden && `+ticks+`.length > 0`)
	b.clean(t, s.base, "willReadFrequently")
}

// Tables fit their place at the width of a common screen, so no column is cut; also with
// several exchanges, long names of pairs and levels that are stale.
func TestPage_CutsNoColumnAt1440Pixels(t *testing.T) {
	t.Parallel()
	one := serve(t, "DATABASE_URL="+sqliteURL(t), "EXCHANGE_SIMULATED_PAIRS=24")
	one.sweepTo(t)
	several := serve(t, severalExchanges(t, simulated.Options{Venue: "okx-swap", Pairs: 24, Seed: 1}, simulated.Options{Venue: "bybit", Pairs: 24, Seed: 2})...)
	several.sweepAll(t, "okx-swap", "bybit")
	for _, s := range []*running{one, several} {
		b := browse(t)
		b.show(t, 1440, 900, "dark")
		b.do(t, chromedp.Navigate(s.base+"/?interval=1h"))
		b.until(t, `document.body.dataset.ready && document.querySelector("#market tbody tr") && document.querySelector("#levels tr")`)
		eval[bool](t, b, `document.querySelectorAll("#market tbody th").forEach(e => { const s = document.createElement("b"); s.className = "stale"; s.textContent = " STALE"; e.append(s); }), true`)
		for _, box := range []string{".rows", ".scroll"} {
			wide := eval[[]int](t, b, `(e => { e.style.width = "min-content"; const x = [e.offsetWidth, e.parentNode.clientWidth - 16]; e.style.width = ""; return x })(document.querySelector(`+strconv.Quote(box+" table")+`))`)
			if wide[0] > wide[1] {
				t.Errorf("the table in %s needs %d, its place without a scroll bar is %d", box, wide[0], wide[1])
			}
		}
		b.show(t, 1280, 800, "dark") // what stands above it is one line on a small screen, too
		if tops := eval[[]float64](t, b, `[...document.querySelector(".bar").children].map(e => e.getBoundingClientRect().top)`); slices.Max(tops)-slices.Min(tops) > 20 {
			t.Errorf("at 1280 pixels the header stands at %v", tops)
		}
	}
}
