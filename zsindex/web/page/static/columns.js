// Groups side by side: a column for each, with its photos.

import { h, number } from "./dom.js";
import { Grid } from "./grid.js";

const WIDTH = 258;
const BETWEEN = 14;
const STEP = WIDTH + BETWEEN;

export class Columns {
  /** `options` are those of each column's grid, but `onopen(label, i, source)`. */
  constructor(host, { onopen, ...options }) {
    Object.assign(this, { host, onopen, options, listed: [], sourceOf: null });
    this.shown = new Map();
    let scrolling = 0;
    host.addEventListener("scroll", (event) => {
      if (event.target !== host || scrolling) return;
      scrolling = requestAnimationFrame(() => { scrolling = 0; this.#moved(); });
    }, { passive: true });
    new ResizeObserver(() => this.#moved()).observe(host);
  }

  /** Show groups; `sourceOf(group)` is the list of one's photos. */
  draw(listed, sourceOf) {
    Object.assign(this, { listed, sourceOf });
    this.#draw(true);
  }

  /** The grid of a group, if it is in the document. */
  grid(label) { return this.shown.get(label)?.grid; }

  /** What is marked has changed. */
  marked() { for (const { grid } of this.shown.values()) grid.marked(); }

  /** Bring a group to the middle. */
  moveTo(label) {
    this.host.scrollLeft = this.listed.findIndex((group) => group.label === label) * STEP - (this.host.clientWidth - WIDTH) / 2;
  }

  #moved() { if (this.sourceOf && !this.host.hidden) this.#draw(false); }

  /** Of many columns those in view are in the document, and one that has the focus. */
  #draw(all) {
    const { host, listed, shown } = this;
    host.style.gridTemplateColumns = `repeat(${listed.length}, ${WIDTH}px)`;
    const first = Math.max(0, Math.floor(host.scrollLeft / STEP) - 1);
    const last = Math.min(listed.length - 1, Math.ceil((host.scrollLeft + host.clientWidth) / STEP));
    const wanted = new Map();
    listed.forEach((group, n) => {
      if ((n >= first && n <= last) || shown.get(group.label)?.element.contains(document.activeElement)) wanted.set(group.label, [group, n]);
    });
    for (const [label, column] of shown) {
      if (!wanted.has(label)) { column.grid.end(); column.element.remove(); shown.delete(label); }
    }
    let place = host.firstChild;
    for (const [label, [group, n]] of wanted) {
      const isNew = !shown.has(label);
      if (isNew) shown.set(label, this.#column(label));
      const { element, count, grid } = shown.get(label);
      element.style.gridColumn = String(n + 1);
      count.textContent = number(group.count);
      if (element === place) place = place.nextSibling;
      else host.insertBefore(element, place);
      if (isNew || all) grid.show(this.sourceOf(group), { label: `Photos of ${label}`, top: false });
    }
  }

  #column(label) {
    const count = h("span", { class: "quiet" });
    const body = h("div", { class: "column-grid" });
    const element = h("section", { class: "column", "data-label": label, "aria-label": label },
      h("h3", {}, h("span", { class: "tab-name" }, label), count), h("div", { class: "column-scroll", "data-scroll": "" }, body));
    const grid = new Grid(body, { ...this.options, label: `Photos of ${label}`, cell: 118, onopen: (i, source) => this.onopen(label, i, source) });
    return { element, count, grid };
  }
}
