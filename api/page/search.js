// The search for a pair: a box with a list below it, used with the keyboard alone.

import { ask, query } from "./ask.js";
import { el } from "./format.js";

// plain is a name in capitals, without what separates its assets.
const plain = (name) => name.toUpperCase().replace(/[^\p{L}\p{N}]/gu, "");

export class Search {
  // choose is called with a pair; state has the exchange and interval it is to be of, and
  // elsewhere tells whether the list of that exchange is not there.
  constructor(input, list, choose, state, elsewhere) {
    Object.assign(this, { input, list, choose, state, elsewhere, lists: {}, at: 0, shown: [] });
    input.addEventListener("focus", () => this.fetch());
    input.addEventListener("input", () => this.show());
    input.addEventListener("blur", () => this.close());
    input.addEventListener("keydown", (e) => this.key(e));
    document.addEventListener("keydown", (e) => {
      if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || e.target.matches("input:not([type=radio], [type=range]), select, dialog *")) return;
      e.preventDefault();
      input.focus();
      input.select();
    });
  }

  // fetch asks once for the pairs a sweep covers; what is typed before they are
  // here, or is not among them, is taken as it is.
  fetch() {
    const { exchange } = this.state;
    if (!this.elsewhere()) this.lists[exchange] ??= ask("symbols" + query({ selected: true, exchange })).then(
      ({ symbols }) => symbols.toSorted((a, b) => b.quote_volume - a.quote_volume),
      () => (delete this.lists[exchange], []));
    return this.lists[exchange];
  }

  async show() {
    const typed = this.typed();
    const pairs = this.elsewhere() ? await this.stored(typed) : await this.fetch();
    if (this.typed() !== typed || document.activeElement !== this.input) return;
    const fits = typed ? [...pairs.filter((p) => plain(p.symbol).startsWith(typed)), ...pairs.filter((p) => plain(p.symbol).indexOf(typed) > 0)] : [];
    this.shown = fits.slice(0, 8).map((p) => p.symbol);
    this.at = 0;
    this.draw();
  }

  // stored returns pairs of another exchange, whose list is not there: those that
  // begin like this and have levels.
  async stored(typed) {
    const { exchange, interval } = this.state;
    const { levels } = await ask("levels" + query({ exchange, interval, symbol: typed, sort: "symbol", limit: 400 })).catch(() => ({ levels: [] }));
    return [...new Set(levels.map((l) => l.symbol))].map((symbol) => ({ symbol }));
  }

  typed() {
    return plain(this.input.value);
  }

  draw() {
    this.list.replaceChildren(...this.shown.map((s, i) => el("li", {
      id: "found-" + i, role: "option", "aria-selected": String(i === this.at),
      onmousedown: (e) => { e.preventDefault(); this.take(s); },
    }, s)));
    this.list.hidden = !this.shown.length;
    this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    if (this.shown.length) this.input.setAttribute("aria-activedescendant", "found-" + this.at);
    else this.input.removeAttribute("aria-activedescendant");
  }

  close() {
    this.shown = [];
    this.draw();
  }

  take(symbol) {
    if (!symbol) return;
    this.input.value = "";
    this.input.blur();
    this.choose(symbol);
  }

  key(e) {
    const n = this.shown.length;
    if (e.key === "Enter") this.take(this.shown[this.at] ?? this.typed());
    else if (e.key === "Escape") this.input.blur();
    else if (e.key === "ArrowDown" && n) this.at = (this.at + 1) % n, this.draw();
    else if (e.key === "ArrowUp" && n) this.at = (this.at + n - 1) % n, this.draw();
    else return;
    e.preventDefault();
  }
}
