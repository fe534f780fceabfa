// The lab: the whole library regroups as labels are typed.

import { Grouped } from "./answer.js";
import { Problem, ask, latest, library, root, url } from "./api.js";
import { selecting } from "./chosen.js";
import { Columns } from "./columns.js";
import { byId, h, number, percent, photos, showState, toast } from "./dom.js";
import { Corrections } from "./corrections.js";
import { Editor, fromUrl, question, toUrl } from "./editor.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { Groups } from "./groups.js";
import { offerKeys } from "./help.js";
import { PhotoDialog } from "./photo.js";
import { libraryIs } from "./pictures.js";
import { Saying } from "./saying.js";
import { onChange } from "./service.js";
import { Takeout } from "./takeout.js";
import { Threshold } from "./threshold.js";
import { OpenPhoto, onTravel, params, write } from "./url.js";
import { WhatNext } from "./whatnext.js";

const EXAMPLE = ["an animal", "food", "a person", "a vehicle", "a building", "a plant"];
const SLOW = 350;
const AROUND = 30;
// The share of photos whose sets are to hold what they show, and how many corrections that takes.
const COVERAGE = 0.9;
const CALIBRATES = 9;

const view = { asked: fromUrl(new URLSearchParams()), min: 0, group: null, columns: false, learn: false };
const corrections = new Corrections();
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
  correct: { why: () => saying.whyNot, labels: () => saying.labels, say: (ids, n) => saying.sayAll(ids, n) },
});
const grid = new Grid(byId("grid"), { label: "Photos", select, onopen: (i, source) => openAt(i, source), onerror: partFailed, ondigit: (item, n) => saying.sayAt(grid, item, n), mark: (item) => saying.markOf(item) });
const columns = new Columns(byId("columns"), { select, onerror: partFailed, mark: (item) => saying.markOf(item),
  onopen: (label, i, source) => { view.group = label; drawGroups(); openAt(i, source); } });
const threshold = new Threshold({ onlevel: (to, settled) => answer && setLevel(to, settled) });
const takeout = new Takeout();

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
    takeout.clear();
    whatNext.draw();
    drawNothing();
    return;
  }
  showState(byId("state"));
  shown = answer.counts(level);
  if (!shown.some((group) => group.label === view.group)) {
    view.group = null;
  }
  threshold.draw(answer, level, current());
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

function drawColumns() {
  columns.draw(groups.listed, (group) => answer.source(group.answer, level));
}

function drawExport() {
  const chosen = current();
  const { set } = view.asked;
  byId("count").hidden = chosen.answer === -1;
  byId("count").href = url(`/count?${new URLSearchParams({ label: chosen.label, ...(set ? { set: set.split("@")[0] } : {}) })}`);
  takeout.draw(answer, level, chosen);
}

// --- doing -----------------------------------------------------------------------------------------------------------

function choose(label, { push = true } = {}) {
  view.group = label;
  writeUrl(push);
  threshold.draw(answer, level, current());
  drawGroups();
  showState(byId("state"));
  byId("grid").hidden = view.columns;
  drawGroup(true);
  drawExport();
  whatNext.draw();
  if (view.columns) columns.moveTo(label);
}

function setLevel(to, settled) {
  level = to;
  view.min = answer.levels[level];
  draw({ top: false });
  if (settled) writeUrl();
}

for (const [id, isColumns] of [["view-one", false], ["view-columns", true]]) {
  byId(id).addEventListener("click", () => { view.columns = isColumns; writeUrl(true); draw(); });
}

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
    labels: () => saying.labels,
    said: (digest) => corrections.said(digest),
    say: (photo, n, shown) => saying.say(photo, n, shown),
    undo: () => saying.undo(),
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
    leaveTo((view.columns ? columns.grid(view.group) : grid), dialog.walk);
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

function drawSaid() {
  drawLearn();
  dialog.said();
  grid.marked();
  columns.marked();
}

/** Go to a photo as it was shown; or in the list, where it is now, if none is open. */
async function goTo(shown) {
  if (dialog.revisit(shown) || !answer || view.columns) return;
  const at = await placeIn(answer, level, [shown.item.image_id]);
  if (at !== null) grid.focus(at);
}

const saying = new Saying(corrections, {
  answer: () => answer,
  set: () => view.asked.set,
  learns,
  regroup: () => regroup({ stay: true }),
  ondraw: drawSaid,
  goTo,
});

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
