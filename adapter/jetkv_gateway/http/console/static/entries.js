/** One key: what the API says of it, and writes whose outcome is known. */

import { ApiError, api, paths } from "./api.js";
import { fromBase64, toBase64 } from "./values.js";

/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {number} revision
 * @property {string} createdAt RFC 3339
 * @property {"put" | "delete" | "purge"} operation
 * @property {string | null} expiresAt RFC 3339
 * @property {string} contentType "" if it has none
 * @property {string} contentEncoding "" if it has none
 * @property {number} size bytes of the value
 * @property {Uint8Array | null} bytes null if it is too large to be read unasked
 */

/** Bytes of a value that is read only when somebody asks for it. */
export const LARGE = 4 * 1024 * 1024;

/** A URL cannot have these as a segment of its path: browsers remove them. */
const isDots = (/** @type {string} */ key) => key === "." || key === "..";

const RAW = { Accept: "application/octet-stream" };

/**
 * Read a key.
 *
 * @param {string} bucket
 * @param {string} key
 * @param {{revision?: number, signal?: AbortSignal, large?: boolean}} [options] `large` reads a value
 *   of any size
 * @returns {Promise<Entry>}
 * @throws {ApiError} 404 without a live value, or without that revision
 */
export async function read(bucket, key, { revision, signal, large = false } = {}) {
  if (isDots(key)) return readDots(bucket, key);
  const path = paths.key(bucket, key);
  const query = { revision };
  for (let attempt = 0; ; attempt += 1) {
    let head = null;
    try {
      head = (await api.head(path, { query, signal, headers: RAW })).headers;
    } catch (error) {
      // An answer to HEAD does not say why, so a GET has to fail, too.
      if (!(error.status >= 400)) throw error;
    }
    const size = Number(head?.get("content-length") ?? 0);
    if (head && size > LARGE && !large) return ofHead(key, head, size);
    const { headers, body } = await api.get(path, { query, signal });
    // The content type is that of the same revision.
    if (!head || headers.get("etag") === head.get("etag") || attempt === 4) return ofBody(body, head);
  }
}

/** @param {any} body @param {Headers | null} head @returns {Entry} */
function ofBody(body, head) {
  const bytes = fromBase64(body.value);
  return {
    key: body.key,
    revision: body.revision,
    createdAt: body.created_at,
    operation: body.operation,
    expiresAt: body.expires_at ?? null,
    contentType: typeOf(head),
    contentEncoding: head?.get("content-encoding") ?? "",
    size: bytes.length,
    bytes,
  };
}

/** @param {string} key @param {Headers} head @param {number} size @returns {Entry} */
function ofHead(key, head, size) {
  return {
    key,
    revision: Number(head.get("etag")?.replaceAll('"', "")),
    createdAt: new Date(head.get("last-modified") ?? 0).toISOString(),
    operation: "put",
    expiresAt: null,
    contentType: typeOf(head),
    contentEncoding: head.get("content-encoding") ?? "",
    size,
    bytes: null,
  };
}

/** @param {Headers | null} head */
function typeOf(head) {
  return head?.get("content-type") ?? "";
}

/** @param {string} bucket @param {string} key */
async function readDots(bucket, key) {
  const { body } = await api.post(paths.batch(bucket), { json: { get: [key] } });
  const [entry] = body.entries;
  if (entry === null) throw new ApiError(404, { error: "key not found", code: "not_found" });
  return ofBody(entry, null);
}

/**
 * Read the stored revisions of a key, newest first.
 *
 * @param {string} bucket
 * @param {string} key
 * @param {AbortSignal} [signal]
 * @returns {Promise<Entry[]>} without the content types, which `read` gives
 */
export async function history(bucket, key, signal) {
  if (isDots(key)) {
    /** @type {Entry[]} */
    const found = [];
    const query = { prefix: key, include: "history", values: "base64" };
    for await (const lines of api.lines(paths.keys(bucket), { query, signal })) {
      for (const line of lines) if (line.key === key) found.unshift(ofBody(line, null));
    }
    return found;
  }
  const { body } = await api.get(paths.history(bucket, key), { signal });
  return body.entries.map((/** @type {any} */ entry) => ofBody(entry, null)).reverse();
}

/**
 * @typedef {object} Write
 * @property {Uint8Array} bytes
 * @property {string} [contentType]
 * @property {string} [contentEncoding]
 * @property {number | "never"} [ttl] seconds
 * @property {number} [revision] of the key; 0 if it must not be there; undefined for any
 */

/**
 * Store a value.
 *
 * @param {string} bucket
 * @param {string} key
 * @param {Write} write
 * @returns {Promise<number>} the revision
 * @throws {ApiError} 412 if the key is at another revision
 */
export async function write(bucket, key, { bytes, contentType, contentEncoding, ttl, revision }) {
  if (isDots(key)) {
    const op = { undefined: "put", 0: "create" }[String(revision)] ?? "update";
    const fields = { op, key, value: toBase64(bytes), content_type: contentType || undefined };
    const found = await batch(bucket, { ...fields, ttl_seconds: ttl, revision: revision || undefined });
    return found.revision;
  }
  /** @type {Record<string, string>} */
  const headers = {};
  if (contentType) headers["Content-Type"] = contentType;
  if (contentEncoding) headers["Content-Encoding"] = contentEncoding;
  if (ttl !== undefined) headers["JetKV-TTL-Seconds"] = String(ttl);
  if (revision === 0) headers["If-None-Match"] = "*";
  else if (revision !== undefined) headers["If-Match"] = `"${revision}"`;
  // A Blob without a type sends none.
  const body = new Blob([bytes]);
  const answer = await keyed((idempotency) =>
    api.put(paths.key(bucket, key), { headers: { ...headers, ...idempotency }, body }),
  );
  return answer.body.revision;
}

/**
 * Delete a key, if it is at a revision.
 *
 * @param {string} bucket
 * @param {string} key
 * @param {{revision?: number, purge?: boolean}} [options] `purge` drops its history, too
 * @throws {ApiError} 412 if the key is at another revision
 */
export async function remove(bucket, key, { revision, purge = false } = {}) {
  if (isDots(key)) {
    await batch(bucket, { op: purge ? "purge" : "delete", key, revision });
    return;
  }
  const headers = revision ? { "If-Match": `"${revision}"` } : {};
  const query = purge ? { purge } : {};
  await keyed((idempotency) =>
    api.delete(paths.key(bucket, key), { query, headers: { ...headers, ...idempotency } }),
  );
}

/**
 * Renew the TTL of a key.
 *
 * @param {string} bucket
 * @param {string} key
 * @param {number | "never"} [ttl] seconds; by default the TTL that the value has
 * @returns {Promise<number>} the revision
 */
export async function touch(bucket, key, ttl) {
  const headers = ttl === undefined ? {} : { "JetKV-TTL-Seconds": String(ttl) };
  const answer = await keyed((idempotency) =>
    api.post(paths.touch(bucket, key), { headers: { ...headers, ...idempotency } }),
  );
  return answer.body.revision;
}

/** @param {string} bucket @param {object} op */
async function batch(bucket, op) {
  const path = paths.batch(bucket);
  try {
    const json = { ops: [op], atomic: true };
    const { body } = await keyed((headers) => api.post(path, { json, headers }));
    return body.results[0];
  } catch (error) {
    if (error.status !== 412) throw error;
    const [failed] = error.details.failed ?? [{}];
    throw new ApiError(412, { error: "revision mismatch", code: error.code, details: failed });
  }
}

/**
 * Send a write that may be sent again, because the gateway knows it by its idempotency key.
 *
 * @template T
 * @param {(headers: Record<string, string>) => Promise<T>} send
 * @returns {Promise<T>}
 */
async function keyed(send) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const headers = { "Idempotency-Key": toBase64(bytes).replace(/\W/g, "") };
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await send(headers);
    } catch (error) {
      const unknown = [0, 503, 504].includes(error.status);
      if (!unknown || attempt === 2) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500 * (attempt + 1)));
    }
  }
}
