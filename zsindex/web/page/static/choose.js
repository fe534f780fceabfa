// Which label set, templates or model are best here: looks at photos on which they differ, until that is known.

import { NONE } from "./answer.js";
import { ask, library, mayWrite } from "./api.js";
import { byId, h, number, percent, photos, showState } from "./dom.js";
import { Looks, mayNot, onlyReads } from "./looks.js";
import { onTravel, params, write } from "./url.js";

const looks = new Looks({
  answersOf: ({ drawn: { answers } }) => [
    ...answers.map((text, n) => ({ key: String(n + 1), said: text, text })),
    ...(answers.length > 1 ? [{ key: "a", said: answers.join("|"), text: "All of these" }] : []),
    ...(answers.includes(NONE) ? [] : [{ key: "0", said: NONE, text: "None of these" }]),
    { key: "s", said: "unsure", text: "Cannot tell" },
  ],
  onanswer: (said, look) => ask(`/v1/choices/${looks.now.survey}/answers`, { body: { number: look.number, answer: said } }).catch(gone),
  onundo: () => ask(`/v1/choices/${looks.now.survey}/undo`, { method: "POST" }).catch(gone),
  ondraw: draw,
  onlost: begin,
  onclear: clear,
  busy: "Answering the photos in each way",
  wrong: "There is nothing to choose",
});

/** The service has forgotten the choice: begun again, it goes on. What was to be said is said anew, of what is seen then. */
function gone(error) {
  if (error.status !== 410) throw error;
  return ask("/v1/choices", { body: body() });
}

const chosen = (id) => [...byId(id).querySelectorAll("input:checked")].map((box) => box.value);

function body() {
  const [first, ...against] = chosen("sets");
  return { label_set: first, against: against.map((name) => ({ label_set: name })), template_sets: chosen("templates"), models: chosen("models"), within: Number(byId("within").value) };
}

function begin({ push = true } = {}) {
  const query = new URLSearchParams();
  for (const [name, id] of [["set", "sets"], ["template", "templates"], ["model", "models"]]) chosen(id).forEach((one) => query.append(name, one));
  query.set("within", byId("within").value);
  write(query, { push });
  return looks.begin(() => ask("/v1/choices", { body: body() }));
}

/** How many candidates that makes. */
function count() {
  const n = chosen("sets").length * Math.max(1, chosen("templates").length) * Math.max(1, chosen("models").length);
  byId("begin").disabled = n < 2 || onlyReads();
  byId("begin").textContent = n > 1 ? `Choose among ${n}` : "Choose";
}

function clear() {
  byId("standing").textContent = byId("details").textContent = "";
  byId("duels").hidden = true;
}

function draw(choice) {
  const points = percent(choice.within);
  byId("standing").textContent = choice.named !== null ? `${choice.named}: on these photos none of the others is right more often by more than ${points}`
    : choice.exhausted ? `No photo is left that could tell more: ${choice.contenders.join(", ")} may be the best`
      : `${choice.looked_at ? `${choice.leader} seems best` : "Not known yet"}; ${choice.contenders.length} of ${choice.candidates.length} may be`;
  byId("details").textContent = [`${number(choice.looked_at)} looked at of ${photos(choice.differ)} on which they differ, of ${number(choice.photos)}`,
    choice.unsure ? `of ${number(choice.unsure)} nobody could tell` : "", `${percent(choice.confidence)} confidence`].filter(Boolean).join(" · ");
  const span = (one) => `${(100 * one).toFixed(1)}`;
  byId("duels").hidden = false;
  byId("duels").replaceChildren(h("table", {}, h("caption", { class: "quiet" }, `${choice.leader}, and the difference to the others in points`),
    h("thead", {}, h("tr", {}, ...["Other", "Differ", "Looked at", "Only it right", "Only the other", "Difference"].map((text, n) => h("th", { scope: "col", class: n ? "n" : "" }, text)))),
    h("tbody", {}, ...choice.duels.map((duel) => h("tr", {}, h("th", { scope: "row" }, duel.other), ...[duel.differ, duel.looked_at, duel.won, duel.lost].map((n) => h("td", { class: "n" }, number(n))),
      h("td", { class: "n" }, span(duel.difference), h("span", { class: "under" }, `${span(duel.low)} to ${span(duel.high)}`)))))));
  if (!choice.next) showState(byId("state"), { title: choice.named !== null ? `${choice.named} is the best of these` : "It cannot be told", text: "That is so of these photos, and of these candidates only: it does not say that it is good." });
}

function fill(id, values) {
  byId(id).replaceChildren(...values.map(({ value, text }) => h("label", { class: "check" }, h("input", { type: "checkbox", value }), ` ${text}`)));
}

byId("asked").addEventListener("submit", (event) => { event.preventDefault(); document.activeElement?.blur(); begin(); });
byId("asked").addEventListener("change", count);

/** Take up what an address says. */
function go(query) {
  byId("asked").reset();
  for (const [name, id] of [["set", "sets"], ["template", "templates"], ["model", "models"]]) {
    const given = query.getAll(name);
    for (const box of byId(id).querySelectorAll("input")) box.checked = given.includes(box.value);
  }
  byId("more").open = query.has("template") || query.has("model");
  if (query.get("within")) byId("within").value = query.get("within");
  count();
  if (!byId("begin").disabled) return begin({ push: false });
  looks.clear();
  if (!byId("sets").childElementCount) return showState(byId("state"), { title: "No label set is saved yet", text: "Save the words in the lab under a name: then they can be compared with others." });
  return showState(byId("state"), { title: "Which is best here?", text: "Tick two or more label sets, or one with two or more templates. You are asked only about photos on which they differ, until it is known, with 95 % confidence, that none is better." });
}

async function start() {
  library().catch(() => {});
  const [sets, templates, models, may] = await Promise.all([ask("/v1/label-sets"), ask("/v1/template-sets"), ask("/v1/models"), mayWrite()]);
  const versions = sets.flatMap((one) => [{ value: one.name, text: `${one.name} (${one.labels.length})` },
    ...(one.version > 1 ? [{ value: `${one.name}@${one.version - 1}`, text: `${one.name}, as it was before` }] : [])]);
  fill("sets", versions);
  fill("templates", templates.map((one) => ({ value: one.name, text: one.templates.length === 1 ? one.templates[0] : `${one.name} (${one.templates.length})` })));
  fill("models", models.map((one) => ({ value: one.name, text: one.name })));
  byId("models-field").hidden = models.length < 2;
  count();
  if (!may) return mayNot("Choosing");
  onTravel(go, go);
  return go(params());
}

start().catch((error) => showState(byId("state"), { title: "No answer", text: error.message, kind: "error" }));
