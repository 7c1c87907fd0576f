/** The file of an export, made while its lines arrive (docs/transfer.md#the-file). Pure. */

import { Sha256 } from "./sha256.js";

/**
 * @typedef {object} Header
 * @property {string} bucket
 * @property {boolean} history whether all stored revisions are in it
 * @property {number} revision the newest one before the first entry was read
 * @property {Record<string, number>} settings `history`, and `ttl_seconds` if the bucket has a TTL
 * @property {string} [filter]
 * @property {string} [prefix]
 * @property {boolean} [partial] whether the caller may not read some of the keys
 */

const NEWLINE = 10;

/** Takes the bytes of a listing as JSON lines, and gives the bytes of a file. */
export class ExportFile {
  count = 0;
  /** Whether the end of the listing has come. Without it, the file is not whole. */
  ended = false;
  #expiring = 0;
  #largest = 0;
  #sha256 = new Sha256();
  #decoder = new TextDecoder();
  #encoder = new TextEncoder();
  /** @type {Uint8Array[]} */
  #begun = [];
  #header;

  /** @param {Header} header */
  constructor(header) {
    this.#header = header;
  }

  /** @returns {Uint8Array} the first line */
  start() {
    const { bucket, history, revision, settings, ...selection } = this.#header;
    const line = this.#line({
      type: "jetkv-export",
      version: 1,
      bucket,
      history,
      revision,
      started_at: new Date().toISOString(),
      settings,
      ...selection,
    });
    this.#sha256.update(line);
    return line;
  }

  /**
   * @param {Uint8Array} chunk bytes of the listing
   * @returns {Uint8Array[]} bytes for the file, the last line included once the listing has ended
   * @throws {Error} the listing broke off, or is something else
   */
  add(chunk) {
    const end = chunk.lastIndexOf(NEWLINE);
    if (end < 0) {
      this.#begun.push(chunk);
      return [];
    }
    const whole = joined([...this.#begun, chunk.subarray(0, end + 1)]);
    this.#begun = end + 1 < chunk.length ? [chunk.slice(end + 1)] : [];
    let taken = 0;
    let last = null;
    for (let at = 0; at < whole.length; ) {
      const next = whole.indexOf(NEWLINE, at) + 1;
      const item = JSON.parse(this.#decoder.decode(whole.subarray(at, next)));
      if (item.type !== undefined) {
        last = item;
        break;
      }
      this.#count(item);
      at = taken = next;
    }
    const lines = whole.subarray(0, taken);
    this.#sha256.update(lines);
    return last === null ? [lines] : [lines, this.#end(last)];
  }

  /** @param {{value: string, expires_at?: string}} item */
  #count({ value, expires_at: expiresAt }) {
    const padding = value.endsWith("==") ? 2 : Number(value.endsWith("="));
    this.count += 1;
    if (expiresAt !== undefined) this.#expiring += 1;
    this.#largest = Math.max(this.#largest, (value.length / 4) * 3 - padding);
  }

  /** @param {{type: string, count?: number, revision?: number, message?: string}} last */
  #end(last) {
    if (last.type !== "end") throw new Error(last.message ?? "the listing broke off");
    if (last.count !== this.count) throw new Error("lines of the listing are missing");
    this.ended = true;
    return this.#line({
      type: "end",
      count: this.count,
      expiring: this.#expiring,
      largest: this.#largest,
      from_revision: this.#header.revision,
      to_revision: Math.max(this.#header.revision, last.revision ?? 0),
      ended_at: new Date().toISOString(),
      sha256: this.#sha256.digest(),
    });
  }

  /** @param {object} document */
  #line(document) {
    return this.#encoder.encode(`${JSON.stringify(document)}\n`);
  }
}

/** @param {Uint8Array[]} parts */
function joined(parts) {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
