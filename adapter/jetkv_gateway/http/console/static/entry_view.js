/** One key: its value, its history, and what can be done with it. */

import { api, paths } from "./api.js";
import { copyText, saveFile } from "./clipboard.js";
import { showCopyDialog } from "./copy_dialog.js";
import { ask, button, checkbox, confirm, field } from "./dialog.js";
import { fact, fill, h } from "./dom.js";
import { exactDuration, parseDuration } from "./durations.js";
import { Editor } from "./editor.js";
import { read, remove, touch, write } from "./entries.js";
import { size } from "./format.js";
import { historyPanel, restore } from "./history_view.js";
import { askLostRace } from "./lost_race.js";
import { links, router } from "./router.js";
import { session } from "./session.js";
import { tick, timeOf } from "./times.js";
import { ValuePanel } from "./value_panel.js";
import { decodeText, plainKey, toBase64 } from "./values.js";

/** @typedef {import("./app.js").Context} Context */
/** @typedef {import("./entries.js").Entry} Entry */
/** @typedef {import("./router.js").Place} Place */

/** What was typed and not stored, by place: it outlives a way to another page and a new sign-in. @type {Map<string, {bytes: Uint8Array, contentType: string, revision: number}>} */
const drafts = new Map();

/** @type {(main: HTMLElement, place: Place, context: Context) => Promise<import("./app.js").View>} */
export async function show(main, place, context) {
  const view = new EntryView(main, place, context);
  await view.open();
  return view;
}

class EntryView {
  #main;
  #place;
  #context;
  #bucket;
  #key;
  /** @type {Entry | null} null without a live value */
  #entry = null;
  /** The newest revision that is known, also of a tombstone. */
  #newest = 0;
  #may = { write: false, delete: false };
  #settings = { history: 1, key_ttl: false, ttl_seconds: 0 };
  #panel = new ValuePanel();
  #facts = h("dl", { class: "facts" });
  #tools = h("div", { class: "actions" });
  #notice = h("div", { class: "notices" });
  #body = h("div", { class: "entry-body" });
  /** @type {Editor | null} */
  #editor = null;
  #timer = 0;
  #reading = false;

  /** @param {HTMLElement} main @param {Place} place @param {Context} context */
  constructor(main, place, context) {
    this.#main = main;
    this.#place = place;
    this.#context = context;
    this.#bucket = place.bucket;
    this.#key = place.key;
  }

  get #rev() {
    return Number(this.#place.query.get("rev")) || undefined;
  }

  get #tab() {
    return this.#place.query.get("tab") === "history" ? "history" : "value";
  }

  get #name() {
    return JSON.stringify([this.#bucket, this.#key]);
  }

  async open() {
    const [bucket, key, { signal }] = [this.#bucket, this.#key, this.#context];
    this.#context.title(key);
    // A filter has wildcards of its own, and some ends make it a prefix.
    const filter = /[*>]|[.:/-]$/.test(key) ? undefined : key;
    await this.#context.follow([{ bucket, filter }]);
    const [mayWrite, mayDelete, info] = await Promise.all([
      session.can("write", bucket, key), session.can("delete", bucket, key),
      api.get(paths.bucket(bucket), { signal }), this.#read(),
    ]);
    this.#may = { write: mayWrite, delete: mayDelete };
    this.#settings = { ttl_seconds: 0, ...info.body };
    this.#main.classList.add("entry");
    const link = (/** @type {string} */ tab, /** @type {string} */ text) =>
      h("a", { href: links.entry(bucket, key, tab === "history" ? { tab } : {}), "aria-current": this.#tab === tab ? "page" : null }, text);
    fill(this.#main,
      h("header", { class: "entry-head" }, h("h1", null, h("bdi", null, plainKey(key))), this.#tools, this.#facts),
      this.#notice,
      h("nav", { class: "tabs", "aria-label": "Views of the key" }, link("value", "Value"), link("history", "History")),
      this.#body);
    const { shortcut } = this.#context;
    shortcut("v", "Show the value", () => router.go(links.entry(bucket, key)));
    shortcut("h", "Show the history", () => router.go(links.entry(bucket, key, { tab: "history" })));
    if (this.#may.write) shortcut("e", "Edit the value", () => this.#edit());
    if (this.#may.delete) shortcut("d", "Delete the key", () => this.#delete());
    shortcut("c", "Copy the value", () => this.#copyValue());
    shortcut("a", "Copy as a command", () => this.#copyAs());
    shortcut("f", "Find in the value", () => this.#panel.focusFind());
    this.#timer = setInterval(() => this.#tick(), 1000);
    // The browser asks before it closes a tab with something that is not stored.
    const guard = (/** @type {Event} */ event) => this.#editor?.dirty && event.preventDefault();
    window.addEventListener("beforeunload", guard, { signal });
    await this.#draw();
    const asked = drafts.has(this.#name) || (this.#place.query.has("new") && !this.#entry);
    if (asked && this.#may.write && this.#tab === "value") this.#edit();
    else if (this.#place.query.has("new")) this.#tell("This key exists already.");
  }

  async #read(large = false) {
    const revision = this.#rev;
    try {
      this.#entry = await read(this.#bucket, this.#key, { revision, signal: this.#context.signal, large });
      if (!revision) this.#newest = this.#entry.revision;
    } catch (error) {
      if (error.status !== 404 || error.message === "bucket not found") throw error;
      this.#entry = null;
    }
  }

  async #reread() {
    if (this.#reading) return;
    this.#reading = true;
    try {
      await this.#read();
      await this.#draw();
    } catch (error) {
      if (!this.#context.signal.aborted) this.#context.fail(error);
    } finally {
      this.#reading = false;
    }
  }

  /** @param {import("./live.js").Change[]} changes */
  update(changes) {
    const change = changes.findLast(({ bucket, key }) => bucket === this.#bucket && key === this.#key);
    if (!change || change.revision <= this.#newest) return;
    this.#newest = change.revision;
    const gone = change.operation === "delete";
    const what = gone ? { expired: "expired", purge: "was purged" }[change.reason ?? ""] ?? "was deleted" : "has a new value";
    if (this.#editor) {
      this.#tell(`The key ${what}: revision ${change.revision}. Save, and you can compare it with yours.`);
    } else if (this.#rev) {
      this.#drawNotice();
    } else {
      if (gone) this.#context.say(`The key ${what}`);
      this.#reread().then(() => this.#flash());
    }
  }

  refresh() {
    if (!this.#editor) this.#reread();
  }

  close() {
    clearInterval(this.#timer);
    this.#keepDraft();
    this.#panel.close();
  }

  #flash() {
    this.#facts.classList.remove("flash");
    requestAnimationFrame(() => this.#facts.classList.add("flash"));
  }

  /** @param {...import("./dom.js").Child} what */
  #tell(...what) {
    fill(this.#notice, h("p", { class: "notice", role: "status" }, ...what));
  }

  async #draw() {
    this.#drawTools();
    this.#drawFacts();
    this.#drawNotice();
    if (this.#editor) return;
    if (this.#tab === "history") {
      const { signal, say } = this.#context;
      const panel = await historyPanel({
        bucket: this.#bucket, key: this.#key, compared: this.#place.query.get("diff") ?? "", kept: this.#settings.history,
        mayWrite: this.#may.write, signal, say, restored: () => this.#reread(),
      });
      fill(this.#body, panel);
    } else if (!this.#entry) {
      fill(this.#body, h("div", { class: "empty-state" },
        h("p", null, this.#rev ? `Revision ${this.#rev} of this key is not stored any more.` : "This key has no value. It may have been deleted, or have expired."),
        this.#may.write && !this.#rev ? button("Create it", () => this.#edit(), "primary") : null));
    } else if (this.#entry.bytes === null) {
      fill(this.#body, h("div", { class: "empty-state" },
        h("p", null, `This value has ${size(this.#entry.size)}. It is not read unless you ask for it.`),
        button("Read it", () => this.#read(true).then(() => this.#draw()).catch(this.#context.fail))));
    } else {
      this.#panel.show(this.#entry.bytes);
      if (this.#body.firstChild !== this.#panel.element) fill(this.#body, this.#panel.element);
    }
  }

  #drawTools() {
    const entry = this.#entry;
    const newest = !this.#rev;
    // While a form is open, it has the buttons.
    if (this.#editor) return fill(this.#tools);
    fill(this.#tools,
      entry && newest && this.#may.write && button("Edit", () => this.#edit(), "primary"),
      entry?.bytes && button("Copy value", () => this.#copyValue()),
      button("Copy as…", () => this.#copyAs()),
      entry && button("Download", () => this.#download()),
      entry && newest && this.#may.write && this.#settings.key_ttl && button(entry.expiresAt ? "Renew…" : "Expire…", () => this.#touch()),
      entry && newest && this.#may.delete && button("Delete…", () => this.#delete(), "danger"));
  }

  #drawFacts() {
    const entry = this.#entry;
    fill(this.#facts, entry && [
      fact("Revision", entry.revision), fact("Written", timeOf(entry.createdAt)), fact("Size", size(entry.size)),
      fact("Type", entry.contentType ? h("bdi", null, entry.contentType) : "none"),
      entry.contentEncoding ? fact("Encoding", entry.contentEncoding) : null,
      entry.expiresAt ? fact("Expires in", timeOf(entry.expiresAt, "left")) : null,
    ]);
  }

  #tick() {
    tick(this.#main);
    // Without a marker in the bucket, nobody tells that it has expired.
    const over = this.#entry?.expiresAt && Date.parse(this.#entry.expiresAt) + 2000 < Date.now();
    if (over && !this.#editor && !this.#rev) this.#reread();
  }

  #drawNotice() {
    const entry = this.#entry;
    if (this.#rev && entry) {
      this.#tell(`This is revision ${this.#rev}${this.#newest > this.#rev ? `; the newest is ${this.#newest}` : ""}. `,
        h("a", { href: links.entry(this.#bucket, this.#key) }, "Show the newest"), " ",
        this.#may.write ? button("Restore…", () => this.#restore(entry), "small") : null);
    } else if (entry?.contentEncoding) {
      this.#tell(`The value is stored with the content encoding ${entry.contentEncoding}. You see the stored bytes.`);
    } else {
      fill(this.#notice);
    }
  }

  /** @param {Entry} old */
  async #restore(old) {
    const current = await read(this.#bucket, this.#key).catch(() => null);
    const newest = current ?? { ...old, revision: this.#newest, operation: /** @type {const} */ ("delete") };
    await restore(this.#bucket, this.#key, old, newest, () => router.go(links.entry(this.#bucket, this.#key)), this.#context.say);
  }

  async #copyValue() {
    const bytes = this.#entry?.bytes;
    if (!bytes) return;
    const text = decodeText(bytes);
    try {
      await copyText(text ?? toBase64(bytes));
      this.#context.say(text === null ? "Copied as base64" : "Copied");
    } catch (error) {
      this.#context.fail(error);
    }
  }

  #copyAs() {
    const { bytes, contentType } = this.#entry ?? {};
    const allowed = ["get", ...(this.#may.write && bytes ? ["put"] : []), ...(this.#may.delete ? ["delete"] : [])];
    showCopyDialog({ bucket: this.#bucket, key: this.#key, value: bytes ?? undefined, contentType, revision: this.#rev }, allowed, this.#context.say);
  }

  async #download() {
    try {
      const { bytes } = await read(this.#bucket, this.#key, { revision: this.#rev, large: true });
      saveFile([bytes ?? new Uint8Array()], this.#key);
    } catch (error) {
      this.#context.fail(error);
    }
  }

  async #touch() {
    const ttl = this.#ttl();
    const input = /** @type {HTMLInputElement} */ (h("input", { value: ttl ? exactDuration(ttl) : "", placeholder: "30s, 5m, 2h, 7d", "data-focus": true }));
    const done = await ask(this.#entry?.expiresAt ? "Renew the time to live" : "Let the value expire", () => [
      field("The value expires after", input, "From now on. The value itself stays as it is. “never” is possible, too."),
      this.#settings.history > 1 ? h("p", { class: "notice" }, "This bucket keeps a history. A time to live removes the older revisions of this key.") : null,
    ], {
      action: "Renew",
      run: () => {
        const seconds = input.value.trim() === "never" ? "never" : parseDuration(input.value);
        if (!seconds) throw new Error("Write a time such as 30s, 5m, 2h or 7d");
        return touch(this.#bucket, this.#key, seconds);
      },
    });
    if (done) this.#reread();
  }

  /** The TTL that the value was written with, in seconds; 0 if it has none. */
  #ttl() {
    const { expiresAt, createdAt } = this.#entry ?? {};
    return expiresAt && createdAt ? Math.round((Date.parse(expiresAt) - Date.parse(createdAt)) / 1000) : 0;
  }

  async #delete() {
    const entry = this.#entry;
    if (!entry || this.#rev) return;
    const purge = checkbox("Delete its history, too");
    const kept = this.#settings.history > 1;
    const sure = await confirm("Delete this key?", [
      h("p", null, h("code", null, h("bdi", null, plainKey(this.#key))), ` is deleted if it is still at revision ${entry.revision}.`,
        kept ? " Its history stays, so you can restore it." : " This bucket keeps no history, so its value is gone."),
      kept && purge.label], "Delete");
    if (!sure) return;
    try {
      await remove(this.#bucket, this.#key, { revision: entry.revision, purge: purge.input.checked });
      this.#context.say("Deleted");
      await this.#reread();
    } catch (error) {
      const changed = error.status === 412;
      this.#context.fail(changed ? "Not deleted: somebody else has changed the key. Look at it, and try again." : error);
      if (changed) this.#reread();
    }
  }

  #edit() {
    const entry = this.#entry;
    if (this.#editor || this.#rev || (entry && !entry.bytes)) return;
    if (this.#tab !== "value") return router.go(links.entry(this.#bucket, this.#key));
    const draft = drafts.get(this.#name);
    drafts.delete(this.#name);
    // 0 is a key without a live value.
    let revision = draft?.revision ?? entry?.revision ?? 0;
    const own = entry?.expiresAt && this.#ttl() !== this.#settings.ttl_seconds;
    const ttls = this.#settings.key_ttl && (this.#settings.history === 1 || !entry);
    const editor = new Editor({
      bytes: entry?.bytes ?? new Uint8Array(), contentType: entry?.contentType ?? "", isNew: !entry,
      ttls,
      remaining: own ? (Date.parse(entry.expiresAt ?? "") - Date.now()) / 1000 : null,
      bucketTtl: this.#settings.ttl_seconds, leave: () => this.#leaveEditor(),
      save: async ({ bytes, contentType, ttl }) => {
        try {
          const saved = await write(this.#bucket, this.#key, { bytes, contentType, contentEncoding: entry?.contentEncoding, ttl, revision });
          this.#saved(saved);
        } catch (error) {
          if (error.status !== 412) throw error;
          await this.#read();
          const choice = await askLostRace(this.#entry, bytes);
          if (choice) revision = this.#entry?.revision ?? 0;
          if (choice === "theirs") this.#leaveEditor(true);
          else if (choice === "mine") this.#saved(await write(this.#bucket, this.#key, { bytes, contentType, ttl, revision }));
          else if (choice) this.#tell(`Your change is now one to revision ${revision}.`);
          this.#drawFacts();
        }
      },
    });
    editor.base = () => revision;
    if (draft) editor.resume(draft);
    this.#editor = editor;
    this.#drawTools();
    fill(this.#body, editor.element);
    if (draft) this.#tell("Your unsaved changes are still here.");
    else if (own && !ttls) this.#tell("This value expires. What you save in its place has the time to live of the bucket, because the bucket keeps a history.");
    editor.focus();
  }

  /** @param {number} revision */
  async #saved(revision) {
    this.#newest = revision;
    this.#context.say(`Saved as revision ${revision}`);
    router.replace(links.entry(this.#bucket, this.#key));
    await this.#leaveEditor(true);
  }

  async #leaveEditor(sure = false) {
    if (!sure && this.#editor?.dirty) {
      if (!(await confirm("Drop your changes?", ["What you typed is not stored."], "Drop them"))) return;
    }
    this.#editor = null;
    fill(this.#notice);
    await this.#reread();
    this.#tools.querySelector("button")?.focus();
  }

  #keepDraft() {
    const editor = this.#editor;
    const bytes = editor?.dirty ? editor.bytes : null;
    if (editor && bytes) drafts.set(this.#name, { bytes, contentType: editor.contentType, revision: editor.base() });
  }
}
