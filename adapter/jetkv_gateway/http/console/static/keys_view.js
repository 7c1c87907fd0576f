/** The keys of a bucket: as a tree or a list, filtered, and as they change. */

import { api, paths } from "./api.js";
import { bucketFacts, warningsOf } from "./bucket_facts.js";
import { debounced, fill, h, icon } from "./dom.js";
import { count, counted, size } from "./format.js";
import { DETAILED, KeyLoader } from "./key_loader.js";
import { KeyTools } from "./key_tools.js";
import { links, router } from "./router.js";
import { session } from "./session.js";
import { tick, timeOf } from "./times.js";
import { Tree } from "./tree.js";
import { VirtualList } from "./virtual_list.js";

const CHEVRON = "M9 6l6 6-6 6";
const FRESH = 2000;

/** @type {(main: HTMLElement, place: import("./router.js").Place, context: import("./app.js").Context) => Promise<import("./app.js").View>} */
export async function show(main, place, context) {
  const { bucket } = place;
  context.title(bucket);
  const { body: info } = await api.get(paths.bucket(bucket), { signal: context.signal });
  const view = new KeysView(bucket, info, context, new KeyTools(place.query));
  main.classList.add("keys");
  fill(main, view.element);
  await view.read();
  return view;
}

class KeysView {
  #reading = new AbortController();
  /** @type {Promise<void> | null} */
  #settling = null;
  #again = false;
  #looked = new AbortController();
  /** @type {KeyLoader} */
  loader;
  /** @type {Tree} */
  tree;

  /** @param {string} bucket @param {any} info @param {import("./app.js").Context} context @param {KeyTools} tools */
  constructor(bucket, info, context, tools) {
    Object.assign(this, { bucket, info, context, tools });
    this.list = new VirtualList({
      label: `Keys of ${bucket}`,
      heads: ["Key", "Size", "Changed", "Expires in"].map((name) => h("div", { role: "columnheader" }, name)),
      row: (i) => this.#row(i),
      open: (i) => this.#open(i),
      side: (i, key) => this.#side(i, key),
      scrolled: () => this.#scrolled(),
    });
    this.facts = h("div", { class: "chips" });
    this.state = h("span", { role: "status" });
    this.range = h("span", { class: "range" });
    this.empty = h("div", { class: "empty-state", hidden: true });
    const page = (/** @type {string} */ text, /** @type {string} */ label, /** @type {() => number} */ to) =>
      h("button", { "aria-label": label, title: label, onclick: () => this.#page(to()) }, text);
    this.element = h("div", { class: "keys-view" },
      h("div", { class: "head-line" }, h("h1", null, bucket), this.facts, h("div", { class: "actions" }, tools.actions(bucket, info, context))),
      tools.element, this.list.element, this.empty,
      h("div", { class: "foot" }, this.state, this.range,
        h("div", { class: "pager", role: "group", "aria-label": "Pages" },
          page("«", "First page", () => 0), page("‹", "Page before", () => this.list.top - this.list.fit),
          page("›", "Next page", () => this.list.top + this.list.fit), page("»", "Last page", () => this.tree.rows))));
    tools.onview = () => this.#shape();
    tools.onfilter = () => this.read().catch(context.fail);
    tools.shortcuts(context, () => this.list.element.focus());
    this.clock = setInterval(() => this.#tick(), 1000);
    this.#drawFacts();
  }

  close() {
    clearInterval(this.clock);
    this.#reading.abort();
    this.#looked.abort();
  }

  refresh() {
    this.read().catch(this.context.fail);
  }

  update(/** @type {import("./live.js").Change[]} */ changes) {
    for (const change of changes) this.loader.change(change);
    this.#settle();
    this.#readInfo();
  }

  #readInfo = debounced(2000, async () => {
    if (this.context.signal.aborted) return;
    this.info = await api.get(paths.bucket(this.bucket), { signal: this.context.signal }).then(({ body }) => body, () => this.info);
    this.#drawFacts();
  });

  /** Read the keys that are wanted now. */
  async read() {
    this.#reading.abort();
    this.#reading = new AbortController();
    const { signal } = this.#reading;
    router.replace(links.keys(this.bucket, this.tools.query));
    const which = this.tools.which;
    this.loader = new KeyLoader(this.bucket, which, signal);
    this.#shape();
    await this.context.follow([{ bucket: this.bucket, filter: watched(which) }]);
    const began = performance.now();
    const done = this.loader.read((this.info.values ?? 0) <= DETAILED).then(() => null, (error) => error);
    let over = false;
    const show = async () => {
      let wait = 60;
      while (true) {
        await Promise.race([done, new Promise((resolve) => setTimeout(resolve, wait))]);
        const start = performance.now();
        await this.#settle();
        if (over || signal.aborted) break;
        wait = Math.max(200, 3 * (performance.now() - start));
        this.#say(`Reading… ${counted(this.loader.count, "key")} so far`);
      }
    };
    show();
    done.then(async (error) => {
      over = true;
      if (signal.aborted) return;
      await this.#settle();
      if (signal.aborted) return;
      if (error) {
        this.#say("Not complete");
        fill(this.empty, h("p", { class: "problem", role: "alert" }, error.message, " ", h("button", { onclick: () => this.refresh() }, "Try again")));
        this.empty.hidden = false;
        return;
      }
      const took = performance.now() - began;
      this.#say(`${this.loader.cut ? "The first " : ""}${counted(this.loader.keys.size, "key")}${this.loader.cut ? ": narrow them by a prefix" : ""}${took > 2000 ? `, read in ${(took / 1000).toFixed(1)}s` : ""}`);
      this.#drawFacts();
      this.#drawEmpty();
    });
    // Small buckets are there at once.
    await Promise.race([done, new Promise((resolve) => setTimeout(resolve, 150))]);
  }

  #say(/** @type {string} */ text) {
    if (this.state.textContent !== text) this.state.textContent = text;
  }

  /** Show the keys in another way. */
  #shape() {
    const opened = this.tree?.opened;
    this.tree = new Tree(this.loader.keys, this.tools.separator, this.tools.which.prefix);
    if (opened) this.tree.opened = opened;
    this.list.active = 0;
    this.list.top = 0;
    router.replace(links.keys(this.bucket, this.tools.query));
    return this.#settle();
  }

  /** Bring the rows up to date; one time after the other. */
  #settle() {
    this.#again = true;
    return (this.#settling ??= this.#settleAll());
  }

  async #settleAll() {
    try {
      while (this.#again) {
        this.#again = false;
        await this.#settleOnce();
      }
      this.#drawEmpty();
    } finally {
      this.#settling = null;
    }
  }

  async #settleOnce() {
    const { tree, loader, list } = this;
    const top = list.top;
    const anchor = top >= 1 ? tree.row(Math.floor(top))?.key : undefined;
    const active = tree.row(list.active)?.key;
    await loader.settle();
    if (!(await tree.build()) || tree !== this.tree) return;
    if (active !== undefined) list.active = Math.max(0, tree.find(active));
    list.element.classList.toggle("expiring", loader.expiring);
    list.reset(tree.rows);
    const moved = anchor === undefined ? -1 : tree.find(anchor);
    if (moved >= 0 && moved !== Math.floor(top)) list.top = moved + (top % 1);
  }

  #drawEmpty() {
    if (!this.loader.done) return;
    const none = this.loader.keys.size === 0;
    this.empty.hidden = !none;
    this.list.element.hidden = none;
    if (none) fill(this.empty, this.loader.which.prefix || this.loader.which.filter ? "No key matches." : "This bucket has no keys.");
  }

  #drawFacts() {
    const { info, loader } = this;
    const known = loader?.done && !loader.cut && !this.tools.text ? loader.keys.size : undefined;
    const writes = ["write", "delete", "admin"].some((verb) => session.mayTouch(verb, this.bucket));
    fill(this.facts, bucketFacts(info, known).map((fact) => h("span", { class: "chip" }, fact)),
      !writes && h("span", { class: "chip" }, "Read only"),
      loader?.filtered && h("span", { class: "chip warn" }, "Some keys only"),
      warningsOf(info));
  }

  /** @returns {ReturnType<import("./virtual_list.js").VirtualList["of"]["row"]>} */
  #row(/** @type {number} */ i) {
    const row = this.tree.row(i);
    if (!row) return { look: "", make: () => ({ cells: [] }) };
    const meta = row.group ? undefined : this.loader.metas.get(row.key);
    const look = [row.key, row.label, row.level, row.open, row.keys, meta?.revision, meta?.size].join("\n");
    return { look, make: () => ({ cells: this.#cells(row, meta), props: this.#props(row, meta) }) };
  }

  #props(/** @type {import("./tree.js").Row} */ row, /** @type {import("./key_loader.js").Meta | undefined} */ meta) {
    const tree = this.tools.separator !== "";
    return {
      class: `row${row.group ? " group" : ""}${Date.now() - (meta?.fresh ?? 0) < FRESH ? " fresh" : ""}`,
      "aria-level": tree ? row.level : null,
      "aria-posinset": tree ? row.place : null,
      "aria-setsize": tree ? row.of : null,
      "aria-expanded": row.group ? row.open : null,
    };
  }

  #cells(/** @type {import("./tree.js").Row} */ row, /** @type {import("./key_loader.js").Meta | undefined} */ meta) {
    const cell = (/** @type {string} */ kind, /** @type {any} */ ...of) => h("div", { class: kind, role: "gridcell" }, of);
    const name = h("div", { class: "name", role: "gridcell", ref: (/** @type {HTMLElement} */ element) => element.style.setProperty("--level", String(row.level - 1)) });
    if (row.group) {
      name.append(icon(CHEVRON), h("bdi", null, row.label), h("span", { class: "quiet" }, counted(row.keys, "key")));
      return [name, cell("size"), cell("changed"), cell("expires")];
    }
    name.append(h("a", { href: links.entry(this.bucket, row.key), tabindex: -1}, h("bdi", null, row.label || row.key)));
    return [
      name,
      cell("size", meta && size(meta.size)),
      cell("changed", meta?.created_at && timeOf(meta.created_at)),
      cell("expires", meta?.expires_at && timeOf(meta.expires_at, "left")),
    ];
  }

  #tick() {
    if (document.hidden) return;
    tick(this.list.space);
    if (this.loader.expire()) this.#settle();
  }

  #open(/** @type {number} */ i) {
    const row = this.tree.row(i);
    if (!row) return;
    if (!row.group) {
      router.go(links.entry(this.bucket, row.key));
      return;
    }
    if (row.open) this.tree.opened.delete(row.key);
    else this.tree.opened.add(row.key);
    this.#settle();
  }

  #side(/** @type {number} */ i, /** @type {"ArrowLeft" | "ArrowRight"} */ key) {
    const row = this.tree.row(i);
    if (!row || !this.tools.separator) return;
    if (row.group && row.open !== (key === "ArrowRight")) this.#open(i);
    else if (row.group && key === "ArrowRight") this.list.go(i + 1);
    else if (key === "ArrowLeft" && row.level > 1) this.list.go(this.tree.find(this.tree.parent(row.key)));
  }

  #page(/** @type {number} */ row) {
    this.list.top = Math.max(0, row);
    this.list.draw();
  }

  #scrolled() {
    const [from, to] = this.list.sight;
    this.range.textContent = to ? `Rows ${count(from + 1)}–${count(to)} of ${count(this.tree.rows)}` : "";
    this.#look();
  }

  /** Read the sizes of the keys in sight, where the list is too long to have them. */
  #look = debounced(250, async () => {
    this.#looked.abort();
    if (!this.loader.done || this.context.signal.aborted) return;
    this.#looked = new AbortController();
    const { signal } = this.#looked;
    const [from, to] = this.list.sight;
    const wanted = [];
    for (let i = from; i < to; i += 1) {
      const row = this.tree.row(i);
      if (row && !row.group && !this.loader.metas.has(row.key)) wanted.push(row.key);
    }
    const next = async () => {
      for (let key = wanted.pop(); key !== undefined && !signal.aborted; key = wanted.pop()) {
        await this.loader.detail(key, signal).catch(() => {});
      }
    };
    if (!wanted.length) return;
    await Promise.all([next(), next(), next(), next()]);
    if (!signal.aborted) this.list.reset(this.tree.rows);
  });
}

/** The filter for a watch of these keys; none where it would say something else. */
function watched(/** @type {{prefix?: string, filter?: string}} */ { prefix, filter }) {
  if (filter) return filter;
  return prefix && /[.:/-]$/.test(prefix) && !/[*>]/.test(prefix) ? prefix : undefined;
}
