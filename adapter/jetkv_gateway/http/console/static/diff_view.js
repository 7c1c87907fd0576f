/** Shows how two values differ. */

import { commonEnds, diffLines, hunksOf } from "./diff.js";
import { h } from "./dom.js";
import { count, counted } from "./format.js";
import { formatJson, jsonChanges } from "./json_text.js";
import { decodeText, describe, hexDump, sameBytes, visible } from "./values.js";

/** Rows on the page; the file has the rest. */
const MOST_ROWS = 1_000;
/** Characters of a line that are shown around what differs. */
const AROUND = 300;
const MOST_CHANGES = 12;

/**
 * @param {Uint8Array} before
 * @param {Uint8Array} after
 * @returns {HTMLElement}
 */
export function diffView(before, after) {
  if (sameBytes(before, after)) return h("p", { class: "quiet" }, "The two values are the same, byte for byte.");
  const [a, b, json] = texts(before, after);
  const note = a === b ? h("p", { class: "quiet" }, "The JSON is the same. Only spaces, or the order of names, differ.") : null;
  const { hunks, after: rest } = hunksOf(diffLines(a, b));
  let room = MOST_ROWS;
  const body = hunks.flatMap(({ skipped, rows }) => {
    const shown = rows.slice(0, room);
    room -= shown.length;
    return shown.length ? [gap(skipped), ...pairs(shown)] : [];
  });
  const all = hunks.reduce((sum, hunk) => sum + hunk.rows.length, 0);
  return h("div", { class: "diff" }, json ? summary(before, after) : null, note,
    a === b ? null : h("table", { "aria-label": "Differences" }, h("tbody", null, body, gap(rest))),
    all > MOST_ROWS ? h("p", { class: "quiet" }, `${count(all - MOST_ROWS)} more lines differ.`) : null);
}

/**
 * @param {Uint8Array} before
 * @param {Uint8Array} after
 * @returns {[string, string, boolean]} two texts to compare, and whether they are JSON
 */
function texts(before, after) {
  const [a, b] = [describe(before), describe(after)];
  if (a.json !== null && b.json !== null && (a.text + b.text).length < 1_000_000) {
    const sorted = (/** @type {string | null} */ text) => formatJson(text ?? "", { sorted: true }) ?? "";
    return [sorted(a.text), sorted(b.text), true];
  }
  if (a.json !== null && b.json !== null) return [a.json, b.json, false];
  if (a.text !== null && b.text !== null) return [visible(a.text), visible(b.text), false];
  return [hexDump(before), hexDump(after), false];
}

/** @param {Uint8Array} before @param {Uint8Array} after */
function summary(before, after) {
  const changes = jsonChanges(decodeText(before) ?? "", decodeText(after) ?? "") ?? [];
  if (!changes.length || changes.length > MOST_CHANGES) return null;
  const value = (/** @type {string} */ text) => h("code", null, text.length > 80 ? `${text.slice(0, 80)}…` : text);
  return h("ul", { class: "changes", "aria-label": "Changes by path" }, changes.map(({ path, before: old, after: now }) =>
    h("li", null, h("b", null, h("code", null, path)), " ",
      old === null ? ["added ", value(now ?? "")] : now === null ? ["removed, was ", value(old)] : [value(old), " → ", value(now)])));
}

/** @param {number} skipped */
function gap(skipped) {
  return skipped ? h("tr", { class: "gap" }, h("td", { colspan: 4 }, counted(skipped, "equal line"))) : null;
}

/** @param {import("./diff.js").Row[]} rows */
function pairs(rows) {
  const elements = [];
  for (let at = 0; at < rows.length; ) {
    let end = at;
    while (rows[end]?.op === "-") end += 1;
    let last = end;
    while (rows[last]?.op === "+") last += 1;
    const [removed, added] = [rows.slice(at, end), rows.slice(end, last)];
    if (last === at) elements.push(line(rows[last++], null));
    elements.push(...removed.map((row) => line(row, alike(row, added))), ...added.map((row) => line(row, alike(row, removed))));
    at = last;
  }
  return elements;
}

/**
 * Return how a line and the most similar one of others begin and end alike; null if none is similar.
 *
 * @param {import("./diff.js").Row} row
 * @param {import("./diff.js").Row[]} others
 */
function alike({ text }, others) {
  let best = null;
  let most = text.trim().length / 3;
  for (const other of others.slice(0, 50)) {
    const ends = commonEnds(text, other.text);
    const same = text.slice(0, ends.start).trim().length + ends.end;
    if (same > most) [best, most] = [ends, same];
  }
  return best;
}

/** @param {import("./diff.js").Row} row @param {{start: number, end: number} | null} ends what it shares with the line in whose place it is */
function line({ op, text, a, b }, ends) {
  const kind = { " ": "", "-": "removed", "+": "added" }[op];
  const { start, end } = ends ?? { start: 0, end: 0 };
  const changed = text.slice(start, text.length - end);
  return h("tr", { class: kind },
    h("td", { class: "number" }, a || ""), h("td", { class: "number" }, b || ""),
    h("td", { class: "sign" }, kind ? h("span", { "aria-label": kind }, op) : ""),
    h("td", null, start > AROUND ? "…" : "", text.slice(Math.max(0, start - AROUND), start),
      ends && changed ? h("mark", null, cut(changed)) : cut(changed),
      end ? text.slice(-end).slice(0, AROUND) : "", end > AROUND ? "…" : ""));
}

/** @param {string} text */
function cut(text) {
  return text.length > 4 * AROUND ? `${text.slice(0, 4 * AROUND)}… (${count(text.length)} characters)` : text;
}
