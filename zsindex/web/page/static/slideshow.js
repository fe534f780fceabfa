// Photos that go by by themselves, each as long as was chosen once it is there.

import { h, icon } from "./dom.js";
import { keep, kept } from "./kept.js";

const SECONDS = ["2", "3", "5", "10", "30", "60"];

export class Slideshow {
  /**
   * `next()` waits until the next picture can be shown, or cannot, and resolves to whether there is one; `step()` shows it;
   * `onend()` is called when there is none.
   */
  constructor({ next, step, onend }) {
    Object.assign(this, { next, step, onend });
    this.running = null;
    this.isShown = false;
    this.button = h("button", { type: "button", class: "tool", onclick: () => this.toggle() });
    this.seconds = h("select", { class: "tool", "aria-label": "Seconds for each photo", title: "Seconds for each photo", onchange: () => {
      keep("slideshow", this.seconds.value);
      if (this.running) this.play();
    } }, ...SECONDS.map((value) => h("option", { value }, `${value} s`)));
    this.seconds.value = SECONDS.includes(kept("slideshow")) ? kept("slideshow") : "5";
    this.element = h("span", { class: "slideshow" }, this.button, this.seconds);
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.pause(); });
    this.#draw();
  }

  get isPlaying() { return this.running !== null; }

  toggle() { if (this.isPlaying) this.pause(); else this.play(); }

  play() {
    this.pause();
    this.running = {};
    this.#draw();
    if (this.isShown) this.#wait();
  }

  pause() {
    clearTimeout(this.timer);
    this.running = null;
    this.#draw();
  }

  /** A photo leaves; it is not `arrived` before its picture is there, or the reason why it cannot be. */
  left() {
    this.isShown = false;
    clearTimeout(this.timer);
  }

  arrived() {
    this.isShown = true;
    if (this.isPlaying) this.#wait();
  }

  #wait() {
    const mine = this.running;
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      const more = await this.next().catch(() => false);
      if (this.running !== mine) return;
      if (more) this.step();
      else {
        this.pause();
        this.onend?.();
      }
    }, 1000 * Number(this.seconds.value));
  }

  #draw() {
    const text = this.isPlaying ? "Pause the slideshow" : "Slideshow";
    this.button.replaceChildren(icon(this.isPlaying ? "pause" : "play"));
    this.button.setAttribute("aria-label", text);
    this.button.title = `${text} (S)`;
  }
}
