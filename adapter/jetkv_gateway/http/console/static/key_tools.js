/** The tools above the keys: tree or list, separator, and which keys. */

import { showDeleteMany, showExport } from "./bulk.js";
import { debounced, fill, h } from "./dom.js";
import { links } from "./router.js";
import { session } from "./session.js";
import { showNewKey } from "./new_key.js";

const SEPARATORS = { ".": "dot", "/": "slash", ":": "colon" };

export class KeyTools {
  onview = () => {};
  onfilter = () => {};

  /** @param {URLSearchParams} query */
  constructor(query) {
    this.view = query.get("view") === "list" ? "list" : "tree";
    this.sep = (query.get("sep") ?? ".") in SEPARATORS ? (query.get("sep") ?? ".") : ".";
    this.kind = query.has("filter") ? "filter" : "prefix";
    this.text = query.get(this.kind) ?? "";
    this.input = /** @type {HTMLInputElement} */ (h("input", {
      type: "search", value: this.text,
      "aria-label": "Which keys", oninput: () => this.#later(), onchange: () => this.#filter(),
    }));
    this.choice = /** @type {HTMLSelectElement} */ (h("select", { "aria-label": "How keys are chosen", onchange: () => this.#filter() },
      h("option", { value: "prefix" }, "Starts with"), h("option", { value: "filter" }, "Matches")));
    this.choice.value = this.kind;
    this.views = h("div", { class: "segments", role: "group", "aria-label": "Shape" });
    this.seps = h("div", { class: "segments", role: "group", "aria-label": "Separator of groups" });
    this.element = h("form", { class: "toolbar", role: "search", onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#filter();
    } }, this.views, this.seps, h("div", { class: "which" }, this.choice, this.input));
    this.#draw();
  }

  /** What the address says of this. */
  get query() {
    return { view: this.view === "list" ? "list" : null, sep: this.sep === "." ? null : this.sep, [this.kind]: this.text };
  }

  /** @returns {{prefix?: string, filter?: string}} */
  get which() {
    return this.text ? { [this.kind]: this.text } : {};
  }

  get separator() {
    return this.view === "tree" ? this.sep : "";
  }

  /** @param {string} bucket @param {any} info @param {import("./app.js").Context} context */
  actions(bucket, info, context) {
    const button = (/** @type {string} */ text, /** @type {() => void} */ run) => h("button", { onclick: run }, text);
    const make = () => showNewKey(bucket, this.kind === "prefix" ? this.text : "");
    const writes = session.mayTouch("write", bucket);
    if (writes) context.shortcut("n", "Make a new key", make);
    return [
      writes && button("New key…", make),
      session.mayTouch("delete", bucket) && button("Delete many…", () => showDeleteMany(bucket, this.which, context)),
      session.mayTouch("read", bucket) && button("Export…", () => showExport(bucket, this.which, context)),
      h("a", { class: "button", href: links.settings(bucket) }, "Settings"),
    ];
  }

  /** @param {import("./app.js").Context} context @param {() => void} toList */
  shortcuts(context, toList) {
    context.shortcut("/", "Choose keys by prefix or pattern", () => this.input.select());
    context.shortcut("l", "Go to the list", toList);
    context.shortcut("v", "Change between tree and list", () => this.#look(this.view === "tree" ? "list" : "tree", this.sep));
    context.shortcut("s", "Change the separator of groups", () => {
      const all = Object.keys(SEPARATORS);
      this.#look("tree", all[(all.indexOf(this.sep) + 1) % all.length]);
    });
  }

  #look(/** @type {string} */ view, /** @type {string} */ sep) {
    Object.assign(this, { view, sep });
    this.#draw();
    this.onview();
  }

  #filter() {
    this.#later.cancel();
    if (this.kind === this.choice.value && this.text === this.input.value) return;
    this.kind = this.choice.value;
    this.text = this.input.value;
    this.onfilter();
  }

  #later = debounced(400, () => this.#filter());

  #draw() {
    const choice = (/** @type {string} */ text, /** @type {string} */ label, /** @type {boolean} */ on, /** @type {() => void} */ run) =>
      h("button", { "aria-pressed": on, "aria-label": label, onclick: run }, text);
    const focus = document.activeElement?.textContent;
    fill(this.views, ["tree", "list"].map((view) =>
      choice(view === "tree" ? "Tree" : "List", view === "tree" ? "Tree" : "List", this.view === view, () => this.#look(view, this.sep))));
    fill(this.seps, Object.entries(SEPARATORS).map(([sep, name]) => choice(sep, `Groups by ${name}`, this.sep === sep, () => this.#look("tree", sep))));
    this.seps.hidden = this.view === "list";
    for (const button of this.element.querySelectorAll("button")) if (button.textContent === focus) button.focus();
    this.input.placeholder = this.choice.value === "prefix" ? "user.42" : "user.*.name";
  }
}
