// Sessions, for the official client; their Python twin, which reads the same ones: sessions.py.
// Guaranteed: ids nobody can guess; a session ends an hour after it was started or refreshed, and
// one that has ended never comes back, as a refresh writes only over the revision that it read.
// Not guaranteed: that reading renews. Who may list the bucket's keys has all sessions.

import { createClient } from "@ironflow/node";

const kv = createClient({ serverUrl: "http://localhost:9123/json" }).kv();
const sessions = kv.bucket("sessions");
const ATTEMPTS = 10;
// Cookies bring anything; what passes here goes into a URL as it is.
const isId = (id) => typeof id === "string" && /^[A-Za-z0-9_-]{43}$/.test(id);

/** Make the bucket unless it is there. */
export async function openSessions() {
  await kv.createBucket({ name: "sessions", ttlSeconds: 3600 }).catch((error) => {
    if (error.code !== "HTTP_409") throw error;
  });
  const { ttl_seconds } = await kv.getBucketInfo("sessions");
  if (!ttl_seconds) throw new Error("bucket sessions has no TTL: its sessions would never end");
}

/** Store an object under a new id, and return the id: the cookie's value. */
export async function startSession(data) {
  const text = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))));
  const id = text.replaceAll("+", "-").replaceAll("/", "_").replace("=", "");
  await sessions.create(id, data);
  return id;
}

/** The session's data; undefined where it has ended, or there never was one. */
export const getSession = async (id) => (await read(id))?.value;

/** Renew a session's time, with what `change` makes of its data; undefined where it has ended. */
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

/** End a session; nothing happens where it has ended. */
export const endSession = async (id) => {
  if (isId(id)) await sessions.delete(id);
};

async function read(id) {
  if (!isId(id)) return undefined;
  return sessions.get(id).catch((error) => {
    if (error.code !== "HTTP_404") throw error;
  });
}
