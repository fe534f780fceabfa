// The least score: a slider and a number, over bars that show how many photos have which score.

import { byId, percent, s } from "./dom.js";

const HEIGHT = 24;

export class Threshold {
  /** `onlevel(level, settled)` is called with the number of the level that somebody chooses; `settled` when they let go. */
  constructor({ onlevel }) {
    Object.assign(this, { slider: byId("min"), exact: byId("min-number"), histogram: byId("histogram") });
    // What the bars are of, and up to which of them they are below the level.
    this.drawn = {};
    const set = (level, settled) => this.drawn.answer && onlevel(level, settled);
    this.slider.addEventListener("input", () => set(Number(this.slider.value), false));
    this.slider.addEventListener("change", () => set(Number(this.slider.value), true));
    this.exact.addEventListener("change", () => this.drawn.answer && set(this.drawn.answer.levelOf(Math.max(0, Math.min(1, Number(this.exact.value) || 0))), true));
  }

  /** Show the level of an answer, and the scores of a group. */
  draw(answer, level, chosen) {
    const { slider, exact } = this;
    slider.max = String(answer.levels.length - 1);
    slider.value = String(level);
    if (document.activeElement !== exact) exact.value = String(answer.levels[level]);
    slider.setAttribute("aria-valuetext", `at least ${percent(answer.levels[level])}`);
    if (this.drawn.answer !== answer || this.drawn.group !== chosen.answer) this.#bars(answer, chosen);
    const from = Math.min(level, this.drawn.level);
    for (let n = from; n < Math.max(level, this.drawn.level); n += 1) this.histogram.children[n].classList.toggle("below", n < level);
    this.drawn.level = level;
  }

  #bars(answer, chosen) {
    this.drawn = { answer, group: chosen.answer, level: 0 };
    // Scores of the group in view; of all photos if that is "none of these".
    const groups = chosen.answer === -1 ? answer.groups.filter((_, n) => n !== answer.none) : [answer.groups[chosen.answer]];
    const counts = answer.levels.map((_, n) => groups.reduce((sum, group) => sum + (group.at_least[n] ?? 0) - (group.at_least[n + 1] ?? 0), 0));
    const most = Math.sqrt(Math.max(1, ...counts));
    const width = 100 / counts.length;
    this.histogram.replaceChildren(...counts.map((count, n) => {
      const height = count ? Math.max(1.5, (HEIGHT * Math.sqrt(count)) / most) : 0;
      return s("rect", { x: n * width, y: HEIGHT - height, width: width * 0.8, height });
    }));
  }
}
