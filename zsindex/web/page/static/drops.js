// Dropped photos, kept by this browser so that going back and reloading find them. They are never stored by
// the service.

const KEPT = 20;

function open() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("zsindex", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("drops", { autoIncrement: true });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

/** Keep a photo; returns its number. */
export async function keep(file) {
  const store = (await open()).transaction("drops", "readwrite").objectStore("drops");
  const key = await done(store.add(file));
  await done(store.delete(IDBKeyRange.upperBound(key - KEPT)));
  return key;
}

/** A photo by its number; undefined if it is gone. */
export async function get(key) {
  return done((await open()).transaction("drops").objectStore("drops").get(key));
}
