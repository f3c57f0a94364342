// The chart: closed candles, zones as bands to its right edge, and the candle that
// is forming, hollow on a hatched ground.

import { fixed, price, percent, utc, length } from "./format.js";
import { Marks } from "./marks.js";
import { language, say } from "./words.js";

const library = globalThis.LightweightCharts;

// colour reads a colour of the style sheet.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

// opacity says how sure a zone looks: by its edge, of which few levels have more than
// eight points.
export function opacity(level) {
  return level.faint ? 0.06 : 0.08 + 0.34 * Math.min(1, Math.max(0, level.edge / 8));
}

// candle makes a row of GET /klines one of the chart.
const candle = ([t, open, high, low, close, volume]) => ({ time: t / 1000, open, high, low, close, volume });

// Zones draws the bands. It is a primitive of the candles' series.
class Zones {
  levels = [];
  selected = null;
  forming = null; // open time of the candle that is forming, in seconds
  simulated = false;
  width = 0; // of the names at the right edge

  attached({ chart, series, requestUpdate }) {
    Object.assign(this, { chart, series, requestUpdate });
  }

  // autoscaleInfo keeps the three nearest zones of each side in the picture.
  autoscaleInfo() {
    const near = this.levels.filter((l) => l.rank <= 3 || l.id === this.selected);
    if (!near.length) return null;
    return { priceRange: { minValue: Math.min(...near.map((l) => l.low)), maxValue: Math.max(...near.map((l) => l.high)) } };
  }

  paneViews() {
    const view = (zOrder, draw) => ({ zOrder: () => zOrder, renderer: () => ({ draw: (target) => target.useBitmapCoordinateSpace(draw) }) });
    return [view("bottom", (s) => this.draw(s)), view("top", (s) => this.label(s))];
  }

  draw({ context: c, bitmapSize, horizontalPixelRatio: h, verticalPixelRatio: v }) {
    const time = this.chart.timeScale();
    c.save();
    if (this.simulated) this.watermark(c, bitmapSize, h);
    if (this.forming !== null) this.place(c, bitmapSize, h, time);
    for (const l of this.levels) {
      const top = this.series.priceToCoordinate(l.high), bottom = this.series.priceToCoordinate(l.low);
      if (top === null || bottom === null) continue;
      const from = (l.first_tested && time.timeToCoordinate(Date.parse(l.first_tested) / 1000)) ?? 0;
      const x = Math.max(0, Math.round(from * h)), y = Math.round(top * v), height = Math.max(2, Math.round(bottom * v) - y);
      const side = colour(l.role);
      c.globalAlpha = opacity(l);
      c.fillStyle = side;
      c.fillRect(x, y, bitmapSize.width - x, height);
      c.globalAlpha = l.id === this.selected ? 1 : 0.55;
      const line = Math.round(this.series.priceToCoordinate(l.price) * v);
      c.fillRect(x, line, bitmapSize.width - x, Math.max(1, Math.floor(v)));
      if (l.id === this.selected) {
        c.strokeStyle = side;
        c.lineWidth = 1.5 * h;
        c.strokeRect(x, y, bitmapSize.width - x + 4 * h, height);
      }
    }
    c.restore();
  }

  // label names the zones at the right edge, those first that are nearest to the
  // price: where two would touch, one is enough.
  label({ context: c, bitmapSize, horizontalPixelRatio: h, verticalPixelRatio: v }) {
    const taken = [];
    this.width = 0;
    const first = (l) => (l.id === this.selected ? 0 : l.rank);
    c.save();
    c.font = `${11 * h}px ${colour("font")}`;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const l of this.levels.toSorted((a, b) => first(a) - first(b))) {
      const at = this.series.priceToCoordinate(l.price);
      if (at === null || taken.some((y) => Math.abs(y - at) < 15)) continue;
      taken.push(at);
      const text = l.name + (l.faint ? "  " + say("faint") : "") + (l.hold_probability === null ? "" : "  " + say("chart.holds", { p: percent(l.hold_probability, 0) }));
      const width = c.measureText(text).width;
      this.width = Math.max(this.width, width / h + 14);
      c.globalAlpha = 0.88;
      c.fillStyle = colour("panel");
      c.fillRect(bitmapSize.width - width - 12 * h, (at - 7.5) * v, width + 9 * h, 15 * v);
      c.globalAlpha = 1;
      c.fillStyle = colour(l.role + "-text");
      c.fillText(text, bitmapSize.width - 7 * h, at * v);
    }
    c.restore();
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

const volume = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 2 });

export class Chart {
  constructor(box, legend) {
    this.legend = legend;
    this.chart = library.createChart(box, {
      autoSize: true,
      layout: { attributionLogo: false, fontSize: 11 },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 6, minBarSpacing: 1 },
      crosshair: { mode: library.CrosshairMode.Normal },
      localization: { locale: language, priceFormatter: (p) => price(p, this.decimals ?? 2), timeFormatter: (t) => utc(t * 1000) + " UTC" },
      handleScroll: { vertTouchDrag: false },
    });
    this.series = this.chart.addSeries(library.CandlestickSeries, { priceLineStyle: library.LineStyle.Dashed, title: "" });
    this.zones = new Zones();
    this.series.attachPrimitive(this.zones);
    this.marks = new Marks(() => this.zones.width);
    this.series.attachPrimitive(this.marks);
    this.tests = library.createSeriesMarkers(this.series, []);
    this.chart.subscribeCrosshairMove(({ time, point }) => {
      this.under = time;
      this.tell();
      this.onMarks?.(this.marks.under(point), point);
    });
    this.chart.subscribeClick(({ point }) => this.onMarks?.(this.marks.under(point), point));
    this.paint();
  }

  // paint takes on the colours of the theme.
  paint() {
    this.chart.applyOptions({
      layout: { background: { color: colour("panel") }, textColor: colour("soft"), fontFamily: colour("font") },
      grid: { vertLines: { visible: false }, horzLines: { color: colour("grid") } },
      rightPriceScale: { borderColor: colour("line") },
      timeScale: { borderColor: colour("line") },
      crosshair: { vertLine: { labelBackgroundColor: colour("chip") }, horzLine: { labelBackgroundColor: colour("chip") } },
    });
    this.series.applyOptions({
      upColor: colour("up"), wickUpColor: colour("up"), borderUpColor: colour("up"),
      downColor: colour("down"), wickDownColor: colour("down"), borderDownColor: colour("down"),
      priceLineColor: colour("fg"),
    });
  }

  // show draws klines, rows as GET /klines has them, and the row of the one that is
  // forming; while that is null, or not later than they are, the place of the next
  // is hatched. The view stays where it is unless they are of another series.
  show({ symbol, interval, klines, simulated }, forming, decimals) {
    const data = klines.map(candle);
    this.decimals = decimals;
    this.last = data.at(-1);
    this.zones.simulated = simulated;
    this.zones.forming = null;
    if (this.last) {
      const next = forming && candle(forming);
      const open = next?.time > this.last.time ? { ...next, color: colour("panel") } : { time: this.last.time + length(interval) / 1000 };
      this.zones.forming = open.time;
      data.push(open);
    }
    this.candles = new Map(data.map((d) => [d.time, d]));
    this.series.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals } });
    this.series.setData(data);
    const name = this.last ? symbol + interval : "";
    if (this.name !== name) this.mark([]);
    if (name && this.name !== name) {
      // room to the right for what the zones are called
      const width = Math.max(200, this.chart.timeScale().width());
      const bars = Math.min(data.length, Math.max(60, Math.floor(width / 6)));
      const room = 105 + this.marks.room();
      this.chart.timeScale().setVisibleLogicalRange({ from: data.length - bars, to: data.length + bars * room / (width - room) });
      this.chart.priceScale("right").applyOptions({ autoScale: true });
    }
    this.name = name;
    this.tell();
  }

  showLevels(levels, selected) {
    this.zones.levels = levels;
    this.zones.selected = selected;
    this.zones.requestUpdate?.();
  }

  // showMarks draws these marks.
  showMarks(marks) {
    this.marks.list = marks;
    this.marks.requestUpdate?.();
  }

  // mark shows the tests of an explained level by a letter of their outcome.
  mark(touches) {
    this.tests.setMarkers(touches.map((t) => ({
      time: Date.parse(t.from) / 1000,
      position: t.side === "above" ? "belowBar" : "aboveBar",
      shape: t.side === "above" ? "arrowUp" : "arrowDown",
      color: colour(t.outcome === "held" ? "accent" : t.outcome === "broke" ? "warn" : "soft"),
      text: say("letter." + t.outcome),
      size: 0.8,
    })));
  }

  // tell writes the candle under the cursor, else the last closed one.
  tell() {
    const under = this.candles?.get(this.under);
    const c = under?.open === undefined ? this.last : under;
    if (!c) return this.legend.replaceChildren();
    const p = (x) => price(x, this.decimals);
    const change = 100 * (c.close / c.open - 1);
    const values = { at: utc(c.time * 1000), open: p(c.open), high: p(c.high), low: p(c.low), close: p(c.close), change: `${change < 0 ? "−" : "+"}${fixed(Math.abs(change), 2)} %`, volume: volume.format(c.volume) };
    this.legend.textContent = say("chart.legend", values) + (c.time === this.zones.forming ? "   " + say("chart.forming") : "");
  }
}
