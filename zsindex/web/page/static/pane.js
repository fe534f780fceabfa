// A place for one large picture, which can be zoomed to the pixels of its original; or for the reason why there is none.

import { fileName, h, percent } from "./dom.js";
import { canShow, loadOriginal, reason } from "./pictures.js";
import { Zoom } from "./zoom.js";

const SETTLED_MS = 250;
// Where no more is missing than this, the original would look the same.
const ENOUGH = 1.1;

export class Pane {
  /** As of `Zoom`; `onstate()` when the level of the zoom, or what is said of it, may be another. */
  constructor({ onstep, onclose, onzoom, onstate }) {
    this.note = h("p", { class: "pane-note", role: "status" });
    this.frame = h("div", { class: "frame" });
    this.element = h("div", { class: "pane" }, this.frame, this.note);
    this.onstate = onstate;
    this.zoom = new Zoom(this.element, { onstep, onclose, onchange: () => { this.#look(); onzoom?.(this.zoom.view); } });
    this.clear();
  }

  get image() { return this.zoom.image; }

  /** Nothing of the photo before is left. */
  clear() {
    this.ending?.abort();
    clearTimeout(this.settling);
    this.ending = null;
    this.item = this.about = null;
    this.zoom.pixels = 0;
    this.zoom.show(null);
    this.note.textContent = "";
    this.frame.replaceChildren();
    this.element.setAttribute("aria-busy", "true");
    this.onstate?.();
  }

  /** Show a decoded picture of a photo. */
  show(image, item, alt) {
    image.className = "large";
    image.alt = alt;
    this.item = item;
    this.frame.replaceChildren(image);
    this.element.setAttribute("aria-busy", "false");
    this.tried = false;
    this.zoom.show(image);
  }

  cannot(item, problem) {
    this.element.setAttribute("aria-busy", "false");
    this.frame.replaceChildren(h("div", { class: "cannot", role: "status" },
      h("p", { class: "gone-name" }, fileName(item.path ?? "") || "Photo"), h("p", {}, `${reason(problem)}.`.replace("..", "."))));
  }

  /** What is known of the photo: `width`, `height` and `format` of its original, and its name. */
  know(about, alt) {
    this.about = about;
    this.zoom.pixels = Math.max(about.width ?? 0, about.height ?? 0);
    if (this.image) {
      this.image.alt = alt;
      this.#look();
    }
  }

  /** How large it is, as people read it; empty where it just fits. */
  get level() { return this.image && this.zoom.view.scale > 1 ? percent(this.zoom.magnified) : ""; }

  /** Whether there are more pixels in the original than are there, and are wanted. */
  #look() {
    this.onstate?.();
    if (!this.image || !this.about || this.tried) return;
    const has = Math.max(this.image.naturalWidth, this.image.naturalHeight);
    const isLarge = this.zoom.view.scale > 1 || this.element.closest(".full");
    if (!isLarge || this.zoom.stretched < ENOUGH || (this.zoom.pixels && this.zoom.pixels <= has)) return;
    this.tried = true;
    if (!canShow(this.about.format)) this.note.textContent = `This is the preview: browsers do not show ${this.about.format} originals.`;
    else this.settling = setTimeout(() => this.#fetch(), SETTLED_MS);  // who only passes by needs no original
  }

  async #fetch() {
    const mine = (this.ending = new AbortController());
    const { item } = this;
    this.note.textContent = "Loading the original…";
    try {
      const image = await loadOriginal(item.image_id, { signal: mine.signal });
      if (mine.signal.aborted) return;
      image.className = "large original";
      image.alt = this.image.alt;
      this.zoom.swap(image);
      this.frame.replaceChildren(image);
      this.note.textContent = "";
    } catch (error) {
      if (mine.signal.aborted) return;
      const why = reason(error);
      this.note.textContent = `This is the preview. ${why}${/[.!?]$/.test(why) ? "" : "."}`;
    }
  }
}
