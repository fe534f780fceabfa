// How many photos show something: one photo after another, two keys, and an interval that holds.

import { ask, library, mayWrite } from "./api.js";
import { byId, number, photos, showState } from "./dom.js";
import { Looks, fillSets } from "./looks.js";
import { params, write } from "./url.js";

const when = () => ({ within: Number(byId("within").value) });

const looks = new Looks({
  keys: { y: "yes", n: "no", s: "unsure" },
  onanswer: (said, look) => ask(`/v1/counts/${looks.now.survey}/answers`, { body: { number: look.number, answer: said, ...when() } }),
  onundo: () => ask(`/v1/counts/${looks.now.survey}/undo`, { body: when() }),
  ondraw: draw,
  onlost: begin,
  busy: "Counting",
  wrong: "This cannot be counted",
});

function begin() {
  const label = byId("label").value.trim();
  if (!label) return undefined;
  const set = byId("label-set").value;
  const query = new URLSearchParams({ label, within: byId("within").value });
  if (set) query.set("set", set);
  write(query, { push: true });
  return looks.tell(() => ask("/v1/counts", { body: { label, label_set: set || null, ...when() } }));
}

function draw(count) {
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
  if (!count.next) {
    showState(byId("state"), { title: count.reached ? "As near as was asked for" : "No more photos to look at",
      text: "What you answered is kept. Ask for a narrower interval to go on." });
  }
}

byId("asked").addEventListener("submit", (event) => { event.preventDefault(); byId("label").blur(); begin(); });
byId("within").addEventListener("change", () => { if (looks.now) begin(); });

async function start() {
  library().catch(() => {});
  const given = params();
  byId("label").value = given.get("label") ?? "";
  if (given.get("within")) byId("within").value = given.get("within");
  const [sets, may] = await Promise.all([ask("/v1/label-sets"), mayWrite()]);
  fillSets(byId("label-set"), sets, given.get("set"));
  if (!may) showState(byId("state"), { title: "Counting needs the right to write", text: "Every answer is kept in the library. Sign in with a token that may write." });
  else if (byId("label").value) begin();
  else showState(byId("state"), { title: "How many photos show it?", text: "Say what to count and look at a few photos, with Y and N. The number comes with an interval that holds whatever the model thinks." });
}

start().catch((error) => showState(byId("state"), { title: "No answer", text: error.message, kind: "error" }));
