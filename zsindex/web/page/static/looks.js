// Looks at one photo after another, each answered with a key or a click.
//
// A key counts only while the picture of the photo that waits is there to be seen.

import { byId, fileName, h, showState } from "./dom.js";
import { Large, reason } from "./pictures.js";

const SLOW = 600;

export class Looks {
  /**
   * `onanswer(said, look)` and `onundo()` ask the service and resolve to what it knows now; `ondraw(now)` shows that.
   * What it knows has `next`, the look that waits, and `looks`, how many were answered. `onlost()` is called when
   * somebody else has answered a photo first. `keys` names answers by key; `wrong` and `busy` are what is said meanwhile.
   */
  constructor({ keys, onanswer, onundo, ondraw, onlost, wrong, busy }) {
    Object.assign(this, { keys, onanswer, onundo, ondraw, onlost, wrong, busy });
    this.large = new Large();
    this.now = null;
    this.seen = false;  // the picture of the photo that waits is shown
    this.asking = false;
    byId("answers").addEventListener("click", (event) => {
      const said = event.target.closest("[data-answer]")?.dataset.answer;
      if (said) this.answer(said);
    });
    byId("undo").addEventListener("click", () => this.undo());
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.closest("input, select, textarea, dialog")) return;
      const key = event.key.toLowerCase();
      if (this.keys[key]) this.answer(this.keys[key]);
      else if (key === "u") this.undo();
      else return;
      event.preventDefault();
    });
  }

  answer(said) { return this.seen && this.now?.next && this.tell(() => this.onanswer(said, this.now.next)); }
  undo() { return this.now?.looks && this.tell(() => this.onundo()); }

  /** Ask the service something, one thing at a time, and show what it knows then. */
  async tell(work) {
    if (this.asking) return;
    this.asking = true;
    this.#mark();
    const slow = setTimeout(() => showState(byId("state"), { title: this.busy, busy: true }), SLOW);
    let lost = false;
    try {
      this.now = await work();
      showState(byId("state"));
      this.ondraw(this.now);
      this.#show(this.now.next);
    } catch (error) {
      lost = error.kind === "look";
      if (!lost) showState(byId("state"), { title: this.wrong, text: error.message, kind: "error" });
    } finally {
      clearTimeout(slow);
      this.asking = false;
      this.#mark();
    }
    if (lost) this.onlost();
  }

  async #show(look) {
    this.seen = false;
    byId("look").hidden = !look;
    byId("answers").hidden = false;
    byId("frame").replaceChildren(h("span", { class: "spinner" }));
    this.#mark();
    if (!look) return;
    byId("name").textContent = fileName(look.path);
    byId("name").title = look.path;
    try {
      const image = await this.large.get(look.image_id);
      if (look !== this.now.next) return;
      image.alt = `Photo ${look.number}`;
      byId("frame").replaceChildren(image);
    } catch (error) {
      if (look !== this.now.next) return;
      byId("frame").replaceChildren(h("p", { class: "wrong", role: "alert" }, reason(error)));
    }
    this.seen = true;  // of a picture that cannot be shown, it can be said that one cannot tell
    this.large.keep([look.image_id]);
    this.#mark();
  }

  #mark() {
    for (const button of byId("answers").querySelectorAll("[data-answer]")) button.disabled = this.asking || !this.seen || !this.now?.next;
    byId("undo").disabled = this.asking || !this.now?.looks;
  }
}

/** Fill a select with the names of the saved label sets. */
export function fillSets(select, sets, chosen) {
  select.append(...sets.map((one) => h("option", { value: one.name }, one.name)));
  select.value = chosen ?? "";
}
