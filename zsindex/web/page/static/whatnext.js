// What to do next with the labels in the lab: each thing with what it gives, and when to trust that.

import { ask, mayWrite, url } from "./api.js";
import { fileName, h, number, percent, photos, toast } from "./dom.js";
import { question } from "./editor.js";
import { picture } from "./pictures.js";

const TELLING = 24;
const PICTURES = 3;
const WORDS = 4;
// Of a question, what says which labels are asked.
const ABOUT_LABELS = ["labels", "label_set", "templates", "negatives"];

export class WhatNext {
  /**
   * `asked()` is the question of the editor; `group()` the label in view, null for none; `least()` the score that is
   * asked for. `onword(word)` adds a label, `onphotos(photos)` shows photos one by one.
   */
  constructor(host, { asked, group, least, onword, onphotos }) {
    Object.assign(this, { asked, group, least, onword, onphotos });
    this.result = h("div", { class: "next-result", "aria-live": "polite" });
    this.list = h("ul", { class: "next-list" });
    this.box = h("details", { class: "more", hidden: true, ontoggle: () => this.#list() }, h("summary", {}, "What next?"), this.list, this.result);
    host.append(this.box);
    mayWrite().then((may) => { this.may = may; this.draw(); }, () => {});
  }

  /** The question, the group or the score is another one. */
  draw() {
    const about = question(this.asked());
    this.box.hidden = !about;
    const key = JSON.stringify(about);
    if (key !== this.key) this.result.replaceChildren();  // what was found is about other words
    this.key = key;
    this.#list();
  }

  #labels() {
    const about = question(this.asked());
    return about && Object.fromEntries(Object.entries(about).filter(([name]) => ABOUT_LABELS.includes(name)));
  }

  #list() {
    if (!this.box.open || this.box.hidden) return;
    const { set } = this.asked();
    const name = set?.split("@")[0];
    const group = this.group();
    const least = this.least();
    const more = { ...(name ? { set: name } : {}) };
    const item = (text, why, run) => h("li", {}, typeof run === "string"
      ? h("a", { href: url(run) }, text) : h("button", { type: "button", class: "plain", onclick: run }, text), h("p", { class: "hint" }, why));
    const onlySaved = "Save this set first.";
    const locked = (text, why) => h("li", {}, h("span", {}, text), h("p", { class: "hint" }, why));
    const items = [
      item("Check the words", "Labels that coincide, never win or win nearly everything. Hints from your photos, no proof: try what they advise.", () => this.#lint()),
      item("Suggest more words", "For photos that no label fits, words that do. One adds it as a label, and you see whether it works.", () => this.#suggest()),
      name && this.may ? item("Photos worth a look", "Unsure ones that stand for many: saying what they show teaches most. They are hard ones, so do not measure by them.", () => this.#telling())
        : locked("Photos worth a look", name ? "Corrections need the right to write." : onlySaved),
      name && group && least > 0 && this.may ? item(`Keep ${percent(least)} as threshold of “${group}”`, "Answers below it are not given where thresholds are asked for. Evaluate says what it costs.", () => this.#threshold(name, group, least))
        : null,
      name ? item("How often is it right?", "Accuracy, what is confused with what, thresholds: as good as what is known of photos that were taken by chance.", `/evaluate?${new URLSearchParams({ set: name, ...(group ? { label: group } : {}) })}`)
        : locked("How often is it right?", onlySaved),
      name ? item("Which words are best?", "This set against another, or other templates: looks only at photos on which they differ. Best of these, not good.", `/choose?${new URLSearchParams({ set: name })}`)
        : null,
      ...(group ? [
        item(`How many show “${group}”?`, "A number with an interval that holds whatever the model thinks, from some hundred looks.", `/count?${new URLSearchParams({ label: group, ...more })}`),
        item(`Have I seen every “${group}”?`, "Shows them one by one until it may be said that 95 % were seen. Decide on the share before you look.", `/review?${new URLSearchParams({ label: group, ...more })}`)] : []),
    ];
    this.list.replaceChildren(...items.filter(Boolean));
  }

  async #show(text, work) {
    const { key } = this;
    const mine = (this.showing = {});
    this.result.replaceChildren(h("p", { class: "quiet" }, text));
    let made;
    try {
      made = await work();
    } catch (error) {
      made = [h("p", { class: "wrong", role: "alert" }, error.message)];
    }
    if (this.showing !== mine || this.key !== key) return;
    this.result.replaceChildren(...made);
    this.result.scrollIntoView({ block: "nearest" });
  }

  #lint() {
    return this.#show("Looking over the words…", async () => {
      const found = await ask("/v1/lint", { body: { ...this.#labels(), limit: 30 } });
      if (!found.total) return [h("p", {}, `Nothing stands out among ${number(found.labels)} labels.`)];
      return [h("h2", {}, "The words"), h("ul", { class: "next-found" }, ...found.findings.map((one) => h("li", {},
        h("strong", { class: one.severity === "warning" ? "wrong" : "" }, one.words.join(", ")), h("p", {}, one.message), h("p", { class: "hint" }, one.advice)))),
      found.total > found.findings.length ? h("p", { class: "quiet" }, `and ${number(found.total - found.findings.length)} more`) : ""];
    });
  }

  #suggest() {
    return this.#show("Looking for photos that no label fits…", async () => {
      const found = await ask("/v1/suggest", { body: { ...this.#labels(), names: WORDS, examples: PICTURES } });
      if (!found.groups.length) return [h("p", {}, found.interrupted ? "That took too long; try again to go on." : "The labels fit all photos.")];
      const query = new URLSearchParams(found.groups.flatMap((one) => one.photos.map((path) => ["path", path])));
      const there = query.size ? (await ask(`/v1/images?by=path&limit=100&${query}`)).images : [];
      const byPath = new Map(there.map((one) => [one.path, one]));
      return [h("h2", {}, "Words for what is missed"), h("ul", { class: "next-found" }, ...found.groups.map((one) => h("li", {},
        h("div", { class: "next-pictures" }, ...one.photos.filter((path) => byPath.has(path)).map((path) => picture(byPath.get(path), 128, { alt: fileName(path) }))),
        h("p", { class: "hint" }, `${photos(one.images)}, now mostly “${one.label}”`),
        h("div", { class: "buttons" }, ...one.names.map(({ word }) => h("button", { type: "button", onclick: () => this.onword(word) }, `+ ${word}`))))))];
    });
  }

  #telling() {
    return this.#show("Looking for photos that tell most…", async () => {
      const { set } = this.asked();
      const found = await ask(`/v1/corrections/next?${new URLSearchParams({ label_set: set, n: String(TELLING) })}`);
      if (!found.length) return [h("p", {}, "Every photo has been corrected.")];
      this.onphotos(found);
      return [h("p", {}, `${photos(found.length)} to look at, the most telling first. `, h("button", { type: "button", class: "plain", onclick: () => this.#telling() }, "Others"))];
    });
  }

  #threshold(set, label, score) {
    return this.#show("Trying it…", async () => {
      const body = { label_set: set, label, score, limit: 0 };
      const change = await ask("/v1/thresholds", { body });
      return [h("p", {}, `“${label}” from ${percent(score)} on: ${photos(change.after)} would have it, now ${number(change.before)}. It is kept as a share, the best ${percent(change.rate)} of the library.`),
        h("button", { type: "button", class: "primary", onclick: () => this.#keep(body) }, "Keep it")];
    });
  }

  async #keep(body) {
    try {
      await ask("/v1/thresholds", { body: { ...body, apply: true } });
      this.result.replaceChildren();
      toast(`Kept: “${body.label}” from ${percent(body.score)} on.`);
    } catch (error) { toast(error.message); }
  }
}
