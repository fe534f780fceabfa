// What is asked: labels, decoys and templates; and the sets that the library keeps of them.

import { ask, mayWrite } from "./api.js";
import { Chips } from "./chips.js";
import { debounced, h, toast } from "./dom.js";

const TYPING = 250;
const OWN = "\u0000own";

// How photos of none of the labels are told: the rules of the service that need no more than a share of the library.
const RULES = [["", "Off: some label always wins"], ["neglabel", "If unrelated words fit better"], ["mcm:0.05", "The 5 % least like any label"],
  ["mcm:0.2", "The 20 % least like any label"], ["margin:0.1", "The 10 % most undecided"]];

/** What stands in a URL under a prefix. */
export function fromUrl(params, prefix = "") {
  return {
    labels: params.getAll(`${prefix}label`),
    negatives: params.getAll(`${prefix}not`),
    templates: params.getAll(`${prefix}template`),
    set: params.get(`${prefix}set`),
    unknown: params.get(`${prefix}unknown`),
  };
}

export function toUrl(params, asked, prefix = "") {
  if (asked.set) params.set(`${prefix}set`, asked.set);
  else {
    asked.labels.forEach((label) => params.append(`${prefix}label`, label));
    asked.negatives.forEach((label) => params.append(`${prefix}not`, label));
  }
  asked.templates.forEach((template) => params.append(`${prefix}template`, template));
  if (asked.unknown) params.set(`${prefix}unknown`, asked.unknown);
}

/** The body of a question; null where nothing is asked. */
export function question(asked) {
  const others = { ...(asked.templates.length ? { templates: asked.templates } : {}), ...(asked.unknown ? { unknown: asked.unknown } : {}) };
  if (asked.set) return { label_set: asked.set, ...others };
  if (!asked.labels.length) return null;
  const negatives = asked.negatives.filter((label) => !asked.labels.includes(label));
  return { labels: asked.labels, ...others, ...(negatives.length ? { negatives } : {}) };
}

let templateSets;
let serial = 0;

export class Editor {
  /** `onchange(asked, settled)`, where `settled` is false while something is being typed. */
  constructor(host, { onchange, compact = false }) {
    this.onchange = onchange;
    this.asked = { labels: [], negatives: [], templates: [], set: null, unknown: null };
    const id = `editor-${(serial += 1)}`;
    this.told = debounced(() => this.onchange(this.asked, false), TYPING);
    this.labels = new Chips({
      label: "Labels",
      placeholder: "dog, car, bird",
      hint: compact ? null : "Enter or a comma adds one. Paste or drop a list to add many.",
      onchange: (values, settled) => this.#edited({ labels: values }, settled),
    });
    this.negatives = new Chips({
      label: "Decoys",
      placeholder: "a texture, a blank wall",
      hint: "Things that photos may show besides the labels. Photos they win become “none of these”.",
      onchange: (values, settled) => this.#edited({ negatives: values }, settled),
    });
    this.templates = h("select", { id: `${id}-templates`, onchange: () => this.#chose() });
    this.own = h("textarea", { id: `${id}-own`, rows: 3, spellcheck: false, placeholder: "a photo of a {}.",
      oninput: () => this.#wrote(), onchange: () => this.#wrote(true) });
    this.ownField = h("div", { class: "field", hidden: true },
      h("label", { for: `${id}-own` }, "Your own templates, one per line; {} is the label"), this.own);
    this.wrong = h("p", { class: "wrong", role: "alert" });
    this.sets = h("select", { id: `${id}-sets`, onchange: () => this.#load(this.sets.value) });
    this.save = h("button", { type: "button", hidden: true, onclick: () => this.#save() }, "Save…");
    this.rule = h("select", { id: `${id}-rule`, onchange: () => this.#ruled() });
    this.decoys = h("details", { class: "more" }, h("summary", {}, "None of these"), this.negatives.element,
      h("div", { class: "field" }, h("label", { for: `${id}-rule` }, "Photos unlike any label"), this.rule));
    host.append(
      this.labels.element, this.wrong,
      h("div", { class: "pair" },
        h("div", { class: "field" }, h("label", { for: `${id}-templates` }, "Templates"), this.templates),
        h("div", { class: "field" }, h("label", { for: `${id}-sets` }, "Saved set"),
          h("div", { class: "with-button" }, this.sets, this.save))),
      this.ownField,
      ...(compact ? [] : [this.decoys]));
    mayWrite().then((may) => { this.save.hidden = !may; }, () => {});
    this.ready = Promise.all([this.#fillTemplates(), this.#fillSets()]).then(() => this.#show(), (error) => this.fail(error.message));
  }

  set(asked) {
    this.told.cancel();
    this.asked = { ...asked };
    this.labels.input.value = this.negatives.input.value = "";  // what was being typed was of the question before
    this.labels.set(asked.labels);
    this.negatives.set(asked.negatives);
    this.#showRule();
    if (asked.negatives.length || asked.unknown) this.decoys.open = true;
    this.#show();
    if (asked.set && !asked.labels.length) return this.#read(asked.set);
    return Promise.resolve();
  }

  /** Say what the service did not like about the question. */
  fail(text = "") {
    this.wrong.textContent = text;
  }

  #showRule() {
    const rules = RULES.some(([rule]) => rule === (this.asked.unknown ?? "")) ? RULES : [...RULES, [this.asked.unknown, this.asked.unknown]];
    this.rule.replaceChildren(...rules.map(([value, text]) => h("option", { value }, text)));
    this.rule.value = this.asked.unknown ?? "";
  }

  #ruled() {
    this.asked = { ...this.asked, unknown: this.rule.value || null };
    this.onchange(this.asked, true);
  }

  #edited(change, settled) {
    if (this.asked.set && this.document && (Object.keys(this.document.groups).length || !this.document.templates.length)) {
      toast(`“${this.asked.set}” has groups or prompts of its own. Editing it here keeps only the names.`);
    }
    this.asked = { ...this.asked, ...change, set: null };
    this.sets.value = "";
    if (settled) {
      this.told.cancel();
      this.onchange(this.asked, true);
    } else this.told();
  }

  async #fillTemplates() {
    templateSets ??= ask("/v1/template-sets");
    this.known = await templateSets;
    this.templates.replaceChildren(
      ...this.known.map((set) => h("option", { value: set.name },
        set.templates.length === 1 ? set.templates[0] : `${set.name} (${set.templates.length})`)),
      h("option", { value: OWN }, "Own…"));
  }

  async #fillSets() {
    const found = await ask("/v1/label-sets");
    this.sets.replaceChildren(h("option", { value: "" }, found.length ? "–" : "None yet"),
      ...found.map((set) => h("option", { value: set.name }, `${set.name} (${set.labels.length})`)));
    this.sets.disabled = !found.length;
    this.sets.value = this.asked.set ?? "";
  }

  /** Make the selects say what is asked. */
  #show() {
    if (!this.known) return;
    const [first, ...others] = this.asked.templates;
    const named = this.known.find((set) => !others.length && (set.name === first || (set.templates.length === 1 && set.templates[0] === first)));
    const whole = this.known.find((set) => set.templates.length === this.asked.templates.length &&
      set.templates.every((text, n) => text === this.asked.templates[n]));
    const value = first === undefined ? "default" : (named ?? whole)?.name ?? OWN;
    this.templates.value = value;
    this.ownField.hidden = value !== OWN;
    if (value === OWN && document.activeElement !== this.own) this.own.value = this.asked.templates.join("\n");
    this.sets.value = this.asked.set?.split("@")[0] ?? "";
  }

  #chose() {
    const value = this.templates.value;
    if (value === OWN) {
      const before = this.known.find((set) => set.name === (this.asked.templates[0] ?? "default"));
      this.own.value = (before && before.templates.length <= 10 ? before.templates : ["a photo of a {}."]).join("\n");
      this.ownField.hidden = false;
      this.own.focus();
      this.#wrote(true);
      return;
    }
    this.ownField.hidden = true;
    this.asked = { ...this.asked, templates: value === "default" && !this.asked.set ? [] : [value] };
    this.onchange(this.asked, true);
  }

  #wrote(settled = false) {
    const templates = this.own.value.split("\n").map((line) => line.trim()).filter(Boolean);
    // Half a placeholder is not a template yet.
    if (templates.some((line) => !/\{(label|c)?\}/.test(line) && !this.known.some((set) => set.name === line))) {
      this.told.cancel();
      this.fail("Each template needs a {} where the label goes.");
      return;
    }
    this.fail();
    this.asked = { ...this.asked, templates };
    if (settled) {
      this.told.cancel();
      this.onchange(this.asked, true);
    } else this.told();
  }

  async #read(name) {
    try {
      this.document = await ask(`/v1/label-sets/${encodeURIComponent(name)}`);
    } catch (error) {
      this.fail(error.message);
      return;
    }
    if (this.asked.set !== name) return;
    this.asked.labels = this.document.labels;
    this.asked.negatives = this.document.negatives;
    this.labels.set(this.document.labels);
    this.negatives.set(this.document.negatives);
    this.#show();
  }

  async #load(name) {
    if (!name) return;
    this.fail();
    this.asked = { labels: [], negatives: [], templates: [], set: name, unknown: this.asked.unknown };
    await this.#read(name);
    this.onchange(this.asked, true);
  }

  #save() {
    const asked = this.asked;
    if (!asked.labels.length) {
      this.fail("Add labels before saving.");
      this.labels.input.focus();
      return;
    }
    const input = h("input", { id: "set-name", type: "text", required: true, maxlength: 100, value: asked.set?.split("@")[0] ?? "",
      pattern: "[^@]+", title: "Any name without @", autocomplete: "off" });
    const wrong = h("p", { class: "wrong", role: "alert" });
    const form = h("form", { method: "dialog" },
      h("h2", {}, "Save the label set"),
      h("p", { class: "quiet" }, "If the name is taken, this becomes its next version."),
      h("label", { for: "set-name" }, "Name"), input, wrong,
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        h("button", { type: "submit", class: "primary" }, "Save")));
    const dialog = h("dialog", { class: "small", "aria-label": "Save the label set" }, form);
    dialog.addEventListener("close", () => dialog.remove());
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const name = input.value.trim();
      const body = { labels: asked.labels, negatives: asked.negatives, templates: asked.templates.length ? asked.templates : null };
      try {
        const saved = await ask(`/v1/label-sets/${encodeURIComponent(name)}`, { method: "PUT", body });
        dialog.close();
        toast(`Saved as “${saved.name}”, version ${saved.version}.`);
        this.document = saved;
        this.asked = { ...asked, set: saved.name, templates: [] };
        await this.#fillSets();
        this.#show();
        this.onchange(this.asked, true);
      } catch (error) {
        wrong.textContent = error.message;
      }
    });
    document.body.append(dialog);
    dialog.showModal();
  }
}
