// Sessions, for the official Ironflow client. sessions.py in Python reads the same sessions.
// Guaranteed: nobody can guess an id; a session ends an hour after its start or last refresh, and
// never comes back, because a refresh writes only over the revision that it read.
// Not guaranteed: reading does not renew. Whoever may list the bucket's keys can use all sessions.

import { createClient } from "@ironflow/node";

const kv = createClient({ serverUrl: "http://localhost:9123/json" }).kv();
const sessions = kv.bucket("sessions");
const ATTEMPTS = 10;
// A cookie may contain anything; an id that passes this check goes into a URL unencoded.
const isId = (id) => typeof id === "string" && /^[A-Za-z0-9_-]{43}$/.test(id);

/** Create the bucket if it does not exist. */
export async function openSessions() {
  await kv.createBucket({ name: "sessions", ttlSeconds: 3600 }).catch((error) => {
    if (error.code !== "HTTP_409") throw error;
  });
  const { ttl_seconds } = await kv.getBucketInfo("sessions");
  if (!ttl_seconds) throw new Error("bucket sessions has no TTL: its sessions would never end");
}

/** Store an object under a new id, and return the id for the cookie. */
export async function startSession(data) {
  const text = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))));
  const id = text.replaceAll("+", "-").replaceAll("/", "_").replace("=", "");
  await sessions.create(id, data);
  return id;
}

/** Return the session's data, or undefined if it has ended or never existed. */
export const getSession = async (id) => (await read(id))?.value;

/** Renew a session and store what `change` returns for its data; undefined if it has ended. */
export async function refreshSession(id, change = (data) => data) {
  for (let attempt = 1; ; attempt++) {
    const entry = await read(id);
    if (!entry) return undefined;
    const data = await change(entry.value);
    try {
      await sessions.update(id, data, entry.revision);
      return data;
    } catch (error) {
      if (error.code !== "HTTP_412" || attempt === ATTEMPTS) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 10 * attempt));
  }
}

/** End a session; does nothing if it has ended already. */
export const endSession = async (id) => {
  if (isId(id)) await sessions.delete(id);
};

async function read(id) {
  if (!isId(id)) return undefined;
  return sessions.get(id).catch((error) => {
    if (error.code !== "HTTP_404") throw error;
  });
}
