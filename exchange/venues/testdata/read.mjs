// Reads the markets described on standard input by ccxt, and writes what it read to
// standard output. Every request goes to the server of its market: any other host ends
// the program.
import { readFileSync } from "node:fs";
import ccxt from "ccxt";

const { now, markets } = JSON.parse(readFileSync(0, "utf8"));

// moved returns the addresses of ccxt with another scheme and host.
function moved(urls, base) {
  if (typeof urls === "string") return urls.replace(/^https?:\/\/[^/]+/, base);
  return Object.fromEntries(Object.entries(urls).map(([name, url]) => [name, moved(url, base)]));
}

function connect(market, base) {
  const exchange = new ccxt[market.class]({ enableRateLimit: false, timeout: 30_000, options: market.options });
  exchange.urls.api = moved(exchange.urls.api, base);
  exchange.milliseconds = () => now;
  exchange.has.fetchCurrencies = false; // chains and withdrawals, which no simulated exchange lists
  for (const [method, answer] of Object.entries(market.other)) exchange[method] = async () => answer;
  const send = exchange.fetch.bind(exchange);
  exchange.fetch = (url, ...rest) => {
    if (new URL(url).origin !== base) {
      console.error(`${market.name}: a request for ${url}`);
      process.exit(1);
    }
    return send(url, ...rest);
  };
  return exchange;
}

// candles reads those that opened from since to through, page by page.
async function candles(exchange, { symbol, interval, since, through, limit }) {
  const step = exchange.parseTimeframe(interval) * 1000;
  const rows = [];
  for (let next = since; next <= through; ) {
    const page = await exchange.fetchOHLCV(symbol, interval, next, limit);
    if (page.length === 0) {
      next += limit * step;
      continue;
    }
    rows.push(...page);
    next = page.at(-1)[0] + step;
  }
  return rows.filter(([open]) => open <= through);
}

// failure returns the classes of the error of a call, the most specific one first.
async function failure(call) {
  try {
    await call();
  } catch (error) {
    const classes = [];
    for (let c = error.constructor; c !== Error && c.name !== ""; c = Object.getPrototypeOf(c)) classes.push(c.name);
    return { classes, message: String(error.message).slice(0, 300) };
  }
  return { classes: [], message: "" };
}

async function read(market) {
  const exchange = connect(market, market.server);
  await exchange.loadMarkets();
  const { first } = market;
  const known = exchange.markets[first];
  if (known === undefined) throw new Error(`${market.name} has no ${first}: ${Object.keys(exchange.markets)}`);
  const tickers = market.noTickers ? {} : await exchange.fetchTickers(undefined, market.tickers);
  const result = {
    tickSize: exchange.precisionMode === ccxt.TICK_SIZE,
    timeframes: Object.keys(exchange.timeframes),
    markets: Object.values(exchange.markets).map((m) => ({
      id: m[market.id], symbol: m.symbol, base: m.base, quote: m.quote, settle: m.settle ?? "", kind: m.type,
      active: m.active ?? null, price: m.precision.price ?? null,
    })),
    tickers: Object.fromEntries(Object.values(tickers).map((t) => [t.symbol, t.quoteVolume ?? null])),
    candles: {},
    refused: {},
    errors: {},
  };
  const each = market.candles.filter((c) => c.interval in exchange.timeframes);
  await Promise.all(each.map(async (c) => {
    const key = `${c.symbol} ${c.interval}`;
    const { classes, message } = await failure(async () => {
      result.candles[key] = await candles(exchange, c);
    });
    if (classes.length > 0) result.refused[key] = `${classes[0]}: ${message}`;
  }));

  const ask = (other, symbol, params = {}) => failure(() => other.fetchOHLCV(symbol, "1h", now - 36_000_000, 10, params));
  exchange.markets["NOPE"] = { ...known, symbol: "NOPE", [market.id]: market.unknown };
  result.errors.symbol = await ask(exchange, "NOPE");
  exchange.timeframes = { ...exchange.timeframes, "1h": market.badInterval };
  result.errors.interval = await ask(exchange, first, market.badParams);
  for (const [kind, base] of Object.entries(market.failing)) {
    const other = connect(market, base);
    other.setMarkets(exchange.markets);
    result.errors[kind] = await ask(other, first);
  }
  return result;
}

const all = await Promise.all(markets.map(async (m) => {
  try {
    return [m.name, await read(m)];
  } catch (error) {
    return [m.name, { failed: String(error.stack).slice(0, 2000) }];
  }
}));
process.stdout.write(JSON.stringify(Object.fromEntries(all)));
