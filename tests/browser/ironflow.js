/**
 * Stands in for the official JavaScript client, which the registry here does not have: the official
 * packages `@ironflow/node` and `@ironflow/browser` have NOT been run against the gateway here.
 *
 * Written from what is known of their requests: the routes, keys that go into the path as they are,
 * strings and bytes as octets and all else as JSON, the codes of errors, and a watch that neither
 * comes back nor tells of its opening. It has what the recipes in docs/recipes use, and the KV part
 * of each package only where that package has it: in Node older ones cannot watch.
 */

import { gateway } from "gateway-under-test";

const DOCUMENTED = "http://localhost:9123";
const TIMEOUT_MS = 30_000;
const CODES = { 401: "UNAUTHENTICATED", 402: "ENTERPRISE_REQUIRED", 403: "UNAUTHORIZED" };
const EMPTY = 204;

export class IronflowError extends Error {
  constructor(message, code, retryable = false) {
    super(message);
    this.name = "IronflowError";
    this.code = code;
    this.retryable = retryable;
  }
}

/** Where the recipes' base URL is in this test; they have to name the documented one. */
function underTest(serverUrl) {
  if (!serverUrl.startsWith(`${DOCUMENTED}/`)) throw new Error(`not documented: ${serverUrl}`);
  return gateway + serverUrl.slice(DOCUMENTED.length);
}

async function textOfError(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text;
  }
}

/** What differs between the packages: headers, what counts as octets, and errors. */
const NODE = {
  headers: {},
  isOctets: (value) => typeof value === "string" || value instanceof Uint8Array,
  refused: (status, text) => new IronflowError(text, CODES[status] ?? `HTTP_${status}`),
  broken: (error) => error,
};
const BROWSER = {
  headers: { "X-Ironflow-Environment": "default" },
  isOctets: (value) => typeof value === "string",
  refused: (status, text) => new IronflowError(text, `HTTP_${status}`, status >= 500),
  broken: (error) =>
    new IronflowError(
      error.message, error.name === "TimeoutError" ? "TIMEOUT" : "REQUEST_FAILED", true),
};

async function send(kind, url, method, { type, body, condition } = {}) {
  const headers = { ...kind.headers, ...condition };
  if (body !== undefined) headers["Content-Type"] = type;
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const answer = await fetch(url, { method, headers, body, signal }).catch((error) => {
    throw kind.broken(error);
  });
  if (!answer.ok) throw kind.refused(answer.status, await textOfError(answer));
  return answer.status === EMPTY ? undefined : answer.json();
}

class Bucket {
  constructor(kind, buckets, name) {
    this.kind = kind;
    this.url = `${buckets}/${encodeURIComponent(name)}`;
  }

  get(key) {
    return send(this.kind, `${this.url}/keys/${key}`, "GET");
  }

  put(key, value, condition) {
    const octets = this.kind.isOctets(value);
    return send(this.kind, `${this.url}/keys/${key}`, "PUT", {
      type: octets ? "application/octet-stream" : "application/json",
      body: octets ? value : JSON.stringify(value),
      condition,
    });
  }

  create(key, value) {
    return this.put(key, value, { "If-None-Match": "*" });
  }

  update(key, value, revision) {
    return this.put(key, value, { "If-Match": String(revision) });
  }

  delete(key) {
    return send(this.kind, `${this.url}/keys/${key}`, "DELETE");
  }

  async listKeys(filter) {
    const query = filter ? `?filter=${encodeURIComponent(filter)}` : "";
    return (await send(this.kind, `${this.url}/keys${query}`, "GET")).keys;
  }
}

class WatchableBucket extends Bucket {
  watch({ onUpdate, onError, onClose }, { key } = {}) {
    const query = `?env=default${key ? `&key=${encodeURIComponent(key)}` : ""}`;
    const socket = new WebSocket(`${this.url.replace("http", "ws")}/watch${query}`);
    socket.onmessage = ({ data }) => {
      try {
        const frame = JSON.parse(data);
        // An error frame is not told of, only the closing behind it.
        if (frame.type === "kv_update") onUpdate(frame);
      } catch (error) {
        onError?.(error);
      }
    };
    socket.onerror = () => onError?.(new Error("the watch's WebSocket broke"));
    socket.onclose = () => onClose?.();
    return { stop: () => socket.close() };
  }
}

class KV {
  constructor(kind, BucketOfKind, serverUrl) {
    this.kind = kind;
    this.BucketOfKind = BucketOfKind;
    this.url = `${underTest(serverUrl)}/api/v1/kv/buckets`;
  }

  createBucket({ name, ttlSeconds }) {
    // Zero is left out, as all clients do.
    const body = JSON.stringify({ name, ttl_seconds: ttlSeconds || undefined });
    return send(this.kind, this.url, "POST", { type: "application/json", body });
  }

  getBucketInfo(name) {
    return send(this.kind, `${this.url}/${encodeURIComponent(name)}`, "GET");
  }

  bucket(name) {
    return new this.BucketOfKind(this.kind, this.url, name);
  }
}

/** Of `@ironflow/node`. */
export const createClient = ({ serverUrl }) => ({ kv: () => new KV(NODE, Bucket, serverUrl) });

/** Of `@ironflow/browser`. */
export const ironflow = {
  configure({ serverUrl }) {
    this.serverUrl = serverUrl;
  },
  kv() {
    return new KV(BROWSER, WatchableBucket, this.serverUrl);
  },
};
