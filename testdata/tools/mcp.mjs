// Calls every tool of the service at the URL given, by the official client of the Model
// Context Protocol, which checks what comes back against what the tool declares.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const client = new Client({ name: "test", version: "1" });
client.onerror = (error) => {
  throw error;
};
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));

const left = new Set((await client.listTools()).tools.map((tool) => tool.name));
async function call(name, args) {
  if (!left.delete(name)) throw new Error(`${name} is not listed`);
  const result = await client.callTool({ name, arguments: args });
  if (result.isError) throw new Error(`${name}: ${result.content[0].text}`);
  return result.structuredContent;
}

const analysis = await call("get_levels", { symbol: "BTCUSDT", interval: "1h" });
const [level] = [...analysis.supports, ...analysis.resistances];
const explained = await call("explain_level", { symbol: "BTCUSDT", id: level.id });
if (explained.level.price !== level.price) throw new Error("another level is explained");
const fresh = await call("analyze_symbol", { symbol: "ETHUSDT", kline_limit: 500 });
if (fresh.symbol !== "ETHUSDT" || fresh.klines > 500) throw new Error("another analysis was made");
const page = await call("market_screen", { limit: 3, min_strength: 0.1, sort: "-strength" });
if (page.levels.length !== 3) throw new Error(`a page of 3 has ${page.levels.length} rows`);
const pairs = await call("list_symbols", { quote: "USDT", selected: true });
if (pairs.symbols.length === 0) throw new Error("there are no pairs");
const happened = await call("list_events", { since: "1h", kind: "held,broke" });
if (happened.missed !== false || happened.events.some((e) => e.kind !== "held" && e.kind !== "broke")) throw new Error("other events came");
if (left.size > 0) throw new Error(`not called: ${[...left]}`);

const refused = await client.callTool({ name: "get_levels", arguments: { symbol: "NOPE" } });
if (!refused.isError || !refused.content[0].text.startsWith("not_analyzed: ")) throw new Error(JSON.stringify(refused));
await client.close();
