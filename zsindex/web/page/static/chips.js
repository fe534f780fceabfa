// A field of chips: Enter or a comma adds one, Backspace takes the last one back, many lines can be pasted.

import { h, icon } from "./dom.js";

let fields = 0;

export class Chips {
  /** `onchange(values, settled)`: settled is false while something is being typed, which then counts as the last value. */
  constructor({ label, placeholder, hint, onchange }) {
    const id = `chips-${(fields += 1)}`;
    this.onchange = onchange;
    this.values = [];
    this.input = h("input", { id, type: "text", autocomplete: "off", spellcheck: false, maxlength: 2000,
      enterkeyhint: "enter", autocapitalize: "none", "aria-describedby": hint ? `${id}-hint` : undefined });
    this.placeholder = placeholder;
    this.list = h("ul", { class: "chip-list", "aria-label": `${label} so far` });
    this.box = h("div", { class: "chips" }, this.list, this.input);
    this.element = h("div", { class: "field" }, h("label", { for: id }, label), this.box,
      ...(hint ? [h("p", { id: `${id}-hint`, class: "hint" }, hint)] : []));
    this.box.addEventListener("click", (event) => { if (event.target === this.box) this.input.focus(); });
    this.input.addEventListener("keydown", (event) => this.#key(event));
    this.input.addEventListener("input", () => this.#typed());
    this.input.addEventListener("paste", (event) => this.#paste(event));
    this.input.addEventListener("blur", () => { if (this.input.value.trim()) this.#add([this.input.value]); });
    this.#draw();
  }

  /** What is there, with what is being typed. */
  get all() {
    const typed = this.input.value.trim();
    return typed && !this.values.includes(typed) ? [...this.values, typed] : this.values;
  }

  set(values, typed = "") {
    this.values = [...new Set(values.map((value) => value.trim()).filter(Boolean))];
    if (this.input.value !== typed && document.activeElement !== this.input) this.input.value = typed;
    this.#draw();
  }

  add(text) { this.#add([text]); }

  #add(texts) {
    const before = this.values.length;
    this.values = [...new Set([...this.values, ...texts.map((text) => text.trim()).filter(Boolean)])];
    this.input.value = "";
    this.#draw();
    if (this.values.length !== before) this.onchange(this.values, true);
    else this.onchange(this.all, true);
  }

  remove(value, focus = true) {
    this.values = this.values.filter((other) => other !== value);
    this.#draw();
    if (focus) this.input.focus();
    this.onchange(this.all, true);
  }

  #typed() {
    if (this.input.value.includes(",")) this.#add(this.input.value.split(","));
    else this.onchange(this.all, false);
  }

  #key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      if (this.input.value.trim()) this.#add([this.input.value]);
    } else if (event.key === "Backspace" && !this.input.value && this.values.length) {
      event.preventDefault();
      this.remove(this.values.at(-1));
    }
  }

  #paste(event) {
    const text = event.clipboardData.getData("text/plain");
    if (!/[\n\r\t]/.test(text)) return;
    event.preventDefault();
    this.#add((this.input.value + text).split(/[\n\r\t]+/));
  }

  #draw() {
    this.input.placeholder = this.values.length ? "" : this.placeholder;
    this.list.hidden = !this.values.length;
    this.list.replaceChildren(...this.values.map((value, n) => h("li", { class: "chip" },
      ...(n < 9 ? [h("span", { class: "key", "aria-hidden": "true" }, String(n + 1))] : []),
      h("span", { class: "chip-text" }, value),
      h("button", { type: "button", "aria-label": `Remove ${value}`, onclick: () => this.remove(value) }, icon("x")))));
  }
}
