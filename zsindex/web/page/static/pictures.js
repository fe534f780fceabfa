// Pictures of photos. One that cannot be shown is a tile with its name and the reason, and is not asked for again at
// each scroll: only when the library has changed, or after a while, since a disk may be back.

import { Problem, request, thumbnailPath, url } from "./api.js";
import { fileName, h } from "./dom.js";

const BELIEVED_MS = 60_000;
// What says something about the photo itself; the service being busy, or gone, does not.
const LASTING = [404, 413, 415, 422];

// Formats whose originals the service sends as pictures, and browsers show.
const SHOWN = ["JPEG", "MPO", "PNG", "WEBP", "GIF", "AVIF", "BMP"];

const failed = new Map();  // "id/size" → { problem, until }
let library = "";
// The last one did not come. Others of its disk may not either, so they are fetched, which takes one request to know why.
let someFail = false;

/** Believe nothing any more of what could not be shown. */
export function forget() { failed.clear(); }

/** Call with the state of the library that an answer is of: when it is another one, photos may be back. */
export function libraryIs(snapshot) {
  const state = JSON.stringify(snapshot);
  if (library && state !== library) forget();
  library = state;
}

addEventListener("pageshow", (event) => { if (event.persisted) forget(); });

/** Why a picture could not be shown lately; undefined where it can be tried. */
function known(id, size) {
  const found = failed.get(`${id}/${size}`);
  if (found && performance.now() < found.until) return found.problem;
  failed.delete(`${id}/${size}`);
  return undefined;
}

/** A decoded <img> of a photo. Throws a `Problem` where there can be none. */
export const load = (id, size, options) => decoded(id, size, thumbnailPath(id, size), options);

/** The same of its original: whichever way its camera was held, browsers show it upright. */
export const loadOriginal = (id, options) => decoded(id, "file", `/v1/images/${id}/file`, options);

/** Whether browsers show originals of a format. */
export const canShow = (format) => SHOWN.includes(format);

async function decoded(id, size, path, { signal, priority } = {}) {
  const before = known(id, size);
  if (before) throw before;
  signal?.throwIfAborted();
  if (!someFail) {
    const found = await straight(url(path), signal, priority);
    if (found) return found;
    someFail = true;
  }
  // An answer that can be read says why; and a service that is busy, gone or wants a token is waited for.
  let address;
  try {
    address = URL.createObjectURL(await request(path, { signal, priority, read: (response) => response.blob() }));
    const image = h("img", { alt: "", draggable: false, src: address });
    await image.decode();
    signal?.throwIfAborted();
    someFail = false;
    return image;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    const problem = error instanceof Problem ? error : new Problem(address ? 422 : 0, { detail: address ? "This browser cannot read the picture." : "The picture did not arrive." });
    if (LASTING.includes(problem.status)) failed.set(`${id}/${size}`, { problem, until: performance.now() + BELIEVED_MS });
    throw problem;
  } finally {
    if (address) URL.revokeObjectURL(address);
  }
}

/** As browsers load pictures, which takes them less than an answer that is read first; null where that fails. */
async function straight(address, signal, priority = "auto") {
  const image = h("img", { alt: "", draggable: false, fetchPriority: priority });
  const leave = () => image.removeAttribute("src");
  signal?.addEventListener("abort", leave);
  try {
    image.src = address;
    await image.decode();
    signal?.throwIfAborted();
    return image;
  } catch {
    signal?.throwIfAborted();
    return null;
  } finally { signal?.removeEventListener("abort", leave); }
}

/** The reason as people read it. */
export function reason(problem) {
  return problem.document?.reason === "vanished" ? "Not on this disk" : problem.message;
}

/**
 * A place for a small picture, which is filled when it comes into view; at once where it `isInView`. `state` is "wait", "seen" or "broken", and
 * `onstate()` is told when it changes.
 */
export function picture(item, size, { alt = "", small = false, isInView = false, onstate } = {}) {
  const name = item.path ? fileName(item.path) : "Photo";
  const box = h("span", { class: "pic" });
  Object.assign(box, { item, size, alt, name, small, onstate });
  set(box, "wait");
  const problem = item.image_id === null ? new Problem(404, { reason: "vanished" }) : known(item.image_id, size);
  if (problem) broken(box, problem);
  else {
    inView.observe(box);
    if (isInView) start(box);
  }
  return box;
}

/** Whether a picture that could not be shown may be tried again. */
export const isStale = (box) => box.state === "broken" && !known(box.item.image_id, box.size);

/** Ask again for the pictures in the document that could not be shown. */
export function again() {
  forget();
  for (const box of document.querySelectorAll(".pic.broken")) {
    if (!box.item || box.item.image_id === null) continue;
    box.removeAttribute("title");
    box.replaceChildren();
    set(box, "wait");
    inView.observe(box);
  }
}

async function start(box) {
  if (box.state !== "wait" || box.loading) return;
  const mine = (box.loading = new AbortController());
  try {
    const image = await load(box.item.image_id, box.size, { signal: mine.signal, priority: "low" });
    image.alt = box.alt;
    box.replaceChildren(image);
    set(box, "seen");
  } catch (error) {
    if (!mine.signal.aborted) broken(box, error);
  } finally {
    box.loading = undefined;
    if (box.state !== "wait") inView.unobserve(box);
    else if (box.isNear) start(box);  // it had left the view, and has come back
  }
}

function broken(box, problem) {
  const said = reason(problem);
  box.problem = problem;
  box.title = `${box.name}: ${said}`;
  box.replaceChildren(h("span", { class: "gone-name" }, box.name), h("span", { class: "gone-why" }, said));
  set(box, "broken");
}

function set(box, state) {
  box.state = state;
  box.className = `pic ${state}${box.small ? " small" : ""}`;
  box.onstate?.(box);
}

// What leaves the view, or the document, before it has come is not waited for.
const inView = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.isNear = isIntersecting;
    if (isIntersecting) start(target);
    else target.loading?.abort();
  }
}, { rootMargin: "400px" });

// --- large ones ------------------------------------------------------------------------------------------------------

const LARGE = 1024;

/** Large pictures, of which those next to the one in view are loaded ahead. */
export class Large {
  constructor() { this.kept = new Map(); }

  /** The promise of a decoded <img>. */
  get(id, priority = "high") {
    let entry = this.kept.get(id);
    if (!entry) {
      const ending = new AbortController();
      entry = { ending, image: null };
      entry.promise = load(id, LARGE, { signal: ending.signal, priority });
      entry.promise.then((image) => { entry.image = image; }, () => this.kept.get(id) === entry && this.kept.delete(id));
      this.kept.set(id, entry);
    }
    return entry.promise;
  }

  /** One that is there already. */
  ready(id) { return this.kept.get(id)?.image ?? null; }

  /** Have these and no others; the first is wanted most. */
  keep(ids) {
    for (const [id, { ending }] of this.kept) {
      if (!ids.includes(id)) { ending.abort(); this.kept.delete(id); }
    }
    for (const id of ids) this.get(id, "low").catch(() => {});
  }
}
