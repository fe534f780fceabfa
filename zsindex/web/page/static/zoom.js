// Zoom and pan of a picture that fills a box as well as it fits: by wheel, fingers, double tap and keys.
//
// A view is `scale` (1: it fits) and the point of the picture in the middle of the box (`x` and `y`, from 0 to 1), so
// that the same view of another picture shows the same part of it.

const STEP = 1.5;
const LEAST_MOST = 4;  // how far one can zoom in, however few pixels there are
const PIXELS = 8;  // and else: screen pixels of the page per pixel of the photo
const TAP_MS = 350;
const TAP_PX = 12;
const SWIPED_PX = 60;
const FIT = { scale: 1, x: 0.5, y: 0.5 };

export class Zoom {
  /** `onchange()` when it shows another part; `onstep(by)` and `onclose()` when a finger swipes what fits. */
  constructor(host, { onchange, onstep, onclose }) {
    Object.assign(this, { host, onchange, onstep, onclose });
    this.image = null;
    this.pixels = 0;  // the longer side of the photo, where it is known
    this.view = FIT;
    this.pointers = new Map();
    host.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    host.addEventListener("pointerdown", (event) => this.#down(event));
    host.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) host.addEventListener(kind, (event) => this.#up(event));
    this.observer = new ResizeObserver(() => this.image && this.set(this.view));
    this.observer.observe(host);
  }

  /** Show a picture as a whole; null for none. */
  show(image) {
    this.image = image;
    this.pointers.clear();
    this.swiping = this.tapped = null;
    this.set(FIT);
  }

  /** The same picture with more pixels. */
  swap(image) {
    this.image = image;
    this.set(this.view);
  }

  /** Width and height in pixels of the page where it fits. */
  get fitted() {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (!this.image || !width || !height) return { width: 1, height: 1 };
    const { naturalWidth, naturalHeight } = this.image;
    const by = Math.min(width / naturalWidth, height / naturalHeight);
    return { width: naturalWidth * by, height: naturalHeight * by };
  }

  /** Pixels of the page per pixel of the photo, where it fits. */
  get #unit() {
    const { width, height } = this.fitted;
    return Math.max(width, height) / Math.max(this.pixels, this.image?.naturalWidth ?? 1, this.image?.naturalHeight ?? 1);
  }

  /** Pixels of the screen per pixel of the photo. */
  get magnified() { return this.view.scale * this.#unit * devicePixelRatio; }

  /** Pixels of the screen per pixel that is there. */
  get stretched() {
    return (this.view.scale * this.fitted.width * devicePixelRatio) / (this.image?.naturalWidth ?? 1);
  }

  set({ scale, x, y }) {
    scale = Math.max(1, Math.min(scale, Math.max(LEAST_MOST, PIXELS / this.#unit)));
    const { width, height } = this.fitted;
    const within = (at, size, box) => {
      const half = box / (2 * size * scale);
      return half >= 0.5 ? 0.5 : Math.max(half, Math.min(1 - half, at));
    };
    this.view = { scale, x: within(x, width, this.host.clientWidth), y: within(y, height, this.host.clientHeight) };
    this.#draw();
    this.onchange?.();
  }

  /** Zoom about a point of the box, from its middle. */
  by(factor, { x, y } = { x: 0, y: 0 }) {
    if (!this.image) return;
    const { width, height } = this.fitted;
    const { scale, ...at } = this.view;
    const to = Math.max(1, Math.min(scale * factor, Math.max(LEAST_MOST, PIXELS / this.#unit)));
    const shift = 1 / scale - 1 / to;
    this.set({ scale: to, x: at.x + (x / width) * shift, y: at.y + (y / height) * shift });
  }

  pan(dx, dy) {
    const { width, height } = this.fitted;
    const { scale, x, y } = this.view;
    this.set({ scale, x: x - dx / (width * scale), y: y - dy / (height * scale) });
  }

  fit() { this.set(FIT); }

  /** From what fits to the photo's own pixels, and back. */
  toggle(point) {
    if (this.view.scale > 1.01) this.fit();
    else this.by(Math.max(2, 1 / (this.#unit * devicePixelRatio)), point);
  }

  /** Whether a key was about the zoom. */
  key(event) {
    const far = 0.2 * Math.min(this.host.clientWidth, this.host.clientHeight);
    const pans = { ArrowLeft: [far, 0], ArrowRight: [-far, 0], ArrowUp: [0, far], ArrowDown: [0, -far] };
    if (event.key === "+" || event.key === "=") this.by(STEP);
    else if (event.key === "-") this.by(1 / STEP);
    else if (event.key === "0") this.fit();
    else if (event.shiftKey && event.key in pans) this.pan(...pans[event.key]);
    else return false;
    return true;
  }

  #draw(dx = 0, dy = 0) {
    if (!this.image) return;
    const { scale, x, y } = this.view;
    const { width, height } = this.fitted;
    this.image.style.transform = `translate(${(0.5 - x) * width * scale + dx}px, ${(0.5 - y) * height * scale + dy}px) scale(${scale})`;
    this.host.classList.toggle("zoomed", scale > 1);
  }

  #point(event) {
    const box = this.host.getBoundingClientRect();
    return { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : 16;
    this.by(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), this.#point(event));
  }

  #down(event) {
    if (event.button !== 0 || event.target.closest("button, select, a")) return;
    this.pointers.set(event.pointerId, this.#point(event));
    this.host.setPointerCapture(event.pointerId);
    if (this.pointers.size === 1) this.begun = { ...this.#point(event), time: event.timeStamp, moved: false, several: false };
    else {
      this.begun.moved = this.begun.several = true;
      this.swiping = null;
      this.#draw();
    }
  }

  #move(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const now = this.#point(event);
    this.pointers.set(event.pointerId, now);
    if (Math.hypot(now.x - this.begun.x, now.y - this.begun.y) > TAP_PX) this.begun.moved = true;
    if (this.pointers.size > 1) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (one) => Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
      const middle = (one) => ({ x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 });
      this.pan(middle(now).x - middle(last).x, middle(now).y - middle(last).y);
      this.by(apart(now) / apart(last), middle(now));
    } else if (this.view.scale > 1) this.pan(now.x - last.x, now.y - last.y);
    else if (event.pointerType !== "mouse" && this.begun.moved && !this.begun.several) this.#swipe(now.x - this.begun.x, now.y - this.begun.y);
  }

  /** The picture follows the finger, to the sides or down. */
  #swipe(dx, dy) {
    if (!this.image) {
      this.swiping = { across: Math.abs(dx) > Math.abs(dy), dx, dy };
      return;
    }
    const across = this.swiping?.across ?? Math.abs(dx) > Math.abs(dy);
    this.swiping = { across, dx, dy };
    this.#draw(across ? dx : 0, across ? 0 : Math.max(0, dy));
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    const { swiping } = this;
    this.swiping = null;
    this.#draw();
    if (event.type === "pointercancel") return;
    if (swiping?.across && Math.abs(swiping.dx) > SWIPED_PX) this.onstep?.(swiping.dx < 0 ? 1 : -1);
    else if (swiping && !swiping.across && swiping.dy > SWIPED_PX) this.onclose?.();
    if (this.begun.moved) return;
    const twice = this.tapped && event.timeStamp - this.tapped.time < TAP_MS
      && Math.hypot(this.tapped.x - this.begun.x, this.tapped.y - this.begun.y) < 2 * TAP_PX;
    this.tapped = twice ? null : { ...this.begun, time: event.timeStamp };
    if (twice) this.toggle(this.#point(event));
  }
}
