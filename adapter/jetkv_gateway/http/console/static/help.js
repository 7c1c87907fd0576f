/** The help: which keys do what. */

import { actions, button, checkbox, openDialog } from "./dialog.js";
import { fact, h } from "./dom.js";
import { session } from "./session.js";
import { shortcuts } from "./shortcuts.js";

/** Lines that views add for keys that they handle themselves. @type {[string, string][]} */
const IN_LISTS = [
  ["↑ ↓", "Move in a list or tree"],
  ["→ ←", "Open or close a group"],
  ["Enter", "Open a group or a key"],
  ["PgUp PgDn", "Move by a page"],
  ["Home End", "Move to the first or last row"],
  ["Esc", "Close a dialog"],
];

/** @param {string} title @param {[string, string][]} rows */
function table(title, rows) {
  return h("section", null, h("h3", null, title),
    h("dl", { class: "keys-help" },
      rows.map(([keys, label]) => fact(keys.split(" ").map((one) => h("kbd", null, one)), label))));
}

export function showHelp() {
  if (document.querySelector("dialog[open]")) return;
  const rows = (/** @type {import("./shortcuts.js").Shortcut[]} */ some) => some.map(({ key, label }) => /** @type {[string, string]} */ ([key, label]));
  openDialog("Help", (close) => [
    h("div", { class: "columns" },
      shortcuts.local.length ? table("On this page", rows(shortcuts.local)) : null,
      table("Everywhere", rows(shortcuts.global)),
      table("Lists", IN_LISTS)),
    checkbox("Single keys work as shortcuts", { checked: shortcuts.on, onchange: (/** @type {any} */ event) => (shortcuts.on = event.target.checked) }).label,
    h("p", { class: "quiet" }, `jetkv ${session.version}`),
    actions(button("Close", () => close(null), "", { "data-focus": true })),
  ], { wide: true });
}
