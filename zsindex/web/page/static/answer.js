// An answer of the service, kept there under its key; parts of it are fetched as they come into view.

import { ask } from "./api.js";

const PAGE = 100;
// What the service gives at once.
const MOST = 1000;

export const NONE = "(none of these)";

/** Photos in pages, by number, from any endpoint that takes `start` and `limit` and says a `total`. */
export class Pages {
  constructor(path, onerror) {
    this.path = path;
    this.onerror = onerror;
    this.pages = new Map();
  }

  item(i) {
    return this.pages.get(Math.floor(i / PAGE))?.[i % PAGE];
  }

  async load(first, last, signal) {
    const wanted = [];
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page += 1) {
      if (!this.pages.has(page)) wanted.push(page);
    }
    await Promise.all(wanted.map(async (page) => {
      const separator = this.path.includes("?") ? "&" : "?";
      const found = await ask(`${this.path}${separator}start=${page * PAGE}&limit=${PAGE}`, { signal });
      this.pages.set(page, found.photos ?? found.images);
      this.total ??= found.total;
    }));
  }

  /** The ids of photos from one number to another, in parts. Of those that are not here nothing else is kept. */
  async *ids(first, last, signal) {
    for (let i = first; i <= last;) {
      const known = [];
      while (i <= last && known.length < MOST && this.item(i)) known.push(this.item(i++).image_id);
      if (known.length) yield known;
      if (i > last || this.item(i)) continue;
      const limit = Math.min(MOST, last - i + 1);
      const found = await ask(`${this.path}${this.path.includes("?") ? "&" : "?"}start=${i}&limit=${limit}`, { signal });
      const items = found.photos ?? found.images;
      // What was selected by number would be other photos now.
      if (items.length < limit || found.total !== (this.total ??= found.total)) throw new Error("The library has changed since. Select these photos again.");
      yield items.map((item) => item.image_id);
      i += limit;
    }
  }
}

/** The library, grouped by an answer. */
export class Grouped {
  constructor(document) {
    Object.assign(this, document);
    this.labels = document.groups.map((group) => group.label);
    this.parts = new Map();
  }

  pages(answer) {
    const query = answer === null ? "" : `?answer=${answer}`;
    if (!this.parts.has(answer)) this.parts.set(answer, new Pages(`/v1/groups/${this.key}/photos${query}`));
    return this.parts.get(answer);
  }

  /** How many photos of an answer have at least the score of a level. */
  count(answer, level) {
    const group = this.groups[answer];
    return level === 0 || !group.count ? group.count : group.at_least[level];
  }

  /** Groups with their counts at a level: the answers in their order, and last what is none of them. */
  counts(level) {
    const found = this.groups
      .map((group, answer) => ({ label: group.label, answer, count: this.count(answer, level) }))
      .filter((group) => group.answer !== this.none);
    const above = found.reduce((sum, group) => sum + group.count, 0);
    const none = this.total - above;
    if (none || this.none !== null) found.push({ label: NONE, answer: -1, count: none });
    return found;
  }

  /** The photos of a group at a level, the surest first; -1 is none of these. */
  source(answer, level) {
    // The surest come first, whatever the level: numbers mean the same photos.
    if (answer !== -1) return new Parts([[this.pages(answer), 0, this.count(answer, level)]], `${this.key}/${answer}`);
    const own = this.none === null ? 0 : this.groups[this.none].count;
    const labelled = this.total - own;
    const above = this.groups.reduce((sum, _, n) => (n === this.none ? sum : sum + this.count(n, level)), 0);
    const parts = own ? [[this.pages(this.none), 0, own]] : [];
    if (labelled > above) parts.push([this.pages(null), above, labelled - above]);
    return new Parts(parts, `${this.key}/none/${level}`);
  }

  /** Where the first of some photos stands that a group has at a level; null where it has none of them. */
  async placeOf(ids, answer, level) {
    if (!ids.length) return null;
    const query = ids.slice(0, PAGE).map((id) => `image_id=${id}`).join("&");
    const { places } = await ask(`/v1/groups/${this.key}/places?${query}`);
    const own = this.none === null ? 0 : this.groups[this.none].count;
    const above = this.groups.reduce((sum, _, n) => (n === this.none ? sum : sum + this.count(n, level)), 0);
    for (const one of places) {
      if (answer !== -1) {
        if (one.answer === answer && one.place < this.count(answer, level)) return one.place;
      } else if (one.answer === this.none) return one.place;
      else if (one.place_of_all >= above) return own + one.place_of_all - above;
    }
    return null;
  }

  /** The level whose score is nearest to a number. */
  levelOf(score) {
    let best = 0;
    this.levels.forEach((level, n) => {
      if (Math.abs(level - score) < Math.abs(this.levels[best] - score)) best = n;
    });
    return best;
  }
}

/** Stretches of pages, one after the other: [pages, offset, length]. */
class Parts {
  constructor(parts, list) {
    this.parts = parts;
    this.list = list;
    this.length = parts.reduce((sum, [, , length]) => sum + length, 0);
  }

  item(i) {
    for (const [pages, offset, length] of this.parts) {
      if (i < length) return pages.item(offset + i);
      i -= length;
    }
    return undefined;
  }

  async load(first, last, signal) {
    let before = 0;
    const loads = [];
    for (const [pages, offset, length] of this.parts) {
      const from = Math.max(0, first - before);
      const to = Math.min(length - 1, last - before);
      if (from <= to) loads.push(pages.load(offset + from, offset + to, signal));
      before += length;
    }
    await Promise.all(loads);
  }

  async *ids(first, last, signal) {
    let before = 0;
    for (const [pages, offset, length] of this.parts) {
      const from = Math.max(0, first - before);
      const to = Math.min(length - 1, last - before);
      if (from <= to) yield* pages.ids(offset + from, offset + to, signal);
      before += length;
    }
  }
}
