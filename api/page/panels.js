// The panels about the service itself: its sweeps and its memory.

import { ask, problemLine } from "./ask.js";
import { el, fixed, mebibytes, span, svg, utc } from "./format.js";
import { ended } from "./live.js";
import { clock } from "./venues.js";
import { say } from "./words.js";

const failed = new Map(); // by the id of a job, what opens to its failed pairs

// why returns why a pair failed. Most often it is young, which is written in the reader's language.
function why({ code, detail }) {
  const [n, least] = detail.match(/\d+/g) ?? [];
  return code === "too_few_candles" && least ? say("jobs.young", { text: detail, n, least }) : detail;
}

// failedPairs returns what opens to the names of the pairs that failed in a job that has ended.
function failedPairs(j) {
  if (failed.has(j.id)) return failed.get(j.id);
  const summary = el("summary", { "data-job": "failed " + j.id }, say("jobs.failed_pairs", { n: j.symbols_failed }));
  const box = el("details", { ontoggle: async () => {
    if (!box.open || box.lastChild !== summary) return;
    const list = await ask("jobs/" + j.id).then(({ failures }) => el("ul", {}, failures.map((f) => el("li", {}, el("b", {}, f.symbol), " ", el("span", { class: "soft" }, why(f))))), problemLine);
    box.replaceChildren(summary, list);
  } }, summary);
  failed.set(j.id, box);
  return box;
}

// drawJobs writes what runs, and below it what was; of which exchange, where there
// are several.
export function drawJobs(box, jobs, several, problem) {
  const focused = document.activeElement?.dataset.job;
  const line = (j) => {
    const what = say("job." + j.kind, { of: (several && j.exchange ? j.exchange + " " : "") + j.interval });
    const handled = j.symbols_done + j.symbols_failed;
    const total = j.symbols_total - j.symbols_skipped;
    const took = j.started_at ? span((j.finished_at ? Date.parse(j.finished_at) : Date.now()) - Date.parse(j.started_at)) : "";
    let numbers = say("jobs.pairs", { done: handled, all: total });
    if (ended(j)) {
      return el("li", {}, el("span", {}, el("b", {}, what), " ", el("span", { class: "state " + j.state }, say("job_state." + j.state))),
        el("span", { class: "soft" }, `${took ? say("jobs.in", { pairs: numbers, span: took }) : numbers} · ${utc(j.finished_at ?? j.created_at)}`),
        j.symbols_failed ? failedPairs(j) : null, j.error ? el("span", { class: "stale" }, j.error.detail) : null);
    }
    if (j.symbols_failed) numbers += say("jobs.failed", { count: j.symbols_failed });
    return el("li", { class: "runs" },
      el("span", {}, el("b", {}, what), " ", el("span", { class: "state " + j.state }, say("job_state." + j.state))),
      el("button", { type: "button", "data-job": j.id, "aria-label": say("jobs.cancel_of", { job: what }), onclick: (e) => cancel(e.target, j.id) }, say("cancel")),
      el("progress", { max: Math.max(1, total), value: handled, "aria-label": what }),
      el("span", { class: "soft" }, total ? `${numbers} · ${say("jobs.batch", { done: j.batches_done, all: j.batches_total })} · ${took}` : say("jobs.listing")));
  };
  const running = jobs.filter((j) => !ended(j));
  box.replaceChildren(...running.map(line), ...jobs.filter(ended).slice(0, Math.max(1, 4 - running.length)).map(line),
    ...(jobs.length ? [] : [el("li", { class: "soft" }, say("jobs.none"))]));
  if (problem) box.append(problemLine(problem));
  for (const id of failed.keys()) if (!jobs.some((j) => j.id === id)) failed.delete(id);
  if (focused) box.querySelector(`[data-job="${focused}"]`)?.focus();
}

async function cancel(button, id) {
  button.disabled = true;
  await ask("jobs/" + id, { method: "DELETE" }).catch((problem) => button.after(problemLine(problem)));
}

// drawSchedules says when sweeps begin by themselves; of which exchange, where there are
// several.
export function drawSchedules(box, schedules, several) {
  box.replaceChildren(...(schedules.length ? schedules.map((s) => {
    const now = clock(s.exchange), due = Date.parse(s.next_run) - now;
    return el("p", {}, say("schedules.line", { of: (several ? s.exchange + " " : "") + s.interval, schedule: s.schedule, next: due > 0 ? say("schedules.next", { span: span(due) }) : say("schedules.due"), last: s.last_run ? say("schedules.last", { span: span(now - Date.parse(s.last_run)) }) : say("schedules.not_begun") }));
  }) : [el("p", {}, say("schedules.none"))]));
}

const samples = []; // of the resident set, one each time the memory is asked for
const kept = 120;

// drawMemory writes the numbers of memory, which are not one: first those of this process,
// then that of its cgroup, which may have other processes.
export function drawMemory(box, m) {
  samples.push(m.rss_bytes ?? m.heap_bytes);
  if (samples.length > kept) samples.shift();
  const bound = m.limit_bytes ?? m.budget_bytes;
  const row = (name, value, note) => [el("dt", {}, name), el("dd", {}, el("b", {}, value === null ? say("memory.unknown") : mebibytes(value)), " ", el("span", { class: "soft" }, note))];
  const top = Math.max(...samples, m.peak_rss_bytes ?? 0) * 1.05;
  const points = samples.map((s, i) => `${(300 - (samples.length - 1 - i) * 300 / (kept - 1)).toFixed(1)},${(44 - 42 * s / top).toFixed(1)}`);
  if (points.length === 1) points.unshift(`297,${points[0].split(",")[1]}`);
  const peak = m.peak_rss_bytes ? 44 - 42 * m.peak_rss_bytes / top : null;
  const b = m.last_batch;
  box.replaceChildren(
    el("dl", {},
      row(say("memory.resident"), m.rss_bytes, m.files_bytes ? say("memory.file", { size: mebibytes(m.files_bytes) }) : say("memory.own")),
      row(say("memory.heap"), m.heap_bytes, say("memory.goroutines", { count: m.goroutines })),
      row(say("memory.peak"), m.peak_rss_bytes, say("memory.since_start")),
      m.working_set_bytes === null ? null : row(say("memory.cgroup"), m.working_set_bytes, say("memory.container")),
      el("dt", {}, say("memory.limit")), el("dd", {}, el("b", {}, bound ? mebibytes(bound) : say("none")), " ",
        bound ? el("meter", { min: 0, max: bound, low: 0.8 * bound, high: 0.9 * bound, optimum: 0, value: (m.limit_bytes && m.working_set_bytes) || m.rss_bytes, "aria-label": say("memory.used") }) : el("span", { class: "soft" }, say("memory.no_limit")))),
    svg("svg", { class: "spark", viewBox: "0 0 300 46", preserveAspectRatio: "none", role: "img", "aria-label": say("memory.graph", { span: span(samples.length * 5000), from: mebibytes(Math.min(...samples)), to: mebibytes(Math.max(...samples)) }) },
      ...(peak === null ? [] : [svg("line", { class: "peak", x1: 0, x2: 300, y1: peak, y2: peak })]),
      svg("polyline", { points: points.join(" ") })),
    el("p", { class: "soft" }, b ? say("memory.batch", { count: b.symbols, failed: b.symbols_failed ? say("jobs.failed", { count: b.symbols_failed }) : "", seconds: fixed(b.seconds, 2), size: mebibytes(b.peak_rss_bytes), span: span(Date.now() - Date.parse(b.ended_at)) }) : say("memory.no_batch")));
}
