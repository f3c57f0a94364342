// The table of a pair's levels, nearest to the middle as on the chart's axis, and
// what opens below a level: why it is there.

import { ask, problemLine, sentence } from "./ask.js";
import { count, el, fixed, list, percent, price, signed, span, svg, utc } from "./format.js";
import { query } from "./paths.js";
import { say } from "./words.js";

// hidden returns whether a level is behind the toggle: it has less edge than least, or is
// faint if least is null, or price has broken it.
export const hidden = (l, least) => (least === null ? l.faint : l.edge < least) || broken(l);
const broken = (l) => l.state === "broken" && !l.passed;

// named gives the levels of an analysis names from the nearest out, R1 and S1, and leaves
// out those that the sliders and the toggle do, but for the level that is asked for. Without a
// least edge, faint ones are left out. all is the toggle.
export function named(analysis, { perSide, minEdge, all, level }) {
  const side = (list, role, letter) => {
    const passing = list.filter((l) => all ? l.edge >= (minEdge ?? 0) : !hidden(l, minEdge));
    return list.map((l) => {
      const i = passing.indexOf(l);
      if (i >= perSide || i < 0) return l.id === level && { ...l, role, rank: perSide + 1, name: letter + (i < 0 ? "+" : i + 1) };
      return { ...l, role, rank: i + 1, name: letter + (i + 1) };
    }).filter(Boolean);
  };
  return { resistances: side(analysis.resistances, "resistance", "R"), supports: side(analysis.supports, "support", "S") };
}

// lacking says why no level of a side, above or below the price, or of the pair is shown.
function lacking(levels, side, least) {
  const less = levels.filter((l) => l.edge < least).length, gone = levels.filter((l) => l.edge >= least && broken(l)).length;
  const since = levels.length - less - gone;
  return el("tr", { class: "none" }, el("td", { colspan: columns }, say("levels.lacking_" + side, { n: least }),
    less ? say("levels.less_edge", { n: less }) : "", gone ? say("levels.broken", { n: gone }) : "", since ? say("levels.since", { n: since }) : "", say("stop")));
}

// holdBar draws odds with their interval, and those of any line as a tick, on a
// scale from 40 to 60 %; what is outside is drawn at its end.
function holdBar(l) {
  const x = (p) => Math.min(80, Math.max(0, (p - 0.4) * 400)).toFixed(1);
  const [from, to] = l.hold_interval;
  return svg("svg", { viewBox: "0 0 80 12", width: 80, height: 12, class: "hold", "aria-hidden": "true" },
    svg("line", { class: "track", x1: 0, x2: 80, y1: 6, y2: 6 }),
    svg("line", { class: "range", x1: x(from), x2: x(to), y1: 6, y2: 6 }),
    svg("line", { class: "base", x1: x(l.baseline_hold_probability), x2: x(l.baseline_hold_probability), y1: 0, y2: 12 }),
    svg("circle", { class: "point", cx: x(l.hold_probability), cy: 6, r: 3 }));
}

// record says of how many decided tests a level held.
export const record = (l) => l.tests === null ? "–" : l.held + l.broke ? say("levels.record", { held: l.held, all: l.held + l.broke }) : say("levels.no_record");

const stateOf = (l) => l.passed ? say("levels.passed") : say("state." + l.state);
const stateTitle = (l) => l.passed ? say("levels.passed_title") : l.state === "held" && l.held_in_role ? say("levels.held_times", { n: l.held_in_role }) : say("state_title." + l.state);
export const inATR = (l) => l.distance_atr === null ? "–" : say("levels.atr", { distance: signed(l.distance_atr, 2) });
const foundBy = (l) => list(l.found_by.map((s) => say("source." + s))) || "–";

const columns = 10; // of the table

export class LevelTable {
  // choose is called with the id of the level to explain, or null; bell returns the button of a
  // level; more is the toggle of the levels without an edge and the broken ones.
  constructor(body, choose, onTouches, bell, more) {
    this.body = body;
    this.more = more;
    this.bell = bell;
    this.choose = choose;
    this.onTouches = onTouches;
    body.addEventListener("keydown", (e) => {
      if (e.key !== "ArrowDown" && e.key !== "ArrowUp" || e.target.className !== "name") return;
      const all = [...body.querySelectorAll("button.name")];
      all[all.indexOf(e.target) + (e.key === "ArrowDown" ? 1 : -1)]?.focus();
      e.preventDefault();
    });
  }

  // show writes the levels shown of an analysis; d is the decimals of its prices, and
  // venues has by id on how many exchanges a level is, or is null if there is but one.
  show(analysis, { resistances, supports }, selected, d, venues, { minEdge, all }) {
    this.toggle(analysis, minEdge, all);
    const focused = document.activeElement?.dataset.level;
    const about = [...resistances, ...supports].find((l) => l.id === selected);
    const explained = about && this.explanation?.dataset.of === this.subject(analysis, about) ? this.explanation : null;
    const rows = [];
    const add = (l) => {
      rows.push(this.row(analysis, l, l.id === selected, d, venues));
      if (l.id !== selected) return;
      if (explained) rows.push(explained);
      else rows.push(this.explain(analysis, l, d));
    };
    const least = minEdge ?? analysis.min_edge;
    const neither = !resistances.length && !supports.length;
    if (neither) rows.push(lacking([...analysis.resistances, ...analysis.supports], "pair", least));
    else if (!resistances.length) rows.push(lacking(analysis.resistances, "above", least));
    resistances.toReversed().forEach(add);
    const now = analysis.price !== null && Date.parse(analysis.price_at) > Date.parse(analysis.as_of);
    rows.push(el("tr", { class: "last" }, el("th", { scope: "row" }, now ? say("levels.now") : say("levels.last")),
      el("td", { class: "n" }, el("b", {}, price(now ? analysis.price : analysis.last_price, d))),
      el("td", { colspan: columns - 2 }, say(now ? "levels.from_here" : "levels.close", { at: utc(analysis.as_of), price: price(analysis.last_price, d) }))));
    if (!supports.length && !neither) rows.push(lacking(analysis.supports, "below", least));
    supports.forEach(add);
    this.body.replaceChildren(...rows);
    if (!selected) this.explanation = null, this.onTouches([]);
    if (focused) this.body.querySelector(`[data-level="${focused}"]`)?.focus();
  }

  row(analysis, l, open, d, venues) {
    const toggle = () => this.choose(open ? null : l.id);
    const tr = el("tr", { class: l.role + (l.faint ? " faint" : "") + (open ? " open" : ""), onclick: toggle },
      el("th", { scope: "row" }, el("button", {
        class: "name", type: "button", "data-level": l.id, "aria-expanded": String(open),
        "aria-label": say("levels.why", { name: l.name, role: say("role." + l.role), price: price(l.price, d) }),
        onclick: (e) => { e.stopPropagation(); toggle(); },
      }, l.name), l.faint ? null : this.bell(analysis, l, { "data-level": "bell " + l.id }), venues && el("small", { class: "venues" }, venues.get(l.id) > 1 ? say("levels.venues", { count: venues.get(l.id) }) : "")),
      el("td", { class: "n" }, el("b", {}, price(l.price, d)), el("small", { class: "zone" }, `${price(l.low, d)} – ${price(l.high, d)}`)),
      el("td", { class: "n" }, signed(l.distance_pct, 2), el("small", { class: "narrow" }, inATR(l))),
      el("td", { class: "n wide" }, l.distance_atr === null ? "–" : signed(l.distance_atr, 2)),
      el("td", { class: "edge" }, el("b", {}, signed(l.edge, 1)), " ", el("span", { class: "soft" }, say(l.faint ? "levels.over_faint" : "levels.over")), el("small", {}, record(l))),
      el("td", { class: "wide", title: stateTitle(l) }, el("span", { class: "status " + (l.passed ? "broken" : l.state) }, stateOf(l))),
      el("td", { class: "n t wide" }, l.first_tested ? utc(l.first_tested) : "–"),
      el("td", { class: "n t wide" }, l.last_tested ? utc(l.last_tested) : "–"),
      el("td", { class: "n wide" }, l.touch_probability === null ? "–" : percent(l.touch_probability, 0)),
      el("td", { class: "wide" }, foundBy(l)));
    return tr;
  }

  // toggle writes how many levels are behind the toggle.
  toggle(analysis, minEdge, all) {
    const list = [...analysis.resistances, ...analysis.supports];
    const gone = list.filter(broken).length, less = list.filter((l) => hidden(l, minEdge)).length - gone;
    const input = this.more.querySelector("input");
    input.checked = all;
    this.more.hidden = !all && !gone && !less;
    this.more.lastChild.textContent = say("levels.also", { less, broken: gone });
  }

  // subject names what an explanation is of.
  subject(analysis, l) {
    return `${l.id} ${analysis.computed_at} ${l.passed}`;
  }

  // rest returns what the table has no room for on a phone.
  rest(l, d) {
    const row = (name, ...what) => [el("dt", {}, name), el("dd", {}, ...what)];
    return el("dl", { class: "rest narrow" },
      row(say("column.zone"), `${price(l.low, d)} – ${price(l.high, d)}`),
      row(say("column.state"), stateOf(l), el("span", { class: "soft" }, say("levels.because", { why: stateTitle(l) }))),
      row(say("column.touch"), l.touch_probability === null ? "–" : percent(l.touch_probability, 0)),
      row(say("column.first"), l.first_tested ? utc(l.first_tested) : "–"), row(say("column.last"), l.last_tested ? utc(l.last_tested) : "–"),
      row(say("column.found_by"), foundBy(l)));
  }

  // explain returns the row that says why l is there, filled once it is known.
  explain(analysis, l, d) {
    const box = el("div", { class: "why", role: "region", "aria-label": say("why", { name: l.name }), "aria-busy": "true" },
      el("p", { class: "soft" }, say("why.busy")));
    this.explanation = el("tr", { class: "why-row", "data-of": this.subject(analysis, l) }, el("td", { colspan: columns }, box));
    const mine = this.explanation;
    this.onTouches([]);
    ask(`levels/${encodeURIComponent(analysis.symbol)}/${l.id}${query({ interval: analysis.interval, exchange: analysis.exchange })}`).then((x) => {
      const passed = l.passed ? [el("p", {}, say("why.passed", { role: say("role." + x.role) }))] : [];
      box.replaceChildren(this.rest(l, d), ...passed, ...reasons(x, analysis.horizon_candles, d));
      if (this.explanation === mine) this.onTouches(x.tests);
    }, (problem) => box.replaceChildren(problemLine(problem))).finally(() => box.removeAttribute("aria-busy"));
    return mine;
  }
}

function reasons(x, horizon, d) {
  const v = x.level;
  const head = v.hold_probability === null ? say("why.no_odds", { reason: x.odds_reason ? say("reason." + x.odds_reason) : say("why.too_little") })
    : say("why.odds", { role: say("role." + x.role), p: percent(v.hold_probability), from: percent(v.hold_interval[0]), to: percent(v.hold_interval[1]), samples: v.samples,
      line: percent(v.baseline_hold_probability), candles: horizon, touch: percent(v.touch_probability, 0) });
  const parts = [el("p", { class: "head " + x.role }, v.hold_probability === null ? null : holdBar(v), say("why.edge", { edge: fixed(v.edge, 1) }), head)];
  if (x.factors) {
    const widest = Math.max(...x.factors.map((f) => Math.abs(f.effect)), 0.5);
    const told = x.factors.filter((f) => Math.abs(f.effect) >= 0.05);
    const rest = x.factors.filter((f) => Math.abs(f.effect) < 0.05).reduce((sum, f) => sum + f.effect, 0);
    const line = (effect, text) => el("li", {},
      el("span", { class: "points " + (effect < 0 ? "minus" : "plus") }, signed(effect, 2)),
      svg("svg", { viewBox: "-50 0 100 8", width: 100, height: 8, "aria-hidden": "true" },
        svg("line", { class: "axis", x1: 0, x2: 0, y1: 0, y2: 8 }),
        svg("rect", { class: effect < 0 ? "minus" : "plus", x: effect < 0 ? 50 * effect / widest : 0, y: 1, width: 50 * Math.abs(effect) / widest, height: 6 })),
      el("span", {}, text));
    parts.push(el("div", {}, el("h3", {}, say("why.factors")),
      el("ul", { class: "factors" }, told.map((f) => line(f.effect, sentence(say("factor." + f.name, { text: f.text, value: f.value })))),
        told.length < x.factors.length ? line(rest, say("why.others", { count: x.factors.length - told.length })) : null,
        line(100 * (v.hold_probability - v.baseline_hold_probability), say("why.together")))));
  }
  const found = (m) => say("found." + m.kind, m.time ? { price: price(m.price, d), at: utc(m.time), atr: fixed(m.prominence_atr, 1) } : { price: price(m.price, d), share: percent(m.volume_share, 0) });
  const right = el("div", {});
  parts.push(right);
  right.append(el("h3", {}, say("why.found")), el("ul", { class: "found" }, x.sources.map((s) => el("li", {},
      sentence(say("why.source", { source: say("source." + s.name), share: percent(s.weight, 0), found: s.found.length ? s.found.map(found).join(say("semicolon")) : say("why.ends", { count: s.count }) }))))), el("p", { class: "soft" }, sentence(v.found_by.length ? say("why.found_by", { text: x.found_by_note, methods: foundBy(v) }) : say("why.found_by_none", { text: x.found_by_note }))));
  const tests = x.tests.toReversed();
  right.append(el("h3", {}, say("why.tests", { n: tests.length })), el("p", { class: "soft" }, sentence(say("why.entries", { text: x.entries_note, n: x.touches.length }))),
    x.record_note ? el("p", {}, sentence(say("why.record", { text: x.record_note, edge: fixed(v.edge, 1) }))) : "",
    el("ol", { class: "touches" }, tests.slice(0, 12).map((t) => el("li", {},
      el("button", { type: "button", class: "t", title: say("touches.show") }, utc(t.from)), el("b", { class: t.outcome }, say("outcome." + t.outcome)),
      el("span", { class: "soft" }, say("why.from_" + t.side, { price: price(t.extreme, d) }))))),
    tests.length > 12 ? el("p", { class: "soft" }, say("why.before", { count: tests.length - 12 })) : "");
  if (v.first_tested) parts[0].append(say("why.first", { at: utc(v.first_tested), span: span(Date.parse(x.as_of) - Date.parse(v.last_tested)) }));
  return parts;
}
