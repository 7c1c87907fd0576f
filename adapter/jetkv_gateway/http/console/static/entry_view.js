/** One key: its value. */

import { api, paths } from "./api.js";
import { fill, h } from "./dom.js";

/** @type {(main: HTMLElement, place: import("./router.js").Place, context: import("./app.js").Context) => Promise<import("./app.js").View>} */
export async function show(main, place, context) {
  context.title(place.key);
  await context.follow([{ bucket: place.bucket }]);
  const { body } = await api.get(paths.key(place.bucket, place.key), { as: "bytes", signal: context.signal });
  fill(main, h("h1", null, h("bdi", null, place.key)), h("pre", { class: "value", tabindex: "0" }, new TextDecoder().decode(body)));
  return {};
}
