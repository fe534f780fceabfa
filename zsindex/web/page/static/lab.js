// The lab: the whole library regroups as labels are typed.

import { NONE, Grouped } from "./answer.js";
import { Problem, ask, latest, library, root, url } from "./api.js";
import { selecting } from "./chosen.js";
import { byId, fileName, h, number, percent, photos, s, showState, toast } from "./dom.js";
import { Corrections } from "./corrections.js";
import { Editor, fromUrl, question, toUrl } from "./editor.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { Groups } from "./groups.js";
import { offerKeys } from "./help.js";
import { PhotoDialog, goesOn } from "./photo.js";
import { libraryIs } from "./pictures.js";
import { onChange } from "./service.js";
import { OpenPhoto, onTravel, params, write } from "./url.js";
import { WhatNext } from "./whatnext.js";

const EXAMPLE = ["an animal", "food", "a person", "a vehicle", "a building", "a plant"];
const SLOW = 350;
const AROUND = 30;
const COLUMN = 258;
const BETWEEN = 14;
// The share of photos whose sets are to hold what they show, and how many corrections that takes.
const COVERAGE = 0.9;
const CALIBRATES = 9;

const view = { asked: fromUrl(new URLSearchParams()), min: 0, group: null, columns: false, learn: false };
const corrections = new Corrections();
const slider = byId("min");
const exact = byId("min-number");
const stage = byId("stage");
let answer = null;
let level = 0;
let shown = [];

function readUrl(query) {
  view.asked = fromUrl(query);
  filters.set(query);
  groups.set(query);
  view.min = Number(query.get("min")) || 0;
  view.group = query.get("group");
  view.columns = query.get("view") === "columns";
  view.learn = query.has("learn");
  open.read(query);
}

function writeUrl(push = false, state = null) {
  const query = new URLSearchParams();
  toUrl(query, view.asked);
  filters.write(query);
  if (view.min) query.set("min", String(view.min));
  if (view.group !== null) query.set("group", view.group);
  if (view.columns) query.set("view", "columns");
  groups.write(query);
  if (learns()) query.set("learn", "1");
  open.add(query);
  write(query, { push, state });
}

/** Whether answers learn from corrections, which only a saved set has. */
const learns = () => view.learn && Boolean(view.asked.set);

/** The whole question: of the library, and of every photo in it. */
function wholeQuestion() {
  const body = question(view.asked);
  return body && { ...body, ...filters.body, ...(learns() ? { with_corrections: "logistic" } : {}) };
}

// --- asking ----------------------------------------------------------------------------------------------------------

/**
 * Ask anew. With `stay` the question is the same, and the photo that the keys are about stays where it is; with `hold`, the
 * first one that is in view.
 */
const regroup = latest(async (signal, { stay = false, hold = false } = {}) => {
  const body = wholeQuestion();
  editor.fail();
  if (!body) {
    answer = null;
    draw();
    return;
  }
  const slow = setTimeout(() => { stage.setAttribute("aria-busy", "true"); if (!answer) loading(); }, SLOW);
  try {
    const [found] = await Promise.all([ask("/v1/groups", { body, signal }), corrections.set === view.asked.set ? null : corrections.of(view.asked.set)]);
    const next = new Grouped(found);
    const to = view.min ? next.levelOf(view.min) : 0;
    const at = stay && answer ? await placeIn(next, to, around(grid.source, grid.active)) : null;
    const place = hold && answer && !view.columns ? grid.place : null;
    const i = place && await placeIn(next, to, around(grid.source, place.i));
    if (signal.aborted) return;
    libraryIs(found.run.snapshot);
    [answer, level] = [next, to];
    slider.max = String(answer.levels.length - 1);
    draw({ top: !stay && !hold, at });
    if (place && i !== null) grid.hold({ i, shift: place.shift });
    dialog.again();
  } catch (error) {
    if (!signal.aborted) failed(error);
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) stage.setAttribute("aria-busy", "false");
  }
});

function failed(error) {
  if (filters.fail(error)) {
    answer = null;
    draw();
    showState(byId("state"), { title: "These filters cannot be used", text: error.message, kind: "error" });
    return;
  }
  const aboutWords = error instanceof Problem && error.status >= 400 && error.status < 500;
  if (aboutWords) editor.fail(error.message);
  if (aboutWords && answer) return;  // what was shown before stays, while the words are put right
  answer = null;
  draw();
  showState(byId("state"), aboutWords
    ? { title: "These labels cannot be used", text: error.message, kind: "error" }
    : { title: "No answer", text: error.message, kind: "error", action: { text: "Try again", run: () => regroup() } });
}

/** Photos that are known of a list, those from a number on first, then those before it, the nearest first. */
function around(source, from) {
  const found = [];
  for (let i = from; i < source.length && source.item(i) && found.length < AROUND; i += 1) found.push(source.item(i).image_id);
  for (let i = from - 1; i >= 0 && source.item(i) && found.length < 2 * AROUND; i -= 1) found.push(source.item(i).image_id);
  return found;
}

/** Where the first of these photos that is in the chosen group stands there; null for none. */
function placeIn(found, at, ids) {
  const groups = found.counts(at);
  const chosen = groups.find((group) => group.label === (view.group ?? current()?.label)) ?? groups.find((group) => group.count);
  return chosen ? found.placeOf(ids, chosen.answer, at).catch(() => null) : null;
}

let asks = 0;

/** A part of an answer could not be fetched: it is no longer kept, or the service is gone. */
function partFailed(error) {
  if (error.status === 410 && asks < 3) {
    asks += 1;
    regroup({ hold: true });
  } else toast(error.message, { text: "Try again", run: () => regroup({ hold: true }) });
}

// --- showing ---------------------------------------------------------------------------------------------------------

const select = selecting({
  key: () => answer?.key ?? null,
  correct: { why: () => whyNot(), labels: () => sayable(), say: (ids, n) => sayAll(ids, n) },
});
const grid = new Grid(byId("grid"), { label: "Photos", select, onopen: (i, source) => openAt(i, source), onerror: partFailed, ondigit: (item, n) => correctAt(item, n), mark: (item) => markOf(item) });
const columns = new Map();

function loading() {
  byId("grid").hidden = byId("columns").hidden = true;
  showState(byId("state"), { title: "Asking", text: "The first question loads the model; later ones take milliseconds.", busy: true });
}

function draw({ top = true, at = null } = {}) {
  const has = answer !== null && answer.total > 0;
  byId("groups").hidden = !has;
  document.querySelector(".groups-head").hidden = !has;
  if (!has) byId("groups-tools").hidden = true;
  document.querySelector(".tools").hidden = !has;
  byId("grid").hidden = !has || view.columns;
  byId("columns").hidden = !has || !view.columns;
  byId("view-one").setAttribute("aria-pressed", String(!view.columns));
  byId("view-columns").setAttribute("aria-pressed", String(view.columns));
  document.body.classList.toggle("empty", !has);
  if (!has) {
    whatNext.draw();
    drawNothing();
    return;
  }
  showState(byId("state"));
  shown = answer.counts(level);
  if (!shown.some((group) => group.label === view.group)) {
    view.group = null;
  }
  drawThreshold();
  drawGroups();
  drawGroup(top, at);
  drawExport();
  drawLearn();
  whatNext.draw();
}

function drawLearn() {
  byId("learn-field").hidden = !view.asked.set || !corrections.count;
  byId("learn").checked = view.learn;
  byId("learn-count").textContent = number(corrections.count);
}

/** The group in view: the one that was chosen, else the first one that has photos. */
const current = () => shown.find((group) => group.label === view.group) ?? shown.find((group) => group.count) ?? shown[0];

async function drawNothing() {
  if (answer && filters.asked.size) {
    showState(byId("state"), { title: "No photos fit", text: "No photo of this library fits all of these filters." });
    return;
  }
  if (answer) {  // asked, and the library has nothing
    showState(byId("state"), { title: "No photos to group", text: "This library holds no photos with vectors yet. A sync finds and encodes them.",
      action: { text: "Go to the library", run: () => { location.href = `${root}/library`; } } });
    return;
  }
  showState(byId("state"), { title: "Which words work?",
    text: "Type what your photos may show. The whole library regroups with every word, because its photos are already encoded.",
    action: { text: "Try an example", run: () => { view.asked = { ...view.asked, labels: EXAMPLE, set: null }; editor.set(view.asked); writeUrl(true); regroup(); } } });
  byId("state").classList.add("welcome");
}

function drawThreshold() {
  slider.value = String(level);
  if (document.activeElement !== exact) exact.value = String(answer.levels[level]);
  slider.setAttribute("aria-valuetext", `at least ${percent(answer.levels[level])}`);
  const chosen = current();
  const histogram = byId("histogram");
  if (drawn.answer !== answer || drawn.group !== chosen.answer) {
    drawn = { answer, group: chosen.answer, level: 0 };
    // Scores of the group in view; of all photos if that is "none of these".
    const groups = chosen.answer === -1 ? answer.groups.filter((_, n) => n !== answer.none) : [answer.groups[chosen.answer]];
    const counts = answer.levels.map((_, n) => groups.reduce((sum, group) => sum + (group.at_least[n] ?? 0) - (group.at_least[n + 1] ?? 0), 0));
    const most = Math.sqrt(Math.max(1, ...counts));
    const width = 100 / counts.length;
    histogram.replaceChildren(...counts.map((count, n) => {
      const height = count ? Math.max(1.5, (24 * Math.sqrt(count)) / most) : 0;
      return s("rect", { x: n * width, y: 24 - height, width: width * 0.8, height });
    }));
  }
  for (let n = Math.min(level, drawn.level); n < Math.max(level, drawn.level); n += 1) histogram.children[n].classList.toggle("below", n < level);
  drawn.level = level;
}

// What the bars over the slider are of, and up to which of them they are below it.
let drawn = {};

function drawGroups() {
  groups.draw(shown, current(), { controls: view.columns ? null : "grid" });
  const none = shown.find((group) => group.answer === -1);
  const said = `${photos(answer.total)}${none?.count ? `, ${number(none.count)} none of these` : ""}` +
    (answer.unanswered ? `; ${number(answer.unanswered)} need a sync` : "");
  if (byId("counted").textContent !== said) byId("counted").textContent = said;
}

function drawGroup(top, at = null) {
  const chosen = current();
  byId("group-name").replaceChildren(chosen.label, h("span", { class: "quiet" }, ` ${photos(chosen.count)}`));
  if (view.columns) {
    drawColumns();
    return;
  }
  if (!chosen.count) {
    byId("grid").hidden = true;
    showState(byId("state"), { title: "No photos here",
      text: level ? `No photo scores at least ${percent(answer.levels[level])} for “${chosen.label}”.` : `“${chosen.label}” is not the best of these labels for any photo.` });
    return;
  }
  grid.show(answer.source(chosen.answer, level), { label: `Photos of ${chosen.label}`, top, at });
}

/** Of many columns those in view are in the document, and one that has the focus. */
function drawColumns({ all = true } = {}) {
  const host = byId("columns");
  const { listed } = groups;
  host.style.gridTemplateColumns = `repeat(${listed.length}, ${COLUMN}px)`;
  const step = COLUMN + BETWEEN;
  const first = Math.max(0, Math.floor(host.scrollLeft / step) - 1);
  const last = Math.min(listed.length - 1, Math.ceil((host.scrollLeft + host.clientWidth) / step));
  const wanted = new Map();
  listed.forEach((group, n) => {
    if ((n >= first && n <= last) || columns.get(group.label)?.element.contains(document.activeElement)) wanted.set(group.label, [group, n]);
  });
  for (const [label, column] of columns) {
    if (!wanted.has(label)) { column.grid.end(); column.element.remove(); columns.delete(label); }
  }
  let place = host.firstChild;
  for (const [label, [group, n]] of wanted) {
    const isNew = !columns.has(label);
    if (isNew) columns.set(label, newColumn(label));
    const { element, count, grid } = columns.get(label);
    element.style.gridColumn = String(n + 1);
    count.textContent = number(group.count);
    if (element === place) place = place.nextSibling;
    else host.insertBefore(element, place);
    if (isNew || all) grid.show(answer.source(group.answer, level), { label: `Photos of ${label}`, top: false });
  }
}

function newColumn(label) {
  const count = h("span", { class: "quiet" });
  const body = h("div", { class: "column-grid" });
  const element = h("section", { class: "column", "data-label": label, "aria-label": label },
    h("h3", {}, h("span", { class: "tab-name" }, label), count), h("div", { class: "column-scroll", "data-scroll": "" }, body));
  const grid = new Grid(body, { label: `Photos of ${label}`, cell: 118, select, onerror: partFailed, mark: markOf,
    onopen: (i, source) => { view.group = label; drawGroups(); openAt(i, source); } });
  return { element, count, grid };
}

let scrolling = 0;
byId("columns").addEventListener("scroll", (event) => {
  if (event.target !== byId("columns") || scrolling) return;
  scrolling = requestAnimationFrame(() => { scrolling = 0; if (answer && view.columns) drawColumns({ all: false }); });
}, { passive: true });
new ResizeObserver(() => { if (answer && view.columns && !byId("columns").hidden) drawColumns({ all: false }); }).observe(byId("columns"));

function drawExport() {
  const chosen = current();
  const part = chosen.answer === -1 ? "" : `&answer=${chosen.answer}`;
  byId("count").hidden = !part;
  byId("count").href = url(`/count?${new URLSearchParams({ label: chosen.label, ...(view.asked.set ? { set: view.asked.set.split("@")[0] } : {}) })}`);
  if (!byId("export").open) return;  // it is filled when it opens
  const min = level ? `&min_score=${answer.levels[level]}` : "";
  const link = (text, query) => h("a", { href: url(`/v1/groups/${answer.key}/export?${query}`), download: "" }, text);
  byId("export-items").replaceChildren(
    link("All photos, CSV", `format=csv${min}`), link("All photos, JSON", `format=json${min}`),
    ...(part ? [link(`${chosen.label}, CSV`, `format=csv${part}${min}`), link(`${chosen.label}, JSON`, `format=json${part}${min}`)] : []),
    h("button", { type: "button", onclick: () => tellTags() }, "Preview XMP sidecars"));
}

byId("export").addEventListener("toggle", () => { if (answer) drawExport(); });

/** What `zsindex tags write` would write. This page never writes it. */
async function tellTags() {
  byId("export").open = false;
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

// --- doing -----------------------------------------------------------------------------------------------------------

function choose(label, { push = true } = {}) {
  view.group = label;
  writeUrl(push);
  drawThreshold();
  drawGroups();
  showState(byId("state"));
  byId("grid").hidden = view.columns;
  drawGroup(true);
  drawExport();
  whatNext.draw();
  if (view.columns) {
    const host = byId("columns");
    host.scrollLeft = groups.listed.findIndex((group) => group.label === label) * (COLUMN + BETWEEN) - (host.clientWidth - COLUMN) / 2;
  }
}

function setLevel(to, settled) {
  level = to;
  view.min = answer.levels[level];
  draw({ top: false });
  if (settled) writeUrl();
}

slider.addEventListener("input", () => answer && setLevel(Number(slider.value), false));
slider.addEventListener("change", () => answer && setLevel(Number(slider.value), true));
exact.addEventListener("change", () => answer && setLevel(answer.levelOf(Math.max(0, Math.min(1, Number(exact.value) || 0))), true));
for (const [id, isColumns] of [["view-one", false], ["view-columns", true]]) {
  byId(id).addEventListener("click", () => { view.columns = isColumns; writeUrl(true); draw(); });
}
document.addEventListener("click", (event) => { if (!byId("export").contains(event.target)) byId("export").open = false; });
byId("export").addEventListener("keydown", (event) => {
  if (event.key === "Escape") { byId("export").open = false; byId("export").firstElementChild.focus(); }
});

// --- one photo -------------------------------------------------------------------------------------------------------

/** The question for the labels that a photo may show: of a saved set, where its corrections are enough to tell. */
function setQuestion() {
  const { set, unknown } = view.asked;
  if (!set || unknown || learns() || corrections.set !== set.split("@")[0] || corrections.shown < CALIBRATES) return null;
  return { ...question(view.asked), coverage: COVERAGE };
}

const open = new OpenPhoto(writeUrl);

const dialog = new PhotoDialog({
  question: wholeQuestion,
  set: setQuestion,
  least: () => answer?.levels[level] ?? 0,
  oncorrect: {
    possible: () => answer !== null && corrections.may && Boolean(view.asked.set),
    labels: () => sayable(),
    said: (digest) => corrections.said(digest),
    say: (photo, n, shown) => say(photo, n, shown),
    undo: () => undo(),
  },
  // The answer that the list was of is no longer kept: it goes on in today's, after the last photo that is in it.
  onlost: async () => {
    const { source, at } = dialog.walk;
    const ids = [];
    for (let i = at; i >= 0 && source.item(i) && ids.length < AROUND; i -= 1) ids.push(source.item(i).image_id);
    await regroup({ stay: true });
    const place = answer && (await placeIn(answer, level, ids));
    return place === null ? null : { source: sourceOf(), at: place };
  },
  onshow: (id, at) => open.shown(id, at, dialog.walk?.source.listed),
  onclose: () => {
    open.closed();
    leaveTo((view.columns ? columns.get(view.group)?.grid : grid), dialog.walk);
  },
});

/** Focus the photo that was shown last, wherever it is by now; or the one that followed it. */
async function leaveTo(to, walk) {
  if (!to || !walk || !answer) return;
  if (walk.answer === answer) {
    to.focus(walk.at);
    return;
  }
  const shownIn = answer;
  const place = await placeIn(answer, level, around(walk.source, walk.at));
  if (place !== null && answer === shownIn && !dialog.isOpen) to.focus(place);
}

/** The photos of the group in view. */
const sourceOf = () => answer.source(current().answer, level);

function openAt(i, source) {
  dialog.open(source, i);
  dialog.walk.answer = answer;
}

/** What a photo can be said to show: the answers, in the order of the keys 1 to 9. */
const sayable = () => answer.labels.filter((_, n) => n !== answer.none).concat(NONE);

/** What was said of a photo of a list, for its corner. */
function markOf(item) {
  const label = corrections.saidAt(item.path);
  return label === null ? null : `✓ ${label}`;
}

function drawSaid() {
  drawLearn();
  dialog.said();
  for (const one of [grid, ...[...columns.values()].map((column) => column.grid)]) one?.marked();
}

async function say(photo, n, shown) {
  const label = sayable()[n];
  const before = answer;
  let step;
  try {
    step = await corrections.say(photo, label, shown);
  } catch (error) {
    toast(`${fileName(photo.paths[0] ?? "")}: ${error.message}`, { text: "Go to it", run: () => goTo(shown) });
    return;
  }
  drawSaid();
  await tellChanged(before, step, `Kept: ${fileName(photo.paths[0] ?? "")} shows ${label}.`);
}

/** The same of many photos at once. */
async function sayAll(ids, n) {
  const label = sayable()[n];
  const before = answer;
  const step = await corrections.sayAll(ids, label);
  drawSaid();
  await tellChanged(before, step, `Kept: ${photos(ids.length)} show${ids.length === 1 ? "s" : ""} ${label}.`);
}

async function tellChanged(before, step, kept) {
  if (!learns()) {
    corrections.tell(kept, step, undo);
    return;
  }
  await regroup({ stay: true });
  let changed = "";
  try {
    const found = await ask(`/v1/groups/${before.key}/flips/${answer.key}`);
    changed = ` ${photos(found.total - found.same)} changed ${found.total - found.same === 1 ? "its" : "their"} label.`;
  } catch { /* that it is kept is told all the same */ }
  corrections.tell(`${kept}${changed}`, step, undo);
}

/** Take back a step, or what was said here last, and go back to the photo that it was said of. */
async function undo(only) {
  let step;
  try {
    step = await corrections.undo(only);
  } catch (error) {
    toast(error.message);
    return;
  }
  if (step.set !== corrections.set) return;
  if (learns()) await regroup({ stay: true });
  drawSaid();
  if (step.shown) await goTo(step.shown);  // many have no place of their own
}

/** Go to a photo as it was shown; or in the list, where it is now, if none is open. */
async function goTo(shown) {
  if (dialog.revisit(shown) || !answer || view.columns) return;
  const at = await placeIn(answer, level, [shown.item.image_id]);
  if (at !== null) grid.focus(at);
}

/** What forbids corrections; null if nothing does. */
function whyNot() {
  if (corrections.may && view.asked.set) return null;
  return corrections.may ? "Save this label set first: corrections are kept with it." : "This service does not accept corrections from you.";
}

async function correctAt(item, key) {
  const why = whyNot();
  if (why) {
    toast(why);
    return;
  }
  if (key > sayable().length) return;
  if (goesOn()) grid.focus(grid.active + 1);
  try {
    await say(await ask(`/v1/images/${item.image_id}`), key - 1, { item });
  } catch (error) {
    toast(error.message);
  }
}

byId("learn").addEventListener("change", () => { view.learn = byId("learn").checked; writeUrl(true); regroup(); });

// --- beginning -------------------------------------------------------------------------------------------------------

const editor = new Editor(byId("editor"), {
  onchange: (asked, settled) => {
    view.asked = asked;
    asks = 0;
    if (settled) writeUrl(true);
    regroup();
  },
});

const whatNext = new WhatNext(byId("what-next"), {
  asked: () => view.asked,
  group: () => (answer?.total && current().answer !== -1 ? current().label : null),
  least: () => (answer ? answer.levels[level] : 0),
  onword: (word) => editor.labels.add(word),
  onphotos: (found) => dialog.open(listOf(found.map(({ image_id, path }) => ({ image_id, path }))), 0),
});

/** Photos that no address names, as a list: the step of the history keeps them. */
const listOf = (listed) => ({ listed, length: listed.length, item: (i) => listed[i], load: async () => {} });

const groups = new Groups(byId("groups"), byId("groups-tools"), {
  onchoose: choose,
  onarrange: (settled) => { writeUrl(settled); if (answer) { drawGroups(); if (view.columns) drawColumns(); } },
});

const filters = new Filters(byId("filters"), { onchange: (settled) => { asks = 0; if (settled) writeUrl(true); regroup(); } });

async function go(query) {
  readUrl(query);
  await Promise.all([editor.set(view.asked), regroup()]);
  follow();
}

/** Open the photo that the address names, or none. */
async function follow() {
  const { id, at: before, listed } = open;
  if (id !== null && listed) {
    dialog.travel(id, listOf(listed), before);
    return;
  }
  const asked = answer;
  const at = id !== null && answer?.total ? await placeIn(answer, level, [id]) : null;
  const source = at === null ? null : sourceOf();
  await source?.load(at, at).catch(() => {});
  if (open.id !== id) return;
  if (id === null) dialog.close();
  else if (dialog.travel(id, source, at) && source) dialog.walk.answer = asked;
}

onTravel(go, (query) => { open.read(query); follow(); });
onChange(() => { asks = 0; regroup({ hold: true }); });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.matches("input, textarea, select") && !dialog.isOpen) {
    event.preventDefault();
    editor.labels.input.focus();
  }
});
offerKeys();
library().catch(() => {});
go(params());
