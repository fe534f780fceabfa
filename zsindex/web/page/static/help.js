// Keys, listed in a small dialog: of photos in a list, and of one that is open.

import { byId, h } from "./dom.js";

const LIST = [
  ["Arrows, Home, End, Page up, Page down", "Move about"],
  ["Enter", "Open the photo"],
  ["Space, Shift and space", "Select it; select all up to it"],
  ["Shift and arrows, Ctrl and A", "Select more; select all"],
  ["Escape", "Select nothing"],
  ["1 … 9", "It shows the first … ninth label (saved sets, in the lab)"],
  ["/", "To the labels (in the lab), to the words (in Search)"],
  ["?", "These keys"],
];
const PHOTO = [
  ["← →", "The photo before, the next one"],
  ["1 … 9", "It shows the first … ninth label"],
  ["U", "Take back the last correction, and go back to its photo"],
  ["+ − 0", "Zoom in, out, to what fits; a double click zooms to the photo's own pixels"],
  ["Shift and arrows", "Move what is zoomed"],
  ["F", "Full screen"],
  ["I", "Show or hide the details"],
  ["S", "Slideshow; any key pauses it"],
  ["M", "Mark the photo to compare it"],
  ["C", "Side by side with the marked photo, or the next"],
  ["L R", "Side by side: the left one stays, the right one stays"],
  ["Escape", "Back: from side by side, from full screen, to the list"],
];

/** Show them; those of an open photo first where there is one. */
export function showKeys(isPhoto) {
  if (document.querySelector("dialog.keys")) return;
  const part = (title, keys) => h("section", {}, h("h3", {}, title), h("dl", { class: "facts" },
    ...keys.flatMap(([key, text]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)])));
  const parts = [part("Photos", LIST), part("A photo", PHOTO)];
  const dialog = h("dialog", { class: "small keys", "aria-label": "Keys" }, h("form", { method: "dialog" }, h("h2", {}, "Keys"),
    h("div", { class: "key-lists", tabindex: 0, role: "group", "aria-label": "List of keys" }, ...(isPhoto ? parts.reverse() : parts)),
    h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary", autofocus: true }, "Close"))));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  // Only what is in the part that fills the screen can be seen.
  (document.fullscreenElement ?? document.body).append(dialog);
  dialog.showModal();
}

/** On pages with photos: "?", and a button in the bar. */
export function offerKeys() {
  byId("holds").after(h("button", { type: "button", class: "plain keys-button", "aria-label": "Keys", title: "Keys (?)", onclick: () => showKeys(false) }, "?"));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "?" || event.target.closest("input, textarea, select, dialog") || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    showKeys(false);
  });
}
