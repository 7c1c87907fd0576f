/** The settings of a bucket as fields of a form (docs/http-api.md#buckets). */

import { field } from "./dialog.js";
import { h } from "./dom.js";
import { exactDuration, parseDuration, parseSize } from "./durations.js";
import { size } from "./format.js";

/** @typedef {Record<string, any>} Settings */
/**
 * @typedef {object} Field
 * @property {string} name
 * @property {string} label
 * @property {string} [note]
 * @property {boolean} [rare] whether it is hidden at first
 * @property {string[]} [choices]
 * @property {(value: any) => string} [shown] the value as people write it
 * @property {(text: string, current: any) => any} [read] undefined if the text is wrong
 * @property {boolean} [lines] whether the text has several lines
 * @property {boolean} [fixed] whether a bucket that exists keeps it
 */

const time = { shown: (/** @type {number} */ n) => (n ? exactDuration(n) : ""), read: (/** @type {string} */ text) => (text ? parseDuration(text) ?? undefined : 0) };
const bytes = { shown: (/** @type {number} */ n) => (n ? (n % 1024 ? String(n) : size(n)) : ""), read: (/** @type {string} */ text) => (text ? parseSize(text) ?? undefined : 0) };
const number = { read: (/** @type {string} */ text) => (/^\d+$/.test(text) ? Number(text) : undefined) };
const flag = { choices: ["on", "off"], shown: (/** @type {boolean} */ on) => (on === undefined ? "" : on ? "on" : "off"), read: (/** @type {string} */ text) => text === "on" };

/** @type {Field[]} */
export const FIELDS = [
  { name: "description", label: "Description" },
  { name: "ttl_seconds", label: "Values expire after", note: "Such as 30s, 12h or 7d. Empty is never.", ...time },
  { name: "history", label: "Revisions kept of each key", note: "1 to 64. With 1, older values cannot be restored.", ...number },
  { name: "max_value_size", label: "Largest value", note: "Such as 64 KiB. Empty is unlimited.", ...bytes },
  { name: "max_bytes", label: "Largest size of the bucket", note: "Such as 2 GiB. Empty is unlimited.", ...bytes },
  { name: "protected", label: "Protected from deletion", ...flag },
  { name: "storage", label: "Storage", choices: ["file", "memory"], fixed: true, rare: true },
  { name: "replicas", label: "Replicas", choices: ["1", "2", "3", "4", "5"], rare: true, ...number },
  { name: "compression", label: "Compression", choices: ["none", "s2"], rare: true },
  { name: "key_ttl", label: "TTLs of single values", rare: true, ...flag },
  { name: "expiry_markers", label: "Expiry markers", note: "They tell watchers that a value has expired.", rare: true, ...flag },
  { name: "batches", label: "Atomic batches", rare: true, ...flag },
  {
    name: "metadata", label: "Metadata", note: "A line for each, such as team=payments.", rare: true, lines: true,
    shown: (found) => Object.entries(found ?? {}).map(([name, text]) => `${name}=${text}`).join("\n"),
    read: (text, current) => {
      const pairs = text.split("\n").filter((line) => line.trim()).map((line) => line.split(/=(.*)/s).slice(0, 2));
      if (pairs.some(([name, value]) => !name || value === undefined)) return undefined;
      const found = Object.fromEntries(pairs);
      // What is not named stays, so what was taken away is named as null.
      for (const name of Object.keys(current ?? {})) found[name] ??= null;
      return found;
    },
  },
  {
    name: "placement", label: "Placement", note: "Tags of servers; a cluster as cluster:NAME.", rare: true,
    shown: (found) => [...(found?.cluster ? [`cluster:${found.cluster}`] : []), ...(found?.tags ?? [])].join(", "),
    read: (text) => {
      const words = text.split(/[\s,]+/).filter(Boolean);
      const cluster = words.find((word) => word.startsWith("cluster:"))?.slice(8);
      const tags = words.filter((word) => !word.startsWith("cluster:"));
      return { ...(cluster ? { cluster } : {}), ...(tags.length ? { tags } : {}) };
    },
  },
  {
    name: "republish", label: "Republish", note: "DESTINATION, or SOURCE to DESTINATION; end with “headers only” to leave values out.", rare: true,
    shown: (found) => (found?.destination ? `${found.source ? `${found.source} to ` : ""}${found.destination}${found.headers_only ? " headers only" : ""}` : ""),
    read: (text) => {
      if (!text) return {};
      const match = /^(?:(\S+) to )?(\S+)( headers only)?$/.exec(text);
      if (!match) return undefined;
      return { destination: match[2], ...(match[1] ? { source: match[1] } : {}), ...(match[3] ? { headers_only: true } : {}) };
    },
  },
];

/** @param {string} name @param {any} value */
export function shownValue(name, value) {
  const found = FIELDS.find((one) => one.name === name);
  return (found?.shown ?? String)(value ?? "") || (name.endsWith("_seconds") ? "never" : /^max_/.test(name) ? "unlimited" : "none");
}

/** A form of the settings, which tells what was changed in it. */
export class BucketFields {
  /** @type {Map<Field, {control: HTMLInputElement, first: string}>} */
  #controls = new Map();
  #current;

  /** @param {Settings | null} current null for a bucket that is not there yet */
  constructor(current) {
    this.#current = current;
    const rows = (/** @type {boolean} */ rare) => FIELDS.filter((one) => Boolean(one.rare) === rare && !(one.fixed && current)).map((one) => this.#row(one));
    this.element = h("div", null, h("div", { class: "fields" }, rows(false)),
      h("details", null, h("summary", null, "More settings"), h("div", { class: "fields" }, rows(true))));
  }

  /** @param {Field} one */
  #row(one) {
    const first = this.#current ? (one.shown ?? ((value) => String(value ?? "")))(this.#current[one.name]) : "";
    let control;
    if (one.choices) {
      const choices = this.#current && first ? one.choices : ["", ...one.choices];
      control = h("select", null, choices.map((value) => h("option", { value, selected: value === first }, value || "by default")));
    } else {
      control = one.lines ? h("textarea", { rows: 3 }) : h("input");
    }
    const input = /** @type {HTMLInputElement} */ (control);
    input.value = first;
    this.#controls.set(one, { control: input, first });
    return field(one.label, input, one.note);
  }

  /**
   * @returns {Settings} what differs from the bucket as it is
   * @throws {Error} a text cannot be read
   */
  changes() {
    /** @type {Settings} */
    const found = {};
    for (const [one, { control, first }] of this.#controls) {
      const text = control.value.trim();
      control.removeAttribute("aria-invalid");
      if (text === first.trim()) continue;
      const value = one.read ? one.read(text, this.#current?.[one.name]) : text;
      if (value === undefined) {
        control.setAttribute("aria-invalid", "true");
        control.focus();
        throw new Error(`${one.label}: “${text}” cannot be read${one.note ? `. ${one.note}` : ""}`);
      }
      found[one.name] = value;
    }
    return found;
  }
}
