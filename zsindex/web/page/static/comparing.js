// Several ways of asking beside one another: which is right more often, by how much, for which labels and photos.

import { byId, h, number, percent, photos } from "./dom.js";

const AT_FIRST = 100;
const OWN = { value: "", text: "as saved" };
const NAMES = [["with", "other-sets"], ["template", "other-templates"], ["model", "other-models"]];

export class Comparing {
  /** `onchange()` where others are to be compared; `onphotos(report, right)` opens the photos that one side gets right. */
  constructor({ onchange, onphotos }) {
    Object.assign(this, { onphotos, others: { with: [], template: [], model: [] } });
    byId("compared-with").addEventListener("change", () => {
      for (const [name, id] of NAMES) this.others[name] = [...byId(id).querySelectorAll("input:checked")].map((box) => box.value);
      onchange();
    });
  }

  /** What can be compared: label sets with the version before each, template sets, further models. */
  fill(sets, templates, models) {
    const fill = (id, values) => byId(id).append(...values.map(({ value, text }) => h("label", { class: "check" }, h("input", { type: "checkbox", value }), ` ${text}`)));
    fill("other-sets", sets.flatMap((one) => [{ value: one.name, text: `${one.name} (${one.labels.length})` },
      ...(one.version > 1 ? [{ value: `${one.name}@${one.version - 1}`, text: `${one.name}, as it was before` }] : [])]));
    fill("other-templates", templates.map((one) => ({ value: one.name, text: one.templates.length === 1 ? one.templates[0] : `${one.name} (${one.templates.length})` })));
    fill("other-models", models.map((one) => ({ value: one.name, text: one.name })));
    byId("other-models-field").hidden = !models.length;
  }

  read(query) {
    for (const [name, id] of NAMES) {
      this.others[name] = query.getAll(name);
      const box = byId(id);
      const there = [...box.querySelectorAll("input")];
      // An older version, or templates in an address that are no set.
      const missing = this.others[name].filter((value) => !there.some((one) => one.value === value));
      box.append(...missing.map((value) => h("label", { class: "check" }, h("input", { type: "checkbox", value }), ` ${value}`)));
      for (const one of box.querySelectorAll("input")) one.checked = this.others[name].includes(one.value);
    }
    if (this.any) byId("compared-with").open = true;
  }

  add(query) { for (const [name] of NAMES) this.others[name].forEach((one) => query.append(name, one)); }

  get any() { return NAMES.some(([name]) => this.others[name].length); }

  /** Label sets with templates, that of the page with its own prompts first; each with all models. */
  #pairs(set) {
    const sets = [set, ...this.others.with.filter((one) => one !== set)];
    return sets.flatMap((name) => ["", ...this.others.template].map((template) => ({ set: name, template })));
  }

  /** The names of all ways, in the order of the reports. */
  names(set) {
    const templates = this.others.template.length > 0;
    const sets = this.others.with.some((one) => one !== set);
    return ["", ...this.others.model].flatMap((model) => this.#pairs(set).map((pair) => [
      sets || !(templates || this.others.model.length) ? pair.set : "", templates ? pair.template || OWN.text : "", this.others.model.length ? model || "this model" : ""].filter(Boolean).join(", ")));
  }

  /** What a body says of them. */
  body(set) {
    if (!this.any) return {};
    const against = this.#pairs(set).slice(1).map((pair) => ({ label_set: pair.set, ...(pair.template ? { templates: [pair.template] } : {}) }));
    return { against, models: this.others.model };
  }

  draw(reports, set, differing) {
    const names = this.names(set);
    byId("compared").replaceChildren(...this.#sums(reports, names, differing));
    this.#labels(reports, names);
  }

  #sums(reports, names, differing) {
    const best = reports.slice(1).filter((one) => one.differences.top1?.low > 0);
    const worse = reports.slice(1).filter((one) => one.differences.top1?.high < 0);
    const named = (some) => some.map((one) => `“${names[reports.indexOf(one)]}”`).join(", ");
    const told = [best.length ? `Right more often than “${names[0]}”: ${named(best)}.` : "", worse.length ? `Less often: ${named(worse)}.` : "",
      best.length + worse.length < reports.length - 1 ? `${best.length + worse.length ? "For the others the" : "The"} difference may be chance.` : ""].filter(Boolean).join(" ");
    const open = (n, report, right) => {
      const of = right === "other" ? names[report] : names[0];
      const text = `${photos(n)} that only “${of}” gets right`;
      return h("td", { class: "n" }, n ? h("button", { type: "button", class: "plain", "aria-label": text, "aria-current": differing?.report === report && differing.right === right ? "true" : undefined,
        onclick: () => this.onphotos(report, right) }, number(n)) : "0");
    };
    return [h("p", {}, told), h("div", { class: "table" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Asked with"),
      ...["Right", `More than “${names[0]}”, points`, "F1", "Only it right", `Only “${names[0]}” right`].map((text) => h("th", { scope: "col", class: "n" }, text)))),
    h("tbody", {}, ...reports.map((report, n) => h("tr", {}, h("th", { scope: "row" }, names[n]), measured(report.summary.top1), n ? gained(report.differences.top1) : h("td", {}, ""), measured(report.summary.f1),
      ...(n ? [open(report.gained, n, "other"), open(report.lost, n, "first")] : [h("td", {}, ""), h("td", {}, "")]))))))];
  }

  #labels(reports, names, most = AT_FIRST) {
    const order = [...new Set(reports.flatMap((report) => report.labels.map((one) => one.label)))];
    const of = reports.map((report) => new Map(report.labels.map((one) => [one.label, one])));
    const shown = (label) => of.reduce((found, some) => Math.max(found, some.get(label)?.photos ?? 0), 0);
    byId("compared-labels").replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Label"), ...["Photos", ...names].map((text) => h("th", { scope: "col", class: "n" }, text)))),
      h("tbody", {}, ...order.slice(0, most).map((label) => h("tr", {}, h("th", { scope: "row" }, label), h("td", { class: "n" }, number(shown(label))),
        ...reports.map((report, n) => {
          const one = of[n].get(label);
          if (!one || one.f1.value === null) return h("td", { class: "n quiet" }, "–");
          const difference = report.f1_differences[label];
          return h("td", { class: "n" }, percent(one.f1.value), difference ? h("span", { class: `under ${sign(difference)}` }, points(difference)) : null);
        }))))));
    if (order.length > most) byId("compared-labels").append(h("button", { type: "button", onclick: () => this.#labels(reports, names, most * 5) }, "Show more"));
  }
}

const measured = (one) => h("td", { class: "n" }, percent(one.value), one.low === null ? null : h("span", { class: "under" }, `(${percent(one.low)} to ${percent(one.high)})`));

/** Whether an interval of a difference lies above or below 0. */
const sign = ({ low, high }) => (low > 0 ? "above" : low !== null && high < 0 ? "below" : "");

const signed = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(100 * share).toFixed(1)}`;
const points = ({ value, low, high }) => (low === null ? signed(value) : `${signed(value)} (${signed(low)} to ${signed(high)})`);
const gained = (one) => h("td", { class: `n ${sign(one)}` }, signed(one.value), one.low === null ? null : h("span", { class: "under" }, `(${signed(one.low)} to ${signed(one.high)})`));
