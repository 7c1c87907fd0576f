/** Shows commands that do what the page shows, to copy them. */

import { copyText } from "./clipboard.js";
import { copyAs, LANGUAGES } from "./copy_as.js";
import { actions, button, openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { session } from "./session.js";

/** What the user chose last. */
let language = LANGUAGES[0][0];
let action = "get";

/** @type {[string, string][]} */
const ACTIONS = [["get", "Read"], ["put", "Write"], ["delete", "Delete"]];

/**
 * @param {{bucket: string, key: string, value?: Uint8Array, contentType?: string, revision?: number}} subject
 * @param {string[]} allowed verbs of the caller
 * @param {(text: string) => void} say
 */
export function showCopyDialog(subject, allowed, say) {
  const origin = new URL("..", import.meta.url).href.replace(/\/$/, "");
  const possible = ACTIONS.filter(([name]) => allowed.includes(name));
  if (!possible.some(([name]) => name === action)) action = possible[0]?.[0] ?? "get";
  return openDialog("Copy as", (close) => {
    const shown = h("pre", { tabindex: 0, class: "command" });
    const draw = () => {
      const what = { ...subject, action, origin, auth: session.authRequired };
      shown.textContent = copyAs(language, /** @type {import("./copy_as.js").Subject} */ (what));
      for (const one of bar.querySelectorAll("button")) {
        one.setAttribute("aria-pressed", String(one.value === language || one.value === action));
      }
    };
    const choice = (/** @type {[string, string][]} */ names, /** @type {string} */ label, /** @type {(name: any) => void} */ choose) =>
      h("div", { class: "segments", role: "group", "aria-label": label },
        names.map(([name, text]) =>
          button(text, () => { choose(name); draw(); }, "", { value: name })));
    const bar = h("div", { class: "toolbar" },
      choice(LANGUAGES, "Language", (name) => (language = name)),
      choice(possible, "What it does", (name) => (action = name)));
    const copy = async () => {
      await copyText(shown.textContent ?? "");
      say("Copied");
      close(null);
    };
    draw();
    return [
      bar,
      shown,
      session.authRequired ? h("p", { class: "note" }, "Put your token into JETKV_TOKEN. The console copies no token.") : null,
      actions(button("Close", () => close(null)),
        button("Copy", copy, "primary", { "data-focus": true })),
    ];
  }, { wide: true });
}
