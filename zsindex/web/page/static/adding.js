// Adding a folder: one of those that the service may sync is chosen and synced, and how far that is, is shown.

import { ask } from "./api.js";
import { h, icon, number, photos } from "./dom.js";
import { watch } from "./jobs.js";
import { Pace } from "./pace.js";

const PAGE = 200;

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

  #draw({ path, parent, photos: n, total, folders }) {
    const step = (to, ...content) => h("button", { type: "button", class: "plain", onclick: () => this.#enter(to) }, ...content);
    const title = h("h3", { tabindex: -1 }, path ?? "Folders of the service");
    const list = h("ul", { class: "folder-list" }, ...folders.map((one) => h("li", {}, step(one.path, icon("right"), path === null ? one.path : one.name))));
    const more = folders.length < total ? h("p", { class: "quiet" }, `The first ${number(folders.length)} of ${number(total)} folders.`) : null;
    const inside = path === null ? null : h("p", { class: "quiet" }, [n ? `${photos(n)} here` : "No photos here", total ? `${number(total)} ${total === 1 ? "folder" : "folders"} inside` : ""].filter(Boolean).join(", ") + ".");
    this.host.replaceChildren(...[title, inside, list, more, h("div", { class: "buttons" }, ...[
      path === null ? null : h("button", { type: "button", class: "primary", disabled: !n && !total, onclick: () => this.#sync(path) }, "Add this folder"),
      path === null ? null : step(parent, parent === null ? "All folders" : "Up"),
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
