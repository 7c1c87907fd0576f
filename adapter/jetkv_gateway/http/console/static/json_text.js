/**
 * JSON as text: formatted and compared without touching what a number says. `JSON.parse` rounds
 * 12345678901234567890, forgets a key that comes twice and moves keys that look like numbers.
 */

/**
 * @typedef {string | {open: string, items: [string, Node][]}} Node a scalar as it is written, or an
 *   array (`[`) or object (`{`) with its items; the items of an array have no name
 */

const SCALAR = /[-+.\w]+/y;
const MAX_DEPTH = 200;
const MAX_FORMATTED = 16 * 1024 * 1024;

/**
 * @param {string} text
 * @returns {Node | null} null if it is not JSON, or nested too deeply to be read by people
 */
export function parseRaw(text) {
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  // It is valid from here on, so there is nothing to check.
  let at = 0;
  const space = () => {
    while (at < text.length && text.charCodeAt(at) <= 0x20) at += 1;
  };
  const string = () => {
    const start = at;
    for (at += 1; text[at] !== '"'; at += 1) if (text[at] === "\\") at += 1;
    at += 1;
    return text.slice(start, at);
  };
  /** @returns {Node | null} */
  const value = (/** @type {number} */ depth) => {
    space();
    const open = text[at];
    if (open === '"') return string();
    if (open !== "{" && open !== "[") {
      SCALAR.lastIndex = at;
      const [scalar] = /** @type {RegExpExecArray} */ (SCALAR.exec(text));
      at += scalar.length;
      return scalar;
    }
    if (depth === MAX_DEPTH) return null;
    /** @type {[string, Node][]} */
    const items = [];
    at += 1;
    space();
    while (text[at] !== "]" && text[at] !== "}") {
      let name = "";
      if (open === "{") {
        space();
        name = string();
        space();
        at += 1;
      }
      const item = value(depth + 1);
      if (item === null) return null;
      items.push([name, item]);
      space();
      if (text[at] === ",") at += 1;
      space();
    }
    at += 1;
    return { open, items };
  };
  return value(0);
}

/**
 * @param {Node} node
 * @param {{sorted?: boolean, indent?: string}} [how] `sorted` puts the names of objects in order;
 *   an `indent` of "" gives one line
 * @returns {string | null} null if it is too long
 */
export function print(node, { sorted = false, indent = "  " } = {}) {
  /** @type {string[]} */
  const parts = [];
  let size = 0;
  const add = (/** @type {string} */ text) => {
    size += text.length;
    parts.push(text);
  };
  const line = (/** @type {number} */ depth) => {
    if (indent) add(`\n${indent.repeat(depth)}`);
  };
  const write = (/** @type {Node} */ one, /** @type {number} */ depth) => {
    if (size > MAX_FORMATTED) return;
    if (typeof one === "string") {
      add(one);
      return;
    }
    add(one.open);
    const byName = sorted && one.open === "{";
    const items = byName ? [...one.items].sort(([a], [b]) => (a < b ? -1 : Number(a > b))) : one.items;
    items.forEach(([name, item], place) => {
      if (place) add(",");
      line(depth + 1);
      if (one.open === "{") add(indent ? `${name}: ` : `${name}:`);
      write(item, depth + 1);
    });
    if (items.length) line(depth);
    add(one.open === "{" ? "}" : "]");
  };
  write(node, 0);
  return size > MAX_FORMATTED ? null : parts.join("");
}

/**
 * @param {string} text
 * @param {{sorted?: boolean, indent?: string}} [how] as in `print`
 * @returns {string | null} null if it is not JSON, or cannot be shown formatted
 */
export function formatJson(text, how) {
  const node = parseRaw(text);
  return node === null ? null : print(node, how);
}

/** @typedef {{path: string, before: string | null, after: string | null}} Change */

/**
 * Return what differs between two JSON texts, by path. The order of names does not count.
 *
 * @param {string} before
 * @param {string} after
 * @returns {Change[] | null} null if one of them is not JSON
 */
export function jsonChanges(before, after) {
  const a = parseRaw(before);
  const b = parseRaw(after);
  if (a === null || b === null) return null;
  /** @type {Change[]} */
  const changes = [];
  const short = (/** @type {Node | undefined} */ node) =>
    node === undefined ? null : print(node, { indent: "" });
  const compare = (
    /** @type {Node | undefined} */ x,
    /** @type {Node | undefined} */ y,
    /** @type {string} */ path,
  ) => {
    const comparable = typeof x === "object" && typeof y === "object" && x.open === y.open;
    if (!comparable) {
      if (x !== y) changes.push({ path: path || "(all)", before: short(x), after: short(y) });
      return;
    }
    const named = (/** @type {{open: string, items: [string, Node][]}} */ node) =>
      new Map(node.items.map(([name, item], place) => [name || `[${place}]`, item]));
    const [xs, ys] = [named(x), named(y)];
    for (const name of new Set([...xs.keys(), ...ys.keys()])) {
      compare(xs.get(name), ys.get(name), step(path, name));
    }
  };
  compare(a, b, "");
  return changes;
}

/**
 * @param {string} path
 * @param {string} name a place such as `[3]`, or a name as JSON writes it
 */
function step(path, name) {
  if (name.startsWith("[")) return path + name;
  return /^"[A-Za-z_$][\w$]*"$/.test(name)
    ? `${path}${path && "."}${name.slice(1, -1)}`
    : `${path}[${name}]`;
}
