// Label sets with their versions, and what was said of photos with each: listed, taken back, restored. Template sets.

import { NONE } from "./answer.js";
import { ask, latest, library, mayWrite, root } from "./api.js";
import { selecting } from "./chosen.js";
import { Corrections } from "./corrections.js";
import { byId, h, number, photos, showState, toast } from "./dom.js";
import { Grid } from "./grid.js";
import { offerKeys } from "./help.js";
import { Named, sure } from "./named.js";
import { PhotoDialog } from "./photo.js";
import { TemplateSets, countOf } from "./templatesets.js";
import { onTravel, params } from "./url.js";

const MANY = 40;  // labels of a version that are written out
const stamp = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });
const day = new Intl.DateTimeFormat("en", { dateStyle: "full" });
const corrections = new Corrections();

const at = new Named(["set", "templates"], () => show());
const { open } = at;

let found = null;  // the label set with its versions
let said = [];  // its corrections, the last first
let writes = false;

const path = (set) => `/v1/label-sets/${encodeURIComponent(set)}`;
const ofSet = (what) => `/v1/corrections${what}?label_set=${encodeURIComponent(at.name)}`;

const show = latest(async (signal) => {
  byId("stage").setAttribute("aria-busy", "true");
  try {
    const [sets, ofTemplates] = await Promise.all([ask("/v1/label-sets", { signal }), ask("/v1/template-sets", { signal })]);
    writes = await mayWrite().catch(() => false);
    if (!at.name && sets.length) Object.assign(at, { kind: "set", name: sets[0].name });
    const link = (kind, set, holds) => h("li", {}, at.link(kind, set.name, set.name, h("span", { class: "quiet" }, ` ${holds}`)));
    byId("sets").replaceChildren(...sets.map((set) => link("set", set, `${number(set.labels.length)} label${set.labels.length === 1 ? "" : "s"}`)));
    byId("template-sets").replaceChildren(...ofTemplates.map((set) => link("templates", set, countOf(set.templates))));
    byId("new-templates").hidden = !writes;
    if (at.kind === "templates") {
      const set = ofTemplates.find((one) => one.name === at.name);
      if (!set) nothing({ title: "No such template set", text: `There is no template set “${at.name}”.`, kind: "error" });
      else {
        nothing({});
        templateSets.show(set, writes);
        byId("templates").hidden = false;
      }
      return;
    }
    if (!at.name) {
      nothing({ title: "No label sets yet", text: "Type labels in the lab and save them under a name: corrections are kept with such a set.",
        action: { text: "Go to the lab", run: () => { location.href = `${root}/lab`; } } });
      return;
    }
    const [set] = await Promise.all([ask(path(at.name), { signal }), read(signal)]);
    const older = await Promise.all(set.versions.map((one) => (one.version === set.version ? set : ask(path(`${set.name}@${one.version}`), { signal }))));
    if (signal.aborted) return;
    found = { ...set, older };
    showState(byId("state"));
    draw();
  } catch (error) {
    if (signal.aborted) return;
    nothing({ title: error.status === 404 ? "No such label set" : "No answer", text: error.message, kind: "error", action: { text: "Try again", run: () => show() } });
  } finally { if (!signal.aborted) byId("stage").setAttribute("aria-busy", "false"); }
});

function nothing(state) {
  found = null;
  said = [];
  byId("set").hidden = byId("templates").hidden = byId("grid").hidden = true;
  showState(byId("state"), state);
}

async function read(signal) {
  const all = await ask(ofSet(""), { signal });
  await corrections.of(at.name);
  if (signal?.aborted) return;
  said = all.map((one) => ({ ...one, path: one.paths[0] ?? "", at: new Date(one.said_at) })).sort((a, b) => b.at - a.at);
}

function draw() {
  byId("set").hidden = false;
  byId("templates").hidden = true;
  byId("name").textContent = found.name;
  byId("ask").href = `${root}/lab?${new URLSearchParams({ set: found.name })}`;
  byId("remove").hidden = !writes;
  byId("versions").replaceChildren(...found.versions.map((one, n) => version(one, found.older[n], found.older[n - 1])).reverse());
  drawSaid();
}

/** A version, with what it has more or less than the one before. */
function version({ version: n, saved_at }, set, before) {
  const isNewest = n === found.version;
  const more = before ? set.labels.filter((label) => !before.labels.includes(label)) : [];
  const less = before ? before.labels.filter((label) => !set.labels.includes(label)) : [];
  const listed = set.labels.slice(0, MANY).join(", ") + (set.labels.length > MANY ? ` and ${number(set.labels.length - MANY)} more` : "");
  const change = before ? [...more.map((label) => `+ ${label}`), ...less.map((label) => `− ${label}`)].join(", ") || "The same labels, with other prompts, groups or negatives" : "";
  return h("tr", {}, h("th", { scope: "row" }, String(n), isNewest ? h("span", { class: "mark-small" }, "in use") : null),
    h("td", { class: "when" }, stamp.format(new Date(saved_at))),
    h("td", {}, listed, change ? h("span", { class: "under" }, change) : null),
    h("td", {}, h("div", { class: "buttons" }, isNewest ? null : h("a", { class: "button", href: `${root}/lab?${new URLSearchParams({ set: `${found.name}@${n}` })}`, "aria-label": `Look at version ${n} in the lab` }, "Look"),
      isNewest || !writes ? null : h("button", { type: "button", "aria-label": `Restore version ${n}`, onclick: () => restore(n) }, "Restore"))));
}

async function restore(n) {
  try {
    const made = await ask(path(at.name), { body: { version: n } });
    await show();
    toast(`Version ${n} is in use again, as version ${made.version}.`);
  } catch (error) { toast(error.message); }
}

byId("remove").addEventListener("click", async () => {
  const { name, versions } = found;
  if (!await sure("label set", name, `${versions.length === 1 ? "Its only version" : `All ${number(versions.length)} versions`} and its thresholds go for good. ` +
    (said.length ? `What was said of ${photos(said.length)} is kept, and is there again with a set of this name.` : ""))) return;
  try {
    await ask(path(name), { method: "DELETE" });
    toast(`“${name}” is deleted.`);
    await at.go(null, null, { push: false });
    library({ again: true }).catch(() => {});
  } catch (error) { toast(error.message); }
});

const templateSets = new TemplateSets({ onchange: (name) => at.go(name && "templates", name, { push: Boolean(name) }) });

// --- corrections -----------------------------------------------------------------------------------------------------

function drawSaid() {
  byId("undo").hidden = remove.hidden = !writes;
  byId("said").textContent = said.length ? `${photos(said.length)}, the last first` : "Nothing was said with this set yet.";
  byId("grid").hidden = !said.length;
  if (!said.length) return;
  const sections = [];
  said.forEach((one, i) => {
    const title = day.format(one.at);
    if (sections.at(-1)?.title === title) sections.at(-1).photos += 1;
    else sections.push({ title, start: i, photos: 1 });
  });
  const list = said;
  grid.show({ length: list.length, sections, item: (i) => list[i], load: async () => {} }, { top: false });
}

/** What changes them, and how that is told. */
async function change(work, text) {
  try {
    await work();
    await read();
    drawSaid();
    dialog.said();
    toast(typeof text === "function" ? text() : text);
  } catch (error) { toast(error.message); }
}

function undo() {
  const before = said.length;
  return change(() => ask(ofSet("/undo"), { method: "POST" }), () => `The last step is undone: ${photos(said.length)} instead of ${number(before)}.`);
}

byId("undo").addEventListener("click", undo);

const labels = () => [...found.labels, ...Object.keys(found.groups).filter((group) => !found.labels.includes(group)), ...found.negatives, NONE];

const remove = h("button", { type: "button", onclick: () => {
  const digests = select.items().map((one) => one.digest);
  const text = digests.length === 1 ? "One correction is removed" : `${number(digests.length)} corrections are removed`;
  change(() => ask("/v1/corrections/forget", { body: { label_set: at.name, digests } }), `${text}, which can be undone.`);
} }, "Remove corrections");

const select = selecting({
  more: () => [remove],
  correct: {
    why: () => (writes && corrections.may ? null : "This service does not accept corrections from you."), labels,
    say: (ids, n) => change(() => corrections.sayAll(ids, labels()[n]), `Kept: ${photos(ids.length)} show${ids.length === 1 ? "s" : ""} ${labels()[n]}.`),
  },
});

const grid = new Grid(byId("grid"), {
  label: "Corrected photos", select,
  badge: (one) => [one.label, ...one.not.map((label) => `not ${label}`)].filter(Boolean).join(", "),
  onopen: (i, source) => dialog.open(source, i),
  onerror: (error) => toast(error.message),
});

const dialog = new PhotoDialog({
  onshow: (id, at) => open.shown(id, at),
  onclose: () => {
    open.closed();
    if (dialog.walk) grid.focus(dialog.walk.at);
  },
  oncorrect: {
    possible: () => writes && corrections.may, labels, said: (digest) => corrections.said(digest),
    say: (one, n) => change(() => corrections.say(one, labels()[n]), `Kept: it shows ${labels()[n]}.`),
  },
});

async function go(query) {
  at.read(query);
  await show();
  follow();
}

const follow = () => open.follow(dialog, said.length ? grid.source : null, { over: Boolean(found) });

onTravel(go, (query) => { open.read(query); follow(); });
offerKeys();
library().catch(() => {});
go(params());
