// Caching with TTL, for the official Ironflow client. The same in Python: cache.py.
// Guaranteed: only a missing key is a miss; during an outage, calls throw and compute nothing.
// One call in this process computes a key at a time, and never replaces a value stored meanwhile.
// Not guaranteed: two processes may compute at once; a value computed during `forget` may stay.

import { createClient } from "@ironflow/node";

// Under /json, values arrive decoded; on the plain base URL they are base64.
const kv = createClient({ serverUrl: "http://localhost:9123/json" }).kv();
const cache = kv.bucket("cache");
const computing = new Map();

/** Create the bucket if it does not exist; its values live for five minutes. */
export async function openCache() {
  try {
    await kv.createBucket({ name: "cache", ttlSeconds: 300 });
  } catch (error) {
    if (error.code !== "HTTP_409") throw error;
  }
}

/** Return the stored value, or else what `compute` returns: any JSON. Wrap a string in an object:
 * a string that looks like a JSON object or array would come back parsed. */
export function getCached(key, compute) {
  let value = computing.get(key);
  if (value === undefined) {
    value = load(key, compute).finally(() => computing.delete(key));
    computing.set(key, value);
  }
  return value;
}

/** Make the next call compute the value again. */
export async function forget(key) {
  await cache.delete(encodeURIComponent(key));
}

async function load(key, compute) {
  // The client does not encode keys: a `?` or `#` would end the path.
  const path = encodeURIComponent(key);
  try {
    return (await cache.get(path)).value;
  } catch (error) {
    if (error.code !== "HTTP_404") throw error;
  }
  const value = await compute();
  if (value === undefined) throw new TypeError(`nothing to cache was computed for ${key}`);
  try {
    await cache.create(path, value);
  } catch (error) {
    if (error.code !== "HTTP_412") throw error;
  }
  return value;
}
