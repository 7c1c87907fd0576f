/** All buckets: how large they are, what they keep, and what to mind. */

import { api, paths } from "./api.js";
import { fill, h } from "./dom.js";
import { count, size } from "./format.js";
import { links } from "./router.js";

/** @type {(main: HTMLElement, place: import("./router.js").Place, context: import("./app.js").Context) => Promise<import("./app.js").View>} */
export async function show(main, place, context) {
  context.title("Buckets");
  const { body } = await api.get(paths.buckets, { signal: context.signal });
  fill(main, h("h1", null, "Buckets"),
    h("ul", null, body.buckets.map((/** @type {any} */ bucket) =>
      h("li", null, h("a", { href: links.keys(bucket.name) }, bucket.name), ` ${count(bucket.values ?? 0)} ${size(bucket.bytes)}`))));
  return {};
}
