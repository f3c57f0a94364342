// The exchanges: how requests to each fare, and a pair on several of them.

import { count, decimals, el, fixed, length, percent, price, put, signed, span, utc } from "./format.js";
import { hidden } from "./levels.js";
import { say } from "./words.js";

let known = []; // the exchanges, as GET /exchanges lists them

// take has what follows be of these exchanges.
export const take = (exchanges) => (known = exchanges);

// storedIntervals returns the intervals that there are levels of on some of these exchanges,
// the shortest first.
export const storedIntervals = (names) => [...new Set(known.filter((e) => names.includes(e.exchange)).flatMap((e) => e.intervals.map((i) => i.interval)))].toSorted((a, b) => length(a) - length(b));

// analysed tells whether there are levels of an exchange and interval.
export const analysed = (name, interval) => known.some((e) => e.exchange === name && e.intervals.some((i) => i.interval === interval));

// replay returns the dates of what an exchange replays, or "".
export const replay = (exchange) => (known.find((e) => e.exchange === exchange)?.status?.replay ?? "").replace("/", say("to"));

// clock returns what time it is on an exchange, in Unix ms. A simulated one may have a time of
// its own, that of what it replays; the clocks of others differ by an error only.
export function clock(exchange) {
  const s = known.find((e) => e.exchange === exchange)?.status;
  return Date.now() - (elsewhen(s) ? s.clock_skew_ms : 0);
}

const elsewhen = (status) => status?.simulated && Math.abs(status.clock_skew_ms ?? 0) > 60_000;

// mark returns what tells, after its name, a market that is not real, or null.
export function mark(exchange, simulated) {
  if (replay(exchange)) return [" ", el("b", { class: "mark", title: say("replay.title", { dates: replay(exchange) }) }, say("replay.mark"))];
  return simulated ? [" ", el("b", { class: "mark", title: say("simulated.title") }, say("simulated.mark"))] : null;
}

// state says in words how requests to an exchange fare, and whether that is well.
function state({ served, status }) {
  if (!served) return [say("venues.elsewhere"), true];
  const left = Date.parse(status.paused_until ?? "") - Date.now();
  if (left > 0) {
    const banned = status.pause_reason === "banned";
    return [say(banned ? "venues.banned" : "venues.paused", { until: utc(status.paused_until), span: span(left) }), false];
  }
  if (status.reachable === null) return [say("venues.not_asked"), true];
  return status.reachable ? [say("venues.reachable"), true] : [say("venues.unreachable"), false];
}

// tolerated is a clock skew that is not told, in milliseconds.
const tolerated = 2000;

// drawVenues writes a line for each exchange.
export function drawVenues(body) {
  put(body, ...known.map((e) => {
    const s = e.status;
    const [words, well] = state(e);
    const fullest = s?.budgets.toSorted((a, b) => b.used_share - a.used_share)[0];
    const skew = s?.clock_skew_ms ?? 0;
    return el("tr", {},
      el("th", { scope: "row" }, e.exchange, mark(e.exchange, s?.simulated), replay(e.exchange) ? el("span", { class: "soft" }, ` ${replay(e.exchange)}`) : null),
      el("td", {}, el("span", { class: well ? "" : "stale" }, words),
        elsewhen(s) ? el("span", { class: "soft" }, " · " + say("venues.time", { at: utc(clock(e.exchange)) }))
          : Math.abs(skew) > tolerated ? el("span", { class: "stale" }, " · " + say(skew > 0 ? "venues.ahead" : "venues.behind", { seconds: fixed(Math.abs(skew) / 1000, 1) })) : null),
      el("td", {}, ...(fullest ? [
        el("meter", { min: 0, max: 1, low: fullest.share, high: 0.95, optimum: 0, value: fullest.used_share, "aria-label": say("venues.used", { exchange: e.exchange }) }),
        ` ${percent(fullest.used_share, 0)}`, el("span", { class: "soft wide" }, " " + say("venues.of", { limit: fullest.limit, name: fullest.name }))] : ["–"])),
      el("td", { class: "n wide" }, e.pairs === null ? "–" : count(e.pairs)),
      el("td", {}, !e.served ? "–" : s.last_success ? say("ago", { span: span(Date.now() - Date.parse(s.last_success)) }) : say("none_yet")));
  }));
}

// nearest writes a level with its distance.
function nearest(level, d) {
  if (!level) return el("td", { class: "n soft" }, say("none"));
  return el("td", { class: "n" }, price(level.price, d), el("span", { class: "soft" }, ` ${signed(level.distance_pct, 2)} %`));
}

// drawElsewhere writes a pair on several exchanges side by side. here is the one shown;
// open is called with the exchange and the pair to show.
export function drawElsewhere(section, together, here, open) {
  section.hidden = !together;
  if (!together) return;
  const focused = document.activeElement?.dataset.on;
  put(section.querySelector("tbody"), ...together.exchanges.map((e) => {
    const [support, resistance] = [e.supports, e.resistances].map((side) => side.find((l) => !hidden(l, null))); // the first is the nearest
    const d = decimals([e.price ?? e.last_price, support?.price, resistance?.price].filter((p) => p != null));
    const own = e.exchange === here.exchange && e.symbol === here.symbol;
    return el("tr", { "aria-current": own ? "true" : null },
      el("th", { scope: "row" }, own ? el("b", {}, e.exchange) : el("button", {
        type: "button", class: "pair", "data-on": `${e.exchange} ${e.symbol}`, "aria-label": say("elsewhere.open", { pair: e.symbol, exchange: e.exchange }),
        onclick: () => open(e.exchange, e.symbol),
      }, e.exchange), el("span", { class: "soft" }, ` ${e.symbol}`), mark(e.exchange, e.simulated), e.stale ? el("b", { class: "stale" }, " " + say("stale")) : null),
      el("td", { class: "n" }, price(e.price ?? e.last_price, d)),
      el("td", { class: "wide" }, `${utc(e.as_of)} UTC`),
      nearest(support, d), nearest(resistance, d));
  }));
  if (focused) section.querySelector(`[data-on="${focused}"]`)?.focus();
}

// choices returns buttons for the pairs that a name may mean.
export const choices = (pairs, open) => pairs.map((p) => el("button", { type: "button", onclick: () => open(p.exchange, p.symbol) },
  el("b", {}, p.name || p.symbol), ` · ${p.exchange} `, el("span", { class: "soft" }, p.symbol)));
