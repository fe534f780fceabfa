// Making elements. Text is always text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties, listeners (`onclick`), attributes and children. */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !(element instanceof SVGElement)) element[name] = value;
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function icon(name, kind = "line") {
  return s("svg", { class: `icon ${kind}`, "aria-hidden": "true" }, s("use", { href: `#i-${name}` }));
}

export const byId = (id) => document.getElementById(id);

/** Call `work` when nothing has called for it for a while. */
export function debounced(work, wait) {
  let timer;
  const later = (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), wait);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

/** A short message that goes away by itself, unless it `stays`. Returns it. */
export function toast(text, action, { stays = false } = {}) {
  const box = h("div", { class: "toast" }, h("span", {}, text));
  if (action) {
    box.append(h("button", { type: "button", onclick: () => { box.remove(); action.run(); } }, action.text));
  }
  placeToasts();
  byId("toasts").append(box);
  if (!stays) setTimeout(() => box.remove(), action ? 8000 : 4500);
  return box;
}

/** Behind a dialog nobody could reach messages. */
export function placeToasts() {
  const over = document.querySelector("dialog.photo[open] .picture-area, dialog.side-by-side[open]") ?? document.body;
  if (byId("toasts").parentElement !== over) over.append(byId("toasts"));
}

/** Show what stands where photos would: nothing yet, loading, or what went wrong. */
export function showState(box, { title, text, action, busy = false, kind = "" } = {}) {
  box.hidden = !title;
  box.className = `state ${kind}`;
  box.setAttribute("aria-busy", String(busy));
  box.replaceChildren();
  if (!title) return;
  box.append(...[
    busy ? h("span", { class: "spinner" }) : null,
    h("p", { class: "state-title", role: kind === "error" ? "alert" : undefined }, title),
    text ? h("p", { class: "state-text" }, text) : null,
    action ? h("button", { type: "button", class: "primary", onclick: action.run }, action.text) : null,
  ].filter(Boolean));
}

const whole = new Intl.NumberFormat("en");
export const number = (n) => whole.format(n);
export const photos = (n) => (n === 1 ? "1 photo" : `${number(n)} photos`);
export const fileName = (path) => path.slice(Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);

/** A score as people read it: percent where that says something, else with its digits. */
export function percent(score) {
  if (score > 0 && score < 0.01) return "<1 %";
  if (score > 0.99 && score < 0.9995) return `${Math.floor(1000 * score) / 10} %`;
  return `${Math.round(100 * score)} %`;
}

export function bytes(n) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit += 1; }
  return `${unit && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}
