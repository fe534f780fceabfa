// A row of filters: which photos a question is about. Its names and values are those of the service.

import { debounced, h } from "./dom.js";

const TYPING = 400;
// Name, what stands before it, an example, and how it is typed. The others go in as JSON does, by the URL.
const FIELDS = [
  ["since", "From", "2019-06"],
  ["until", "To", "2019-08"],
  ["camera", "Camera", "iPhone"],
  ["keyword", "Keyword", "Iceland"],
  ["near", "Near: lat, lon, km", "48.1,11.6,20"],
  ["rating", "Stars", ""],
];
const STARS = [["", "Any"], ["1..", "1 or more"], ["2..", "2 or more"], ["3..", "3 or more"], ["4..", "4 or more"], ["5", "5"], ["-1", "Rejected"]];
const NOT = "-";  // behind the name of a filter that photos shall not fit, in the URL

let serial = 0;

export class Filters {
  /** `onchange(settled)`, where `settled` is false while something is being typed. */
  constructor(host, { onchange }) {
    const id = `filters-${(serial += 1)}`;
    this.asked = new Map();
    this.more = null;  // filters that came with the URL and have no field
    const told = debounced(() => onchange(false), TYPING);
    const changed = (settled) => { this.#read(); this.fail(); if (settled) { told.cancel(); onchange(true); } else told(); };
    this.inputs = new Map();
    this.nots = new Map();
    const fields = FIELDS.map(([name, text, example]) => {
      const input = name === "rating"
        ? h("select", { id: `${id}-${name}`, onchange: () => changed(true) }, ...STARS.map(([value, shown]) => h("option", { value }, shown)))
        : h("input", { id: `${id}-${name}`, type: "text", placeholder: example, autocomplete: "off", maxlength: 200, oninput: () => changed(false), onchange: () => changed(true) });
      this.inputs.set(name, input);
      const field = h("div", { class: "field" }, h("label", { for: input.id }, text), input);
      if (name === "camera" || name === "keyword" || name === "near") {
        const not = h("input", { type: "checkbox", onchange: () => changed(true) });
        this.nots.set(name, not);
        field.append(h("label", { class: "check" }, not, "not that"));
      }
      return field;
    });
    this.wrong = h("p", { class: "wrong", role: "alert" });
    this.summary = h("summary", {});
    this.clear = h("button", { type: "button", onclick: () => { this.set(new URLSearchParams()); onchange(true); } }, "Clear");
    this.element = h("details", { class: "more filters" }, this.summary, h("div", { class: "filter-row" }, ...fields, this.clear), this.wrong);
    host.append(this.element);
    this.#show();
  }

  /** Take over what stands in a URL. */
  set(query) {
    for (const [name, input] of this.inputs) {
      const negated = query.get(`${name}${NOT}`);
      input.value = negated ?? query.get(name) ?? "";
      const not = this.nots.get(name);
      if (not) not.checked = negated !== null;
    }
    this.more = query.get("where");
    this.fail();
    this.#read();
    if (this.asked.size || this.more) this.element.open = true;
  }

  /** Add to a URL what is asked. */
  write(query) {
    for (const [name, { value, not }] of this.asked) query.set(not ? `${name}${NOT}` : name, value);
    if (this.more) query.set("where", this.more);
  }

  /** For the body of a question: `where`, if there is any. */
  get body() {
    const parts = [...this.asked].map(([name, { value, not }]) => (not ? { not: { [name]: value } } : { [name]: value }));
    if (this.more) {
      try { parts.push(JSON.parse(this.more)); } catch { parts.push({ where: this.more }); }  // the service says what is wrong
    }
    return parts.length ? { where: { and: parts } } : {};
  }

  /** Say what the service did not like; whether it was about filters. */
  fail(error) {
    const mine = error?.kind === "filter" || error?.kind === "no-facts";
    const at = mine ? String(error.document.at ?? "") : "";
    for (const [name, input] of this.inputs) input.setAttribute("aria-invalid", String(mine && at.split(".").at(-1) === name));
    this.wrong.textContent = mine ? error.message : "";
    if (mine) this.element.open = true;
    return mine;
  }

  #read() {
    this.asked = new Map();
    for (const [name, input] of this.inputs) {
      const value = input.value.trim();
      if (value) this.asked.set(name, { value, not: Boolean(this.nots.get(name)?.checked) });
    }
    this.#show();
  }

  #show() {
    const n = this.asked.size + (this.more ? 1 : 0);
    this.summary.textContent = n ? `Filters (${n})` : "Filters";
    this.clear.hidden = !n;
  }
}
