// A table that says what photos show: the columns path and label, as `zsindex eval` reads it.

const SEVERAL = "|";

/** Labels by path from the text of a table. Relative paths are in `folder`. Throws an `Error` that says what is wrong. */
export function readTruth(text, folder) {
  const rows = table(text.replace(/^\ufeff/, ""));
  const names = (rows.shift() ?? []).map((name) => name.trim().toLowerCase());
  const [path, label] = ["path", "label"].map((name) => names.indexOf(name));
  if (path < 0 || label < 0) throw new Error("The table needs the columns path and label, named in its first line.");
  const truth = {};
  rows.forEach((row, n) => {
    const at = (row[path] ?? "").trim();
    const said = (row[label] ?? "").split(SEVERAL).map((one) => one.trim()).filter(Boolean);
    if (!said.length) return;
    if (!at) throw new Error(`Line ${n + 2} has no path.`);
    const whole = /^([/\\]|[A-Za-z]:[/\\]|\d+$)/.test(at) ? at : folder ? `${folder}/${at}` : null;
    if (whole === null) throw new Error(`Line ${n + 2}: this library has several folders, so paths must be whole ones.`);
    truth[whole] = [...new Set([...(truth[whole] ?? []), ...said])];
  });
  if (!Object.keys(truth).length) throw new Error("The table names no photo.");
  return truth;
}

/** Rows of fields, which quotes may be around. The first line tells what is between them. */
function table(text) {
  const first = text.slice(0, (text.indexOf("\n") + 1 || text.length + 1) - 1);
  const between = ["\t", ";", ","].find((one) => first.includes(one)) ?? ",";
  const rows = [];
  let row = [];
  let field = "";
  let quoted = false;
  const endRow = () => {
    row.push(field);
    if (row.some((one) => one.trim())) rows.push(row);
    [row, field] = [[], ""];
  };
  for (let i = 0; i < text.length; i += 1) {
    const letter = text[i];
    if (quoted) {
      if (letter !== '"') field += letter;
      else if (text[i + 1] === '"') { field += letter; i += 1; } else quoted = false;
    } else if (letter === '"' && !field) quoted = true;
    else if (letter === between) { row.push(field); field = ""; } else if (letter === "\n") endRow();
    else if (letter !== "\r") field += letter;
  }
  endRow();
  return rows;
}
