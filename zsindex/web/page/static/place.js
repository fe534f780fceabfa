// Where a photo stands in a list of which only parts are loaded.

const NEAR = 100;
const AS_OLD = 500;

/**
 * The number of a photo in a source: `at`, where it stood before, or near there, or among the first ones. Where the list
 * is sorted, `ordered(id)` resolves to a comparison that says of any photo whether it comes before (-1) or after (1) the
 * one that is looked for, or may be it (0). Null where it is not found.
 */
export async function placeIn(source, id, at, ordered = null) {
  const is = (i) => source.item(i)?.image_id === id;
  const among = async (first, last) => {
    last = Math.min(last, source.length - 1);
    if (last < first) return null;
    await source.load(first, last);
    for (let i = first; i <= last; i += 1) if (is(i)) return i;
    return null;
  };
  if (at !== null) {
    for (let before = -1; at >= source.length && source.length > before;) {  // a list that grows as one goes on
      before = source.length;
      await source.near?.(before);
    }
    if (at < source.length) await source.load(at, at);
    if (is(at)) return at;
  }
  const found = await among(Math.max(0, (at ?? 0) - NEAR), (at ?? 0) + NEAR);
  if (found !== null || ordered === null) return found;
  const compare = await ordered(id);
  let low = 0;
  let high = source.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    await source.load(middle, middle);
    if (compare(source.item(middle)) < 0) low = middle + 1; else high = middle;
  }
  return among(low, low + AS_OLD);
}

/** The photo at a number of a list, when it has come; null past its ends. `onwait()` is called where it takes a while. */
export async function reach(source, i, { signal, onwait } = {}) {
  if (i < 0) return null;
  if (i >= source.length) await source.near?.(i);
  if (i >= source.length || signal?.aborted) return null;
  if (!source.item(i)) {
    onwait?.();
    await source.load(i, i, signal);
  }
  return source.item(i) ?? null;
}
