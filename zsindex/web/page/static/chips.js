// A field of chips: Enter or a comma adds one, Backspace takes the last one back, lists can be pasted and dropped. Of many
// only the first and the last are shown; all of them can be edited as text.

import { byId, h, icon, number, toast } from "./dom.js";
import { cells, isList, labelsIn, textOf, unquoted } from "./pasted.js";

const MOST = 40;
const LAST = 5;
let fields = 0;

/** Whether all quotes of what is being typed are closed: until then a comma belongs to it. */
const isClosed = (text) => !text.trimStart().startsWith('"') || text.split('"').length % 2 === 1;

export class Chips {
  /** `onchange(values, settled)`: settled is false while something is being typed, which then counts as the last value. */
  constructor({ label, placeholder, hint, onchange }) {
    const id = `chips-${(fields += 1)}`;
    Object.assign(this, { id, label, onchange, placeholder });
    this.values = [];
    this.input = h("input", { id, type: "text", autocomplete: "off", spellcheck: false, maxlength: 2000,
      enterkeyhint: "enter", autocapitalize: "none", "aria-describedby": hint ? `${id}-hint` : undefined });
    this.list = h("ul", { class: "chip-list", "aria-label": `${label} so far` });
    this.box = h("div", { class: "chips" }, this.list, this.input);
    this.file = h("input", { type: "file", hidden: true, accept: ".txt,.csv,.tsv,.json,.md,text/*,application/json",
      onchange: () => { this.#read(this.file.files[0]); this.file.value = ""; } });
    this.asText = h("button", { type: "button", class: "plain small", "aria-label": `${label} as text`, onclick: () => this.#edit() }, "As text…");
    this.element = h("div", { class: "field" },
      h("div", { class: "field-head" }, h("label", { for: id }, label), this.asText,
        h("button", { type: "button", class: "plain small", "aria-label": `${label} from a file`, onclick: () => this.file.click() }, "From a file…"), this.file),
      this.box, ...(hint ? [h("p", { id: `${id}-hint`, class: "hint" }, hint)] : []));
    this.box.addEventListener("click", (event) => { if (event.target === this.box) this.input.focus(); });
    this.input.addEventListener("keydown", (event) => this.#key(event));
    this.input.addEventListener("input", () => this.#typed());
    this.input.addEventListener("paste", (event) => this.#paste(event));
    this.input.addEventListener("blur", () => { if (this.input.value.trim()) this.#add([unquoted(this.input.value)]); });
    this.box.addEventListener("dragover", (event) => { if (event.dataTransfer.types.includes("Files")) event.preventDefault(); });
    this.box.addEventListener("drop", (event) => {
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      this.#read(event.dataTransfer.files[0]);
    });
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
    this.values = [...new Set([...this.values, ...texts.map((text) => text.trim()).filter(Boolean)])];
    this.input.value = "";
    this.#draw();
    this.onchange(this.all, true);
  }

  remove(value, focus = true) {
    this.values = this.values.filter((other) => other !== value);
    this.#draw();
    if (focus) this.input.focus();
    this.onchange(this.all, true);
  }

  #typed() {
    const { value } = this.input;
    if (value.includes(",") && isClosed(value)) this.#add(cells(value, ","));
    else this.onchange(this.all, false);
  }

  #key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      if (this.input.value.trim()) this.#add([unquoted(this.input.value)]);
    } else if (event.key === "Backspace" && !this.input.value && this.values.length) {
      event.preventDefault();
      this.remove(this.values.at(-1));
    }
  }

  #paste(event) {
    const text = event.clipboardData.getData("text/plain");
    if (!isList(text)) return;
    event.preventDefault();
    const { value, selectionStart, selectionEnd } = this.input;
    this.#take(value.slice(0, selectionStart) + text + value.slice(selectionEnd));
  }

  async #read(file) {
    try {
      this.#take(await textOf(file), file.name);
    } catch (error) {
      toast(error.message);
    }
  }

  /** Add what is in a list, and say how many that were. */
  #take(text, name = "") {
    const { values } = this;
    let found;
    try {
      found = labelsIn(text, { name, before: values });
    } catch (error) {
      toast(error.message);
      return;
    }
    const { labels, repeated } = found;
    if (!labels.length && !repeated) {
      toast("There are no labels in it.");
      return;
    }
    this.#add(labels);
    const said = `${number(labels.length)} added${repeated ? `; ${number(repeated)} ${repeated === 1 ? "was" : "were"} there already` : ""}.`;
    toast(said, { text: "Undo", run: () => { this.set(values); this.onchange(this.all, true); } });
  }

  /** All of them in a text, one per line. */
  #edit() {
    const text = h("textarea", { id: `${this.id}-text`, rows: 14, spellcheck: false, value: this.all.join("\n") });
    const form = h("form", { method: "dialog" }, h("h2", {}, this.label),
      h("label", { for: `${this.id}-text` }, "One per line"), text,
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        h("button", { type: "submit", class: "primary" }, "Use these")));
    const dialog = h("dialog", { class: "small", "aria-label": `${this.label} as text` }, form);
    dialog.addEventListener("close", () => { dialog.remove(); byId(this.id)?.focus(); });
    form.addEventListener("submit", () => {
      this.input.value = "";
      this.set(text.value.split("\n"));
      this.onchange(this.all, true);
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  #draw() {
    const { values } = this;
    this.input.placeholder = values.length ? "" : this.placeholder;
    this.list.hidden = this.asText.hidden = !values.length;
    const cut = values.length > MOST ? MOST - LAST : values.length;
    const chip = (value, n) => h("li", { class: "chip" },
      ...(n < 9 ? [h("span", { class: "key", "aria-hidden": "true" }, String(n + 1))] : []),
      h("span", { class: "chip-text" }, value),
      h("button", { type: "button", "aria-label": `Remove ${value}`, onclick: () => this.remove(value) }, icon("x")));
    this.list.replaceChildren(...values.slice(0, cut).map(chip),
      ...(cut < values.length ? [
        h("li", { class: "chip fold" }, h("button", { type: "button", onclick: () => this.#edit() }, `${number(values.length - MOST)} more…`)),
        ...values.slice(-LAST).map((value) => chip(value, MOST))] : []));
  }
}
