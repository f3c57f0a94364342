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

// The candle lengths of the service, and how many candles are drawn.
const intervals = ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w"];
const drawn = 500;

const state = { symbol: "", interval: "", level: null, perSide: 6, minHold: 0, market: filters };
let analysis = null, klines = null, shownDecimals = 2;

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
  $("pair").textContent = state.symbol;
  document.title = `${analysis?.simulated || klines?.simulated ? "SIMULATED · " : ""}${state.symbol} ${state.interval} · tidemark`;
  $("per-side").value = state.perSide;
  $("per-side-value").textContent = state.perSide;
  $("min-hold").value = state.minHold;
  $("min-hold-value").textContent = state.minHold ? state.minHold + " %" : "any";
  for (const input of $("intervals").querySelectorAll("input")) input.checked = input.value === state.interval;
  if (klines) chart.show(klines, shownDecimals);
  if (!analysis) {
    chart.showLevels([], null);
    $("price").textContent = klines?.klines.length ? price(klines.klines.at(-1)[4], shownDecimals) : "–";
    $("atr").textContent = "";
    return;
  }
  const levels = named(analysis, state);
  const all = [...levels.resistances, ...levels.supports];
  const selected = all.some((l) => l.id === state.level) ? state.level : null;
  $("price").textContent = price(analysis.last_price, shownDecimals);
  $("atr").textContent = `ATR ${analysis.atr.toPrecision(4).replace(/e.*/, (e) => "·10" + e.slice(1))}`;
  table.show(analysis, levels, selected, shownDecimals);
  chart.showLevels(all, selected);
  const total = analysis.supports.length + analysis.resistances.length;
  $("shown").textContent = `${all.length} of ${total} levels shown${analysis.odds_reason ? ". No odds: " + analysis.odds_reason : ""}`;
}

// fresh says in words how old what is shown is, and what is missing in it.
function fresh() {
  const box = $("fresh");
  if (!klines && !analysis) return;
  const parts = [];
  const step = length(state.interval);
  const close = klines?.klines.length ? klines.klines.at(-1)[0] + step : null;
  if (analysis?.stale) parts.push(el("b", { class: "stale" }, "STALE: " + analysis.stale_reason));
  if (analysis) parts.push(`Levels as of ${utc(analysis.as_of)} UTC, found ${span(Date.now() - Date.parse(analysis.computed_at))} ago from ${analysis.klines.toLocaleString("en")} candles.`);
  if (analysis) {
    parts.push(analysis.missing_klines ? el("b", { class: "stale" }, `${analysis.missing_klines} candles are missing.`) : "None is missing.");
  }
  if (close) {
    const left = close + step - Date.now();
    parts.push(left > 0 ? `The forming candle is not drawn (hatched); it closes in ${span(left)}.` : "A newer candle has closed.");
  }
  box.replaceChildren(...parts.flatMap((p) => [p, " "]));
}

let loading; // aborts what was asked for another pair

// load asks for the pair. What is shown stays until the answer is here. The
// candles are asked for only when there are others, or should be.
async function load() {
  loading?.abort();
  loading = new AbortController();
  const { signal } = loading;
  const { symbol, interval } = state;
  const path = encodeURIComponent(symbol);
  const known = klines?.symbol === symbol && klines.interval === interval && klines.klines.length
    && Date.now() < klines.klines.at(-1)[0] + 2 * length(interval) + 2000;
  const [a, k] = await Promise.allSettled([
    ask(`levels/${path}${query({ interval })}`, { signal }),
    known ? klines : ask(`klines/${path}${query({ interval, limit: drawn })}`, { signal }),
  ]);
  if (signal.aborted) return;
  if (a.reason?.status === 0) throw a.reason;
  analysis = a.value ?? null;
  klines = k.value ?? null;
  const prices = [...(klines?.klines ?? []).slice(-100).flatMap((row) => row.slice(1, 5)),
    ...(analysis ? [analysis.last_price, ...[...analysis.supports, ...analysis.resistances].flatMap((l) => [l.price, l.low, l.high])] : [])];
  shownDecimals = decimals(prices);
  $("missing").replaceChildren();
  if (a.reason?.code === "not_analyzed") {
    $("missing").append(el("p", {}, `${symbol} ${interval} has not been analysed yet.`),
      el("button", { type: "button", class: "primary", onclick: analyse }, "Find its levels"));
  } else if (a.reason) {
    $("missing").append(say(a.reason));
  }
  $("no-chart").replaceChildren();
  if (k.reason) $("no-chart").append(say(k.reason, " The chart is empty until then."));
  $("table").hidden = !analysis;
  if (!klines) chart.show({ symbol, interval, klines: [], simulated: false }, 2);
  draw();
  fresh();
  Object.assign(document.body.dataset, { ready: symbol + " " + interval, computed: analysis?.computed_at ?? "" });
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
  draw();
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
    $("sweep").textContent = `Sweep the market (${state.interval})`;
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
