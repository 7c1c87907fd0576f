// Caching with TTL, for the official client; its Python twin is beside it: cache.py.
// Guaranteed: only a key that is not there is a miss; an outage is thrown and computes nothing.
// Here one call computes a key at a time, and a value that somebody stored meanwhile stands.
// Not guaranteed: that two processes do not compute at once; what `forget` races may be stored.

import { createClient } from "@ironflow/node";

// Under /json a value comes back ready to use; without it, it would be base64.
const kv = createClient({ serverUrl: "http://localhost:9123/json" }).kv();
const cache = kv.bucket("cache");
const computing = new Map();

/** Make the bucket unless it is there; its values live for five minutes. */
export async function openCache() {
  try {
    await kv.createBucket({ name: "cache", ttlSeconds: 300 });
  } catch (error) {
    if (error.code !== "HTTP_409") throw error;
  }
}

/** The stored value, or what `compute` returns: any JSON. A text goes into an object, since one
 * that looks like an object or array itself would come back parsed. */
export function getCached(key, compute) {
  let value = computing.get(key);
  if (value === undefined) {
    value = load(key, compute).finally(() => computing.delete(key));
    computing.set(key, value);
  }
  return value;
}

/** Have the next call compute anew. */
export async function forget(key) {
  await cache.delete(encodeURIComponent(key));
}

async function load(key, compute) {
  // The client sends keys as they are: a `?` or `#` would end the path.
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
