/** A million keys in the order of their UTF-8 bytes, where adding or removing one is quick. */

import { Slices } from "./slices.js";

const CHUNK = 1024;
/** Keys that are sorted at once. */
const PART = 16384;
const WIDE = /[\ud800-\uffff]/;

/** Whether `a` comes before `b`. UTF-16 and UTF-8 differ where surrogates meet U+E000 to U+FFFF. */
function wideBefore(/** @type {string} */ a, /** @type {string} */ b) {
  const most = Math.min(a.length, b.length);
  let i = 0;
  while (i < most && a[i] === b[i]) i += 1;
  if (i === most) return a.length < b.length;
  const rank = (/** @type {number} */ unit) => (unit >= 0xe000 ? unit - 0x2000 : unit >= 0xd800 ? unit + 0x2000 : unit);
  return rank(a.charCodeAt(i)) < rank(b.charCodeAt(i));
}

export class SortedKeys {
  /** @type {string[][]} none is empty, but for the only one */
  #chunks = [[]];
  /** How many keys come before each chunk; null after a change. @type {number[] | null} */
  #starts = null;
  #wide = false;
  #last = 0;
  size = 0;

  #before(/** @type {string} */ a, /** @type {string} */ b) {
    return this.#wide ? wideBefore(a, b) : a < b;
  }

  /** The chunk and the place behind all keys that a test holds for. @returns {[number, number]} */
  #find(/** @type {(key: string) => boolean} */ isBefore) {
    const chunk = Math.max(0, first(this.#chunks.length, (i) => !isBefore(this.#chunks[i][0] ?? "")) - 1);
    const keys = this.#chunks[chunk];
    return [chunk, first(keys.length, (i) => !isBefore(keys[i]))];
  }

  /**
   * Add keys, in slices of time.
   * @param {string[]} keys
   */
  async add(keys) {
    const slices = new Slices();
    for (let from = 0; from < keys.length; from += PART) {
      const part = keys.slice(from, from + PART);
      this.#wide ||= part.some((key) => WIDE.test(key));
      part.sort(this.#wide ? (a, b) => (wideBefore(a, b) ? -1 : Number(a !== b)) : undefined);
      for (let i = 0; i < part.length; ) {
        if (slices.over) await slices.rest();
        const [chunk] = this.#find((one) => this.#before(one, part[i]) || one === part[i]);
        const limit = this.#chunks[chunk + 1]?.[0];
        const to = limit === undefined ? part.length : first(part.length, (n) => !this.#before(part[n], limit));
        this.#merge(chunk, part, i, to);
        i = to;
      }
    }
  }

  /** Merge `part[from]` to `part[to - 1]` into a chunk. */
  #merge(/** @type {number} */ chunk, /** @type {string[]} */ part, /** @type {number} */ from, /** @type {number} */ to) {
    const old = this.#chunks[chunk];
    /** @type {string[]} */
    const all = [];
    let n = 0;
    for (let i = from; i < to; i += 1) {
      const place = n + first(old.length - n, (k) => !this.#before(old[n + k], part[i]));
      while (n < place) all.push(old[n++]);
      if (old[n] !== part[i] && all.at(-1) !== part[i]) all.push(part[i]);
    }
    while (n < old.length) all.push(old[n++]);
    this.size += all.length - old.length;
    this.#starts = null;
    const pieces = Math.max(1, Math.ceil(all.length / CHUNK));
    const length = Math.ceil(all.length / pieces);
    const split = Array.from({ length: pieces }, (_, i) => all.slice(i * length, (i + 1) * length));
    this.#chunks.splice(chunk, 1, ...split);
  }

  /** @param {string} key @returns {boolean} whether it was there */
  delete(key) {
    const at = this.rank(key);
    if (this.at(at) !== key) return false;
    const chunk = this.#last;
    this.#chunks[chunk].splice(at - this.#sums()[chunk], 1);
    if (!this.#chunks[chunk].length && this.#chunks.length > 1) this.#chunks.splice(chunk, 1);
    this.size -= 1;
    this.#starts = null;
    return true;
  }

  #sums() {
    if (!this.#starts) {
      let sum = 0;
      this.#starts = this.#chunks.map((keys) => (sum += keys.length) - keys.length);
      this.#last = 0;
    }
    return this.#starts;
  }

  /** @param {number} i @returns {string | undefined} */
  at(i) {
    const starts = this.#sums();
    const here = i - starts[this.#last];
    if (here < 0 || here >= this.#chunks[this.#last].length) {
      this.#last = Math.max(0, first(starts.length, (chunk) => starts[chunk] > i) - 1);
    }
    return this.#chunks[this.#last][i - starts[this.#last]];
  }

  /** How many keys come before this one. @param {string} key */
  rank(key) {
    const [chunk, place] = this.#find((one) => this.#before(one, key));
    return this.#sums()[chunk] + place;
  }

  /** The place behind all keys that start with a prefix. @param {string} prefix */
  rankAfter(prefix) {
    const [chunk, place] = this.#find((one) => this.#before(one, prefix) || one.startsWith(prefix));
    return this.#sums()[chunk] + place;
  }
}

/** The first of `n` numbers that a test holds for, and for all after it; `n` if there is none. */
export function first(/** @type {number} */ n, /** @type {(i: number) => boolean} */ holds) {
  let low = 0;
  let high = n;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
