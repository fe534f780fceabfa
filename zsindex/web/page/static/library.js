// The library: what it holds, syncing it, and what is wrong or double in it.

import { Adding } from "./adding.js";
import { Problem, ask, library, mayWrite, root } from "./api.js";
import { byId, bytes, fileName, h, number, photos, showState, toast } from "./dom.js";
import { NearDuplicates } from "./duplicates.js";
import { ENDED, watch } from "./jobs.js";
import { Pace } from "./pace.js";
import { forget, picture } from "./pictures.js";
import { onChange, onWork } from "./service.js";

const PAGE = 50;
let running = null;

// --- what it holds ---------------------------------------------------------------------------------------------------

function facts(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, ...value]) => [h("dt", {}, name), h("dd", {}, ...value)]));
}

async function drawStatus(again = false) {
  const found = await library({ again });
  const skipped = Object.values(found.skipped).reduce((sum, n) => sum + n, 0);
  facts(byId("status"), [
    ["Photos", number(found.files)],
    ["Distinct photos", number(found.images)],
    ["Skipped", number(skipped)],
    ...(found.missing ? [["Vanished", number(found.missing)]] : []),
    ["Folders", ...(found.roots.length ? found.roots.flatMap((path, n) => (n ? [h("br"), path] : [path])) : ["none yet"])],
    ["Label sets", ...(found.label_sets.length ? found.label_sets.flatMap((set, n) => {
      const name = typeof set === "string" ? set : set.name;
      return [n ? ", " : "", h("a", { href: `${root}/lab?set=${encodeURIComponent(name)}` }, name)];
    }) : ["none saved"])],
    ["On disk", bytes(found.database_bytes + found.index_bytes)],
    ["Version", found.versions.zsindex],
  ]);
  const models = h("table", {}, h("thead", {}, h("tr", {}, ...["Model", "Photos", "Prompts", "Size"].map((text, n) => h("th", { scope: "col", class: n ? "n" : "" }, text)))),
    h("tbody", {}, ...found.models.map((model) => h("tr", {}, h("th", { scope: "row" }, String(model.name), model.default ? h("span", { class: "mark-small" }, "in use") : null),
      h("td", { class: "n" }, number(model.images)), h("td", { class: "n" }, number(model.prompts)), h("td", { class: "n" }, bytes(model.bytes))))));
  byId("models").replaceChildren(found.models.length ? h("div", { class: "table" }, models)
    : h("p", { class: "quiet" }, "None yet. The first sync uses the model that the service was started with."));
}

// --- lists that are fetched a page at a time -------------------------------------------------------------------------

function paged(host, path, { key, unit, empty, head, row }) {
  const body = h("tbody");
  const more = h("button", { type: "button", onclick: () => load() }, "Show more");
  const count = h("p", { class: "quiet", role: "status" });
  let offset = 0;
  const load = async () => {
    more.disabled = true;
    try {
      const found = await ask(`${path}?start=${offset}&limit=${PAGE}`);
      const rows = found[key];
      offset += rows.length;
      if (!found.total) {
        host.replaceChildren(h("p", { class: "quiet" }, empty));
        return;
      }
      if (!body.isConnected) {
        host.replaceChildren(count, h("div", { class: "table" }, h("table", {},
          h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))), body)), more);
      }
      body.append(...rows.map(row));
      count.textContent = `${offset < found.total ? `${number(offset)} of ` : ""}${number(found.total)} ${unit}${found.total === 1 ? "" : "s"}`;
      more.hidden = offset >= found.total;
    } catch (error) {
      host.replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message), h("button", { type: "button", onclick: load }, "Try again"));
    } finally { more.disabled = false; }
  };
  host.replaceChildren(h("p", { class: "quiet" }, "Looking…"));
  return load();
}

const drawSkipped = () => paged(byId("skipped"), "/v1/skipped", {
  key: "skipped", unit: "file", empty: "None: every photo could be read.", head: ["File", "Why"],
  row: (one) => h("tr", {}, h("th", { scope: "row", title: one.path }, fileName(one.path), h("span", { class: "under" }, one.path)),
    h("td", {}, h("span", { class: "reason" }, one.reason.replaceAll("_", " ").replaceAll("-", " ")), h("span", { class: "under" }, one.detail))),
});

const drawCopies = () => paged(byId("copies"), "/v1/copies", {
  key: "copies", unit: "photo", empty: "None: no two files have the same bytes.", head: ["Photo", "Files with the same bytes"],
  row: (one) => h("tr", {}, h("td", { class: "thumb" }, picture({ image_id: one.image_id, path: one.paths[0] }, 128, { alt: fileName(one.paths[0]), small: true })),
    h("td", {}, ...one.paths.flatMap((path, n) => (n ? [h("br"), path] : [path])))),
});

byId("find-near").addEventListener("click", () => new NearDuplicates(byId("near"), { writes: () => writes }).look());

// --- syncing ---------------------------------------------------------------------------------------------------------

const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function said(job) {
  const { report } = job;
  const parts = report ? [
    `${photos(report.scanned)} found`,
    report.encoded && `${number(report.encoded)} encoded`,
    report.added && `${number(report.added)} new`, report.changed && `${number(report.changed)} changed`, report.moved && `${number(report.moved)} moved`,
    report.missing && `${number(report.missing)} vanished`, report.skipped && `${number(report.skipped)} skipped`,
  ].filter(Boolean) : [];
  return { done: "Done", failed: "Failed", cancelled: "Stopped", queued: "Waiting", waiting: "Waiting for another sync", running: "Running", interrupted: "Interrupted; it will continue" }[job.state]
    + (job.problem ? `: ${job.problem.detail}` : parts.length ? `: ${parts.join(", ")}.` : ".");
}

function drawJob(job) {
  const goesOn = !ENDED.includes(job.state);
  byId("sync").hidden = goesOn || !writes;
  byId("cancel").hidden = !goesOn || !writes;
  const bar = byId("progress");
  bar.hidden = !goesOn;
  const far = pace.of(job);
  const text = job.state === "running" && job.progress ? far.text : said(job);
  if (goesOn && far.total) Object.assign(bar, { max: far.total, value: far.done });
  else bar.removeAttribute("value");
  byId("job").classList.toggle("wrong", job.state === "failed");
  if (byId("job").textContent !== text) byId("job").textContent = text;
}

function follow(job) {
  if (running === job.id) return;
  running = job.id;
  drawJob(job);
  watch(job.id, (news) => {
    drawJob(news);
    if (!ENDED.includes(news.state)) return;
    running = null;
    drawAll();
  });
}

/** A sync of another program, the command line say, and how far it is. */
function drawElsewhere(work) {
  const line = byId("elsewhere");
  line.hidden = !work?.who;
  const said = work?.who ? `Another program is at it: ${work.who}. ${pace.of(work).text}.` : "";
  if (line.textContent !== said) line.textContent = said;
}

/** Draw what a sync may have changed. */
async function drawAll() {
  forget();  // photos may be back
  drawStatus(true);
  drawSkipped();
  drawCopies();
  await drawWork();
}

async function drawWork() {
  const live = (await drawJobs()).find((job) => !ENDED.includes(job.state));
  if (live && !adding.busy) follow(live);
}

const pace = new Pace();
const adding = new Adding(byId("adding"), { ondone: () => drawAll() });

byId("add").addEventListener("toggle", () => { if (byId("add").open && !adding.busy) adding.begin(); });

async function drawJobs() {
  const found = (await ask("/v1/jobs")).filter((job) => job.kind === "sync");
  byId("jobs").replaceChildren(found.length ? h("ul", { class: "history" }, ...found.slice(0, 10).map((job) => h("li", {},
    h("span", { class: "quiet" }, times.format(new Date(job.history[0].at))), " ", said(job)))) : h("p", { class: "quiet" }, "None from this service."));
  return found;
}

byId("sync").addEventListener("click", async () => {
  byId("sync").disabled = true;
  try {
    follow(await ask("/v1/sync", { body: { retry_skipped: byId("retry").checked } }));
  } catch (error) {
    byId("job").textContent = error instanceof Problem && error.kind === "no-folders"
      ? "No folder has been synced yet. Add one below." : error.message;
  } finally { byId("sync").disabled = false; }
});

byId("cancel").addEventListener("click", async () => {
  byId("cancel").disabled = true;
  try { await ask(`/v1/jobs/${running}/cancel`, { method: "POST" }); } catch (error) { toast(error.message); } finally { byId("cancel").disabled = false; }
});

// --- beginning -------------------------------------------------------------------------------------------------------

let writes = false;

async function begin() {
  try {
    [writes] = await Promise.all([mayWrite(), library()]);
    byId("sync").hidden = !writes;
    document.querySelector(".check").hidden = !writes;
    byId("add").hidden = !writes;
    if (!writes) byId("job").textContent = "Read-only: syncing needs a token with the right to write.";
    await drawStatus();
    drawSkipped();
    drawCopies();
    if (writes && !(await library()).roots.length) byId("add").open = true;
    await drawWork();
    // The lists below stay as they are until a sync has ended: somebody may be reading there.
    onChange(() => { drawStatus(true); drawWork(); }, { byItself: () => true });
    onWork(drawElsewhere);
  } catch (error) {
    const box = h("div");
    byId("main").prepend(box);
    showState(box, { title: "No answer", text: error.message, kind: "error", action: { text: "Try again", run: () => location.reload() } });
  }
}

begin();
