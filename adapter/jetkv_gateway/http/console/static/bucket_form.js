/** The settings of a bucket. */

import { api, paths } from "./api.js";
import { fill, h } from "./dom.js";

/** @type {(main: HTMLElement, place: import("./router.js").Place, context: import("./app.js").Context) => Promise<import("./app.js").View>} */
export async function show(main, place, context) {
  context.title(`Settings of ${place.bucket}`);
  const { body } = await api.get(paths.bucket(place.bucket), { signal: context.signal });
  fill(main, h("h1", null, `Settings of ${place.bucket}`), h("pre", { tabindex: "0" }, JSON.stringify(body, null, 2)));
  return {};
}
