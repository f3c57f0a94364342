// The screener: the levels of all pairs, the nearest first.

import { ask, hasKey, problemOf, problemLine, send } from "./ask.js";
import { decimals, el, plain, price, signed } from "./format.js";
import { inATR, record } from "./levels.js";
import { query } from "./paths.js";
import { analysed, mark, storedIntervals } from "./venues.js";
import { say } from "./words.js";

// The filters, as the address and GET /levels name them, but for the exchange and the interval:
// those of the pair shown have these names.
export const filters = { role: "", state: "", found_by: "", min_edge: "", max_distance_atr: "", min_quote_volume: "", confluence: "", sort: "", on: "", of: "", watched: "" };

// unbroken is the states of levels that price has not broken.
const unbroken = "untested,held,reclaimed,unknown";

const rows = 50;

export class Market {
  // choose is called with the row of a level; icons returns its buttons, watched the pairs that
  // are watched, lists the names of the lists of the service; sweep begins a sweep of an
  // exchange and an interval, and sweeping tells whether one runs.
  constructor(root, choose, icons, { watched, lists, sweep, sweeping }) {
    Object.assign(this, { choose, icons, watched, lists, sweep, sweeping });
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
    this.form.addEventListener("change", () => this.change(Object.fromEntries(new FormData(this.form))));
    this.form.addEventListener("submit", (e) => e.preventDefault());
  }

  // set takes on what the address says. served is the exchanges of the service: of
  // several, all are shown unless a filter or exchange says which.
  set(exchange, served, interval, wanted, onChange) {
    this.several = served.length > 1 && !exchange;
    for (const e of this.of) e.hidden = !this.several;
    const only = exchange || (this.several && served.includes(wanted.on) ? wanted.on : "");
    const same = this.exchange === only && this.interval === (wanted.of || interval) && JSON.stringify(this.wanted) === JSON.stringify(wanted);
    Object.assign(this, { exchange: only, interval: wanted.of || interval, shownInterval: interval, served, wanted, onChange });
    this.offer();
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

  // offer writes what there is to choose from, and what is chosen.
  offer() {
    if (!this.served) return; // not yet known
    const intervals = storedIntervals(this.exchange ? [this.exchange] : this.served);
    const longer = intervals.slice(intervals.indexOf(this.interval) + 1).slice(0, 3);
    const both = longer.slice(1).map((name) => [`${longer[0]},${name}`, `${longer[0]}, ${name}`]);
    const choices = {
      on: [["", say("all")], ...this.served.map((name) => [name, name])],
      of: [["", say("market.as_chart", { interval: this.shownInterval })], ...intervals.map((name) => [name, name])],
      confluence: [["", say("any")], ...longer.map((name) => [name, name]), ...both],
      watched: [["", say("all")], ["yes", say("market.watched")], ...this.lists().map((name) => ["@" + name, "@" + name])],
    };
    for (const [name, list] of Object.entries(choices)) {
      const select = this.form.elements[name], value = this.wanted[name];
      if (value && !list.some(([v]) => v === value)) list.push([value, value]);
      if ([...select.options].map((o) => o.value + o.text).join() !== list.map(([v, text]) => v + text).join()) select.replaceChildren(...list.map(([value, text]) => el("option", { value }, text)));
    }
    for (const [name, value] of Object.entries(this.wanted)) if (this.form.elements[name]) this.form.elements[name].value = value;
  }

  // asks returns the parameters of GET /levels.
  asks() {
    const { wanted, exchange, interval } = this;
    const list = wanted.watched.startsWith("@") ? wanted.watched.slice(1) : "";
    return {
      ...wanted, on: "", of: "", watched: "", exchange, interval, watchlist: list, symbols: wanted.watched && !list ? this.watched().join() : "",
      state: { "": unbroken, any: "" }[wanted.state] ?? wanted.state, confluence: wanted.confluence.split(",").filter((name) => name !== interval).join(),
    };
  }

  change(changes) {
    this.onChange({ ...this.wanted, ...changes });
  }

  // load asks for the rows there are now, and with more for as many again.
  async load(more) {
    this.asked?.abort();
    this.asked = new AbortController();
    this.offer();
    if (this.wanted.watched === "yes" && !this.watched().length) {
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
          l.name && plain(l.name) !== plain(l.symbol) ? el("small", {}, l.name) : null, this.several ? el("small", { class: "narrow" }, l.exchange) : null, l.stale ? el("b", { class: "stale" }, " " + say("stale")) : null),
        this.several ? el("td", { class: "wide" }, l.exchange, mark(l.exchange, l.simulated)) : null,
        el("td", { class: "n side" }, el("abbr", { title: say("role." + l.role) + (l.passed ? say("market.passed") : "") }, l.role === "support" ? "S" : "R"), " " + price(l.price, d)),
        el("td", { class: "n wide" }, l.distance_atr === null ? "–" : signed(l.distance_atr, 2)),
        el("td", { class: "n" }, signed(l.distance_pct, 2), el("small", { class: "narrow" }, inATR(l))),
        el("td", { class: "n" }, el("b", {}, signed(l.edge, 1)), el("small", { class: "narrow" }, record(l))),
        el("td", { class: "n wide" }, record(l)));
    }));
    this.more.hidden = page.next === null || this.shown === 1000;
    this.note.replaceChildren(...page.levels.length ? [stale ? say("market.stale", { n: stale }) : "", page.odds_reason ? say("no_odds", { reason: say("reason." + page.odds_reason) }) : ""] : this.nothing());
    if (focused) this.body.querySelector(`[data-row="${focused}"]`)?.focus();
  }

  // nothing says why there are no rows, and what helps.
  nothing() {
    const { exchange, interval, served } = this, names = exchange ? [exchange] : served;
    if (names.some((name) => analysed(name, interval))) {
      return [say("market.nothing"), " ", el("button", { type: "button", onclick: () => this.change({ ...filters, sort: this.wanted.sort, on: this.wanted.on, of: this.wanted.of }) }, say("market.clear"))];
    }
    const of = names.find((name) => served.includes(name));
    if (names.some((name) => this.sweeping(name, interval))) return [say("market.sweeping")];
    return [say("market.not_analysed", { interval }), " ", of ? el("button", { type: "button", class: "primary", onclick: () => this.sweep(of, interval).then(() => this.load(), (problem) => this.note.replaceChildren(problemLine(problem))) },
      `${served.length > 1 ? say("sweep.exchange", { exchange: of }) : say("sweep.market")} (${interval})`) : ""];
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
