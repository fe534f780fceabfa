// What every page knows of the service behind it: that it is gone, or back; that photos have changed, by whatever synced
// them; that a sync is at work. Each is said once.
//
// It asks every few seconds, and only while somebody sees the page. Events would need a connection for each tab, of which
// a browser has six for all of them.

import { ask, library, reach, root } from "./api.js";
import { byId, h, icon, number, placeToasts, toast } from "./dom.js";
import { Pace } from "./pace.js";
import { again } from "./pictures.js";

const EVERY_MS = 8_000;
const AT_WORK_MS = 1_500;

let known = null;  // as it was when what is in view was asked for
let heard = null;  // the revision that was spoken of last
let hushed = false;  // somebody does not want to hear of the sync that goes on
let refresh = null;
let hearWork = () => {};
let timer;
const messages = new Map();

/**
 * Have `work` show the library as it is now, keeping the place; without it the page is loaded anew. It is called when
 * somebody wants to see what has changed; and whenever anything has while `byItself()` is true.
 */
export function onChange(work, { byItself = () => false } = {}) {
  refresh = { work, byItself };
}

/** Have `tell(work)` called with what is at work, as it is heard of: a job; a sync elsewhere, which has `who`; or null. */
export function onWork(tell) {
  hearWork = tell;
}

/** Say something until it no longer holds, or somebody does not want to hear it: what is said already is only changed. */
function say(name, text, action, ondismiss) {
  const said = messages.get(name);
  if (said?.isConnected) {
    if (said.firstChild.textContent !== text) said.firstChild.textContent = text;
    return;
  }
  const box = toast(text, action, { stays: true });
  box.append(h("button", { type: "button", class: "dismiss", "aria-label": "Dismiss", onclick: () => { box.remove(); ondismiss?.(); } }, icon("x")));
  messages.set(name, box);
}

function unsay(name) {
  messages.get(name)?.remove();
  messages.delete(name);
}

// --- gone, and back --------------------------------------------------------------------------------------------------

reach.addEventListener("lost", () => say("lost", "The service cannot be reached. This page goes on when it is back.",
  { text: "Try now", run: () => { messages.delete("lost"); reach.dispatchEvent(new Event("now")); } }));

reach.addEventListener("back", () => {
  unsay("lost");
  toast("The service is back.");
  again();
  look();
});

// --- what has changed ------------------------------------------------------------------------------------------------

async function look() {
  clearTimeout(timer);
  if (document.hidden) return;
  let now = null;
  try {
    now = await ask("/v1/library/now");
    await heed(now);
  } catch { /* it is asked again; who asks for something is told what is wrong */ }
  clearTimeout(timer);
  timer = setTimeout(look, now?.job || now?.elsewhere ? AT_WORK_MS : EVERY_MS);
}

async function heed(now) {
  const work = workOf(now);
  drawWork(work);
  hearWork(work);
  if (known === null) {
    heard = now.revision;
    known = { ...now, images: (await library()).images };
    return;
  }
  if (now.version !== known.version) {
    say("other", "zsindex is another version now.", { text: "Reload", run: () => location.reload() });
  } else if (now.library !== known.library) {
    say("other", "This is another library now.", { text: "Reload", run: () => location.reload() });
  } else if (now.revision !== heard) await changed(now);
  else if (!work) hushed = false;
}

async function changed(now) {
  const { images } = await library({ again: true });
  heard = now.revision;
  if (hushed) seen(now, images);
  else if (refresh?.byItself()) {
    seen(now, images);
    refresh.work();
  } else tell(now, images);
}

function tell(now, images) {
  const more = images - known.images;
  const look = { text: "Show", run: () => {
    seen(now, images);
    if (refresh) refresh.work();
    else location.reload();
  } };
  say("changed", more > 0 ? `${number(more)} new ${more === 1 ? "photo" : "photos"}` : "Photos of this library have changed.", look,
    () => { hushed = true; });
}

function seen(now, images) {
  Object.assign(known, now, { images });
  messages.delete("changed");
}

// --- a sync at work --------------------------------------------------------------------------------------------------

const pace = new Pace();
const bar = h("progress", { "aria-label": "Progress of the sync" });
const text = h("span");
const atWork = h("a", { class: "at-work", href: `${root}/library`, hidden: true }, text, bar);
byId("holds").before(atWork);

/** The job that is at work; of a sync that is none, and goes before what waits for it, the same as is known of a job. */
function workOf({ job, elsewhere }) {
  return elsewhere ? { id: elsewhere.who, who: elsewhere.who, kind: "sync", state: "running", progress: elsewhere } : job;
}

function drawWork(job) {
  atWork.hidden = !job;
  if (!job) return;
  const { text: said, done, total } = pace.of(job);
  text.textContent = said;
  if (total) Object.assign(bar, { max: total, value: done });
  else bar.removeAttribute("value");
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
addEventListener("online", look);
addEventListener("pageshow", (event) => { if (event.persisted) look(); });
// A dialog that opens, or closes, takes what is said along.
for (const name of ["toggle", "close"]) document.addEventListener(name, () => { if (messages.size) placeToasts(); }, true);
look();
