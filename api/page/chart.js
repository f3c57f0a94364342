// The chart: closed candles with their volume, zones as bands to its right edge, and the
// candle that is forming, hollow on a hatched ground.

import { fixed, length, price, signed, utc } from "./format.js";
import { Marks } from "./marks.js";
import { language, say } from "./words.js";
import { colour, repaint, Zones } from "./zones.js";

const library = globalThis.LightweightCharts;

// candle makes a row of GET /klines one of the chart.
const candle = ([t, open, high, low, close, volume]) => ({ time: t / 1000, open, high, low, close, volume });

const compact = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 2 });

// Older candles are asked for when fewer than these are left of the first one shown.
const ahead = 20;

export class Chart {
  local = false; // whether times are those of this browser

  // pick is called with a level that was clicked, or null; older when candles before the first
  // one are to be seen; marks with the marks at a point.
  constructor(box, legend, { pick, older, marks }) {
    Object.assign(this, { box, legend });
    const time = (t) => this.moment(t * 1000);
    this.chart = library.createChart(box, {
      width: 1, height: 1,
      layout: { attributionLogo: false, fontSize: 11, panes: { enableResize: false } },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 6, minBarSpacing: 0.5, fixLeftEdge: true, tickMarkFormatter: (t, kind) => this.tick(t * 1000, kind) },
      crosshair: { mode: library.CrosshairMode.Normal },
      localization: { locale: language, timeFormatter: time },
      handleScroll: { vertTouchDrag: false },
    });
    this.chart.chartElement().hidden = true; // until there is something to draw
    this.series = this.chart.addSeries(library.CandlestickSeries, { priceLineStyle: library.LineStyle.Dashed, title: "" });
    this.zones = new Zones();
    this.series.attachPrimitive(this.zones);
    this.marks = new Marks(() => this.zones.width);
    this.series.attachPrimitive(this.marks);
    this.letters = library.createSeriesMarkers(this.series, []);
    this.chart.subscribeCrosshairMove(({ time, point, paneIndex }) => {
      this.under = time;
      this.level = point && paneIndex === 0 ? this.zones.at(point) : null;
      this.tell();
      marks(this.marks.under(point), point);
    });
    this.chart.subscribeClick(({ point, paneIndex }) => {
      const here = this.marks.under(point);
      marks(here, point);
      if (point && paneIndex === 0 && !here.length) pick(this.zones.at(point));
    });
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && this.last && range.from < ahead) older();
    });
    this.paint();
  }

  // paint takes on the colours of the theme.
  paint() {
    repaint();
    this.chart.applyOptions({
      layout: { background: { color: colour("panel") }, textColor: colour("soft"), fontFamily: colour("font"), panes: { separatorColor: colour("line") } },
      grid: { vertLines: { color: colour("grid") }, horzLines: { color: colour("grid") } },
      rightPriceScale: { borderColor: colour("line") },
      timeScale: { borderColor: colour("line") },
      crosshair: { vertLine: { labelBackgroundColor: colour("chip") }, horzLine: { labelBackgroundColor: colour("chip") } },
    });
    this.series.applyOptions({
      upColor: colour("up"), wickUpColor: colour("up"), borderUpColor: colour("up"),
      downColor: colour("down"), wickDownColor: colour("down"), borderDownColor: colour("down"),
      priceLineColor: colour("fg"),
    });
    this.fillVolume();
  }

  // moment writes a time with its zone.
  moment(t) {
    return this.local ? say("time.local", { at: utc(t - 60_000 * new Date(t).getTimezoneOffset()) }) : utc(t) + " UTC";
  }

  // tick writes a time of the axis. A candle of a day or longer is that of a day in UTC.
  tick(t, kind) {
    const { Year, Month, DayOfMonth } = library.TickMarkType;
    const short = length(this.interval ?? "1h") < 864e5;
    const zone = this.local && short ? undefined : "UTC";
    const of = (parts) => new Intl.DateTimeFormat(language, { timeZone: zone, ...parts }).format(t);
    const clock = () => of({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    if (kind === Year) return of({ year: "numeric" });
    if (kind === Month) return of({ month: "short" });
    if (kind > DayOfMonth) return clock();
    const day = of({ day: "numeric", month: "short" });
    return zone || clock() === "00:00" ? day : `${day} ${clock()}`; // a day of UTC may begin at any hour
  }

  // show draws klines, rows as GET /klines has them, and the row of the one that is
  // forming; while that is null, or not later than they are, the place of the next
  // is hatched. The view stays where it is unless they are of another series.
  show({ exchange, symbol, interval, klines, simulated }, forming, decimals) {
    const shown = [klines, forming?.join(), decimals, simulated];
    if (this.shown?.every((x, i) => x === shown[i])) return;
    this.shown = shown;
    const data = klines.map(candle);
    this.decimals = this.zones.decimals = decimals;
    this.interval = interval;
    this.last = data.at(-1);
    this.zones.simulated = simulated;
    this.zones.forming = null;
    if (this.last) {
      const next = forming && candle(forming);
      const open = next?.time > this.last.time ? { ...next, color: colour("panel") } : { time: this.last.time + length(interval) / 1000 };
      this.zones.forming = open.time;
      data.push(open);
    }
    this.data = data;
    this.candles = new Map(data.map((d) => [d.time, d]));
    if (!this.chart.options().autoSize) {
      this.chart.resize(this.box.clientWidth, this.box.clientHeight);
      this.chart.applyOptions({ autoSize: true });
      const drawn = this.chart.chartElement();
      drawn.style.width = drawn.style.height = "100%"; // as the library leaves it where autoSize is on from the start
      requestAnimationFrame(() => { // once what is in it has its size
        if (this.last) this.home();
        requestAnimationFrame(() => (drawn.hidden = false));
      });
    }
    this.series.applyOptions({ priceFormat: { type: "custom", minMove: 10 ** -decimals, formatter: (p) => price(p, decimals) } });
    this.series.setData(data);
    this.fillVolume();
    const name = this.last ? [exchange, symbol, interval].join(" ") : "";
    if (this.name !== name) this.mark([]);
    if (name && this.name !== name) this.home();
    this.name = name;
    this.tell();
  }

  // home shows the newest candles, with room to the right for what the zones are called.
  home() {
    const { length: n } = this.data, width = Math.max(200, this.chart.timeScale().width());
    const bars = Math.min(n, Math.max(60, Math.floor(width / 6)));
    const room = (width < 600 ? 95 : 135) + this.marks.room();
    this.chart.timeScale().setVisibleLogicalRange({ from: n - bars, to: n + bars * room / (width - room) });
    this.chart.priceScale("right").applyOptions({ autoScale: true });
  }

  // pan shows the candle of a time in the middle. It returns false if the first candle is later.
  pan(t) {
    const i = this.data.findIndex((d) => d.time >= t / 1000);
    if (i < 0 || this.data[0].time > t / 1000) return false;
    const { from, to } = this.chart.timeScale().getVisibleLogicalRange(), half = (to - from) / 2;
    this.chart.timeScale().setVisibleLogicalRange({ from: i - half, to: i + half });
    return true;
  }

  // showVolume draws the volume below the candles, or does not.
  showVolume(on) {
    if (on && !this.volume) {
      this.volume = this.chart.addSeries(library.HistogramSeries, { priceFormat: { type: "custom", minMove: 0.01, formatter: (n) => compact.format(n) }, priceLineVisible: false, lastValueVisible: false }, 1);
      this.chart.panes()[0].setStretchFactor(6);
      this.chart.panes()[1].setStretchFactor(1);
      this.fillVolume();
    } else if (!on && this.volume) {
      this.chart.removeSeries(this.volume);
      this.volume = null;
    }
  }

  fillVolume() {
    this.volume?.setData((this.data ?? []).map((d) => d.open === undefined ? { time: d.time } : { time: d.time, value: d.volume, color: colour(d.close < d.open ? "down" : "up") + "90" }));
  }

  // showLog has equal distances on the axis be equal ratios of prices, or differences.
  showLog(on) {
    this.chart.priceScale("right").applyOptions({ mode: library.PriceScaleMode[on ? "Logarithmic" : "Normal"] });
  }

  // showLocal writes times as they are here, or in UTC.
  showLocal(on) {
    this.local = on;
    this.chart.applyOptions({ timeScale: { timeVisible: true } }); // has the axis written again
    this.tell();
  }

  // showLevels draws the levels of the table, and brings a selected one into the picture.
  showLevels(levels, selected) {
    if (selected !== this.zones.selected && selected) this.chart.priceScale("right").applyOptions({ autoScale: true });
    this.draws({ levels, selected });
  }

  // draws has the zones be drawn with other properties of theirs, and says in words what is
  // drawn.
  draws(changes) {
    Object.assign(this.zones, changes);
    this.zones.requestUpdate?.();
    const { levels, others, lines, selected } = this.zones, p = (x) => price(x, this.zones.decimals);
    const named = (l) => [l.interval, l.name ?? l.text, p(l.price)].filter(Boolean).join(" ");
    const chosen = levels.find((l) => l.id === selected);
    this.box.setAttribute("aria-label", [say("chart.label"), [...levels, ...others, ...lines].map(named).join(say("comma")),
      chosen && say("chart.selected", { name: named(chosen) })].filter(Boolean).join(" "));
  }

  // point has the legend say what a level is until the pointer moves.
  point(id) {
    this.level = this.zones.levels.find((l) => l.id === id);
    this.tell();
  }

  // showMarks draws these marks.
  showMarks(marks) {
    this.marks.list = marks;
    this.marks.requestUpdate?.();
  }

  // mark shows the tests of an explained level by a letter of their outcome.
  mark(tests) {
    this.draws({ test: null });
    this.letters.setMarkers(tests.map((t) => ({
      time: Date.parse(t.from) / 1000,
      position: t.side === "above" ? "belowBar" : "aboveBar",
      shape: t.side === "above" ? "arrowUp" : "arrowDown",
      color: colour(t.outcome === "held" ? "accent" : t.outcome === "broke" ? "warn" : "soft"),
      text: say("letter." + t.outcome),
      size: 0.8,
    })));
  }

  // tell writes the candle under the cursor, else the last closed one, and the level there.
  tell() {
    const under = this.candles?.get(this.under);
    const c = under?.open === undefined ? this.last : under;
    if (!c) return this.legend.replaceChildren();
    const p = (x) => price(x, this.decimals);
    const change = 100 * (c.close / c.open - 1), l = this.level;
    const values = { at: this.moment(c.time * 1000), open: p(c.open), high: p(c.high), low: p(c.low), close: p(c.close), change: `${change < 0 ? "−" : "+"}${fixed(Math.abs(change), 2)} %`, volume: compact.format(c.volume) };
    this.legend.textContent = say("chart.legend", values) + (c.time === this.zones.forming ? "   " + say("chart.forming") : "")
      + (l ? "   │   " + [l.interval, say("chart.level", { name: l.name, price: p(l.price), low: p(l.low), high: p(l.high) }), l.gone ? say("chart.gone") : say("chart.edge", { edge: signed(l.edge, 1) }),
        l.tests && !l.gone ? say("chart.held", { held: l.held, n: l.held + l.broke }) : "", l.beside?.length ? say("chart.beside", { intervals: l.beside.join(", ") }) : ""].filter(Boolean).join("  ") : "");
  }

  // picture returns the chart as a canvas, below lines of text.
  picture(lines) {
    const shot = this.chart.takeScreenshot(true), ratio = shot.width / this.chart.chartElement().clientWidth;
    const canvas = document.createElement("canvas"), c = canvas.getContext("2d");
    const font = (i) => `${i ? "" : "700 "}${(i ? 12 : 14) * ratio}px ${colour("font")}`;
    const rows = lines.flatMap((text, i) => {
      c.font = font(i);
      const folded = [""];
      for (const piece of text.split(/(?<=[ ，。：])/)) {
        if (c.measureText(folded.at(-1) + piece).width > shot.width - 20 * ratio) folded.push("");
        folded.push(folded.pop() + piece);
      }
      return folded.map((text) => ({ text, i }));
    });
    Object.assign(canvas, { width: shot.width, height: shot.height + Math.round((14 + 18 * rows.length) * ratio) });
    c.fillStyle = colour("panel");
    c.fillRect(0, 0, canvas.width, canvas.height);
    rows.forEach(({ text, i }, row) => {
      c.font = font(i);
      c.fillStyle = colour(i ? "soft" : "fg");
      c.fillText(text, 10 * ratio, (20 + 18 * row) * ratio);
    });
    c.drawImage(shot, 0, canvas.height - shot.height);
    return canvas;
  }
}
