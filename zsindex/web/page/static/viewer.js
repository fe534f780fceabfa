// The large picture of the photo view with what can be done to it: zoom, full screen, a slideshow, two side by side.

import { h, icon } from "./dom.js";
import { showKeys } from "./help.js";
import { Pane } from "./pane.js";

export class Viewer {
  /**
   * `view` is the element that full screen is about: this and the panel beside it. `onstep(by)` and `onclose()` are asked
   * for by buttons and fingers, `onpair()` for two side by side; `onbare()` is told that the panel is hidden or shown.
   */
  constructor(view, { slideshow, onstep, onclose, onpair, onbare }) {
    Object.assign(this, { view, slideshow, onbare });
    this.hides = { window: false, full: true };  // whether the panel is, in the window and in full screen
    this.isFull = false;
    const button = (name, text, key, run) => h("button", { type: "button", class: "tool", "aria-label": text, title: `${text} (${key})`, onclick: run },
      name.startsWith("i-") ? icon(name.slice(2)) : name);
    const round = (name, text, run) => h("button", { type: "button", class: "round", "aria-label": text, title: text, onclick: run }, icon(name));
    this.badge = h("p", { class: "said-badge", hidden: true });
    this.level = h("span", { class: "level", "aria-live": "polite" });
    this.out = button("i-minus", "Zoom out", "−", () => this.pane.zoom.by(1 / 1.5));
    this.in = button("i-plus", "Zoom in", "+", () => this.pane.zoom.by(1.5));
    this.pair = button("i-pair", "Side by side", "C", onpair);
    this.full = button("i-full", "Full screen", "F", () => this.toggleFull());
    this.info = button("i-info", "Details", "I", () => this.toggleInfo());
    this.close = button("i-x", "Close photo", "Esc", onclose);
    this.tools = h("div", { class: "viewer-tools", role: "toolbar", "aria-label": "Picture" }, this.out, this.in, slideshow.element,
      this.pair, this.full, this.info, button("?", "Keys", "?", () => showKeys(true)), this.close);
    this.pane = new Pane({ onstep, onclose, onstate: () => this.#level() });
    // What is said of a photo, where there is no panel for it.
    this.strip = h("div", { class: "strip" });
    this.area = h("div", { class: "picture-area" }, this.pane.element, round("left", "Previous photo", () => onstep(-1)),
      round("right", "Next photo", () => onstep(1)), this.badge, this.level);
    this.element = h("div", { class: "picture", tabindex: -1 }, this.tools, this.area, this.strip);
    document.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement && this.isFull) this.#setFull(false); });
    this.#draw();
    this.#level();
  }

  get isBare() { return this.hides[this.isFull ? "full" : "window"]; }

  /** Said of the photo, over its picture; null for nothing. */
  mark(text) {
    this.badge.hidden = !text;
    this.badge.textContent = text ?? "";
  }

  toggleInfo() {
    this.hides[this.isFull ? "full" : "window"] = !this.isBare;
    this.#draw();
  }

  toggleFull() {
    if (this.isFull) this.leaveFull();
    else {
      this.#setFull(true);
      // Where the browser does not let it have the screen, it has the window.
      this.view.requestFullscreen?.().catch(() => {});
    }
  }

  leaveFull() {
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    if (this.isFull) this.#setFull(false);
  }

  /** Whether a key was about the picture. */
  key(event) {
    if (event.repeat) return this.pane.zoom.key(event);
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "f") this.toggleFull();
    else if (key === "i") this.toggleInfo();
    else if (key === "s") this.slideshow.toggle();
    else if (key === "?") showKeys(true);
    else if (key === "Escape" && this.isFull) this.leaveFull();
    else return this.pane.zoom.key(event);
    return true;
  }

  #setFull(isFull) {
    this.isFull = isFull;
    this.#draw();
  }

  #draw() {
    this.view.classList.toggle("full", this.isFull);
    this.view.classList.toggle("bare", this.isBare);
    this.full.setAttribute("aria-pressed", String(this.isFull));
    this.info.setAttribute("aria-pressed", String(!this.isBare));
    this.close.hidden = !this.isBare;
    this.onbare?.();
  }

  #level() {
    const { level, image } = this.pane ?? {};
    if (this.level.textContent !== (level ?? "")) this.level.textContent = level ?? "";
    this.out.disabled = !level;
    this.in.disabled = !image;
  }
}
