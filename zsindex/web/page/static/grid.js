// A grid of photos of any length: only the rows in view are in the document.

import { fileName, h, percent } from "./dom.js";
import { isStale, picture, reason } from "./pictures.js";

const GAP = 6;
const HEAD = 44;  // of what stands above a section
const MORE_ROWS = 3;
const NARROW = 560;
let grids = 0;

/**
 * What it shows is a source: `length`, `item(i)` or undefined if it has not arrived yet, and `load(first, last, signal)`;
 * and, where it is divided, `sections` with `title`, `start` and `photos` each, one after the other.
 * Arrows, Home, End, PageUp and PageDown move about. Enter and clicks go to `onopen(i, source)`, digits to
 * `ondigit(item, digit)`: of a photo whose picture is there, since who presses one has seen it. `onscroll(i)` is told the
 * first photo in view. `badge(item)` and `mark(item)` are short texts in corners of a photo, or nothing. With `select`, a
 * `SelectionBar`, photos can be selected; sources then may have `ids(first, last, signal)`, the ids of all of these in
 * parts, and a `list`, which those share in which numbers mean the same photos.
 */
export class Grid {
  constructor(host, { label, cell = 168, onopen, ondigit, onerror, onscroll, select, badge = (item) => percent(item.score), mark = () => null }) {
    Object.assign(this, { host, label, cell, onopen, ondigit, onerror, onscroll, badge, mark });
    this.id = (grids += 1);
    this.source = { length: 0, item: () => undefined, load: async () => {} };
    this.rows = new Map();
    this.active = 0;
    this.sheet = h("div", { class: "sheet", role: "grid", "aria-label": label });
    this.sheet.addEventListener("keydown", (event) => this.#key(event));
    this.sheet.addEventListener("click", (event) => {
      const cell = event.target.closest(".cell");
      if (!cell) return;
      const i = Number(cell.dataset.i);
      const selected = this.selection?.click(event, i);
      this.active = i;
      if (selected) this.draw();
      else this.onopen?.(i, this.source);
    });
    host.append(this.sheet);
    this.draw = this.draw.bind(this);
    this.ending = new AbortController();
    // Scrolling may be that of the page or of any box around: both are seen here.
    const listening = { capture: true, passive: true, signal: this.ending.signal };
    document.addEventListener("scroll", () => this.#soon(), listening);
    this.observer = new ResizeObserver(() => {
      if (!host.checkVisibility()) this.selection?.clear();  // what is done would be done to photos that nobody sees
      this.#soon();
    });
    this.observer.observe(host);
    addEventListener("resize", () => this.#soon(), listening);
    this.selection = select?.of(this);
  }

  /** Let go of the document; the grid is not used any more. */
  end() {
    this.ending.abort();
    this.observer.disconnect();
    this.loading?.abort();
    this.sheet.remove();
  }

  /** Show a source from its top; or, as far as it is loaded, at the number `at`; or with `top` false, where it is now. */
  show(source, { label = this.label, top = true, at = null } = {}) {
    const hadFocus = this.sheet.contains(document.activeElement);
    this.source = source;
    this.label = label;
    this.loading?.abort();
    this.loading = undefined;
    this.selection?.listIs(source);
    if (at !== null) this.active = at;
    else if (top) {
      this.active = 0;
      const box = this.#scroller();
      if (box !== document.scrollingElement) box.scrollTop = 0;
      else if (this.host.getBoundingClientRect().top < 0) this.host.scrollIntoView();
    }
    this.active = Math.min(this.active, Math.max(0, source.length - 1));
    this.sheet.setAttribute("aria-label", label);
    if (at === null) this.draw();
    else if (hadFocus) this.focus(at);
    else {
      this.#reveal();
      this.draw();
    }
  }

  /** The photo that the keys are about; null where it is not there yet. */
  get current() { return this.source.item(this.active) ?? null; }

  /** The source has grown. */
  grown() {
    this.draw();
  }

  /** Marks may be others now. */
  marked() {
    for (const cell of this.sheet.querySelectorAll(".cell")) if (cell.item && cell.marked !== this.mark(cell.item)) this.#photo(cell, cell.item);
  }

  focus(i = this.active) {
    if (!this.source.length) return;
    this.active = Math.max(0, Math.min(i, this.source.length - 1));
    this.#reveal();
    this.draw();
    this.sheet.querySelector(`[data-i="${this.active}"]`)?.focus({ preventScroll: true });
  }

  /** Have a photo's section, or the photo, at the top. */
  toTop(i) {
    if (!this.#measure()) return;
    this.active = i;
    const row = this.laid.rowOf(i);
    const top = this.sheet.getBoundingClientRect().top + this.laid.top(row) - (this.laid.title(row) === null ? 0 : HEAD);
    this.#scroller().scrollTop += top - this.#edge();
    this.draw();
  }

  /** Stretches of photos that a box touches, in pixels of the sheet. */
  within(left, top, right, bottom) {
    const found = [];
    const firstColumn = Math.max(0, Math.floor((left - this.size) / this.step) + 1);
    const lastColumn = Math.min(this.columns - 1, Math.ceil(right / this.step) - 1);
    for (let row = this.laid.rowAt(Math.max(0, top)); row < this.nRows && this.laid.top(row) < bottom; row += 1) {
      if (this.laid.top(row) + this.size <= top) continue;
      const first = this.laid.start(row) + firstColumn;
      const last = Math.min(this.laid.start(row) + lastColumn, this.laid.end(row) - 1);
      if (first <= last) found.push([first, last]);
    }
    return found;
  }

  /** What scrolls it: a box around, or the page. */
  get scroller() { return this.#scroller(); }
  /** The first photo that can be seen, and how far below the edge it is. */
  get place() {
    if (!this.#measure()) return null;
    const from = this.#edge() - this.sheet.getBoundingClientRect().top;
    const row = Math.min(this.nRows - 1, Math.max(0, this.laid.rowAt(from)));
    return row < 0 ? null : { i: this.laid.start(row), shift: this.laid.top(row) - from };
  }

  /** Have a photo as far below the edge as `place` said. */
  hold({ i, shift }) {
    if (!this.#measure() || !this.nRows) return;
    const row = this.laid.rowOf(Math.min(i, this.source.length - 1));
    this.#scroller().scrollTop += this.laid.top(row) - shift - (this.#edge() - this.sheet.getBoundingClientRect().top);
    this.draw();
  }

  #edge() {
    const box = this.#scroller();
    return (box === document.scrollingElement ? 0 : box.getBoundingClientRect().top) + this.#covered();
  }

  /** How much of the top is covered by what sticks to it. */
  get covered() { return this.#covered(); }

  #covered() {
    const tools = this.host.closest(".stage")?.querySelector(".tools")?.offsetHeight ?? 0;
    return tools + (this.#scroller() === document.scrollingElement ? document.querySelector(".bar")?.offsetHeight ?? 0 : 0);
  }

  #soon() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  #scroller() {
    const box = this.host.closest("[data-scroll]");
    return box && getComputedStyle(box).overflowY !== "visible" ? box : document.scrollingElement;
  }

  #measure() {
    const width = this.host.clientWidth;
    if (!width) return false;
    const target = width < NARROW ? Math.min(this.cell, 112) : this.cell;
    const columns = Math.max(2, Math.floor((width + GAP) / (target + GAP)));
    const size = Math.floor((width - GAP * (columns - 1)) / columns);
    if (columns !== this.columns || size !== this.size) {
      this.rows.clear();
      this.sheet.replaceChildren();
      Object.assign(this, { columns, size });
    }
    this.step = this.size + GAP;
    if (this.laid?.source !== this.source || this.laid.length !== this.source.length || this.laid.columns !== columns || this.laid.size !== size) {
      if (this.laid?.tops || this.source.sections) { this.rows.clear(); this.sheet.replaceChildren(); }
      this.laid = new Layout(this.source, columns, size);
    }
    this.nRows = this.laid.rows;
    this.sheet.style.height = `${Math.max(0, this.laid.height - GAP)}px`;
    this.sheet.setAttribute("aria-rowcount", this.nRows);
    this.sheet.setAttribute("aria-colcount", this.columns);
    const pixels = this.size * Math.min(2, devicePixelRatio);
    this.thumb = pixels <= 150 ? 128 : pixels <= 300 ? 256 : 512;
    return true;
  }

  draw() {
    if (this.host.hidden || !this.host.isConnected || !this.#measure()) return;
    const sheet = this.sheet.getBoundingClientRect();
    const box = this.#scroller();
    const view = box === document.scrollingElement ? { top: 0, bottom: innerHeight } : box.getBoundingClientRect();
    const top = Math.max(0, view.top) - sheet.top;
    const bottom = Math.min(innerHeight, view.bottom) - sheet.top;
    const inView = [this.laid.rowAt(top), this.laid.rowAt(bottom)];
    const first = Math.max(0, inView[0] - MORE_ROWS);
    const last = Math.min(this.nRows - 1, inView[1] + 1 + MORE_ROWS);
    const wanted = new Set();
    for (let row = first; row <= last; row += 1) wanted.add(row);
    // The row that has the focus stays, or the focus would be lost.
    if (this.nRows) wanted.add(this.laid.rowOf(this.active));
    for (const [row, element] of this.rows) {
      if (!wanted.has(row)) { element.remove(); this.rows.delete(row); }
    }
    for (const row of [...wanted].sort((a, b) => a - b)) {
      let element = this.rows.get(row);
      if (!element) {
        element = this.#row(row);
        this.rows.set(row, element);
        const after = [...this.rows.keys()].filter((other) => other > row).sort((a, b) => a - b)[0];
        this.sheet.insertBefore(element, after === undefined ? null : this.rows.get(after));
      }
      this.#fill(row, element, row >= inView[0] && row <= inView[1]);
    }
    if (last < first) return;
    this.source.near?.((last + 1) * this.columns)?.catch((error) => this.onerror?.(error));
    this.#load(this.laid.start(first), this.laid.end(last) - 1);
    this.onscroll?.(this.laid.start(Math.max(0, Math.min(this.nRows - 1, this.laid.rowAt(top + this.#covered() + HEAD + 2)))));
  }

  #row(row) {
    const element = h("div", { class: "row", role: "row", "aria-rowindex": row + 1 });
    const title = this.laid.title(row);
    element.style.transform = `translateY(${this.laid.top(row)}px)`;
    element.style.gridTemplateColumns = `repeat(${this.columns}, ${this.size}px)`;
    element.style.height = `${this.size}px`;
    if (title !== null) element.append(h("div", { class: "row-title", role: "rowheader" }, title));
    return element;
  }

  #fill(row, element, isInView) {
    const start = this.laid.start(row);
    const end = this.laid.end(row);
    const before = this.laid.title(row) === null ? 0 : 1;
    while (element.children.length > before + Math.max(0, end - start)) element.lastChild.remove();
    for (let i = start; i < end; i += 1) {
      let cell = element.children[before + i - start];
      if (!cell) {
        cell = h("div", { class: "cell wait", role: "gridcell", tabindex: -1, "data-i": i, "aria-colindex": i - start + 1,
          "aria-label": "Loading" });
        element.append(cell);
      }
      cell.tabIndex = i === this.active ? 0 : -1;
      const item = this.source.item(i);
      if (cell.item !== item) {
        if (item) this.#photo(cell, item, isInView);
        else this.#waiting(cell);
      }
      this.selection?.mark(cell, i);
    }
  }

  #waiting(cell) {
    cell.item = cell.picture = undefined;
    cell.className = "cell wait";
    cell.setAttribute("aria-label", "Loading");
    cell.removeAttribute("title");
    cell.replaceChildren();
  }

  #photo(cell, item, isInView = false) {
    const old = cell.picture;
    // Where only its score is another the picture need not blink.
    const same = old && old.item.image_id === item.image_id && old.size === this.thumb && !isStale(old);
    cell.item = item;
    cell.title = fileName(item.path);
    const badge = this.badge(item);
    const mark = (cell.marked = this.mark(item));
    const told = (box) => {
      if (cell.item !== item) return;
      cell.className = `cell ${box.state === "wait" ? "" : box.state}`;
      const why = box.state === "broken" ? `, ${reason(box.problem)}` : "";
      cell.setAttribute("aria-label", `${fileName(item.path)}${badge ? `, ${badge}` : ""}${mark ? `, ${mark}` : ""}${why}`);
    };
    if (same) old.onstate = told;
    else cell.picture = picture(item, this.thumb, { isInView, onstate: told });
    told(cell.picture);
    cell.replaceChildren(cell.picture, ...(badge ? [h("span", { class: "badge", "aria-hidden": "true" }, badge)] : []),
      ...(mark ? [h("span", { class: "mark-badge", "aria-hidden": "true" }, mark)] : []));
  }

  async #load(first, last) {
    let missing = false;
    for (let i = first; i <= last && !missing; i += 1) missing = !this.source.item(i);
    if (!missing || (this.loading && this.loading.source === this.source)) return;
    const mine = (this.loading = new AbortController());
    mine.source = this.source;
    try {
      await this.source.load(first, last, mine.signal);
    } catch (error) {
      if (!mine.signal.aborted) this.onerror?.(error);
      mine.failed = true;
    }
    if (this.loading === mine) {
      this.loading = undefined;
      if (!mine.failed) this.draw();  // what is in view may be something else by now
    }
  }

  #reveal() {
    if (!this.#measure()) return;
    const row = this.laid.rowOf(this.active);
    const box = this.#scroller();
    const isPage = box === document.scrollingElement;
    const view = isPage ? { top: 0, bottom: innerHeight } : box.getBoundingClientRect();
    const above = this.#covered();
    const below = this.selection?.covered ?? 0;
    const top = this.sheet.getBoundingClientRect().top + this.laid.top(row);
    if (top < view.top + above + GAP) box.scrollTop -= view.top + above + GAP - top;
    else if (top + this.size > view.bottom - below - GAP) box.scrollTop += top + this.size - view.bottom + below + GAP;
  }

  #key(event) {
    if (this.selection?.key(event)) return;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(innerHeight / this.step) - 1) * this.columns;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, PageUp: -page,
      PageDown: page, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      event.preventDefault();
      const from = this.active;
      if (Math.abs(moves[event.key]) === this.columns) {
        const to = this.laid.beside(this.active, Math.sign(moves[event.key]));
        if (to !== null) this.focus(to);  // up from the first row stays there, rather than jumping to the first photo
      } else this.focus(this.active + moves[event.key]);
      if (event.shiftKey) this.selection?.extend(this.active, from);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.onopen?.(this.active, this.source);
    } else if (/^[1-9]$/.test(event.key) && this.ondigit) {
      event.preventDefault();
      const cell = event.target.closest(".cell");
      if (cell?.classList.contains("seen") && !event.repeat) this.ondigit(cell.item, Number(event.key));
    }
  }
}

/** Where rows of a source stand. A section begins with a row of its own, below its title. */
class Layout {
  constructor(source, columns, size) {
    Object.assign(this, { source, columns, size, length: source.length, step: size + GAP });
    if (!source.sections) {
      this.rows = Math.ceil(source.length / columns);
      this.height = this.rows * this.step;
      return;
    }
    this.starts = [];
    this.tops = [];
    this.titles = new Map();
    let y = 0;
    for (const { title, start, photos } of source.sections) {
      this.titles.set(this.starts.length, title);
      y += HEAD;
      for (let i = 0; i < photos; i += columns) {
        this.starts.push(start + i);
        this.tops.push(y);
        y += this.step;
      }
    }
    this.rows = this.starts.length;
    this.height = y;
  }

  start(row) { return this.starts ? this.starts[row] ?? this.length : row * this.columns; }
  end(row) { return Math.min(this.length, this.starts ? Math.min(this.starts[row] + this.columns, this.starts[row + 1] ?? this.length) : (row + 1) * this.columns); }
  top(row) { return this.tops ? this.tops[row] : row * this.step; }
  title(row) { return this.titles?.get(row) ?? null; }
  rowOf(i) { return this.starts ? Math.max(0, last(this.starts, i)) : Math.floor(i / this.columns); }
  rowAt(y) { return this.tops ? Math.max(0, last(this.tops, y)) : Math.floor(y / this.step); }

  /** The photo above or below another; null where there is none. */
  beside(i, by) {
    const row = this.rowOf(i) + by;
    if (row < 0 || row >= this.rows) return null;
    const to = this.start(row) + i - this.start(row - by);
    return to < this.end(row) ? to : this.starts ? this.end(row) - 1 : null;
  }
}

/** The number of the last entry of a rising list that is at most a value; -1 if none is. */
function last(rising, value) {
  let low = 0;
  let high = rising.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rising[middle] <= value) low = middle + 1; else high = middle;
  }
  return low - 1;
}
