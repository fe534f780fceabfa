// One photo, large: its scores, why its answer won, and what is like it.
//
// The picture, the title, the reasons and the keys are always those of one photo. A key that says what it shows counts
// only while its picture is there to be seen.

import { NONE } from "./answer.js";
import { ask, latest, root, url } from "./api.js";
import { Chooser } from "./chooser.js";
import { byId, fileName, h, icon, number, percent } from "./dom.js";
import { Large, picture, reason } from "./pictures.js";

const NEIGHBOURS = 12;
const FEW_TEMPLATES = 10;

export class PhotoDialog {
  /**
   * `onshow(id)` is called with the photo shown, `onclose()` when none is. `onlost()` says where to continue when a list
   * is no longer kept: for `{ source, at }` or null. `question()` is what the photos are shown for, `least()` the score
   * that counts, `set()` the question for the labels that a photo may show, if there is one. `oncorrect`, if given, has `possible()`, `labels()`, `said(digest)` and `say(photo, number)`.
   */
  constructor({ question = () => null, least = () => 0, set = () => null, onshow, onclose, onlost = async () => null, oncorrect }) {
    Object.assign(this, { question, least, set, onshow, onclose, onlost, oncorrect });
    this.large = new Large();
    this.chooser = new Chooser({ onchoose: (n) => this.#say(n) });
    this.walk = null;
    this.title = h("h2", { id: "photo-title", tabindex: -1 });
    this.body = h("div", { class: "photo-body" });
    this.frame = h("div", { class: "frame" });
    const button = (name, text, run) => h("button", { type: "button", class: "round", "aria-label": text, title: text, onclick: run }, icon(name));
    this.picture = h("div", { class: "picture" }, this.frame, button("left", "Previous photo", () => this.step(-1)),
      button("right", "Next photo", () => this.step(1)));
    this.element = h("dialog", { class: "photo", "aria-labelledby": "photo-title" }, this.picture,
      h("div", { class: "panel" },
        h("div", { class: "panel-head" }, this.title, button("x", "Close", () => this.element.close())),
        this.body));
    this.element.addEventListener("close", () => {
      this.load.stop();
      this.find.stop();
      this.large.keep([]);
      document.body.append(byId("toasts"));
      this.onclose?.();
    });
    this.element.addEventListener("click", (event) => { if (event.target === this.element) this.element.close(); });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    // What had the focus may be gone, such as a message with its button: keys are still about the photo.
    document.addEventListener("keydown", (event) => { if (this.isOpen && event.target === document.body) this.#key(event); });
    this.load = latest((signal, item) => this.#load(signal, item));
    this.find = latest((signal, i) => this.#find(signal, i));
    document.body.append(this.element);
  }

  get isOpen() { return this.element.open; }

  /**
   * Show a photo of a list. Arrows then go through the list as it is now, whatever becomes of its group: what is
   * corrected meanwhile moves no photo out of the way.
   */
  open(source, at) {
    this.walk = { source, at };
    this.find(at);
  }

  /** Show the photo so many further on in the list. */
  step(by) {
    if (!this.walk) return;
    this.find((this.walk.next ?? this.walk.at) + by);
  }

  async #find(signal, i) {
    const { walk } = this;
    walk.next = undefined;
    if (i < 0) return;
    let item = walk.source.item(i);
    try {
      if (!item) {
        if (i >= walk.source.length) await walk.source.near?.(i);
        if (i >= walk.source.length || signal.aborted) return;
        walk.next = i;
        this.#leave("Loading");
        await walk.source.load(i, i, signal);
        item = walk.source.item(i);
      }
    } catch (error) {
      if (signal.aborted) return;
      const found = error.status === 410 ? await this.onlost().catch(() => null) : null;
      if (signal.aborted) return;
      if (found) {
        const by = i - walk.at;
        this.walk = found;
        this.find(found.at + by);
      } else this.body.replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message));
      return;
    }
    if (signal.aborted || !item) return;
    walk.next = undefined;
    walk.at = i;
    this.show(item);
  }

  /**
   * Show the photo that an address names: in a list at the number `at`, or where it stands among those that are there;
   * by itself where it does not.
   */
  travel(id, source, at = null) {
    if (this.isOpen && this.item?.image_id === id) return;
    for (let i = 0; at === null && source && i < source.length && source.item(i); i += 1) {
      if (source.item(i).image_id === id) at = i;
    }
    if (at !== null && source) this.open(source, at);
    else {
      this.walk = null;
      this.show({ image_id: id });
    }
  }

  /** Nothing of the photo before is left, so that nothing that is said now can be meant for it. */
  #leave(title) {
    this.load.stop();
    this.item = this.photo = this.problem = null;
    this.seen = false;
    if (this.body.contains(document.activeElement)) this.title.focus();
    this.title.textContent = title;
    this.frame.replaceChildren();
    this.picture.setAttribute("aria-busy", "true");
    this.body.replaceChildren(h("p", { class: "quiet" }, "Loading details…"));
    this.body.parentElement.scrollTop = 0;
    if (!this.isOpen) { this.element.showModal(); this.title.focus(); }
  }

  /** Show a photo; `item` has at least `image_id`. */
  show(item) {
    this.#leave(item.path ? fileName(item.path) : "Photo");
    this.chooser.clear();
    this.item = item;
    this.onshow?.(item.image_id);
    this.#showPicture(item);
    this.load(item);
  }

  /** Its reasons may have changed: corrections were made or taken back. */
  again() {
    if (this.isOpen && this.item) this.load(this.item);
  }

  close() { if (this.isOpen) this.element.close(); }

  async #showPicture(item) {
    const id = item.image_id;
    const mine = (this.showing = {});
    this.large.keep([id]);  // what was to come next to the photo before can wait
    let shown = this.large.ready(id);
    let problem = null;
    try {
      shown ??= await this.large.get(id);
    } catch (error) {
      problem = error;
    }
    if (this.showing !== mine || this.item?.image_id !== id) return;
    this.picture.setAttribute("aria-busy", "false");
    this.problem = problem;
    if (problem) {
      this.frame.replaceChildren(h("div", { class: "cannot", role: "status" },
        h("p", { class: "gone-name" }, fileName(this.item.path ?? "") || "Photo"), h("p", {}, `${reason(problem)}.`.replace("..", "."))));
    } else {
      shown.className = "large";
      shown.alt = this.title.textContent;
      this.frame.replaceChildren(shown);
      this.seen = true;
    }
    this.#drawCorrect();
    this.#ahead(id);
  }

  /** Load the photos next to this one: those that come are wanted before those that have been. */
  #ahead(id) {
    const { source, at } = this.walk ?? {};
    if (!source || source.item(at)?.image_id !== id) return;
    const near = [1, -1, 2, -2].map((by) => source.item(at + by)?.image_id).filter((one) => one !== undefined);
    this.large.keep([id, ...near]);
  }

  async #load(signal, item) {
    const asked = this.question();
    const forSet = this.set();
    const id = item.image_id;
    try {
      const found = ask(`/v1/images/${id}`, { signal });
      const [photo, why, near, may] = await Promise.all([
        found,
        asked ? ask(`/v1/images/${id}/explain`, { body: asked, signal }).catch((error) => error) : null,
        ask(`/v1/images/${id}/similar?top=${NEIGHBOURS}`, { signal }).catch((error) => error),
        forSet ? found.then(({ paths }) => ask("/v1/classify", { body: { ...forSet, paths: paths.slice(0, 1), limit: 1 }, signal })).catch(() => null) : null,
      ]);
      if (signal.aborted) return;
      this.item = { ...item, path: item.path ?? photo.paths[0] ?? "" };
      this.photo = photo;
      this.title.textContent = fileName(this.item.path) || "Photo";
      const image = this.frame.querySelector("img");
      if (image) image.alt = this.title.textContent;
      const focused = this.body.contains(document.activeElement);
      const on = [...this.body.querySelectorAll(".answer")].indexOf(document.activeElement);
      const looks = document.activeElement === this.chooser.input;
      const wrong = (error) => (error instanceof Error ? [h("p", { class: "wrong", role: "alert" }, error.message)] : null);
      const has = why && !(why instanceof Error) ? why : null;
      this.likely = has?.answers.map((one) => one.label);
      this.body.replaceChildren(...[
        this.#facts(photo), wrong(why), has && this.#why(has, asked), may?.results.length && this.#may(may), this.oncorrect?.possible() && this.#correct(), has && this.#scores(has),
        has && this.#templates(has), wrong(near) ?? this.#near(near.hits),
      ].flat().filter(Boolean));
      // What had the focus was made anew.
      if (focused) (looks ? this.chooser.input : this.body.querySelectorAll(".answer")[on] ?? this.title).focus();
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

  #why(why, asked) {
    const [best, second] = why.answers;
    const nearest = why.prompts[0];
    const ahead = why.margin === null ? "" : `, ${Math.round(100 * why.margin)} points ahead of ${second.label}`;
    const agree = why.templates.filter((one) => one.label === best.label).length;
    const said = this.oncorrect?.said(this.photo.digest);
    const least = this.least();
    return h("section", { class: "why" }, h("h3", {}, "Why"),
      h("p", {}, h("strong", {}, best.label), ` with ${percent(best.score)}${ahead}. `,
        `The prompt nearest to the photo is `, h("q", {}, nearest.prompt), ` (cosine ${nearest.cosine.toFixed(3)})`,
        nearest.label === best.label ? "." : h("span", {}, `, which belongs to ${nearest.label}; the average of the prompts disagrees.`),
        why.templates.length ? ` ${agree} of ${why.templates.length} templates alone would give the same answer.` : ""),
      said && asked?.with_corrections ? h("p", {}, `This photo was corrected to ${said}.`) : null,
      best.score < least && best.label !== NONE ? h("p", {}, `This is below the required ${percent(least)}, so the photo counts as none of these.`) : null);
  }

  /** The labels that the photo may show. */
  #may({ coverage, results: [{ predictions }] }) {
    const [promise] = coverage.promises;
    const doubts = coverage.doubts.length ? ` Do not trust it yet: ${coverage.doubts.join("; ")}.` : "";
    return h("section", { class: "may" }, h("h3", {}, "It may show"),
      h("p", {}, h("strong", {}, predictions.map((one) => one.label).join(", "))),
      h("p", { class: "quiet" }, `Such a list holds what a photo shows in ${percent(coverage.coverage)} of cases, as ${number(coverage.photos)} corrections tell: in `,
        `${percent(promise.low)} to ${percent(promise.high)}, if these were taken by chance.${doubts}`));
  }

  #correct() {
    const labels = this.oncorrect.labels();
    const said = this.oncorrect.said(this.photo.digest);
    const note = this.problem ? "The picture cannot be shown, so number keys are off. Choose below if you know what it shows."
      : !this.seen ? "Number keys work once the picture is loaded."
      : said ? `Kept: it shows ${said}.` : "Press a number, or choose.";
    return h("section", { class: "correct" }, h("h3", {}, "What does it show?"),
      ...this.chooser.draw({ labels, said, likely: this.likely, disabled: !this.seen && !this.problem }),
      h("p", { class: "quiet", role: "status" }, note));
  }

  /** Draw anew what can be said of the photo, and has been. */
  #drawCorrect() {
    const old = this.body.querySelector(".correct");
    if (!old || !this.photo) return;
    const on = [...old.querySelectorAll(".answer")].indexOf(document.activeElement);
    const looks = document.activeElement === this.chooser.input;
    const made = this.#correct();
    old.replaceWith(made);
    if (looks) this.chooser.input.focus();
    else made.querySelectorAll(".answer")[on]?.focus();
  }

  async #say(n) {
    if (!this.photo || !(n < this.oncorrect.labels().length)) return;
    await this.oncorrect.say(this.photo, n);
  }

  /** What was said of photos is another now. */
  said() { this.#drawCorrect(); }

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
      h("th", { scope: "row" }, one.template), ...shown.map((_, n) => h("td", { class: "n" }, one.scores[n] === null ? "–" : percent(one.scores[n])))))));
    const box = h("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Scores by template" }, table);
    if (why.templates.length <= FEW_TEMPLATES) return h("section", {}, h("h3", {}, "By template"), box);
    return h("details", {}, h("summary", {}, `By template (${why.templates.length})`), box);
  }

  #near(hits) {
    if (!hits.length) return null;
    return h("section", {}, h("h3", {}, "Most like it"), h("ul", { class: "near" }, ...hits.map((hit) => h("li", {},
      h("button", { type: "button", "aria-label": `${fileName(hit.path)}, similarity ${hit.score.toFixed(2)}`, title: `${fileName(hit.path)} · ${hit.score.toFixed(2)}`,
        onclick: () => this.show(hit) },
      picture(hit, 128))))));
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      if (event.target.closest(".table")) return;
      event.preventDefault();
      this.step(event.key === "ArrowLeft" ? -1 : 1);
    } else if (/^[1-9]$/.test(event.key) && this.oncorrect?.possible()) {
      event.preventDefault();
      // A key that is held down says it of one photo only.
      if (this.seen && !event.repeat) this.#say(this.chooser.at(Number(event.key)));
    }
  }
}
