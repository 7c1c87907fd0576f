/** Who am I, and what may I do? */

import { fill, h } from "./dom.js";
import { session } from "./session.js";

/** @type {(main: HTMLElement, place: import("./router.js").Place, context: import("./app.js").Context) => Promise<import("./app.js").View>} */
export async function show(main, place, context) {
  context.title("Your access");
  fill(main, h("h1", null, "Your access"), h("p", null, session.caller?.name), h("ul", null, session.caller?.scopes.map((scope) => h("li", null, h("code", null, scope)))));
  return {};
}
