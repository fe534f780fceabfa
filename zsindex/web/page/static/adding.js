// Adding a folder: one of those that the service may sync is chosen and synced, and how far that is, is shown.

import { ask, latest } from "./api.js";
import { h, icon, number, photos } from "./dom.js";
import { watch } from "./jobs.js";
import { Pace } from "./pace.js";

const PAGE = 200;
// Fewer folders are found by looking.
const FIND_FROM = 20;

export class Adding {
  /** `ondone(job)` is called when a sync that was begun here has ended well. */
  constructor(host, { ondone }) {
    Object.assign(this, { host, ondone, busy: false });
  }

  /** Show where one can begin. */
  async begin() {
    this.host.replaceChildren(h("p", { class: "quiet" }, "Looking for folders…"));
    try {
      const found = await ask(`/v1/folders?limit=${PAGE}`);
      if (found.total === 1) await this.#enter(found.folders[0].path);
      else if (found.total) this.#draw(found);
      else {
        this.host.replaceChildren(h("p", {}, "This service was started without folders to choose from. Start it with ",
          h("code", {}, "zsindex serve --photos FOLDER"), ", or sync once with ", h("code", {}, "zsindex sync FOLDER"), "."));
      }
    } catch (error) { this.#failed(error); }
  }

  async #enter(path) {
    const query = path === null ? "" : `&path=${encodeURIComponent(path)}`;
    try {
      this.#draw(await ask(`/v1/folders?limit=${PAGE}${query}`));
      this.host.querySelector("h3")?.focus();
    } catch (error) { this.#failed(error); }
  }

  #failed(error) {
    this.busy = false;
    this.host.replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message),
      h("button", { type: "button", onclick: () => this.begin() }, "Choose a folder"));
  }

  #step(to, ...content) {
    return h("button", { type: "button", class: "plain", onclick: () => this.#enter(to) }, ...content);
  }

  /** The folders of a page of them, and ways to the others: the next page, and a part of the name. */
  #list(found) {
    const { path, total } = found;
    let next = null;
    const list = h("ul", { class: "folder-list" });
    const count = h("p", { class: "quiet", role: "status" });
    const more = h("button", { type: "button", onclick: () => load(true) }, "Show more");
    const show = (page, add) => {
      next = page.next;
      const rows = page.folders.map((one) => h("li", {}, this.#step(one.path, icon("right"), path === null ? one.path : one.name)));
      if (add) list.append(...rows);
      else list.replaceChildren(...rows);
      if (add) rows[0]?.firstChild.focus();
      more.hidden = next === null;
      const n = list.children.length;
      count.textContent = n < page.total ? `The first ${number(n)} of ${number(page.total)} folders.` : page.total ? "" : "No folder here is called that.";
      count.hidden = !count.textContent;
    };
    const load = latest(async (signal, add) => {
      const query = new URLSearchParams({ limit: PAGE, ...(path === null ? {} : { path }), ...(find.value ? { name: find.value } : {}), ...(add ? { cursor: next } : {}) });
      try {
        show(await ask(`/v1/folders?${query}`, { signal }), add);
      } catch (error) {
        if (signal.aborted) return;
        if (add && error.status === 410) load(false);  // folders have come or gone: from the first one on
        else this.#failed(error);
      }
    });
    let typing;
    const find = h("input", { type: "search", placeholder: "Find a folder", "aria-label": "Find a folder", autocomplete: "off", spellcheck: false,
      oninput: () => { clearTimeout(typing); typing = setTimeout(load, 150, false); },
      onkeydown: (event) => { if (event.key === "Enter") { event.preventDefault(); list.querySelector("button")?.click(); } } });
    if (total) show(found, false);
    return total ? [total > FIND_FROM ? find : null, list, count, more] : [];
  }

  #draw(found) {
    const { path, parent, photos: n, total } = found;
    const title = h("h3", { tabindex: -1 }, path ?? "Folders of the service");
    const inside = path === null ? null : h("p", { class: "quiet" }, [n ? `${photos(n)} here` : "No photos here", total ? `${number(total)} ${total === 1 ? "folder" : "folders"} inside` : ""].filter(Boolean).join(", ") + ".");
    this.host.replaceChildren(...[title, inside, ...this.#list(found), h("div", { class: "buttons" }, ...[
      path === null ? null : h("button", { type: "button", class: "primary", disabled: !n && !total, onclick: () => this.#sync(path) }, "Add this folder"),
      path === null ? null : this.#step(parent, parent === null ? "All folders" : "Up"),
    ].filter(Boolean))].filter(Boolean));
  }

  async #sync(path) {
    this.busy = true;
    let job;
    try {
      job = await ask("/v1/sync", { body: { paths: [path] } });
    } catch (error) {
      this.#failed(error);
      return;
    }
    const pace = new Pace();
    const text = h("p", { role: "status" }, "Starting");
    const bar = h("progress", { "aria-label": "Progress of the sync" });
    const stop = h("button", { type: "button", onclick: () => { stop.disabled = true; ask(`/v1/jobs/${job.id}/cancel`, { method: "POST" }).catch((error) => { stop.disabled = false; text.textContent = error.message; }); } }, "Stop");
    this.host.replaceChildren(h("h3", {}, path), text, bar, h("div", { class: "buttons" }, stop));
    watch(job.id, (news) => {
      const far = pace.of(news);
      text.textContent = far.text;
      if (far.total) Object.assign(bar, { max: far.total, value: far.done });
      else bar.removeAttribute("value");
      if (news.state === "done") {
        this.busy = false;
        this.host.replaceChildren(h("p", { role: "status" }, `${photos(news.report.scanned)} found in ${path}.`),
          h("button", { type: "button", onclick: () => this.begin() }, "Add another folder"));
        this.ondone(news);
      } else if (news.state === "failed") this.#failed(new Error(news.problem?.detail ?? "The sync has failed."));
      else if (news.state === "cancelled") this.#failed(new Error("Stopped. What was encoded is kept."));
    });
  }
}
