/** Copies text, and saves bytes as a file. */

import { h } from "./dom.js";

/** @param {string} text */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Plain HTTP from another machine: the page has no clipboard of its own there.
  const area = /** @type {HTMLTextAreaElement} */ (h("textarea", { class: "offscreen", value: text, readOnly: true }));
  const place = document.querySelector("dialog[open]") ?? document.body;
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  place.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  if (!copied) throw new Error("the browser does not let this page copy: select the text instead");
}

/**
 * Save bytes. The type keeps the browser from opening them.
 *
 * @param {BlobPart[]} parts
 * @param {string} name
 */
export function saveFile(parts, name) {
  const url = URL.createObjectURL(new Blob(parts, { type: "application/octet-stream" }));
  const safe = name.replace(/[^\w.@-]+/g, "_").replace(/^\.+/, "_").slice(0, 120);
  h("a", { href: url, download: safe }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
