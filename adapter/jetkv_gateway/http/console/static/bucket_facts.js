/** What a bucket is like, in short. */

import { h } from "./dom.js";
import { count, counted, duration, size } from "./format.js";

/** The number of keys, where the number of stored messages is all that is known. @param {any} info */
export function keysText(info) {
  if (info.values === undefined) return "–";
  return info.values ? `≤ ${count(info.values)}` : "0";
}

/** @param {any} info @param {number} [keys] @returns {string[]} */
export function bucketFacts(info, keys) {
  const facts = [];
  if (keys !== undefined) facts.push(counted(keys, "key"));
  else if (info.values !== undefined) facts.push(`${keysText(info)} keys`);
  if (info.bytes !== undefined) facts.push(size(info.bytes));
  if (info.ttl_seconds) facts.push(`TTL ${duration(info.ttl_seconds)}`);
  if (info.history > 1) facts.push(`history ${info.history}`);
  if (info.replicas > 1) facts.push(`${info.replicas} replicas`);
  if (info.storage === "memory") facts.push("in memory");
  return facts;
}

/** @param {any} one a warning of the API @returns {import("./dom.js").Child} */
export const warning = (one) => [h("strong", null, one.code.replaceAll("_", " ")), `: ${one.message}`];

/** What to mind of a bucket, behind a button. @param {any} info */
export function warningsOf(info) {
  if (!info.warnings?.length) return null;
  return h("details", { class: "warnings" }, h("summary", null, counted(info.warnings.length, "warning")),
    h("ul", null, info.warnings.map((/** @type {any} */ one) => h("li", null, warning(one)))));
}
