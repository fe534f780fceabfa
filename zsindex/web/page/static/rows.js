// A list of rows of one height, of any length: only those in view are in the document, and one that the keys are about.

import { h } from "./dom.js";

const MORE = 4;

export class Rows {
  /** `key(item)` tells rows apart; `make(item)` makes one, `fill(row, item, n)` says what stands in it now. */
  constructor(host, { height, key, make, fill }) {
    Object.assign(this, { host, height, key, make, fill });
    this.items = [];
    this.rows = new Map();
    this.active = -1;
    this.sheet = h("div", { class: "rows", role: "presentation" });
    this.draw = this.draw.bind(this);
    // Whatever scrolls is the list, or something around it.
    document.addEventListener("scroll", (event) => { if (event.target.contains(this.host)) this.#soon(); }, { capture: true, passive: true });
    new ResizeObserver(() => this.#soon()).observe(host);
    addEventListener("resize", () => this.#soon(), { passive: true });
  }

  /** Show these; the row numbered `active` is there wherever the list is scrolled to. */
  show(items, active = -1) {
    const isNew = items.length !== this.items.length || !this.sheet.isConnected;
    Object.assign(this, { items, active });
    if (this.sheet.parentElement !== this.host) this.host.replaceChildren(this.sheet);
    if (isNew) {
      this.sheet.style.height = `${items.length * this.height}px`;
      this.#measure();
    }
    this.draw();
  }

  /** Take it out of its place, which shows something else. */
  leave() {
    this.sheet.remove();
    this.rows.clear();
    this.sheet.replaceChildren();
    this.items = [];
  }

  /** Have a row in view: of a list that scrolls by itself without scrolling the page. */
  reveal(n) {
    this.active = n;
    this.draw();
    const { host, height } = this;
    if (getComputedStyle(host).overflowY === "visible") this.rows.get(this.key(this.items[n]))?.scrollIntoView({ block: "nearest" });
    else host.scrollTop = Math.max((n + 1) * height - host.clientHeight, Math.min(n * height, host.scrollTop));
  }

  #soon() {
    if (this.frame || !this.sheet.isConnected) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.#measure(); this.draw(); });
  }

  /** Which rows are in view: asked only when something was scrolled or has another size, since it makes the browser lay out. */
  #measure() {
    const { top } = this.sheet.getBoundingClientRect();
    let [above, below] = [0, innerHeight];
    for (let box = this.host; box && box !== document.body; box = box.parentElement) {
      if (getComputedStyle(box).overflowY === "visible") continue;
      const rect = box.getBoundingClientRect();
      [above, below] = [Math.max(above, rect.top), Math.min(below, rect.bottom)];
    }
    this.first = Math.max(0, Math.floor((above - top) / this.height) - MORE);
    this.last = Math.ceil((below - top) / this.height) + MORE;
  }

  draw() {
    if (!this.sheet.isConnected) return;
    const wanted = [];
    for (let n = this.first; n <= Math.min(this.last, this.items.length - 1); n += 1) wanted.push(n);
    if (this.active >= 0 && this.active < this.items.length && !wanted.includes(this.active)) wanted.push(this.active);
    wanted.sort((a, b) => a - b);
    const kept = new Map();
    for (const n of wanted) {
      const item = this.items[n];
      const key = this.key(item);
      const row = this.rows.get(key) ?? this.make(item);
      if (row.at !== n) {
        row.at = n;
        row.style.transform = `translateY(${n * this.height}px)`;
      }
      this.fill(row, item, n);
      kept.set(key, row);
    }
    for (const [key, row] of this.rows) if (!kept.has(key)) row.remove();
    // In their order, as screen readers and the tab key go; what is in its place is not moved, or it would lose the focus.
    let place = this.sheet.firstChild;
    for (const row of kept.values()) {
      if (row === place) place = place.nextSibling;
      else this.sheet.insertBefore(row, place);
    }
    this.rows = kept;
  }
}
