// What happens to levels: a card of the newest events, and the one stream of the page,
// which bells hear, too.

import { ask, follow, problemLine } from "./ask.js";
import { heard } from "./bells.js";
import { decimals, el, fixed, hour, percent, price, put, span, utc } from "./format.js";
import { pause, rest } from "./live.js";
import { query } from "./paths.js";
import { mark } from "./venues.js";
import { say } from "./words.js";

const kept = "tidemark-events";
const most = 200, history = 60;

// The service sends something at least every 15 seconds.
const silence = 45_000;

// late is what an event may be late without that it is said, in milliseconds.
const late = 60_000;

export const kinds = ["approaching", "touched", "held", "broke", "flipped", "appeared", "vanished"];

const about = (e) => say("happened." + e.kind, { pair: e.symbol, level: `${say("role." + e.level.role)} ${price(e.level.price, decimals([e.level.price]))}` });

// when writes a moment, without its day if that is today's.
const when = (t) => t.slice(0, 10) === new Date().toISOString().slice(0, 10) ? hour.format(new Date(t)) : utc(t);

// line writes an event.
function line(e, here, several, open) {
  const d = decimals([e.level.price, e.level.low, e.level.high]);
  const p = e.promise;
  return el("li", { class: e.level.role }, el("button", { type: "button", "data-seq": e.seq, onclick: () => open(e) },
    el("span", { class: "t" }, when(e.occurred_at)), " ",
    el("b", {}, e.symbol), several || e.exchange !== here.exchange ? el("span", { class: "soft" }, ` ${e.exchange}`) : null, " ",
    el("span", { class: "kind " + e.kind }, say("kind." + e.kind)), " ",
    el("span", { class: "side" }, `${say("role." + e.level.role)} ${price(e.level.price, d)}`), " ",
    el("span", { class: "soft" }, say("events.edge", { edge: fixed(e.level.edge, 1) }),
      p ? " · " + say("events.promised", { p: percent(p.hold_probability, 0), line: percent(p.baseline_hold_probability, 0) }) : "",
      e.replaced_by ? " · " + say("events.replaced") : e.replaces ? " · " + say("events.replaces") : ""),
    e.late_ms > late ? el("span", { class: "stale" }, " " + say("events.late", { span: span(e.late_ms) })) : null,
    several && e.simulated ? mark(e.exchange, true) : null));
}

export class Events {
  #lines = new Map(); // the events shown, by seq, the newest first
  #news = []; // that came while somebody reads
  #unsaid = 0;
  #last = null; // up to which the stream is read
  #cut = new AbortController();
  #here = { exchange: "", symbol: "", interval: "" };

  // open is called with the event to show; alone tells whether the service has but one
  // exchange.
  constructor(root, { bells, watched, open, alone }) {
    Object.assign(this, { bells, watched, open, alone });
    this.form = root.querySelector("form");
    this.list = root.querySelector("ol");
    this.more = root.querySelector(".more");
    this.note = root.querySelector(".note");
    this.state = root.querySelector(".state");
    this.said = root.querySelector("[role=status]");
    this.title = root.querySelector("h2");
    try {
      this.filter = { scope: "all", edge: "", off: ["appeared", "vanished"], ...JSON.parse(localStorage.getItem(kept)) };
    } catch {
      this.filter = { scope: "all", edge: "", off: [] };
    }
    const { scope, edge, kind } = this.form.elements;
    scope.value = this.filter.scope;
    edge.value = this.filter.edge;
    for (const box of kind) box.checked = !this.filter.off.includes(box.value);
    this.form.addEventListener("change", () => {
      this.filter = { scope: scope.value, edge: edge.value, off: [...kind].filter((box) => !box.checked).map((box) => box.value) };
      localStorage.setItem(kept, JSON.stringify(this.filter));
      this.reload();
    });
    this.more.addEventListener("click", () => {
      this.list.scrollTop = 0;
      this.list.focus();
      this.read();
    });
    this.list.addEventListener("scroll", () => this.list.scrollTop === 0 && !this.list.contains(document.activeElement) && this.read());
    this.list.addEventListener("focusout", () => setTimeout(() => this.read()));
    document.addEventListener("visibilitychange", () => this.retune());
    // of several tabs that nobody sees, one is enough to ring
    navigator.locks?.request("tidemark-bells", () => new Promise(() => {
      this.ringer = true;
      this.retune();
    }));
    this.run();
  }

  // show has the card be of what is shown; with again it is asked for anyway.
  show(here, again) {
    this.#here = here;
    this.loading = this.reload(again);
    this.retune();
  }

  // wanted is what GET /events is asked for, of the card; null: nothing.
  wanted() {
    const { exchange, symbol, interval } = this.#here, { scope, edge, off } = this.filter;
    const kind = kinds.filter((k) => !off.includes(k));
    if (!interval || !kind.length || scope === "pair" && !symbol || scope === "watched" && !this.watched.names.length) return null;
    return { exchange: scope === "pair" || this.alone() ? exchange : "", interval, kind: off.length ? kind.join() : "", min_edge: edge,
      symbols: scope === "pair" ? symbol : scope === "watched" ? this.watched.names.join() : "" };
  }

  // fits tells whether the card shows an event.
  fits(e) {
    const { exchange, symbol, interval } = this.#here, { scope, edge, off } = this.filter;
    return e.interval === interval && !off.includes(e.kind) && e.level.edge >= Number(edge) && (this.alone() && exchange !== e.exchange ? false
      : scope === "pair" ? e.symbol === symbol && e.exchange === exchange : scope === "all" || this.watched.has(e));
  }

  // reload asks for the newest events that fit, if it has not.
  async reload(again) {
    const wanted = this.wanted(), of = JSON.stringify(wanted);
    if (this.of === of && !again) return;
    this.of = of;
    this.asked?.abort();
    const { signal } = this.asked = new AbortController();
    let page = { events: [] }, problem = null;
    if (wanted) {
      try {
        page = await ask("events" + query({ ...wanted, limit: history }), { signal });
      } catch (p) {
        if (signal.aborted) return;
        problem = p;
        this.of = null;
      }
      this.#last ??= page.next ?? null; // the stream begins where the page ends
    }
    this.#news = [];
    this.#lines = new Map(page.events.toReversed().map((e) => [e.seq, e]));
    this.draw(problem);
  }

  // several tells whether lines of more than one exchange are shown.
  get #several() {
    return new Set(Array.from(this.#lines.values(), (e) => e.exchange)).size > 1;
  }

  draw(problem) {
    const events = [...this.#lines.values()];
    put(this.list, ...events.map((e) => line(e, this.#here, this.#several, this.open)));
    this.list.scrollTop = 0;
    this.tell(problem);
  }

  // read has the lines that wait appear, unless somebody reads further down.
  read() {
    if (!this.#news.length || this.list.scrollTop > 0 || this.list.contains(document.activeElement) && document.activeElement !== this.list) return;
    const news = this.#news.splice(0);
    const all = [...news, ...this.#lines.values()].slice(0, most);
    this.#lines = new Map(all.map((e) => [e.seq, e]));
    this.list.prepend(...news.slice(0, most).map((e) => line(e, this.#here, this.#several, this.open)));
    while (this.list.children.length > most) this.list.lastChild.remove();
    this.tell();
  }

  // tell says how many wait, or why there are none.
  tell(problem) {
    this.more.hidden = !this.#news.length;
    this.more.textContent = say("events.new", { count: this.#news.length });
    this.list.hidden = !this.#lines.size;
    const [first] = this.#lines.values();
    this.title.replaceChildren(say("events"), ...(!this.#several && first?.simulated ? mark(first.exchange, true) : []));
    const why = this.filter.scope === "watched" && !this.watched.names.length ? say("watched.none_yet")
      : !this.wanted() ? say("events.nothing_selected") : say("events.nothing");
    this.note.replaceChildren(...(this.#lines.size ? [] : [problem ? problemLine(problem) : why]));
  }

  // take takes an event of the stream.
  take(e) {
    this.bells.take(e);
    if (!this.fits(e) || this.#lines.has(e.seq) || this.#news.some((n) => n.seq === e.seq)) return;
    this.#news = [e, ...this.#news].slice(0, most);
    // what comes at once is drawn at once, and said now and then
    this.drawing ??= setTimeout(() => {
      this.drawing = null;
      this.read();
      this.tell();
    }, 150);
    this.#unsaid++;
    this.saying ??= setTimeout(() => {
      this.said.textContent = this.#unsaid > 1 ? say("events.several", { count: this.#unsaid, last: about(e) }) : about(e);
      this.#unsaid = 0;
      setTimeout(() => (this.saying = null), 15_000);
    }, 500);
  }

  // tuned is what the stream is asked for: all that the card or a bell needs; null if
  // nobody looks and none can ring.
  tuned() {
    const { exchange, interval } = this.#here, bells = this.bells.list;
    const hears = bells.length > 0 && (!document.hidden || this.ringer || !navigator.locks);
    if (!interval || document.hidden && !hears) return null;
    const kind = kinds.filter((k) => !this.filter.off.includes(k) || bells.length && heard.includes(k));
    const exchanges = new Set([this.alone() ? exchange : "", ...bells.map((b) => b.exchange)]);
    return { exchange: exchanges.size === 1 ? exchange : "", interval: [...new Set([interval, ...bells.map((b) => b.interval)])].join(), kind: kind.join() };
  }

  // retune has the stream be of what is needed now.
  retune() {
    const tuned = JSON.stringify(this.tuned());
    if (this.tuning === tuned) return;
    this.tuning = tuned;
    this.#cut.abort();
  }

  // run follows the events as long as the page is open.
  async run() {
    for (let failures = 0; ; ) {
      const cut = this.#cut = new AbortController();
      const tuned = this.tuned();
      this.tuning = JSON.stringify(tuned);
      const changed = new Promise((resolve) => cut.signal.addEventListener("abort", resolve));
      if (!tuned) {
        await changed;
        continue;
      }
      let watch;
      const heardOf = () => {
        clearTimeout(watch);
        watch = setTimeout(() => cut.abort(), silence);
      };
      try {
        await this.loading;
        if (!this.caughtUp) await this.catchUp(cut.signal);
        this.caughtUp = true;
        heardOf();
        const headers = this.#last === null ? {} : { "Last-Event-ID": String(this.#last) };
        for await (const { id, name, data } of follow("events" + query({ ...tuned, since: "latest" }), { headers, signal: cut.signal })) {
          heardOf();
          failures = 0;
          this.state.textContent = "";
          if (name === "missed") this.reload(true);
          else if (data) this.take(JSON.parse(data));
          if (id) this.reached(Number(id));
        }
        throw new Error(say("events.cut"));
      } catch (problem) {
        if (cut.signal.aborted) continue;
        if (problem.status >= 400 && problem.status < 429) this.#last = this.bells.after = null; // of another database
        this.state.textContent = say("events.not_followed", { problem: problem.message });
        await Promise.race([pause(Math.max(1000, rest(++failures, problem))), changed]);
        if (this.list.scrollTop === 0) this.show(this.#here, true);
      } finally {
        clearTimeout(watch);
      }
    }
  }

  reached(seq) {
    this.#last = seq;
    if (this.bells.list.length) this.bells.after = seq;
  }

  // catchUp reads what bells did not hear while no page was open.
  async catchUp(signal) {
    const pairs = [...new Set(this.bells.list.map((b) => b.symbol))];
    for (let after = this.bells.after, more = after !== null; more; ) {
      const page = await ask("events" + query({ since: after, symbols: pairs.join(), kind: heard.join(), limit: 500 }), { signal });
      for (const e of page.events) this.bells.take(e);
      after = this.bells.after = page.next;
      more = page.more;
    }
  }
}
