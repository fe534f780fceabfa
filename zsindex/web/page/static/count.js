// How many photos show something: one photo after another, two keys, and an interval that holds.

import { ask, library, mayWrite } from "./api.js";
import { byId, number, photos, showState } from "./dom.js";
import { Looks, fillSets, mayNot } from "./looks.js";
import { onTravel, params, write } from "./url.js";

const when = () => ({ within: Number(byId("within").value) });

const looks = new Looks({
  keys: { y: "yes", n: "no", s: "unsure" },
  onanswer: (said, look) => ask(`/v1/counts/${looks.now.survey}/answers`, { body: { number: look.number, answer: said, ...when() } }),
  onundo: () => ask(`/v1/counts/${looks.now.survey}/undo`, { body: when() }),
  ondraw: draw,
  onlost: begin,
  onclear: clear,
  busy: "Counting",
  wrong: "This cannot be counted",
});

function begin({ push = true } = {}) {
  const label = byId("label").value.trim();
  if (!label) return undefined;
  const set = byId("label-set").value;
  const query = new URLSearchParams({ label, within: byId("within").value });
  if (set) query.set("set", set);
  write(query, { push });
  return looks.begin(() => ask("/v1/counts", { body: { label, label_set: set || null, ...when() } }));
}

function clear() {
  byId("counted").textContent = byId("details").textContent = "";
  byId("scale").hidden = true;
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

/** Take up what an address says. */
function go(query) {
  byId("asked").reset();
  byId("label").value = query.get("label") ?? "";
  byId("label-set").value = query.get("set") ?? "";
  if (query.get("within")) byId("within").value = query.get("within");
  if (byId("label").value.trim()) return begin({ push: false });
  looks.clear();
  return showState(byId("state"), { title: "How many photos show it?", text: "Say what to count and look at a few photos, with Y and N. The number comes with an interval that holds whatever the model thinks." });
}

async function start() {
  library().catch(() => {});
  byId("label").value = params().get("label") ?? "";
  const [sets, may] = await Promise.all([ask("/v1/label-sets"), mayWrite()]);
  fillSets(byId("label-set"), sets);
  if (!may) return mayNot("Counting");
  onTravel(go, go);
  return go(params());
}

start().catch((error) => showState(byId("state"), { title: "No answer", text: error.message, kind: "error" }));
