// Near-duplicates: groups of photos that show the same picture, two of them side by side, and what is decided about them.
// Nothing is deleted here.

import { ask } from "./api.js";
import { byId, bytes, fileName, h, icon, number, photos, toast } from "./dom.js";
import { picture } from "./pictures.js";
import { Rows } from "./rows.js";

const FIRST = 50;   // groups that are asked for at first; later pages are larger
const PAGE = 500;
const MOST = 12;    // photos of a group in its row: all of them can be compared
const ROW = 232;
const DECISION = 44;
const LARGE = 1024;

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const folderOf = (path) => path.slice(0, Math.max(0, path.length - fileName(path).length - 1)) || "/";
const dimensions = (one) => (one.width ? `${number(one.width)} × ${number(one.height)}` : "");
const likeness = (one) => (one.exact ? "Same bytes" : `Similarity ${one.cosine.toFixed(3)}`);

export class NearDuplicates {
  /** `writes()`: whether this browser may decide. */
  constructor(host, { writes }) {
    Object.assign(this, { host, writes });
    this.said = new Map();  // of groups, by number, what was decided about them since they were looked for
    this.sum = h("p", { class: "quiet", role: "status" });
    this.list = h("div", { class: "alike", role: "list", tabindex: 0, "aria-label": "Groups of near-duplicates" });
    this.again = h("button", { type: "button", onclick: () => this.look() }, "Look again");
    this.decided = h("details", { class: "more" }, h("summary", {}, "Decisions"));
    this.decided.addEventListener("toggle", () => { if (this.decided.open) this.#drawDecisions(); });
    this.rows = new Rows(this.list, { height: ROW, key: (one) => one.number, make: () => h("div", { class: "near-row", role: "listitem" }), fill: (row, one) => this.#fill(row, one) });
    this.decisions = new Rows(h("div", { class: "decisions", role: "list", tabindex: 0, "aria-label": "Decisions" }), {
      height: DECISION, key: (one) => `${one.kind} ${one.digest} ${one.other_digest}`, make: (one) => this.#decision(one),
      fill: (row, one, n) => { row.setAttribute("aria-posinset", n + 1); row.setAttribute("aria-setsize", one.of); },
    });
  }

  async look() {
    this.said.clear();
    this.host.replaceChildren(this.sum, this.list, h("div", { class: "buttons" }, this.again), this.decided);
    this.list.hidden = true;
    this.sum.textContent = "Looking…";
    this.again.disabled = true;
    try {
      const found = await ask(`/v1/duplicates?limit=${FIRST}`);
      this.items = Array.from({ length: found.total }, (_, n) => ({ number: n, group: undefined }));
      this.next = found.next;
      this.#take(0, found.groups, FIRST);
      this.sum.textContent = found.total ? `${number(found.total)} ${found.total === 1 ? "group" : "groups"}. ${photos(found.removable)} could go, ${bytes(found.removable_bytes)}. Nothing is deleted here.`
        : "None: no two photos show the same picture.";
      this.list.hidden = !found.total;
      this.list.scrollTop = 0;
      this.rows.show(this.items);
    } catch (error) {
      this.sum.textContent = error.message;
    } finally { this.again.disabled = false; }
  }

  /** Groups that came; of those asked for, some may be gone since. */
  #take(start, groups, asked) {
    this.loaded = Math.min(start + asked, this.items.length);
    for (let n = start; n < this.loaded; n += 1) this.items[n].group = groups[n - start] ?? null;
  }

  /** Have the groups up to a number. They come in order, of one answer, whatever is decided meanwhile. */
  async #load(number) {
    this.wanted = number;
    if (this.loading) return;
    this.loading = true;
    const { items } = this;
    try {
      while (this.items === items && this.loaded <= this.wanted && this.next) {
        const start = this.loaded;
        const found = await ask(`/v1/duplicates?limit=${PAGE}&cursor=${encodeURIComponent(this.next)}`);
        if (this.items !== items) return;
        this.next = found.next;
        this.#take(start, found.groups, PAGE);
      }
      this.rows.draw();
    } catch (error) {
      toast(error.message, { text: "Look again", run: () => this.look() });
    } finally { this.loading = false; }
  }

  #fill(row, one) {
    const said = this.said.get(one.number);
    if (one.group === undefined) this.#load(one.number);
    if (row.group === one.group && row.said === said && row.children.length) return;
    Object.assign(row, { group: one.group, said });
    row.setAttribute("aria-posinset", one.number + 1);
    row.setAttribute("aria-setsize", this.items.length);
    row.classList.toggle("decided", said !== undefined);
    if (!one.group) {
      row.replaceChildren(h("p", { class: "quiet" }, one.group === undefined ? "Loading…" : "These files have changed, or are gone."));
      return;
    }
    const { keep, others } = one.group;
    const name = fileName(keep.path);
    row.replaceChildren(
      h("div", { class: "near-head" }, h("h3", { title: keep.path }, name), h("span", { class: "quiet" }, photos(1 + others.length)),
        h("button", { type: "button", "aria-label": `Compare ${name} with those like it`, onclick: () => this.#compare(one.number, 0) }, "Compare…")),
      h("div", { class: "row-of", tabindex: 0, role: "group", "aria-label": `Like ${name}` },
        this.#figure(one, keep, "Suggested to keep", 0), ...others.slice(0, MOST - 1).map((other, n) => this.#figure(one, other, likeness(other), n)),
        ...(others.length >= MOST ? [h("p", { class: "quiet" }, `and ${number(others.length - MOST + 1)} more`)] : [])));
  }

  #figure(one, photo, text, n) {
    const { keep } = one.group;
    const said = [dimensions(photo), photo.size ? bytes(photo.size) : ""].filter(Boolean).join(", ");
    return h("figure", {}, h("button", { type: "button", class: "near-picture", "aria-label": `Compare ${fileName(photo.path)}`, onclick: () => this.#compare(one.number, n) },
      picture(photo, 256)),
    h("figcaption", { title: photo.path }, h("strong", {}, photo.kept ? "Kept" : text), h("span", { class: "under" }, fileName(photo.path)), h("span", { class: "under" }, said),
      ...(this.writes() ? [h("span", { class: "deciding" }, ...this.#buttons(one, photo, keep))] : [])));
  }

  #buttons(one, photo, keep) {
    const name = fileName(photo.path);
    const button = (text, label, run) => h("button", { type: "button", class: "decide", disabled: this.said.has(one.number), "aria-label": label, onclick: run }, text);
    return [
      button("Keep this", `Keep this: ${name}`, () => this.#decide(one.number, { keep: [photo.path] }, `${name} will be kept.`)),
      ...(photo !== keep && !photo.exact ? [button("Different", `${name} is another picture`,
        () => this.#decide(one.number, { different: [[keep.path, photo.path]] }, `${name} and ${fileName(keep.path)} will be kept apart.`))] : []),
    ];
  }

  /** What is decided is remembered by content. Groups are made accordingly from the next look on. */
  async #decide(number, body, text) {
    try {
      await ask("/v1/duplicates/decisions", { body });
    } catch (error) {
      toast(error.message);
      return;
    }
    this.#mark(number, text);
    this.undoing?.remove();  // only the last step can be undone
    this.undoing = toast(text, { text: "Undo", run: async () => {
      try {
        await ask("/v1/duplicates/decisions/undo", { method: "POST" });
        this.#mark(number, null);
      } catch (error) { toast(error.message); }
    } });
  }

  #mark(number, text) {
    if (text) this.said.set(number, text);
    else this.said.delete(number);
    this.rows.draw();
    this.onmark?.(number);
    if (this.decided.open) this.#drawDecisions();
  }

  // --- side by side --------------------------------------------------------------------------------------------------

  /** The photo to keep of a group beside one of the others, with what differs between them. */
  #compare(number, at) {
    const body = h("div", { class: "beside" });
    const title = h("h2", { tabindex: -1 });
    const step = (by) => this.#step(number, at, by).then((to) => { if (to && dialog.open) { [number, at] = to; show(); } });
    const round = (name, text, by) => h("button", { type: "button", class: "round", "aria-label": text, title: text, onclick: () => step(by) }, icon(name));
    const dialog = h("dialog", { class: "side-by-side", "aria-label": "Side by side" },
      h("div", { class: "panel-head" }, round("left", "Previous pair", -1), title, round("right", "Next pair", 1),
        h("button", { type: "button", class: "round", "aria-label": "Close", title: "Close", onclick: () => dialog.close() }, icon("x"))), body);
    const show = () => {
      const one = this.items[number];
      const { keep, others } = one.group;
      const other = others[at];
      title.textContent = `Group ${number + 1} of ${this.items.length}${others.length > 1 ? `, ${at + 1} of ${others.length}` : ""}`;
      const focused = body.contains(document.activeElement);
      this.#pair(body, one, keep, other).catch((error) => body.append(h("p", { class: "wrong", role: "alert" }, error.message)));
      if (focused) title.focus();  // what had it was made anew
    };
    const ending = new AbortController();
    // What had the focus may be gone, such as a message with its button: keys are about the pair wherever it is.
    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      event.preventDefault();
      step(event.key === "ArrowLeft" ? -1 : 1);
    }, { signal: ending.signal });
    this.onmark = (marked) => { if (marked === number) show(); };
    dialog.addEventListener("close", () => {
      this.onmark = undefined;
      ending.abort();
      document.body.append(byId("toasts"));
      dialog.remove();
      this.rows.reveal(number);
      this.list.querySelector(`.near-row[aria-posinset="${number + 1}"] .near-head button`)?.focus();
    });
    document.body.append(dialog);
    dialog.showModal();
    title.focus();
    show();
  }

  /** The pair so many further on, in this group or in those next to it; null at an end. */
  async #step(number, at, by) {
    const there = this.items[number].group?.others[at + by];
    if (there) return [number, at + by];
    for (let n = number + by; n >= 0 && n < this.items.length; n += by) {
      if (this.items[n].group === undefined) await this.#load(n);
      const { group } = this.items[n];
      if (group === undefined) return null;
      if (group) return [n, by > 0 ? 0 : group.others.length - 1];
    }
    return null;
  }

  async #pair(body, one, keep, other) {
    const mine = (body.showing = {});
    const of = (photo, text) => h("figure", {}, h("div", { class: "beside-picture" }, picture(photo, LARGE, { alt: fileName(photo.path) })),
      h("figcaption", {}, h("strong", {}, text), h("span", { class: "deciding" }, ...(this.writes() ? this.#buttons(one, photo, keep) : []))));
    const facts = h("div", { class: "table", tabindex: 0, role: "region", "aria-label": "What differs" }, h("p", { class: "quiet" }, "Loading details…"));
    const said = this.said.get(one.number);
    body.replaceChildren(of(keep, keep.kept ? "Kept" : "Suggested to keep"), of(other, other.kept ? "Kept" : likeness(other)),
      h("p", { class: "quiet beside-said", role: "status" }, said ?? ""), facts);
    const known = await Promise.all([keep, other].map((photo) => this.#known(photo)));
    if (body.showing !== mine) return;
    const rows = [
      ["Size", dimensions], ["File", (photo) => (photo.size ? `${bytes(photo.size)} (${number(photo.size)} bytes)` : "")], ["Format", (_, n) => known[n].format],
      ["Taken", (_, n) => known[n].taken], ["Camera", (_, n) => known[n].camera], ["Name", (photo) => fileName(photo.path)], ["Folder", (photo) => folderOf(photo.path)],
      ["Sharpness", (photo) => (photo.sharpness === null || photo.sharpness === undefined ? "" : number(Math.round(photo.sharpness)))], ["SHA-256", (_, n) => known[n].digest],
    ].map(([name, value]) => [name, value(keep, 0) || "not known", value(other, 1) || "not known"]);
    facts.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, ...["", "Left", "Right", ""].map((text) => (text ? h("th", { scope: "col" }, text) : h("td"))))),
      h("tbody", {}, ...rows.map(([name, left, right]) => h("tr", { class: left === right ? "" : "differs" }, h("th", { scope: "row" }, name),
        h("td", {}, left), h("td", {}, right), h("td", { class: "quiet" }, left === right ? "same" : "differs"))))));
  }

  async #known(photo) {
    if (photo.image_id === null) return {};
    const [about, facts] = await Promise.all(["", "/facts"].map((part) => ask(`/v1/images/${photo.image_id}${part}`).catch(() => null)));
    const said = facts?.files.find((file) => file.path === photo.path) ?? facts?.files[0];
    return { format: about?.format, digest: about?.digest, taken: said?.taken ? said.taken.at.replace("T", " ") : "", camera: [said?.make, said?.camera].filter(Boolean).join(" ") };
  }

  // --- decisions -----------------------------------------------------------------------------------------------------

  async #drawDecisions() {
    const [summary] = this.decided.children;
    let found;
    try {
      found = await ask("/v1/duplicates/decisions");
    } catch (error) {
      this.decided.replaceChildren(summary, h("p", { class: "wrong", role: "alert" }, error.message));
      return;
    }
    const none = h("p", { class: "quiet" }, "None yet. What you decide about near-duplicates is listed here.");
    this.decided.replaceChildren(summary, found.length ? this.decisions.host : none);
    this.decisions.show(found.map((one) => Object.assign(one, { of: found.length })));
  }

  #decision(one) {
    const text = one.kind === "keep" ? `Keep ${fileName(one.path)}` : `${fileName(one.path)} and ${fileName(one.other_path)} are different`;
    const withdraw = async () => {
      try {
        await ask(`/v1/duplicates/decisions?path=${encodeURIComponent(one.path)}`, { method: "DELETE" });
        this.#drawDecisions();
      } catch (error) { toast(error.message); }
    };
    return h("div", { class: "decision", role: "listitem", title: [one.path, one.other_path].filter(Boolean).join("\n") },
      h("span", { class: "decision-text" }, text, h("span", { class: "under" }, `${when.format(new Date(one.decided_at))}${one.gone ? ", gone from the library" : ""}`)),
      ...(this.writes() && !one.gone ? [h("button", { type: "button", class: "decide", "aria-label": `Withdraw what was decided about ${fileName(one.path)}`, onclick: withdraw }, "Withdraw")] : []));
  }
}
