// Albums, and events by when photos were taken. An album opens here, an event as the photos between two times.

import { Pages } from "./answer.js";
import { ask, latest, library, mayWrite, root } from "./api.js";
import { selecting } from "./chosen.js";
import { byId, h, photos, showState, toast } from "./dom.js";
import { Grid } from "./grid.js";
import { offerKeys } from "./help.js";
import { Named, sure } from "./named.js";
import { PhotoDialog } from "./photo.js";
import { picture } from "./pictures.js";
import { onTravel, params } from "./url.js";

const EVENTS = 60;
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });

const at = new Named(["album"], () => show());
const { open } = at;

let album = null;
let source = null;
let next = null;  // of the events
let listed = false;

const path = (of, what = "") => `/v1/albums/${encodeURIComponent(of)}${what}`;

// --- all of them -----------------------------------------------------------------------------------------------------

/** A cover with what stands below it; `cover` may come later. */
function card(link, title, text) {
  const place = h("span", { class: "cover" });
  const below = h("span", { class: "under" }, text);
  link.append(place, h("strong", {}, title), below);
  const element = h("li", {}, link);
  const cover = (item) => place.replaceChildren(picture(item, 256));
  return { element, cover, tell: (said) => { below.textContent = said; } };
}

async function drawAlbums() {
  let found = [];
  try { found = await ask("/v1/albums"); } catch (error) {
    byId("albums-note").hidden = false;
    byId("albums-note").textContent = error.message;
    return;
  }
  byId("albums-note").hidden = found.length > 0;
  byId("albums-note").textContent = "None yet. Select photos, and choose Album in the bar below them; or save a search with zsindex albums save.";
  const cards = found.map((one) => card(at.link("album", one.name), one.name, one.chosen === null ? "a search or filters" : ""));
  byId("albums").replaceChildren(...cards.map((one) => one.element));
  // One after another: what an album holds may take a search.
  for (const [n, { name: of, chosen }] of found.entries()) {
    try {
      const { total, photos: [first] } = await ask(path(of, "/photos?limit=1"));
      cards[n].tell(`${photos(total)}${chosen === null ? ", follows the library" : ""}`);
      if (first) cards[n].cover(first);
    } catch (error) { cards[n].tell(error.message); }
  }
}

async function drawEvents() {
  byId("more").disabled = true;
  try {
    const found = await ask(`/v1/events?vocabulary=none&look=false&limit=${EVENTS}${next ? `&cursor=${encodeURIComponent(next)}` : ""}`);
    byId("events").append(...found.events.map(eventCard));
    next = found.next;
    byId("more").hidden = !next;
    const unknown = found.untimed + found.from_files;
    byId("events-note").textContent = [found.total ? "Photos taken one after another, by their cameras' clocks." : "None: nothing says when photos were taken.",
      found.total && unknown ? `${photos(unknown)} have no such time.` : ""].join(" ").trim();
  } catch (error) {
    byId("events-note").textContent = error.message;
  } finally {
    byId("more").disabled = false;
    byId("events-part").setAttribute("aria-busy", "false");
  }
}

function eventCard(event) {
  const [from, to] = [event.start, event.end].map((at) => day.format(new Date(`${at.slice(0, 10)}T00:00:00Z`)));
  const taken = event.bursts.flatMap((burst) => burst.photos);
  const cover = taken.find((one) => one.path === event.cover) ?? taken[0];
  const query = new URLSearchParams({ since: event.start.slice(0, 19), until: event.end.slice(0, 19), order: "oldest" });
  const made = card(h("a", { href: `${root}/?${query}` }),
    from === to ? from : `${from} – ${to}`, photos(event.photos));
  if (cover) made.cover(cover);
  return made.element;
}

byId("more").addEventListener("click", drawEvents);

// --- one of them -----------------------------------------------------------------------------------------------------

/** Show what the address names; with `stay`, what is in view of an album stays where it is. */
const show = latest(async (signal, { stay = false } = {}) => {
  const { name } = at;
  byId("all").hidden = name !== null;
  byId("stage").hidden = name === null;
  album = source = null;
  if (name === null) {
    if (!listed) {
      listed = true;
      drawEvents();
    }
    await drawAlbums();
    return;
  }
  if (!stay) {
    byId("name").textContent = name;
    byId("what").textContent = "";
    byId("grid").hidden = byId("remove").hidden = true;
    showState(byId("state"), { title: "Looking for photos", busy: true });
  }
  try {
    const found = await ask(path(name, "/photos?limit=1"), { signal });
    album = found.album;
    const writes = await mayWrite().catch(() => false);
    byId("remove").hidden = !writes;
    takeOut.hidden = !writes || album.chosen === null;
    byId("what").textContent = `${photos(found.total)}. ${whatOf(album)}`;
    const pages = new Pages(path(name, "/photos"));
    source = { length: found.total, item: (i) => pages.item(i), load: (...asked) => pages.load(...asked), ids: (...asked) => pages.ids(...asked) };
    byId("grid").hidden = !found.total;
    showState(byId("state"), found.total ? {} : { title: "No photos", text: album.chosen === null ? "Nothing in the library fits now." : "Select photos anywhere, and put them into this album." });
    if (found.total) grid.show(source, { label: `Photos of ${name}`, top: !stay });
  } catch (error) {
    if (signal.aborted) return;
    showState(byId("state"), { title: error.status === 404 ? "No such album" : "No answer", text: error.message, kind: "error", action: { text: "All albums", run: () => at.go() } });
  }
});

function whatOf({ query, where, chosen }) {
  if (chosen !== null) return "Chosen one by one, newest first.";
  return `It holds what fits${query ? ` “${query}”` : ""}${where ? `${query ? " and" : ""} its filters` : ""}, and follows the library.`;
}

byId("back").addEventListener("click", () => at.go());

byId("remove").addEventListener("click", async () => {
  const { name } = at;
  if (!await sure("album", name, "Its photos stay in the library.")) return;
  try {
    await ask(path(name), { method: "DELETE" });
    toast(`“${name}” is deleted.`);
    await at.go(null, null, { push: false });
  } catch (error) { toast(error.message); }
});

const takeOut = h("button", { type: "button", hidden: true, onclick: () => select.run(async (ids) => {
  const from = at.name;
  // What somebody else has taken out meanwhile is not put back by *Undo*.
  const { taken_out: taken } = await ask(path(from, "/photos/remove"), { body: { image_ids: ids } });
  select.leave();
  if (at.name === from) await show({ stay: true });
  if (!source?.length) byId("back").focus();  // there is no photo any more that could have it
  if (!taken.length) {
    toast(`Somebody else has taken ${ids.length === 1 ? "it" : "them"} out of “${from}” already.`);
    return;
  }
  toast(`${photos(taken.length)} taken out of “${from}”.`, { text: "Undo", run: async () => {
    try {
      await ask(path(from, "/photos"), { body: { image_ids: taken } });
      if (at.name === from) await show({ stay: true });
    } catch (error) { toast(error.message); }
  } });
}) }, "Take out");

const select = selecting({ more: () => [takeOut] });

const grid = new Grid(byId("grid"), {
  label: "Photos", badge: (one) => (one.is_new ? "new" : ""), select,
  onopen: (i, of) => dialog.open(of, i),
  onerror: (error) => toast(error.message, { text: "Try again", run: () => show() }),
});

const dialog = new PhotoDialog({
  onshow: (id, at) => open.shown(id, at),
  onclose: () => {
    open.closed();
    if (dialog.walk) grid.focus(dialog.walk.at);
  },
});

async function go(query) {
  at.read(query);
  await show();
  follow();
}

const follow = () => open.follow(dialog, source, { over: Boolean(at.name) });

onTravel(go, (query) => { open.read(query); follow(); });
offerKeys();
library().catch(() => {});
go(params());
