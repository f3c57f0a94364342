// Requests to the service, with the key it asks for.

import { el } from "./format.js";
import { say } from "./words.js";

const kept = "tidemark-key";
const { early } = globalThis;

// Problem is an answer that is not the one hoped for. Status is 0 when none came; retry
// is for how many seconds the service is not to be asked again; choices are the pairs that
// an ambiguous name may mean; errors say what is wrong with which value of a body.
export class Problem extends Error {
  constructor(status, code, detail, retry = 0, choices = [], errors = []) {
    super(detail);
    Object.assign(this, { status, code, retry, choices, errors });
  }
}

let asking; // the question for a key that is open, so that there is but one

function askForKey(wrong) {
  return (asking ??= new Promise((resolve) => {
    early.clear(); // they were refused, too
    const dialog = document.getElementById("key");
    const input = dialog.querySelector("input");
    dialog.querySelector("[role=alert]").textContent = wrong ? say("key.unknown") : "";
    input.value = "";
    dialog.querySelector("form").onsubmit = (e) => {
      e.preventDefault();
      sessionStorage.setItem(kept, input.value.trim());
      dialog.close();
      asking = undefined;
      resolve();
    };
    dialog.oncancel = (e) => e.preventDefault(); // there is nothing to see without it
    dialog.showModal();
  }));
}

export const hasKey = () => sessionStorage.getItem(kept) !== null;

// sentEarly returns the reply to a request that first.js has sent, once.
function sentEarly(path) {
  const reply = early.get(path);
  early.delete(path);
  return reply;
}

// send asks the service and returns its answer, whatever it is but 401.
export async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  for (;;) {
    const key = sessionStorage.getItem(kept);
    if (key) headers = { ...headers, "X-API-Key": key };
    if (body) headers = { ...headers, "Content-Type": "application/json" };
    let response;
    try {
      // no-cache: what is kept is asked for again, and mostly answered with 304
      response = await sentEarly(path) ?? await fetch(path, { method, headers, signal, cache: "no-cache", body: body && JSON.stringify(body) });
    } catch (e) {
      if (signal?.aborted) throw e;
      throw new Problem(0, "unreachable", say("no_answer"));
    }
    if (response.status !== 401) return response;
    await response.body?.cancel();
    if (key === sessionStorage.getItem(kept)) await askForKey(key !== null);
  }
}

// retryAfter reads a header of seconds or of a date. An hour is long enough for a page.
function retryAfter(header) {
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Math.min(3600, Math.max(0, seconds || 0));
}

export async function problemOf(response) {
  const p = await response.json().catch(() => ({}));
  return new Problem(response.status, p.code ?? "unknown", p.detail ?? say("answers", { status: String(response.status) }), retryAfter(response.headers.get("Retry-After") ?? ""), p.choices, p.errors);
}

// ask returns the JSON of an answer, null if it is empty, or throws a Problem.
export async function ask(path, options) {
  const response = await send(path, options);
  if (!response.ok) throw await problemOf(response);
  return response.status === 204 ? null : response.json();
}

// follow yields the server-sent events of an answer as they come: id and data, each of
// which may be empty, and the name. EventSource would not send the key.
export async function* follow(path, { headers, signal } = {}) {
  const response = await send(path, { headers: { ...headers, Accept: "text/event-stream" }, signal });
  if (!response.ok) throw await problemOf(response);
  let text = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (text + piece).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const of = (field) => block.split("\n").filter((line) => line.startsWith(field + ":")).map((line) => line.slice(field.length + 1).trimStart()).join("\n");
      yield { id: of("id"), name: of("event"), data: of("data") };
    }
  }
}

// problemLine shows a problem where its answer would be.
export const problemLine = (problem, ...more) => el("p", { class: "problem" }, sentence(problem.message), ...more);

export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?。！？]$/.test(text) ? "" : /\p{Script=Han}/u.test(text) ? "。" : ".");
