// What people say about photos: kept by the library for a saved label set, and learned from where that is asked for.

import { ask, has, mayWrite } from "./api.js";

export class Corrections {
  constructor() {
    this.set = null;
    this.byDigest = new Map();
  }

  get count() { return this.byDigest.size; }

  /** Look at the corrections of a label set; null for none. */
  async of(set) {
    this.possible ??= Promise.all([mayWrite(), has("/v1/corrections")]).then((both) => both.every(Boolean), () => false);
    this.may = await this.possible;
    this.set = set?.split("@")[0] ?? null;
    this.byDigest = new Map();
    if (!this.set || !(await has("/v1/corrections", "get").catch(() => false))) return;
    const asked = this.set;
    const found = await ask(`/v1/corrections?label_set=${encodeURIComponent(asked)}`);
    if (this.set === asked) this.byDigest = new Map(found.map((one) => [one.digest, one.label]));
  }

  said(digest) { return this.byDigest.get(digest) ?? null; }

  async say(imageId, digest, label) {
    await ask("/v1/corrections", { body: { label_set: this.set, image_id: imageId, label } });
    this.byDigest.set(digest, label);
  }

  async undo() {
    await ask(`/v1/corrections/undo?label_set=${encodeURIComponent(this.set)}`, { method: "POST" });
    await this.of(this.set);
  }
}
