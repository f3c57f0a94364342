// What is drawn over the candles: the zones of levels with their names at the right edge,
// the tests of each, and the highs and lows of the day and week before.

import { price, signed } from "./format.js";
import { say } from "./words.js";

const read = new Map();

// colour returns a colour of the style sheet. It is read once, until repaint is called.
export function colour(name) {
  if (!read.has(name)) read.set(name, getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim());
  return read.get(name);
}

export const repaint = () => read.clear();

// opacity returns that of a zone, from its edge: few levels have more than eight points.
export const opacity = (level) => level.gone || level.faint ? 0.07 : 0.1 + 0.4 * Math.min(1, Math.max(0, level.edge / 8));

// broken tells whether price is through the level, and no test since has held.
const broken = (l) => l.gone || l.passed || l.state === "broken";

// Names are so far apart at least, in pixels. A chart narrower than narrow has short ones.
const step = 15, narrow = 600;

// spread moves names apart that would cover each other, each as little as possible. wanted
// are their places, ascending; between 0 and height there is room for all of them.
export function spread(wanted, height) {
  const blocks = [];
  wanted.forEach((at, i) => {
    let sum = at - i * step, n = 1;
    for (let b; (b = blocks.at(-1)) && b.sum / b.n > sum / n; blocks.pop()) sum += b.sum, n += b.n;
    blocks.push({ sum, n });
  });
  const least = step / 2, most = height - step / 2 - (wanted.length - 1) * step;
  return blocks.flatMap(({ sum, n }) => Array(n).fill(Math.max(least, Math.min(most, sum / n)))).map((y, i) => y + i * step);
}

// Zones is a primitive of the candles' series.
export class Zones {
  levels = []; // those of the table
  others = []; // of other intervals, each with its interval
  lines = []; // { price, from, text }: highs and lows of days and weeks
  tests = new Map(); // of levels by id, as GET /levels/{symbol}/{id} has them
  selected = null; // the id of a level
  pointed = null; // of one under the pointer or in focus
  wanted = null; // of one that is to be in the picture
  test = null; // the one that was chosen
  forming = null; // open time of the candle that is forming, in seconds
  simulated = false;
  width = 0; // of the names at the right edge
  decimals = 2;
  #names = []; // as they are drawn: { level, y, left }

  attached({ chart, series, requestUpdate }) {
    Object.assign(this, { chart, series, requestUpdate });
  }

  // autoscaleInfo keeps the three nearest zones of each side in the picture, the one selected
  // and the one in focus.
  autoscaleInfo() {
    const near = this.levels.filter((l) => l.rank <= 3 || l.id === this.selected || l.id === this.wanted);
    if (!near.length) return null;
    return { priceRange: { minValue: Math.min(...near.map((l) => l.low)), maxValue: Math.max(...near.map((l) => l.high)) } };
  }

  paneViews() {
    const view = (zOrder, draw) => ({ zOrder: () => zOrder, renderer: () => ({ draw: (target) => target.useBitmapCoordinateSpace((s) => {
      s.context.save();
      draw(s);
      s.context.restore();
    }) }) });
    return [view("bottom", (s) => this.draw(s)), view("top", (s) => (this.dots(s), this.label(s)))];
  }

  // at returns the level whose name or zone is at a point, or null.
  at({ x, y }) {
    const name = this.#names.find((n) => x >= n.left && Math.abs(n.y - y) <= step / 2);
    if (name) return name.level;
    const off = (l) => {
      const [top, line, bottom] = [l.high, l.price, l.low].map((p) => this.series.priceToCoordinate(p));
      return y >= top - 3 && y <= bottom + 3 ? Math.abs(y - line) : Infinity;
    };
    const [nearest] = [...this.levels, ...this.others].toSorted((a, b) => off(a) - off(b));
    return nearest && off(nearest) < Infinity ? nearest : null;
  }

  // hitTest has the pointer show that a zone can be clicked.
  hitTest(x, y) {
    return this.at({ x, y }) && { cursorStyle: "pointer", externalId: "zone", zOrder: "top" };
  }

  draw({ context: c, bitmapSize: size, horizontalPixelRatio: h, verticalPixelRatio: v }) {
    const time = this.chart.timeScale(), thin = Math.max(1, Math.floor(v));
    const y = (p) => Math.round(this.series.priceToCoordinate(p) * v);
    const x = (t) => Math.max(0, Math.round((time.timeToCoordinate(t) ?? 0) * h));
    if (this.simulated) this.watermark(c, size, h);
    if (this.forming !== null) this.place(c, size, h, time);
    if (this.test) {
      const from = x(Date.parse(this.test.from) / 1000), to = Math.max(x(Date.parse(this.test.to) / 1000), from);
      const half = Math.max(3 * h, time.options().barSpacing * h / 2);
      c.globalAlpha = 0.22;
      c.fillStyle = colour("accent");
      c.fillRect(from - half, 0, to - from + 2 * half, size.height);
    }
    for (const l of this.others) {
      c.globalAlpha = 0.75;
      c.strokeStyle = colour(l.role);
      c.lineWidth = thin;
      c.strokeRect(-h, y(l.high) + 0.5, size.width + 2 * h, Math.max(2 * v, y(l.low) - y(l.high)));
    }
    for (const l of this.levels) {
      const left = l.first_tested ? x(Date.parse(l.first_tested) / 1000) : 0, width = size.width - left;
      const top = y(l.high), height = Math.max(2, y(l.low) - top);
      c.fillStyle = c.strokeStyle = colour(l.gone ? "soft" : l.role);
      c.globalAlpha = opacity(l);
      c.fillRect(left, top, width, height);
      c.globalAlpha = l.id === this.selected ? 1 : l.faint ? 0.4 : 0.8;
      c.lineWidth = thin;
      c.setLineDash(broken(l) ? [5 * h, 5 * h] : []);
      c.beginPath();
      c.moveTo(left, y(l.price) + 0.5);
      c.lineTo(size.width, y(l.price) + 0.5);
      c.stroke();
      c.setLineDash([]);
      if (l.id !== this.selected && l.id !== this.pointed) continue;
      c.lineWidth = (l.id === this.selected ? 1.5 : 1) * h;
      c.strokeRect(left, top, width + 4 * h, height);
    }
    c.font = `${10 * h}px ${colour("font")}`;
    c.textBaseline = "bottom";
    c.fillStyle = c.strokeStyle = colour("mark");
    c.lineWidth = thin;
    c.globalAlpha = 0.9;
    for (const l of this.lines) {
      const at = y(l.price), left = x(l.from);
      c.setLineDash([2 * h, 3 * h]);
      c.beginPath();
      c.moveTo(left, at + 0.5);
      c.lineTo(size.width, at + 0.5);
      c.stroke();
      c.fillText(l.text, left + 3 * h, at - v);
    }
  }

  // dots draws the tests at the line of their level: full where it held, hollow where it broke,
  // small where neither.
  dots({ context: c, horizontalPixelRatio: h, verticalPixelRatio: v }) {
    const time = this.chart.timeScale();
    for (const l of this.levels) {
      const at = this.series.priceToCoordinate(l.price);
      for (const t of this.tests.get(l.id) ?? []) {
        const x = time.timeToCoordinate(Date.parse(t.from) / 1000);
        if (x === null) continue;
        const decided = t.outcome === "held" || t.outcome === "broke";
        c.beginPath();
        c.arc(x * h, at * v, (decided ? 3.2 : 2) * h, 0, 2 * Math.PI);
        c.lineWidth = 1.4 * h;
        c.fillStyle = t.outcome === "broke" ? colour("panel") : colour(l.role);
        c.strokeStyle = t.outcome === "broke" ? colour(l.role) : colour("panel");
        c.fill();
        c.stroke();
      }
    }
  }

  // label writes the names at the right edge. All of them have room: where they would cover
  // each other, they move apart, and a line leads to the level.
  label({ context: c, mediaSize, bitmapSize, horizontalPixelRatio: h, verticalPixelRatio: v }) {
    const short = mediaSize.width < narrow;
    const weight = (l) => l.id === this.selected ? Infinity : l.interval ? -1 : l.faint ? 0 : 1 + l.edge;
    const all = [...this.levels, ...this.others].map((level) => ({ level, at: this.series.priceToCoordinate(level.price) }))
      .filter(({ at }) => at !== null && at >= 0 && at <= mediaSize.height)
      .toSorted((a, b) => weight(b.level) - weight(a.level)).slice(0, Math.floor(mediaSize.height / step))
      .toSorted((a, b) => a.at - b.at);
    const places = spread(all.map(({ at }) => at), mediaSize.height);
    this.width = 0;
    this.#names = [];
    c.font = `${11 * h}px ${colour("font")}`;
    c.textAlign = "right";
    c.textBaseline = "middle";
    all.forEach(({ level: l, at }, i) => {
      const y = places[i];
      const text = [l.interval, l.name, price(l.price, this.decimals), short ? "" : l.gone ? say("chart.gone") : signed(l.edge, 1),
        short || !l.beside?.length ? "" : "· " + l.beside.join(" ")].filter(Boolean).join(" ");
      const width = c.measureText(text).width / h, left = mediaSize.width - width - 12;
      this.width = Math.max(this.width, width + 14);
      this.#names.push({ level: l, y, left });
      c.globalAlpha = 0.88;
      c.fillStyle = colour("panel");
      c.fillRect((left - 1) * h, (y - 7) * v, (width + 13) * h, 14 * v);
      c.globalAlpha = 1;
      c.fillStyle = c.strokeStyle = colour(l.gone || l.faint ? "soft" : l.role + "-text");
      c.fillText(text, (mediaSize.width - 5) * h, y * v);
      if (l.id === this.selected || l.id === this.pointed) {
        c.lineWidth = h;
        c.strokeRect((left - 1) * h, (y - 7) * v, (width + 10) * h, 14 * v);
      }
      if (Math.abs(y - at) < 2) return;
      c.globalAlpha = 0.6;
      c.lineWidth = h;
      c.beginPath();
      c.moveTo((left - 10) * h, at * v);
      c.lineTo((left - 1) * h, y * v);
      c.stroke();
    });
  }

  // place hatches the ground of the forming candle.
  place(c, size, h, time) {
    const x = time.timeToCoordinate(this.forming);
    if (x === null) return;
    const width = Math.max(3, time.options().barSpacing) * h, left = x * h - width / 2;
    c.save();
    c.beginPath();
    c.rect(left, 0, width, size.height);
    c.clip();
    c.strokeStyle = colour("soft");
    c.globalAlpha = 0.35;
    c.lineWidth = h;
    c.beginPath();
    for (let y = -width; y < size.height; y += 6 * h) {
      c.moveTo(left, y + width);
      c.lineTo(left + width, y);
    }
    c.stroke();
    c.restore();
  }

  watermark(c, size, h) {
    c.save();
    c.fillStyle = colour("warn");
    c.globalAlpha = 0.1;
    c.translate(size.width / 2, size.height / 2);
    c.rotate(-Math.atan2(size.height, size.width) * 0.6);
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.font = `700 ${Math.min(size.width / 7, 90 * h)}px ${colour("font")}`;
    c.fillText(say("simulated.mark"), 0, 0);
    c.restore();
  }
}
