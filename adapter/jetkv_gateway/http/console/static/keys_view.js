/** The keys of a bucket. */

import { api, paths } from "./api.js";
import { fill, h } from "./dom.js";
import { links } from "./router.js";

/** @type {(main: HTMLElement, place: import("./router.js").Place, context: import("./app.js").Context) => Promise<import("./app.js").View>} */
export async function show(main, place, context) {
  context.title(place.bucket);
  await context.follow([{ bucket: place.bucket }]);
  const { body } = await api.get(paths.keys(place.bucket), { query: { limit: 100 }, signal: context.signal });
  fill(main, h("h1", null, place.bucket),
    h("ul", null, body.keys.map((/** @type {string} */ key) => h("li", null, h("a", { href: links.entry(place.bucket, key) }, key)))));
  return { update: context.reload, refresh: context.reload };
}
