// Optimistic locking, for the official Ironflow client. The same in Python: optimistic_locking.py.
// Guaranteed: a change that returns was made to the newest value, and counts exactly once.
// Not guaranteed: after HTTP_504 or a broken connection, the change may or may not be stored.
// Read the value before you repeat the change. Numbers are exact up to 2^53.

import { createClient } from "@ironflow/node";

// The client's command dedup decodes base64 itself: give it a client without /json.
const kv = createClient({ serverUrl: "http://localhost:9123/json" }).kv();
const counters = kv.bucket("counters");

const ATTEMPTS = 20;
const LONGEST_PAUSE_MS = 200;

/** Create the bucket if it does not exist. */
export async function openCounters() {
  try {
    await kv.createBucket({ name: "counters" });
  } catch (error) {
    if (error.code !== "HTTP_409") throw error;
  }
}

/** Replace a value by what `change` returns for it; `change` gets undefined if there is none. */
export async function modify(key, change) {
  const path = encodeURIComponent(key);
  for (let attempt = 1; ; attempt++) {
    const entry = await counters.get(path).catch((error) => {
      if (error.code !== "HTTP_404") throw error;
    });
    const value = await change(entry?.value);
    try {
      if (entry) await counters.update(path, value, entry.revision);
      else await counters.create(path, value);
      return value;
    } catch (error) {
      // Only 412 means that another writer was faster, and that nothing was written.
      if (error.code !== "HTTP_412" || attempt === ATTEMPTS) throw error;
    }
    // A random pause, because writers that retry at once collide again.
    const pause = Math.random() * Math.min(LONGEST_PAUSE_MS, 5 * 2 ** attempt);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Add to a counter, which starts at 0, and return the new total. */
export async function increment(key, by = 1) {
  return modify(key, (total = 0) => {
    const next = total + by;
    if (!Number.isSafeInteger(next)) throw new TypeError(`${key} holds no number to add to`);
    return next;
  });
}
