/** A form for a value, its content type and its TTL. It writes nothing itself. */

import { actions, button, field, form, Problem } from "./dialog.js";
import { debounced, h } from "./dom.js";
import { exactDuration, parseDuration } from "./durations.js";
import { size } from "./format.js";
import { formatJson } from "./json_text.js";
import { describe, fromHex, sameBytes, toHex } from "./values.js";

/** @typedef {{bytes: Uint8Array, contentType: string, ttl?: number | "never"}} Draft */

const TYPES = ["application/json", "text/plain; charset=utf-8", "application/octet-stream"];
const UTF8 = new TextEncoder();

/**
 * @typedef {object} EditorOptions
 * @property {Uint8Array} bytes
 * @property {string} contentType
 * @property {boolean} isNew a new key takes the type of what is typed
 * @property {boolean} ttls whether a value may have a TTL of its own
 * @property {number | null} remaining seconds that the value has left
 * @property {number} bucketTtl seconds; 0 if the bucket has none
 * @property {(draft: Draft) => Promise<void>} save
 * @property {() => void} leave
 */

export class Editor {
  #options;
  /** The bytes of a file, in place of the text. @type {Uint8Array | null} */
  #file = null;
  #hex = false;
  #lineEnd = "\n";
  #first;
  #problem = new Problem();
  #hint = h("p", { class: "note", "aria-live": "polite" });
  #check = debounced(250, () => this.#look());
  #area = /** @type {HTMLTextAreaElement} */ (
    h("textarea", {
      rows: 14, "aria-label": "Value",
      class: "code", oninput: () => this.#check(),
    })
  );
  #type = /** @type {HTMLInputElement} */ (
    h("input", { list: "content-types", maxlength: 255, oninput: () => { this.#typed = true; this.#check(); } })
  );
  #typed = false;
  /** Returns the revision that the text is based on. */
  base = () => 0;
  #ttl = /** @type {HTMLSelectElement} */ (h("select", { onchange: () => this.#showTtl() }));
  #ttlText = /** @type {HTMLInputElement} */ (h("input", { "aria-label": "Time to live", placeholder: "30s, 5m, 2h, 7d", size: 14, hidden: true }));
  #save = /** @type {HTMLButtonElement} */ (h("button", { class: "primary" }, "Save"));
  #format = button("Format JSON", () => this.#rewrite("  "), "small");
  #compact = button("On one line", () => this.#rewrite(""), "small");

  /** @param {EditorOptions} options */
  constructor(options) {
    this.#options = options;
    this.#typed = !options.isNew;
    this.#type.value = options.contentType;
    this.#load(options.bytes);
    this.#first = this.#area.value;
    this.#offerTtl();
    const file = /** @type {HTMLInputElement} */ (
      h("input", { type: "file", class: "offscreen", tabindex: -1, "aria-label": "File with the value", onchange: () => this.#take(file) })
    );
    this.element = form(
      () => this.#send(),
      h("datalist", { id: "content-types" }, TYPES.map((value) => h("option", { value }))),
      h("div", { class: "toolbar" }, this.#format, this.#compact,
        button("Take a file…", () => file.click(), "small"), file, this.#hint),
      this.#area,
      h("div", { class: "fields" },
        field("Content type", this.#type),
        options.ttls ? h("div", { class: "field" }, field("Expires", this.#ttl), this.#ttlText) : null),
      this.#problem.element,
      actions(button("Cancel", options.leave), this.#save),
    );
    this.element.classList.add("editor");
    this.#look();
  }

  /** Whether there is something that would be lost. */
  get dirty() {
    return this.#file !== null || this.#area.value !== this.#first;
  }

  focus() {
    this.#area.focus();
    this.#area.setSelectionRange(0, 0);
  }

  /** @returns {Uint8Array | null} null if it is not what it says to be */
  get bytes() {
    if (this.#file) return this.#file;
    if (this.#hex) return fromHex(this.#area.value);
    return UTF8.encode(this.#area.value.replaceAll("\n", this.#lineEnd));
  }

  get contentType() {
    return this.#type.value.trim();
  }

  /**
   * Go on with what was typed before.
   *
   * @param {{bytes: Uint8Array, contentType: string}} draft
   */
  resume({ bytes, contentType }) {
    this.#load(bytes);
    this.#type.value = contentType;
    this.#typed = true;
    this.#look();
  }

  /** @param {Uint8Array} bytes */
  #load(bytes) {
    const { shape, text } = describe(bytes);
    // A text area makes every line end the same, so a value with two kinds is edited as bytes.
    const bare = text?.replaceAll("\r\n", "\n") ?? "";
    const mixed = bare.includes("\r") || (text ?? "").replaceAll("\r\n", "").includes("\n") && bare !== text;
    this.#hex = text === null || shape === "bytes" || mixed;
    this.#lineEnd = !this.#hex && bare !== text ? "\r\n" : "\n";
    this.#area.value = this.#hex ? toHex(bytes) : bare;
    this.#area.setAttribute("aria-label", this.#hex ? "Value as hexadecimal digits" : "Value");
  }

  /** @param {HTMLInputElement} input */
  async #take(input) {
    const [file] = input.files ?? [];
    if (!file) return;
    this.#file = new Uint8Array(await file.arrayBuffer());
    this.#area.disabled = true;
    this.#area.value = `${file.name}: ${size(file.size)}`;
    if (!this.#typed) this.#type.value = file.type || "application/octet-stream";
    this.#look();
  }

  /** @param {string} indent */
  #rewrite(indent) {
    const text = formatJson(this.#area.value, { indent });
    if (text === null) return;
    this.#area.focus();
    this.#area.select();
    // As if it were typed, so that the browser can undo it.
    if (text.length > 200_000 || !document.execCommand("insertText", false, text)) this.#area.value = text;
    this.#area.setSelectionRange(0, 0);
    this.#look();
  }

  /** Say what the value is while it is typed. */
  #look() {
    const bytes = this.bytes;
    const json = this.#file || this.#hex ? null : problemOfJson(this.#area.value);
    const isJson = json === "" && this.#area.value.trim() !== "";
    for (const button of [this.#format, this.#compact]) button.hidden = !isJson;
    if (!this.#typed && !this.#file) {
      const structured = isJson && /^\s*[[{]/.test(this.#area.value);
      this.#type.value = bytes?.length ? TYPES[this.#hex ? 2 : structured || isJson ? 0 : 1] : "";
    }
    const wrong = /json/i.test(this.contentType) && json ? `Not JSON: ${json}` : "";
    const what = this.#hex ? (bytes ? size(bytes.length) : "Two hexadecimal digits a byte, please") : size(bytes?.length ?? 0);
    this.#hint.textContent = wrong || (this.#hex && bytes ? `${what}, as hexadecimal digits` : what);
    this.#hint.classList.toggle("warning", wrong !== "" || bytes === null);
  }

  #offerTtl() {
    const { remaining, bucketTtl } = this.#options;
    const bucket = bucketTtl ? `as the bucket says: after ${exactDuration(bucketTtl)}` : "never";
    const choices = [
      ...(remaining === null ? [] : [["keep", `as before: in ${exactDuration(remaining)}`]]),
      ["bucket", bucket], ["after", "after…"], ...(bucketTtl ? [["never", "never"]] : []),
    ];
    this.#ttl.append(...choices.map(([value, text]) => h("option", { value }, text)));
  }

  #showTtl() {
    this.#ttlText.hidden = this.#ttl.value !== "after";
    if (!this.#ttlText.hidden) this.#ttlText.focus();
  }

  /** @returns {number | "never" | undefined | null} null if it is no time */
  #chosenTtl() {
    if (!this.#options.ttls) return undefined;
    const { remaining } = this.#options;
    if (this.#ttl.value === "keep") return Math.max(1, Math.round(remaining ?? 1));
    if (this.#ttl.value === "never") return "never";
    return this.#ttl.value === "after" ? parseDuration(this.#ttlText.value) || null : undefined;
  }

  async #send() {
    // Whoever types fast saves before the pause after which the type is chosen.
    this.#look();
    const { bytes } = this;
    const ttl = this.#chosenTtl();
    if (bytes === null) return this.#problem.show("These are not pairs of hexadecimal digits.");
    if (ttl === null) return this.#problem.show("Write a time such as 30s, 5m, 2h or 7d.");
    const untouched = sameBytes(bytes, this.#options.bytes) && this.contentType === this.#options.contentType;
    if (untouched && ["keep", "bucket"].includes(this.#ttl.value || "bucket") && !this.#options.isNew) {
      return this.#problem.show("Nothing has changed, so there is nothing to save.");
    }
    this.#problem.clear();
    this.#save.disabled = true;
    try {
      await this.#options.save({ bytes, contentType: this.contentType, ttl });
    } catch (error) {
      this.#problem.say(error);
    } finally {
      this.#save.disabled = false;
    }
  }
}

/** @param {string} text @returns {string} what is wrong with it as JSON, "" if nothing is */
function problemOfJson(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return String(/** @type {Error} */ (error).message).slice(0, 120);
  }
}
