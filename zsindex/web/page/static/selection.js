// Which photos of a list are selected: Ctrl and Shift with a click, arrows or space; dragging; a long press on touch.

import { h, icon, number, photos, toast } from "./dom.js";

const DRAG = 6;  // pixels that a pointer moves before it draws
const LONG_MS = 450;
const EDGE = 48;  // how near to an edge the list begins to scroll
const FASTEST = 22;
const SAY_MS = 350;
const NOTHING_ANY_MORE = "Nothing is selected any more.";
const NO_DRAG = "button, a, input, select, summary, label, .tools, .state, .menu-items";

/** Numbers as stretches, ascending and apart: a hundred thousand photos may be a single one. They never change. */
export class Ranges {
  constructor(list = []) {
    this.list = list;
    this.count = list.reduce((sum, [first, last]) => sum + last - first + 1, 0);
  }

  has(i) {
    let low = 0;
    let high = this.list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.list[middle][1] < i) low = middle + 1; else high = middle;
    }
    return low < this.list.length && this.list[low][0] <= i;
  }

  /** With other stretches, which ascend. */
  with(more) {
    const made = [];
    const [a, b] = [this.list, more];
    for (let i = 0, j = 0; i < a.length || j < b.length;) {
      const [first, last] = j >= b.length || (i < a.length && a[i][0] <= b[j][0]) ? a[i++] : b[j++];
      const end = made.at(-1);
      if (end && first <= end[1] + 1) end[1] = Math.max(end[1], last);
      else made.push([first, last]);
    }
    return new Ranges(made);
  }

  without(first, last) {
    return new Ranges(this.list.flatMap(([a, b]) => [[a, Math.min(b, first - 1)], [Math.max(a, last + 1), b]].filter(([from, to]) => from <= to)));
  }
}

const NOTHING = new Ranges();

/** What is selected in a grid. A grid tells it of clicks and keys, and asks it to mark its cells. */
export class Selection {
  constructor(grid, bar) {
    Object.assign(this, { grid, bar, ranges: NOTHING, base: NOTHING, anchor: null });
    grid.sheet.setAttribute("aria-multiselectable", "true");
    grid.sheet.classList.add("selectable");
    this.area = grid.host.closest(".column, .stage") ?? grid.host;
    const signal = grid.ending.signal;
    this.area.addEventListener("pointerdown", (event) => this.#down(event), { signal });
    grid.sheet.addEventListener("touchmove", (event) => { if (this.press?.on) event.preventDefault(); }, { passive: false, signal });
    grid.sheet.addEventListener("contextmenu", (event) => { if (this.press) event.preventDefault(); }, { signal });
    // A list that is not shown has nothing selected: what is done would be done to photos that nobody sees.
    const watch = new MutationObserver(() => { if (grid.host.hidden) this.#lose(); });
    watch.observe(grid.host, { attributeFilter: ["hidden"] });
    signal.addEventListener("abort", () => { watch.disconnect(); this.clear(); });
  }

  get count() { return this.ranges.count; }

  /** How much of the bottom the bar covers. */
  get covered() { return this.bar.height; }

  set(ranges) {
    this.ranges = ranges;
    this.grid.draw();
    this.bar.changed(this);
  }

  clear() {
    this.base = NOTHING;
    this.anchor = null;
    if (this.count) this.set(NOTHING);
  }

  /** Select nothing, which nobody asked for: it is told to everybody. */
  #lose() {
    if (!this.count) return;
    const { isAtWork } = this.bar;
    this.clear();
    if (!isAtWork) this.bar.lost();  // else what was done is told
  }

  all() {
    const { length } = this.grid.source;
    this.base = NOTHING;
    this.anchor = 0;
    if (length) this.set(new Ranges([[0, length - 1]]));
  }

  toggle(i) {
    this.base = this.ranges.has(i) ? this.ranges.without(i, i) : this.ranges.with([[i, i]]);
    this.anchor = i;
    this.set(this.base);
  }

  /** From where the last one was selected to a photo. What was reached before, and is not on the way, is let go. */
  extend(to, from = this.grid.active) {
    this.anchor ??= from;
    this.set(this.base.with([[Math.min(this.anchor, to), Math.max(this.anchor, to)]]));
  }

  // --- what the grid tells -------------------------------------------------------------------------------------------

  /** Whether a click on a photo was about the selection. */
  click(event, i) {
    if (this.dragged) {
      this.dragged = false;
      return true;
    }
    if (event.shiftKey) this.extend(i);
    else if (event.ctrlKey || event.metaKey || event.target.closest(".pick") || (this.byTouch && this.count)) this.toggle(i);
    else return false;
    return true;
  }

  /** Whether a key was about the selection. */
  key(event) {
    const { active } = this.grid;
    if (event.key === " ") {
      if (event.shiftKey) this.extend(active);
      else this.toggle(active);
    } else if (!this.count || event.altKey || event.ctrlKey || event.metaKey || !/^[1-9]$/.test(event.key) || !this.bar.digit(Number(event.key), event)) return false;
    event.preventDefault();
    return true;
  }

  /** Numbers mean the same photos where a list says that it is the same one; else nothing is selected any more. */
  listIs(source) {
    const same = source === this.source || (source.list !== undefined && source.list === this.source?.list);
    this.source = source;
    if (!same) this.#lose();
    else if (this.count) {
      this.base = this.base.without(source.length, Infinity);
      const kept = this.ranges.without(source.length, Infinity);
      if (this.anchor >= source.length) this.anchor = null;
      if (kept.count !== this.count) { this.ranges = kept; this.bar.changed(this); }
    }
  }

  mark(cell, i) {
    cell.setAttribute("aria-selected", String(this.ranges.has(i)));
    if (!cell.querySelector(".pick")) cell.append(h("span", { class: "pick", "aria-hidden": "true" }, icon("check")));
  }

  // --- dragging ------------------------------------------------------------------------------------------------------

  #down(event) {
    this.byTouch = event.pointerType === "touch";
    this.dragged = false;
    const { host, source } = this.grid;
    const onBar = event.target === this.area && event.offsetX > this.area.clientWidth;
    if (host.hidden || !source.length || !event.isPrimary || onBar || event.target.closest(NO_DRAG)) return;
    const ending = new AbortController();
    const at = { x: event.clientX, y: event.clientY };
    const listen = (name, work) => addEventListener(name, (found) => { if (found.pointerId === event.pointerId) work(found); }, { signal: ending.signal });
    const end = () => {
      ending.abort();
      clearTimeout(this.press?.timer);
      this.press = null;
      this.#stop();
    };
    listen("pointerup", end);
    listen("pointercancel", end);
    const far = (found) => Math.hypot(found.clientX - at.x, found.clientY - at.y) > DRAG;
    if (this.byTouch) {
      const cell = event.target.closest(".cell");
      if (!cell) return;
      const i = Number(cell.dataset.i);
      const press = (this.press = { on: false });
      press.timer = setTimeout(() => {
        press.on = this.dragged = true;
        navigator.vibrate?.(12);
        this.toggle(i);
      }, LONG_MS);
      listen("pointermove", (found) => {
        if (!press.on) {
          if (far(found)) clearTimeout(press.timer);
          return;
        }
        this.#follow(found, () => {
          const under = document.elementFromPoint(this.pointer.x, this.pointer.y)?.closest(".cell");
          if (under && this.grid.sheet.contains(under) && Number(under.dataset.i) !== i) this.extend(Number(under.dataset.i));
        });
      });
    } else if (event.button === 0) {
      const sheet = this.grid.sheet.getBoundingClientRect();
      const from = { x: at.x - sheet.left, y: at.y - sheet.top };
      const base = event.ctrlKey || event.metaKey || event.shiftKey ? this.ranges : NOTHING;
      listen("pointermove", (found) => {
        if (!this.dragged && !far(found)) return;
        if (!this.dragged) {
          this.dragged = true;
          getSelection().removeAllRanges();
          document.body.classList.add("marking");
          this.box = h("div", { class: "marquee" });
          this.grid.sheet.append(this.box);
        }
        this.#follow(found, () => this.#draw(from, base));
      });
    }
  }

  /** Do something at the pointer, again and again while the list scrolls below it. */
  #follow(event, work) {
    this.pointer = { x: event.clientX, y: event.clientY };
    this.work = work;
    work();
    this.frame ??= requestAnimationFrame(() => this.#scroll());
  }

  #scroll() {
    this.frame = null;
    if (!this.work) return;
    const box = this.grid.scroller;
    const view = box === document.scrollingElement ? { top: 0, bottom: innerHeight } : box.getBoundingClientRect();
    const { y } = this.pointer;
    const beyond = Math.min(0, y - view.top - this.grid.covered - EDGE) + Math.max(0, y - view.bottom + this.covered + EDGE);
    const before = box.scrollTop;
    if (beyond) box.scrollTop += Math.max(-FASTEST, Math.min(FASTEST, beyond / 2));
    if (box.scrollTop === before) return;
    this.grid.draw();
    this.work();
    this.frame = requestAnimationFrame(() => this.#scroll());
  }

  #draw(from, base) {
    const sheet = this.grid.sheet.getBoundingClientRect();
    const to = { x: this.pointer.x - sheet.left, y: this.pointer.y - sheet.top };
    const [left, right] = [Math.min(from.x, to.x), Math.max(from.x, to.x)];
    const [top, bottom] = [Math.min(from.y, to.y), Math.max(from.y, to.y)];
    Object.assign(this.box.style, { left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
    this.base = base.with(this.grid.within(left, top, right, bottom));
    this.anchor = this.base.list[0]?.[0] ?? null;
    if (String(this.base.list) !== String(this.ranges.list)) this.set(this.base);
  }

  #stop() {
    this.work = null;
    cancelAnimationFrame(this.frame);
    this.frame = null;
    this.box?.remove();
    this.box = null;
    document.body.classList.remove("marking");
  }
}

/** The bar that says how many are selected, with what can be done: of all grids of a page, one at a time. */
export class SelectionBar {
  /** `actions(bar)` gives its buttons, as elements; `ondigit(number)`, if given, says whether a number key did something. */
  constructor({ actions, ondigit = () => false }) {
    this.ondigit = ondigit;
    this.selections = [];
    this.current = null;
    this.text = h("strong", { class: "selected-count" });
    this.every = h("button", { type: "button", onclick: () => this.current.all() });
    this.work = h("div", { class: "buttons" }, ...actions(this));
    this.stopping = h("button", { type: "button", hidden: true, onclick: () => this.ending?.abort() }, "Stop");
    this.element = h("section", { class: "selection", "aria-label": "Selected photos", hidden: true },
      h("div", { class: "buttons" }, h("button", { type: "button", class: "round", "aria-label": "Select nothing", title: "Select nothing (Escape)", onclick: () => this.leave() }, icon("x")), this.text, this.every),
      this.work, this.stopping);
    this.said = h("p", { class: "hidden", role: "status" });
    document.body.append(this.element, this.said);
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  /** The selection of one more grid. */
  of(grid) {
    const made = new Selection(grid, this);
    this.selections = [...this.selections.filter((one) => !one.grid.ending.signal.aborted), made];
    return made;
  }

  get count() { return this.current?.count ?? 0; }
  get height() { return this.element.offsetHeight; }
  get isAtWork() { return Boolean(this.ending); }

  clear() { this.current?.clear(); }

  /** Select nothing, and go on where the last photo was. */
  leave() {
    const grid = this.current?.grid;
    this.clear();
    grid?.focus();
  }

  changed(selection) {
    if (selection.count) {
      if (this.current !== selection) {
        const before = this.current;
        this.current = selection;
        before?.clear();
      }
    } else if (this.current === selection) {
      this.current = null;
      this.ending?.abort();
    } else return;
    const n = this.count;
    const focused = this.element.contains(document.activeElement);
    this.element.hidden = !n;
    document.body.classList.toggle("selecting", n > 0);
    if (!n) document.querySelectorAll("dialog.of-selection[open]").forEach((dialog) => dialog.close());
    if (n && !this.ending) this.#tellCount();
    if (!n && focused) selection.grid.focus();
    this.say(n ? `${photos(n)} selected` : "Nothing is selected");
  }

  /** Tell who cannot see it, once it is settled. */
  say(text) {
    clearTimeout(this.saying);
    this.saying = setTimeout(() => { this.said.textContent = text; }, SAY_MS);
  }

  lost() {
    clearTimeout(this.saying);
    toast(NOTHING_ANY_MORE);
  }

  digit(n, event) { return event.repeat || this.ondigit(n); }

  /**
   * Do `work(ids, signal, tell)` with the ids of the photos that are selected, each once, in the order of the list.
   * Those that were never in view are asked for, which may take a while: then the bar says how far it is, and can be
   * told to stop.
   */
  async run(work) {
    if (this.ending) return;
    if (!this.current?.grid.host.checkVisibility()) {
      toast(NOTHING_ANY_MORE);
      return;
    }
    const ending = (this.ending = new AbortController());
    const tell = (text) => { this.text.textContent = text; };
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    this.work.hidden = this.every.hidden = true;
    this.stopping.hidden = false;
    if (focused) this.stopping.focus();  // what had the focus is hidden meanwhile
    try {
      const ids = await this.#ids(ending.signal, tell);
      ending.signal.throwIfAborted();
      await work(ids, ending.signal, tell);
    } catch (error) {
      if (!ending.signal.aborted) toast(error.message);
    } finally {
      const isHere = document.activeElement === this.stopping;
      this.ending = null;
      this.work.hidden = false;
      this.stopping.hidden = true;
      this.#tellCount();
      const over = document.querySelector("dialog.of-selection[open]");  // which the work has opened
      if (over) over.addEventListener("close", () => focused?.focus());
      else if (isHere) focused?.focus();
    }
  }

  /** What is selected, of a list that is here as a whole. */
  items() {
    const { ranges, grid: { source } } = this.current;
    return ranges.list.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, n) => source.item(first + n)));
  }

  async #ids(signal, tell) {
    const { ranges, grid: { source } } = this.current;
    const found = new Set();
    for (const [first, last] of ranges.list) {
      for await (const some of source.ids ? source.ids(first, last, signal) : [shownOf(source, first, last)]) {
        for (const id of some) found.add(id);
        if (found.size < ranges.count) tell(`${number(found.size)} of ${number(ranges.count)}…`);
      }
    }
    found.delete(null);  // of what is no longer in the library
    if (!found.size) throw new Error("None of these photos is in the library any more.");
    return [...found];
  }

  #tellCount() {
    const n = this.count;
    const length = this.current?.grid.source.length;
    this.text.textContent = `${number(n)} selected`;
    this.every.textContent = `All ${number(length ?? 0)}`;
    this.every.hidden = n === length;
    document.body.style.setProperty("--below", `${this.height + 20}px`);
  }

  #key(event) {
    if (event.defaultPrevented || event.target.closest("input, textarea, select, details, dialog") || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape" && this.count) this.leave();
    else if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "a") {
      const there = this.selections.find((one) => one.grid.sheet.contains(document.activeElement)) ?? this.current ?? this.selections.find((one) => one.grid.host.checkVisibility() && one.grid.source.length);
      if (!there) return;
      event.preventDefault();
      there.all();
    }
  }
}

function shownOf(source, first, last) {
  const ids = [];
  for (let i = first; i <= last; i += 1) if (source.item(i)) ids.push(source.item(i).image_id);
  return ids;
}
