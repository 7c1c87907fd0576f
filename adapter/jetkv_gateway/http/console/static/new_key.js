/** Asks for the name of a new key. The page of the key has the form for its value. */

import { ask, field } from "./dialog.js";
import { h } from "./dom.js";
import { links, router } from "./router.js";

const MOST_BYTES = 512;

/**
 * @param {string} bucket
 * @param {string} [prefix] how the name begins
 */
export async function showNewKey(bucket, prefix = "") {
  const input = /** @type {HTMLInputElement} */ (
    h("input", { value: prefix, "data-focus": true })
  );
  const key = await ask(`New key in ${bucket}`, () => [field("Key", input, "Any text of up to 512 bytes. It is not trimmed.")], {
    action: "Go on",
    run: () => {
      const bytes = new TextEncoder().encode(input.value).length;
      if (!bytes) throw new Error("A key has at least one character");
      if (bytes > MOST_BYTES) throw new Error(`This key has ${bytes} bytes. The limit is ${MOST_BYTES}`);
      if (/[\u0000-\u001f\u007f]/.test(input.value)) throw new Error("A key has no control characters");
      return input.value;
    },
  });
  if (key) router.go(links.entry(bucket, key, { new: true }));
}
