// How often the answers of a saved label set are right, what they are confused with, and what a threshold costs.

import { NONE } from "./answer.js";
import { ask, latest, library, mayWrite, root } from "./api.js";
import { Comparing } from "./comparing.js";
import { Corrections } from "./corrections.js";
import { byId, debounced, fileName, h, number, percent, photos, s, showState, toast } from "./dom.js";
import { Grid } from "./grid.js";
import { offerKeys } from "./help.js";
import { PhotoDialog } from "./photo.js";
import { readTruth } from "./truth.js";
import { OpenPhoto, onTravel, params, write } from "./url.js";

const PAGE = 100;
// With more labels a matrix has cells too small to read, and is mostly empty.
const MOST_IN_MATRIX = 24;
const AT_FIRST = 100;
// Fewer photos say little of a label.
const FEW = 10;
const ABOUT = {
  corrections: "Corrections are seldom drawn by chance: people correct what is wrong. Then answers to other photos are right more often than this says.",
  folders: "A photo shows what its folder is called.",
  keywords: "Only photos with keywords that the set has are compared. Keywords seldom name everything that a photo shows.",
  csv: "",
};

const corrections = new Corrections();
const view = { set: "", truth: "corrections", learn: false, others: false, names: [], cell: null, label: null, differing: null };
const open = new OpenPhoto(writeUrl);
let table = null;  // the truth that came as a file
let found = null;
let report = null;
let source = null;  // the photos of a cell
let curve = null;  // of a label: what the service says, and the threshold that is kept
let sets = [];
let may = false;
let stale = false;

function readUrl(query) {
  view.set = query.get("set") ?? "";
  view.truth = query.get("truth") ?? "corrections";
  view.learn = query.has("learn");
  view.others = query.has("others");
  view.names = query.getAll("name");
  view.cell = ["shows", "answered", "wrong"].some((name) => query.has(name))
    ? { shows: query.get("shows"), answered: query.get("answered"), wrong: query.has("wrong") } : null;
  view.label = query.get("label");
  view.differing = query.has("report") ? { report: Number(query.get("report")), right: query.get("right") === "first" ? "first" : "other" } : null;
  comparing.read(query);
  open.read(query);
  byId("label-set").value = view.set;
  byId("truth").value = view.truth;
  byId("learn").checked = view.learn;
  byId("others").checked = view.others;
  byId("names").value = view.names.join("\n");
  if (view.names.length) byId("renamed").open = true;
}

function writeUrl(push = false, state = null) {
  const query = new URLSearchParams();
  if (view.set) query.set("set", view.set);
  if (view.truth !== "corrections") query.set("truth", view.truth);
  if (view.learn) query.set("learn", "1");
  if (view.others) query.set("others", "1");
  view.names.forEach((line) => query.append("name", line));
  if (view.cell?.shows != null) query.set("shows", view.cell.shows);
  if (view.cell?.answered != null) query.set("answered", view.cell.answered);
  if (view.cell?.wrong) query.set("wrong", "1");
  if (view.label !== null) query.set("label", view.label);
  comparing.add(query);
  if (view.differing) {
    query.set("report", String(view.differing.report));
    query.set("right", view.differing.right);
  }
  open.add(query);
  write(query, { push, state });
}

/** What is asked of every photo. */
const question = () => ({ label_set: view.set, ...(view.learn ? { with_corrections: "logistic" } : {}) });

/** The same with the truth; null where there is none yet. */
function asked() {
  const truth = view.truth === "csv" ? table : view.truth;
  if (!view.set || !truth) return null;
  const names = {};
  for (const line of view.names) {
    const [name, label] = line.split("=").map((one) => one.trim());
    if (name && label) (names[name] ??= []).push(label);
  }
  return { ...question(), truth, ...(view.others ? { others_are_none: true } : {}), ...(Object.keys(names).length ? { names } : {}) };
}

/** The same with what is compared. */
function askedOfAll() {
  const body = asked();
  return body && { ...body, ...comparing.body(view.set) };
}

const evaluate = latest(async (signal) => {
  byId("wrong").textContent = "";
  byId("file-field").hidden = view.truth !== "csv";
  const body = askedOfAll();
  found = report = curve = null;
  if (!body) {
    byId("found").hidden = true;
    showState(byId("state"), view.set ? { title: "Choose the table", text: "It stays in this browser; what it says is sent to the service, and not kept." }
      : byId("label-set").options.length > 1 ? { title: "Which label set?", text: "Choose a saved label set, and where it is known what photos show." }
        : { title: "No label set is saved yet", text: "Save the words in the lab under a name: then they can be corrected, and measured.", action: { text: "Go to the lab", run: () => { location.href = `${root}/lab`; } } });
    return;
  }
  const slow = setTimeout(() => showState(byId("state"), { title: "Comparing answers with what photos show", busy: true }), 400);
  try {
    const [answer] = await Promise.all([ask("/v1/eval", { body: { ...body, limit: 0 }, signal }), corrections.of(view.set)]);
    clearTimeout(slow);
    found = answer;
    [report] = found.reports;
    showState(byId("state"));
    byId("found").hidden = false;
    draw();
    await Promise.all([drawCurve(), drawPhotos()]);
  } catch (error) {
    if (signal.aborted) return;
    byId("found").hidden = true;
    if (error.kind === "truth") showState(byId("state"), { title: "There is nothing to compare with yet", text: error.message, ...(view.truth === "corrections" ? { action: { text: "Correct photos in the lab", run: () => { location.href = `${root}/lab?${new URLSearchParams({ set: view.set })}`; } } } : {}) });
    else showState(byId("state"), { title: "This cannot be evaluated", text: error.message, kind: "error", action: { text: "Try again", run: () => evaluate() } });
  } finally { clearTimeout(slow); }
});

const between = ({ low, high }) => (low === null ? "" : `${percent(low)} to ${percent(high)}`);
const share = (part, whole) => (whole ? percent(part / whole) : "–");

// --- the numbers -----------------------------------------------------------------------------------------------------

function draw() {
  const { top1 } = report.summary;
  byId("sum").replaceChildren(h("strong", {}, percent(top1.value)), ` of ${photos(report.photos)}`,
    top1.low === null || found.learnt_from.total ? "" : h("span", { class: "quiet" }, ` · ${between(top1)} with 95 % confidence, for photos like these`));
  byId("learnt").hidden = !found.learnt_from.total;
  byId("learnt").textContent = `The answers have learnt from ${photos(found.learnt_from.total)} of these, and are as was said of them. So these numbers flatter: they say little of other photos.`;
  const left = [
    found.left_out.total ? `${photos(found.left_out.total)} have other names only` : null,
    found.not_held.total ? `${photos(found.not_held.total)} of the truth are not in this library` : null,
    found.unanswered.total ? `${photos(found.unanswered.total)} need a sync` : null,
    found.without_truth.total ? `what ${photos(found.without_truth.total)} show is not known` : null,
  ].filter(Boolean);
  byId("basis").textContent = [ABOUT[view.truth], left.length ? `Not compared: ${left.join("; ")}.` : ""].filter(Boolean).join(" ");
  const unknown = Object.entries(found.unknown_labels);
  byId("unknown").replaceChildren(...(unknown.length ? [h("details", { class: "more" }, h("summary", {}, `Names that the set does not have (${number(unknown.length)})`),
    h("ul", { class: "names" }, ...unknown.slice(0, AT_FIRST).map(([name, n]) => h("li", {}, `${name} `, h("span", { class: "quiet" }, photos(n)), " ",
      h("button", { type: "button", class: "plain", onclick: () => rename(name) }, "It is…")))))] : []));
  const several = found.reports.length > 1;
  for (const id of ["confused-card", "labels-card", "scores-card"]) byId(id).hidden = several;
  for (const id of ["compared-card", "compared-labels-card"]) byId(id).hidden = !several;
  if (several) {
    comparing.draw(found.reports, view.set, view.differing);
    return;
  }
  drawConfused();
  drawLabels();
  drawReliability();
}

function rename(name) {
  byId("renamed").open = true;
  const box = byId("names");
  box.value = `${box.value.trim() ? `${box.value.trim()}\n` : ""}${name} = `;
  box.focus();
  box.scrollIntoView({ block: "center" });
}

const named = () => {
  const text = byId("filter").value.trim().toLowerCase();
  return (label) => label.toLowerCase().includes(text);
};

function cellButton(cell, text, label, props = {}) {
  const isOn = view.cell && !view.cell.wrong && view.cell.shows === cell.truth && view.cell.answered === cell.answer;
  return h("button", { type: "button", "aria-label": label, "aria-current": isOn ? "true" : undefined, onclick: () => choose({ shows: cell.truth, answered: cell.answer, wrong: false }), ...props }, text);
}

const told = (cell) => `${photos(cell.photos)} of ${cell.truth} answered ${cell.answer}`;

function drawConfused() {
  const box = byId("confused");
  if (!report.confusions.length) {
    box.replaceChildren(h("p", { class: "quiet" }, "These photos show several things each, so that nothing is taken for one other thing. What is missed and what is wrong stands below, label by label."));
    return;
  }
  const order = new Map(report.labels.map((one, n) => [one.label, n]));
  const last = (name) => order.get(name) ?? order.size;
  const rows = [...new Set(report.confusions.map((cell) => cell.truth))].sort((a, b) => last(a) - last(b));
  // A label that is never answered has its column, too, so that what is right lies on the diagonal.
  const columns = [...new Set(report.confusions.flatMap((cell) => [cell.truth, cell.answer]))].sort((a, b) => last(a) - last(b));
  if (Math.max(rows.length, columns.length) > MOST_IN_MATRIX) drawPairs(box);
  else drawMatrix(box, rows, columns);
}

function drawMatrix(box, rows, columns) {
  const cells = new Map(report.confusions.map((cell) => [JSON.stringify([cell.truth, cell.answer]), cell]));
  const made = rows.map((truth) => {
    const shown = columns.map((answer) => cells.get(JSON.stringify([truth, answer])));
    const sum = shown.reduce((total, cell) => total + (cell?.photos ?? 0), 0);
    return h("tr", {}, h("th", { scope: "row" }, truth, h("span", { class: "quiet" }, ` ${number(sum)}`)), ...shown.map((cell, n) => {
      if (!cell) return h("td", {}, h("span", { class: "quiet", "aria-hidden": "true" }, "·"));
      const button = cellButton(cell, number(cell.photos), told(cell), { class: truth === columns[n] ? "cell-of right" : "cell-of", tabIndex: -1 });
      button.style.setProperty("--share", `${Math.round(38 * Math.sqrt(cell.photos / sum))}%`);
      return h("td", {}, button);
    }));
  });
  const grid = h("table", { class: "matrix" }, h("caption", { class: "quiet" }, "Rows: what photos show. Columns: how they are answered. A number opens its photos."),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "hidden" }, "Shows")), ...columns.map((answer) => h("th", { scope: "col" }, h("span", { class: "upright" }, answer))))), h("tbody", {}, ...made));
  // One stop for Tab; arrows go from number to number.
  const buttons = () => [...grid.querySelectorAll("button")];
  (grid.querySelector('[aria-current="true"]') ?? buttons()[0]).tabIndex = 0;
  grid.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const cell = event.target.closest("td");
    if (!(event.key in steps) || !cell) return;
    event.preventDefault();
    const [down, right] = steps[event.key];
    let [row, column] = [cell.parentElement.rowIndex, cell.cellIndex];
    let to;
    do { row += down; column += right; to = grid.rows[row]?.cells[column]; } while (to && !to.querySelector("button"));
    const next = to?.querySelector("td > button");
    if (!next) return;
    for (const button of buttons()) button.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  box.replaceChildren(h("div", { class: "table wide-table" }, grid));
}

function drawPairs(box, most = AT_FIRST) {
  const fits = named();
  const pairs = report.confusions.filter((cell) => cell.truth !== cell.answer && (fits(cell.truth) || fits(cell.answer)));
  const of = new Map(report.labels.map((one) => [one.label, one.photos]));
  box.replaceChildren(
    h("p", { class: "quiet" }, pairs.length ? `Too many labels for a matrix: ${number(pairs.length)} pairs, those that are confused most come first.` : "Nothing is confused."),
    h("ol", { class: "pairs", "aria-label": "What is confused most" }, ...pairs.slice(0, most).map((cell) => h("li", {}, cellButton(cell, [
      h("span", {}, cell.truth), h("span", { class: "arrow", "aria-hidden": "true" }, "→"), h("span", {}, cell.answer), h("span", { class: "n" }, number(cell.photos)),
      h("span", { class: "n quiet" }, share(cell.photos, of.get(cell.truth)))].flat(), told(cell), { class: "pair-of" })))),
    ...(pairs.length > most ? [h("button", { type: "button", onclick: () => drawPairs(box, most * 5) }, "Show more")] : []));
  if (report.n_confusions > report.confusions.length) box.append(h("p", { class: "quiet" }, `Only the fullest ${number(report.confusions.length)} of ${number(report.n_confusions)} pairs are here.`));
}

const ORDERS = {
  set: () => 0,
  recall: (a, b) => (a.recall.value ?? 2) - (b.recall.value ?? 2),
  precision: (a, b) => (a.precision.value ?? 2) - (b.precision.value ?? 2),
  photos: (a, b) => b.photos - a.photos,
};

function interval(one) {
  if (one.value === null) return h("td", { class: "n quiet" }, "–");
  const picture = s("svg", { class: "interval", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  if (one.low !== null) picture.append(s("rect", { x: 100 * one.low, y: 3, width: Math.max(1, 100 * (one.high - one.low)), height: 4, class: "range-of" }));
  picture.append(s("rect", { x: Math.min(98, 100 * one.value), y: 0, width: 2, height: 10 }));
  return h("td", { class: "n" }, percent(one.value), h("span", { class: "under" }, one.low === null ? "" : `(${between(one)})`), picture);
}

function drawLabels(most = AT_FIRST) {
  const labels = report.labels.filter((one) => named()(one.label)).sort(ORDERS[byId("order").value]);
  const several = report.labels.some((one) => one.average_precision);
  const open = (count, cell, label) => (count ? h("button", { type: "button", class: "plain", "aria-label": label, onclick: () => choose(cell) }, number(count)) : "0");
  byId("labels").replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Label"), ...["Photos", "Missed", "Wrongly", "Precision", "Recall", ...(several ? ["Average precision"] : [])].map((text) => h("th", { scope: "col", class: "n" }, text)))),
    h("tbody", {}, ...labels.slice(0, most).map((one) => h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", class: "plain", "aria-label": `Precision and recall of ${one.label}`, "aria-current": view.label === one.label ? "true" : undefined, onclick: () => pick(one.label) }, one.label),
        one.photos < FEW ? h("span", { class: "under" }, "few photos") : null),
      h("td", { class: "n" }, number(one.photos)),
      h("td", { class: "n" }, open(one.photos - one.right, { shows: one.label, answered: null, wrong: true }, `${photos(one.photos - one.right)} of ${one.label} answered otherwise`)),
      h("td", { class: "n" }, open(one.answered - one.right, { shows: null, answered: one.label, wrong: true }, `${photos(one.answered - one.right)} wrongly answered ${one.label}`)),
      interval(one.precision), interval(one.recall), ...(several ? [one.average_precision ? interval(one.average_precision) : h("td", {}, "")] : []))))));
  if (labels.length > most) byId("labels").append(h("button", { type: "button", onclick: () => drawLabels(most * 5) }, "Show more"));
}

// --- a threshold -----------------------------------------------------------------------------------------------------

/** The points that say something, from no minimum at all to the highest score. */
const pointsOf = ({ points }) => [...points].reverse();
const shownScore = (score) => (score >= 0.01 ? score.toFixed(3) : score.toPrecision(2));

async function drawCurve() {
  const card = byId("curve-card");
  const known = view.label !== null && found?.reports.length === 1 && report?.labels.some((one) => one.label === view.label);
  card.hidden = !known;
  curve = null;
  if (!known) return;
  const { label } = view;
  byId("curve-title").textContent = `What a threshold of “${label}” costs`;
  byId("plot").replaceChildren(h("span", { class: "spinner" }));
  const plain = !view.learn && label !== NONE;
  try {
    const [points, kept] = await Promise.all([ask("/v1/eval/curve", { body: { ...asked(), label } }),
      plain ? ask(`/v1/thresholds?label_set=${encodeURIComponent(view.set)}`).then(({ labels }) => labels.find((one) => one.label === label)?.threshold ?? null) : null]);
    if (view.label !== label || !report) return;
    curve = { ...points, points: pointsOf(points), kept, plain };
    const at = kept?.score ? curve.points.findIndex((one) => one.score >= kept.score) : kept && kept.score === null ? curve.points.length - 1 : 0;
    byId("cut").max = String(curve.points.length - 1);
    byId("cut").value = String(at < 0 ? curve.points.length - 1 : at);
    drawPlot();
    drawCut();
  } catch (error) {
    if (view.label === label) byId("plot").replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message));
  }
}

const line = (points) => points.map(([x, y], n) => `${n ? "L" : "M"}${(10 + 88 * x).toFixed(2)} ${(90 - 86 * y).toFixed(2)}`).join("");
const place = (point) => [point.answered_right / Math.max(1, curve.shown), point.answered ? point.answered_right / point.answered : 1];

/** Axes from 0 to 1 with their names. */
const axes = (across, up) => [
  ...[0, 0.5, 1].flatMap((n) => [s("line", { x1: 10, x2: 98, y1: 90 - 86 * n, y2: 90 - 86 * n, class: "rule" }), s("text", { x: 8.5, y: 91 - 86 * n, "text-anchor": "end" }, `${100 * n}`),
    s("text", { x: 10 + 88 * n, y: 94.5, "text-anchor": "middle" }, `${100 * n}`)]),
  s("text", { x: 54, y: 99, "text-anchor": "middle" }, across), s("text", { x: 2.6, y: 47, "text-anchor": "middle", transform: "rotate(-90 2.6 47)" }, up)];

function drawPlot() {
  const all = curve.points.filter((one) => one.photos).map((one) => [one.right / Math.max(1, curve.shown), one.right / one.photos]);
  const own = curve.points.filter((one) => one.answered).map(place);
  byId("plot").replaceChildren(s("svg", { viewBox: "0 0 102 100", role: "img", "aria-label": `Precision and recall of ${curve.label} at every minimum score` },
    ...axes("Recall, %", "Precision, %"), s("path", { d: line(all), class: "by-score" }), s("path", { d: line(own), class: "line-of" }), s("circle", { id: "at", r: 2.2, cx: 0, cy: 0 })),
  h("p", { class: "quiet" }, "Solid: photos whose best answer it is. Dashed: whatever their best answer, as where a photo may have several."));
}

function drawCut() {
  const n = Number(byId("cut").value);
  const point = curve.points[n];
  const whole = curve.points[0];
  const [x, y] = place(point);
  const mark = byId("at");
  mark.setAttribute("cx", 10 + 88 * x);
  mark.setAttribute("cy", 90 - 86 * y);
  byId("cut").setAttribute("aria-valuetext", n ? `score at least ${shownScore(point.score)}` : "no minimum");
  byId("cost").replaceChildren(h("strong", {}, n ? `From ${shownScore(point.score)} on` : "Without a minimum"),
    `: ${photos(point.answered)} answered so, ${number(point.answered_right)} rightly. Precision ${share(point.answered_right, point.answered)}, recall ${share(point.answered_right, curve.shown)}.`,
    n ? h("span", { class: "quiet" }, ` Without: ${share(whole.answered_right, whole.answered)} and ${share(whole.answered_right, curve.shown)}.`) : "");
  const writable = may && curve.plain;
  byId("keep-cut").hidden = !writable || !n;
  byId("drop-cut").hidden = !writable || !curve.kept;
  byId("kept").textContent = !curve.plain ? "Thresholds are of answers that have not learnt from corrections."
    : curve.kept ? `The set's threshold: ${curve.kept.score === null ? "no photo reaches it" : `from ${shownScore(curve.kept.score)} on`}, the best ${percent(curve.kept.rate)} of the library.` : "The set has no threshold for it. One is kept as a share of the library, so that it means the same with another model.";
  byId("effect").textContent = "";
  if (n && curve.plain) foresee();
  else foresee.cancel();
}

/** What the threshold would change in the whole library. */
const foresee = debounced(async () => {
  const { label, points } = curve ?? {};
  if (!label) return;
  const at = byId("cut").value;
  try {
    const change = await ask("/v1/thresholds", { body: { label_set: view.set, label, score: points[at].score, limit: 0 } });
    if (curve?.label === label && byId("cut").value === at) byId("effect").textContent = `In the whole library ${photos(change.after)} would have this answer; now it is ${number(change.before)}.`;
  } catch (error) { if (curve?.label === label) byId("effect").textContent = error.message; }
}, 250);

async function keepCut() {
  const { score } = curve.points[Number(byId("cut").value)];
  await keeping(ask("/v1/thresholds", { body: { label_set: view.set, label: curve.label, score, apply: true, limit: 0 } }), `Kept: “${curve.label}” from ${shownScore(score)} on.`);
}

async function dropCut() {
  const query = new URLSearchParams({ label_set: view.set, label: curve.label });
  await keeping(ask(`/v1/thresholds?${query}`, { method: "DELETE" }), "Removed.");
}

async function keeping(work, text) {
  try {
    await work;
    toast(text);
    await drawCurve();
  } catch (error) { toast(error.message); }
}

// --- scores ----------------------------------------------------------------------------------------------------------

function drawReliability() {
  const { ece } = report.summary;
  byId("calibration").textContent = ece ? `A score is off by ${percent(ece.value)} on average${ece.low === null ? "" : ` (${between(ece)})`}: by so much what it says differs from how often such answers are right. On the line it does not.` : "";
  byId("reliability").replaceChildren(s("svg", { viewBox: "0 0 102 100", role: "img", "aria-label": report.reliability.map((bin) => `score ${percent(bin.confidence)}: ${percent(bin.accuracy)} of ${photos(bin.photos)} right`).join("; ") },
    ...axes("Score, %", "Right, %"), s("path", { d: line([[0, 0], [1, 1]]), class: "by-score" }),
    ...report.reliability.map((bin) => s("circle", { cx: 10 + 88 * bin.confidence, cy: 90 - 86 * bin.accuracy, r: Math.max(0.9, 4 * Math.sqrt(bin.photos / report.photos)) }))));
}

// --- photos ----------------------------------------------------------------------------------------------------------

/** The photos of a cell, or those on which two ways differ, in pages. */
class Cell {
  constructor(path, body) {
    this.path = path;
    this.body = body;
    this.pages = new Map();
    this.length = 0;
  }

  item(i) { return this.pages.get(Math.floor(i / PAGE))?.[i % PAGE]; }

  async load(first, last, signal) {
    const wanted = [];
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page += 1) if (!this.pages.has(page)) wanted.push(page);
    await Promise.all(wanted.map(async (page) => {
      const some = await ask(this.path, { body: { ...this.body, start: page * PAGE, limit: PAGE }, signal });
      this.length = some.total;
      this.pages.set(page, some.photos);
    }));
  }
}

function titleOf() {
  if (view.differing) return `Only “${comparing.names(view.set)[view.differing.right === "other" ? view.differing.report : 0]}” is right`;
  const { shows, answered, wrong } = view.cell;
  if (shows !== null && answered !== null) return shows === answered ? `${shows}, answered so` : `${shows}, answered ${answered}`;
  if (shows !== null) return `${shows}, answered otherwise`;
  return wrong ? `Wrongly answered ${answered}` : `Answered ${answered}`;
}

const showPhotos = latest(async (signal) => {
  const source = view.differing ? new Cell("/v1/eval/differing", { ...askedOfAll(), ...view.differing }) : new Cell("/v1/eval/photos", { ...asked(), ...view.cell });
  await source.load(0, 0, signal);
  if (signal.aborted) return null;
  byId("photos-title").replaceChildren(titleOf(), h("span", { class: "quiet" }, ` ${photos(source.length)}`));
  byId("grid").hidden = !source.length;
  if (source.length) grid.show(source, { label: titleOf(), top: false });
  return source;
});

async function drawPhotos() {
  // In a comparison only the photos on which two ways differ, else only cells.
  if (found.reports.length > 1) view.cell = null;
  else view.differing = null;
  byId("photos-card").hidden = !opened();
  if (!opened()) { dialog.close(); return; }
  source = await showPhotos().catch((error) => { toast(error.message); return null; });
  follow();
}

const follow = () => open.follow(dialog, source, { over: Boolean(opened() && source) });

const opened = () => view.cell ?? view.differing;

async function choose(cell) {
  view.cell = cell;
  writeUrl(true);
  drawConfused();
  await showOpened();
}

async function chooseDiffering(report, right) {
  view.differing = { report, right };
  writeUrl(true);
  comparing.draw(found.reports, view.set, view.differing);
  await showOpened();
}

async function showOpened() {
  await drawPhotos();
  byId("photos-title").focus({ preventScroll: true });
  byId("photos-card").scrollIntoView({ block: "start" });
}

function pick(label) {
  view.label = label;
  writeUrl(true);
  drawLabels();
  drawCurve();
  byId("curve-card").scrollIntoView({ block: "nearest" });
}

const grid = new Grid(byId("grid"), {
  label: "Photos", onopen: (i, source) => dialog.open(source, i), onerror: (error) => toast(error.message),
  badge: (item) => (view.differing ? `${item.label ?? "no answer"} → ${item.other ?? "no answer"}` : view.cell?.answered == null ? `${item.label ?? "no answer"} ${percent(item.score)}` : view.cell.shows == null ? item.truth.join(", ") : percent(item.score)),
});

/** What a photo can be said to show: what the set has, be it among the answers here or not. */
const sayable = () => (sets.find((one) => one.name === view.set.split("@")[0])?.labels ?? []).concat(NONE);

/** Take back a correction, or the last one that was made here. */
async function undo(only) {
  try {
    await corrections.undo(only);
    toast("Taken back.");
    if (dialog.isOpen) {
      stale = true;
      dialog.said();
    } else evaluate();
  } catch (error) { toast(error.message); }
}

const comparing = new Comparing({
  onchange: () => { view.differing = null; changed(); },
  onphotos: chooseDiffering,
});

const dialog = new PhotoDialog({
  question,
  oncorrect: {
    possible: () => corrections.may,
    labels: () => sayable(),
    said: (digest) => corrections.said(digest),
    undo: () => undo(),
    say: async (photo, n) => {
      try {
        const label = sayable()[n];
        const step = await corrections.say(photo, label);
        stale = true;
        dialog.said();
        corrections.tell(`Kept: ${fileName(photo.paths[0] ?? "")} shows ${label}.`, step, undo);
      } catch (error) { toast(error.message); }
    },
  },
  onshow: (id, at) => open.shown(id, at),
  onclose: () => {
    open.closed();
    if (dialog.walk) grid.focus(dialog.walk.at);
    // What was said is a part of the truth now, or of what was learnt.
    if (stale && (view.truth === "corrections" || view.learn)) evaluate();
    stale = false;
  },
});

// --- beginning -------------------------------------------------------------------------------------------------------

function changed(push = true) {
  writeUrl(push);
  evaluate();
}

byId("label-set").addEventListener("change", () => { Object.assign(view, { set: byId("label-set").value, cell: null, label: null, differing: null }); changed(); });
byId("truth").addEventListener("change", () => { Object.assign(view, { truth: byId("truth").value, cell: null, differing: null }); changed(); });
for (const name of ["learn", "others"]) byId(name).addEventListener("change", () => { view[name] = byId(name).checked; changed(); });
byId("names").addEventListener("change", () => { view.names = byId("names").value.split("\n").map((one) => one.trim()).filter((one) => one.includes("=")); changed(); });
byId("file").addEventListener("change", async () => {
  const [file] = byId("file").files;
  table = null;
  let wrong = "";
  try {
    const { roots } = await library();
    if (file) table = readTruth(await file.text(), roots.length === 1 ? roots[0] : null);
  } catch (error) { wrong = error.message; }
  await evaluate();
  if (wrong) byId("wrong").textContent = wrong;
});
// The same file, put right, can be chosen again.
byId("file").addEventListener("click", () => { byId("file").value = ""; });
byId("asked").addEventListener("submit", (event) => event.preventDefault());
byId("filter").addEventListener("input", () => { if (report) { drawLabels(); drawConfused(); } });
byId("order").addEventListener("change", () => report && drawLabels());
byId("cut").addEventListener("input", () => curve && drawCut());
byId("keep-cut").addEventListener("click", keepCut);
byId("drop-cut").addEventListener("click", dropCut);

async function go(query) {
  const before = JSON.stringify(askedOfAll());
  readUrl(query);
  if (report && JSON.stringify(askedOfAll()) === before) { draw(); await Promise.all([drawCurve(), drawPhotos()]); } else await evaluate();
}

async function begin() {
  library().catch(() => {});
  let templates, models;
  [sets, may, templates, models] = await Promise.all([ask("/v1/label-sets"), mayWrite(), ask("/v1/template-sets"), ask("/v1/models")]);
  comparing.fill(sets, templates, models.filter((one) => !one.default));
  byId("label-set").append(h("option", { value: "" }, "–"), ...sets.map((one) => h("option", { value: one.name }, `${one.name} (${one.labels.length})`)));
  onTravel(go, (query) => { open.read(query); follow(); });
  offerKeys();
  await go(params());
}

begin().catch((error) => showState(byId("state"), { title: "No answer", text: error.message, kind: "error", action: { text: "Try again", run: () => location.reload() } }));
