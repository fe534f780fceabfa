// All photos that show something: those first that most likely do, then some by chance, until enough were seen.

import { ask, library, mayWrite } from "./api.js";
import { byId, h, number, percent, photos, showState } from "./dom.js";
import { Looks, fillSets, mayNot } from "./looks.js";
import { onTravel, params, write } from "./url.js";

const MOST = 1000;

const looks = new Looks({
  keys: { y: "yes", n: "no", s: "unsure" },
  onanswer: (said, look) => ask(`/v1/reviews/${looks.now.survey}/answers`, { body: { number: look.number, answer: said } }),
  onundo: () => ask(`/v1/reviews/${looks.now.survey}/undo`, { method: "POST" }),
  ondraw: draw,
  onlost: begin,
  onclear: clear,
  busy: "Ranking the photos",
  wrong: "This cannot be reviewed",
});

function begin({ push = true } = {}) {
  const label = byId("label").value.trim();
  if (!label) return undefined;
  const set = byId("label-set").value;
  const query = new URLSearchParams({ label, recall: byId("recall").value });
  if (set) query.set("set", set);
  write(query, { push });
  return looks.begin(() => ask("/v1/reviews", { body: { label, label_set: set || null, recall: Number(byId("recall").value) } }));
}

function clear() {
  byId("statement").textContent = byId("details").textContent = "";
  byId("scale").hidden = byId("found").hidden = true;
}

function draw(review) {
  byId("statement").textContent = review.statement;
  byId("details").textContent = [review.next?.drawn.by === "chance" ? "This one was drawn by chance" : "",
    review.reached ? "" : `At least ${number(review.looks_left)} more looks`].filter(Boolean).join(" · ");
  byId("scale").hidden = false;
  byId("span").style.left = "0";
  byId("span").style.width = `${(100 * review.looks) / Math.max(1, review.looks + review.looks_left * !review.reached)}%`;
  byId("found").hidden = !review.found;
  byId("found-count").textContent = `Found: ${photos(review.found)}`;
  if (byId("found").open) listFound();
  if (!review.next) {
    showState(byId("state"), { title: review.reached ? `At least ${percent(review.promise)} of them were seen` : "No more photos to look at",
      text: "What you answered is kept, here and for zsindex review. Say as well who looked, and what counted: the promise is about what this person recognises." });
  }
}

async function listFound() {
  const { survey, found } = looks.now;
  try {
    const { total, photos: paths } = await ask(`/v1/reviews/${survey}/found?limit=${MOST}`);
    if (looks.now?.survey !== survey || looks.now.found !== found) return;
    byId("found-list").replaceChildren(...paths.map((path) => h("li", {}, path)), ...(total > paths.length ? [h("li", { class: "quiet" }, `and ${number(total - paths.length)} more`)] : []));
  } catch (error) { byId("found-list").replaceChildren(h("li", { class: "wrong" }, error.message)); }
}

byId("asked").addEventListener("submit", (event) => { event.preventDefault(); byId("label").blur(); begin(); });
byId("found").addEventListener("toggle", () => { if (byId("found").open && looks.now) listFound(); });

/** Take up what an address says. */
function go(query) {
  byId("asked").reset();
  byId("label").value = query.get("label") ?? "";
  byId("label-set").value = query.get("set") ?? "";
  if (query.get("recall")) byId("recall").value = query.get("recall");
  if (byId("label").value.trim()) return begin({ push: false });
  looks.clear();
  return showState(byId("state"), { title: "Have you seen them all?",
    text: "Say what to find, and decide before you look how many of them must have been seen. Likely photos come first, then some by chance; in the end it is said, with 95 % confidence, that enough were seen." });
}

async function start() {
  library().catch(() => {});
  byId("label").value = params().get("label") ?? "";
  const [sets, may] = await Promise.all([ask("/v1/label-sets"), mayWrite()]);
  fillSets(byId("label-set"), sets);
  if (!may) return mayNot("A review");
  onTravel(go, go);
  return go(params());
}

start().catch((error) => showState(byId("state"), { title: "No answer", text: error.message, kind: "error" }));
