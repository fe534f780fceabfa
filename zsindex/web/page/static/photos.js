// The library as it is, before any label: by day, month or folder, with a bar of times to jump along.

import { Adding } from "./adding.js";
import { Pages } from "./answer.js";
import { ask, latest, library, mayWrite, root } from "./api.js";
import { selecting } from "./chosen.js";
import { byId, fileName, h, icon, number, photos, showState, toast } from "./dom.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { offerKeys } from "./help.js";
import { PhotoDialog } from "./photo.js";
import { forget } from "./pictures.js";
import { onChange } from "./service.js";
import { OpenPhoto, onTravel, params, write } from "./url.js";

const ORDERS = { newest: "by=date", oldest: "by=date&oldest_first=true", folder: "by=path" };
// With fewer photos on average a section would be mostly a title.
const FEW = 6;
// Of more years the bar has no months.
const MOST_YEARS = 12;
// So many photos may have come between two of the same day, and what was in view is still found.
const AHEAD = 300;
// What the address of the lab has, which once stood here.
const OF_THE_LAB = ["label", "set", "template", "group", "min", "negative", "unknown"];

let order = "newest";
let folder = null;
let list = null;  // a source of the grid

const day = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });
const month = new Intl.DateTimeFormat("en", { month: "long", year: "numeric", timeZone: "UTC" });
const short = new Intl.DateTimeFormat("en", { month: "short", timeZone: "UTC" });

function readUrl(query) {
  order = query.get("order") in ORDERS ? query.get("order") : "newest";
  folder = query.get("folder") || null;
  open.read(query);
  filters.set(query);
  byId("order").value = order;
}

function writeUrl(push = false, state = null) {
  const query = new URLSearchParams();
  if (order !== "newest") query.set("order", order);
  if (folder) query.set("folder", folder);
  filters.write(query);
  const lab = new URLSearchParams();
  filters.write(lab);
  byId("ask").href = `${root}/lab?${lab}`;
  open.add(query);
  write(query, { push, state });
}

/** The parameters that say which photos, and in which order. */
function asked() {
  const query = new URLSearchParams();
  const { where } = filters.body;
  if (where) query.set("where", JSON.stringify(where));
  if (folder) query.set("path", folder);
  return query.size ? `&${query}` : "";
}

/** The first instant of a day, a month or a year. */
const instant = (name) => new Date(`${name}${"-01-01".slice(name.length - 4)}T00:00:00Z`);

function titleOf(name) {
  if (name === null) return "No date";
  if (order === "folder" || name.length === 4) return name;
  return (name.length === 7 ? month : day).format(instant(name));
}

async function sectionsOf(signal) {
  const older = order === "oldest" ? "&oldest_first=true" : "";
  const { sections } = await ask(`/v1/images/sections?per=${order === "folder" ? "folder" : "day"}${older}${asked()}`, { signal });
  const few = (found) => found.reduce((sum, one) => sum + one.photos, 0) < FEW * found.length;
  if (order === "folder" || !few(sections)) return sections;
  const months = together(sections, "2019-06".length);
  return few(months) ? together(sections, "2019".length) : months;
}

/** Days as the months or years that they are of: those whose names begin alike. */
function together(days, length) {
  const made = [];
  for (const { name, start, photos: n } of days) {
    const wider = name?.slice(0, length) ?? null;
    if (made.length && made.at(-1).name === wider) made.at(-1).photos += n;
    else made.push({ name: wider, start, photos: n });
  }
  return made;
}

/** Ask anew; with `place`, of the list before, what was in view there stays where it is. */
const find = latest(async (signal, place = null) => {
  forget();
  byId("stage").setAttribute("aria-busy", "true");
  if (!list) showState(byId("state"), { title: "Looking for photos", busy: true });
  try {
    const pages = new Pages(`/v1/images?${ORDERS[order]}${asked()}`);
    const [sections] = await Promise.all([sectionsOf(signal), place ? null : pages.load(0, 0, signal)]);
    const length = sections.reduce((sum, one) => sum + one.photos, 0);
    const before = list;
    list = {
      length, sections: sections.map((one) => ({ ...one, title: `${titleOf(one.name)} · ${photos(one.photos)}` })),
      item: (i) => pages.item(i), load: (first, last, ending) => pages.load(first, last, ending),
      ids: (first, last, ending) => pages.ids(first, last, ending),
    };
    const i = place && length ? await placeOf(place, before, signal) : null;
    draw(i !== null);
    if (i !== null) grid.hold({ i, shift: place.shift });
  } catch (error) {
    if (signal.aborted) return;
    byId("grid").hidden = byId("scrubber").hidden = true;
    if (filters.fail(error)) showState(byId("state"), { title: "These filters cannot be used", text: error.message, kind: "error" });
    else if (error.status === 404 && folder) {
      showState(byId("state"), { title: "No such folder", text: `${folder} is not in this library.`, action: { text: "All folders", run: () => enter(null) } });
    } else showState(byId("state"), { title: "No answer", text: error.message, kind: "error", action: { text: "Try again", run: () => find() } });
  } finally { if (!signal.aborted) byId("stage").setAttribute("aria-busy", "false"); }
});

/** Where a photo of the list before is by now, or would be. */
async function placeOf({ i }, before, signal) {
  const id = before.item(i)?.image_id;
  const was = before.sections.findLast((one) => one.start <= i);
  const is = list.sections.find((one) => one.name === was.name);
  if (!is) return Math.min(i, list.length - 1);
  const from = is.start + Math.min(i - was.start, is.photos - 1);
  const to = Math.min(list.length - 1, from + AHEAD);
  await list.load(from, to, signal);
  for (let n = from; n <= to; n += 1) {
    if (list.item(n).image_id === id) return n;
  }
  return from;
}

function draw(stay = false) {
  byId("counted").textContent = photos(list.length);
  byId("inside").textContent = folder ? `in ${folder}` : "";
  byId("grid").hidden = !list.length;
  drawScrubber();
  if (list.length) {
    showState(byId("state"));
    grid.show(list, { label: byId("order").selectedOptions[0].textContent, top: !stay });
  } else if (filters.asked.size || folder) {
    showState(byId("state"), { title: "No photos fit", text: "No photo of this library fits all of these filters." });
  } else {
    showState(byId("state"), { title: "No photos yet", text: "Add a folder with photos: each is encoded once, and every question is answered from then on." });
    offerFolders();
  }
}

const adding = new Adding(h("div", { class: "adding" }), { ondone: () => { find(); drawFolders(); library({ again: true }); } });

async function offerFolders() {
  byId("state").append(adding.host);
  if (adding.busy) return;
  if (await mayWrite()) adding.begin();
  else adding.host.replaceChildren(h("p", { class: "quiet" }, "That needs a token with the right to write."));
}

// --- the bar of times ------------------------------------------------------------------------------------------------

function drawScrubber() {
  const bar = byId("scrubber");
  const times = order === "folder" ? [] : list.sections.filter((one) => one.name !== null);
  const years = new Map();
  for (const { name, start } of times) {
    const year = name.slice(0, 4);
    const months = years.get(year) ?? years.set(year, new Map()).get(year);
    if (!months.has(name.slice(0, 7))) months.set(name.slice(0, 7), start);
  }
  const jump = (start, text, label) => h("button", { type: "button", "data-start": start, "aria-label": label, onclick: () => grid.toTop(start) }, text);
  const withMonths = years.size <= MOST_YEARS && times[0]?.name.length > 4;
  bar.hidden = times.length < 2;
  bar.replaceChildren(h("ol", {}, ...[...years].map(([year, months]) => h("li", {}, jump([...months.values()][0], year),
    withMonths ? h("ol", {}, ...[...months].map(([name, start]) => h("li", {}, jump(start, short.format(instant(name)), month.format(instant(name)))))) : null))));
}

/** Mark the time that is in view. */
function inView(i) {
  let current = null;
  for (const button of byId("scrubber").querySelectorAll("button")) {
    button.removeAttribute("aria-current");
    if (Number(button.dataset.start) <= i) current = button;
  }
  current?.setAttribute("aria-current", "true");
  current?.scrollIntoView({ block: "nearest" });
}

// --- folders ---------------------------------------------------------------------------------------------------------

/** Folders as a tree, of which each level is made when it is opened. */
async function drawFolders() {
  const { sections } = await ask("/v1/images/sections?per=folder");
  const { roots } = await library();
  byId("folders").hidden = !sections.length;
  const counts = new Map();
  for (const { name, photos: n } of sections) {
    const separator = name.includes("\\") ? "\\" : "/";
    const parts = name.split(separator);
    for (let length = parts.length; length > 0; length -= 1) {
      const path = parts.slice(0, length).join(separator) || separator;
      counts.set(path, (counts.get(path) ?? 0) + n);
    }
  }
  const under = new Map();
  for (const path of counts.keys()) {
    const parent = path.slice(0, path.length - fileName(path).length).replace(/[/\\]$/, "");
    under.set(parent, [...(under.get(parent) ?? []), path]);
  }
  const node = (path, name) => {
    const children = (under.get(path) ?? []).sort();
    const pick = h("button", { type: "button", class: "plain", "aria-pressed": String(folder === path), "data-path": path, onclick: () => enter(folder === path ? null : path) },
      name, h("span", { class: "quiet" }, ` ${number(counts.get(path))}`));
    if (!children.length) return h("li", {}, pick);
    const list = h("ul", { hidden: true });
    const toggle = h("button", { type: "button", class: "plain", "aria-expanded": "false", "aria-label": `Folders in ${name}`, onclick: () => {
      if (!list.children.length) list.append(...children.map((child) => node(child, fileName(child))));
      list.hidden = !list.hidden;
      toggle.setAttribute("aria-expanded", String(!list.hidden));
    } }, icon("right"));
    return h("li", {}, h("div", { class: "branch" }, toggle, pick), list);
  };
  byId("tree").replaceChildren(h("ul", { class: "tree" }, ...roots.filter((path) => counts.has(path)).map((path) => node(path, path))));
}

function enter(path) {
  folder = path;
  for (const button of byId("tree").querySelectorAll("[data-path]")) button.setAttribute("aria-pressed", String(button.dataset.path === path));
  writeUrl(true);
  find();
}

// --- photos ----------------------------------------------------------------------------------------------------------

const open = new OpenPhoto(writeUrl);

const grid = new Grid(byId("grid"), {
  label: "Photos", badge: () => "", onscroll: inView, select: selecting(),
  onopen: (i, source) => dialog.open(source, i),
  onerror: (error) => toast(error.message, { text: "Try again", run: () => find() }),
});

const dialog = new PhotoDialog({
  onshow: (id, at) => open.shown(id, at),
  onclose: () => {
    open.closed();
    if (list && dialog.walk?.source === list) grid.focus(dialog.walk.at);
  },
});

const filters = new Filters(byId("filters"), { onchange: (settled) => { if (settled) writeUrl(true); find(); } });
byId("order").addEventListener("change", () => { order = byId("order").value; writeUrl(true); find(); });

async function go(query) {
  readUrl(query);
  writeUrl();
  await find();
  follow();
}

const follow = () => open.follow(dialog, list, { ordered: byKey });

/** Where to look for a photo in the order of the list: what `place.js` wants to know. */
async function byKey(id) {
  const { paths } = await ask(`/v1/images/${id}`);
  const { images } = await ask(`/v1/images?path=${encodeURIComponent(paths[0])}`);
  const key = order === "folder" ? (item) => item.path : (item) => item.taken ?? (order === "newest" ? "" : "\uffff");
  const wanted = key(images.find((one) => one.image_id === id));
  return (item) => (key(item) === wanted ? 0 : (key(item) < wanted) === (order === "newest") ? 1 : -1);
}

if (OF_THE_LAB.some((name) => params().has(name))) location.replace(`${root}/lab${location.search}`);
else {
  onTravel(go, (query) => { open.read(query); follow(); });
  onChange(() => {
    if (adding.busy) return;  // that leads to the photos when it has ended
    const { place } = grid;
    find(place?.i || place?.shift < 0 ? place : null);
    drawFolders().catch(() => {});
  }, { byItself: () => !list?.length });
  offerKeys();
  library().catch(() => {});
  drawFolders().catch(() => {});
  go(params());
}
