// What goes on in the service: its jobs, followed as they run.

import { ask, follow } from "./ask.js";
import * as paths from "./paths.js";
import { say } from "./words.js";

// rest returns for how long nothing is asked after so many failures in a row, in
// milliseconds: ever longer, and as long as the last of them says.
export const rest = (failures, { retry = 0 }) => 1000 * Math.max(retry, Math.min(30, 2 ** (failures - 1)));

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const ended = (job) => !["queued", "running"].includes(job.state);

export class Live {
  jobs = new Map(); // by id
  #following = new Set();
  #wake = () => {};

  // tick is awaited every few seconds while somebody looks, and must ask the
  // service something; connected is told whether that worked; changed is called
  // when a job has stored something or ended.
  constructor({ tick, connected, drawn, changed }) {
    Object.assign(this, { tick, connected, drawn, changed });
  }

  async run() {
    document.addEventListener("visibilitychange", () => this.wake());
    for (let first = true, failures = 0; ; first = false) {
      let wait = 5000;
      if (!document.hidden) {
        try {
          await this.look(first);
          await this.tick();
          this.connected(true);
          failures = 0;
        } catch (problem) {
          this.connected(false, problem);
          wait = rest(++failures, problem);
        }
      }
      await Promise.race([pause(wait), new Promise((resolve) => (this.#wake = resolve))]);
    }
  }

  // wake has the service asked at once.
  wake() {
    this.#wake();
  }

  async look(first) {
    const { jobs } = await ask(paths.jobs);
    const before = this.jobs;
    this.jobs = new Map(jobs.map((j) => [j.id, j]));
    this.drawn(jobs);
    for (const j of jobs) {
      if (!ended(j)) this.follow(j);
      else if (!first && !ended(before.get(j.id) ?? { state: "queued" })) this.changed(j);
    }
  }

  // follow keeps up with a job until it has ended: by its events, and where they
  // do not come through by asking.
  async follow(job) {
    if (this.#following.has(job.id) || this.#following.size > 3) return;
    this.#following.add(job.id);
    try {
      for await (const j of events(job.id)) this.take(j);
    } catch (problem) {
      for (let j = job, failures = 1; !ended(j); ) {
        await pause(failures ? Math.max(1500, rest(failures, problem)) : 1500);
        try {
          j = await ask("jobs/" + job.id);
          failures = 0;
        } catch (p) {
          problem = p;
          failures++;
          if (p.status === 404) j = { ...job, state: "failed" };
        }
        this.take(j);
      }
    } finally {
      this.#following.delete(job.id);
    }
  }

  take(j) {
    const before = this.jobs.get(j.id);
    this.jobs = new Map([[j.id, j], ...[...this.jobs].filter(([id]) => id !== j.id)]);
    this.drawn([...this.jobs.values()].toSorted((a, b) => b.created_at.localeCompare(a.created_at)));
    if (ended(j) || j.batches_done !== before?.batches_done) this.changed(j);
  }
}

// events yields a job each time it changes, until it has ended.
async function* events(id) {
  let job;
  for await (const { data } of follow(`jobs/${id}/events`)) if (data) yield (job = JSON.parse(data));
  if (!job || !ended(job)) throw new Error(say("jobs.cut"));
}
