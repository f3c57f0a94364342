// Marks: prices that many traders see, as short ticks left of the names of the zones.
// They have no odds; each kind has its own record.

import { ask } from "./ask.js";
import { el, percent, price, put, signed } from "./format.js";
import { marksOf } from "./paths.js";
import { say } from "./words.js";
import { colour } from "./zones.js";

const kept = "tidemark-marks";

// Tops and bottoms are the rarest, then months, weeks, days and round numbers.
const rarity = (kind) => ["equal", "month", "week", "day", "round"].indexOf(kind.split("_")[0]);
const named = (m) => m.kind.startsWith("equal") ? labelled(m).toLowerCase() : say("mark." + m.kind);

// labelled is the name of a mark in full. That of tops and bottoms begins with how many there
// are: Double, Triple or Row of.
function labelled(m) {
  if (!m.kind.startsWith("equal")) return say("mark_label." + m.kind);
  return say("mark_label." + m.kind + "_" + m.label.split(" ")[0].toLowerCase(), { count: Number(m.label.replace(/\D/g, "")) });
}

// recordOf says in words what became of the marks of a kind.
function recordOf(kind, records) {
  const r = records.find((r) => r.kind === kind);
  return say("marks.record", { held: r.held, decided: r.decided, p: percent(r.held / r.decided), line: percent(r.line_hold_rate) });
}

// reach is how near the pointer must be, in pixels; names are written where there is room.
const tick = 12, reach = 7, roomy = 600, nameWidth = 78;

// Marks is a primitive of the candles' series. width is that of the names of the zones.
export class Marks {
  list = [];

  constructor(width) {
    this.width = width;
  }

  attached({ chart, series, requestUpdate }) {
    Object.assign(this, { chart, series, requestUpdate });
  }

  // room is the width of the column.
  room() {
    return this.list.length ? tick + (this.chart.timeScale().width() < roomy ? 4 : nameWidth) : 0;
  }

  paneViews() {
    return [{ zOrder: () => "top", renderer: () => ({ draw: (target) => target.useBitmapCoordinateSpace((s) => this.draw(s)) }) }];
  }

  draw({ context: c, mediaSize, horizontalPixelRatio: h, verticalPixelRatio: v }) {
    if (!this.list.length) return;
    const left = this.left = mediaSize.width - this.width() - this.room();
    const taken = [];
    c.save();
    c.font = `${10 * h}px ${colour("font")}`;
    c.textBaseline = "middle";
    for (const m of this.list.toSorted((a, b) => rarity(a.kind) - rarity(b.kind))) {
      const at = this.series.priceToCoordinate(m.price);
      if (at === null || at < 0 || at > mediaSize.height) continue;
      c.fillStyle = colour("mark");
      c.fillRect(Math.round(left * h), Math.round(at * v), Math.round(tick * h), Math.max(1, Math.floor(v)));
      if (mediaSize.width < roomy || taken.some((y) => Math.abs(y - at) < 10)) continue;
      taken.push(at);
      const text = named(m), x = (left + tick + 3) * h;
      c.globalAlpha = 0.8;
      c.fillStyle = colour("panel");
      c.fillRect(x - h, (at - 5.5) * v, c.measureText(text).width + 2 * h, 11 * v);
      c.globalAlpha = 1;
      c.fillStyle = colour("mark");
      c.fillText(text, x, at * v);
    }
    c.restore();
  }

  // under returns the marks at a point, the nearest first.
  under(point) {
    if (!point || !this.list.length || point.x < this.left - reach || point.x > this.left + this.room()) return [];
    const off = (m) => Math.abs((this.series.priceToCoordinate(m.price) ?? Infinity) - point.y);
    return this.list.filter((m) => off(m) <= reach).toSorted((a, b) => off(a) - off(b));
  }
}

// MarkLayer is the switch, the list and the tooltip of a tick. redraw is called when
// there are others to draw, or none; also tells whether others need the marks, and exchange
// which one the requests name.
export class MarkLayer {
  reply = null;

  constructor({ toggle, list, tooltip, also, exchange }, redraw) {
    Object.assign(this, { toggle, list, tooltip, also, exchange });
    toggle.checked = localStorage.getItem(kept) !== "off";
    toggle.addEventListener("change", () => {
      localStorage.setItem(kept, toggle.checked ? "on" : "off");
      redraw();
    });
  }

  // load asks for the marks of an analysis, if they are needed and not here.
  async load(analysis, signal) {
    const of = analysis && [analysis.exchange, analysis.symbol, analysis.interval, analysis.computed_at].join(" ");
    if (!of || !this.toggle.checked && !this.also() || this.key === of) return;
    let problem = "";
    const reply = await ask(marksOf({ ...analysis, exchange: this.exchange() }), { signal }).catch((p) => (problem = p.message, null));
    if (signal?.aborted) return;
    Object.assign(this, { key: of, reply, problem });
  }

  // is tells whether they are of a series.
  is({ exchange, symbol, interval }) {
    return !!this.key?.startsWith([exchange, symbol, interval, ""].join(" "));
  }

  // of returns the marks of a series that are here.
  of(series) {
    return this.is(series) && this.reply ? this.reply.marks : [];
  }

  // show writes the list, and returns the marks to draw.
  show(analysis, d) {
    const here = this.toggle.checked && analysis && this.is(analysis);
    const marks = here ? this.of(analysis) : [];
    this.list.hidden = !this.toggle.checked;
    this.decimals = d;
    if (!marks.length) this.tell([]);
    put(this.list, el("summary", {}, here && !this.reply ? say("marks.none", { problem: this.problem }) : say("marks.count", { count: marks.length })),
      el("p", { class: "soft" }, say("marks.hint")),
      el("ul", {}, marks.toReversed().map((m) => el("li", {}, el("b", {}, price(m.price, d)), el("span", {}, labelled(m)), el("span", { class: "soft" }, `${signed(m.distance_pct, 2)} %${say("comma")}${recordOf(m.kind, this.reply.records)}`)))));
    return marks;
  }

  // tell says what is under the pointer, at its place.
  tell(marks, point) {
    this.tooltip.hidden = !marks.length;
    if (!marks.length) return;
    this.tooltip.replaceChildren(...marks.slice(0, 3).map((m) => el("p", {}, el("b", {}, `${labelled(m)} ${price(m.price, this.decimals)}`), say("marks.told", { record: recordOf(m.kind, this.reply.records) }))));
    this.tooltip.style.top = `${Math.max(0, point.y + 12)}px`;
  }
}
