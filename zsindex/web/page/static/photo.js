// One photo, large: its scores, why its answer won, and what is like it.
//
// The picture, the title, the reasons and the keys are always those of one photo. A key that says what it shows counts
// only while its picture is there to be seen.

import { NONE } from "./answer.js";
import { ask, latest, root, url } from "./api.js";
import { Chooser } from "./chooser.js";
import { byId, fileName, h, icon, number, percent, toast } from "./dom.js";
import { factsOf, factsSection } from "./facts.js";
import { keep, kept } from "./kept.js";
import { Pair } from "./pair.js";
import { Large, picture } from "./pictures.js";
import { reach } from "./place.js";
import { Slideshow } from "./slideshow.js";
import { Viewer } from "./viewer.js";

const NEIGHBOURS = 12;
const FEW_TEMPLATES = 10;

/** Whether the next photo comes by itself once it is said what one shows. */
export const goesOn = () => kept("goes-on", "yes") === "yes";

export class PhotoDialog {
  /**
   * `onshow(id, at)` is called with the photo shown and its number in the list, `onclose()` when none is. `onlost()` says where to continue when a list
   * is no longer kept: for `{ source, at }` or null. `question()` is what the photos are shown for, `least()` the score
   * that counts, `set()` the question for the labels that a photo may show, if there is one. `oncorrect`, if given, has
   * `possible()`, `labels()`, `said(digest)`, `say(photo, number, shown)` and perhaps `undo()`; `shown` is for `revisit()`.
   */
  constructor({ question = () => null, least = () => 0, set = () => null, onshow, onclose, onlost = async () => null, oncorrect }) {
    Object.assign(this, { question, least, set, onshow, onclose, onlost, oncorrect });
    this.large = new Large();
    this.chooser = new Chooser({ onchoose: (n) => this.#say(n) });
    this.walk = null;
    this.title = h("h2", { id: "photo-title", tabindex: -1 });
    this.body = h("div", { class: "photo-body" });
    this.pair = new Pair({ large: this.large, onend: ({ item, ...walk }) => {
      this.#pairing(false);
      this.walk = walk;
      this.show(item);
    } });
    this.panel = h("div", { class: "panel" },
      h("div", { class: "panel-head" }, this.title,
        h("button", { type: "button", class: "round", "aria-label": "Close", title: "Close", onclick: () => this.close() }, icon("x"))),
      this.body, this.pair.facts);
    this.slideshow = new Slideshow({ next: () => this.#nextIsThere(), step: () => this.step(1), onend: () => toast("That was the last photo.") });
    this.view = h("div", { class: "view" });
    this.viewer = new Viewer(this.view, { slideshow: this.slideshow, onstep: (by) => this.step(by), onclose: () => this.close(),
      onpair: () => this.#pair(), onbare: () => this.#bared() });
    this.viewer.area.append(this.pair.element);
    this.view.append(this.viewer.element, this.panel);
    this.element = h("dialog", { class: "photo", "aria-labelledby": "photo-title" }, this.view);
    this.element.addEventListener("close", () => {
      this.pair.end(false);
      this.#pairing(false);
      this.slideshow.pause();
      this.viewer.leaveFull();
      this.load.stop();
      this.find.stop();
      this.large.keep([]);
      document.body.append(byId("toasts"));
      this.onclose?.();
    });
    this.element.addEventListener("click", (event) => { if (event.target === this.element) this.close(); });
    for (const kind of ["pointerdown", "wheel"]) {
      this.element.addEventListener(kind, (event) => { if (!event.target.closest(".slideshow")) this.slideshow.pause(); }, { capture: true, passive: true });
    }
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
    if (this.pair.isOpen) {
      this.pair.step(by);
      return;
    }
    if (!this.walk) return;
    this.find((this.walk.next ?? this.walk.at) + by);
  }

  async #find(signal, i) {
    const { walk } = this;
    walk.next = undefined;
    let item;
    try {
      item = await reach(walk.source, i, { signal, onwait: () => { walk.next = i; this.#leave("Loading"); } });
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

  /** Show the photo that an address names: at a number of a list; by itself where that is null. Whether it is in the list. */
  travel(id, source, at) {
    if (this.isOpen && this.item?.image_id === id) return false;
    this.#endPair();
    if (at === null) {
      this.walk = null;
      this.show({ image_id: id });
    } else this.open(source, at);
    return at !== null;
  }

  /** What is shown, for `revisit()`, and for two side by side. */
  #shown() { return { ...this.walk, next: undefined, item: this.item }; }

  /** Show a photo, and go on in its list, as when it was shown before. Whether any photo is open. */
  revisit({ item, ...walk }) {
    if (!this.isOpen) return false;
    this.#endPair();
    if (this.item?.image_id === item.image_id) return true;
    this.find.stop();
    this.walk = walk.source ? walk : null;
    this.show(item);
    return true;
  }

  /** Nothing of the photo before is left, so that nothing that is said now can be meant for it. */
  #leave(title) {
    this.load.stop();
    this.slideshow.left();
    this.item = this.photo = this.problem = null;
    this.seen = false;
    const hadFocus = this.body.contains(document.activeElement) || this.viewer.strip.contains(document.activeElement);
    this.title.textContent = title;
    this.viewer.pane.clear();
    this.viewer.mark(null);
    this.viewer.strip.replaceChildren();
    this.body.replaceChildren(h("p", { class: "quiet" }, "Loading details…"));
    this.panel.scrollTop = 0;
    if (!this.isOpen) {
      this.element.showModal();
      this.#rest();
    } else if (hadFocus) this.#rest();
  }

  /** Where the focus is when nothing in particular has it. */
  #rest() { (this.viewer.isBare ? this.viewer.element : this.title).focus(); }

  /** Show a photo; `item` has at least `image_id`. */
  show(item) {
    this.#leave(item.path ? fileName(item.path) : "Photo");
    this.chooser.clear();
    this.likely = [];
    this.item = item;
    const isListed = this.walk?.source.item(this.walk.at)?.image_id === item.image_id;
    this.onshow?.(item.image_id, isListed ? this.walk.at : null);
    this.#showPicture(item);
    this.load(item);
  }

  /** Its reasons may have changed: corrections were made or taken back. */
  again() {
    if (this.isOpen && this.item && !this.pair.isOpen) this.load(this.item);
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
    this.problem = problem;
    if (problem) this.viewer.pane.cannot(this.item, problem);
    else {
      this.viewer.pane.show(shown, this.item, this.title.textContent);
      this.seen = true;
      if (this.photo) this.viewer.pane.know(this.photo, this.title.textContent);
    }
    this.#drawCorrect();
    this.#ahead(id);
    this.slideshow.arrived();
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
      const found = ask(`/v1/images/${id}`, { signal }).then((photo) => {
        if (!signal.aborted) this.#known(item, photo);
        return photo;
      });
      const [photo, why, near, facts, may] = await Promise.all([
        found,
        asked ? ask(`/v1/images/${id}/explain`, { body: asked, signal }).catch((error) => error) : null,
        ask(`/v1/images/${id}/similar?top=${NEIGHBOURS}`, { signal }).catch((error) => error),
        found.then(({ paths }) => factsOf(id, item.path ?? paths[0], signal)).catch(() => null),
        forSet ? found.then(({ paths }) => ask("/v1/classify", { body: { ...forSet, paths: paths.slice(0, 1), limit: 1 }, signal })).catch(() => null) : null,
      ]);
      if (signal.aborted) return;
      const focused = this.body.contains(document.activeElement);
      const on = this.#choiceInFocus();
      const wrong = (error) => (error instanceof Error ? [h("p", { class: "wrong", role: "alert" }, error.message)] : null);
      const has = why && !(why instanceof Error) ? why : null;
      this.likely = has?.answers.map((one) => one.label);
      this.body.replaceChildren(...[
        this.#line(photo), wrong(why), has && this.#why(has, asked), may?.results.length && this.#may(may), has && this.#scores(has),
        has && this.#templates(has), factsSection(facts), wrong(near) ?? this.#near(near.hits),
      ].flat().filter(Boolean));
      this.#drawCorrect(on);
      if (focused && !this.body.contains(document.activeElement)) this.#rest();  // what had it was made anew
    } catch (error) {
      if (!signal.aborted) this.body.replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message));
    }
  }

  /** It is known what the photo is: enough to say what it shows. */
  #known(item, photo) {
    const isNew = this.photo === null;
    this.item = { ...item, path: item.path ?? photo.paths[0] ?? "" };
    this.photo = photo;
    this.title.textContent = fileName(this.item.path) || "Photo";
    this.viewer.pane.know(photo, this.title.textContent);
    if (!isNew) return;
    this.body.prepend(this.#line(photo));
    this.#drawCorrect();
  }

  #line(photo) {
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
      h("label", { class: "check" }, h("input", { type: "checkbox", checked: goesOn(), onchange: (event) => keep("goes-on", event.target.checked ? "yes" : "no") }),
        "Go on to the next photo after each answer"),
      h("p", { class: "quiet", role: "status" }, note));
  }

  #choiceInFocus() {
    return this.correct ? [...this.correct.querySelectorAll("button, input")].indexOf(document.activeElement) : -1;
  }

  /** Draw anew what can be said of the photo, and has been. */
  #drawCorrect(on = this.#choiceInFocus()) {
    this.correct?.remove();
    this.correct = null;
    if (!this.photo || !this.oncorrect || this.pair.isOpen) return;
    const said = this.oncorrect.said(this.photo.digest);
    this.viewer.mark(said && `Corrected: ${said}`);
    if (!this.oncorrect.possible()) return;
    this.correct = this.#correct();
    if (this.viewer.isBare) this.viewer.strip.replaceChildren(this.correct);
    else this.body.firstElementChild.after(this.correct);
    this.correct.querySelectorAll("button, input")[on]?.focus();
  }

  /** The photo that is shown shows the answer of a number. The next one comes while that is kept. */
  #say(n) {
    if (!this.photo || this.pair.isOpen || !(n < this.oncorrect.labels().length)) return;
    this.oncorrect.say(this.photo, n, this.#shown());
    if (goesOn()) this.step(1);
  }

  /** The panel is hidden, or shown again. */
  #bared() {
    if (!this.element?.open) return;
    if (this.viewer.isBare && this.panel.contains(document.activeElement)) this.viewer.element.focus();
    this.#drawCorrect();
  }

  // --- more than one photo -------------------------------------------------------------------------------------------

  /** For the slideshow: whether a photo follows, once its picture is there, or cannot be. */
  async #nextIsThere() {
    const { source, at } = this.walk ?? {};
    const item = source ? await reach(source, at + 1) : null;
    if (item) await this.large.get(item.image_id).catch(() => {});
    return item !== null;
  }

  /** Side by side: the marked photo, or this one, and this one, or the next. */
  async #pair() {
    if (this.pair.isOpen) {
      this.pair.end();
      return;
    }
    if (!this.item || !this.walk) return;
    this.slideshow.pause();
    const here = this.#shown();
    const isListed = here.source.item(here.at)?.image_id === here.item.image_id;
    let left = here;
    let right = null;
    if (this.marked && this.marked.item.image_id !== here.item.image_id) [left, right] = [this.marked, here];
    else {
      // A photo that is like the one of the list is beside that one.
      for (const at of isListed ? [here.at + 1, here.at - 1] : [here.at]) {
        const item = right ? null : await reach(here.source, at).catch(() => null);
        if (item) right = { ...here, item, at };
      }
    }
    if (!right || this.item?.image_id !== here.item.image_id) return;
    this.find.stop();
    this.load.stop();
    this.viewer.pane.clear();
    this.#pairing(true);
    this.pair.open(left, right);
    this.#drawCorrect();
  }

  #endPair() {
    this.pair.end(false);
    this.#pairing(false);
  }

  #pairing(isOn) {
    this.view.classList.toggle("pairing", isOn);
    this.viewer.pair.setAttribute("aria-pressed", String(isOn));
    if (!isOn) return;
    this.seen = false;
    this.title.textContent = "Side by side";
    this.viewer.mark(null);
    this.#rest();
  }

  #mark() {
    if (!this.item || !this.walk || this.pair.isOpen) return;
    this.marked = this.#shown();
    toast(`Marked: ${this.title.textContent}. Open another photo and press C.`);
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
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input:not([type=checkbox]), select, textarea")) return;
    if (event.key.length > 1 && ["Shift", "CapsLock", "Tab"].includes(event.key)) return;
    if (event.key.toLowerCase() !== "s") this.slideshow.pause();
    if (this.#does(event)) event.preventDefault();
  }

  /** Whether a key was for this view. One that is held down moves on, and says something of one photo only. */
  #does(event) {
    const key = event.key.toLowerCase();
    if (this.pair.isOpen && (key === "s" || this.pair.key(event))) return true;
    if (this.viewer.key(event)) return true;
    if (/^[1-9]$/.test(key)) {
      if (!this.oncorrect?.possible()) return false;
      if (this.seen && !event.repeat) this.#say(this.chooser.at(Number(key)));
    } else if (key === "arrowleft" || key === "arrowright") {
      if (event.target.closest(".table")) return false;
      this.step(key === "arrowleft" ? -1 : 1);
    } else if (event.repeat) return false;
    else if (key === "c") this.#pair();
    else if (key === "m") this.#mark();
    else if (key === "u" && this.oncorrect?.undo && this.oncorrect.possible()) this.oncorrect.undo();
    else return false;
    return true;
  }
}
