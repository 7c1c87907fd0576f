/** Shows a value as JSON, text or bytes, and finds text in it. */

import { button, checkbox } from "./dialog.js";
import { fill, h } from "./dom.js";
import { TextView } from "./text_view.js";
import { describe, hexDump, visible } from "./values.js";

/** @typedef {import("./values.js").Shape} Shape */

/** @type {[Shape, string][]} */
const SHAPES = [["json", "JSON"], ["text", "Text"], ["bytes", "Bytes"]];

export class ValuePanel {
  #view = new TextView("Value");
  #found = h("output", { class: "quiet" });
  #bytes = new Uint8Array();
  /** @type {ReturnType<typeof describe>} */
  #known = { shape: "text", text: "", json: null };
  /** What the user chose, which stays when the value changes. @type {Shape | null} */
  #chosen = null;
  #wrap = true;
  #shapes = h("div", { class: "segments", role: "group", "aria-label": "Show the value as" });
  #input = /** @type {HTMLInputElement} */ (
    h("input", {
      type: "search",
      placeholder: "Find in the value",
      "aria-label": "Find in the value",
      oninput: () => this.#find(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key === "Enter") this.#go(event.shiftKey ? -1 : 1);
      },
    })
  );
  #count = 0;

  constructor() {
    const step = (/** @type {1 | -1} */ way, /** @type {string} */ sign, /** @type {string} */ label) =>
      button(sign, () => this.#go(way), "small", { "aria-label": label, title: label });
    const wrap = checkbox("Wrap lines", {
      checked: true,
      onchange: () => {
        this.#wrap = wrap.input.checked;
        this.#draw();
      },
    });
    this.element = h(
      "div",
      { class: "value-panel" },
      h(
        "div",
        { class: "toolbar" },
        this.#shapes,
        wrap.label,
        h("span", { class: "find" }, this.#input, step(-1, "↑", "Previous"), step(1, "↓", "Next"), this.#found),
      ),
      this.#view.element,
    );
  }

  /** @param {Uint8Array} bytes */
  show(bytes) {
    this.#bytes = bytes;
    this.#known = describe(bytes);
    this.#draw();
  }

  focusFind() {
    this.#input.focus();
    this.#input.select();
  }

  #draw() {
    const { shape, text, json } = this.#known;
    const possible = SHAPES.filter(([name]) => name === "bytes" || (name === "json" ? json : text) !== null);
    const shown = possible.some(([name]) => name === this.#chosen) ? this.#chosen : shape;
    fill(
      this.#shapes,
      possible.map(([name, label]) =>
        button(label, () => this.#choose(name), "", { "aria-pressed": name === shown }),
      ),
    );
    const shownText = { json: () => json ?? "", text: () => visible(text ?? ""), bytes: () => hexDump(this.#bytes) };
    const how = { json: shown === "json", wrap: this.#wrap && shown !== "bytes" };
    this.#view.show(shownText[shown ?? "text"](), how);
    this.#view.element.classList.toggle("empty", !this.#bytes.length);
    this.#find();
  }

  /** @param {Shape} shape */
  #choose(shape) {
    this.#chosen = shape;
    this.#draw();
    /** @type {HTMLElement | null} */ (this.#shapes.querySelector("[aria-pressed=true]"))?.focus();
  }

  #find() {
    this.#count = this.#view.find(this.#input.value);
    this.#go(1);
  }

  /** @param {1 | -1} step */
  #go(step) {
    const at = this.#view.go(step);
    this.#found.textContent = !this.#input.value ? "" : at ? `${at} of ${this.#count}` : "not found";
  }

  close() {
    this.#view.close();
  }
}
