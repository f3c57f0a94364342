// The panels about the service itself: its sweeps and its memory.

import { ask, say } from "./ask.js";
import { count, el, mebibytes, span, svg, utc } from "./format.js";
import { ended } from "./live.js";
import { clock } from "./venues.js";

const states = { queued: "waiting", running: "running", completed: "completed", failed: "failed", cancelled: "cancelled" };

// drawJobs writes what runs, and below it what was; of which exchange, where there
// are several.
export function drawJobs(box, jobs, several, problem) {
  const focused = document.activeElement?.dataset.job;
  const line = (j) => {
    const what = `${j.kind === "sweep" ? "Sweep" : "Analysis"} of ${several && j.exchange ? j.exchange + " " : ""}${j.interval}`;
    const handled = j.symbols_done + j.symbols_failed;
    const total = j.symbols_total - j.symbols_skipped;
    const took = j.started_at ? span((j.finished_at ? Date.parse(j.finished_at) : Date.now()) - Date.parse(j.started_at)) : "";
    const numbers = `${count(handled)} of ${count(total)} pairs${j.symbols_failed ? `, ${j.symbols_failed} failed` : ""}`;
    if (ended(j)) {
      return el("li", {}, el("span", {}, el("b", {}, what), " ", el("span", { class: "state " + j.state }, states[j.state])),
        el("span", { class: "soft" }, `${numbers}${took ? " in " + took : ""} · ${utc(j.finished_at ?? j.created_at)}`),
        j.error ? el("span", { class: "stale" }, j.error.detail) : null);
    }
    return el("li", { class: "runs" },
      el("span", {}, el("b", {}, what), " ", el("span", { class: "state " + j.state }, states[j.state])),
      el("button", { type: "button", "data-job": j.id, "aria-label": `Cancel: ${what}`, onclick: (e) => cancel(e.target, j.id) }, "Cancel"),
      el("progress", { max: Math.max(1, total), value: handled, "aria-label": what }),
      el("span", { class: "soft" }, total ? `${numbers} · batch ${j.batches_done} of ${j.batches_total} · ${took}` : "listing the pairs"));
  };
  const running = jobs.filter((j) => !ended(j));
  box.replaceChildren(...running.map(line), ...jobs.filter(ended).slice(0, Math.max(1, 4 - running.length)).map(line),
    ...(jobs.length ? [] : [el("li", { class: "soft" }, "No sweep yet.")]));
  if (problem) box.append(say(problem));
  if (focused) box.querySelector(`[data-job="${focused}"]`)?.focus();
}

async function cancel(button, id) {
  button.disabled = true;
  await ask("jobs/" + id, { method: "DELETE" }).catch((problem) => button.after(say(problem)));
}

// drawSchedules says when sweeps begin by themselves; of which exchange, where there are
// several.
export function drawSchedules(box, schedules, several) {
  box.replaceChildren(...(schedules.length ? schedules.map((s) => {
    const now = clock(s.exchange), due = Date.parse(s.next_run) - now;
    return el("p", {}, `${several ? s.exchange + " " : ""}${s.interval} is swept by itself (${s.schedule}): ${due > 0 ? "next in " + span(due) : "due now"}, ${s.last_run ? `last ${span(now - Date.parse(s.last_run))} ago` : "not yet begun"}.`);
  }) : [el("p", {}, "No sweep begins by itself (ANALYSIS_SCHEDULE).")]));
}

const samples = []; // of the resident set, one each time the memory is asked for
const kept = 120;

// drawMemory writes the three numbers of memory, which are not one.
export function drawMemory(box, m) {
  samples.push(m.rss_bytes ?? m.heap_bytes);
  if (samples.length > kept) samples.shift();
  const bound = m.limit_bytes ?? m.budget_bytes;
  const row = (name, value, note) => [el("dt", {}, name), el("dd", {}, el("b", {}, value === null ? "not told" : mebibytes(value)), " ", el("span", { class: "soft" }, note))];
  const top = Math.max(...samples, m.peak_rss_bytes ?? 0) * 1.05;
  const points = samples.map((s, i) => `${(300 - (samples.length - 1 - i) * 300 / (kept - 1)).toFixed(1)},${(44 - 42 * s / top).toFixed(1)}`);
  if (points.length === 1) points.unshift(`297,${points[0].split(",")[1]}`);
  const peak = m.peak_rss_bytes ? 44 - 42 * m.peak_rss_bytes / top : null;
  const b = m.last_batch;
  box.replaceChildren(
    el("dl", {},
      row("Working set", m.working_set_bytes, "the container's, as docker stats counts"),
      row("Resident", m.rss_bytes, m.files_bytes ? `of it ${mebibytes(m.files_bytes)} the program's file` : ""),
      row("Heap", m.heap_bytes, `${m.goroutines} goroutines`),
      row("Peak", m.peak_rss_bytes, "resident, since the start"),
      el("dt", {}, "Limit"), el("dd", {}, el("b", {}, bound ? mebibytes(bound) : "none"), " ",
        bound ? el("meter", { min: 0, max: bound, low: 0.8 * bound, high: 0.9 * bound, optimum: 0, value: (m.limit_bytes && m.working_set_bytes) || m.rss_bytes, "aria-label": "Memory used of the limit" }) : el("span", { class: "soft" }, "no MEMORY_BUDGET, no cgroup limit"))),
    svg("svg", { class: "spark", viewBox: "0 0 300 46", preserveAspectRatio: "none", role: "img", "aria-label": `Resident memory of the last ${span(samples.length * 5000)}: ${mebibytes(Math.min(...samples))} to ${mebibytes(Math.max(...samples))}` },
      ...(peak === null ? [] : [svg("line", { class: "peak", x1: 0, x2: 300, y1: peak, y2: peak })]),
      svg("polyline", { points: points.join(" ") })),
    el("p", { class: "soft" }, b ? `Last batch: ${b.symbols} pairs${b.symbols_failed ? `, ${b.symbols_failed} failed` : ""} in ${b.seconds.toFixed(2)} s, at most ${mebibytes(b.peak_rss_bytes)} resident, ${span(Date.now() - Date.parse(b.ended_at))} ago.` : "This process has stored no batch yet."));
}
