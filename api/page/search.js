// The search for a pair: a box with a list below it, used with the keyboard alone.

import { ask } from "./ask.js";
import { el, plain } from "./format.js";
import { query } from "./paths.js";
import { say } from "./words.js";

export class Search {
  // choose is called with a pair of the exchange shown, or with a name and true if it may
  // be of any exchange. of returns the exchange and interval shown; elsewhere tells whether
  // the list of that exchange is not there, and several whether the service talks to others.
  constructor(input, list, choose, of, elsewhere, several) {
    Object.assign(this, { input, list, choose, of, elsewhere, several, lists: {}, at: 0, shown: [] });
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
    const { exchange } = this.of();
    if (!this.elsewhere()) this.lists[exchange] ??= ask("symbols" + query({ selected: true, exchange })).then(
      ({ symbols }) => symbols.toSorted((a, b) => b.quote_volume - a.quote_volume),
      () => (delete this.lists[exchange], []));
    return this.lists[exchange];
  }

  async show() {
    const typed = this.typed(), upper = typed.toUpperCase(), name = plain(typed);
    const pairs = this.elsewhere() ? await this.stored(name) : await this.fetch();
    if (this.typed() !== typed || document.activeElement !== this.input) return;
    // A slash or colon is of the canonical name; otherwise either form is meant.
    const forms = (p) => /[/:]/.test(typed) ? [[p.name ?? "", upper]] : [[plain(p.symbol), name], [plain(p.name ?? ""), name]];
    const at = (p) => Math.min(...forms(p).map(([form, part]) => form === part ? 0 : form.startsWith(part) ? 1 : form.includes(part) ? 2 : 3));
    const fits = name ? pairs.map((p) => [at(p), p]).filter(([rank]) => rank < 3).toSorted(([x], [y]) => x - y) : [];
    this.shown = fits.slice(0, 8).map(([, p]) => ({ text: p.symbol, name: plain(p.name ?? p.symbol) === plain(p.symbol) ? "" : p.name, symbol: p.symbol, any: false }));
    this.none = !!name && pairs.length > 0 && !this.shown.length;
    if (name && this.several()) this.shown.push({ text: typed, name: say("search.any"), symbol: typed, any: true });
    this.at = 0;
    this.draw();
  }

  // stored returns pairs of another exchange, whose list is not there: those that
  // begin like this and have levels.
  async stored(typed) {
    const { exchange, interval } = this.of();
    const { levels } = await ask("levels" + query({ exchange, interval, symbol: typed, sort: "symbol", limit: 400 })).catch(() => ({ levels: [] }));
    return [...new Map(levels.map((l) => [l.symbol, l])).values()];
  }

  typed() {
    return this.input.value.trim().replace(/^\/+/, ""); // the key that came here may be in it
  }

  draw() {
    this.list.replaceChildren(...this.shown.map((s, i) => el("li", {
      id: "found-" + i, role: "option", "aria-selected": String(i === this.at),
      onmousedown: (e) => { e.preventDefault(); this.take(s); },
    }, s.text, s.name ? el("small", {}, " " + s.name) : null)));
    if (this.none) this.list.append(el("li", { class: "soft", role: "option", "aria-disabled": "true", "aria-selected": "false" }, say("search.none")));
    this.list.hidden = !this.list.children.length;
    this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    if (this.shown.length) this.input.setAttribute("aria-activedescendant", "found-" + this.at);
    else this.input.removeAttribute("aria-activedescendant");
  }

  close() {
    this.shown = [];
    this.none = false;
    this.draw();
  }

  take({ symbol, any }) {
    if (!symbol) return;
    this.input.value = "";
    this.input.blur();
    this.choose(symbol, any);
  }

  key(e) {
    const n = this.shown.length;
    if (e.key === "Enter") this.take(this.shown[this.at] ?? { symbol: this.typed(), any: this.several() });
    else if (e.key === "Escape") this.input.blur();
    else if (e.key === "ArrowDown" && n) this.at = (this.at + 1) % n, this.draw();
    else if (e.key === "ArrowUp" && n) this.at = (this.at + n - 1) % n, this.draw();
    else return;
    e.preventDefault();
  }
}
