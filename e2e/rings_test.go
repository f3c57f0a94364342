package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"tidemark/wire"
)

// What happens to levels comes to the page without being asked for, rings the bells of this
// browser once, and is sent by rules that are made in the page.
func TestPage_Rings(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	s := serve(t, "DATABASE_URL="+url, "EXCHANGE_SIMULATED_PAIRS=12", "ANALYSIS_LIVE=false", "PRICES_EVERY=0s",
		"SECRETS_KEY="+strings.Repeat("ab", 32), "RECEIVERS_ALLOW=private")
	s.sweepTo(t)
	var rows struct {
		Levels []struct {
			wire.EventLevel
			Symbol, Name string
		}
	}
	s.get(t, "/levels?symbols=BTCUSDT,ETHUSDT&sort=-edge&limit=400", &rows)
	pair := rows.Levels[0].Symbol
	at := rows.Levels[:0:0]
	for _, l := range rows.Levels {
		if l.Symbol == pair {
			at = append(at, l)
		}
	}
	other := map[string]string{"BTCUSDT": "ETHUSDT", "ETHUSDT": "BTCUSDT"}[pair]
	store := eventStore(t, url)
	n := 0
	happens := func(kind string, level int, change func(*wire.Event)) {
		n++
		now := time.Now().UTC()
		e := wire.Event{ID: fmt.Sprintf("%032x", n), Kind: kind, Symbol: pair, Name: &at[0].Name, Interval: "1h", OccurredAt: now, EmittedAt: now, AsOf: now, Begun: now,
			Price: at[level].Price, ATR: 1, Level: at[level].EventLevel}
		if change != nil {
			change(&e)
		}
		store(e)
	}
	b := browse(t)
	b.show(t, 1440, 900, "dark")
	b.before(t, `window.rung = [];
		window.Notification = class { static permission = localStorage.getItem("tidemark-bells") ? "granted" : "default"; static async requestPermission() { return this.permission = "granted" } constructor(title) { rung.push(title) } }`)
	click := func(what string) { t.Helper(); eval[bool](t, b, what+`.click(), true`) }
	const lines = `[...document.querySelectorAll("#events .happened li")].map(e => e.innerText.replace(/\s+/g, " "))`
	b.do(t, chromedp.Navigate(s.base+"/?symbol="+other+"&interval=1h&per_side=1&least_edge=20"))
	b.until(t, `document.body.dataset.ready && document.querySelector("#events .note").textContent.startsWith("Nothing has happened")`)

	// an event comes without a reload, and leads to its level whatever the sliders hide
	happens("broke", 0, func(e *wire.Event) {
		e.LateMS = 300_000
		e.Promise = &wire.EventPromise{HoldProbability: 0.52, BaselineHoldProbability: 0.46}
	})
	b.until(t, lines+`.length === 1`)
	if got := eval[[]string](t, b, lines)[0]; !strings.Contains(got, pair+" broke "+at[0].Role) || !strings.HasSuffix(got, "promised 52 %, any line 46 % 5 min late") {
		t.Errorf("the line of the event is %q", got)
	}
	click(`document.querySelector("#events .happened button")`)
	b.until(t, `document.body.dataset.ready === "`+pair+` 1h" && document.querySelector(".why .head") && document.activeElement.id === "pair"`)
	level := func(i int) string {
		return fmt.Sprintf(`document.querySelector('#levels [data-level="bell %s"]')`, at[i].ID)
	}
	if got := eval[string](t, b, `location.search`); !strings.Contains(got, "level="+at[0].ID) || eval[int](t, b, shown) != 1 {
		t.Errorf("after the event was opened the address is %s", got)
	}

	// its bell rings once, also over a reload, and moves with the level
	click(level(0))
	happens("approaching", 0, nil)
	b.until(t, `rung.length === 1 && document.title.startsWith("🔔 `+pair+` 1h came near ")`)
	b.do(t, chromedp.Navigate(s.base+"/?symbol="+pair+"&interval=1h&per_side=20&least_edge=0&all=yes"))
	b.until(t, lines+`.length === 2 && `+level(0)+`.getAttribute("aria-pressed") === "true"`)
	happens("vanished", 0, func(e *wire.Event) { e.ReplacedBy = &at[1].ID })
	b.until(t, `document.getElementById("bells").textContent.includes("was replaced on") && `+level(1)+`.getAttribute("aria-pressed") === "true"`)
	happens("touched", 1, nil)
	happens("touched", 0, func(e *wire.Event) { e.Level.Edge = 9 })
	b.until(t, lines+`.length === 4`)
	if got := eval[[]string](t, b, `rung`); len(got) != 1 || !strings.HasPrefix(got[0], pair+" 1h touched "+at[1].Role) {
		t.Errorf("rung: %q", got)
	}

	// a pair is watched, in the browser and on the server
	click(`document.querySelector("#pair-acts .star")`)
	click(`document.querySelector("#watched summary")`)
	click(`document.querySelector("#watched form button")`)
	b.until(t, `document.getElementById("watched").textContent.includes("Saved as @watched")`)
	eval[bool](t, b, `(e => { e.value = "yes"; e.dispatchEvent(new Event("change", {bubbles: true})); return true })(document.querySelector("#market [name=watched]"))`)
	b.until(t, `(rows => rows.length && rows.every(r => r.cells[0].innerText === "`+pair+`"))([...document.querySelectorAll("#market tbody tr")])`)
	var lists wire.WatchlistList
	if s.get(t, "/watchlists", &lists); len(lists.Watchlists) != 1 || lists.Watchlists[0].Pairs[0] != at[0].Name {
		t.Errorf("the server has the lists %+v", lists)
	}

	// a receiver and a rule are made; what is wrong stands at its field
	received := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.Header.Get("Webhook-Id") }))
	t.Cleanup(hook.Close)
	message := func() string {
		t.Helper()
		select {
		case id := <-received:
			return id
		case <-time.After(20 * time.Second):
			t.Fatal("no message came")
			return ""
		}
	}
	set := func(name, value string) {
		t.Helper()
		eval[bool](t, b, fmt.Sprintf(`(document.querySelector("dialog.edit [name='%s']").value = %q, true)`, name, value))
	}
	press := func(part, name string) {
		t.Helper()
		b.until(t, fmt.Sprintf(`[...document.querySelectorAll("%s button")].find(b => b.textContent === %q)`, part, name))
		click(fmt.Sprintf(`[...document.querySelectorAll("%s button")].find(b => b.textContent === %q)`, part, name))
	}
	click(`document.querySelector("#alerts > summary")`)
	for _, part := range []string{"rules", "receivers", "silences", "deliveries"} {
		click(`document.querySelector("[data-part=` + part + `] > summary")`)
	}
	press("#alerts", "New receiver")
	set("name", "bot")
	set("config/url", hook.URL)
	set("config/secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	press("dialog.edit", "Save")
	b.until(t, `!document.querySelector("dialog.edit") && document.querySelector("[data-part=receivers]").textContent.includes("bot")`)
	press("#alerts", "New rule")
	set("min_edge", "0")
	press("dialog.edit", "Save")
	b.until(t, `document.activeElement.name === "name" && document.activeElement.parentNode.textContent.includes("Must not be empty")`)
	for _, v := range b.violations(t) {
		t.Errorf("the form: %s", v)
	}
	press("dialog.edit", "Preview")
	b.until(t, `document.querySelector("dialog.edit .result h3")?.textContent.startsWith("In the last 30 days")`)
	set("name", "touches")
	press("dialog.edit", "Save")
	b.until(t, `!document.querySelector("dialog.edit") && document.querySelector("[data-part=rules]").textContent.includes("touches")`)
	happens("touched", 1, nil)
	id := message()
	b.until(t, `(document.dispatchEvent(new Event("visibilitychange")), document.querySelector(".delivery .state.delivered"))`)
	click(`document.querySelector(".delivery summary")`)
	b.until(t, `document.querySelector(".delivery pre") && document.querySelector(".attempts").textContent.includes("200 in")`)
	press(".delivery", "Send again")
	if again := message(); again != id {
		t.Errorf("sent again as %s, not %s", again, id)
	}
	press("[data-part=receivers]", "New secret")
	press("dialog.edit", "Save")
	b.until(t, `!document.querySelector("dialog.edit") && /The new secret of bot, shown only now: whsec_\S{44} /.test(document.querySelector("[data-part=receivers] [role=status]")?.textContent)`)
	click(`document.querySelector("#record > summary")`)
	b.until(t, `document.querySelector("#record .lines").textContent.startsWith("No touched level")`)
	press("[data-part=silences]", "1 h")
	b.until(t, `document.querySelector("[data-part=silences]").textContent.includes("from the page")`)
	for _, width := range []int64{1440, 390} {
		b.show(t, width, 900, "light")
		if wide := eval[int](t, b, "document.documentElement.scrollWidth"); int64(wide) > width {
			t.Errorf("the page is %d wide on a screen of %d", wide, width)
		}
		for _, v := range b.violations(t) {
			t.Errorf("%d wide: %s", width, v)
		}
	}
	b.clean(t, s.base, "400 (Bad Request) "+s.base+"/rules")
}
