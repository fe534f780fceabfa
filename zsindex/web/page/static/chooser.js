// What a photo can be said to show. Of many labels a few are offered, and the others can be looked for; keys are about
// those that are shown, in their order.

import { h, number } from "./dom.js";
import { fits } from "./groups.js";

const FEW = 24;
const KEYS = 9;
const OFFERED = 40;

export class Chooser {
  /** `onchoose(n)` is told the number of the label. */
  constructor({ onchoose }) {
    this.onchoose = onchoose;
    this.shown = [];
    this.input = h("input", { id: "chooser-find", type: "search", placeholder: "Find a label", "aria-label": "Find a label", autocomplete: "off", spellcheck: false,
      oninput: () => this.#fill(), onkeydown: (event) => this.#key(event) });
    this.box = h("div", { class: "answers", role: "group", "aria-label": "What the photo shows" });
    this.status = h("p", { class: "quiet", role: "status" });
  }

  /** Another photo: nothing is looked for. */
  clear() { this.input.value = ""; }

  /** What it is made of, for these labels; `likely` are those that fit the photo best. */
  draw({ labels, said, likely = [], disabled }) {
    Object.assign(this, { labels, said, likely, disabled });
    this.#fill();
    return labels.length > FEW ? [this.input, this.box, this.status] : [this.box];
  }

  /** The number of the label that a key is about; undefined where there is none. */
  at(key) { return this.shown.slice(0, KEYS)[key - 1]; }

  #fill() {
    const { labels, said } = this;
    const find = this.input.value.trim();
    const all = labels.map((_, n) => n);
    if (labels.length <= FEW) this.shown = all;
    else if (find) this.shown = all.filter((n) => fits(labels[n], find)).slice(0, OFFERED);
    else {
      const first = all.slice(0, KEYS);
      const others = [said, ...this.likely.slice(0, KEYS), labels.at(-1)].map((label) => labels.indexOf(label));
      this.shown = [...new Set([...first, ...others.filter((n) => n !== -1)])];
    }
    this.box.replaceChildren(...this.shown.map((n, at) => h("button", {
      type: "button", class: "answer", disabled: this.disabled, "aria-pressed": String(said === labels[n]), onclick: () => this.onchoose(n),
    }, ...(at < KEYS ? [h("span", { class: "key", "aria-hidden": "true" }, String(at + 1))] : []), labels[n])));
    this.status.textContent = this.shown.length ? `${number(this.shown.length)} of ${number(labels.length)} labels${find ? "; Enter takes the first" : ": the first, and those that fit best"}.` : "No label fits.";
  }

  #key(event) {
    if (event.key === "Enter" && this.shown.length && !this.disabled) {
      event.preventDefault();
      const [n] = this.shown;
      this.box.firstElementChild.focus();  // from where arrows and keys are about the photo again
      this.onchoose(n);
    } else if (event.key === "Escape" && this.input.value) {
      event.preventDefault();
      this.clear();
      this.#fill();
    } else if (event.key === "ArrowDown" && this.shown.length) {
      event.preventDefault();
      this.box.firstElementChild.focus();
    }
  }
}
