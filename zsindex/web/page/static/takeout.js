// What can be taken out of an answer: files of photos, and a look at the sidecars that would be written.

import { ask, url } from "./api.js";
import { byId, fileName, h, number } from "./dom.js";

export class Takeout {
  constructor() {
    this.box = byId("export");
    this.of = null;
    this.box.addEventListener("toggle", () => this.#fill());
    document.addEventListener("click", (event) => { if (!this.box.contains(event.target)) this.box.open = false; });
    this.box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { this.box.open = false; this.box.firstElementChild.focus(); }
    });
  }

  /** Offer an answer from a level on, and the group of it that is in view. */
  draw(answer, level, chosen) {
    this.of = { answer, level, chosen };
    this.#fill();
  }

  /** Nothing is offered. */
  clear() { this.of = null; }

  #fill() {
    if (!this.of || !this.box.open) return;  // it is filled when it opens
    const { answer, level, chosen } = this.of;
    const part = chosen.answer === -1 ? "" : `&answer=${chosen.answer}`;
    const min = level ? `&min_score=${answer.levels[level]}` : "";
    const link = (text, query) => h("a", { href: url(`/v1/groups/${answer.key}/export?${query}`), download: "" }, text);
    byId("export-items").replaceChildren(
      link("All photos, CSV", `format=csv${min}`), link("All photos, JSON", `format=json${min}`),
      ...(part ? [link(`${chosen.label}, CSV`, `format=csv${part}${min}`), link(`${chosen.label}, JSON`, `format=json${part}${min}`)] : []),
      h("button", { type: "button", onclick: () => this.#tellTags() }, "Preview XMP sidecars"));
  }

  /** What `zsindex tags write` would write. This page never writes it. */
  async #tellTags() {
    const { answer, level } = this.of;
    this.box.open = false;
    const body = h("div", { class: "tags" }, h("p", { class: "quiet" }, "Reading the sidecars…"));
    const dialog = h("dialog", { class: "small wide-dialog", "aria-label": "XMP sidecars" }, h("form", { method: "dialog" },
      h("h2", {}, "XMP sidecars"), body, h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Close"))));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    try {
      const found = await ask(`/v1/groups/${answer.key}/tags?limit=50&min_score=${answer.levels[level]}`);
      const line = (n, text) => (n ? `${number(n)} ${text}` : null);
      const sum = [line(found.create, "would be created"), line(found.change, "changed"), line(found.delete, "deleted"),
        line(found.unchanged, "are up to date"), line(found.skipped, "cannot be written")].filter(Boolean).join(", ");
      body.replaceChildren(h("p", {}, `Sidecars: ${sum || "none"}. Nothing was written. To write them, run zsindex tags write on the library's machine.`),
        h("ul", { class: "changes", tabindex: 0, "aria-label": "Some of the changes" }, ...found.changes.map((change) => h("li", {}, h("strong", {}, fileName(change.path)), ` ${change.action} `,
          h("span", { class: "quiet" }, Object.values(change.added).flat().map((tag) => `+${tag}`).join("  ")),
          h("span", { class: "wrong" }, Object.values(change.removed).flat().map((tag) => ` −${tag}`).join(" "))))));
    } catch (error) {
      body.replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message));
    }
  }
}
