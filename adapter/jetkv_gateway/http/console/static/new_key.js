/** Asks for the name of a new key. The page of the key has the form for its value. */

import { actions, field, form, openDialog, Problem } from "./dialog.js";
import { h } from "./dom.js";
import { links, router } from "./router.js";

const MOST_BYTES = 512;

/**
 * @param {string} bucket
 * @param {string} [prefix] how the name begins
 */
export async function showNewKey(bucket, prefix = "") {
  const key = await openDialog(`New key in ${bucket}`, (close) => {
    const problem = new Problem();
    const input = /** @type {HTMLInputElement} */ (
      h("input", { value: prefix, autocomplete: "off", autocapitalize: "off", spellcheck: "false", "data-focus": true, class: "mono" })
    );
    const send = () => {
      const bytes = new TextEncoder().encode(input.value).length;
      if (!bytes) problem.show("A key has at least one character.");
      else if (bytes > MOST_BYTES) problem.show(`This key has ${bytes} bytes. The limit is ${MOST_BYTES}.`);
      else if (/[\u0000-\u001f\u007f]/.test(input.value)) problem.show("A key has no control characters.");
      else close(input.value);
    };
    return [form(send, field("Key", input, "Any text of up to 512 bytes. It is not trimmed."), problem.element,
      actions(h("button", { type: "button", onclick: () => close(null) }, "Cancel"), h("button", { class: "primary" }, "Go on")))];
  });
  if (key) router.go(links.entry(bucket, key, { new: true }));
}
