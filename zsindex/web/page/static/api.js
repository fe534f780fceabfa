// Talking to the service.

import { byId, h, number } from "./dom.js";

const page = document.documentElement.dataset;
export const root = page.root;
export const url = (path) => root + path;
export const thumbnailPath = (id, size) => `/v1/images/${id}/thumbnail?size=${size}`;

/** A refusal, or no answer at all (status 0). */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || "The service did not answer.");
    this.status = status;
    this.kind = (document.type || "").replace("urn:zsindex:problem:", "");
    this.document = document;
  }
}

const wait = (ms, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});

const aborted = (signal) => new Promise((_, reject) => { signal?.addEventListener("abort", () => reject(signal.reason), { once: true }); });

// How far the library was in the last answer, for services that read from a copy of it: none shows less than that.
let position = "";

// What only asks may be asked again without being asked twice.
const QUESTIONS = /^\/v1\/(groups|search|classify|classify\/counts|diff|lint|suggest|images\/\d+\/explain)$/;
const MOST_LOST = 3;
const AGAIN_MS = 100;

/** Ask and return the JSON of the answer. */
export function ask(path, options) {
  return request(path, { ...options, read: (response) => (response.status === 204 ? null : response.json()) });
}

/**
 * Ask, and return what `read` makes of the response. A busy service is asked again when it says that it will have time. One
 * that cannot be reached is waited for, but by what changes something: nobody knows whether that was done.
 */
export async function request(path, { method, body, signal, priority, tries = 4, read = (response) => response } = {}) {
  const init = { method: method ?? (body === undefined ? "GET" : "POST"), signal, priority, headers: {} };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers["Content-Type"] = "application/json";
  }
  const waits = init.method === "GET" || QUESTIONS.test(path);
  for (let attempt = 1, lost = 0; ; attempt += 1) {
    let response;
    if (position) init.headers["Zsindex-Position"] = position;
    try {
      response = await fetch(url(path), init);
      if (isOfProxy(response)) throw new TypeError("there is nothing behind the proxy");
      if (response.ok) {
        const found = await read(response);
        position = response.headers.get("Zsindex-Position") ?? position;
        return found;
      }
    } catch (error) {
      if (signal?.aborted || error instanceof SyntaxError) throw error;
      lost += 1;
      const back = untilBack();
      if (!waits) throw new Problem(0, { detail: "The service cannot be reached, so this may not be kept. Try again when it is back." });
      if (lost >= MOST_LOST) throw new Problem(0, { detail: "The service did not answer this." });
      await Promise.race([back, aborted(signal)]);
      await wait(AGAIN_MS, signal);
      continue;
    }
    if ((response.status === 429 || response.status === 503) && attempt < tries && response.headers.has("Retry-After")) {
      await wait(Math.min(5, Number(response.headers.get("Retry-After")) || 1) * 1000, signal);
      continue;
    }
    if (response.status === 401) {
      await signIn();
      continue;
    }
    let document = {};
    try { document = await response.json(); } catch { /* not a problem document */ }
    throw new Problem(response.status, document);
  }
}

// --- a service that is gone ------------------------------------------------------------------------------------------

/** Is told "lost" when the service cannot be reached, and "back" when it can again. */
export const reach = new EventTarget();

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 30_000;
let returning = null;

/** Whether a proxy says that there is no service behind it. */
const isOfProxy = (response) => [502, 503, 504].includes(response.status) && !response.headers.get("Content-Type")?.includes("json");

async function answers() {
  try {
    return (await fetch(url("/healthz"), { cache: "no-store", signal: AbortSignal.timeout(5000) })).ok;
  } catch { return false; }
}

/** Resolves when the service answers; at once where it was only one request that was lost. */
function untilBack() {
  returning ??= (async () => {
    if (await answers()) return;
    reach.dispatchEvent(new Event("lost"));
    for (let pause = FIRST_PAUSE; ; pause = Math.min(LONGEST_PAUSE, 1.6 * pause)) {
      await nudged(pause);
      if (await answers()) break;
    }
    reach.dispatchEvent(new Event("back"));
  })().finally(() => { returning = null; });
  return returning;
}

/** Wait; less where somebody asks for it by `reach`'s "now", comes back to this tab, or has a network again. */
function nudged(pause) {
  return new Promise((resolve) => {
    const ending = new AbortController();
    const done = () => { clearTimeout(timer); ending.abort(); resolve(); };
    // A tab that nobody sees asks nothing.
    const timer = setTimeout(() => { if (!document.hidden) done(); }, pause);
    const { signal } = ending;
    reach.addEventListener("now", done, { signal });
    addEventListener("online", done, { signal });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) done(); }, { signal });
  });
}

/** Wrap `work(signal, …)` so that a new call ends the one before; resolves to undefined for those that were ended. */
export function latest(work) {
  let current;
  const call = async (...args) => {
    current?.abort();
    const mine = (current = new AbortController());
    try {
      const found = await work(mine.signal, ...args);
      return mine.signal.aborted ? undefined : found;
    } catch (error) {
      if (mine.signal.aborted) return undefined;
      throw error;
    }
  };
  call.stop = () => current?.abort();
  return call;
}

let signingIn;

/** Ask for a token until one is right. A cookie keeps it, for pictures, too. */
function signIn() {
  signingIn ??= new Promise((resolve) => {
    const input = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true });
    const wrong = h("p", { class: "wrong", role: "alert" });
    const form = h("form", { method: "dialog", class: "sign-in" },
      h("h2", {}, "Sign in"),
      h("p", {}, "This library needs a token. You find it in the token file of zsindex serve."),
      h("label", { for: "token" }, "Token"), input, wrong,
      h("button", { type: "submit", class: "primary" }, "Sign in"));
    const dialog = h("dialog", { class: "small", "aria-label": "Sign in" }, form);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const response = await fetch(url("/v1/session"), {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: input.value }),
      });
      if (!response.ok) {
        wrong.textContent = response.status === 401 ? "This token is not valid for this service." : "That did not work; try again.";
        input.select();
        return;
      }
      dialog.close();
      dialog.remove();
      signingIn = undefined;
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return signingIn;
}

let session;

/** Whether this browser may change the library. */
export async function mayWrite() {
  session ??= ask("/v1/session");
  return (await session).right === "write" && !("readOnly" in page);
}

let held;

/** What the library holds; shown in the bar of every page. */
export function library({ again = false } = {}) {
  if (!held || again) {
    held = ask("/v1/library");
    held.then((found) => { byId("holds").textContent = `${number(found.files)} photos`; }, () => {});
  }
  return held;
}
