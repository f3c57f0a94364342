// The table of a pair's levels, nearest to the middle as on the chart's axis, and
// what opens below a level: why it is there.

import { ask, query, problemLine, sentence } from "./ask.js";
import { count, el, fixed, list, percent, price, signed, span, svg, utc } from "./format.js";
import { say } from "./words.js";

// named gives the levels of an analysis names from the nearest out, R1 and S1,
// and leaves out those the sliders do, but for the level that is asked for: without a least
// edge, those that are faint.
export function named(analysis, { perSide, minEdge, level }) {
  const side = (list, role, letter) => {
    const passing = list.filter((l) => minEdge === null ? !l.faint : l.edge >= minEdge);
    return list.map((l) => {
      const i = passing.indexOf(l);
      if (i >= perSide || i < 0) return l.id === level && { ...l, role, rank: perSide + 1, name: letter + (i < 0 ? "+" : i + 1) };
      return { ...l, role, rank: i + 1, name: letter + (i + 1) };
    }).filter(Boolean);
  };
  return { resistances: side(analysis.resistances, "resistance", "R"), supports: side(analysis.supports, "support", "S") };
}

// lacking says that no level of a side is shown, of those that there are.
function lacking(levels, side, least) {
  const less = levels.filter((l) => l.edge < least).length, since = levels.length - less;
  return el("tr", { class: "none" }, el("td", { colspan: 12 }, say("levels.lacking_" + side, { n: least }),
    less ? say("levels.less_edge", { n: less }) : "", since ? say("levels.since", { n: since }) : "", say("stop")));
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

function holdCell(l) {
  if (l.hold_probability === null) return el("td", { class: "n soft" }, l.passed ? say("levels.passed") : say("levels.no_odds"));
  const [from, to] = l.hold_interval;
  return el("td", { class: "n odds" }, el("div", {}, holdBar(l), el("b", {}, percent(l.hold_probability))),
    el("small", {}, say("levels.odds", { from: fixed(100 * from, 1), to: fixed(100 * to, 1), line: fixed(100 * l.baseline_hold_probability, 1), samples: l.samples })));
}

export class LevelTable {
  // choose is called with the id of the level to explain, or null; bell returns the button of a
  // level.
  constructor(body, choose, onTouches, bell) {
    this.body = body;
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
  show(analysis, { resistances, supports }, selected, d, venues, minEdge) {
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
    if (!resistances.length) rows.push(lacking(analysis.resistances, "above", least));
    resistances.toReversed().forEach(add);
    const now = analysis.price !== null && Date.parse(analysis.price_at) > Date.parse(analysis.as_of);
    rows.push(el("tr", { class: "last" }, el("th", { scope: "row" }, now ? say("levels.now") : say("levels.last")),
      el("td", { class: "n" }, el("b", {}, price(now ? analysis.price : analysis.last_price, d))),
      el("td", { colspan: 10 }, say(now ? "levels.from_here" : "levels.close", { at: utc(analysis.as_of), price: price(analysis.last_price, d) }))));
    if (!supports.length) rows.push(lacking(analysis.supports, "below", least));
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
      el("td", { class: "n" }, el("b", {}, price(l.price, d)), el("small", {}, `${price(l.low, d)} – ${price(l.high, d)}`)),
      el("td", { class: "n" }, signed(l.distance_pct, 2)),
      el("td", { class: "n" }, l.distance_atr === null ? "–" : signed(l.distance_atr, 2)),
      holdCell(l),
      el("td", { class: "n" }, l.touch_probability === null ? "–" : percent(l.touch_probability, 0)),
      el("td", { class: "n" }, fixed(l.edge, 1), l.faint ? el("small", { class: "faint" }, say("faint")) : null),
      el("td", { class: "n" }, l.tests === null ? "–" : say("of", { part: l.held, all: l.held + l.broke })),
      el("td", { class: "n t" }, l.first_tested ? utc(l.first_tested) : "–"),
      el("td", { class: "n t" }, l.last_tested ? utc(l.last_tested) : "–"),
      el("td", {}, list(l.found_by.map((s) => say("source." + s))) || "–"),
      el("td", { title: l.passed ? say("levels.passed_title") : say("state_title." + l.state) },
        el("span", { class: "status " + (l.passed ? "broken" : l.state) }, l.passed ? say("levels.passed") : l.state === "held" ? say("levels.held_times", { count: l.held_in_role }) : say("state." + l.state))));
    return tr;
  }

  // subject names what an explanation is of.
  subject(analysis, l) {
    return `${l.id} ${analysis.computed_at} ${l.passed}`;
  }

  // explain returns the row that says why l is there, filled once it is known.
  explain(analysis, l, d) {
    const box = el("div", { class: "why", role: "region", "aria-label": say("why", { name: l.name }), "aria-busy": "true" },
      el("p", { class: "soft" }, say("why.busy")));
    this.explanation = el("tr", { class: "why-row", "data-of": this.subject(analysis, l) }, el("td", { colspan: 12 }, box));
    const mine = this.explanation;
    this.onTouches([]);
    ask(`levels/${encodeURIComponent(analysis.symbol)}/${l.id}${query({ interval: analysis.interval, exchange: analysis.exchange })}`).then((x) => {
      const passed = l.passed ? [el("p", {}, say("why.passed", { role: say("role." + x.role) }))] : [];
      box.replaceChildren(...passed, ...reasons(x, analysis.horizon_candles, d));
      if (this.explanation === mine) this.onTouches(x.tests);
    }, (problem) => box.replaceChildren(problemLine(problem))).finally(() => box.removeAttribute("aria-busy"));
    return mine;
  }
}

function reasons(x, horizon, d) {
  const v = x.level;
  const head = v.hold_probability === null ? say("why.no_odds", { reason: x.odds_reason ?? say("why.too_little") })
    : say("why.odds", { role: say("role." + x.role), p: percent(v.hold_probability), from: percent(v.hold_interval[0]), to: percent(v.hold_interval[1]), samples: v.samples,
      line: percent(v.baseline_hold_probability), candles: horizon, touch: percent(v.touch_probability, 0) });
  const parts = [el("p", { class: "head" }, say("why.edge", { edge: fixed(v.edge, 1) }), head)];
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
      el("ul", { class: "factors" }, told.map((f) => line(f.effect, sentence(f.text))),
        told.length < x.factors.length ? line(rest, say("why.others", { count: x.factors.length - told.length })) : null,
        line(100 * (v.hold_probability - v.baseline_hold_probability), say("why.together")))));
  }
  const found = (m) => say("found." + m.kind, m.time ? { price: price(m.price, d), at: utc(m.time), atr: fixed(m.prominence_atr, 1) } : { price: price(m.price, d), share: percent(m.volume_share, 0) });
  const right = el("div", {});
  parts.push(right);
  right.append(el("h3", {}, say("why.found")), el("ul", { class: "found" }, x.sources.map((s) => el("li", {},
      sentence(say("why.source", { source: say("source." + s.name), share: percent(s.weight, 0), found: s.found.length ? s.found.map(found).join(say("semicolon")) : say("why.ends", { count: s.count }) }))))), el("p", { class: "soft" }, sentence(x.found_by_note)));
  const tests = x.tests.toReversed();
  right.append(el("h3", {}, say("why.tests", { n: tests.length })), el("p", { class: "soft" }, sentence(x.entries_note)), x.record_note ? el("p", {}, sentence(x.record_note)) : "",
    el("ol", { class: "touches" }, tests.slice(0, 12).map((t) => el("li", {},
      el("span", { class: "t" }, utc(t.from)), el("b", { class: t.outcome }, say("outcome." + t.outcome)),
      el("span", { class: "soft" }, say("why.from_" + t.side, { price: price(t.extreme, d) }))))),
    tests.length > 12 ? el("p", { class: "soft" }, say("why.before", { count: tests.length - 12 })) : "");
  if (v.first_tested) parts[0].append(say("why.first", { at: utc(v.first_tested), span: span(Date.parse(x.as_of) - Date.parse(v.last_tested)) }));
  return parts;
}
