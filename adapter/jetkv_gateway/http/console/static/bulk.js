/** Work on many keys: deleting them after a count, and downloading an export. */

import { api, paths } from "./api.js";
import { saveFile } from "./clipboard.js";
import { actions, ask, button, checkbox, field, form, openDialog, Problem, typed } from "./dialog.js";
import { fill, h } from "./dom.js";
import { ExportFile } from "./export_file.js";
import { count, counted, size } from "./format.js";

/** @typedef {import("./app.js").Context} Context */
/** @typedef {{filter?: string, prefix?: string}} Selection */

/** Keys that are named before they are deleted. */
const NAMED = 10;
/** Bytes of a file that are handed to the browser at a time, which keeps them on the disk. */
const PART = 8 * 1024 * 1024;

/**
 * @param {Selection} selection
 * @returns {{element: HTMLElement, read: () => Selection}}
 */
function chooser({ filter = "", prefix = "" }) {
  const input = /** @type {HTMLInputElement} */ (h("input", { value: filter || prefix, "data-focus": true }));
  const kind = /** @type {HTMLSelectElement} */ (h("select", { "aria-label": "Which keys" },
    h("option", { value: "prefix", selected: !filter }, "Keys that start with"), h("option", { value: "filter", selected: Boolean(filter) }, "Keys that match the filter")));
  const row = field("Keys", input, "Leave it empty for all keys of the bucket.");
  row.insertBefore(kind, input);
  const read = () => (input.value ? { [kind.value]: input.value } : {});
  return { element: row, read };
}

/**
 * Delete many keys: count them, name some, ask, and show how far it is.
 *
 * @param {string} bucket
 * @param {Selection} selection
 * @param {Context} context
 */
export async function showDeleteMany(bucket, selection, context) {
  const stop = new AbortController();
  await openDialog(`Delete many keys of ${bucket}`, (close) => {
    const which = chooser(selection);
    const purge = checkbox("Delete their histories, too");
    const problem = new Problem();
    const found = h("div", { "aria-live": "polite" });
    const parameters = () => {
      const chosen = which.read();
      return { ...(chosen.prefix || chosen.filter ? chosen : { filter: ">" }), purge: purge.input.checked || undefined };
    };

    async function tally() {
      problem.clear();
      fill(found, h("p", null, "Counting…"));
      const query = parameters();
      try {
        const { body } = await api.delete(paths.keys(bucket), { query: { ...query, dry_run: true }, seconds: 300, signal: stop.signal });
        const { filter, prefix } = query;
        const some = await api.get(paths.keys(bucket), { query: { filter, prefix, limit: NAMED }, signal: stop.signal }).catch(() => null);
        offer(query, body.matched, some?.body.keys ?? []);
      } catch (error) {
        fill(found);
        if (!stop.signal.aborted) problem.say(error);
      }
    }

    function offer(/** @type {any} */ query, /** @type {number} */ matched, /** @type {string[]} */ keys) {
      if (!matched) return fill(found, h("p", { class: "notice" }, "No key matches. There is nothing to delete."));
      const go = /** @type {HTMLButtonElement} */ (h("button", { class: "danger" }, `Delete ${counted(matched, "key")}`));
      const word = typed(String(matched), "to delete them", go);
      fill(found, form(() => run(query, matched),
        h("p", null, h("strong", null, counted(matched, "key")), matched === 1 ? " matches:" : " match, such as these:"),
        h("ul", { class: "names" }, keys.map((key) => h("li", null, h("code", null, h("bdi", null, key))))),
        h("p", { class: "note" }, "Keys that are written from now on stay."),
        word, go));
      word.querySelector("input")?.focus();
    }

    async function run(/** @type {any} */ query, /** @type {number} */ matched) {
      problem.clear();
      const bar = h("progress", { max: matched, value: 0, "aria-label": "Deleted keys" });
      const text = h("p", null, "Deleting…");
      fill(found, bar, text, h("p", { class: "note" }, "If you close this, the deletion stops where it is."));
      try {
        for await (const lines of api.lines(paths.keys(bucket), { method: "DELETE", query, signal: stop.signal })) {
          const { type, deleted, matched: all } = lines.at(-1);
          /** @type {HTMLProgressElement} */ (bar).value = deleted;
          text.textContent = `${count(deleted)} of ${count(all)} deleted`;
          if (type === "end") {
            context.say(`Deleted ${counted(deleted, "key")}`);
            close(null);
          }
        }
      } catch (error) {
        if (stop.signal.aborted) return;
        fill(found);
        problem.say(error);
      } finally {
        context.reload();
      }
    }

    const first = form(tally, which.element, purge.label,
      actions(button("Close", () => close(null)), h("button", { class: "primary" }, "Count them")));
    first.addEventListener("input", () => fill(found));
    return [first, found, problem.element];
  });
  stop.abort();
}

/**
 * Download the keys of a bucket as a file that `jetkv import` reads.
 *
 * @param {string} bucket
 * @param {Selection} selection
 * @param {Context} context
 */
export async function showExport(bucket, selection, context) {
  const which = chooser(selection);
  const history = checkbox("All stored revisions, and tombstones");
  const packs = "CompressionStream" in window;
  const pack = checkbox("Compressed (.gz)", { checked: packs, disabled: !packs });
  const state = h("p", { "aria-live": "polite" });
  const stop = new AbortController();
  const file = await ask(`Export ${bucket}`, () => [which.element, history.label, pack.label,
    h("p", { class: "note" }, "The file is one for `jetkv import`. It has a checksum in its last line."), state], {
    action: "Download",
    run: () => download(bucket, { ...which.read(), history: history.input.checked, pack: pack.input.checked }, stop.signal,
      (entries, bytes) => (state.textContent = `${counted(entries, "entry", "entries")}, ${size(bytes)}`)),
  });
  stop.abort();
  if (file) context.say(`Exported ${counted(file.count, "entry", "entries")}${file.partial ? ". Keys that you may not read are missing" : ""}`);
}

/**
 * @param {string} bucket
 * @param {Selection & {history: boolean, pack: boolean}} what
 * @param {AbortSignal} signal
 * @param {(entries: number, bytes: number) => void} progress
 */
async function download(bucket, { history, pack, ...selection }, signal, progress) {
  const info = (await api.get(paths.bucket(bucket), { signal })).body;
  // A get of any key tells the newest revision.
  const { revision } = (await api.post(paths.batch(bucket), { json: { get: ["-"] }, signal })).body;
  const query = { ...selection, include: history ? "history" : "values", values: "base64" };
  const { headers, body } = await api.get(paths.keys(bucket), { query, signal, as: "stream", seconds: 120, headers: { Accept: "application/x-ndjson" } });
  const partial = headers.has("jetkv-filtered");
  const settings = { history: info.history, ...(info.ttl_seconds ? { ttl_seconds: info.ttl_seconds } : {}) };
  const file = new ExportFile({ bucket, history, revision, settings, ...selection, ...(partial ? { partial } : {}) });
  let bytes = 0;
  const made = new TransformStream({
    start: (controller) => controller.enqueue(file.start()),
    transform(chunk, controller) {
      for (const part of file.add(chunk)) controller.enqueue(part);
      progress(file.count, (bytes += chunk.length));
    },
    flush() {
      if (!file.ended) throw new Error("the listing was cut short");
    },
  });
  const stream = body.pipeThrough(made);
  const parts = await collect(pack ? stream.pipeThrough(new CompressionStream("gzip")) : stream);
  saveFile(parts, `${bucket}.ndjson${pack ? ".gz" : ""}`);
  return { count: file.count, partial };
}

/** @param {ReadableStream<Uint8Array>} stream */
async function collect(stream) {
  /** @type {Blob[]} */
  const parts = [];
  /** @type {Uint8Array[]} */
  let some = [];
  let bytes = 0;
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (value) {
      some.push(value);
      bytes += value.length;
    }
    if (bytes > PART || (done && bytes)) {
      parts.push(new Blob(some));
      [some, bytes] = [[], 0];
    }
    if (done) return parts;
  }
}
