// The page: its state lives in the address, so that a view can be shared.

import { ask, query, say } from "./ask.js";
import { Chart } from "./chart.js";
import { decimals, el, length, price, signed, span, utc } from "./format.js";
import { LevelTable, named } from "./levels.js";
import { ended, Live } from "./live.js";
import { filters, Market } from "./market.js";
import { drawJobs, drawMemory, drawSchedules } from "./panels.js";
import { Search } from "./search.js";

const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The candle lengths to choose from, and how many candles are drawn.
const intervals = [...$("intervals").querySelectorAll("input")].map((input) => input.value);
const drawn = 500;

// exchange is empty for the one the service talks to, if it talks to one only.
const state = { exchange: "", symbol: "", interval: "", level: null, perSide: 6, minHold: 0, market: filters };
// What is shown, which is not yet what the state says while that is asked for.
let seen = { exchange: "", symbol: "", interval: "" }, analysis = null, klines = null, forming = null, shownDecimals = 2;

// The exchanges there are levels of, those the service talks to first, and whether
// the market of the one chosen is simulated.
let exchanges = [], simulated = false;
const home = () => exchanges[0]?.exchange;
const served = (name) => exchanges.some((e) => e.served && e.exchange === name);
const alone = () => exchanges.filter((e) => e.served).length < 2;
// elsewhere tells whether another process talks to the exchange.
const elsewhere = () => state.exchange !== "" && !served(state.exchange);

// wanted is the series the state names, as replies name it.
const wanted = () => ({ exchange: state.exchange || home(), symbol: state.symbol, interval: state.interval });

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
  state.exchange = /^[a-z0-9-]{1,32}$/.exec(q.get("exchange") ?? "")?.[0] ?? "";
  state.symbol = (q.get("symbol") ?? "").toUpperCase();
  state.interval = intervals.includes(q.get("interval")) ? q.get("interval") : "";
  state.level = q.get("level");
  state.perSide = number("per_side", 1, 20, 6);
  state.minHold = number("min_hold", 0, 100, 0);
  state.market = Object.fromEntries(Object.keys(filters).map((name) => [name, q.get(name) ?? ""]));
}

function writeAddress(push) {
  const address = query({
    exchange: state.exchange, symbol: state.symbol, interval: state.interval, level: state.level,
    per_side: state.perSide === 6 ? "" : state.perSide, min_hold: state.minHold || "", ...state.market,
  });
  if (address === location.search) return;
  history[push ? "pushState" : "replaceState"](null, "", address || location.pathname);
}

const chart = new Chart($("chart"), $("legend"));
const table = new LevelTable($("levels"), (id) => {
  state.level = id;
  writeAddress();
  draw();
}, (touches) => chart.mark(touches));

// draw writes what is known of the pair.
function draw() {
  $("pair").textContent = seen.symbol;
  const invented = simulated || analysis?.simulated || shows(klines) && klines.simulated;
  $("simulated").hidden = !invented;
  document.title = `${invented ? "SIMULATED · " : ""}${seen.symbol} ${seen.interval} · tidemark`;
  $("per-side").value = state.perSide;
  $("per-side-value").textContent = state.perSide;
  $("min-hold").value = state.minHold;
  $("min-hold-value").textContent = state.minHold ? state.minHold + " %" : "any";
  for (const input of $("intervals").querySelectorAll("input")) input.checked = input.value === state.interval;
  $("sweep").textContent = `Sweep the market (${state.interval})`;
  const levels = analysis && [...analysis.supports, ...analysis.resistances];
  shownDecimals = decimals([...(shows(klines) ? klines.klines.slice(-100).flatMap((row) => row.slice(1, 5)) : []),
    ...(analysis ? [analysis.last_price, ...levels.flatMap((l) => [l.price, l.low, l.high])] : [])]);
  drawCandles();
  if (!analysis) {
    chart.showLevels([], null);
    $("price").textContent = shows(klines) && klines.klines.length ? price(klines.klines.at(-1)[4], shownDecimals) : "–";
    $("atr").textContent = "";
    return;
  }
  const chosen = named(analysis, state);
  const all = [...chosen.resistances, ...chosen.supports];
  const selected = all.some((l) => l.id === state.level) ? state.level : null;
  $("price").textContent = price(analysis.last_price, shownDecimals);
  $("atr").textContent = `ATR ${analysis.atr.toPrecision(4).replace(/e.*/, (e) => "·10" + e.slice(1))}`;
  table.show(analysis, chosen, selected, shownDecimals);
  chart.showLevels(all, selected);
  $("shown").textContent = `${all.length} of ${levels.length} levels shown${analysis.odds_reason ? ". No odds: " + analysis.odds_reason : ""}`;
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
  if (analysis?.stale) parts.push(el("b", { class: "stale" }, "STALE: " + analysis.stale_reason));
  if (analysis) {
    parts.push(`Levels as of ${utc(analysis.as_of)} UTC, from ${analysis.klines.toLocaleString("en")} candles,`,
      analysis.missing_klines ? el("b", { class: "stale" }, `${analysis.missing_klines} missing between them,`) : "none missing,",
      `found ${span(Date.now() - Date.parse(analysis.computed_at))} ago.`);
  }
  if (close && !served(seen.exchange)) {
    parts.push(`${seen.exchange} is asked by another process: here is what that has stored.`);
  } else if (close) {
    const now = shows(forming) ? forming : null;
    const left = (now?.kline ? Date.parse(now.closes_at) : close + step) - Date.now();
    if (left <= 0) parts.push("A newer candle has closed.");
    else if (!now) parts.push(`Forming candle: not known (hatched), closes in ${span(left)}.`);
    else if (!now.kline) parts.push("No candle is forming: the pair is not traded now.");
    else {
      const age = Date.now() - Date.parse(now.at);
      parts.push(`Forming candle (hollow): ${price(now.kline[4], shownDecimals)}${age < 15_000 ? "" : ` ${span(age)} ago`}, closes in ${span(left)}.`);
    }
  }
  box.replaceChildren(...parts.flatMap((p) => [p, " "]));
}

let loading, fetching; // abort what was asked for another pair

// load asks for the pair, and returns once its levels are here. What is shown of it
// stays until then.
async function load() {
  loading?.abort();
  loading = new AbortController();
  const { signal } = loading;
  const next = wanted();
  const { symbol, interval } = next;
  const candles = loadCandles();
  let problem = null;
  const found = await ask(`levels/${encodeURIComponent(symbol)}${query({ interval, exchange: state.exchange })}`, { signal }).catch((p) => (problem = p, null));
  await Promise.race([candles, pause(300)]); // so that both appear at once, if they can
  if (signal.aborted) return;
  if (problem?.status === 0) throw problem;
  analysis = found;
  seen = next;
  $("missing").replaceChildren();
  if (problem?.code === "not_analyzed") {
    $("missing").append(el("p", {}, `${symbol} ${interval} has not been analysed yet${state.exchange ? " on " + state.exchange : ""}.`),
      ...(elsewhere() ? [] : [el("button", { type: "button", class: "primary", onclick: analyse }, "Find its levels")]));
  } else if (problem) {
    $("missing").append(say(problem));
  }
  $("table").hidden = !analysis;
  draw();
  fresh();
  candles.then(() => {
    if (signal.aborted) return;
    if (!document.body.dataset.ready) performance.mark("shown");
    Object.assign(document.body.dataset, { ready: symbol + " " + interval, computed: analysis?.computed_at ?? "" });
    follow();
  });
}

// loadCandles asks for the candles, when they are of another series than those
// there are or another must have closed. They may take long while a sweep has the
// exchange to itself, so nothing waits for them.
async function loadCandles() {
  const { exchange } = state, next = wanted();
  const { symbol, interval } = next;
  if (klines?.klines.length && same(klines, next) && Date.now() < klines.klines.at(-1)[0] + 2 * length(interval) + 2000) return;
  if (fetching && same(fetching.series, next)) return fetching.done;
  fetching?.abort();
  const mine = fetching = Object.assign(new AbortController(), { series: next });
  const late = setTimeout(() => $("no-chart").replaceChildren(el("p", { class: "soft" }, "Waiting for the candles …")), 500);
  mine.done = ask(`klines/${encodeURIComponent(symbol)}${query({ interval, exchange, limit: drawn })}`, { signal: mine.signal }).then((k) => {
    klines = k;
    $("no-chart").replaceChildren();
  }, (problem) => {
    if (fetching === mine) $("no-chart").replaceChildren(say(problem, klines ? "" : " The chart is empty until it is asked again."));
  }).then(() => {
    clearTimeout(late);
    if (fetching !== mine) return;
    fetching = null;
    if (!same(next, seen)) return;
    draw();
    fresh();
  });
  return mine.done;
}

// follow asks for the candle that is forming. One that cannot be had is not shown.
async function follow() {
  const of = seen;
  if (!shows(klines) || !klines.klines.length || !served(of.exchange)) return;
  const found = await ask(`klines/${encodeURIComponent(of.symbol)}/forming${query({ interval: of.interval, exchange: state.exchange })}`).catch(() => null);
  if (!same(of, seen)) return;
  forming = found;
  drawCandles();
  fresh();
}

async function analyse(e) {
  e.target.disabled = true;
  $("missing").setAttribute("aria-busy", "true");
  try {
    await ask("analyze", { method: "POST", body: { symbol: state.symbol, interval: state.interval, exchange: state.exchange || undefined } });
    await load();
    $("said").textContent = `Levels of ${state.symbol} ${state.interval} are here.`;
  } catch (problem) {
    $("missing").replaceChildren(say(problem));
  } finally {
    $("missing").removeAttribute("aria-busy");
  }
}

// go shows another pair or interval.
function go(changes) {
  Object.assign(state, { level: null }, changes);
  writeAddress(true);
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
  const word = yes ? "connected" : "not connected, trying again";
  if (dot.textContent === word) return;
  dot.textContent = word;
  dot.dataset.state = yes ? "on" : "off";
}

// screen has the screener show what the state says.
function screen(anew) {
  const unchanged = market.set(state.exchange, state.interval, state.market, (filters) => {
    state.market = filters;
    writeAddress();
    screen();
  });
  if (!unchanged || anew) market.load();
}

// begin chooses what to show when the address does not say: the configured
// interval, and BTCUSDT or else the pair nearest to a level.
async function begin() {
  readAddress();
  const { exchange } = state;
  const about = Promise.all([ask("exchanges"), ask("readyz")]);
  about.catch(() => {}); // is told where it is awaited, unless the next fails first
  // another exchange may have no levels of the configured interval
  const interval = state.interval || exchange && (await about)[0].exchanges.find((e) => e.exchange === exchange)?.intervals[0]?.interval;
  let page = await ask("levels" + query({ limit: 1, exchange, interval }));
  const [known, ready] = await about;
  exchanges = known.exchanges;
  if (alone() && exchange === home()) state.exchange = "";
  if (!alone() && !exchange) {
    state.exchange = home();
    page = await ask("levels" + query({ limit: 1, exchange: home(), interval }));
  }
  drawExchanges();
  simulated = state.exchange ? !!page.levels[0]?.simulated : ready.simulated;
  state.interval ||= page.interval;
  if (!state.symbol) {
    const bitcoin = await ask("levels" + query({ limit: 1, exchange: state.exchange, interval: state.interval, symbols: "BTCUSDT" }));
    state.symbol = (bitcoin.levels[0] ?? page.levels[0])?.symbol ?? "BTCUSDT";
  }
  writeAddress();
  screen(true);
  await load();
}

// drawExchanges writes the exchange; where there are several, they can be switched.
function drawExchanges() {
  $("sweep").hidden = elsewhere();
  if (exchanges.length === 1 && !state.exchange) return $("exchange").replaceChildren(home());
  const names = exchanges.map((e) => e.exchange);
  if (state.exchange && !names.includes(state.exchange)) names.push(state.exchange);
  $("exchange").replaceChildren(el("select", {
    "aria-label": "Exchange",
    onchange: (e) => {
      const name = e.target.value;
      Object.assign(state, { exchange: alone() && name === home() ? "" : name, symbol: "", interval: "", level: null });
      writeAddress(true);
      begin().catch(lost);
    },
  }, names.map((name) => el("option", { selected: name === (state.exchange || home()) }, name))));
}

$("intervals").addEventListener("change", (e) => go({ interval: e.target.value }));
for (const [id, name] of [["per-side", "perSide"], ["min-hold", "minHold"]]) {
  $(id).addEventListener("input", (e) => {
    state[name] = Number(e.target.value);
    writeAddress();
    draw();
  });
}
new Search($("search"), $("found"), (symbol) => go({ symbol }), state, elsewhere);

const market = new Market($("market"), (symbol, level) => {
  go({ symbol, level });
  $("pair").scrollIntoView({ block: "nearest" });
});

const themes = ["auto", "dark", "light"];
function theme(next) {
  document.documentElement.dataset.theme = next;
  localStorage.setItem("tidemark-theme", next);
  $("theme").textContent = `Theme: ${next}`;
  chart.paint();
}
$("theme").addEventListener("click", () => {
  theme(themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length]);
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
    if (!yes && !begun) $("missing").replaceChildren(say(problem));
  },
  drawn(jobs) {
    drawJobs($("jobs"), jobs, exchanges.length > 1);
    $("sweep").disabled = jobs.some((j) => !ended(j) && j.kind === "sweep" && j.exchange === wanted().exchange && j.interval === state.interval);
  },
  // changed: levels of an interval are new.
  changed(job) {
    if (ended(job)) $("said").textContent = `${job.kind} of ${job.interval}: ${job.state}`;
    if (job.exchange !== wanted().exchange || job.interval !== state.interval || changing) return;
    changing = setTimeout(() => {
      changing = null;
      market.load();
      load().catch(lost);
    }, ended(job) ? 0 : 1500);
  },
  async tick() {
    if (!begun) await begin();
    else if (ticks % 6 === 0) await load();
    begun = true;
    follow();
    if (ticks++ % 6 === 0) ({ schedules } = await ask("schedules"));
    drawSchedules($("schedules"), schedules);
    drawMemory($("memory"), await ask("memory"));
  },
});
let changing = null;

$("sweep").addEventListener("click", async (e) => {
  e.target.disabled = true;
  try {
    live.follow(await ask("analyze", { method: "POST", body: { all: true, interval: state.interval, exchange: state.exchange || undefined } }));
  } catch (problem) {
    drawJobs($("jobs"), [...live.jobs.values()], exchanges.length > 1, problem);
    e.target.disabled = false;
  }
});

live.run();
