/** The stored revisions of a key: to look at, to compare, and to restore. */

import { diffView } from "./diff_view.js";
import { ask, button } from "./dialog.js";
import { fill, h, heads } from "./dom.js";
import { relative, size } from "./format.js";
import { history, read, write } from "./entries.js";
import { links, router } from "./router.js";
import { timeOf } from "./times.js";

/** @typedef {import("./entries.js").Entry} Entry */

const DONE = { put: "written", delete: "deleted", purge: "purged" };
const NOTHING = new Uint8Array();

/**
 * @param {object} options
 * @param {string} options.bucket
 * @param {string} options.key
 * @param {string} options.compared such as `3..7`
 * @param {number} options.kept revisions that the bucket keeps of a key
 * @param {boolean} options.mayWrite
 * @param {AbortSignal} options.signal
 * @param {() => void} options.restored
 * @param {(text: string) => void} options.say
 * @returns {Promise<HTMLElement>}
 */
export async function historyPanel({ bucket, key, compared, kept, mayWrite, signal, restored, say }) {
  const entries = await history(bucket, key, signal);
  if (!entries.length) return h("p", { class: "empty-state" }, "No revision of this key is stored.");
  const difference = h("section", { "aria-live": "polite", class: "difference" });
  const at = (/** @type {number} */ revision) => entries.find((entry) => entry.revision === revision);
  let [from, to] = compared.split("..").map(Number);
  if (!at(to)) to = entries[0].revision;
  if (!at(from)) from = entries[1]?.revision ?? to;

  function compare() {
    const [old, now] = [at(from), at(to)];
    for (const radio of list.querySelectorAll("input")) radio.checked = Number(radio.value) === (radio.name === "from" ? from : to);
    if (!old || !now || old === now) {
      fill(difference, entries.length > 1 ? h("p", { class: "quiet" }, "Choose two revisions to compare them.") : null);
      return;
    }
    fill(difference, h("h2", null, `Revision ${from} compared with ${to}`),
      old.operation !== "put" || now.operation !== "put" ? h("p", { class: "note" }, "A deleted key has no value. It is compared as an empty one.") : null,
      diffView(old.bytes ?? NOTHING, now.bytes ?? NOTHING));
  }

  const choose = (/** @type {number} */ a, /** @type {number} */ b) => {
    [from, to] = [a, b];
    router.replace(links.entry(bucket, key, { tab: "history", diff: `${a}..${b}` }));
    compare();
  };
  const radio = (/** @type {"from" | "to"} */ name, /** @type {number} */ value) =>
    entries.length > 1 && h("input", { type: "radio", name, value, "aria-label": name === "from" ? `Compare revision ${value}` : `with revision ${value}`,
      onchange: () => (name === "from" ? choose(value, to) : choose(from, value)) });

  const row = (/** @type {Entry} */ entry, /** @type {number} */ place) => {
    const before = entries[place + 1];
    const current = place === 0 && entry.operation === "put";
    return h("tr", { class: entry.operation === "put" ? "" : "gone" },
      h("td", null, radio("from", entry.revision)), h("td", null, radio("to", entry.revision)),
      h("td", null, h("a", { href: links.entry(bucket, key, place && entry.operation === "put" ? { rev: entry.revision } : {}) }, entry.revision), " ", current ? h("span", { class: "tag" }, "current") : null),
      h("td", null, DONE[entry.operation], " ", timeOf(entry.createdAt)),
      h("td", { class: "right" }, entry.operation === "put" ? size(entry.size) : ""),
      h("td", { class: "right" },
        before ? button("What changed", () => choose(before.revision, entry.revision), "small") : null,
        mayWrite && !current && entry.operation === "put"
          ? button("Restore…", () => restore(bucket, key, entry, entries[0], restored, say), "small") : null));
  };
  const list = h("table", { class: "history" },
    heads(["From", "To", "Revision", "When", "Size", "Actions"], ["Size"]),
    h("tbody", null, entries.map(row)));
  compare();
  return h("div", null,
    h("p", { class: "note" }, kept === 1
      ? "This bucket keeps one revision of each key, so an older value cannot be restored. More history is a setting of the bucket."
      : `This bucket keeps ${kept} revisions of each key. The newest is first.`),
    h("div", { class: "scroll" }, list), difference);
}

/**
 * Write an older value again, after showing what that changes.
 *
 * @param {string} bucket
 * @param {string} key
 * @param {Entry} old
 * @param {Entry} current the newest revision, which may be a tombstone
 * @param {() => void} done
 * @param {(text: string) => void} say
 */
export async function restore(bucket, key, old, current, done, say) {
  const revision = await ask(`Restore revision ${old.revision}?`, () => [
    h("p", null, `The value of revision ${old.revision}, ${relative(old.createdAt)}, is written again as a new revision. It is written only if revision ${current.revision} is still the newest.`),
    current.operation === "put" && old.bytes && current.bytes ? diffView(current.bytes, old.bytes) : null,
  ], {
    action: "Restore", wide: true,
    run: async () => {
      // With its content type, which a history does not say.
      const { bytes, contentType, contentEncoding } = await read(bucket, key, { revision: old.revision, large: true });
      return write(bucket, key, { bytes: bytes ?? NOTHING, contentType, contentEncoding, revision: current.revision });
    },
  });
  if (!revision) return;
  say(`Restored as revision ${revision}`);
  done();
}
