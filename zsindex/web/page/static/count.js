// How many photos show something: one photo after another, two keys, and an interval that holds.
//
// A key counts only while the picture of the photo that waits is there to be seen.

import { ask, library, mayWrite } from "./api.js";
import { byId, fileName, h, number, photos, showState } from "./dom.js";
import { Large, reason } from "./pictures.js";
import { params, write } from "./url.js";

const KEYS = { y: "yes", n: "no", s: "unsure" };
const large = new Large();
let count = null;
let seen = false;  // the picture of the photo that waits is shown
let busy = false;

const when = () => ({ within: Number(byId("within").value) });

async function tell(path, body) {
  if (busy) return;
  busy = true;
  mark();
  const slow = setTimeout(() => showState(byId("state"), { title: "Counting", busy: true }), 600);
  try {
    count = await ask(path, { body });
    showState(byId("state"));
    draw();
  } catch (error) {
    // Somebody else has answered it: what waits now is asked for.
    if (error.kind === "look") { busy = false; clearTimeout(slow); return begin(); }
    showState(byId("state"), { title: "This cannot be counted", text: error.message, kind: "error" });
  } finally {
    clearTimeout(slow);
    busy = false;
    mark();
  }
}

function begin() {
  const label = byId("label").value.trim();
  if (!label) return undefined;
  const set = byId("label-set").value;
  const query = new URLSearchParams({ label, within: byId("within").value });
  if (set) query.set("set", set);
  write(query, { push: true });
  return tell("/v1/counts", { label, label_set: set || null, ...when() });
}

const answer = (said) => seen && count?.next && tell(`/v1/counts/${count.survey}/answers`, { number: count.next.number, answer: said, ...when() });
const undo = () => count?.looks && tell(`/v1/counts/${count.survey}/undo`, when());

function draw() {
  byId("counted").textContent = count.looks || count.known
    ? `${count.label}: about ${number(Math.round(count.estimate))}, from ${number(count.low)} to ${number(count.high)} of ${photos(count.photos)}`
    : `${count.label}: ${photos(count.photos)}, none looked at yet`;
  byId("details").textContent = [`${number(count.looks)} looked at: ${number(count.yes)} yes, ${number(count.no)} no`,
    count.known ? `${number(count.known)} known before` : "", `${Math.round(100 * count.confidence)} % confidence`,
    count.came ? `${photos(count.came)} came since and are not counted` : ""].filter(Boolean).join(" · ");
  const all = Math.max(1, count.photos);
  byId("scale").hidden = false;
  byId("span").style.left = `${(100 * count.low) / all}%`;
  byId("span").style.width = `${(100 * Math.max(count.high - count.low, 0)) / all}%`;
  byId("mark").style.left = `${(100 * count.estimate) / all}%`;
  show(count.next);
}

async function show(look) {
  seen = false;
  byId("look").hidden = !look;
  byId("answers").hidden = false;
  byId("frame").replaceChildren(h("span", { class: "spinner" }));
  mark();
  if (!look) {
    showState(byId("state"), { title: count.reached ? "As near as was asked for" : "No more photos to look at",
      text: "What you answered is kept. Ask for a narrower interval to go on." });
    return;
  }
  byId("name").textContent = fileName(look.path);
  byId("name").title = look.path;
  try {
    const image = await large.get(look.image_id);
    if (look !== count.next) return;
    image.alt = `Photo ${look.number}`;
    byId("frame").replaceChildren(image);
    seen = true;
  } catch (error) {
    if (look !== count.next) return;
    byId("frame").replaceChildren(h("p", { class: "wrong", role: "alert" }, reason(error)));
    seen = true;  // it can be said that one cannot tell
  }
  large.keep([look.image_id]);
  mark();
}

function mark() {
  for (const button of byId("answers").querySelectorAll("[data-answer]")) button.disabled = busy || !seen || !count?.next;
  byId("undo").disabled = busy || !count?.looks;
}

byId("asked").addEventListener("submit", (event) => { event.preventDefault(); begin(); });
byId("within").addEventListener("change", () => { if (count) begin(); });
byId("answers").addEventListener("click", (event) => {
  const said = event.target.closest("[data-answer]")?.dataset.answer;
  if (said) answer(said);
});
byId("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.closest("input, select, dialog")) return;
  const key = event.key.toLowerCase();
  if (KEYS[key]) answer(KEYS[key]);
  else if (key === "u") undo();
  else return;
  event.preventDefault();
});

library();
const given = params();
byId("label").value = given.get("label") ?? "";
if (given.get("within")) byId("within").value = given.get("within");
const sets = await ask("/v1/label-sets").catch(() => []);
byId("label-set").append(...(sets.label_sets ?? sets).map((one) => h("option", { value: one.name }, one.name)));
byId("label-set").value = given.get("set") ?? "";
if (!(await mayWrite())) showState(byId("state"), { title: "Counting needs the right to write", text: "Every answer is kept in the library. Sign in with a token that may write." });
else if (byId("label").value) begin();
else showState(byId("state"), { title: "How many photos show it?", text: "Say what to count and look at a few photos, with Y and N. The number comes with an interval that holds whatever the model thinks." });
