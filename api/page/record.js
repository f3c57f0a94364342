// The record: what became of touched levels, what was promised, and the control.

import { ask, problemLine } from "./ask.js";
import { el, fixed, put, svg, utc } from "./format.js";
import { say } from "./words.js";

const again = 60_000; // ms after which it is asked for again

const share = (p) => p === null ? "–" : fixed(100 * p, 1);

// hours draws how many held in each hour of the day, as bars; no bar means no outcome.
const hours = (row) => svg("svg", { class: "hours", viewBox: "0 0 96 24", role: "img", "aria-label": say("record.hours", { list: row.hours.map((h) => `${h.hour}: ${share(h.hold_rate)} (${h.decided})`).join(", ") }) },
  ...row.hours.map((h) => svg("rect", { x: 4 * h.hour, width: 3, y: 24 - 24 * h.hold_rate, height: 24 * h.hold_rate })));

export class Record {
  #shown = ""; // the exchange whose record is here
  #at = 0;

  // here returns what the page shows.
  constructor(root, { here }) {
    Object.assign(this, { root, here });
    root.addEventListener("toggle", () => root.open && this.tick());
  }

  // tick has the record be there while it is open.
  async tick() {
    const { exchange } = this.here();
    if (!this.root.open || !exchange || (this.#shown === exchange && Date.now() - this.#at < again)) return;
    this.#shown = exchange;
    this.#at = Date.now();
    const box = this.root.querySelector("div");
    try {
      const { intervals } = await ask(`calibration?exchange=${encodeURIComponent(exchange)}`);
      if (exchange === this.#shown) this.draw(box, intervals.flatMap((i) => i.record.map((row) => ({ ...row, interval: i.interval }))));
    } catch (problem) {
      this.#at = 0;
      put(box, problemLine(problem));
    }
  }

  draw(box, rows) {
    const head = (key, number = true) => el("th", { scope: "col", class: number ? "n" : null }, say("record." + key));
    put(box, rows.length ? el("table", {},
      el("thead", {}, el("tr", {}, head("levels", false), head("decided"), head("held"), head("interval"), head("promised"), head("realised"), head("line"), head("by_hour", false))),
      el("tbody", {}, rows.map((r) => el("tr", {},
        el("th", { scope: "row" }, `${r.interval} ${say("role." + r.role)}, ${say("record." + r.kind)} `, r.simulated ? el("b", { class: "stale" }, say("simulated.first")) : null, el("span", { class: "soft" }, say("record.since", { at: utc(r.since) }))),
        el("td", { class: "n" }, say("record.count", { count: r.decided })),
        el("td", { class: "n" }, share(r.hold_rate)),
        el("td", { class: "n soft" }, r.hold_interval ? `${share(r.hold_interval[0])}${say("to")}${share(r.hold_interval[1])}` : "–"),
        el("td", { class: "n" }, share(r.promised)),
        el("td", { class: "n" }, share(r.realised)),
        el("td", { class: "n" }, share(r.baseline)),
        el("td", {}, hours(r)))))) : null,
      el("p", { class: "soft" }, say(rows.length ? "record.note" : "record.none")));
  }
}
