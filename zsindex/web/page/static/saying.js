// What somebody says that photos show: of the one in view, of those that are selected, by keys, and taken back.

import { NONE } from "./answer.js";
import { ask } from "./api.js";
import { fileName, photos, toast } from "./dom.js";
import { goesOn } from "./photo.js";

export class Saying {
  /**
   * `corrections` are what was said before. Of the lab: `answer()` and `set()` are what is asked about now, `learns()` whether
   * answers follow what is said; `regroup()` asks anew, `ondraw()` shows what is said by now, and `goTo(shown)` goes to a photo
   * as it was shown.
   */
  constructor(corrections, lab) { Object.assign(this, { corrections, lab }); }

  /** What a photo can be said to show: the answers, in the order of the keys 1 to 9. */
  get labels() {
    const answer = this.lab.answer();
    return answer.labels.filter((_, n) => n !== answer.none).concat(NONE);
  }

  /** What forbids it; null if nothing does. */
  get whyNot() {
    const { may } = this.corrections;
    if (may && this.lab.set()) return null;
    return may ? "Save this label set first: corrections are kept with it." : "This service does not accept corrections from you.";
  }

  /** What was said of a photo of a list, for its corner. */
  markOf(item) {
    const label = this.corrections.saidAt(item.path);
    return label === null ? null : `✓ ${label}`;
  }

  /** Say what a photo shows: the label of a number. */
  async say(photo, n, shown) {
    const label = this.labels[n];
    const before = this.lab.answer();
    let step;
    try {
      step = await this.corrections.say(photo, label, shown);
    } catch (error) {
      toast(`${fileName(photo.paths[0] ?? "")}: ${error.message}`, { text: "Go to it", run: () => this.lab.goTo(shown) });
      return;
    }
    this.lab.ondraw();
    await this.#tell(before, step, `Kept: ${fileName(photo.paths[0] ?? "")} shows ${label}.`);
  }

  /** The same of many photos at once. */
  async sayAll(ids, n) {
    const label = this.labels[n];
    const before = this.lab.answer();
    const step = await this.corrections.sayAll(ids, label);
    this.lab.ondraw();
    await this.#tell(before, step, `Kept: ${photos(ids.length)} show${ids.length === 1 ? "s" : ""} ${label}.`);
  }

  /** The same of a photo of a grid, by a key. */
  async sayAt(grid, item, key) {
    const why = this.whyNot;
    if (why) {
      toast(why);
      return;
    }
    if (key > this.labels.length) return;
    if (goesOn()) grid.focus(grid.active + 1);
    try {
      await this.say(await ask(`/v1/images/${item.image_id}`), key - 1, { item });
    } catch (error) {
      toast(error.message);
    }
  }

  /** Take back a step, or what was said here last, and go back to the photo that it was said of. */
  async undo(only) {
    let step;
    try {
      step = await this.corrections.undo(only);
    } catch (error) {
      toast(error.message);
      return;
    }
    if (step.set !== this.corrections.set) return;
    if (this.lab.learns()) await this.lab.regroup();
    this.lab.ondraw();
    if (step.shown) await this.lab.goTo(step.shown);  // many have no place of their own
  }

  async #tell(before, step, kept) {
    const undo = (only) => this.undo(only);
    if (!this.lab.learns()) {
      this.corrections.tell(kept, step, undo);
      return;
    }
    await this.lab.regroup();
    let changed = "";
    try {
      const found = await ask(`/v1/groups/${before.key}/flips/${this.lab.answer().key}`);
      changed = ` ${photos(found.total - found.same)} changed ${found.total - found.same === 1 ? "its" : "their"} label.`;
    } catch { /* that it is kept is told all the same */ }
    this.corrections.tell(`${kept}${changed}`, step, undo);
  }
}
