/**
 * Keys as rows: as a list, or as a tree of groups by a separator.
 *
 * A group is a part of the sorted keys, so it needs no memory until it is open.
 */

import { Slices } from "./slices.js";
import { first } from "./sorted_keys.js";

/** @typedef {{key: string, label: string, level: number, group: boolean, open: boolean, keys: number, place: number, of: number}} Row `key` of a group is its prefix */
/** @typedef {{prefix: string, level: number, end: number, starts: number[], children: Node[], at: number[], rows: number}} Node `at`: the row of each open child, from the first row of the node */

export class Tree {
  /** Prefixes of open groups. @type {Set<string>} */
  opened = new Set();
  /** @type {Node | null} null for a list */
  #root = null;
  #round = 0;

  /**
   * @param {import("./sorted_keys.js").SortedKeys} keys
   * @param {string} separator empty for a list
   * @param {string} [root] a prefix that all keys have
   */
  constructor(keys, separator, root = "") {
    this.keys = keys;
    this.separator = separator;
    this.root = separator ? root.slice(0, root.lastIndexOf(separator) + 1) : "";
  }

  get rows() {
    return this.separator ? (this.#root?.rows ?? 0) : this.keys.size;
  }

  /** Find the rows after a change. @returns {Promise<boolean>} false if another change came meanwhile */
  async build() {
    if (!this.separator) return true;
    this.#round += 1;
    const round = this.#round;
    /** @type {Map<string, string[]>} */
    const below = new Map();
    for (const prefix of this.opened) {
      const parent = this.parent(prefix);
      below.set(parent, [...(below.get(parent) ?? []), prefix]);
    }
    const root = await this.#node(this.root, 0, this.keys.size, 1, below, new Slices(), round);
    if (root) this.#root = root;
    return root !== null;
  }

  /** The group that a group or key is in. @param {string} key */
  parent(key) {
    const cut = key.lastIndexOf(this.separator, key.length - this.separator.length - 1);
    return cut < this.root.length ? this.root : key.slice(0, cut + this.separator.length);
  }

  /** @returns {Promise<Node | null>} */
  async #node(/** @type {string} */ prefix, /** @type {number} */ start, /** @type {number} */ end, /** @type {number} */ level, /** @type {Map<string, string[]>} */ below, /** @type {Slices} */ slices, /** @type {number} */ round) {
    const { keys, separator } = this;
    /** @type {Node} */
    const node = { prefix, level, end, starts: [], children: [], at: [], rows: 0 };
    for (let i = start; i < end; ) {
      node.starts.push(i);
      if (slices.over) {
        await slices.rest();
        if (round !== this.#round) return null;
      }
      const key = keys.at(i) ?? "";
      const cut = key.indexOf(separator, prefix.length);
      i += 1;
      if (cut < 0) continue;
      const group = key.slice(0, cut + separator.length);
      if (keys.at(i)?.startsWith(group)) i = Math.min(end, keys.rankAfter(group));
    }
    node.rows = node.starts.length;
    const open = (below.get(prefix) ?? []).map((one) => /** @type {const} */ ([keys.rank(one), one])).sort((a, b) => a[0] - b[0]);
    for (const [from, one] of open) {
      const to = keys.rankAfter(one);
      if (from >= to) continue;
      const child = await this.#node(one, from, to, level + 1, below, slices, round);
      if (!child) return null;
      node.at.push(first(node.starts.length, (i) => node.starts[i] >= from) + node.rows - node.starts.length);
      node.children.push(child);
      node.rows += child.rows;
    }
    return node;
  }

  /** @param {number} i @returns {Row | null} */
  row(i) {
    if (!this.separator) {
      const key = this.keys.at(i);
      return key === undefined ? null : { key, label: key, level: 1, group: false, open: false, keys: 1, place: i + 1, of: this.keys.size };
    }
    let node = this.#root;
    while (node) {
      // Rows of the open groups before this one.
      const after = first(node.at.length, (c) => /** @type {Node} */ (node).at[c] >= i);
      const child = node.children[after - 1];
      const at = node.at[after - 1];
      if (child && i <= at + child.rows) {
        i -= at + 1;
        node = child;
        continue;
      }
      let skipped = 0;
      for (let c = 0; c < after; c += 1) skipped += node.children[c].rows;
      return this.#rowOf(node, i - skipped, node.children[after]?.rows > 0 && node.at[after] === i);
    }
    return null;
  }

  #rowOf(/** @type {Node} */ node, /** @type {number} */ n, /** @type {boolean} */ open) {
    const start = node.starts[n];
    const key = this.keys.at(start);
    if (key === undefined) return null;
    const cut = key.indexOf(this.separator, node.prefix.length);
    const group = cut >= 0;
    const name = group ? key.slice(0, cut + this.separator.length) : key;
    return {
      key: name, label: name.slice(node.prefix.length), level: node.level, group, open,
      keys: group ? (node.starts[n + 1] ?? node.end) - start : 1, place: n + 1, of: node.starts.length,
    };
  }

  /** The row of a key or group, or of the closed group that it is in; -1 if there is none. @param {string} key */
  find(key) {
    const rank = this.keys.rank(key);
    if (!this.separator) return this.keys.at(rank) === key ? rank : -1;
    let row = 0;
    let node = this.#root;
    while (node) {
      const { starts, children, at } = node;
      const n = first(starts.length, (i) => starts[i] > rank) - 1;
      if (n < 0) return -1;
      const inside = children.findIndex((child) => key.startsWith(child.prefix));
      let skipped = 0;
      children.forEach((child, c) => (skipped += at[c] < n + skipped ? child.rows : 0));
      row += n + skipped;
      if (inside < 0 || children[inside].prefix === key) return row;
      row += 1;
      node = children[inside];
    }
    return -1;
  }
}
