// Points of a plane on a canvas, of which a hundred thousand can be moved about: they are written into its pixels.
//
// Where a group is shown, its points have a colour and a shape of their own. Zoomed in, photos stand in place of points.

import { h, s } from "./dom.js";
import { load } from "./pictures.js";

// Told apart also by who sees few colours, and by their shapes.
const LIGHT = ["#0072b2", "#d55e00", "#00835f", "#b0467f", "#806600", "#5b4a9e", "#1b8fb8", "#8c2f00"];
const DARK = ["#56b4e9", "#e69f00", "#2fc79c", "#f0a0cc", "#f0e442", "#a8a0ff", "#7fd3f0", "#ff9a6b"];
const OTHERS = { light: "#85858a", dark: "#8d8f96" };
const BACK = { light: [251, 251, 250], dark: [19, 20, 22] };
const SHAPES = {
  disc: (x, y) => x * x + y * y <= 1,
  square: (x, y) => Math.abs(x) <= 0.85 && Math.abs(y) <= 0.85,
  diamond: (x, y) => Math.abs(x) + Math.abs(y) <= 1.2,
  up: (x, y) => y <= 0.8 && y >= 2 * Math.abs(x) - 1.05,
  plus: (x, y) => Math.min(Math.abs(x), Math.abs(y)) <= 0.34 && Math.max(Math.abs(x), Math.abs(y)) <= 1,
  down: (x, y) => y >= -0.8 && -y >= 2 * Math.abs(x) - 1.05,
  ring: (x, y) => x * x + y * y <= 1 && x * x + y * y >= 0.28,
};
const NAMES = Object.keys(SHAPES);
const MARGIN = 24;  // pixels around the view, so that no point there is cut
const MOST_ZOOM = 400;
const THUMB = 72;
const FEW = 400;  // points in view, from which on photos are shown
const MOST_LOADING = 6;
const MOST_KEPT = 800;
const NEAR = 14;
const CORNERS = 60;  // of a lasso that is kept

/** The look of a group by its number; null is that of all others. */
export function look(number, dark) {
  if (number === null) return { colour: dark ? OTHERS.dark : OTHERS.light, shape: "disc" };
  const colours = dark ? DARK : LIGHT;
  return { colour: colours[number % colours.length], shape: NAMES[number % NAMES.length] };
}

/** A small picture of a look. */
export function glyph({ colour, shape }) {
  const points = { up: "8,2 15,14 1,14", down: "8,14 15,2 1,2", diamond: "8,1 15,8 8,15 1,8" };
  const inside = {
    disc: () => s("circle", { cx: 8, cy: 8, r: 6, fill: colour }),
    ring: () => s("circle", { cx: 8, cy: 8, r: 4.6, fill: "none", stroke: colour, "stroke-width": 3 }),
    square: () => s("rect", { x: 2.5, y: 2.5, width: 11, height: 11, fill: colour }),
    plus: () => s("path", { d: "M8 1v14M1 8h14", stroke: colour, "stroke-width": 4 }),
  };
  return s("svg", { class: "glyph", viewBox: "0 0 16 16", "aria-hidden": "true" }, points[shape] ? s("polygon", { points: points[shape], fill: colour }) : inside[shape]());
}

const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const packed = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r;

export class Scatter {
  /**
   * `onhover(i, x, y)` with the number of the point below the pointer, or null; `onopen(i)`; `onlasso(corners)` with the
   * corners of a lasso; `onview()` when it has been moved; `onclear()` for Escape.
   */
  constructor(host, { onhover, onopen, onlasso, onview, onclear }) {
    Object.assign(this, { host, onhover, onopen, onlasso, onview, onclear });
    this.canvas = h("canvas", { class: "points", tabindex: 0, role: "application", "aria-roledescription": "map" });
    this.path = s("polygon", { class: "lasso" });
    host.append(this.canvas, s("svg", { class: "over", "aria-hidden": "true" }, this.path));
    this.context = this.canvas.getContext("2d");
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.n = 0;
    this.isLasso = false;
    this.thumbs = new Map();
    this.waiting = [];
    this.loading = 0;
    this.pointers = new Map();
    this.draw = this.draw.bind(this);
    new ResizeObserver(() => this.#resized()).observe(host);
    this.canvas.addEventListener("pointerdown", (event) => this.#down(event));
    this.canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, (event) => this.#up(event));
    this.canvas.addEventListener("pointerleave", () => this.onhover(null));
    this.canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  get dark() { return this.scheme.matches; }

  /** Show points: `xy` has x and y of each, `ids` whose they are. */
  set(ids, xy, [left, top, right, bottom]) {
    this.n = ids.length;
    this.ids = ids;
    this.size = Math.max(right - left, bottom - top, 1e-6);
    const [middleX, middleY] = [(left + right) / 2, (top + bottom) / 2];
    this.xs = new Float32Array(this.n);
    this.ys = new Float32Array(this.n);
    for (let i = 0; i < this.n; i += 1) {
      this.xs[i] = (xy[2 * i] - middleX) / this.size;
      this.ys[i] = (xy[2 * i + 1] - middleY) / this.size;
    }
    this.of = new Uint16Array(this.n);
    this.looks = [look(null, this.dark)];
    this.hidden = new Set();
    this.chosen = null;
    this.view ??= { x: 0, y: 0, zoom: 1 };
    this.#resized();
  }

  /** Give each point a look: `of[i]` is its number among `looks`. */
  colour(of, looks) {
    Object.assign(this, { of, looks });
    this.soon();
  }

  /** Some points stand out: `chosen[i]` is 1 for these; null for none. */
  choose(chosen, corners = null) {
    Object.assign(this, { chosen, corners });
    this.soon();
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => { this.frame = undefined; this.draw(); });
  }

  #resized() {
    const { clientWidth, clientHeight } = this.host;
    if (!clientWidth || !clientHeight) return;
    this.ratio = Math.min(2, devicePixelRatio || 1);
    this.width = Math.round(clientWidth * this.ratio);
    this.height = Math.round(clientHeight * this.ratio);
    [this.canvas.width, this.canvas.height] = [this.width, this.height];
    this.wide = this.width + 2 * MARGIN;
    this.pixels = new ImageData(this.wide, this.height + 2 * MARGIN);
    this.words = new Uint32Array(this.pixels.data.buffer);
    this.stamps = new Map();
    this.draw();
  }

  /** Device pixels for the whole of the map. */
  get scale() { return Math.min(this.width, this.height) * 0.94 * this.view.zoom; }

  toPixel(x, y) {
    return [(x - this.view.x) * this.scale + this.width / 2, (y - this.view.y) * this.scale + this.height / 2];
  }

  toPlane(px, py) {
    return [(px - this.width / 2) / this.scale + this.view.x, (py - this.height / 2) / this.scale + this.view.y];
  }

  /** Radius of a point, in device pixels. */
  get radius() {
    const least = this.n > 30000 ? 1.2 : this.n > 5000 ? 2 : this.n > 1000 ? 3 : 4;
    return Math.min(9, least * Math.sqrt(Math.sqrt(this.view.zoom)) + (this.view.zoom > 8 ? 1 : 0)) * this.ratio;
  }

  #stamp(shape, radius) {
    const key = `${shape}/${radius}`;
    let found = this.stamps.get(key);
    if (!found) {
      const reach = Math.ceil(radius);
      const inside = radius < 2.5 ? SHAPES.disc : SHAPES[shape];
      const at = [];
      for (let y = -reach; y <= reach; y += 1) {
        for (let x = -reach; x <= reach; x += 1) {
          if (inside(x / (radius + 0.35), y / (radius + 0.35))) at.push(y * this.wide + x);
        }
      }
      found = Int32Array.from(at);
      this.stamps.set(key, found);
    }
    return found;
  }

  draw() {
    if (!this.n || !this.width || !this.host.isConnected) return;
    const { xs, ys, of, words, wide, view, scale, chosen } = this;
    const high = this.height + 2 * MARGIN;
    const back = BACK[this.dark ? "dark" : "light"];
    const radius = Math.round(this.radius * 2) / 2;
    const strong = new Uint32Array(this.looks.length);
    const faint = new Uint32Array(this.looks.length);
    const stamps = this.looks.map(({ shape }) => this.#stamp(shape, radius));
    const shown = new Uint8Array(this.looks.length);
    this.looks.forEach(({ colour }, n) => {
      const own = rgb(colour);
      strong[n] = packed(own);
      faint[n] = packed(own.map((part, at) => Math.round(0.28 * part + 0.72 * back[at])));
      shown[n] = this.hidden.has(n) ? 0 : 1;
    });
    words.fill(0);
    const toX = this.width / 2 + MARGIN - view.x * scale;
    const toY = this.height / 2 + MARGIN - view.y * scale;
    const inside = [];
    // What is chosen lies above the rest.
    for (let layer = chosen ? 0 : 1; layer < 2; layer += 1) {
      const colours = layer ? strong : faint;
      for (let i = 0; i < this.n; i += 1) {
        const group = of[i];
        if (!shown[group] || (chosen && chosen[i] !== layer)) continue;
        const x = Math.round(xs[i] * scale + toX);
        const y = Math.round(ys[i] * scale + toY);
        if (x < 12 || y < 12 || x >= wide - 12 || y >= high - 12) continue;
        if (inside.length <= FEW) inside.push(i);
        const at = y * wide + x;
        const colour = colours[group];
        const stamp = stamps[group];
        for (let part = 0; part < stamp.length; part += 1) words[at + stamp[part]] = colour;
      }
    }
    this.context.clearRect(0, 0, this.width, this.height);
    this.context.putImageData(this.pixels, -MARGIN, -MARGIN);
    this.#drawPhotos(inside.length <= FEW && view.zoom > 1.5 ? inside : []);
    this.#drawLasso();
  }

  /** Photos in place of points, as far as there is room for them. */
  #drawPhotos(inside) {
    const side = THUMB * this.ratio;
    const taken = new Set();
    const cell = (x, y) => `${Math.floor(x / side)} ${Math.floor(y / side)}`;
    this.photos = [];
    this.waiting = [];
    for (const i of inside) {
      const [x, y] = this.toPixel(this.xs[i], this.ys[i]);
      if (taken.has(cell(x, y))) continue;
      if (this.photos.some((other) => Math.abs(other.x - x) < side && Math.abs(other.y - y) < side)) continue;
      taken.add(cell(x, y));
      this.photos.push({ i, x, y });
      const image = this.thumbs.get(this.ids[i]);
      if (image === undefined) this.waiting.push(this.ids[i]);
      if (!image) continue;
      const ratio = Math.min(side / image.naturalWidth, side / image.naturalHeight) * 0.94;
      const [wide, high] = [image.naturalWidth * ratio, image.naturalHeight * ratio];
      this.context.globalAlpha = !this.chosen || this.chosen[i] ? 1 : 0.35;
      this.context.drawImage(image, x - wide / 2, y - high / 2, wide, high);
      this.context.strokeStyle = this.looks[this.of[i]].colour;
      this.context.lineWidth = 3 * this.ratio;
      this.context.strokeRect(x - wide / 2, y - high / 2, wide, high);
      this.context.globalAlpha = 1;
    }
    this.#fetch();
  }

  #fetch() {
    while (this.loading < MOST_LOADING && this.waiting.length) {
      const id = this.waiting.shift();
      if (this.thumbs.has(id)) continue;
      this.loading += 1;
      this.thumbs.set(id, null);
      load(id, 128, { priority: "low" }).then((image) => { this.thumbs.set(id, image); }, () => {}).finally(() => {
        this.loading -= 1;
        if (this.thumbs.size > MOST_KEPT) this.thumbs.delete(this.thumbs.keys().next().value);
        this.soon();
      });
    }
  }

  #drawLasso() {
    const corners = this.drawing ?? this.corners;
    const points = (corners ?? []).map(([x, y]) => this.toPixel(x, y).map((one) => (one / this.ratio).toFixed(1)).join(","));
    this.path.setAttribute("points", points.join(" "));
  }

  /** The number of the point nearest to a place of the canvas; -1 where none is near. */
  nearest(px, py) {
    const side = (THUMB * this.ratio) / 2;
    const photo = this.photos?.find(({ x, y }) => Math.abs(x - px) < side && Math.abs(y - py) < side);
    if (photo) return photo.i;
    const [x, y] = this.toPlane(px, py);
    let best = ((NEAR * this.ratio) / this.scale) ** 2;
    let found = -1;
    for (let i = 0; i < this.n; i += 1) {
      const distance = (this.xs[i] - x) ** 2 + (this.ys[i] - y) ** 2;
      if (distance < best && !this.hidden.has(this.of[i])) [best, found] = [distance, i];
    }
    return found;
  }

  /** Numbers of the points that are shown within the corners of a lasso. */
  within(corners) {
    const found = [];
    const [left, right] = [Math.min(...corners.map(([x]) => x)), Math.max(...corners.map(([x]) => x))];
    const [top, bottom] = [Math.min(...corners.map(([, y]) => y)), Math.max(...corners.map(([, y]) => y))];
    for (let i = 0; i < this.n; i += 1) {
      const [x, y] = [this.xs[i], this.ys[i]];
      if (x < left || x > right || y < top || y > bottom || this.hidden.has(this.of[i])) continue;
      let isIn = false;
      for (let at = 0, before = corners.length - 1; at < corners.length; before = at, at += 1) {
        const [[ax, ay], [bx, by]] = [corners[at], corners[before]];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) isIn = !isIn;
      }
      if (isIn) found.push(i);
    }
    return found;
  }

  /** The corners of what is in view. */
  get inView() {
    return [[0, 0], [this.width, 0], [this.width, this.height], [0, this.height]].map(([x, y]) => this.toPlane(x, y));
  }

  zoomBy(by, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.toPlane(px, py);
    this.view.zoom = Math.max(1, Math.min(MOST_ZOOM, this.view.zoom * by));
    const [newX, newY] = this.toPlane(px, py);
    this.#go(this.view.x + x - newX, this.view.y + y - newY);
  }

  fit() {
    this.view = { x: 0, y: 0, zoom: 1 };
    this.#go(0, 0);
  }

  #go(x, y) {
    this.view.x = Math.max(-0.6, Math.min(0.6, x));
    this.view.y = Math.max(-0.6, Math.min(0.6, y));
    this.soon();
    this.onview();
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio];
  }

  #down(event) {
    if (event.button) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#at(event));
    this.moved = this.pointers.size > 1 ? Infinity : 0;
    this.drawing = this.pointers.size === 1 && (this.isLasso || event.shiftKey) ? [this.toPlane(...this.#at(event))] : undefined;
  }

  #move(event) {
    const at = this.#at(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") {
        const found = this.nearest(...at);
        this.canvas.classList.toggle("on", found >= 0);
        this.onhover(found >= 0 ? found : null, at[0] / this.ratio, at[1] / this.ratio);
      }
      return;
    }
    this.onhover(null);
    this.moved += Math.hypot(at[0] - before[0], at[1] - before[1]);
    if (this.drawing) {
      this.drawing.push(this.toPlane(...at));
      this.#drawLasso();
    } else if (this.pointers.size === 2) {
      const [[, other]] = [...this.pointers].filter(([id]) => id !== event.pointerId);
      const apart = (one) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
      this.zoomBy(apart(at) / apart(before), (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
    } else this.#go(this.view.x - (at[0] - before[0]) / this.scale, this.view.y - (at[1] - before[1]) / this.scale);
    this.pointers.set(event.pointerId, at);
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { drawing } = this;
    this.drawing = undefined;
    if (drawing && this.moved > 8 * this.ratio) {
      const every = Math.ceil(drawing.length / CORNERS);
      this.onlasso(drawing.filter((_, n) => n % every === 0));
    } else if (this.moved < 5 * this.ratio && event.type === "pointerup") {
      const found = this.nearest(...this.#at(event));
      if (found >= 0) this.onopen(found);
      else this.onclear();
    }
    this.soon();
  }

  #wheel(event) {
    event.preventDefault();
    this.onhover(null);
    this.zoomBy(Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) / 250), ...this.#at(event));
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const step = (80 * this.ratio) / this.scale;
    const keys = {
      ArrowLeft: () => this.#go(this.view.x - step, this.view.y), ArrowRight: () => this.#go(this.view.x + step, this.view.y),
      ArrowUp: () => this.#go(this.view.x, this.view.y - step), ArrowDown: () => this.#go(this.view.x, this.view.y + step),
      "+": () => this.zoomBy(1.4), "=": () => this.zoomBy(1.4), "-": () => this.zoomBy(1 / 1.4), 0: () => this.fit(),
      Enter: () => this.onlasso(this.inView), Escape: () => this.onclear(),
    };
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }
}
