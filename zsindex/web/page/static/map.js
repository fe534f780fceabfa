// The map: what is alike lies together. Coloured by answers, folders or years; a lasso selects.

import { NONE } from "./answer.js";
import { ask, latest, library, mayWrite, root, url } from "./api.js";
import { selecting } from "./chosen.js";
import { Corrections } from "./corrections.js";
import { byId, fileName, h, number, photos, showState, toast } from "./dom.js";
import { Editor, fromUrl, question, toUrl } from "./editor.js";
import { Grid } from "./grid.js";
import { offerKeys } from "./help.js";
import { PhotoDialog } from "./photo.js";
import { picture } from "./pictures.js";
import { Scatter, glyph, look } from "./scatter.js";
import { OpenPhoto, onTravel, params, write } from "./url.js";

const ENDED = ["done", "failed", "cancelled"];
const NO_GROUP = 65535;
const MOST_LOOKS = 42;  // groups with a look of their own: the largest
const OTHERS = "All others";
const ASKED_AT_ONCE = 1000;
const STEPS = { neighbours: ["Comparing photos", "photos"], layout: ["Laying out", "steps"], place: ["Placing photos", "photos"] };

const view = { by: "folder", asked: fromUrl(new URLSearchParams()), hidden: new Set(), lasso: null, group: null };
const open = new OpenPhoto(writeUrl);
const corrections = new Corrections();
let map = null;  // what the service says of it
let ids = null;
let groups = [];  // of the legend: name, count, look
let answer = null;
let source = null;

function readUrl(query) {
  view.asked = fromUrl(query);
  const asksLabels = Boolean(question(view.asked));
  view.by = ["folder", "year", "labels"].includes(query.get("by")) ? query.get("by") : asksLabels ? "labels" : "folder";
  view.hidden = new Set(query.getAll("hide"));
  view.group = query.get("group");
  open.read(query);
  const place = (query.get("at") ?? "").split(",").map(Number);
  if (place.length === 3 && place.every(Number.isFinite)) scatter.view = { x: place[0], y: place[1], zoom: Math.max(1, place[2]) };
  const corners = (query.get("lasso") ?? "").split("_").map((one) => one.split(",").map(Number));
  view.lasso = corners.length > 2 && corners.every((one) => one.length === 2 && one.every(Number.isFinite)) ? corners : null;
  byId("by").value = view.by;
}

function writeUrl(push = false, state = null) {
  const query = new URLSearchParams();
  toUrl(query, view.asked);
  if (view.by !== (question(view.asked) ? "labels" : "folder")) query.set("by", view.by);
  view.hidden.forEach((name) => query.append("hide", name));
  const { x, y, zoom } = scatter.view ?? { zoom: 1 };
  if (zoom > 1) query.set("at", [x, y, zoom].map((one) => one.toFixed(4)).join(","));
  if (view.lasso) query.set("lasso", view.lasso.map((one) => one.map((n) => n.toFixed(4)).join(",")).join("_"));
  if (view.group !== null) query.set("group", view.group);
  open.add(query);
  write(query, { push, state });
}

/** The numbers that stand in a text of base64. */
function numbers(text, Kind) {
  return new Kind(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
}

// --- the map itself --------------------------------------------------------------------------------------------------

const fetchMap = latest(async (signal) => {
  if (!map?.layout) showState(byId("state"), { title: "Loading the map", busy: true });
  try {
    map = await ask("/v1/map", { signal });
  } catch (error) {
    if (signal.aborted) return;
    map = null;
    byId("plane").hidden = byId("controls").hidden = byId("keys").hidden = true;
    if (error.kind === "no-vectors") {
      showState(byId("state"), { title: "No photos yet", text: "A map needs photos that are encoded: add a folder, and they are.", action: { text: "Add photos", run: () => { location.href = `${root}/library`; } } });
    } else showState(byId("state"), { title: "No answer", text: error.message, kind: "error", action: { text: "Try again", run: () => go(params()) } });
    return;
  }
  const has = map.layout !== null;
  byId("plane").hidden = byId("controls").hidden = byId("keys").hidden = !has;
  if (!has) {
    ids = null;
    await offer();
    return;
  }
  showState(byId("state"));
  ids = numbers(map.layout.ids, Uint32Array);
  scatter.set(ids, numbers(map.layout.points, Float32Array), map.layout.bounds);
  const { layout } = map;
  byId("counted").textContent = photos(ids.length) + (layout.added ? `, ${number(layout.added)} placed since it was made` : "") + (layout.new ? `; ${number(layout.new)} are not on it yet` : "");
  byId("stale").hidden = !layout.outdated;
  if (layout.outdated) {
    const may = map.installed && (await mayWrite().catch(() => false));
    byId("stale").replaceChildren("Many photos came or went since this map was made. ", ...(may ? [h("button", { type: "button", onclick: make }, "Make it anew")] : []), ` It takes ${span(map.seconds)}.`);
  }
});

/** Some seconds as people say them. */
function span(seconds) {
  if (seconds < 50) return `about ${Math.max(5, Math.round(seconds / 10) * 10)} seconds`;
  const minutes = Math.max(1, Math.round(seconds / 60));
  return minutes === 1 ? "about a minute" : minutes < 100 ? `about ${minutes} minutes` : `about ${Math.round(minutes / 60)} hours`;
}

/** There is no map: say what one is, and what it takes. */
async function offer() {
  const may = await mayWrite().catch(() => false);
  const what = `On a map, photos that are alike lie next to each other. Making it for ${photos(map.images)} takes ${span(map.seconds)}, once: photos that come later are placed on it.`;
  const how = !map.installed ? " This service lacks a package for that: pip install 'zsindex[map]'." : may ? "" : " That needs a token with the right to write, or zsindex map build where the library is.";
  showState(byId("state"), { title: "No map yet", text: what + how, action: map.installed && may ? { text: "Make the map", run: make } : undefined });
}

async function make() {
  try {
    watch(await ask("/v1/map", { body: {} }));
  } catch (error) { toast(error.message); }
}

let events = null;
let begun = null;  // when a step of the work was first seen, and how far it was

function watch(job) {
  if (!map?.layout) showState(byId("state"));
  byId("making").hidden = false;
  byId("stop").onclick = () => ask(`/v1/jobs/${job.id}/cancel`, { method: "POST" }).catch((error) => toast(error.message));
  mayWrite().then((may) => { byId("stop").hidden = !may; }, () => {});
  drawJob(job);
  events?.close();
  events = new EventSource(url(`/v1/jobs/${job.id}/events`));
  events.addEventListener("job", async (event) => {
    const news = JSON.parse(event.data);
    drawJob(news);
    if (!ENDED.includes(news.state)) return;
    events.close();
    byId("making").hidden = true;
    if (news.state === "failed") toast(news.problem.detail);
    if (news.state === "cancelled") toast("Stopped. Nothing has changed.");
    if (news.state === "done") {
      map = null;
      scatter.fit();
    }
    await go(params());
  });
}

function drawJob({ state, progress }) {
  const bar = byId("progress");
  let text = state === "queued" || state === "waiting" ? "Waiting for other work to end." : "Beginning.";
  bar.removeAttribute("value");
  if (state === "running" && progress) {
    const { stage, done, total } = progress;
    const [what, unit] = STEPS[stage] ?? [stage, ""];
    if (begun?.stage !== stage) begun = { stage, done, at: performance.now() };
    const left = ((performance.now() - begun.at) / 1000 / Math.max(1e-9, done - begun.done)) * (total - done);
    text = `${what}: ${number(done)} of ${number(total)} ${unit}${done > begun.done && left >= 1 ? `, ${span(left)} left` : ""}.`;
    [bar.max, bar.value] = [total, done];
  }
  if (byId("job").textContent !== text) byId("job").textContent = text;
}

// --- colours ---------------------------------------------------------------------------------------------------------

const colour = latest(async (signal) => {
  byId("editor").hidden = view.by !== "labels";
  if (!ids) return;
  editor.fail();
  answer = null;
  const asked = view.by === "labels" ? question(view.asked) : null;
  if (view.by === "labels" && !asked) {
    paint([], new Uint16Array(0), new Uint32Array(0));
    return;
  }
  try {
    let found;
    if (asked) {
      const grouped = await ask("/v1/groups", { body: asked, signal });
      [found] = await Promise.all([ask(`/v1/groups/${grouped.key}/answers`, { signal }), corrections.of(view.asked.set)]);
      answer = { labels: found.names, asked };
    } else found = await ask(`/v1/map/groups?by=${view.by}`, { signal });
    paint(found.names, numbers(found.of, Uint16Array), numbers(found.ids, Uint32Array));
  } catch (error) {
    if (signal.aborted) return;
    if (asked && error.status >= 400 && error.status < 500) editor.fail(error.message);
    else toast(error.message, { text: "Try again", run: () => colour() });
  }
});

/** Give the largest groups a look each. */
function paint(names, of, whose) {
  const place = new Map();
  whose.forEach((id, n) => place.set(id, of[n]));
  const group = new Uint16Array(ids.length);
  const counts = new Uint32Array(names.length + 1);
  ids.forEach((id, i) => {
    const found = place.get(id) ?? NO_GROUP;
    group[i] = found === NO_GROUP ? names.length : found;
    counts[group[i]] += 1;
  });
  const largest = names.map((_, n) => n).filter((n) => counts[n]).sort((a, b) => counts[b] - counts[a]).slice(0, MOST_LOOKS).sort((a, b) => a - b);
  const lookOf = new Uint16Array(names.length + 1).fill(largest.length);
  largest.forEach((n, at) => { lookOf[n] = at; });
  groups = largest.map((n, at) => ({ name: names[n], shown: view.by === "folder" ? shorter(names[n], names) : names[n], count: counts[n], look: look(at, scatter.dark) }));
  const rest = ids.length - groups.reduce((sum, one) => sum + one.count, 0);
  const lone = view.by === "year" && largest.length === names.length ? "No date" : names.length ? OTHERS : "Photos";
  groups.push({ name: lone, shown: lone, count: rest, look: look(null, scatter.dark) });
  scatter.colour(group.map((n) => lookOf[n]), groups.map((one) => one.look));
  drawLegend();
  hide();
  select();
}

/** A folder without what all of them begin with. */
function shorter(path, all) {
  let shared = all[0].length;
  for (const other of all) while (!other.startsWith(all[0].slice(0, shared))) shared -= 1;
  const from = path.slice(0, shared).search(/[^/\\]*$/);
  return path.slice(from) || fileName(path) || path;
}

function drawLegend() {
  byId("legend-title").hidden = false;
  byId("legend").replaceChildren(...groups.filter((one) => one.count).map((one) => h("li", {},
    h("label", { class: "check", title: one.name }, h("input", { type: "checkbox", checked: !view.hidden.has(one.name), "data-group": one.name, onchange: (event) => {
      if (event.target.checked) view.hidden.delete(one.name); else view.hidden.add(one.name);
      hide();
      select();
      writeUrl(true);
    } }), glyph(one.look), h("span", { class: "tab-name" }, one.shown), h("span", { class: "tab-count" }, number(one.count))),
    h("button", { type: "button", class: "plain", "aria-label": `Select ${one.shown}`, onclick: () => selectGroup(one.name) }, "Select"))));
}

function hide() {
  scatter.hidden = new Set(groups.map((one, n) => (view.hidden.has(one.name) ? n : -1)).filter((n) => n >= 0));
  scatter.soon();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (ids) colour(); });

// --- selecting -------------------------------------------------------------------------------------------------------

/** Photos by their ids, whose files are asked for as they come into view: a source of the grid. */
class Chosen {
  constructor(list) {
    this.all = list;
    this.length = list.length;
    this.known = new Map();
  }

  item(i) { return this.known.get(this.all[i]); }

  async *ids(first, last) { yield this.all.slice(first, last + 1); }

  async load(first, last, signal) {
    const wanted = this.all.slice(first, last + 1).filter((id) => !this.known.has(id));
    for (let at = 0; at < wanted.length; at += ASKED_AT_ONCE) {
      const { images } = await ask("/v1/images/paths", { body: { image_ids: wanted.slice(at, at + ASKED_AT_ONCE) }, signal });
      images.forEach((one) => this.known.set(one.image_id, one));
    }
    // What has gone meanwhile has no file.
    wanted.filter((id) => !this.known.has(id)).forEach((id) => this.known.set(id, { image_id: id, path: "" }));
  }
}

/** Have what is selected stand out, and in the grid. */
function select() {
  let found = null;
  const group = groups.findIndex((one) => one.name === view.group);
  if (view.lasso) found = scatter.within(view.lasso);
  else if (group >= 0) found = [...ids.keys()].filter((i) => scatter.of[i] === group);
  byId("stage").hidden = !found;
  document.body.classList.toggle("lassoed", Boolean(found));
  if (!found) {
    source = null;
    scatter.choose(null);
    return;
  }
  const chosen = new Uint8Array(ids.length);
  found.forEach((i) => { chosen[i] = 1; });
  scatter.choose(chosen, view.lasso);
  // The nearest to the middle first.
  const middle = ["xs", "ys"].map((axis) => found.reduce((sum, i) => sum + scatter[axis][i], 0) / Math.max(1, found.length));
  const far = new Map(found.map((i) => [i, (scatter.xs[i] - middle[0]) ** 2 + (scatter.ys[i] - middle[1]) ** 2]));
  const list = found.sort((a, b) => far.get(a) - far.get(b)).map((i) => ids[i]);
  const where = view.lasso ? "in this area" : `of “${groups[group].shown}”`;
  byId("chosen-title").textContent = `${photos(list.length)} ${where}`;
  if (source?.all.length === list.length && list.every((id, n) => id === source.all[n])) return;  // what was let go stays so
  source = new Chosen(list);
  grid.selection.clear();  // for what is selected next
  grid.show(source, { label: `Photos ${where}` });
  grid.selection.all();  // what is done is done with all of them, unless some are let go
}

function selectGroup(name) {
  [view.group, view.lasso] = [name, null];
  select();
  writeUrl(true);
  byId("stage").scrollIntoView({ block: "nearest" });
}

function selectWithin(corners) {
  [view.group, view.lasso] = [null, corners];
  setLasso(false);
  select();
  writeUrl(true);
}

function clear() {
  if (view.lasso === null && view.group === null) return;
  [view.group, view.lasso] = [null, null];
  select();
  writeUrl(true);
}

function setLasso(on) {
  scatter.isLasso = on;
  byId("lasso").setAttribute("aria-pressed", String(on));
  byId("plane").classList.toggle("drawing", on);
}

// --- one photo -------------------------------------------------------------------------------------------------------

const labelOf = (id) => groups[scatter.of[ids.indexOf(id)]]?.shown ?? "";

/** The photo below the pointer, beside it. */
function tip(i, x, y) {
  const box = byId("tip");
  box.hidden = i === null || i === undefined;
  if (box.hidden) { box.dataset.id = ""; return; }
  const id = ids[i];
  if (box.dataset.id !== String(id)) {
    box.dataset.id = String(id);
    box.replaceChildren(picture({ image_id: id }, 256), h("span", {}, labelOf(id)));
  }
  const plane = byId("plane");
  box.style.left = `${plane.offsetLeft + Math.min(x + 16, plane.clientWidth - 180)}px`;
  box.style.top = `${plane.offsetTop + (y > plane.clientHeight / 2 ? y - 196 : y + 16)}px`;
}

const scatter = new Scatter(byId("plane"), {
  onhover: tip,
  onopen: (i) => { dialog.walk = null; dialog.show({ image_id: ids[i] }); },
  onlasso: selectWithin,
  onview: () => { clearTimeout(scatter.told); scatter.told = setTimeout(() => writeUrl(), 200); },
  onclear: clear,
});

const sayable = () => answer.labels.filter((label) => label !== NONE).concat(NONE);

const chosen = selecting({
  key: () => answer?.key ?? null,
  correct: {
    why: () => (!answer || !view.asked.set ? "Colour by a saved label set first: corrections are kept with it." : corrections.may ? null : "This service does not accept corrections from you."),
    labels: () => sayable(),
    say: async (which, n) => {
      const label = sayable()[n];
      const step = await corrections.sayAll(which, label);
      grid.marked();
      corrections.tell(`Kept: ${photos(which.length)} show${which.length === 1 ? "s" : ""} ${label}.`, step, undo);
    },
  },
});

async function undo(only) {
  try {
    await corrections.undo(only);
    dialog.said();
    grid.marked();
  } catch (error) { toast(error.message); }
}

const grid = new Grid(byId("grid"), {
  label: "Photos", cell: 132, select: chosen, mark: (item) => { const label = corrections.saidAt(item.path); return label === null ? null : `✓ ${label}`; }, badge: (item) => labelOf(item.image_id),
  onopen: (i, from) => dialog.open(from, i),
  onerror: (error) => toast(error.message, { text: "Try again", run: () => select() }),
});

const dialog = new PhotoDialog({
  question: () => answer?.asked ?? null,
  onshow: (id, at) => { tip(null); open.shown(id, at); },
  onclose: () => {
    open.closed();
    if (dialog.walk) grid.focus(dialog.walk.at);
    else scatter.canvas.focus({ preventScroll: true });
  },
  oncorrect: {
    possible: () => Boolean(answer && corrections.may && view.asked.set),
    labels: () => sayable(),
    said: (digest) => corrections.said(digest),
    undo: () => undo(),
    say: async (photo, n) => {
      const label = sayable()[n];
      try {
        const step = await corrections.say(photo, label);
        dialog.said();
        grid.marked();
        corrections.tell(`Kept: ${fileName(photo.paths[0] ?? "")} shows ${label}.`, step, undo);
      } catch (error) { toast(`${fileName(photo.paths[0] ?? "")}: ${error.message}`); }
    },
  },
});

// --- beginning -------------------------------------------------------------------------------------------------------

const editor = new Editor(byId("editor"), {
  compact: true,
  onchange: (asked, settled) => {
    view.asked = asked;
    [view.hidden, view.group] = [new Set(), null];
    writeUrl(settled);
    colour();
  },
});

byId("by").addEventListener("change", () => {
  view.by = byId("by").value;
  [view.hidden, view.group] = [new Set(), null];
  writeUrl(true);
  colour();
});
byId("lasso").addEventListener("click", () => setLasso(!scatter.isLasso));
byId("in-view").addEventListener("click", () => selectWithin(scatter.inView));
byId("closer").addEventListener("click", () => scatter.zoomBy(1.6));
byId("further").addEventListener("click", () => scatter.zoomBy(1 / 1.6));
byId("fit").addEventListener("click", () => scatter.fit());
byId("clear").addEventListener("click", () => { clear(); scatter.canvas.focus({ preventScroll: true }); });

async function go(query) {
  readUrl(query);
  await Promise.all([editor.set(view.asked), map?.layout ? null : fetchMap()]);
  await colour();
  follow();
}

/** Open the photo that the address names, or none. */
async function follow() {
  const { id } = open;
  const at = id !== null && source ? source.all.indexOf(id) : -1;
  if (at >= 0) await source.load(at, at).catch(() => {});
  if (open.id !== id) return;
  if (id === null || !ids) dialog.close();
  else dialog.travel(id, at >= 0 ? source : null, at >= 0 ? at : null);
}

async function begin() {
  library().catch(() => {});
  await go(params());
  const jobs = await ask("/v1/jobs").catch(() => []);
  const live = jobs.find((job) => job.kind === "map" && !ENDED.includes(job.state));
  if (live) watch(live);
}

onTravel(go, (query) => { open.read(query); follow(); });
offerKeys();
begin();
