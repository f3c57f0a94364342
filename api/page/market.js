// The screener: the levels of all pairs, the nearest first.

import { ask, hasKey, problemOf, query, problemLine, send } from "./ask.js";
import { decimals, el, fixed, plain, price, signed } from "./format.js";
import { mark } from "./venues.js";
import { say } from "./words.js";

// The filters, as the address and GET /levels name them, but for the exchange: that of the
// pair shown has its name.
export const filters = { role: "", state: "", found_by: "", min_edge: "", max_distance_atr: "", sort: "", on: "", watched: "" };

const rows = 50;

export class Market {
  // choose is called with the row of a level; icons returns its buttons, watched the pairs that
  // are watched.
  constructor(root, choose, icons, watched) {
    Object.assign(this, { choose, icons, watched });
    this.body = root.querySelector("tbody");
    this.more = root.querySelector(".more");
    this.note = root.querySelector(".note");
    this.csv = root.querySelector("a.csv");
    this.form = root.querySelector("form");
    this.of = root.querySelectorAll(".of");
    this.heads = [...root.querySelectorAll("th[data-sort]")];
    this.more.addEventListener("click", () => this.load(true));
    this.csv.addEventListener("click", (e) => this.download(e));
    for (const head of this.heads) {
      head.querySelector("button").addEventListener("click", () => {
        const name = head.dataset.sort;
        const [near, far] = head.hasAttribute("data-down") ? ["-" + name, name] : [name, "-" + name];
        this.change({ sort: this.wanted.sort === near ? far : near });
      });
    }
    this.form.addEventListener("change", () => this.change({ watched: "", ...Object.fromEntries(new FormData(this.form)) }));
    this.form.addEventListener("submit", (e) => e.preventDefault());
  }

  // set takes on what the address says. served is the exchanges of the service: of
  // several, all are shown unless a filter or exchange says which.
  set(exchange, served, interval, wanted, onChange) {
    this.several = served.length > 1 && !exchange;
    for (const e of this.of) e.hidden = !this.several;
    const { on } = this.form.elements;
    if (on.options.length !== served.length + 1) on.replaceChildren(el("option", { value: "" }, say("all")), ...served.map((name) => el("option", {}, name)));
    exchange ||= this.several && served.includes(wanted.on) ? wanted.on : "";
    const same = this.exchange === exchange && this.interval === interval && JSON.stringify(this.wanted) === JSON.stringify(wanted);
    Object.assign(this, { exchange, interval, wanted, onChange });
    for (const [name, value] of Object.entries(wanted)) if (this.form.elements[name] && name !== "watched") this.form.elements[name].value = value;
    this.form.elements.watched.checked = wanted.watched !== "";
    const sort = wanted.sort || "distance_atr";
    for (const head of this.heads) {
      const down = sort === "-" + head.dataset.sort;
      head.setAttribute("aria-sort", down ? "descending" : sort === head.dataset.sort ? "ascending" : "none");
    }
    // without a limit it is everything, by symbol
    this.csv.href = "levels" + query({ ...this.asks(), sort: "", format: "csv" });
    if (!same) this.shown = rows;
    return same;
  }

  // asks returns the parameters of GET /levels.
  asks() {
    const { wanted, exchange, interval } = this;
    return { ...wanted, on: "", watched: "", exchange, interval, symbols: wanted.watched && this.watched().join() };
  }

  change(changes) {
    this.onChange({ ...this.wanted, ...changes });
  }

  // load asks for the rows there are now, and with more for as many again.
  async load(more) {
    this.asked?.abort();
    this.asked = new AbortController();
    if (this.wanted.watched && !this.watched().length) {
      this.draw({ levels: [], next: null });
      this.note.textContent = say("watched.none_yet");
      return;
    }
    if (more) this.shown = Math.min(1000, this.shown + rows);
    try {
      const page = await ask("levels" + query({ ...this.asks(), limit: this.shown }), { signal: this.asked.signal });
      this.draw(page);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.note.replaceChildren(problemLine(problem));
    }
  }

  draw(page) {
    const focused = this.body.contains(document.activeElement) && document.activeElement.dataset.row;
    const stale = new Set(page.levels.filter((l) => l.stale).map((l) => l.exchange + " " + l.symbol)).size;
    this.body.replaceChildren(...page.levels.map((l) => {
      const d = decimals([l.price, l.low, l.high]);
      const go = () => this.choose(l);
      return el("tr", { class: l.role, onclick: go },
        el("th", { scope: "row" }, el("button", { type: "button", class: "pair", "data-row": `${l.exchange} ${l.symbol} ${l.id}`, onclick: (e) => { e.stopPropagation(); go(); } }, l.symbol), this.icons(l),
          l.name && plain(l.name) !== plain(l.symbol) ? el("small", {}, l.name) : null, l.stale ? el("b", { class: "stale" }, " " + say("stale")) : null),
        this.several ? el("td", {}, l.exchange, mark(l.exchange, l.simulated)) : null,
        el("td", { class: "n side" }, el("abbr", { title: say("role." + l.role) + (l.passed ? say("market.passed") : "") }, l.role === "support" ? "S" : "R"), " " + price(l.price, d)),
        el("td", { class: "n" }, l.distance_atr === null ? "–" : signed(l.distance_atr, 2)),
        el("td", { class: "n" }, signed(l.distance_pct, 2)),
        el("td", { class: "n" }, l.hold_probability === null ? "–" : fixed(100 * l.hold_probability, 1), l.hold_probability === null ? null : el("small", { class: "line" }, `/ ${fixed(100 * l.baseline_hold_probability, 1)}`)),
        el("td", { class: "n" }, fixed(l.edge, 1)),
        el("td", { class: "n" }, l.tests === null ? "–" : `${l.held}/${l.held + l.broke}`));
    }));
    this.more.hidden = page.next === null || this.shown === 1000;
    this.note.textContent = !page.levels.length ? say("market.nothing")
      : (stale ? say("market.stale", { n: stale }) : "") + (page.odds_reason ? say("no_odds", { reason: page.odds_reason }) : "");
    if (focused) this.body.querySelector(`[data-row="${focused}"]`)?.focus();
  }

  // download fetches the CSV itself when the service wants a key, which a link
  // cannot send.
  async download(e) {
    if (!hasKey()) return;
    e.preventDefault();
    const response = await send(this.csv.getAttribute("href"));
    if (!response.ok) return this.note.replaceChildren(problemLine(await problemOf(response)));
    const address = URL.createObjectURL(await response.blob());
    el("a", { href: address, download: `levels-${this.interval}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }
}
