/**
 * Shows long text without a freeze, and finds text in it. The text is laid out block by block, as it
 * comes into sight. Colours are highlights of the browser, which need no elements.
 */

import { fill, h } from "./dom.js";
import { blocksOf } from "./values.js";

const BLOCK = 16_384;
const MOST_FOUND = 10_000;
const MOST_MARKED = 2_000;

const FOUND = "found";
const CURRENT = "found-current";
/** Parts of JSON, by the group of `JSON_PART` that matches them. */
const COLOURS = ["json-name", "json-string", "json-number", "json-word"];
const JSON_PART =
  /("(?:[^"\\\n]|\\.)*")(?=\s*:)|("(?:[^"\\\n]|\\.)*")|(-?\d[\d.eE+-]*)|\b(true|false|null)\b/g;

const highlights = globalThis.CSS?.highlights;

/** @param {string} name @returns {Highlight | undefined} */
function highlight(name) {
  if (!highlights) return undefined;
  let found = highlights.get(name);
  if (!found) highlights.set(name, (found = new Highlight()));
  return found;
}

export class TextView {
  /** @type {{start: number, node: Text}[]} */
  #blocks = [];
  #text = "";
  /** @type {number[]} */
  #found = [];
  #length = 0;
  #current = -1;
  /** @type {IntersectionObserver | null} */
  #observer = null;
  /** @type {Map<Element, [string, StaticRange][]>} */
  #coloured = new Map();

  /** @param {string} label what the text is, for screen readers */
  constructor(label) {
    this.element = h("div", { class: "text-view", tabindex: 0, role: "region", "aria-label": label });
  }

  /**
   * @param {string} text
   * @param {{json?: boolean, wrap?: boolean}} [how] `json` colours it
   */
  show(text, { json = false, wrap = true } = {}) {
    this.close();
    this.#text = text;
    this.element.classList.toggle("nowrap", !wrap);
    let start = 0;
    const pieces = blocksOf(text, BLOCK);
    const elements = pieces.map((piece) => {
      const node = document.createTextNode(piece);
      this.#blocks.push({ start, node });
      start += piece.length;
      if (text[start] === "\n") start += 1;
      const element = h("pre", null, node);
      if (pieces.length > 1) {
        const lines = piece.split("\n").length;
        element.classList.add("lazy");
        element.style.containIntrinsicSize = `auto ${Math.max(lines, wrap ? piece.length / 120 : 0) * 1.5}em`;
      }
      return element;
    });
    fill(this.element, elements);
    if (json && highlights) this.#colour(elements);
  }

  /** Colour the blocks that are in sight, and no others. @param {Element[]} elements */
  #colour(elements) {
    this.#observer = new IntersectionObserver(
      (seen) => {
        for (const { target, isIntersecting } of seen) {
          if (isIntersecting) this.#colourOne(target);
          else this.#fade(target);
        }
      },
      { rootMargin: "200px" },
    );
    for (const element of elements) this.#observer.observe(element);
  }

  /** @param {Element} element */
  #colourOne(element) {
    if (this.#coloured.has(element)) return;
    const node = /** @type {Text} */ (element.firstChild);
    /** @type {[string, StaticRange][]} */
    const ranges = [];
    for (const match of node.data.matchAll(JSON_PART)) {
      const name = COLOURS[match.slice(1).findIndex((group) => group !== undefined)];
      const range = rangeOf(node, match.index, node, match.index + match[0].length);
      highlight(name)?.add(range);
      ranges.push([name, range]);
    }
    this.#coloured.set(element, ranges);
  }

  /** @param {Element} element */
  #fade(element) {
    for (const [name, range] of this.#coloured.get(element) ?? []) highlight(name)?.delete(range);
    this.#coloured.delete(element);
  }

  /**
   * Find text, whatever its case.
   *
   * @param {string} wanted
   * @returns {number} how often it is there, at most 10,000
   */
  find(wanted) {
    this.#found = [];
    this.#length = wanted.length;
    this.#current = -1;
    highlights?.delete(FOUND);
    highlights?.delete(CURRENT);
    if (!wanted) return 0;
    const pattern = new RegExp(wanted.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"), "gi");
    for (const match of this.#text.matchAll(pattern)) {
      this.#found.push(match.index);
      if (this.#found.length === MOST_FOUND) break;
    }
    for (const at of this.#found.slice(0, MOST_MARKED)) highlight(FOUND)?.add(this.#range(at));
    return this.#found.length;
  }

  /**
   * Go to the next or the previous place that was found.
   *
   * @param {1 | -1} step
   * @returns {number} its number, from 1; 0 if there is none
   */
  go(step) {
    const count = this.#found.length;
    if (!count) return 0;
    this.#current = (this.#current + step + count) % count;
    const range = this.#range(this.#found[this.#current]);
    highlights?.delete(CURRENT);
    highlight(CURRENT)?.add(range);
    this.#scrollTo(range);
    return this.#current + 1;
  }

  /** @param {StaticRange} range */
  #scrollTo(range) {
    const live = document.createRange();
    live.setStart(range.startContainer, range.startOffset);
    live.setEnd(range.endContainer, range.endOffset);
    // A block that was out of sight has no places for its text yet.
    range.startContainer.parentElement?.scrollIntoView({ block: "nearest" });
    requestAnimationFrame(() => {
      const box = live.getBoundingClientRect();
      const frame = this.element.getBoundingClientRect();
      const middle = (frame.top + frame.bottom) / 2;
      if (box.top < frame.top || box.bottom > frame.bottom) this.element.scrollTop += box.top - middle;
      if (box.left < frame.left || box.right > frame.right) this.element.scrollLeft += box.left - frame.left - 40;
      if (!highlights) {
        const selection = getSelection();
        selection?.removeAllRanges();
        selection?.addRange(live);
      }
    });
  }

  /** @param {number} at a place in the text */
  #range(at) {
    const [from, fromOffset] = this.#place(at);
    const [to, toOffset] = this.#place(at + this.#length);
    return rangeOf(from, fromOffset, to, toOffset);
  }

  /** @param {number} at @returns {[Text, number]} */
  #place(at) {
    let low = 0;
    let high = this.#blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#blocks[middle].start <= at) low = middle;
      else high = middle - 1;
    }
    const { start, node } = this.#blocks[low];
    return [node, Math.min(at - start, node.length)];
  }

  close() {
    this.#observer?.disconnect();
    this.#observer = null;
    for (const element of [...this.#coloured.keys()]) this.#fade(element);
    this.#blocks = [];
    this.find("");
  }
}

/** @param {Text} from @param {number} fromOffset @param {Text} to @param {number} toOffset */
function rangeOf(from, fromOffset, to, toOffset) {
  return new StaticRange({
    startContainer: from,
    startOffset: fromOffset,
    endContainer: to,
    endOffset: toOffset,
  });
}
