/** Reads the keys of a bucket as they come, and keeps them right while they change. */

import { api, paths } from "./api.js";
import { Slices } from "./slices.js";
import { SortedKeys } from "./sorted_keys.js";

/** @typedef {{revision: number, size: number, created_at: string, expires_at?: string, fresh?: number}} Meta `fresh`: when it has just changed */

/** Keys whose sizes and times are read with them. Those of others are read when they are in sight. */
export const DETAILED = 50_000;
/** Keys that are shown at most. */
const MOST = 2_000_000;

export class KeyLoader {
  keys = new SortedKeys();
  /** @type {Map<string, Meta>} */
  metas = new Map();
  /** The revision that the list is of; 0 while it is being read. */
  revision = 0;
  done = false;
  /** Whether a key has shown an end of its life. */
  expiring = false;
  /** Whether there are more keys than are shown. */
  cut = false;
  /** Whether the caller may read some keys only. */
  filtered = false;
  /** Keys that were read and are not in `keys` yet. @type {string[]} */
  #new = [];
  /** Deleted while keys are read or sorted, which may still bring them. @type {Set<string>} */
  #deleted = new Set();

  /**
   * @param {string} bucket
   * @param {{prefix?: string, filter?: string}} which
   * @param {AbortSignal} signal
   */
  constructor(bucket, which, signal) {
    this.bucket = bucket;
    this.which = which;
    this.signal = signal;
  }

  get count() {
    return this.keys.size + this.#new.length;
  }

  /**
   * @param {boolean} detailed whether to read sizes and times
   */
  async read(detailed) {
    const slices = new Slices();
    const head = (/** @type {Headers} */ headers) => (this.filtered = headers.get("JetKV-Filtered") === "true");
    for await (const lines of api.lines(paths.keys(this.bucket), { query: { ...this.which, include: detailed ? "meta" : "keys" }, signal: this.signal, head })) {
      for (const line of lines) {
        if (line.type === "end") this.revision = line.revision;
        else if (!this.#deleted.has(line.key)) this.#take(line.key, detailed ? line : null);
      }
      if (this.count >= MOST) {
        this.cut = true;
        break;
      }
      if (slices.over) await slices.rest();
    }
    this.done = true;
  }

  #take(/** @type {string} */ key, /** @type {any} */ meta) {
    this.#new.push(key);
    this.expiring ||= meta?.expires_at !== undefined;
    if (meta && this.metas.size < DETAILED && !(this.metas.get(key)?.revision > meta.revision)) this.metas.set(key, meta);
  }

  /** Put what was read among the keys. */
  async settle() {
    const some = this.#new;
    this.#new = [];
    await this.keys.add(some);
    // A change may have come between two slices.
    for (const key of some) if (this.#deleted.has(key)) this.keys.delete(key);
    if (this.done) this.#deleted.clear();
  }

  /** @param {import("./live.js").Change} change */
  change(change) {
    const { key } = change;
    if (this.which.prefix && !key.startsWith(this.which.prefix)) return;
    if (change.operation === "delete") {
      this.#deleted.add(key);
      this.#new = this.#new.filter((one) => one !== key);
      this.keys.delete(key);
      this.metas.delete(key);
    } else {
      this.#deleted.delete(key);
      this.#new.push(key);
      this.expiring ||= change.expires_at !== undefined;
      this.metas.set(key, { revision: change.revision, size: change.size ?? 0, created_at: new Date().toISOString(), expires_at: change.expires_at, fresh: Date.now() });
    }
  }

  /** Remove keys whose time is over: no change may say so. @returns {boolean} whether there were any */
  expire() {
    const now = Date.now();
    const before = this.keys.size;
    for (const [key, { expires_at: end }] of this.metas) {
      if (end === undefined || Date.parse(end) > now) continue;
      this.keys.delete(key);
      this.metas.delete(key);
    }
    return this.keys.size < before;
  }

  /** Read the size and the time of a key. @param {string} key @param {AbortSignal} signal */
  async detail(key, signal) {
    const { headers } = await api.head(paths.key(this.bucket, key), { as: "bytes", signal });
    const time = Date.parse(headers.get("Last-Modified") ?? "");
    this.metas.set(key, {
      revision: Number(headers.get("ETag")?.replaceAll('"', "")),
      size: Number(headers.get("Content-Length")),
      created_at: Number.isNaN(time) ? "" : new Date(time).toISOString(),
    });
  }
}
