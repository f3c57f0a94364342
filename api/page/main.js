// The page: its state lives in the address, so that a view can be shared.

import { Alerts } from "./alerts.js";
import { ask, problemLine } from "./ask.js";
import { Bells } from "./bells.js";
import { Chart } from "./chart.js";
import { Events } from "./events.js";
import { decimals, el, length, price, put, span, utc } from "./format.js";
import { listen } from "./keys.js";
import { before, Beside, Tests } from "./layers.js";
import { LevelTable, named } from "./levels.js";
import { ended, Live } from "./live.js";
import { filters, Market } from "./market.js";
import { MarkLayer } from "./marks.js";
import { moved, newest } from "./now.js";
import { klinesOf, levelsOf, nearestOf, query, stated } from "./paths.js";
import { drawJobs, drawMemory, drawSchedules } from "./panels.js";
import { Record } from "./record.js";
import { Search } from "./search.js";
import { Tools } from "./tools.js";
import { choices, clock, drawElsewhere, drawVenues, replay, take } from "./venues.js";
import { Watched } from "./watched.js";
import { say } from "./words.js";

const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The candle lengths to choose from.
const intervals = [...$("intervals").querySelectorAll("input")].map((input) => input.value);

// exchange is empty for the one the service talks to, if it talks to one only.
const state = { exchange: "", symbol: "", interval: "", level: null, perSide: 6, minEdge: null, all: false, market: filters }; // minEdge null: that of the service
// What is shown, which is not yet what the state says while that is asked for.
let seen = { exchange: "", symbol: "", interval: "" }, analysis = null, together = null, klines = null, forming = null, shownDecimals = 2;

// The exchanges there are levels of, those the service talks to first.
let exchanges = [];
const home = () => exchanges[0]?.exchange;
const served = (name) => exchanges.some((e) => e.served && e.exchange === name);
const talksTo = () => exchanges.filter((e) => e.served).map((e) => e.exchange);
const alone = () => talksTo().length < 2;
// elsewhere tells whether another process talks to the exchange.
const elsewhere = () => state.exchange !== "" && !served(state.exchange);

// unresolved tells whether it is not known yet on which of several exchanges the pair is.
const unresolved = () => !alone() && state.exchange === "";

// wanted is the series the state names, as replies name it.
const wanted = () => ({ exchange: unresolved() ? "" : state.exchange || home(), symbol: state.symbol, interval: state.interval });

// same tells whether two, if they are there, are of one series.
const same = (a, b) => a?.exchange === b?.exchange && a?.symbol === b?.symbol && a?.interval === b?.interval;

// shows tells whether candles, or the one that is forming, are of the pair shown.
const shows = (of) => !!of && same(of, seen);

function readAddress() {
  const q = new URLSearchParams(location.search);
  const number = (name, least, most, otherwise) => {
    const n = Number(q.get(name) ?? NaN);
    return n >= least && n <= most ? n : otherwise;
  };
  Object.assign(state, stated(q));
  if (!intervals.includes(state.interval)) state.interval = "";
  state.level = q.get("level");
  state.perSide = number("per_side", 1, 20, 6);
  state.minEdge = q.get("least_edge") ? number("least_edge", 0, 20, null) : null;
  state.all = q.get("all") === "yes";
  state.market = Object.fromEntries(Object.keys(filters).map((name) => [name, q.get(name) ?? ""]));
}

function writeAddress(push) {
  const address = query({
    exchange: state.exchange, symbol: state.symbol, interval: state.interval, level: state.level,
    per_side: state.perSide === 6 ? "" : state.perSide, least_edge: state.minEdge ?? "", all: state.all ? "yes" : "", ...state.market,
  });
  if (address === location.search) return;
  history[push ? "pushState" : "replaceState"](null, "", address || location.pathname);
}

await pause(0); // a task of its own, because making the chart takes long
const chart = new Chart($("chart"), $("legend"), {
  pick(level) {
    if (!level || level.gone) return;
    if (level.interval) return go({ interval: level.interval, level: level.id });
    choose(level.id === state.level ? null : level.id);
    button(level.id)?.focus({ preventScroll: true });
  },
  older,
  marks: (under, point) => marks.tell(under, point),
});
await pause(0);

// button returns the one of a level in the table.
const button = (id) => $("levels").querySelector(`[data-level="${id}"]`);

// choose has a level explained, or none.
function choose(id) {
  state.level = id;
  writeAddress();
  draw();
}

let explained = []; // the tests of the level explained, the first first
const table = new LevelTable($("levels"), choose, (tests) => {
  explained = tests;
  chart.mark(tests);
}, (analysis, level, attributes) => bells.button(analysis, level, attributes), $("also"));

// show opens the pair of an event or of a bell with its level.
const show = ({ exchange, symbol, interval, level }) => open(exchange, symbol, { interval, level: level?.id ?? null });

const bells = new Bells($("bells"), { open: show, changed: () => events.retune(), retitle });
const watched = new Watched($("watched"), () => {
  events.reload();
  if (state.market.watched) screen(true);
}, () => market.offer());
const events = new Events($("events"), { bells, watched, open: show, alone });

const beside = new Beside(), tests = new Tests();
const tools = new Tools($("tools"), {
  changed(name) {
    apply(name);
    if (name === "dots" || name === "beside" || name === "before") layers().catch(lost);
  },
  taken: () => ({
    canvas: chart.picture([`${seen.symbol} ${seen.interval} · ${seen.exchange}${$("simulated").hidden ? "" : " · " + say("simulated.mark")}`, $("legend").textContent, $("fresh").textContent.trim()]),
    file: `${seen.symbol.replace(/\W/g, "-")}-${seen.interval}.png`,
  }),
  home: () => chart.home(),
  help: () => help(),
});

// apply has the chart follow a switch of its tools.
function apply(name) {
  const on = tools.on[name];
  ({ volume: () => chart.showVolume(on), log: () => chart.showLog(on), local: () => chart.showLocal(on) })[name]?.();
}
["volume", "log", "local"].forEach(apply);

const marks = new MarkLayer({ toggle: $("marks-shown"), list: $("marks"), tooltip: $("mark"), also: () => tools.on.before, exchange: () => state.exchange }, () => {
  marks.load(analysis).catch(lost).then(draw);
});

let title = document.title;

// retitle writes the title, and before it what rang.
function retitle() {
  document.title = bells.ringing + title;
}

// now returns the analysis as of the newest price.
const now = () => analysis && moved(analysis, newest(analysis, shows(forming) ? forming : null));

// draw writes what is known of the pair.
function draw() {
  const analysis = now();
  $("pair").textContent = seen.symbol;
  const name = analysis?.name || shows(klines) && klines.name;
  $("name").textContent = [name, seen.exchange].filter(Boolean).join(" · ");
  const invented = exchanges.find((e) => e.exchange === seen.exchange)?.status?.simulated || analysis?.simulated || shows(klines) && klines.simulated;
  $("simulated").hidden = !invented;
  $("simulated").textContent = replay(seen.exchange) ? say("simulated.replay", { dates: replay(seen.exchange) }) : say("simulated");
  title = `${invented ? say("simulated.mark") + " · " : ""}${seen.symbol} ${seen.interval} · tidemark`;
  retitle();
  const pair = { ...seen, name };
  put($("pair-acts"), ...(seen.symbol && seen.exchange ? [watched.button(pair), bells.button(pair)] : []));
  $("per-side").value = state.perSide;
  $("per-side-value").textContent = state.perSide;
  $("min-edge").value = state.minEdge ?? analysis?.min_edge ?? 3;
  // as the service draws them, some have less: those that had it when they were found
  $("min-edge-value").textContent = state.minEdge === null ? say("market.drawn") : state.minEdge === 0 ? say("any") : say("points", { n: Number($("min-edge").value) });
  for (const input of $("intervals").querySelectorAll("input")) input.checked = input.value === state.interval;
  $("sweep").textContent = `${alone() ? say("sweep.market") : say("sweep.exchange", { exchange: wanted().exchange })} (${state.interval})`;
  const levels = analysis && [...analysis.supports, ...analysis.resistances];
  shownDecimals = decimals([...(shows(klines) ? klines.klines.slice(-100).flatMap((row) => row.slice(1, 5)) : []),
    ...(analysis ? [analysis.last_price, analysis.price ?? analysis.last_price, ...levels.flatMap((l) => [l.price, l.low, l.high])] : [])]);
  chart.showMarks(marks.show(analysis, shownDecimals));
  drawCandles();
  drawElsewhere($("elsewhere"), together, seen, open);
  if (!analysis) {
    chart.showLevels([], null);
    $("shown").textContent = "";
    $("price").textContent = shows(klines) && klines.klines.length ? price(klines.klines.at(-1)[4], shownDecimals) : "–";
    $("atr").textContent = "";
    return;
  }
  const chosen = named(analysis, state);
  const others = tools.on.beside && beside.is(seen) ? beside : null, names = others?.names();
  const all = [...chosen.resistances, ...chosen.supports].map((l) => ({ ...l, beside: names?.get(l.id) }));
  const selected = all.some((l) => l.id === state.level) ? state.level : null;
  const past = !selected && gone?.id === state.level ? [gone] : []; // where the level was that is asked for
  $("price").textContent = price(analysis.price ?? analysis.last_price, shownDecimals);
  $("atr").textContent = `ATR ${analysis.atr.toPrecision(4).replace(/e.*/, (e) => "·10" + e.slice(1))}`;
  table.show(analysis, chosen, selected, shownDecimals, alone() ? null : venuesOf(), state);
  chart.draws({
    tests: tools.on.dots ? tests.known : new Map(), others: others?.levels() ?? [],
    lines: tools.on.before ? before(marks.of(seen), Date.parse(analysis.as_of)) : [],
  });
  chart.showLevels([...all, ...past], selected ?? past[0]?.id ?? null);
  const successor = past[0] && levels.find((l) => l.id === past[0].replaced_by);
  put($("shown"), el("span", {}, [
    state.level && !selected ? say(past.length ? "shown.past" : "shown.gone") : "",
    say("shown", { count: all.length, all: levels.length }), analysis.odds_reason ? say("no_odds", { reason: say("reason." + analysis.odds_reason) }) : "", others?.note(),
  ].filter(Boolean).join(" ")), successor ? el("button", { type: "button", onclick: () => choose(successor.id) }, say("shown.successor", { price: price(successor.price, shownDecimals) })) : null);
  if (tools.on.dots) tests.load(analysis, all, () => chart.draws({}));
}

let gone = null; // a level that was asked for and is not there any more, as it was

// recall finds what a level was that is asked for and not there: the events know.
async function recall(signal) {
  const { level } = state;
  if (!/^[0-9a-f]{16}$/.test(level ?? "") || !analysis || gone?.id === level || [...analysis.supports, ...analysis.resistances].some((l) => l.id === level)) return;
  const { events } = await ask(`events${query({ exchange: seen.exchange, symbol: seen.symbol, interval: seen.interval, level, limit: 400 })}`, { signal }).catch(() => ({ events: [] }));
  if (signal.aborted || !events.length) return;
  const last = events.at(-1);
  gone = { ...last.level, gone: true, name: last.level.role === "support" ? "S" : "R", rank: Infinity, replaced_by: last.replaced_by };
  draw();
}

// layers asks for what the chart shows besides the levels of the pair, and draws it.
async function layers(signal = loading.signal) {
  if (!analysis) return;
  await Promise.all([recall(signal), tools.on.beside && beside.load(seen, signal), marks.load(analysis, signal)]);
  if (!signal.aborted) draw();
}

// venuesOf returns on how many exchanges each level shown is, by id.
function venuesOf() {
  const own = together?.exchanges.find((e) => e.exchange === seen.exchange && e.symbol === seen.symbol);
  return new Map(own && [...own.supports, ...own.resistances].map((l) => [l.id, l.venues]));
}

function drawCandles() {
  chart.show(shows(klines) ? klines : { ...seen, klines: [], simulated: false }, shows(forming) ? forming.kline : null, shownDecimals);
}

// fresh says in words how old what is shown is, and what is missing in it.
function fresh() {
  const box = $("fresh");
  if (!seen.symbol) return;
  const parts = [];
  const step = length(seen.interval);
  const close = shows(klines) && klines.klines.length ? klines.klines.at(-1)[0] + step : null;
  if (analysis?.stale) {
    parts.push(el("b", { class: "stale" }, analysis.delisted_at ? say("stale.delisted", { exchange: seen.exchange, at: utc(analysis.delisted_at) })
      : say("stale.closed", { interval: seen.interval, at: utc(analysis.as_of) })));
  }
  if (analysis) {
    parts.push(say("fresh.as_of", { at: utc(analysis.as_of), count: analysis.klines }),
      analysis.missing_klines ? el("b", { class: "stale" }, say("fresh.missing", { count: analysis.missing_klines })) : say("fresh.complete"),
      say("fresh.found", { span: span(clock(seen.exchange) - Date.parse(analysis.computed_at)) }));
    const last = newest(analysis, shows(forming) ? forming : null);
    if (last) parts.push(say("fresh.price", { span: span(clock(seen.exchange) - Date.parse(last.at)) }));
  }
  if (close && !served(seen.exchange)) {
    parts.push(say("fresh.elsewhere", { exchange: seen.exchange }));
  } else if (close) {
    const now = shows(forming) ? forming : null;
    const left = (now?.kline ? Date.parse(now.closes_at) : close + step) - clock(seen.exchange);
    if (left <= 0) parts.push(say("fresh.closed"));
    else if (!now) parts.push(say("fresh.unknown", { span: span(left) }));
    else if (!now.kline) parts.push(say("fresh.untraded"));
    else {
      const age = clock(seen.exchange) - Date.parse(now.at);
      parts.push(say("fresh.forming", { price: price(now.kline[4], shownDecimals) + (age < 15_000 ? "" : " " + say("ago", { span: span(age) })), span: span(left) }));
    }
  }
  box.replaceChildren(...parts.flatMap((p) => [p, " "]));
}

// noPair tells whether a problem is that no pair can have, or has, the name.
const noPair = (problem) => problem.code === "unknown_symbol" || problem.errors?.some((e) => e.parameter === "symbol");

let unknown; // the series that its exchange answered it does not know

// notFound says that no pair has this name.
function notFound() {
  $("no-chart").replaceChildren();
  put($("missing"), el("p", {}, say("not_found", { symbol: state.symbol })));
}

let loading, fetching; // abort what was asked for another pair

// load asks for the pair, and returns once its levels are here. What is shown of it
// stays until then.
async function load() {
  loading?.abort();
  loading = new AbortController();
  const { signal } = loading;
  const { symbol, interval } = state;
  let candles = unresolved() ? null : loadCandles();
  let problem = null;
  const found = await ask(levelsOf(state), { signal }).catch((p) => (problem = p, null));
  if (!signal.aborted && found) adopt(found);
  const ambiguous = problem?.code === "ambiguous_symbol";
  if (!signal.aborted && !ambiguous) candles ??= loadCandles();
  const layer = marks.load(found, signal);
  await Promise.race([Promise.all([candles, layer]), pause(300)]); // so that all appear at once, if they can
  if (signal.aborted) return;
  if (problem?.status === 0) throw problem;
  analysis = found;
  seen = wanted();
  if (together?.name !== found?.name || together?.interval !== interval) together = null;
  if (ambiguous) {
    put($("missing"), el("p", {}, say("ambiguous", { name: symbol })),
      el("div", { class: "choices", role: "group", "aria-label": say("ambiguous.label") }, choices(problem.choices, open)));
  } else if (problem && noPair(problem) || problem?.code === "not_analyzed" && unknown && same(unknown, wanted())) {
    notFound();
  } else if (problem?.code === "not_analyzed") {
    put($("missing"), el("p", {}, say("not_analysed", { of: [state.exchange, state.symbol, interval].filter(Boolean).join(" ") })),
      ...(elsewhere() ? [] : [el("button", { type: "button", class: "primary", onclick: analyse }, say("analyse"))]));
  } else {
    put($("missing"), ...(problem ? [problemLine(problem)] : []));
  }
  $("table").hidden = !analysis;
  draw();
  fresh();
  events.show(seen);
  compare(signal);
  layers(signal).catch(() => {});
  Promise.resolve(candles).then(() => {
    if (signal.aborted) return;
    if (!document.body.dataset.ready) performance.mark("shown");
    Object.assign(document.body.dataset, { ready: state.symbol + " " + interval, computed: analysis?.computed_at ?? "" });
    follow();
  });
}

// adopt names the pair as its exchange does, once a reply has told it.
function adopt({ exchange, symbol }) {
  Object.assign(state, { symbol, exchange: alone() ? state.exchange : exchange });
  writeAddress();
  drawExchanges();
}

// compare asks for the pair on all exchanges of the service, if it may be stored for
// several.
async function compare(signal) {
  const stored = exchanges.filter((e) => e.served && e.intervals.some((i) => i.interval === seen.interval));
  if (!analysis?.name || stored.length < 2 || !served(seen.exchange)) return;
  const found = await ask(`levels/${encodeURIComponent(analysis.name)}${query({ interval: seen.interval, exchange: "all", faint: true })}`, { signal }).catch(() => null);
  if (signal.aborted) return;
  together = found?.exchanges.length > 1 ? found : null;
  draw();
}

// loadCandles asks for the candles, when they are of another series than those
// there are or another must have closed. They may take long while a sweep has the
// exchange to itself, so nothing waits for them.
async function loadCandles() {
  const { exchange, symbol } = state, next = wanted();
  const { interval } = next;
  if (klines?.klines.length && same(klines, next) && clock(next.exchange) < klines.klines.at(-1)[0] + 2 * length(interval) + 2000) return;
  if (fetching && same(fetching.series, next)) return fetching.done;
  fetching?.abort();
  const mine = fetching = Object.assign(new AbortController(), { series: next });
  const late = setTimeout(() => $("no-chart").replaceChildren(el("p", { class: "soft" }, say("chart.waiting"))), 500);
  mine.done = ask(klinesOf({ symbol, interval, exchange }), { signal: mine.signal }).then((k) => {
    klines = joined(klines, k);
    unknown = null;
    $("no-chart").replaceChildren();
    if (fetching !== mine || !same(next, wanted())) return;
    adopt(k);
    if (same(next, seen)) seen = wanted();
  }, (problem) => {
    if (fetching !== mine) return;
    if (noPair(problem)) unknown = next; // load looks at it, if the levels come later
    if (unknown === next && same(next, seen) && !analysis) notFound();
    else $("no-chart").replaceChildren(problemLine(problem, klines ? "" : " " + say("chart.empty")));
  }).then(() => {
    clearTimeout(late);
    if (fetching !== mine) return;
    fetching = null;
    if (!shows(klines) && !same(next, seen)) return;
    draw();
    fresh();
  });
  return mine.done;
}

// joined returns new candles with the older ones that are here, if none is between them.
function joined(old, k) {
  const [first] = k.klines[0] ?? [];
  if (!same(old, k) || !old.klines.length || !(first <= old.klines.at(-1)[0])) return k;
  return { ...k, klines: [...old.klines.filter(([t]) => t < first), ...k.klines] };
}

let deep = null; // the series of which all candles were asked for, and when they are here

// older asks for all candles that the levels come from.
async function older() {
  const of = seen;
  if (!shows(klines) || !analysis || klines.klines.length >= analysis.klines) return;
  deep = same(deep, of) ? deep : { ...of, done: ask(`klines/${encodeURIComponent(of.symbol)}${query({ interval: of.interval, exchange: state.exchange, limit: analysis.klines })}`) };
  const k = await deep.done.catch(() => (deep = null));
  if (!k || !same(of, seen) || klines.klines[0][0] <= k.klines[0][0]) return;
  klines = joined(k, klines);
  drawCandles();
}

// look shows when a test was on the chart.
async function look(test) {
  const at = Date.parse(test.from);
  if (!chart.pan(at)) await older().then(() => chart.pan(at));
  chart.draws({ test });
  see();
}

// follow asks for the candle that is forming. One that cannot be had is not shown.
async function follow() {
  const of = seen;
  if (!shows(klines) || !klines.klines.length || !served(of.exchange)) return;
  const found = await ask(`klines/${encodeURIComponent(of.symbol)}/forming${query({ interval: of.interval, exchange: state.exchange })}`).catch(() => null);
  if (!same(of, seen)) return;
  forming = found;
  draw();
  fresh();
}

// reprice asks for the levels shown again if they move with the price between closes.
async function reprice() {
  const of = seen;
  if (analysis?.price == null || !same(of, wanted())) return;
  const found = await ask(levelsOf({ ...of, exchange: state.exchange }));
  if (!same(of, seen)) return;
  analysis = found;
  draw();
  fresh();
}

async function analyse(e) {
  e.target.disabled = true;
  $("missing").setAttribute("aria-busy", "true");
  try {
    await ask("analyze", { method: "POST", body: { symbol: state.symbol, interval: state.interval, exchange: state.exchange || undefined } });
    await load();
    $("said").textContent = say("analysed", { of: `${state.symbol} ${state.interval}` });
  } catch (problem) {
    if (noPair(problem)) notFound();
    else $("missing").replaceChildren(problemLine(problem));
  } finally {
    $("missing").removeAttribute("aria-busy");
  }
}

// go shows another pair or interval.
function go(changes) {
  Object.assign(state, { level: null }, changes);
  if (alone() && state.exchange === home()) state.exchange = "";
  writeAddress(true);
  drawExchanges();
  screen();
  return load().catch(lost);
}

// lost has the service asked again at once, which tells whether it is there.
function lost(e) {
  if (e.name === "AbortError") return;
  connected(false);
  live.wake();
}

function connected(yes) {
  const dot = $("connection");
  const word = yes ? say("connected") : say("not_connected");
  if (dot.textContent === word) return;
  dot.textContent = word;
  dot.dataset.state = yes ? "on" : "off";
}

// screen has the screener show what the state says.
function screen(anew) {
  const unchanged = market.set(alone() || elsewhere() ? state.exchange : "", talksTo(), state.interval, state.market, (filters) => {
    state.market = filters;
    writeAddress();
    screen();
  });
  if (!unchanged || anew) list();
}

let near = false, due = false; // whether the screener is in or near sight, and whether it must be requested once it is

// list asks for the rows of the screener, once it is near.
function list() {
  due = !near;
  if (near) market.load();
}

new IntersectionObserver(([{ isIntersecting }]) => {
  near = isIntersecting;
  if (due) list();
}, { rootMargin: "300px" }).observe($("market"));

// begin chooses what to show when the address does not say: the configured
// interval, and BTCUSDT or else the pair nearest to a level.
async function begin() {
  readAddress();
  const { exchange } = state;
  const about = learn();
  about.catch(() => {}); // is told where it is awaited, unless the next fails first
  // another exchange may have no levels of the configured interval
  const interval = state.interval || exchange && (await about, exchanges.find((e) => e.exchange === exchange)?.intervals[0]?.interval);
  let page = state.symbol && interval ? { interval } : await ask(nearestOf({ exchange, interval }));
  await about;
  if (alone() && exchange === home()) state.exchange = "";
  if (!alone() && !exchange && !state.symbol) {
    state.exchange = home();
    page = await ask(nearestOf({ exchange: home(), interval }));
  }
  drawExchanges();
  state.interval ||= page.interval;
  if (!state.symbol) {
    const bitcoin = await ask("levels" + query({ limit: 1, exchange: state.exchange, interval: state.interval, symbols: "BTCUSDT" }));
    state.symbol = (bitcoin.levels[0] ?? page.levels[0])?.symbol ?? "BTCUSDT";
  }
  writeAddress();
  screen(true);
  await load();
}

// learn asks which exchanges there are and how requests to them fare.
async function learn() {
  ({ exchanges } = await ask("exchanges"));
  take(exchanges);
}

// drawExchanges writes the exchange; where there are several, they can be switched.
function drawExchanges() {
  const box = $("exchange"), focused = box.contains(document.activeElement);
  $("sweep").hidden = elsewhere() || unresolved();
  if (exchanges.length === 1 && !state.exchange) return box.replaceChildren(home());
  const names = exchanges.map((e) => e.exchange);
  if (state.exchange && !names.includes(state.exchange)) names.push(state.exchange);
  put(box, el("select", {
    "aria-label": say("exchange"),
    onchange: (e) => {
      const name = e.target.value;
      Object.assign(state, { exchange: alone() && name === home() ? "" : name, symbol: "", interval: "", level: null });
      writeAddress(true);
      begin().catch(lost);
    },
  }, unresolved() ? el("option", { value: "", selected: true, disabled: true }, say("which")) : null,
  names.map((name) => el("option", { selected: name === wanted().exchange }, name))));
  if (focused) box.firstChild.focus();
}

// open shows a pair of an exchange, wherever on the page it was chosen, and what else
// is to be as changes say.
async function open(exchange, symbol, changes) {
  see();
  await go({ exchange, symbol, ...changes });
  $("pair").focus({ preventScroll: true });
}

// see scrolls to the chart unless it is in sight. What contains it has no box on a narrow screen.
function see() {
  const { top, bottom } = $("chart").getBoundingClientRect(), view = $("pair").closest(".view"), pair = view.closest(".pair");
  if (top < 0 || bottom > innerHeight) (pair.getClientRects().length ? pair : view).scrollIntoView();
}

$("intervals").addEventListener("change", (e) => go({ interval: e.target.value }));
for (const [id, name] of [["per-side", "perSide"], ["min-edge", "minEdge"]]) {
  $(id).addEventListener("input", (e) => {
    state[name] = Number(e.target.value);
    writeAddress();
    draw();
  });
}
const listed = () => ({ exchange: state.exchange || (alone() ? "" : home()), interval: state.interval });
new Search($("search"), $("found"), (symbol, any) => go({ symbol, exchange: any ? "" : listed().exchange }), listed, elsewhere, () => !alone());

$("also").addEventListener("change", (e) => {
  state.all = e.target.checked;
  writeAddress();
  draw();
});

const market = new Market($("market"), ({ exchange, symbol, interval, id }) => {
  go({ exchange, symbol, interval, level: id });
  see();
}, (l) => {
  const row = { "data-row": `${l.exchange} ${l.symbol} ${l.id}` };
  return el("span", { class: "icons" }, watched.button(l, { "data-row": "star " + row["data-row"] }), l.faint ? null : bells.button(l, l, { "data-row": "bell " + row["data-row"] }));
}, { watched: () => watched.names, lists: () => watched.listNames, sweep, sweeping });

// A level in focus or under the pointer in the table is pointed out on the chart.
const point = (id, wanted) => chart.draws({ pointed: id ?? null, wanted: wanted ?? null });
const levelOf = (e) => e.target.closest("tr")?.querySelector("button.name")?.dataset.level;
$("levels").addEventListener("focusin", (e) => point(levelOf(e), levelOf(e)));
$("levels").addEventListener("focusout", () => point());
$("levels").addEventListener("mouseover", (e) => point(levelOf(e), chart.zones.wanted));
$("levels").addEventListener("mouseleave", () => point(chart.zones.wanted, chart.zones.wanted));
$("levels").addEventListener("click", (e) => {
  const line = e.target.closest(".touches li");
  if (line) look(explained.at(-1 - [...line.parentNode.children].indexOf(line)));
});

const help = listen({
  dialog: $("keys"),
  full: () => tools.full(),
  close() {
    if ($("tools").closest(".full")) tools.full();
    else if (state.level) choose(null);
  },
  // walk goes to the level above or below, from the price outwards at first.
  walk(step) {
    const all = chart.zones.levels.filter((l) => !l.gone).toSorted((a, b) => b.price - a.price);
    const { dataset } = document.activeElement;
    const from = [dataset.level, chart.zones.pointed, state.level].find((id) => all.some((l) => l.id === id));
    const at = from ? all.findIndex((l) => l.id === from) + step : step > 0 ? all.findIndex((l) => l.role === "support") : all.findLastIndex((l) => l.role === "resistance");
    if (!all[at]) return;
    if ($("tools").closest(".full")) choose(all[at].id), chart.point(all[at].id); // the table is not there
    else button(all[at].id)?.focus();
  },
});

// What is above the chart leaves the screen while the table is read.
new ResizeObserver(() => {
  const top = $("tools").closest(".top"), above = $("legend").getBoundingClientRect().top - top.getBoundingClientRect().top;
  top.parentNode.style.setProperty("--above", `${Math.floor(above)}px`);
  top.parentNode.style.setProperty("--band", `${Math.ceil(top.offsetHeight - above)}px`);
}).observe($("tools").closest(".top"));

const alerts = new Alerts($("alerts"), { here: () => seen });
const record = new Record($("record"), { here: () => seen });

const themes = ["auto", "dark", "light"];
function theme(next) {
  document.documentElement.dataset.theme = next;
  localStorage.setItem("tidemark-theme", next);
  $("theme").textContent = say("theme." + next);
  chart.paint();
}
$("theme").addEventListener("click", () => {
  theme(themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length]);
});
// The language is kept in a cookie, so that the service sends the page in it.
$("language").addEventListener("click", (e) => {
  document.cookie = `tidemark-language=${e.target.value}; max-age=31536000; samesite=lax`;
  location.reload();
});
theme(themes.find((name) => name === document.documentElement.dataset.theme) ?? "auto");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.paint());

addEventListener("popstate", () => {
  readAddress();
  begin().catch(lost);
});
setInterval(fresh, 1000);

let begun = false, ticks = 0, schedules = [];
const live = new Live({
  connected(yes, problem) {
    connected(yes);
    if (!yes) ticks = 0; // all is asked for again once it is there
    if (!yes && !begun) $("missing").replaceChildren(problemLine(problem));
  },
  drawn(jobs) {
    drawJobs($("jobs"), jobs, exchanges.length > 1);
    $("sweep").disabled = sweeping(wanted().exchange, state.interval);
  },
  // changed: levels of an interval are new.
  changed(job) {
    if (ended(job)) $("said").textContent = say("job_ended", { job: say("job." + job.kind, { of: job.interval }), state: say("job_state." + job.state) });
    if (alone() && job.exchange !== wanted().exchange || job.interval !== state.interval && job.interval !== market.interval || changing) return;
    changing = setTimeout(() => {
      changing = null;
      list();
      load().catch(lost);
    }, ended(job) ? 0 : 1500);
  },
  async tick() {
    if (begun && ticks % 3 === 0) await learn();
    if (!begun) {
      await begin();
      live.drawn([...live.jobs.values()]); // of which exchange is known now
    } else if (ticks % 6 === 0) {
      await load();
    } else if (ticks % 2 === 0) {
      await reprice();
    }
    if (begun && ticks % 2 === 0 && analysis?.price != null && near) market.load();
    if (begun) follow();
    else early.clear(); // what is asked for from here on is newer
    begun = true;
    drawVenues($("venues"));
    if (ticks++ % 6 === 0) {
      ({ schedules } = await ask("schedules"));
      await watched.lists();
    }
    drawSchedules($("schedules"), schedules, !alone());
    drawMemory($("memory"), await ask("memory"));
    await alerts.tick();
    await record.tick();
  },
});
let changing = null;

// sweep begins a sweep of an exchange, and sweeping tells whether one runs.
async function sweep(exchange, interval) {
  try {
    live.follow(await ask("analyze", { method: "POST", body: { all: true, interval, exchange } }));
  } catch (problem) {
    drawJobs($("jobs"), [...live.jobs.values()], exchanges.length > 1, problem);
    throw problem;
  }
}

function sweeping(exchange, interval) {
  return [...live.jobs.values()].some((j) => !ended(j) && j.kind === "sweep" && j.exchange === exchange && j.interval === interval);
}

$("sweep").addEventListener("click", (e) => {
  e.target.disabled = true;
  sweep(wanted().exchange, state.interval).catch(() => (e.target.disabled = false));
});

live.run();
