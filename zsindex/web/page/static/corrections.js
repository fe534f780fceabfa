// What people say about photos: kept by the library for a saved label set, and learned from where that is asked for.

import { ask, has, mayWrite } from "./api.js";

export class Corrections {
  constructor() {
    this.set = null;
    this.byDigest = new Map();
    this.byPath = new Map();  // photos of a list are known by one of their paths
    this.last = Promise.resolve();
  }

  get count() { return this.byDigest.size; }

  /** Look at the corrections of a label set; null for none. */
  async of(set) {
    this.possible ??= Promise.all([mayWrite(), has("/v1/corrections")]).then((both) => both.every(Boolean), () => false);
    this.may = await this.possible;
    this.set = set?.split("@")[0] ?? null;
    this.byDigest = new Map();
    this.byPath = new Map();
    if (!this.set || !(await has("/v1/corrections", "get").catch(() => false))) return;
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

  /** Of a photo as the service describes it. */
  say(photo, label) {
    const { set } = this;
    return this.#inTurn(async () => {
      await ask("/v1/corrections", { body: { label_set: set, image_id: photo.image_id, label } });
      if (this.set !== set) return;
      this.byDigest.set(photo.digest, label);
      for (const path of photo.paths) this.byPath.set(path, label);
    });
  }

  /** Many photos show the same: one step, which is undone as one. */
  sayAll(imageIds, label) {
    const { set } = this;
    return this.#inTurn(async () => {
      await ask("/v1/corrections/bulk", { body: { label_set: set, corrections: imageIds.map((id) => ({ image_id: id, label })) } });
      if (this.set === set) await this.of(set);
    });
  }

  undo() {
    const { set } = this;
    return this.#inTurn(async () => {
      await ask(`/v1/corrections/undo?label_set=${encodeURIComponent(set)}`, { method: "POST" });
      if (this.set === set) await this.of(set);
    });
  }

  /** One after another, in the order given: of two about one photo, the later one counts. */
  #inTurn(work) {
    const mine = this.last.then(work);
    this.last = mine.catch(() => {});
    return mine;
  }
}
