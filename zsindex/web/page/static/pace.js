// How far work has come, and how long it still takes.

import { number } from "./dom.js";

const STAGES = { scan: "Looking for photos", sidecars: "Reading sidecars", facts: "Reading dates and places", encode: "Encoding photos" };
// What is said of the time left looks back so far, and is worth saying after so long.
const WINDOW_MS = 60_000;
const LEAST_MS = 3_000;

/** The pace of a job, from its progress as it is told. */
export class Pace {
  constructor() { this.steps = []; }

  /** `{ text, done, total }` of a job at work; `total` is null while nobody knows it. */
  of(job, now = performance.now()) {
    const { progress } = job;
    if (job.state !== "running" || !progress) return { text: job.state === "running" ? "Starting" : "Waiting", done: 0, total: null };
    const { stage, done, total } = progress;
    if (this.stage !== stage || this.job !== job.id) Object.assign(this, { stage, job: job.id, steps: [] });
    if (this.steps.at(-1)?.done !== done) this.steps.push({ at: now, done });
    while (this.steps.length > 2 && now - this.steps[0].at > WINDOW_MS) this.steps.shift();
    const left = total ? this.#left(total, now) : "";
    return { text: `${STAGES[stage] ?? stage}: ${number(done)}${total ? ` of ${number(total)}` : ""}${left && `, ${left}`}`, done, total };
  }

  #left(total, now) {
    const [first] = this.steps;
    const last = this.steps.at(-1);
    if (last.done <= first.done || now - first.at < LEAST_MS || last.done >= total) return "";
    const seconds = ((total - last.done) * (last.at - first.at)) / (last.done - first.done) / 1000 - (now - last.at) / 1000;
    if (seconds < 10) return "a few seconds left";
    if (seconds < 90) return `about ${10 * Math.round(seconds / 10)} seconds left`;
    if (seconds < 5400) return `about ${Math.round(seconds / 60)} minutes left`;
    return `about ${Math.round(seconds / 3600)} hours left`;
  }
}
