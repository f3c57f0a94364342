// Follows the events of a tidemark service: GET /events as server-sent events, in Node 18 and
// later and in browsers. It has no dependencies. events.d.ts has its types.

const silence = 45_000; // ms; the service sends something every 15 s
const longestWait = 5 * 60_000; // ms that a Retry-After may ask for

/** An answer of the service that is a refusal. */
export class ServiceError extends Error {
  constructor(status, problem, retryAfter) {
    super(`${status} ${problem?.code ?? ""}: ${problem?.detail ?? "no details"}`);
    Object.assign(this, { name: "ServiceError", status, problem, retryAfter });
  }
}

/**
 * followEvents yields the events that the options select, first the stored ones after `since`,
 * then those to come, in their order, each once. A stream that breaks, or is refused for now
 * (429, 5xx), is opened again after the last event. It ends by `signal`, by leaving the loop,
 * or with an error that does not pass.
 */
export async function* followEvents(options = {}) {
  const { baseUrl = "http://127.0.0.1:8080", apiKey, signal, fetch: ask = fetch, onMissed, onReconnect } = options;
  const url = new URL("events", baseUrl.endsWith("/") ? baseUrl : baseUrl + "/");
  const list = (name, values) => values?.length && url.searchParams.set(name, values.join(","));
  url.searchParams.set("since", String(options.since ?? "latest"));
  list("symbols", options.symbols);
  list("interval", options.intervals);
  list("kind", options.kinds);
  list("level", options.levels);
  for (const [name, value] of [["exchange", options.exchange], ["role", options.role], ["min_edge", options.minEdge]])
    if (value !== undefined) url.searchParams.set(name, String(value));

  let last = ""; // id of the stream: everything up to it has been yielded
  let failures = 0;
  while (!signal?.aborted) {
    const stop = new AbortController();
    const abort = () => stop.abort(signal.reason);
    signal?.addEventListener("abort", abort);
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(new Error("the event stream is silent")), silence);
    };
    let failure;
    try {
      alive();
      const headers = { Accept: "text/event-stream", ...(apiKey && { "X-API-Key": apiKey }), ...(last && { "Last-Event-ID": last }) };
      const answer = await ask(url, { headers, signal: stop.signal, cache: "no-store" });
      if (!answer.ok) {
        const problem = await answer.json().catch(() => undefined);
        throw new ServiceError(answer.status, problem, 1000 * Number(answer.headers.get("Retry-After") ?? 0) || 0);
      }
      for await (const block of blocks(answer.body, alive)) {
        failures = 0;
        if (block.event === "missed") onMissed?.();
        else if (block.data !== "") {
          const event = JSON.parse(block.data);
          if (block.id !== undefined) last = block.id; // before the consumer may leave
          yield event;
        }
        if (block.id !== undefined) last = block.id;
      }
      failure = new Error("the event stream ended");
    } catch (error) {
      failure = error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      stop.abort();
    }
    if (signal?.aborted) return;
    let wait = Math.min(200 * ++failures, 5000);
    if (failure instanceof ServiceError) {
      if ((failure.status < 500 && failure.status !== 429) || failure.retryAfter > longestWait) throw failure;
      wait = Math.max(wait, failure.retryAfter);
    }
    onReconnect?.(failure);
    await pause(wait, signal);
  }
}

function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(end, ms);
    function end() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      done();
    }
    signal?.addEventListener("abort", end);
  });
}

// blocks yields the blocks of a stream of server-sent events (WHATWG HTML, section 9.2). One
// that breaks off is not yielded.
async function* blocks(body, alive) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let block = { event: "", data: "", id: undefined };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          yield block;
          block = { event: "", data: "", id: undefined };
          continue;
        }
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
        if (name === "id") block.id = text;
        else if (name === "event") block.event = text;
        else if (name === "data") block.data += text;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
