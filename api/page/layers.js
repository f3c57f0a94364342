// What the chart shows besides the levels of an interval: levels of longer ones, the tests of
// each level, and the highs and lows of the day and week before.

import { ask } from "./ask.js";
import { query } from "./paths.js";
import { say } from "./words.js";

const longer = ["4h", "1d"];

// Of another interval so many levels a side are drawn.
const nearest = 3;

// Beside is the levels of 4h and 1d, and which level shown has one of them beside it.
export class Beside {
  intervals = []; // as GET /levels/{symbol} has them, that of the chart first

  // load asks for them again.
  async load({ exchange, symbol, interval }, signal) {
    const found = await ask(`levels/${encodeURIComponent(symbol)}${query({ interval: [interval, ...longer.filter((i) => i !== interval)].join(), exchange })}`, { signal }).catch(() => null);
    if (signal.aborted) return;
    Object.assign(this, { of: { exchange, symbol, interval }, intervals: found?.intervals ?? [] });
  }

  // is tells whether it is of a series.
  is(series) {
    return ["exchange", "symbol", "interval"].every((name) => this.of?.[name] === series?.[name]);
  }

  // names returns by id on which other intervals there is a level beside one shown.
  names() {
    const [own] = this.intervals;
    return new Map([...own?.supports ?? [], ...own?.resistances ?? []].map((l) => [l.id, [...new Set(l.confluence.map((c) => c.interval))]]));
  }

  // levels returns those to draw.
  levels() {
    return this.intervals.slice(1).flatMap(({ interval, supports = [], resistances = [] }) =>
      [[supports, "support", "S"], [resistances, "resistance", "R"]].flatMap(([side, role, letter]) =>
        side.slice(0, nearest).map((l, i) => ({ ...l, interval, role, name: letter + (i + 1) }))));
  }

  // note says of which intervals there are none.
  note() {
    return this.intervals.slice(1).map((i) => i.problem ? say("beside.missing", { interval: i.interval })
      : i.supports.length + i.resistances.length ? "" : say("beside.none", { interval: i.interval, n: i.min_edge })).filter(Boolean).join(" ");
  }
}

// Tests is when each level was tested, which the service computes for one level at a time.
export class Tests {
  known = new Map(); // by level id
  #counted = new Map(); // by level id: what the tests were when they were asked for
  #wanted = null;

  // load asks for what is not known of these levels, one after the other, and calls drawn
  // once they are here. While it does, another call only says what is wanted now.
  async load(analysis, levels, drawn) {
    const idle = !this.#wanted;
    this.#wanted = { analysis, levels };
    if (!idle) return;
    const now = (l) => [l.tests, l.held, l.broke, l.last_tested].join();
    let more = false;
    for (let l; (l = this.#wanted.levels.find((l) => l.tests && this.#counted.get(l.id) !== now(l))); more = true) {
      const { symbol, interval, exchange } = this.#wanted.analysis;
      this.#counted.set(l.id, now(l));
      const found = await ask(`levels/${encodeURIComponent(symbol)}/${l.id}${query({ interval, exchange })}`).catch(() => null);
      if (found) this.known.set(l.id, found.tests);
    }
    this.#wanted = null;
    if (more) drawn();
  }
}

const day = 864e5, monday = 4 * day; // 1970-01-05

// before returns the lines of marks that are a high or low of the day or week before now.
export function before(marks, now) {
  const start = { day: (Math.floor(now / day) - 1) * day, week: Math.floor((now - monday) / (7 * day) - 1) * 7 * day + monday };
  return marks.filter((m) => /^(day|week)_(high|low)$/.test(m.kind))
    .map((m) => ({ price: m.price, from: start[m.kind.split("_")[0]] / 1000, text: say("before." + m.kind) }));
}
