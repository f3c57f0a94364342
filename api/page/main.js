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

// The candle lengths of the service, and how many candles are drawn.
const intervals = ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w"];
const drawn = 500;

const state = { symbol: "", interval: "", level: null, perSide: 6, minHold: 0, market: filters };
// What is shown, which is not yet what the state says while that is asked for.
let seen = { symbol: "", interval: "" }, analysis = null, klines = null, forming = null, shownDecimals = 2;

// shows tells whether candles, or the one that is forming, are of the pair shown.
const shows = (of) => of?.symbol === seen.symbol && of.interval === seen.interval;

function readAddress() {
  const q = new URLSearchParams(location.search);
  const number = (name, least, most, otherwise) => {
    const n = Number(q.get(name) ?? NaN);
    return n >= least && n <= most ? n : otherwise;
  };
  state.symbol = (q.get("symbol") ?? "").toUpperCase();
  state.interval = intervals.includes(q.get("interval")) ? q.get("interval") : "";
  state.level = q.get("level");
  state.perSide = number("per_side", 1, 20, 6);
  state.minHold = number("min_hold", 0, 100, 0);
  state.market = Object.fromEntries(Object.keys(filters).map((name) => [name, q.get(name) ?? ""]));
}

function writeAddress(push) {
  const address = query({
    symbol: state.symbol, interval: state.interval, level: state.level,
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
  document.title = `${analysis?.simulated || klines?.simulated ? "SIMULATED · " : ""}${seen.symbol} ${seen.interval} · tidemark`;
  $("per-side").value = state.perSide;
  $("per-side-value").textContent = state.perSide;
  $("min-hold").value = state.minHold;
  $("min-hold-value").textContent = state.minHold ? state.minHold + " %" : "any";
  for (const input of $("intervals").querySelectorAll("input")) input.checked = input.value === state.interval;
  $("sweep").textContent = `Sweep the market (${state.interval})`;
  const same = shows(klines);
  const levels = analysis && [...analysis.supports, ...analysis.resistances];
  shownDecimals = decimals([...(same ? klines.klines.slice(-100).flatMap((row) => row.slice(1, 5)) : []),
    ...(analysis ? [analysis.last_price, ...levels.flatMap((l) => [l.price, l.low, l.high])] : [])]);
  drawCandles();
  if (!analysis) {
    chart.showLevels([], null);
    $("price").textContent = same && klines.klines.length ? price(klines.klines.at(-1)[4], shownDecimals) : "–";
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
  if (close) {
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
  const { symbol, interval } = state;
  const candles = loadCandles();
  let problem = null;
  const found = await ask(`levels/${encodeURIComponent(symbol)}${query({ interval })}`, { signal }).catch((p) => (problem = p, null));
  await Promise.race([candles, pause(300)]); // so that both appear at once, if they can
  if (signal.aborted) return;
  if (problem?.status === 0) throw problem;
  analysis = found;
  seen = { symbol, interval };
  $("missing").replaceChildren();
  if (problem?.code === "not_analyzed") {
    $("missing").append(el("p", {}, `${symbol} ${interval} has not been analysed yet.`),
      el("button", { type: "button", class: "primary", onclick: analyse }, "Find its levels"));
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
  const { symbol, interval } = state;
  const series = symbol + " " + interval;
  if (klines?.klines.length && klines.symbol + " " + klines.interval === series && Date.now() < klines.klines.at(-1)[0] + 2 * length(interval) + 2000) return;
  if (fetching?.series === series) return fetching.done;
  fetching?.abort();
  const mine = fetching = Object.assign(new AbortController(), { series });
  const late = setTimeout(() => $("no-chart").replaceChildren(el("p", { class: "soft" }, "Waiting for the candles …")), 500);
  mine.done = ask(`klines/${encodeURIComponent(symbol)}${query({ interval, limit: drawn })}`, { signal: mine.signal }).then((k) => {
    klines = k;
    $("no-chart").replaceChildren();
  }, (problem) => {
    if (fetching === mine) $("no-chart").replaceChildren(say(problem, klines ? "" : " The chart is empty until it is asked again."));
  }).then(() => {
    clearTimeout(late);
    if (fetching !== mine) return;
    fetching = null;
    if (series !== seen.symbol + " " + seen.interval) return;
    draw();
    fresh();
  });
  return mine.done;
}

// follow asks for the candle that is forming. One that cannot be had is not shown.
async function follow() {
  const { symbol, interval } = seen;
  if (!shows(klines) || !klines.klines.length) return;
  const found = await ask(`klines/${encodeURIComponent(symbol)}/forming${query({ interval })}`).catch(() => null);
  if (symbol !== seen.symbol || interval !== seen.interval) return;
  forming = found;
  drawCandles();
  fresh();
}

async function analyse(e) {
  e.target.disabled = true;
  $("missing").setAttribute("aria-busy", "true");
  try {
    await ask("analyze", { method: "POST", body: { symbol: state.symbol, interval: state.interval } });
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
  const same = market.set(state.interval, state.market, (wanted) => {
    state.market = wanted;
    writeAddress();
    screen();
  });
  if (!same || anew) market.load();
}

// begin chooses what to show when the address does not say: the configured
// interval, and BTCUSDT or else the pair nearest to a level.
async function begin() {
  readAddress();
  const page = await ask("levels" + query({ limit: 1, interval: state.interval }));
  $("simulated").hidden = !(await ask("readyz")).simulated;
  $("exchange").textContent = page.exchange;
  state.interval ||= page.interval;
  if (!state.symbol) {
    const known = await ask("levels" + query({ limit: 1, interval: state.interval, symbols: "BTCUSDT" }));
    state.symbol = (known.levels[0] ?? page.levels[0])?.symbol ?? "BTCUSDT";
  }
  writeAddress();
  screen(true);
  await load();
}

for (const i of intervals) {
  $("intervals").append(el("label", {}, el("input", { type: "radio", name: "interval", value: i, onchange: () => go({ interval: i }) }), el("span", {}, i)));
}
for (const [id, name] of [["per-side", "perSide"], ["min-hold", "minHold"]]) {
  $(id).addEventListener("input", (e) => {
    state[name] = Number(e.target.value);
    writeAddress();
    draw();
  });
}
new Search($("search"), $("found"), (symbol) => go({ symbol }));

const market = new Market($("market"), (symbol, level) => {
  go({ symbol, level });
  $("pair").scrollIntoView({ block: "nearest" });
});

const themes = { auto: "as the system", dark: "dark", light: "light" };
function theme(next) {
  document.documentElement.dataset.theme = next;
  localStorage.setItem("tidemark-theme", next);
  $("theme").textContent = `Theme: ${themes[next]}`;
  chart.paint();
}
$("theme").addEventListener("click", () => {
  const all = Object.keys(themes);
  theme(all[(all.indexOf(document.documentElement.dataset.theme) + 1) % all.length]);
});
theme(document.documentElement.dataset.theme in themes ? document.documentElement.dataset.theme : "auto");
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
    drawJobs($("jobs"), jobs);
    $("sweep").disabled = jobs.some((j) => !ended(j) && j.kind === "sweep" && j.interval === state.interval);
  },
  // changed: levels of an interval are new.
  changed(job) {
    if (ended(job)) $("said").textContent = `${job.kind} of ${job.interval}: ${job.state}`;
    if (job.interval !== state.interval || changing) return;
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
    live.follow(await ask("analyze", { method: "POST", body: { all: true, interval: state.interval } }));
  } catch (problem) {
    drawJobs($("jobs"), [...live.jobs.values()], problem);
    e.target.disabled = false;
  }
});

live.run();
