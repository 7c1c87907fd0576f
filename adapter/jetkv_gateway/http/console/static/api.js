/**
 * Calls of the gateway's HTTP API, with the caller's own credential. Nothing else talks to the gateway.
 */

import { session } from "./session.js";

const BASE = new URL("..", import.meta.url);
const SECONDS = 30;

/** An answer that says that a request failed, or that there was no answer (`status` 0). */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {{error?: string, code?: string, hint?: string, details?: Record<string, any>, request_id?: string}} body
   */
  constructor(status, body) {
    super(body.error || `the gateway answered ${status}`);
    this.name = "ApiError";
    this.status = status;
    this.code = body.code ?? "unknown";
    this.hint = body.hint ?? "";
    this.details = body.details ?? {};
    this.requestId = body.request_id ?? "";
  }
}

/**
 * @typedef {object} Options
 * @property {Record<string, any>} [query] a list makes a parameter repeat; `null` and `undefined` none
 * @property {Record<string, string>} [headers]
 * @property {BodyInit} [body] the body as it is
 * @property {unknown} [json] the body as JSON
 * @property {"json" | "bytes" | "stream"} [as] what the answer's body becomes; JSON by default
 * @property {AbortSignal} [signal]
 * @property {number} [seconds] to wait for the head of the answer; 30 by default
 * @property {string} [method] of `lines`; GET by default
 * @property {(headers: Headers) => void} [head] called with the headers of `lines`
 */

/** @typedef {{status: number, headers: Headers, body: any}} Answer */

/**
 * Send a request.
 *
 * @param {string} method
 * @param {string} path as made by `paths`
 * @param {Options} [options]
 * @returns {Promise<Answer>}
 * @throws {ApiError} also when there is no answer
 */
async function request(method, path, options = {}) {
  const url = new URL(path.replace(/^\//, ""), BASE);
  for (const [name, value] of Object.entries(options.query ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined) url.searchParams.append(name, String(one));
    }
  }
  /** @type {Record<string, string>} */
  const headers = { Accept: options.as === "bytes" ? "application/octet-stream" : "application/json", ...options.headers };
  if (session.credential) headers.Authorization = session.credential;
  let body = options.body;
  if (options.json !== undefined) {
    body = JSON.stringify(options.json);
    headers["Content-Type"] = "application/json";
  }
  const giveUp = new AbortController();
  const timer = setTimeout(
    () => giveUp.abort(new ApiError(0, { error: "the gateway does not answer", code: "unavailable" })),
    1000 * (options.seconds ?? SECONDS),
  );
  const signal = options.signal ? AbortSignal.any([options.signal, giveUp.signal]) : giveUp.signal;
  try {
    const response = await fetch(url, { method, headers, body, signal, cache: "no-store", redirect: "error" });
    if (!response.ok && response.status !== 304) throw await errorOf(response);
    return { status: response.status, headers: response.headers, body: await bodyOf(response, options.as) };
  } catch (error) {
    if (error instanceof ApiError || options.signal?.aborted) throw error;
    throw new ApiError(0, { error: "the gateway cannot be reached", code: "unavailable", hint: String(error) });
  } finally {
    clearTimeout(timer);
  }
}

async function bodyOf(/** @type {Response} */ response, /** @type {Options["as"]} */ as) {
  if (as === "stream") return response.body;
  if (as === "bytes") return new Uint8Array(await response.arrayBuffer());
  const text = await response.text();
  try {
    return text && JSON.parse(text);
  } catch {
    throw new ApiError(response.status, { error: "the answer is not JSON: is this address a jetkv gateway?" });
  }
}

async function errorOf(/** @type {Response} */ response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // A proxy has answered with a page of its own.
  }
  if (response.status === 401) session.refused();
  return new ApiError(response.status, body);
}

/**
 * Yield the objects of JSON lines. The last one is `{type: "end"}`; without it, the answer was cut.
 *
 * @param {string} path
 * @param {Options} [options]
 * @returns {AsyncGenerator<any[], void>} the lines that arrived together
 * @throws {ApiError} the gateway gave up, or the connection broke
 */
async function* lines(path, options = {}) {
  const headers = { Accept: "application/x-ndjson", ...options.headers };
  const { body, headers: given } = await request(options.method ?? "GET", path, { seconds: 120, ...options, headers, as: "stream" });
  options.head?.(given);
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      const found = parts.filter(Boolean).map((line) => JSON.parse(line));
      const last = found.at(-1);
      if (last?.type === "error") throw new ApiError(200, { ...last, error: last.error ?? last.message });
      ended ||= last?.type === "end";
      if (found.length) yield found;
    }
  } catch (error) {
    if (error instanceof ApiError || options.signal?.aborted) throw error;
    throw new ApiError(0, { error: "the connection to the gateway broke", code: "unavailable" });
  } finally {
    reader.cancel().catch(() => {});
  }
  if (!ended) throw new ApiError(0, { error: "the list was cut short", code: "unavailable" });
}

const KV = "/api/v1/kv/buckets";
const name = encodeURIComponent;

/** Encode a key. A browser takes `.` and `..` for steps in a path, however they are written. */
function keyName(/** @type {string} */ key) {
  if (key === "." || key === "..") {
    throw new ApiError(0, { error: `a browser cannot ask for the key "${key}": use the command line`, code: "invalid_argument" });
  }
  return encodeURIComponent(key);
}

/** The paths of the API. Names are encoded here and nowhere else. */
export const paths = {
  buckets: KV,
  watch: "/api/v1/kv/watch",
  whoami: "/api/v1/auth/whoami",
  can: "/api/v1/auth/can",
  bucket: (/** @type {string} */ bucket) => `${KV}/${name(bucket)}`,
  keys: (/** @type {string} */ bucket) => `${KV}/${name(bucket)}/keys`,
  key: (/** @type {string} */ bucket, /** @type {string} */ key) => `${KV}/${name(bucket)}/keys/${keyName(key)}`,
  history: (/** @type {string} */ bucket, /** @type {string} */ key) => `${KV}/${name(bucket)}/history/${keyName(key)}`,
  touch: (/** @type {string} */ bucket, /** @type {string} */ key) => `${KV}/${name(bucket)}/touch/${keyName(key)}`,
  batch: (/** @type {string} */ bucket) => `${KV}/${name(bucket)}/batch`,
  compact: (/** @type {string} */ bucket) => `${KV}/${name(bucket)}/compact`,
};

/** @param {string} method */
const call = (method) => (/** @type {string} */ path, /** @type {Options} */ options) => request(method, path, options);

export const api = {
  request,
  lines,
  get: call("GET"),
  head: call("HEAD"),
  put: call("PUT"),
  post: call("POST"),
  patch: call("PATCH"),
  delete: call("DELETE"),

  /** Find out whether the gateway wants a credential, and who calls. */
  async signIn() {
    const { body } = await request("GET", "/api/v1/capabilities");
    session.authRequired = body.auth_required;
    session.version = body.version;
    if (session.authRequired && !session.credential) return null;
    const caller = (await request("GET", paths.whoami)).body;
    session.is(caller);
    return caller;
  },
};

session.ask = async (verb, bucket, key) =>
  (await request("GET", paths.can, { query: { verb, bucket, key } })).body.allowed;
