// What can be done with photos that are selected: say what they show, tag them, take them along, put them into an album.

import { ask, mayWrite, request, root } from "./api.js";
import { bytes, fileName, h, number, photos, toast } from "./dom.js";
import { fits } from "./groups.js";
import { SelectionBar } from "./selection.js";

const MOST_CORRECTED = 10_000;
const FEW_LABELS = 24;
const KEYS = 9;
const SHOWN_CHANGES = 50;

/**
 * The bar of a page. `key()` names the answer whose scores a table has, if there is one. `correct`, where photos can be
 * corrected, has `why()`, what forbids it now, `labels()`, and `say(ids, number)`. `more()` gives further buttons.
 */
export function selecting({ key = () => null, correct = null, more = () => [] } = {}) {
  const button = (text, run, more = {}) => h("button", { type: "button", ...more, onclick: run }, text);

  function say(n) {
    if (bar.count > MOST_CORRECTED) toast(`At most ${photos(MOST_CORRECTED)} can be corrected at once.`);
    else bar.run(async (ids) => { await correct.say(ids, n); bar.leave(); });
  }

  function chooseLabel() {
    const why = correct.why();
    if (why) {
      toast(why);
      return;
    }
    const labels = correct.labels();
    const buttons = labels.map((label, n) => button(label, () => { dialog.close(); say(n); }, { class: "answer" }));
    const keys = Array.from({ length: KEYS }, (_, n) => h("span", { class: "key", "aria-hidden": "true" }, String(n + 1)));
    const find = h("input", { type: "search", id: "correct-find", autocomplete: "off", oninput: () => fill() });
    let offered = [];
    // Keys are about what can be seen, in its order.
    const fill = () => {
      offered = buttons.filter((one, n) => { one.hidden = !fits(labels[n], find.value.trim()); return !one.hidden; });
      keys.forEach((key, n) => (offered[n] ? offered[n].prepend(key) : key.remove()));
    };
    fill();
    const dialog = asking("What do they show?", [
      h("p", { class: "quiet" }, `It is kept for ${photos(bar.count)}, in one step that can be undone.`),
      ...(labels.length > FEW_LABELS ? [h("label", { for: "correct-find" }, "Find a label"), find] : []),
      h("div", { class: "answers many", role: "group", "aria-label": "Labels" }, ...buttons),
    ], { onsubmit: () => { if (find.value.trim()) offered[0]?.click(); } });
    dialog.addEventListener("keydown", (event) => {
      if (event.target === find || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      if (/^[1-9]$/.test(event.key)) offered[Number(event.key) - 1]?.click();
    });
    (labels.length > FEW_LABELS ? find : buttons[0]).focus();
  }

  function tag(ids) {
    const word = h("input", { type: "text", id: "keyword", required: true, maxLength: 200, autocomplete: "off" });
    const found = h("div", { class: "tags", role: "status" });
    const write = button("Write", () => look(true), { class: "primary", hidden: true });
    const look = async (apply) => {
      write.hidden = true;
      found.replaceChildren(h("p", { class: "quiet" }, apply ? "Writing…" : "Reading the sidecars…"));
      try {
        let report = await ask("/v1/images/tags", { body: { image_ids: ids, keyword: word.value, apply, limit: SHOWN_CHANGES } });
        while (apply && report.interrupted) report = await ask("/v1/images/tags", { body: { image_ids: ids, keyword: word.value, apply, limit: SHOWN_CHANGES } });
        const may = !apply && report.create + report.change > 0 && await mayWrite();
        found.replaceChildren(...told(report, may));
        write.hidden = !may;
        if (may) write.focus();
      } catch (error) {
        found.replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message));
      }
    };
    word.addEventListener("input", () => { write.hidden = true; found.replaceChildren(); });
    asking(`Tag ${photos(ids.length)}`, [
      h("p", { class: "quiet" }, "The keyword goes into XMP sidecars beside the photos, which stay as they are."),
      h("label", { for: "keyword" }, "Keyword"), word, found,
    ], { onsubmit: () => look(false), buttons: [h("button", { type: "submit" }, "Preview"), write], wide: true });
  }

  /** What of sidecars was written or would be. */
  function told(report, may) {
    const line = (n, text) => (n ? `${number(n)} ${text}` : null);
    const done = report.applied;
    const sum = [line(report.create, done ? "created" : "would be created"), line(report.change, done ? "changed" : "would be changed"),
      line(report.unchanged, "have it already"), line(report.n_skipped, "cannot be written")].filter(Boolean).join(", ");
    return [h("p", {}, `Sidecars: ${sum || "none"}.${done ? "" : may ? " Nothing is written yet." : " Nothing was written; this needs the right to write."}`),
      report.changes.length || report.skipped.length ? h("ul", { class: "changes", tabindex: 0, "aria-label": "Some of them" },
        ...report.changes.map((one) => h("li", {}, h("strong", {}, fileName(one.path)), ` ${one.action}`)),
        ...report.skipped.map((one) => h("li", {}, h("strong", {}, fileName(one.path)), h("span", { class: "wrong" }, ` ${one.why}`)))) : null].filter(Boolean);
  }

  const exported = (format, text) => button(text, () => {
    menu.open = false;
    bar.run((ids, signal, tell) => download({ image_ids: ids, format, ...(format === "csv" && key() ? { key: key() } : {}) }, signal, tell));
  });
  const menu = h("details", { class: "menu up" }, h("summary", {}, "Download"), h("div", { class: "menu-items" },
    exported("zip", "Originals, zip"), exported("csv", "Table, CSV"), exported("paths", "Paths, text")));
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu.open) { menu.open = false; menu.firstElementChild.focus(); event.preventDefault(); }
  });
  document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });

  async function album() {
    const name = h("input", { type: "text", id: "album-name", required: true, maxLength: 200, autocomplete: "off" });
    name.setAttribute("list", "albums-there");
    const there = h("datalist", { id: "albums-there" });
    const wrong = h("p", { class: "wrong", role: "alert" });
    const n = bar.count;
    const dialog = asking(`Add ${photos(n)} to an album`, [
      h("label", { for: "album-name" }, "Album, new or there already"), name, there, wrong,
    ], { buttons: [h("button", { type: "submit", class: "primary" }, "Add")], onsubmit: () => {
      const chosen = name.value.trim();
      const question = questions.includes(chosen);
      if (question) {
        wrong.textContent = `“${chosen}” is a search or a filter: it holds what fits. Choose another name.`;
        return;
      }
      dialog.close();
      bar.run(async (ids) => {
        const made = await ask(`/v1/albums/${encodeURIComponent(chosen)}/photos`, { body: { image_ids: ids } });
        toast(`“${made.name}” has ${photos(made.chosen)}.`, { text: "Open", run: () => { location.href = `${root}/albums?${new URLSearchParams({ album: made.name })}`; } });
      });
    } });
    let questions = [];
    try {
      const albums = await ask("/v1/albums");
      questions = albums.filter((one) => one.chosen === null).map((one) => one.name);
      there.replaceChildren(...albums.filter((one) => one.chosen !== null).map((one) => h("option", { value: one.name })));
    } catch { /* a name can be typed */ }
  }

  const bar = new SelectionBar({
    actions: () => {
      const toAlbum = button("Album…", album, { hidden: true });
      mayWrite().then((may) => { toAlbum.hidden = !may; }, () => {});
      return [...(correct ? [button("Correct…", chooseLabel)] : []), button("Tag…", () => bar.run(async (ids) => tag(ids))), menu, toAlbum, ...more()];
    },
    ondigit: (n) => {
      if (!correct) return false;
      const why = correct.why();
      if (why) toast(why);
      else if (n <= correct.labels().length) say(n - 1);
      return true;
    },
  });
  return bar;
}

/** A dialog that asks for something; it is gone when it is closed. */
function asking(title, parts, { onsubmit, buttons = [], wide = false }) {
  const form = h("form", {}, h("h2", {}, title), ...parts, h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close"), ...buttons));
  const dialog = h("dialog", { class: `small of-selection${wide ? " wide-dialog" : ""}`, "aria-label": title }, form);
  form.addEventListener("submit", (event) => { event.preventDefault(); onsubmit(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Have the browser keep a file. What is large it keeps on disk meanwhile. */
async function download(body, signal, tell) {
  const response = await request("/v1/images/export", { body, signal });
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "photos";
  let size = 0;
  const counted = response.body.pipeThrough(new TransformStream({ transform(part, into) {
    size += part.byteLength;
    tell(`${bytes(size)}…`);
    into.enqueue(part);
  } }));
  const address = URL.createObjectURL(await new Response(counted, { headers: { "Content-Type": response.headers.get("Content-Type") } }).blob());
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
