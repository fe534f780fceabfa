// Looks at one photo after another, each answered with a key or a click.
//
// A key counts only while the picture of the photo that waits is there to be seen.

import { byId, fileName, h, showState } from "./dom.js";
import { Large, reason } from "./pictures.js";

const SLOW = 600;

export class Looks {
  /**
   * `onanswer(said, look)` and `onundo()` ask the service and resolve to what it knows now; `ondraw(now)` shows that.
   * What it knows has `next`, the look that waits, and `looks` or `looked_at`, how many were answered. `onlost()` is called when
   * somebody else has answered a photo first, `onclear()` when nothing is asked any more. `keys` names answers by key, or
   * `answersOf(look)` those of one photo, each with `key`, `said` and `text`; `wrong` and `busy` are what is said meanwhile.
   */
  constructor({ keys = {}, answersOf = null, onanswer, onundo, ondraw, onlost, onclear, wrong, busy }) {
    Object.assign(this, { keys, answersOf, onanswer, onundo, ondraw, onlost, onclear, wrong, busy });
    this.large = new Large();
    this.now = null;
    this.seen = false;  // the picture of the photo that waits is shown
    this.asking = null;
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
  undo() { return this.#answered && this.tell(() => this.onundo()); }

  get #answered() { return this.now?.looks ?? this.now?.looked_at; }

  /** Ask the service something, one thing at a time, and show what it knows then. */
  tell(work) { return this.asking ? undefined : this.#tell(work); }

  /** Ask about something else, whatever is being asked. If that is refused, there is nothing to answer. */
  begin(work) { return this.#tell(work, true); }

  /** Nothing is asked: there is no photo, and nothing to answer. */
  clear() {
    this.now = null;
    this.seen = false;
    this.asking = null;
    byId("look").hidden = true;
    byId("answers").hidden = true;
    byId("frame").replaceChildren();
    showState(byId("state"));
    this.onclear();
    this.#mark();
  }

  async #tell(work, begins = false) {
    const asking = {};
    this.asking = asking;
    this.#mark();
    const slow = setTimeout(() => { if (this.asking === asking) showState(byId("state"), { title: this.busy, busy: true }); }, SLOW);
    let lost = false;
    try {
      const now = await work();
      if (this.asking !== asking) return;
      this.now = now;
      showState(byId("state"));
      this.ondraw(this.now);
      this.#show(this.now.next);
    } catch (error) {
      if (this.asking !== asking) return;
      if (begins) this.clear();
      lost = error.kind === "look";
      if (!lost) showState(byId("state"), { title: this.wrong, text: error.message, kind: "error" });
    } finally {
      clearTimeout(slow);
      if (this.asking === asking) {
        this.asking = null;
        this.#mark();
      }
    }
    if (lost) this.onlost();
  }

  async #show(look) {
    this.seen = false;
    byId("look").hidden = !look;
    byId("answers").hidden = false;
    byId("frame").replaceChildren(h("span", { class: "spinner" }));
    if (this.answersOf) {
      const answers = look ? this.answersOf(look) : [];
      this.keys = Object.fromEntries(answers.map(({ key, said }) => [key, said]));
      byId("choices").replaceChildren(...answers.map(({ key, said, text }) => h("button", { type: "button", "data-answer": said }, text, " ", h("kbd", { class: "key" }, key.toUpperCase()))));
    }
    this.#mark();
    if (!look) return;
    byId("name").textContent = fileName(look.path);
    byId("name").title = look.path;
    try {
      const image = await this.large.get(look.image_id);
      if (look !== this.now?.next) return;
      image.alt = `Photo ${look.number}`;
      byId("frame").replaceChildren(image);
    } catch (error) {
      if (look !== this.now?.next) return;
      byId("frame").replaceChildren(h("p", { class: "wrong", role: "alert" }, reason(error)));
    }
    this.seen = true;  // of a picture that cannot be shown, it can be said that one cannot tell
    this.large.keep([look.image_id]);
    this.#mark();
  }

  #mark() {
    for (const button of byId("answers").querySelectorAll("[data-answer]")) button.disabled = Boolean(this.asking) || !this.seen || !this.now?.next;
    byId("undo").disabled = Boolean(this.asking) || !this.#answered;
  }
}

/** Fill a select with the names of the saved label sets. */
export function fillSets(select, sets) { select.append(...sets.map((one) => h("option", { value: one.name }, one.name))); }

/** Whether the service changes nothing, whoever asks. */
export const onlyReads = () => "readOnly" in document.documentElement.dataset;

/** Say that this browser may not answer: `what` needs the right to write. */
export function mayNot(what) {
  byId("asked").querySelector("[type=submit]").disabled = onlyReads();
  showState(byId("state"), { title: `${what} needs the right to write`,
    text: `Every answer is kept in the library. ${onlyReads() ? "This service only reads it." : "Sign in with a token that may write."}` });
}
