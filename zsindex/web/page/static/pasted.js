// Lists of labels that people paste or drop: lines, cells of tables, JSON, bullets, numbers. What wins where a text can be
// read in several ways is told in docs/page.md; what the command line reads of a file is read here alike.

const BOM = "\uFEFF";
const HEADERS = ["label", "labels", "name", "class", "classname", "class_name", "class name", "category"];
const BULLET = /^[-*+•‣▪◦·–—](?:\s+\[[ xX]\])?\s+/u;
const NUMBER = /^\(?\d+[.)]\s+/;
const ROUND = /^\s*[•‣▪◦·]\s/u;
const QUOTED_CELLS = /(^|\n)[ \t]*"(?:[^"]|"")*"[ \t]*[,;]|[,;][ \t]*"(?:[^"]|"")*"[ \t]*(?=\n|$)/;

/** A list that cannot be read; the message is for whoever pasted it. */
export class Unreadable extends Error {}

/**
 * The labels of a text, each once: `{ labels, repeated }`, where `repeated` counts those that were there before in upper
 * or lower case. `name` is that of the file it comes from, if it does; `before` are labels that are there already.
 */
export function labelsIn(text, { name = "", before = [] } = {}) {
  const found = read(text.replaceAll(BOM, "").replace(/\r\n?/g, "\n"), name.toLowerCase());
  const seen = new Set(before.map(folded));
  const labels = [];
  let repeated = 0;
  for (const given of found) {
    const label = given.normalize("NFC").replace(/\s*\n\s*/g, " ").trim();
    if (!label) continue;
    if (seen.has(folded(label))) repeated += 1;
    else {
      seen.add(folded(label));
      labels.push(label);
    }
  }
  return { labels, repeated };
}

/** Whether a text that is pasted into a field is a list, rather than a part of a label. */
export const isList = (text) => /[\n\r\t,;]/.test(text.trim()) || ROUND.test(text) || /^\s*\[.*\]\s*$/.test(text);

const folded = (label) => label.normalize("NFC").toLowerCase();

function read(text, name) {
  const isJson = name.endsWith(".json");
  if (isJson || /^\s*[[{]/.test(text)) {
    const listed = ofJson(text, isJson) ?? ofBrackets(text);
    if (listed) return listed;
  }
  if (/\.ya?ml$/.test(name)) throw new Unreadable("YAML files are not read here. zsindex labels save reads them.");
  const isTable = /\.[ct]sv$/.test(name);
  const table = ofTable(text, { one: isTable || !name });
  if (table) return table;
  const rows = text.split("\n").filter((line) => line.trim());
  if (isTable && rows.length > 1 && rows.some((row) => /[,;\t]/.test(row))) {
    throw new Unreadable("The first line of a table must name a column label, name or class.");
  }
  return rows.length > 1 ? ofLines(text) : ofLine(text.trim());
}

/** A list, a list of rows, what a label file of the command line holds; null for anything else. */
function ofJson(text, isSure) {
  let content;
  try {
    content = JSON.parse(text);
  } catch (error) {
    if (isSure) throw new Unreadable(`This is no JSON: ${error.message}`);
    return null;
  }
  if (!Array.isArray(content) && content?.labels && typeof content.labels === "object") content = content.labels;
  const names = Array.isArray(content) ? content : Object.keys(content);
  return names.map((one) => {
    const label = one && typeof one === "object" ? one[Object.keys(one).find((key) => HEADERS.includes(key.toLowerCase()))] : one;
    if (typeof label !== "string" && typeof label !== "number") throw new Unreadable("This JSON is no list of labels.");
    return String(label);
  });
}

/** A list of another language than JSON, such as ['owl', 'fox']. */
function ofBrackets(text) {
  const inside = text.trim().match(/^\[(.*)\]$/s)?.[1];
  return inside === undefined ? null : cells(inside.replace(/\n/g, " "), ",", "'").flatMap((cell) => cells(cell, "\n"));
}

/** The column of labels of a table with a line of names; null for what has none. `one`: a single column may be a table. */
function ofTable(text, { one }) {
  const told = text.match(/^\s*sep=([,;\t])\n/i);
  const lines = told ? text.slice(told[0].length) : text.replace(/^\n+/, "");
  for (const separator of told ? [told[1]] : ["\t", ";", ","]) {
    const rows = parsed(lines, separator);
    const names = rows[0]?.map((cell) => cell.trim().toLowerCase()) ?? [];
    const column = names.includes("label") ? names.indexOf("label") : names.findIndex((cell) => HEADERS.includes(cell));
    if (column === -1 || rows.length < 2 || (names.length === 1 && !one && !told)) continue;
    return rows.slice(1).map((row) => row[column] ?? "");
  }
  return null;
}

/** Rows of a table (RFC 4180), without blank ones. */
function parsed(text, separator) {
  const rows = [[]];
  for (const { cell, end } of split(text, [separator, "\n"])) {
    rows.at(-1).push(cell);
    if (end === "\n") rows.push([]);
  }
  return rows.filter((row) => row.some((cell) => cell.trim()));
}

function ofLine(line) {
  if (ROUND.test(line)) return line.split(/[•‣▪◦·]/u);
  const separator = ["\t", ";"].find((one) => line.includes(one)) ?? ",";
  return cells(line, separator).map((cell) => cell.trim().replace(BULLET, "").replace(NUMBER, ""));
}

/** One label a line, whatever else stands in it; but tabs are between the cells of a sheet. */
function ofLines(text) {
  const comma = /"[ \t]*,|,[ \t]*"/.test(text) ? "," : ";";
  const found = QUOTED_CELLS.test(text) ? [...split(text, ["\n", comma])].map(({ cell }) => cell) : text.split(/[\n\t]/);
  let lines = found.map((line) => line.trim()).filter((line) => line && !line.startsWith("#"));
  for (const mark of [",", ";"]) {
    if (lines.length > 1 && lines.slice(0, -1).every((line) => line.endsWith(mark))) lines = lines.map((line) => line.replace(/[,;]$/, ""));
  }
  lines = lines.map((line) => line.replace(BULLET, ""));
  if (lines.every((line) => NUMBER.test(line))) lines = lines.map((line) => line.replace(NUMBER, ""));
  return lines.map(unquoted);
}

/** A text without the quotes around it. */
export const unquoted = (text) => [...split(text, [])][0].cell;
/** The texts between separators, or in quotes. */
export const cells = (text, separator, quote = '"') => [...split(text, [separator], quote)].map(({ cell }) => cell);

/** Cells, and what stands after each. Quotes count only around a whole cell: 5" is an inch. */
function* split(text, separators, quote = '"') {
  let at = 0;
  for (;;) {
    const start = at + text.slice(at).match(/^[^\S\n\t]*/)[0].length;
    if (text[start] === quote) {
      let to = start + 1;
      while (to < text.length && (text[to] !== quote || text[to + 1] === quote)) to += text[to] === quote ? 2 : 1;
      const after = to + 1 + text.slice(to + 1).match(/^[^\S\n\t]*/)[0].length;
      if (to < text.length && (after === text.length || separators.includes(text[after]))) {
        yield { cell: text.slice(start + 1, to).replaceAll(quote + quote, quote), end: text[after] };
        if (after === text.length) return;
        at = after + 1;
        continue;
      }
    }
    let to = at;
    while (to < text.length && !separators.includes(text[to])) to += 1;
    yield { cell: text.slice(at, to), end: text[to] };
    if (to === text.length) return;
    at = to + 1;
  }
}

/** The text of a file: UTF-8, or UTF-16 with its mark, as programs of Windows write it. */
export async function textOf(file) {
  if (file.size > 10_000_000) throw new Unreadable(`${file.name} is larger than 10 MB.`);
  const data = new Uint8Array(await file.arrayBuffer());
  const encoding = data[0] === 0xff && data[1] === 0xfe ? "utf-16le" : data[0] === 0xfe && data[1] === 0xff ? "utf-16be" : "utf-8";
  let text;
  try {
    text = new TextDecoder(encoding, { fatal: true }).decode(data);
  } catch {
    throw new Unreadable(`${file.name} is not UTF-8 text.`);
  }
  if (text.includes("\0")) throw new Unreadable(`${file.name} is not text.`);
  return text;
}
