// Two label sets or two template sets, side by side, and in the middle what changes between them.

import { Grouped, Pages } from "./answer.js";
import { ask, latest, library } from "./api.js";
import { byId, h, number, percent, photos, showState } from "./dom.js";
import { Editor, fromUrl, question, toUrl } from "./editor.js";
import { Grid } from "./grid.js";
import { fits } from "./groups.js";
import { offerKeys } from "./help.js";
import { PhotoDialog } from "./photo.js";
import { libraryIs } from "./pictures.js";
import { Rows } from "./rows.js";
import { OpenPhoto, onTravel, params, write } from "./url.js";

const SIDES = ["a", "b"];
const ROW = 36;
const MANY = 12;
const sides = { a: { asked: fromUrl(new URLSearchParams()) }, b: { asked: fromUrl(new URLSearchParams()) } };
let chosen = null;  // "was>becomes", by name
let flips = null;
let shown = null;
let listed = [];  // the flips that are looked for

function writeUrl(push = false, state = null) {
  const query = new URLSearchParams();
  for (const side of SIDES) toUrl(query, sides[side].asked, side);
  if (chosen) query.set("flip", chosen);
  if (find.value.trim()) query.set("find", find.value.trim());
  open.add(query);
  write(query, { push, state });
}

const compare = latest(async (signal) => {
  const bodies = SIDES.map((side) => question(sides[side].asked));
  SIDES.forEach((side) => sides[side].editor.fail());
  if (!bodies[0] || !bodies[1]) {
    flips = null;
    draw();
    return;
  }
  const slow = setTimeout(() => showState(byId("state"), { title: "Comparing", busy: true }), 400);
  try {
    const found = await Promise.allSettled(bodies.map((body) => ask("/v1/groups", { body, signal })));
    if (signal.aborted) return;
    let wrong;
    found.forEach((one, n) => {
      if (one.status === "fulfilled") sides[SIDES[n]].answer = new Grouped(one.value);
      else {
        wrong = one.reason;
        sides[SIDES[n]].editor.fail(one.reason.message);
      }
    });
    if (wrong) throw wrong;
    libraryIs(sides.b.answer.run.snapshot);
    flips = await ask(`/v1/groups/${sides.a.answer.key}/flips/${sides.b.answer.key}`, { signal });
    draw();
  } catch (error) {
    if (signal.aborted) return;
    flips = null;
    draw();
    showState(byId("state"), { title: "These cannot be compared", text: error.message, kind: "error",
      action: { text: "Try again", run: () => compare() } });
  } finally {
    clearTimeout(slow);
    byId("stage").setAttribute("aria-busy", "false");
  }
});

/** As it stands in the address. */
function nameOf(flip) { return `${flip.from}>${flip.to}`; }

const find = byId("flips-find");

/** How many photos each label has on a side. */
const counted = Object.fromEntries(SIDES.map((side) => [side, new Rows(byId(`${side}-counts`), {
  height: ROW, key: (group) => group.label,
  make: (group) => h("div", { class: "tab", role: "listitem", title: group.label }, h("span", { class: "tab-name" }, group.label), h("span", { class: "tab-count" }),
    h("span", { class: "tab-bar", "aria-hidden": "true" }, h("span"))),
  fill: (row, group) => {
    row.querySelector(".tab-count").textContent = number(group.count);
    row.querySelector(".tab-bar span").style.transform = `scaleX(${group.count / sides[side].most})`;
  },
})]));

const options = new Rows(byId("flips"), {
  height: ROW, key: nameOf,
  make: (flip) => h("div", { class: "flip", role: "option", title: `${flip.from} → ${flip.to}`, onclick: () => choose(flip, true) },
    h("span", { class: "was" }, flip.from), h("span", { class: "arrow", "aria-hidden": "true" }, "→"), h("span", { class: "hidden" }, " becomes "),
    h("span", { class: "becomes" }, flip.to), h("span", { class: "tab-count" })),
  fill: (row, flip, n) => {
    row.id = `flip-${n}`;
    row.setAttribute("aria-selected", String(nameOf(flip) === chosen));
    row.setAttribute("aria-posinset", n + 1);
    row.setAttribute("aria-setsize", listed.length);
    row.querySelector(".tab-count").textContent = number(flip.count);
  },
});

function draw() {
  for (const side of SIDES) {
    const groups = flips ? sides[side].answer.counts(0) : [];
    sides[side].most = groups.reduce((most, group) => Math.max(most, group.count), 1);
    byId(`${side}-counts`).hidden = !groups.length;
    counted[side].show(groups);
  }
  byId("swap").hidden = !flips;
  if (!flips) {
    byId("flips-sum").textContent = "";
    byId("flips").hidden = find.hidden = true;
    options.show([]);
    drawPhotos();
    showState(byId("state"), { title: "Do other words say the same?",
      text: "Give both sides labels. Photos that get a different label on the right than on the left show up in the middle.",
      action: { text: "Try an example", run: example } });
    return;
  }
  const changed = flips.total - flips.same;
  byId("flips-sum").textContent = changed
    ? `${photos(changed)} of ${number(flips.total)} (${percent(changed / flips.total)}) get a different label.`
    : `All ${photos(flips.total)} keep their label.`;
  if (!flips.flips.some((flip) => nameOf(flip) === chosen)) chosen = flips.flips.length ? nameOf(flips.flips[0]) : null;
  find.hidden = flips.flips.length <= MANY && !find.value;
  list();
  drawPhotos();
}

function list() {
  listed = (flips?.flips ?? []).filter((flip) => fits(nameOf(flip), find.value));
  byId("flips").hidden = !listed.length;
  byId("flips-none").textContent = find.value.trim() && !listed.length ? "No change fits." : "";
  mark();
}

function mark() {
  const at = listed.findIndex((flip) => nameOf(flip) === chosen);
  options.show(listed, at);
  if (at === -1) byId("flips").removeAttribute("aria-activedescendant");
  else {
    options.reveal(at);
    byId("flips").setAttribute("aria-activedescendant", `flip-${at}`);
  }
}

find.addEventListener("input", () => { writeUrl(); list(); });

const grid = new Grid(byId("grid"), {
  label: "Photos whose label changes", onopen: (i, source) => dialog.open(source, i),
  onerror: (error) => (error.status === 410 ? compare() : showState(byId("state"), { title: "No answer", text: error.message, kind: "error" })),
  badge: (item) => `${percent(item.old_score)} → ${percent(item.score)}`,
});

function drawPhotos() {
  const flip = flips?.flips.find((one) => nameOf(one) === chosen);
  byId("grid").hidden = !flip;
  byId("flip-name").hidden = !flip;
  showState(byId("state"));
  if (!flip) {
    shown = null;
    if (flips) showState(byId("state"), { title: "Nothing changes", text: "Both sides give every photo the same label." });
    return;
  }
  byId("flip-name").replaceChildren(flip.from, h("span", { class: "arrow" }, " → "), flip.to, h("span", { class: "quiet" }, ` ${photos(flip.count)}`));
  const pages = new Pages(`/v1/groups/${sides.a.answer.key}/flips/${sides.b.answer.key}/photos?was=${flip.was}&becomes=${flip.becomes}`);
  shown = { length: flip.count, item: (i) => pages.item(i), load: (first, last, signal) => pages.load(first, last, signal) };
  grid.show(shown, { label: `Photos that go from ${flip.from} to ${flip.to}`, top: false });
}

function choose(flip, push) {
  chosen = nameOf(flip);
  writeUrl(push);
  mark();
  drawPhotos();
}

byId("flips").addEventListener("keydown", (event) => {
  const steps = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  if (!(event.key in steps) || !listed.length) return;
  event.preventDefault();
  const from = listed.findIndex((flip) => nameOf(flip) === chosen);
  choose(listed[Math.max(0, Math.min(listed.length - 1, from + steps[event.key]))], false);
});

const open = new OpenPhoto(writeUrl);

const dialog = new PhotoDialog({
  question: () => question(sides.b.asked),
  onshow: (id, at) => open.shown(id, at),
  onclose: () => {
    open.closed();
    if (shown && dialog.walk?.source === shown) grid.focus(dialog.walk.at);
  },
});

function set(side, asked) {
  sides[side].asked = asked;
  return sides[side].editor.set(asked);
}

function example() {
  const labels = ["an animal", "food", "a person", "a vehicle", "a building"];
  set("a", { labels, negatives: [], templates: [], set: null, unknown: null });
  set("b", { labels, negatives: [], templates: ["openai-7"], set: null, unknown: null });
  writeUrl(true);
  compare();
}

byId("swap").addEventListener("click", () => {
  const { a, b } = { a: sides.a.asked, b: sides.b.asked };
  set("a", b);
  set("b", a);
  chosen = null;
  writeUrl(true);
  compare();
});

for (const side of SIDES) {
  sides[side].editor = new Editor(byId(`${side}-editor`), {
    compact: true,
    onchange: (asked, settled) => {
      const first = side === "a" && !sides.b.asked.labels.length && !sides.b.asked.set && settled;
      sides[side].asked = asked;
      // Most often it is the templates, or a word or two, that differ.
      if (first && asked.labels.length) set("b", { ...asked });
      if (settled) writeUrl(true);
      compare();
    },
  });
}

async function go(query) {
  for (const side of SIDES) await set(side, fromUrl(query, side));
  chosen = query.get("flip");
  if (document.activeElement !== find) find.value = query.get("find") ?? "";
  open.read(query);
  await compare();
  follow();
}

const follow = () => open.follow(dialog, shown);

onTravel(go, (query) => { open.read(query); follow(); });
offerKeys();
library().catch(() => {});
go(params());
