// The groups of the lab: a list to choose from, which can be sorted, filtered, and typed into. Long ones are virtual.

import { debounced, h, number } from "./dom.js";
import { Rows } from "./rows.js";

const FEW = 30;   // so many are simply there
const TOOLS = 12;  // from so many on they can be sorted and filtered
const HEIGHT = 36;
const TYPED_MS = 900;
const ORDERS = { typed: "As typed", count: "Most photos", name: "By name" };
const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

const folded = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** Whether a label has all words of what is looked for. */
export function fits(label, find) {
  const text = folded(label);
  return folded(find).split(/\s+/).every((word) => text.includes(word));
}

export class Groups {
  /** `onchoose(label)`; `onarrange(settled)` when they are sorted or filtered in another way. */
  constructor(host, tools, { onchoose, onarrange }) {
    Object.assign(this, { host, tools, onchoose, onarrange });
    this.listed = [];
    this.typed = "";
    this.forget = debounced(() => { this.typed = ""; }, TYPED_MS);
    this.find = h("input", { id: "groups-find", type: "search", placeholder: "Find a label", autocomplete: "off", spellcheck: false, "aria-label": "Find a label",
      oninput: () => this.onarrange(false), onchange: () => this.onarrange(true), onkeydown: (event) => this.#findKey(event) });
    this.order = h("select", { "aria-label": "Sort the groups", onchange: () => this.onarrange(true) },
      ...Object.entries(ORDERS).map(([value, text]) => h("option", { value }, text)));
    this.full = h("input", { id: "groups-full", type: "checkbox", onchange: () => this.onarrange(true) });
    this.none = h("p", { class: "quiet", role: "status" });
    tools.append(this.find, h("div", { class: "arrange" }, this.order, h("label", { class: "check", for: "groups-full" }, this.full, " Hide empty")), this.none);
    this.rows = new Rows(host, { height: HEIGHT, key: (group) => group.label, make: (group) => this.#tab(group), fill: (tab, group, n) => this.#fill(tab, group, n) });
    host.addEventListener("keydown", (event) => this.#key(event));
  }

  set(query) {
    const order = query.get("sort");
    this.order.value = order in ORDERS ? order : "typed";
    this.full.checked = query.has("nonempty");
    if (document.activeElement !== this.find) this.find.value = query.get("find") ?? "";
  }

  write(query) {
    if (this.order.value !== "typed") query.set("sort", this.order.value);
    if (this.full.checked) query.set("nonempty", "1");
    if (this.find.value.trim()) query.set("find", this.find.value.trim());
  }

  /** The groups in the order in which they are listed; what is none of the labels comes last. */
  arrange(shown) {
    const find = this.find.value.trim();
    const listed = shown.filter((group) => (!this.full.checked || group.count) && (!find || fits(group.label, find)));
    const by = { count: (a, b) => b.count - a.count, name: (a, b) => names.compare(a.label, b.label) }[this.order.value];
    if (by) listed.sort((a, b) => (a.answer === -1) - (b.answer === -1) || by(a, b));
    return listed;
  }

  draw(shown, chosen, { controls }) {
    this.listed = this.arrange(shown);
    this.chosen = chosen;
    this.controls = controls;
    this.most = shown.reduce((most, group) => Math.max(most, group.count), 1);
    this.tools.hidden = shown.length <= TOOLS && !this.find.value && !this.full.checked && this.order.value === "typed";
    const left = this.listed.length;
    const said = left === shown.length ? "" : left ? `${number(left)} of ${number(shown.length)} groups` : "No group fits.";
    if (this.none.textContent !== said) this.none.textContent = said;
    this.at = this.listed.indexOf(chosen);
    const isLong = shown.length > FEW;
    this.host.classList.toggle("many", isLong);
    this.isTall = isLong || !matchMedia("(max-width: 899px)").matches;
    this.host.setAttribute("aria-orientation", this.isTall ? "vertical" : "horizontal");
    if (isLong) this.rows.show(this.listed, Math.max(0, this.at));
    else this.#few();
  }

  #few() {
    this.rows.leave();
    const old = new Map([...this.host.children].map((tab) => [tab.dataset.label, tab]));
    const focused = this.host.contains(document.activeElement) ? document.activeElement.dataset.label : null;
    const tabs = this.listed.map((group, n) => {
      const tab = old.get(group.label) ?? this.#tab(group);
      this.#fill(tab, group, n);
      return tab;
    });
    if (tabs.length !== this.host.children.length || tabs.some((tab, n) => tab !== this.host.children[n])) {
      this.host.replaceChildren(...tabs);
      if (focused) tabs.find((tab) => tab.dataset.label === focused)?.focus({ preventScroll: true });
    }
  }

  #tab(group) {
    const count = h("span", { class: "tab-count" });
    const bar = h("span");
    const tab = h("button", { type: "button", role: "tab", class: "tab", "data-label": group.label, onclick: () => this.onchoose(group.label) },
      h("span", { class: "tab-name" }, group.label), count, h("span", { class: "tab-bar", "aria-hidden": "true" }, bar));
    return Object.assign(tab, { count, bar });
  }

  #fill(tab, group, n) {
    const isOn = group === this.chosen;
    const told = [group.count, this.most, n, isOn, this.controls, this.listed.length, this.at === -1].join();
    if (tab.told === told) return;
    tab.told = told;
    tab.id = `tab-${n}`;
    tab.title = group.label;
    tab.classList.toggle("none", group.answer === -1);
    tab.classList.toggle("nothing", !group.count);
    tab.setAttribute("aria-selected", String(isOn));
    tab.setAttribute("aria-posinset", n + 1);
    tab.setAttribute("aria-setsize", this.listed.length);
    if (isOn && this.controls) tab.setAttribute("aria-controls", this.controls);
    else tab.removeAttribute("aria-controls");
    tab.tabIndex = isOn || (this.at === -1 && n === 0) ? 0 : -1;
    tab.count.textContent = number(group.count);
    tab.bar.style.transform = `scaleX(${group.count / this.most})`;
  }

  #findKey(event) {
    if (event.key === "Enter" && this.listed.length) this.onchoose(this.listed[0].label);
    else if (event.key === "ArrowDown" && this.listed.length) this.#go(Math.max(0, this.at));
    else if (event.key === "Escape" && this.find.value) {
      this.find.value = "";
      this.onarrange(true);
    } else return;
    event.preventDefault();
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      event.preventDefault();
      this.#go(Math.max(0, Math.min(this.listed.length - 1, this.at + steps[event.key])));
    } else if (event.key.length === 1 && !"/?".includes(event.key) && (event.key !== " " || this.typed)) {
      event.preventDefault();
      this.#type(event.key);
    }
  }

  /** Go to the next label that begins with what is typed; else to one that has a word that does. */
  #type(letter) {
    this.typed += folded(letter);
    this.forget();
    const from = this.typed.length === 1 ? this.at + 1 : Math.max(0, this.at);
    const ahead = [...this.listed.slice(from), ...this.listed.slice(0, from)];
    const found = ahead.find((group) => folded(group.label).startsWith(this.typed)) ?? ahead.find((group) => folded(group.label).includes(` ${this.typed}`));
    if (found) this.#go(this.listed.indexOf(found));
  }

  #go(n) {
    const group = this.listed[n];
    if (!group) return;
    this.onchoose(group.label, { push: false });
    if (this.host.classList.contains("many")) this.rows.reveal(n);
    [...this.host.querySelectorAll(".tab")].find((tab) => tab.dataset.label === group.label)?.focus();
  }
}
