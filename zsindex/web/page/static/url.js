// Every state has a URL. What is entered or chosen becomes a step of the history; what is dragged changes the last one;
// what is still being typed is no step yet, so that how many there are never depends on how fast somebody types.
//
// Hundreds of labels make an address that servers and proxies refuse: a long state stands behind the #, which is not sent.

import { placeIn } from "./place.js";

const LONGEST = 4000;
const IN_HASH = "#?";

export const params = () => new URLSearchParams(location.hash.startsWith(IN_HASH) ? location.hash.slice(IN_HASH.length) : location.search);

let here = params();
let leaving = false;  // this page goes back by itself, which has not happened yet
let waiting = null;  // what is to be written then

export function write(made, { push = false, state = null } = {}) {
  if (leaving) {
    waiting = { made, push: push || Boolean(waiting?.push), state: { ...waiting?.state, ...state } };
    return;
  }
  const query = made.toString();
  const to = location.pathname + (query ? (query.length > LONGEST ? IN_HASH : "?") + query : "");
  const isSame = to === location.pathname + location.search + location.hash;
  if (isSame && !state) return;
  if (push && !isSame) history.pushState(state, "", to);
  else history.replaceState({ ...history.state, ...state }, "", to);
  here = params();
}

/** The photo that is open over a list. It is one step of the history, however many one goes through meanwhile. */
export class OpenPhoto {
  /** `write(push, state)` writes the address of the page. */
  constructor(write) {
    this.write = write;
    this.id = null;
  }

  read(query) { this.id = Number(query.get("photo")) || null; }

  add(query) { if (this.id !== null) query.set("photo", String(this.id)); }

  /** Its number in the list when the address was written; null where that is not known. */
  get at() { return history.state?.at ?? null; }

  /** The photos that were listed for no address, of which it is one; null where there are none. */
  get listed() { return history.state?.listed ?? null; }

  shown(id, at, listed = null) {
    const isNew = this.id === null;
    if (isNew) this.write(false);  // what is beneath, with what was chosen by itself: the photo is all that is added
    this.id = id;
    this.write(isNew, isNew ? { at, listed, over: true } : { at, listed });
  }

  /**
   * Have a dialog show the photo that the address names, in its list, or none. `ordered` is for `placeIn`; without
   * `over` there is nothing that a photo could be open over.
   */
  async follow(dialog, source, { ordered = null, over = true } = {}) {
    const { id, at } = this;
    const place = id !== null && source?.length ? await placeIn(source, id, at, ordered).catch(() => null) : null;
    if (this.id !== id) return;
    if (id === null || !over) dialog.close();
    else dialog.travel(id, source, place);
  }

  /** It is closed: the step that it was is gone, too, as if one had gone back. */
  closed() {
    if (this.id === null) return;
    this.id = null;
    if (history.state?.over) {
      leaving = true;
      history.back();
    } else this.write(false, { at: null });
  }
}

function beneath(state) {
  const query = new URLSearchParams(state);
  query.delete("photo");
  return query.toString();
}

/**
 * When somebody goes back or forward, call `work(query)`; or `opened(query)` if no more than the photo that is open is
 * another: then the list stays, with all that was loaded of it.
 */
export function onTravel(work, opened) {
  addEventListener("popstate", () => {
    const before = here;
    here = params();
    if (leaving) {
      leaving = false;
      if (waiting) write(waiting.made, waiting);
      waiting = null;
    } else if (beneath(before) === beneath(here)) opened(here);
    else work(here);
  });
}

// The link past the bar moves the focus, and leaves the address as it is.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
