/** All buckets: how large they are, what they keep, and what to mind. */

import { api, paths } from "./api.js";
import { keysText, warningsOf } from "./bucket_facts.js";
import { mayCreateBuckets, showNewBucket } from "./bucket_form.js";
import { debounced, fill, h, heads } from "./dom.js";
import { count, counted, duration, size, timestamp } from "./format.js";
import { live } from "./live.js";
import { links, router } from "./router.js";

/** Stored messages of a bucket whose keys are counted. */
const COUNTED = 10_000;
const POLL = 15_000;

export class BucketsView {
  /** @type {any[]} */
  buckets = [];
  /** The number of keys as of a number of stored messages. @type {Map<string, {values: number, keys: number}>} */
  counts = new Map();
  /** @type {Set<string>} */
  fresh = new Set();
  names = "";

  /** @param {import("./router.js").Place} place @param {import("./app.js").Context} context */
  constructor(place, context) {
    this.context = context;
    this.input = /** @type {HTMLInputElement} */ (h("input", { type: "search", value: place.query.get("find") ?? "", "aria-label": "Find a bucket", placeholder: "Find a bucket", oninput: () => this.draw() }));
    this.total = h("span", { class: "quiet", role: "status" });
    this.body = h("tbody");
    this.empty = h("p", { class: "empty-state", hidden: true });
    const create = mayCreateBuckets();
    this.table = h("table", { class: "buckets" }, h("caption", { class: "offscreen" }, "Buckets"), heads(["Name", "Keys", "Size", "TTL", "History", "Warnings"], ["Keys", "Size", "History"]), this.body);
    this.frame = h("div", { class: "buckets-frame" }, this.table);
    this.element = h("div", null,
      h("div", { class: "head-line" }, h("h1", null, "Buckets"), this.total,
        h("div", { class: "actions" }, this.input, create && h("button", { onclick: () => showNewBucket(context) }, "New bucket…"))),
      this.frame, this.empty);
    context.shortcut("/", "Find a bucket", () => this.input.select());
    if (create) context.shortcut("n", "Make a new bucket", () => showNewBucket(context));
    this.timer = setInterval(() => {
      if (!live.paused && !document.hidden) this.refresh();
    }, POLL);
  }

  close() {
    clearInterval(this.timer);
    this.#soon.cancel();
  }

  update(/** @type {import("./live.js").Change[]} */ changes) {
    for (const { bucket } of changes) this.fresh.add(bucket);
    this.#soon();
  }

  #soon = debounced(500, () => this.refresh());

  refresh() {
    this.read().catch((error) => this.context.signal.aborted || this.context.fail(error));
  }

  /** A bucket is gone: the watch has ended, and another one begins. */
  ended() {
    this.names = "";
    this.refresh();
  }

  async read() {
    const { signal } = this.context;
    this.buckets = (await api.get(paths.buckets, { signal })).body.buckets;
    const names = this.buckets.map(({ name }) => name).join();
    if (names !== this.names) {
      this.names = names;
      await this.context.follow(this.buckets.map(({ name }) => ({ bucket: name })));
    }
    this.draw();
    this.fresh.clear();
    this.#count();
  }

  /** Count the keys of small buckets: a bucket tells its stored messages only. */
  async #count() {
    const wanted = this.buckets.filter(({ name, values }) => values > 0 && values <= COUNTED && this.counts.get(name)?.values !== values);
    const next = async () => {
      for (let info = wanted.pop(); info && !this.context.signal.aborted; info = wanted.pop()) {
        const { name, values } = info;
        const answer = await api.get(paths.keys(name), { signal: this.context.signal }).catch(() => null);
        if (answer) this.counts.set(name, { values, keys: answer.body.count });
      }
    };
    if (!wanted.length) return;
    await Promise.all([next(), next()]);
    if (!this.context.signal.aborted) this.draw();
  }

  #keys(/** @type {any} */ { name, values }) {
    if (values === 0) return 0;
    const known = this.counts.get(name);
    return known?.values === values ? known.keys : undefined;
  }

  draw() {
    const find = this.input.value.trim().toLowerCase();
    const shown = this.buckets.filter((info) => `${info.name} ${info.description ?? ""}`.toLowerCase().includes(find));
    const opened = new Set([...this.body.querySelectorAll("details[open]")].map((one) => one.closest("tr")?.dataset.bucket));
    const focused = document.activeElement?.closest?.("tr")?.dataset.bucket;
    fill(this.body, shown.map((info) => this.#row(info)));
    for (const row of this.body.querySelectorAll("tr")) {
      if (opened.has(row.dataset.bucket)) row.querySelector("details")?.setAttribute("open", "");
      if (focused && row.dataset.bucket === focused) row.querySelector("a")?.focus();
    }
    const sum = this.buckets.reduce((all, { bytes = 0 }) => all + bytes, 0);
    this.total.textContent = `${counted(this.buckets.length, "bucket")}, ${size(sum)}`;
    this.frame.hidden = shown.length === 0;
    this.empty.hidden = shown.length > 0;
    this.empty.textContent = this.buckets.length ? "No bucket matches." : "There is no bucket that you may read.";
    router.replace(links.buckets({ find: this.input.value }));
  }

  #row(/** @type {any} */ info) {
    const cell = (/** @type {string} */ label, /** @type {any} */ child, /** @type {string} */ kind = "") => h("td", { class: kind, "data-label": label }, child);
    const keys = this.#keys(info);
    const full = info.max_bytes > 0 ? ` of ${size(info.max_bytes)}` : "";
    return h("tr", { class: this.fresh.has(info.name) ? "fresh" : null, "data-bucket": info.name },
      h("th", { scope: "row" }, h("a", { href: links.keys(info.name), title: `Created ${timestamp(info.created_at)}` }, info.name),
        info.description && h("div", { class: "quiet" }, info.description)),
      cell("Keys", keys === undefined ? keysText(info) : count(keys), "right"),
      cell("Size", `${size(info.bytes)}${full}`, "right"),
      cell("TTL", info.ttl_seconds ? duration(info.ttl_seconds) : h("span", { class: "quiet" }, "none")),
      cell("History", info.history, "right"),
      cell("Warnings", warningsOf(info)));
  }
}

/** @type {(main: HTMLElement, place: import("./router.js").Place, context: import("./app.js").Context) => Promise<import("./app.js").View>} */
export async function show(main, place, context) {
  context.title("Buckets");
  const view = new BucketsView(place, context);
  await view.read();
  fill(main, view.element);
  return view;
}
