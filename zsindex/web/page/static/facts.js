// When and with what a photo was taken, and what was written about it.

import { ask } from "./api.js";
import { h, number } from "./dom.js";

// Whether the service says where photos were taken.
const PLACES = "places" in document.documentElement.dataset ? "?place=true" : "";

/** Facts of the file at a path, else of the first file that shows the photo; null where there are none. */
export async function factsOf(id, path, signal) {
  const { files } = await ask(`/v1/images/${id}/facts${PLACES}`, { signal });
  return files.find((file) => file.path === path) ?? files[0] ?? null;
}

const when = new Intl.DateTimeFormat("en", { dateStyle: "long", timeStyle: "short", timeZone: "UTC" });
const SOURCES = { name: "from its name", file: "of the file" };

function time({ at, source }) {
  const read = new Date(`${at.slice(0, 19)}Z`);  // the clock there, wherever that was
  return (Number.isNaN(read.getTime()) ? at : when.format(read)) + (SOURCES[source] ? `, ${SOURCES[source]}` : "");
}

const exposure = (seconds) => (seconds >= 0.4 ? `${number(Math.round(10 * seconds) / 10)} s` : `1/${number(Math.round(1 / seconds))} s`);

function place({ latitude, longitude, altitude_m: altitude }) {
  const height = altitude === null ? "" : `, ${number(Math.round(altitude))} m`;
  return `${Math.abs(latitude).toFixed(4)}° ${latitude < 0 ? "S" : "N"}, ${Math.abs(longitude).toFixed(4)}° ${longitude < 0 ? "W" : "E"}${height}`;
}

/** Names and texts, without those that are not known. */
export function rowsOf(facts) {
  if (!facts) return [];
  const camera = facts.camera && facts.make && !facts.camera.toLowerCase().startsWith(facts.make.toLowerCase().split(" ")[0])
    ? `${facts.make} ${facts.camera}` : facts.camera ?? facts.make;
  const how = [facts.focal_length_mm && `${number(facts.focal_length_mm)} mm`, facts.aperture && `f/${number(facts.aperture)}`,
    facts.exposure_s && exposure(facts.exposure_s), facts.iso && `ISO ${facts.iso}`].filter(Boolean).join(" · ");
  const rating = !facts.rating ? null : facts.rating < 0 ? "Rejected" : `${facts.rating} of 5`;
  return [["Taken", facts.taken && time(facts.taken)], ["Camera", camera], ["Lens", facts.lens], ["Exposure", how],
    ["Rating", rating], ["Keywords", facts.keywords.join(", ")], ["Caption", facts.caption],
    ["Place", facts.place && place(facts.place)]].filter(([, text]) => text);
}

/** A section of them; null where nothing is known. */
export function factsSection(facts) {
  const rows = rowsOf(facts);
  if (!rows.length) return null;
  return h("section", { class: "photo-facts" }, h("h3", {}, "Facts"),
    h("dl", { class: "facts" }, ...rows.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)])));
}
