/** How two texts differ, line by line. Pure. */

/**
 * @typedef {{op: " " | "-" | "+", text: string, a: number, b: number}} Row a line with its numbers
 *   in both texts, from 1; 0 where it is not in that text
 * @typedef {{skipped: number, rows: Row[]}} Hunk rows that belong together, after `skipped` equal
 *   lines
 */

/** Edits after which two texts count as unrelated. It bounds time and memory. */
const MAX_EDITS = 1_500;

/**
 * Return the rows of a difference by the algorithm of Myers, "An O(ND) Difference Algorithm and Its
 * Variations".
 *
 * @param {string} before
 * @param {string} after
 * @returns {Row[]}
 */
export function diffLines(before, after) {
  const a = before.split("\n");
  const b = after.split("\n");
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let same = 0;
  while (
    same < a.length - start &&
    same < b.length - start &&
    a[a.length - 1 - same] === b[b.length - 1 - same]
  ) {
    same += 1;
  }
  /** @type {Row[]} */
  const rows = [];
  const equal = (/** @type {number} */ x, /** @type {number} */ y) =>
    rows.push({ op: " ", text: a[x], a: x + 1, b: y + 1 });
  for (let at = 0; at < start; at += 1) equal(at, at);
  const script = edits(a.slice(start, a.length - same), b.slice(start, b.length - same));
  for (const { op, x, y } of script) {
    if (op === " ") equal(start + x, start + y);
    else if (op === "-") rows.push({ op, text: a[start + x], a: start + x + 1, b: 0 });
    else rows.push({ op, text: b[start + y], a: 0, b: start + y + 1 });
  }
  for (let at = same; at > 0; at -= 1) equal(a.length - at, b.length - at);
  return rows;
}

/**
 * @param {string[]} a
 * @param {string[]} b
 * @returns {{op: " " | "-" | "+", x: number, y: number}[]}
 */
function edits(a, b) {
  const [xs, ys] = numbered(a, b);
  const most = Math.min(xs.length + ys.length, MAX_EDITS);
  const furthest = new Int32Array(2 * most + 3);
  const middle = most + 1;
  /** @type {Int32Array[]} */
  const trace = [];
  for (let d = 0; d <= most; d += 1) {
    trace.push(furthest.slice(middle - d - 1, middle + d + 2));
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && furthest[middle + k - 1] < furthest[middle + k + 1]);
      let x = down ? furthest[middle + k + 1] : furthest[middle + k - 1] + 1;
      let y = x - k;
      while (x < xs.length && y < ys.length && xs[x] === ys[y]) {
        x += 1;
        y += 1;
      }
      furthest[middle + k] = x;
      if (x >= xs.length && y >= ys.length) return backwards(trace, xs.length, ys.length);
    }
  }
  return [
    ...a.map((_, x) => ({ op: /** @type {const} */ ("-"), x, y: 0 })),
    ...b.map((_, y) => ({ op: /** @type {const} */ ("+"), x: 0, y })),
  ];
}

/**
 * @param {Int32Array[]} trace the furthest places before each edit
 * @param {number} x
 * @param {number} y
 */
function backwards(trace, x, y) {
  /** @type {{op: " " | "-" | "+", x: number, y: number}[]} */
  const script = [];
  for (let d = trace.length - 1; d >= 0; d -= 1) {
    const at = (/** @type {number} */ k) => trace[d][k + d + 1];
    const k = x - y;
    const down = k === -d || (k !== d && at(k - 1) < at(k + 1));
    const fromX = at(down ? k + 1 : k - 1);
    const fromY = fromX - (down ? k + 1 : k - 1);
    while (x > fromX && y > fromY) {
      x -= 1;
      y -= 1;
      script.push({ op: " ", x, y });
    }
    if (d > 0) script.push({ op: down ? "+" : "-", x: fromX, y: fromY });
    x = fromX;
    y = fromY;
  }
  return script.reverse();
}

/**
 * Give equal lines equal numbers, which are compared faster.
 *
 * @param {string[]} a
 * @param {string[]} b
 */
function numbered(a, b) {
  const numbers = new Map();
  const number = (/** @type {string} */ line) => {
    let found = numbers.get(line);
    if (found === undefined) numbers.set(line, (found = numbers.size));
    return found;
  };
  return [Int32Array.from(a, number), Int32Array.from(b, number)];
}

/**
 * Leave out equal lines that are far from a change.
 *
 * @param {Row[]} rows
 * @param {number} [context] equal lines to keep around a change
 * @returns {{hunks: Hunk[], after: number}} `after` is how many equal lines follow the last hunk
 */
export function hunksOf(rows, context = 3) {
  /** @type {{from: number, to: number}[]} */
  const ranges = [];
  rows.forEach((row, at) => {
    if (row.op === " ") return;
    const from = Math.max(0, at - context);
    const to = Math.min(rows.length, at + context + 1);
    const last = ranges.at(-1);
    if (last && from <= last.to) last.to = to;
    else ranges.push({ from, to });
  });
  let end = 0;
  const hunks = ranges.map(({ from, to }) => {
    const hunk = { skipped: from - end, rows: rows.slice(from, to) };
    end = to;
    return hunk;
  });
  return { hunks, after: rows.length - end };
}

/**
 * Return what two lines have in common at both ends.
 *
 * @param {string} before
 * @param {string} after
 * @returns {{start: number, end: number}} characters in common at the start and at the end
 */
export function commonEnds(before, after) {
  const most = Math.min(before.length, after.length);
  let start = 0;
  while (start < most && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < most - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  return { start, end };
}
