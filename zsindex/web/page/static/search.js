// Search: words and photos are added up, taken away or left out. Of what is asked in words alone only what fits is shown.

import { ask, latest, library } from "./api.js";
import { selecting } from "./chosen.js";
import { byId, h, icon, photos, showState, toast } from "./dom.js";
import * as drops from "./drops.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { offerKeys } from "./help.js";
import { PhotoDialog } from "./photo.js";
import { forget, picture } from "./pictures.js";
import { placeIn } from "./place.js";
import { onChange } from "./service.js";
import { OpenPhoto, onTravel, params, write } from "./url.js";

const PAGE = 100;
const MOST_BYTES = 30e6;
const IDEAS = ["a beach", "a smiling face", "something red", "a street at night", "food on a table"];

// Terms: { kind: "text" | "like" | "drop", value, minus, not }. What is left out is a text.
let terms = [];
let all = false;  // also what does not fit
let hits = { items: [], next: null, fit: null };
let list = null;  // them, as a source of the grid

function readUrl(query) {
  terms = [];
  for (const [name, value] of query) {
    if (name === "not" && value) terms.push({ kind: "text", value, minus: false, not: true });
    const minus = name.endsWith("-");
    const kind = { q: "text", like: "like", drop: "drop" }[minus ? name.slice(0, -1) : name];
    if (!kind || !value) continue;
    if (kind === "text") terms.push({ kind, value, minus, not: false });
    else if (/^\d+$/.test(value)) terms.push({ kind, value: Number(value), minus, not: false });
  }
  filters.set(query);
  all = query.get("all") === "1";
  open.read(query);
}

function writeUrl(push = false, state = null) {
  const query = new URLSearchParams();
  for (const term of terms) query.append(term.not ? "not" : { text: "q", like: "like", drop: "drop" }[term.kind] + (term.minus ? "-" : ""), String(term.value));
  filters.write(query);
  if (all) query.set("all", "1");
  open.add(query);
  write(query, { push, state });
}

async function base64(file) {
  const reader = new FileReader();
  await new Promise((resolve, reject) => { reader.onload = resolve; reader.onerror = () => reject(reader.error); reader.readAsDataURL(file); });
  return reader.result.slice(reader.result.indexOf(",") + 1);
}

async function termOf(term) {
  if (term.kind === "text") return { text: term.value };
  if (term.kind === "like") return { image_id: term.value };
  const file = await drops.get(term.value).catch(() => undefined);
  if (!file) throw new Error("This browser no longer keeps a photo that was dropped here. Remove it and drop it again.");
  return { image: await base64(file) };
}

/** Whether what fits can be told: photos have no cut of their own. */
const inWords = () => terms.every((term) => term.kind === "text");

/** Ask anew; with `place`, of the photos before, what was in view there stays where it is. */
const find = latest(async (signal, place = null) => {
  const before = place ? hits.items[place.i]?.image_id : null;
  byId("found").textContent = "";
  hits = { items: [], next: null, fit: null };
  if (!terms.some((term) => !term.not)) {
    draw();
    return;
  }
  const mine = hits;
  forget();  // whoever asks anew may have brought photos back
  if (!place) {
    showState(byId("state"), { title: "Searching", busy: true });
    byId("grid").hidden = true;
  }
  try {
    const [plus, minus] = await Promise.all([false, true].map((isMinus) => Promise.all(terms.filter((term) => !term.not && term.minus === isMinus).map(termOf))));
    const without = terms.filter((term) => term.not).map((term) => term.value);
    const cut = inWords() && !all ? "auto" : null;
    const page = await ask("/v1/search", { body: { plus, minus, without, cut, top: PAGE, ...filters.body }, signal });
    mine.items.push(...page.hits);
    mine.next = page.next;
    mine.fit = cut ? page.fit : null;
    const at = before ? await placeIn(source(mine), before, place.i) : null;
    if (signal.aborted) return;
    draw(place !== null);
    if (place && mine.items.length) grid.hold({ i: at ?? place.i, shift: place.shift });
  } catch (error) {
    if (signal.aborted) return;
    draw();
    if (filters.fail(error)) showState(byId("state"), { title: "These filters cannot be used", text: error.message, kind: "error" });
    else showState(byId("state"), { title: "No answer", text: error.message, kind: "error", action: { text: "Try again", run: () => find() } });
  }
});

const grid = new Grid(byId("grid"), {
  label: "Photos found", onopen: (i, source) => dialog.open(source, i), badge: (item) => item.score.toFixed(2), select: selecting(),
  onerror: (error) => toast(error.status === 410 ? "The library has changed since this search began." : error.message, { text: "Search again", run: () => find() }),
});

/** All hits so far; the next page comes when the end of them comes near. */
function source(found) {
  let more;
  return {
    list: found,
    get length() { return found.items.length; },
    item: (i) => found.items[i],
    load: async () => {},
    async near(last) {
      if (!found.next || last < found.items.length - PAGE / 2) return;
      await (more ??= this.grow());
    },
    async grow() {
      try {
        const page = await ask("/v1/search", { body: { cursor: found.next } });
        found.items.push(...page.hits);
        found.next = page.next;
        if (found === hits) { counted(); grid.grown(); }
      } finally { more = undefined; }
    },
  };
}

function counted() {
  const n = hits.items.length;
  const { fit } = hits;
  byId("grid").classList.toggle("misfits", fit?.fitting === 0);
  byId("found").textContent = !n ? "" : hits.next ? `The nearest ${photos(n)}; scroll for more` : `${photos(n)}, nearest first`;
  if (n && fit?.tells === false) byId("found").textContent = "There are too few photos to tell which of them fit; these are the nearest";
  else if (fit?.fitting === 0) byId("found").textContent = n ? "Nothing fits; these are the nearest" : "Nothing fits";
  else if (fit) byId("found").textContent = hits.next ? `${photos(n)} fit; scroll for more` : `${photos(n)} ${n === 1 ? "fits" : "fit"}`;
  byId("all").hidden = !inWords() || !n || !(all || fit?.tells);
  byId("all").textContent = all ? "Only what fits" : "Show all, nearest first";
}

function draw(stay = false) {
  byId("terms").replaceChildren(...terms.map(drawTerm));
  byId("terms").hidden = !terms.length;
  byId("grid").hidden = !hits.items.length;
  counted();
  if (hits.items.length) {
    showState(byId("state"));
    list = source(hits);
    grid.show(list, { label: hits.fit?.fitting === 0 ? "The nearest photos; none fits" : "Photos found, nearest first", top: !stay });
  } else if (terms.length && filters.asked.size) {
    showState(byId("state"), { title: "No photos fit", text: "No photo of this library fits all of these filters." });
  } else if (terms.length && terms.every((term) => term.not)) {
    showState(byId("state"), { title: "What are you looking for?", text: "Only what to leave out is known so far." });
  } else if (hits.fit?.tells) {
    showState(byId("state"), { title: "Nothing fits", text: "All photos that are near show something that is to be left out." });
  } else if (terms.length) {
    showState(byId("state"), { title: "No photos", text: "This library holds no photos with vectors yet. A sync finds and encodes them." });
  } else {
    showState(byId("state"), { title: "What are you looking for?", text: "Describe it, or drop a photo anywhere on this page. Add and subtract to steer." });
    byId("state").append(h("p", { class: "ideas" }, ...IDEAS.map((idea) => h("button", { type: "button", onclick: () => add({ kind: "text", value: idea, minus: false, not: false }) }, idea))));
  }
}

function drawTerm(term) {
  const change = (work) => () => { work(); writeUrl(true); find(); };
  const name = term.kind === "text" ? term.value : term.kind === "like" ? "like this photo" : "like the dropped photo";
  const flip = h("button", { type: "button", class: "sign", "aria-label": `${term.minus || term.not ? "Add" : "Subtract"} ${name} instead`,
    onclick: change(() => { term.minus = !term.minus && !term.not; term.not = false; }) },
  term.not ? "not" : icon(term.minus ? "minus" : "plus"));
  const element = h("li", { class: `chip term${term.minus || term.not ? " minus" : ""}` }, flip);
  if (term.kind === "text") element.append(h("span", { class: "chip-text" }, h("span", { class: "hidden" }, term.not ? "" : term.minus ? "minus " : "plus "), term.value));
  else if (term.kind === "like") element.append(picture({ image_id: term.value }, 128, { alt: name }));
  else {
    const dropped = h("span", { class: "chip-text" }, "dropped photo");
    element.append(dropped);
    drops.get(term.value).then((file) => {
      if (!file) return;
      const address = URL.createObjectURL(file);
      const image = h("img", { alt: name, width: 44, height: 44, src: address });
      const let_go = () => URL.revokeObjectURL(address);
      image.addEventListener("load", () => { let_go(); dropped.replaceWith(image); });
      image.addEventListener("error", () => { let_go(); dropped.textContent = file.name || "dropped photo"; });
    }, () => {});
  }
  element.append(h("button", { type: "button", "aria-label": `Remove ${name}`,
    onclick: change(() => { terms = terms.filter((other) => other !== term); byId("text").focus(); }) }, icon("x")));
  return element;
}

function add(term) {
  if (terms.some((other) => other.kind === term.kind && other.value === term.value && other.minus === term.minus && other.not === term.not)) return;
  terms = [...terms, term];
  writeUrl(true);
  find();
}

function addText(minus, not = false) {
  const value = byId("text").value.trim();
  if (!value) {
    byId("text").focus();
    return;
  }
  byId("text").value = "";
  add({ kind: "text", value, minus, not });
}

byId("query").addEventListener("submit", (event) => { event.preventDefault(); addText(false); });
byId("subtract").addEventListener("click", () => addText(true));
byId("leave-out").addEventListener("click", () => addText(false, true));
byId("all").addEventListener("click", () => { all = !all; writeUrl(true); find(); });
byId("text").addEventListener("keydown", (event) => {
  if (event.key === "Backspace" && !byId("text").value && terms.length) {
    event.preventDefault();
    terms = terms.slice(0, -1);
    writeUrl(true);
    find();
  }
});

const filters = new Filters(byId("filters"), { onchange: (settled) => { if (settled) writeUrl(true); find(); } });

// --- dropping --------------------------------------------------------------------------------------------------------

async function take(files) {
  for (const file of [...files].slice(0, 8)) {
    if (file.size > MOST_BYTES) {
      toast(`${file.name} is too large to send.`);
      continue;
    }
    try {
      add({ kind: "drop", value: await drops.keep(file), minus: false, not: false });
    } catch {
      toast("This browser stores nothing for this page, so dropped photos cannot be used in a search.");
    }
  }
}

byId("file").addEventListener("change", () => { take(byId("file").files); byId("file").value = ""; });
const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragenter", (event) => { if (isFile(event)) byId("drop").hidden = false; });
addEventListener("dragover", (event) => { if (isFile(event)) event.preventDefault(); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) byId("drop").hidden = true; });
addEventListener("drop", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  byId("drop").hidden = true;
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  if (files.length) { event.preventDefault(); take(files); }
});

// --- one photo -------------------------------------------------------------------------------------------------------

const open = new OpenPhoto(writeUrl);

const dialog = new PhotoDialog({
  onshow: (id, at) => open.shown(id, at),
  onclose: () => {
    open.closed();
    if (list && dialog.walk?.source === list) grid.focus(dialog.walk.at);
  },
});

async function go(query) {
  readUrl(query);
  await find();
  follow();
}

const follow = () => open.follow(dialog, list);

onTravel(go, (query) => { open.read(query); follow(); });
onChange(() => {
  const { place } = grid;
  find(hits.items.length && (place?.i || place?.shift < 0) ? place : null);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.matches("input, textarea, select") && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    byId("text").focus();
  }
});
offerKeys();
library().catch(() => {});
go(params());
