/**
 * A table of any number of rows, of which only those in sight exist.
 *
 * The focus stays on the table, and `aria-activedescendant` names the active row, so that rows can come
 * and go.
 */

import { h } from "./dom.js";

const ROW = 28;
const MORE = 6;
/** Firefox ends a page at 17.9 million pixels. Beyond this height, a pixel of scrolling is more than one of rows. */
const TALLEST = 15_000_000;

let lists = 0;

export class VirtualList {
  active = 0;
  #count = 0;
  #frame = 0;
  #id = `list-${(lists += 1)}`;
  /** @type {Map<number, {element: HTMLElement, look: string}>} */
  #shown = new Map();

  /**
   * @param {object} of
   * @param {string} of.label
   * @param {HTMLElement[]} of.heads the heads of the columns
   * @param {(i: number) => {look: string, make: () => {cells: HTMLElement[], props?: Record<string, any>}}} of.row `look` differs whenever the row looks different
   * @param {(i: number) => void} of.open a row was chosen
   * @param {(i: number, key: "ArrowLeft" | "ArrowRight") => void} of.side
   * @param {() => void} of.scrolled other rows are in sight
   */
  constructor(of) {
    this.of = of;
    this.space = h("div", { class: "rows", role: "rowgroup" });
    this.head = h("div", { class: "row head", role: "row", "aria-rowindex": 1 }, of.heads);
    this.element = h("div", { class: "list", role: "treegrid", tabindex: 0, "aria-label": of.label, "aria-readonly": "true", onscroll: () => this.draw(), onkeydown: this.#key, onfocus: () => this.#mark() },
      h("div", { role: "rowgroup", class: "heads" }, this.head), this.space);
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** How many rows fit. */
  get fit() {
    return Math.max(1, Math.floor((this.element.clientHeight - this.head.offsetHeight) / ROW));
  }

  get #tall() {
    return Math.min(this.#count * ROW, TALLEST);
  }

  /** The row at the top; a part of it may be out of sight. */
  get top() {
    const { scrollTop, clientHeight } = this.element;
    const all = this.#count * ROW;
    if (all <= TALLEST) return scrollTop / ROW;
    const inner = clientHeight - this.head.offsetHeight;
    return ((scrollTop / (TALLEST - inner)) * (all - inner)) / ROW;
  }

  set top(row) {
    const all = this.#count * ROW;
    const inner = this.element.clientHeight - this.head.offsetHeight;
    this.element.scrollTop = all <= TALLEST ? row * ROW : ((row * ROW) / (all - inner)) * (TALLEST - inner);
  }

  /** The rows in sight: the first one, and the one after the last. @returns {[number, number]} */
  get sight() {
    const inner = this.element.clientHeight - this.head.offsetHeight;
    const atEnd = this.top + inner / ROW > this.#count - 0.5;
    const from = atEnd ? Math.max(0, this.#count - this.fit) : Math.round(this.top);
    return [from, Math.min(this.#count, from + this.fit)];
  }

  /** Show this many rows, and read all in sight again. @param {number} count */
  reset(count) {
    this.#count = count;
    this.active = Math.max(0, Math.min(this.active, count - 1));
    this.element.setAttribute("aria-rowcount", String(count + 1));
    this.space.style.height = `${this.#tall}px`;
    this.#draw(true);
  }

  draw() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** @param {boolean} [again] rows may look different */
  #draw(again = false) {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const top = this.top;
    const from = Math.max(0, Math.floor(top) - MORE);
    const to = Math.min(this.#count, Math.ceil(top) + this.fit + MORE);
    for (const [i, { element, look }] of this.#shown) {
      if (i >= from && i < to && !(again && this.of.row(i).look !== look)) continue;
      element.remove();
      this.#shown.delete(i);
    }
    const shift = this.#count * ROW > TALLEST ? this.element.scrollTop - top * ROW : 0;
    for (let i = from; i < to; i += 1) {
      let element = this.#shown.get(i)?.element;
      if (!element) {
        const { look, make } = this.of.row(i);
        const { cells, props } = make();
        element = h("div", { class: "row", role: "row", id: `${this.#id}-${i}`, "aria-rowindex": i + 2, onclick: (/** @type {MouseEvent} */ event) => this.#click(i, event), ...props }, cells);
        this.#shown.set(i, { element, look });
        this.space.append(element);
      }
      element.style.transform = `translateY(${i * ROW + shift}px)`;
    }
    this.#mark();
    this.of.scrolled();
  }

  #mark() {
    const active = this.#shown.get(this.active)?.element;
    for (const { element } of this.#shown.values()) element.setAttribute("aria-selected", String(element === active));
    if (active) this.element.setAttribute("aria-activedescendant", active.id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  #click(/** @type {number} */ i, /** @type {MouseEvent} */ event) {
    this.active = i;
    this.#mark();
    if (!(event.target instanceof Element && event.target.closest("a"))) this.of.open(i);
  }

  /** Make a row the active one, and bring it into sight. @param {number} row */
  go(row) {
    this.active = Math.max(0, Math.min(row, this.#count - 1));
    const [from, to] = this.sight;
    if (this.active < from || this.top > this.active) this.top = this.active;
    else if (this.active >= to) this.top = this.active - this.fit + 1;
    this.#draw();
  }

  #key = (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.element) return;
    /** @type {Record<string, () => void>} */
    const does = {
      ArrowDown: () => this.go(this.active + 1),
      ArrowUp: () => this.go(this.active - 1),
      PageDown: () => this.go(this.active + this.fit),
      PageUp: () => this.go(this.active - this.fit),
      Home: () => this.go(0),
      End: () => this.go(this.#count - 1),
      Enter: () => this.of.open(this.active),
      " ": () => this.of.open(this.active),
      ArrowRight: () => this.of.side(this.active, "ArrowRight"),
      ArrowLeft: () => this.of.side(this.active, "ArrowLeft"),
    };
    if (!does[event.key] || !this.#count) return;
    event.preventDefault();
    does[event.key]();
  };
}
