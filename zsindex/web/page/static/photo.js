// One photo, large: its scores, why its answer won, and what is like it.

import { ask, latest, root, thumbnail, url } from "./api.js";
import { byId, fileName, h, icon, number, percent } from "./dom.js";

const NEIGHBOURS = 12;
const FEW_TEMPLATES = 10;

export class PhotoDialog {
  /**
   * `onstep(by)` shows the photo before or after; `onshow(id)` and `onclose()` are told. `oncorrect`, if given, has
   * `possible()`, `labels()`, `said(digest)`, `note()` and `say(photo, number)`.
   */
  constructor({ question = () => null, onstep, onshow, onclose, oncorrect }) {
    Object.assign(this, { question, onstep, onshow, onclose, oncorrect });
    this.image = h("img", { class: "large", alt: "" });
    this.title = h("h2", { id: "photo-title", tabindex: -1 });
    this.body = h("div", { class: "photo-body" });
    const button = (name, text, run) => h("button", { type: "button", class: "round", "aria-label": text, title: text, onclick: run }, icon(name));
    this.back = button("left", "Previous photo", () => this.onstep?.(-1));
    this.on = button("right", "Next photo", () => this.onstep?.(1));
    this.element = h("dialog", { class: "photo", "aria-labelledby": "photo-title" },
      h("div", { class: "picture" }, this.image, ...(onstep ? [this.back, this.on] : [])),
      h("div", { class: "panel" },
        h("div", { class: "panel-head" }, this.title, button("x", "Close", () => this.element.close())),
        this.body));
    this.element.addEventListener("close", () => {
      this.load.stop();
      document.body.append(byId("toasts"));
      this.onclose?.();
    });
    this.element.addEventListener("click", (event) => { if (event.target === this.element) this.element.close(); });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.load = latest((signal, item) => this.#load(signal, item));
    document.body.append(this.element);
  }

  get isOpen() { return this.element.open; }

  /** Show a photo; `item` has at least `image_id`. */
  show(item) {
    this.item = item;
    this.photo = null;
    this.title.textContent = item.path ? fileName(item.path) : "Photo";
    this.image.src = thumbnail(item.image_id, 1024);
    this.image.alt = item.path ? fileName(item.path) : "";
    this.body.replaceChildren(h("p", { class: "quiet" }, "Looking closely…"));
    this.body.parentElement.scrollTop = 0;
    if (!this.isOpen) { this.element.showModal(); this.title.focus(); }
    this.onshow?.(item.image_id);
    this.load(item);
  }

  close() { if (this.isOpen) this.element.close(); }

  async #load(signal, item) {
    const asked = this.question();
    const id = item.image_id;
    try {
      const [photo, why, near] = await Promise.all([
        ask(`/v1/images/${id}`, { signal }),
        asked ? ask(`/v1/images/${id}/explain`, { body: asked, signal }) : null,
        ask(`/v1/images/${id}/similar?top=${NEIGHBOURS}`, { signal }),
      ]);
      if (signal.aborted) return;
      this.item = { ...item, path: item.path ?? photo.paths[0] ?? "" };
      this.photo = photo;
      this.title.textContent = fileName(this.item.path) || "Photo";
      this.image.alt = this.title.textContent;
      this.body.replaceChildren(...[
        this.#facts(photo), why && this.#why(why), this.oncorrect?.possible() && this.#correct(), why && this.#scores(why),
        why && this.#templates(why), this.#near(near.hits),
      ].flat().filter(Boolean));
    } catch (error) {
      if (!signal.aborted) this.body.replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message));
    }
  }

  #facts(photo) {
    const size = photo.width ? `${number(photo.width)} × ${number(photo.height)} · ${photo.format}` : photo.format;
    const like = `${root}/search?like=${photo.image_id}`;
    return h("div", { class: "facts-line" },
      h("p", { class: "quiet path" }, ...photo.paths.flatMap((path, n) => (n ? [h("br"), path] : [path]))),
      h("p", { class: "quiet" }, size),
      h("p", { class: "links" }, h("a", { class: "button", href: like }, "More like this"),
        h("a", { class: "button", href: url(`/v1/images/${photo.image_id}/file`), target: "_blank", rel: "noopener" }, "Original")));
  }

  #why(why) {
    const [best, second] = why.answers;
    const nearest = why.prompts[0];
    const ahead = why.margin === null ? "" : `, ${Math.round(100 * why.margin)} points ahead of ${second.label}`;
    const agree = why.templates.filter((one) => one.label === best.label).length;
    return h("section", { class: "why" }, h("h3", {}, "Why"),
      h("p", {}, h("strong", {}, best.label), ` with ${percent(best.score)}${ahead}. `,
        `The prompt nearest to the photo is `, h("q", {}, nearest.prompt), ` (cosine ${nearest.cosine.toFixed(3)})`,
        nearest.label === best.label ? "." : h("span", {}, `, which stands for ${nearest.label}: the average of the prompts says otherwise.`),
        why.templates.length ? ` ${agree} of ${why.templates.length} templates alone would say the same.` : ""));
  }

  #correct() {
    const labels = this.oncorrect.labels();
    const said = this.oncorrect.said(this.photo.digest);
    return h("section", { class: "correct" }, h("h3", {}, "What does it show?"),
      h("div", { class: "answers", role: "group", "aria-label": "What the photo shows" }, ...labels.map((label, n) => h("button", {
        type: "button", class: "answer", "aria-pressed": String(said === label), onclick: () => this.#say(n),
      }, ...(n < 9 ? [h("span", { class: "key", "aria-hidden": "true" }, String(n + 1))] : []), label))),
      h("p", { class: "quiet", role: "status" }, this.oncorrect.note(said)));
  }

  async #say(n) {
    if (!this.photo || n >= this.oncorrect.labels().length) return;
    const { photo } = this;
    const focused = this.body.querySelector(".correct")?.contains(document.activeElement);
    await this.oncorrect.say(photo, n);
    const old = this.body.querySelector(".correct");
    if (!old || this.photo !== photo) return;
    const made = this.#correct();
    old.replaceWith(made);
    if (focused) made.querySelectorAll("button")[n]?.focus();
  }

  #scores(why) {
    return h("section", {}, h("h3", {}, "Scores"), h("ol", { class: "bars" }, ...why.answers.map((one) => {
      const bar = h("span", { class: "bar-fill" });
      bar.style.width = `${Math.max(0.5, 100 * one.score)}%`;
      return h("li", {}, h("span", { class: "bar-label" }, one.label), h("span", { class: "bar-track", "aria-hidden": "true" }, bar),
        h("span", { class: "bar-value" }, percent(one.score)));
    })));
  }

  #templates(why) {
    if (!why.templates.length) return null;
    const shown = why.answers.slice(0, 3).map((one) => one.label);
    const table = h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Template"),
      ...shown.map((label) => h("th", { scope: "col", class: "n" }, label)))),
    h("tbody", {}, ...why.templates.map((one) => h("tr", { class: one.label === shown[0] ? "" : "other" },
      h("th", { scope: "row" }, one.template), ...shown.map((_, n) => h("td", { class: "n" }, percent(one.scores[n])))))));
    const box = h("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Scores by template" }, table);
    if (why.templates.length <= FEW_TEMPLATES) return h("section", {}, h("h3", {}, "By template"), box);
    return h("details", {}, h("summary", {}, `By template (${why.templates.length})`), box);
  }

  #near(hits) {
    if (!hits.length) return null;
    return h("section", {}, h("h3", {}, "Most like it"), h("ul", { class: "near" }, ...hits.map((hit) => h("li", {},
      h("button", { type: "button", "aria-label": `${fileName(hit.path)}, similarity ${hit.score.toFixed(2)}`, title: `${fileName(hit.path)} · ${hit.score.toFixed(2)}`,
        onclick: () => this.show(hit) },
      h("img", { src: thumbnail(hit.image_id, 128), alt: "", loading: "lazy", width: 76, height: 76 }))))));
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      if (!this.onstep || event.target.closest(".table")) return;
      event.preventDefault();
      this.onstep(event.key === "ArrowLeft" ? -1 : 1);
    } else if (/^[1-9]$/.test(event.key) && this.oncorrect?.possible()) {
      event.preventDefault();
      this.#say(Number(event.key) - 1);
    }
  }
}
