// Two photos side by side, zoomed and moved together. Arrows change the right one; either can be chosen to stay.

import { ask, latest } from "./api.js";
import { fileName, h, number } from "./dom.js";
import { factsOf, rowsOf } from "./facts.js";
import { Pane } from "./pane.js";
import { reach } from "./place.js";

export class Pair {
  /** `large` has the pictures; `onend(photo)` is told which photo to go on with: `item`, and its list as `source` and `at`. */
  constructor({ large, onend }) {
    Object.assign(this, { large, onend });
    this.isOpen = false;
    this.sides = ["Left", "Right"].map((name, n) => {
      const zoom = (view) => this.#link(n, view);
      const pane = new Pane({ onstep: (by) => this.step(by), onclose: () => this.end(), onzoom: zoom });
      const title = h("span", { class: "pair-name" });
      const key = name[0];
      const stay = h("button", { type: "button", class: "tool", "aria-label": `The ${name.toLowerCase()} one stays`, title: `The ${name.toLowerCase()} one stays (${key})`,
        onclick: () => this.stay(n) }, "Keep", h("span", { class: "key", "aria-hidden": "true" }, key));
      return { pane, title, photo: null, element: h("figure", { class: "side-pane", "aria-label": name }, pane.element, h("figcaption", {}, title, stay)) };
    });
    this.element = h("div", { class: "pair-view", hidden: true }, ...this.sides.map((side) => side.element));
    this.facts = h("div", { class: "pair-facts" });
    this.find = latest((signal, ...how) => this.#find(signal, ...how));
    this.tell = latest((signal) => this.#tell(signal));
  }

  /** Arrows go on in the list of the right one. */
  open(left, right) {
    this.isOpen = true;
    this.element.hidden = false;
    this.#show(0, left);
    this.#show(1, right);
  }

  /** Go on with the left one; with `told` false with none. */
  end(told = true) {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.element.hidden = true;
    this.find.stop();
    this.tell.stop();
    const { photo } = this.sides[0];
    for (const side of this.sides) {
      side.pane.clear();
      side.photo = null;
    }
    if (told) this.onend(photo);
  }

  step(by) { this.find([by]); }

  /** The chosen one is the left one from now on, beside the next; where none follows, the one before. */
  stay(n) { this.find([1, -1], n); }

  key(event) {
    const key = event.key.toLowerCase();
    if (event.key === "Escape" || key === "c") this.end();
    else if (!event.shiftKey && (event.key === "ArrowLeft" || event.key === "ArrowRight")) this.step(event.key === "ArrowLeft" ? -1 : 1);
    else if (key === "l" || key === "r") this.stay(key === "l" ? 0 : 1);
    else return this.sides[0].pane.zoom.key(event);
    return true;
  }

  async #find(signal, ways, staying = 0) {
    const right = this.sides[1].photo;
    const left = this.sides[staying].photo;
    for (const by of ways) {
      let { at } = right;
      let item;
      do {
        at += by;
        item = await reach(right.source, at, { signal }).catch(() => null);
      } while (item && [left.item.image_id, right.item.image_id].includes(item.image_id));
      if (signal.aborted) return;
      if (!item) continue;
      // A picture is in one place only: it leaves the right side first.
      this.sides[1].pane.clear();
      if (staying === 1) this.#show(0, left);
      this.#show(1, { ...right, item, at });
      return;
    }
  }

  async #show(n, photo) {
    const { pane, title } = this.sides[n];
    const { item } = photo;
    this.sides[n].photo = photo;
    pane.clear();
    title.textContent = item.path ? fileName(item.path) : "Photo";
    this.large.keep(this.sides.map((side) => side.photo?.item.image_id).filter((id) => id !== undefined));
    this.tell();
    try {
      const image = await this.large.get(item.image_id);
      if (this.sides[n].photo !== photo) return;
      pane.show(image, item, title.textContent);
      pane.zoom.set(this.sides[1 - n].pane.zoom.view);
      if (this.about?.[n]) pane.know(this.about[n], title.textContent);
    } catch (error) {
      if (this.sides[n].photo === photo) pane.cannot(item, error);
    }
  }

  /** What is known of both, beside each other. */
  async #tell(signal) {
    const photos = this.sides.map((side) => side.photo);
    if (photos.includes(null)) return;
    this.about = null;
    const found = await Promise.all(photos.map(async ({ item }) => {
      const about = await ask(`/v1/images/${item.image_id}`, { signal }).catch(() => null);
      const facts = about && (await factsOf(item.image_id, item.path, signal).catch(() => null));
      return { about, rows: new Map([...(about?.width ? [["Size", `${number(about.width)} × ${number(about.height)} · ${about.format}`]] : []), ...rowsOf(facts)]) };
    }));
    if (signal.aborted) return;
    this.about = found.map((one) => one.about);
    this.sides.forEach(({ pane, title }, n) => { if (this.about[n]) pane.know(this.about[n], title.textContent); });
    const names = [...new Set(found.flatMap(({ rows }) => [...rows.keys()]))];
    this.facts.replaceChildren(h("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Facts of both" }, h("table", {},
      h("thead", {}, h("tr", {}, h("td", {}), ...this.sides.map(({ title }) => h("th", { scope: "col" }, title.textContent)))),
      h("tbody", {}, ...names.map((name) => {
        const texts = found.map(({ rows }) => rows.get(name) ?? "–");
        return h("tr", { class: texts[0] === texts[1] ? "" : "other" }, h("th", { scope: "row" }, name), ...texts.map((text) => h("td", {}, text)));
      })))));
  }

  #link(n, view) {
    const other = this.sides?.[1 - n]?.pane;
    if (!this.isOpen || this.linking || !other?.image) return;
    this.linking = true;
    other.zoom.set(view);
    this.linking = false;
  }
}
