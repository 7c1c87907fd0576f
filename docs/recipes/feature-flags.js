// Feature flags, for the official Ironflow client. The same in Python: feature_flags.py.
// Guaranteed: once `followFlags` resolves, all flags are in memory, and each change that the watch
// reports is read. While the gateway is away, flags keep their values; then all are read again.
// Not guaranteed: the client does not say when a watch opens; a change before that may take 30 s.

import { ironflow } from "@ironflow/browser";

ironflow.configure({ serverUrl: "http://localhost:9123/json" });
const bucket = ironflow.kv().bucket("feature-flags");
const flags = new Map();

/** Whether a flag is `true` or `{"enabled": true}`; a partial rollout counts as off here. */
export function isEnabled(name) {
  const flag = flags.get(name);
  return flag === true || (flag?.enabled === true && (flag.rollout ?? 1) >= 1);
}

/** Turn a flag on or off for everybody. */
export const setFlag = (name, enabled) => bucket.put(encodeURIComponent(name), { enabled });

/** Keep the flags current, and call `onChange(name)` after each change. Resolves to a function that
 * stops this. */
export async function followFlags({ onChange = () => {}, rereadMs = 30_000 } = {}) {
  const waiting = new Set();
  let [last, watcher, timer, stopped] = [Promise.resolve()];
  // One read at a time, so that an older read never overwrites a newer one.
  const next = (reading) => (last = last.catch(() => {}).then(reading));
  // The client does not reopen a watch. After any failure, closing it makes `onClose` start over.
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
