// Feature flags, for the official client; their Python twin is beside it: feature_flags.py.
// Guaranteed: once `followFlags` resolves, all flags are in memory, and what the watch tells of is
// read anew. While the gateway is away the last known stand; afterwards all are read again.
// Not guaranteed: the client keeps silent of when a watch opens; a change until then waits 30 s.

import { ironflow } from "@ironflow/browser";

ironflow.configure({ serverUrl: "http://localhost:9123/json" });
const bucket = ironflow.kv().bucket("feature-flags");
const flags = new Map();

/** Whether a flag is `true` or `{"enabled": true}`; one for a part of the users is off here. */
export function isEnabled(name) {
  const flag = flags.get(name);
  return flag === true || (flag?.enabled === true && (flag.rollout ?? 1) >= 1);
}

/** Switch a flag for everybody. */
export const setFlag = (name, enabled) => bucket.put(encodeURIComponent(name), { enabled });

/** Keep the flags current and call `onChange(name)` after each change; resolves to what ends it. */
export async function followFlags({ onChange = () => {}, rereadMs = 30_000 } = {}) {
  const waiting = new Set();
  let [last, watcher, timer, stopped] = [Promise.resolve()];
  // One after the other: an older reading never overwrites a newer one.
  const next = (reading) => (last = last.catch(() => {}).then(reading));
  // The client opens no watch again: whatever fails, closing this one begins anew.
  const follow = (reading) => next(reading).catch(() => watcher.stop());

  function open() {
    const onUpdate = ({ key }) => {
      if (!waiting.has(key)) follow(() => read(key));
      waiting.add(key);
    };
    const reopen = () => stopped || (open(), follow(readAll));
    const onClose = () => setTimeout(reopen, 1000 + 1000 * Math.random());
    watcher = bucket.watch({ onUpdate, onClose });
  }
  async function readAll() {
    clearTimeout(timer);
    const names = await bucket.listKeys();
    for (const name of new Set([...flags.keys(), ...names])) await read(name);
    if (!stopped) timer = setTimeout(() => follow(readAll), rereadMs);
  }
  async function read(name) {
    waiting.delete(name);
    const entry = await bucket.get(encodeURIComponent(name)).catch((error) => {
      if (error.code !== "HTTP_404") throw error;
    });
    if (JSON.stringify(flags.get(name)) === JSON.stringify(entry?.value)) return;
    if (entry) flags.set(name, entry.value);
    else flags.delete(name);
    onChange(name);
  }
  const stop = () => (clearTimeout(timer), watcher.stop(), (stopped = true));

  open();
  await next(readAll).catch((error) => (stop(), Promise.reject(error)));
  return stop;
}
