/** What to do if somebody else has written a key meanwhile. */

import { diffView } from "./diff_view.js";
import { actions, button, openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { relative, size } from "./format.js";
import { decodeText, describe, hexDump, visible } from "./values.js";

/** Characters of each version that are shown side by side. */
const MOST = 20_000;

/**
 * Show both versions.
 *
 * @param {import("./entries.js").Entry | null} theirs null if the key was deleted
 * @param {Uint8Array} mine
 * @returns {Promise<"mine" | "theirs" | "edit" | null>} what to do; null to think about it
 */
export function askLostRace(theirs, mine) {
  const title = theirs ? "Somebody else has changed this key" : "Somebody else has deleted this key";
  return openDialog(title, (close) => {
    const choose = (/** @type {"mine" | "theirs" | "edit"} */ choice, /** @type {string} */ text, kind = "") =>
      button(text, () => close(choice), kind, { "data-focus": choice === "edit" });
    const version = (/** @type {string} */ name, /** @type {string} */ about, /** @type {Uint8Array | null} */ bytes) =>
      h("section", { "aria-label": name }, h("h3", null, name), h("p", { class: "note" }, about), h("pre", { tabindex: 0 }, bytes && shown(bytes)));
    return [
      h("p", null, "Nothing of yours is lost, and nothing is stored yet."),
      h("div", { class: "side-by-side" },
        version("Theirs", theirs ? `Revision ${theirs.revision}, ${relative(theirs.createdAt)}, ${size(theirs.size)}` : "No value", theirs?.bytes ?? null),
        version("Yours", `Not stored, ${size(mine.length)}`, mine)),
      theirs?.bytes ? h("details", { open: true }, h("summary", null, "Theirs compared with yours"), diffView(theirs.bytes, mine)) : null,
      actions(choose("theirs", "Take theirs"), choose("mine", theirs ? "Write mine over theirs" : "Write mine again", "danger"), choose("edit", "Go on editing mine", "primary")),
    ];
  }, { wide: true });
}

/** @param {Uint8Array} bytes */
function shown(bytes) {
  const { json } = describe(bytes);
  const text = json ?? decodeText(bytes);
  const all = text === null ? hexDump(bytes.subarray(0, MOST / 4)) : visible(text);
  return all.length > MOST ? `${all.slice(0, MOST)}…` : all;
}
