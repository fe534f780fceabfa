// What people say about photos: kept by the library for a saved label set, and learned from where that is asked for.

import { ask, mayWrite } from "./api.js";
import { toast } from "./dom.js";

export class Corrections {
  constructor() {
    this.set = null;
    this.byDigest = new Map();
    this.byPath = new Map();  // photos of a list are known by one of their paths
    this.last = Promise.resolve();
    this.steps = [];  // what was said on this page, the last one at the end
    this.told = null;
  }

  get count() { return this.byDigest.size; }

  /** Look at the corrections of a label set; null for none. */
  async of(set) {
    this.may = await mayWrite().catch(() => false);
    this.set = set?.split("@")[0] ?? null;
    this.byDigest = new Map();
    this.byPath = new Map();
    if (!this.set) return;
    const asked = this.set;
    const found = await ask(`/v1/corrections?label_set=${encodeURIComponent(asked)}`);
    if (this.set !== asked) return;
    this.byDigest = new Map(found.map((one) => [one.digest, one.label]));
    this.byPath = new Map(found.flatMap((one) => one.paths.map((path) => [path, one.label])));
  }

  /** How many photos are said to show something. */
  get shown() { return [...this.byDigest.values()].filter(Boolean).length; }

  said(digest) { return this.byDigest.get(digest) ?? null; }

  saidAt(path) { return this.byPath.get(path) ?? null; }

  /** Of a photo as the service describes it. Resolves to the step that it was; `shown` is kept with that. */
  say(photo, label, shown = null) {
    const { set } = this;
    return this.#inTurn(async () => {
      const kept = this.#made(set, await ask("/v1/corrections", { body: { label_set: set, image_id: photo.image_id, label } }), shown);
      if (this.set !== set) return kept;
      this.byDigest.set(photo.digest, label);
      for (const path of photo.paths) this.byPath.set(path, label);
      return kept;
    });
  }

  /** Many photos show the same: one step, which is undone as one. */
  sayAll(imageIds, label) {
    const { set } = this;
    return this.#inTurn(async () => {
      const body = { label_set: set, corrections: imageIds.map((id) => ({ image_id: id, label })) };
      const kept = this.#made(set, await ask("/v1/corrections/bulk", { body }));
      if (this.set === set) await this.of(set);
      return kept;
    });
  }

  #made(set, { step }, shown = null) {
    this.steps.push({ set, step, shown });
    return this.steps.at(-1);
  }

  /** Tell what was kept in a step. Only the last message offers to take back what it tells of: `undo(step)`. */
  tell(text, step, undo) {
    if (step !== this.steps.at(-1)) return;
    this.told?.remove();
    this.told = toast(text, { text: "Undo", run: () => undo(step) });
  }

  /** Take back a step; by default the last one of the set that was made on this page. Resolves to the step. */
  undo(only) {
    const set = only?.set ?? this.set;
    return this.#inTurn(async () => {
      const step = this.steps.filter((one) => one.set === set).at(-1);
      if (!step) throw new Error("There is nothing to take back.");
      if (only && step !== only) throw new Error("Something else was said since.");
      await ask(`/v1/corrections/undo?label_set=${encodeURIComponent(set)}&step=${step.step}`, { method: "POST" }).catch((error) => {
        throw error.status === 409 ? new Error("Somebody else has corrected since; look at Sets.") : error;
      });
      this.steps.splice(this.steps.indexOf(step), 1);
      this.told?.remove();
      toast("Taken back.");
      if (this.set === set) await this.of(set);
      return step;
    });
  }

  /** One after another, in the order given: of two about one photo, the later one counts. */
  #inTurn(work) {
    const mine = this.last.then(work);
    this.last = mine.catch(() => {});
    return mine;
  }
}
