// Two label sets or two template sets, side by side, and in the middle what changes between them.

import { Grouped, Pages } from "./answer.js";
import { ask, latest, library } from "./api.js";
import { byId, h, number, percent, photos, showState } from "./dom.js";
import { Editor, fromUrl, question, toUrl } from "./editor.js";
import { Grid } from "./grid.js";
import { offerKeys } from "./help.js";
import { PhotoDialog } from "./photo.js";
import { libraryIs } from "./pictures.js";
import { placeIn } from "./place.js";
import { OpenPhoto, onTravel, params, write } from "./url.js";

const SIDES = ["a", "b"];
const sides = { a: { asked: fromUrl(new URLSearchParams()) }, b: { asked: fromUrl(new URLSearchParams()) } };
let chosen = null;  // "was>becomes", by name
let flips = null;
let shown = null;

function writeUrl(push = false, state = null) {
  const query = new URLSearchParams();
  for (const side of SIDES) toUrl(query, sides[side].asked, side);
  if (chosen) query.set("flip", chosen);
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

const nameOf = (flip) => `${flip.from}>${flip.to}`;

function draw() {
  for (const side of SIDES) {
    const { answer } = sides[side];
    const groups = flips ? answer.counts(0) : [];
    const most = Math.max(1, ...groups.map((group) => group.count));
    byId(`${side}-counts`).replaceChildren(...groups.map((group) => {
      const bar = h("span");
      bar.style.transform = `scaleX(${group.count / most})`;
      return h("li", { class: "tab" }, h("span", { class: "tab-name" }, group.label), h("span", { class: "tab-count" }, number(group.count)),
        h("span", { class: "tab-bar", "aria-hidden": "true" }, bar));
    }));
  }
  const list = byId("flips");
  list.hidden = !flips?.flips.length;
  byId("swap").hidden = !flips;
  if (!flips) {
    byId("flips-sum").textContent = "";
    list.replaceChildren();
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
  list.replaceChildren(...flips.flips.map((flip, n) => h("div", { id: `flip-${n}`, class: "flip", role: "option",
    "aria-selected": String(nameOf(flip) === chosen), onclick: () => choose(flip, true) },
  h("span", { class: "was" }, flip.from), h("span", { class: "arrow", "aria-hidden": "true" }, "→"), h("span", { class: "hidden" }, " becomes "),
  h("span", { class: "becomes" }, flip.to), h("span", { class: "tab-count" }, number(flip.count)))));
  mark();
  drawPhotos();
}

function mark() {
  const on = [...byId("flips").children].find((option) => option.getAttribute("aria-selected") === "true");
  if (on) {
    byId("flips").setAttribute("aria-activedescendant", on.id);
    if (byId("flips").scrollHeight > byId("flips").clientHeight) byId("flips").scrollTop = on.offsetTop - 60;
  } else byId("flips").removeAttribute("aria-activedescendant");
}

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
  [...byId("flips").children].forEach((option, n) => option.setAttribute("aria-selected", String(nameOf(flips.flips[n]) === chosen)));
  mark();
  drawPhotos();
}

byId("flips").addEventListener("keydown", (event) => {
  const steps = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  if (!(event.key in steps) || !flips?.flips.length) return;
  event.preventDefault();
  const from = flips.flips.findIndex((flip) => nameOf(flip) === chosen);
  choose(flips.flips[Math.max(0, Math.min(flips.flips.length - 1, from + steps[event.key]))], false);
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
  open.read(query);
  await compare();
  follow();
}

/** Open the photo that the address names, or none. */
async function follow() {
  const { id, at } = open;
  const place = id === null || !shown ? null : await placeIn(shown, id, at).catch(() => null);
  if (open.id !== id) return;
  if (id === null) dialog.close();
  else dialog.travel(id, shown, place);
}

onTravel(go, (query) => { open.read(query); follow(); });
offerKeys();
library().catch(() => {});
go(params());
