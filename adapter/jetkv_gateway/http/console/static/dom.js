/**
 * Makes elements. Text becomes text nodes only, so nothing that is stored can become HTML.
 */

/** @typedef {Node | string | number | null | undefined | false | Child[]} Child */

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "open", "readOnly"]);

/**
 * Make an element.
 *
 * `class` and other attributes are set as such; `true` makes an empty attribute, `false`, `null` and
 * `undefined` none. `onclick` and the like take a function. `ref` is called with the element.
 *
 * @param {string} tag
 * @param {Record<string, any> | null} [props]
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  if (tag === "button" && props?.onclick) element.setAttribute("type", "button");
  if (tag === "input" || tag === "textarea") {
    // What is typed here is no prose, and no secret for the browser to keep.
    element.setAttribute("autocomplete", "off");
    element.spellcheck = false;
  }
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || name === "ref") continue;
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (PROPERTIES.has(name)) {
      element[name] = value;
    } else if (name === "href" && !isOwnLink(value)) {
      throw new Error("a link leads to a place of the console or to a file of the gateway");
    } else if (value !== false || name.startsWith("aria-")) {
      element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value));
    }
  }
  append(element, children);
  props?.ref?.(element);
  return element;
}

/** No stored bytes ever become the address of a link. */
function isOwnLink(/** @type {string} */ href) {
  return href.startsWith("#") || href.startsWith("blob:") || href === "../docs";
}

/**
 * @param {Element} parent
 * @param {Child[]} children
 */
export function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/**
 * Replace the children of an element.
 * @param {Element} parent
 * @param {...Child} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
}

/**
 * A name and what it has, in a `dl`.
 * @param {Child} name
 * @param {Child} value
 */
export const fact = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));

/**
 * The heads of a table's columns.
 * @param {string[]} names
 * @param {string[]} [right] those of numbers
 */
export const heads = (names, right = []) =>
  h("thead", null, h("tr", null, names.map((name) => h("th", { scope: "col", class: right.includes(name) ? "right" : null }, name))));

/**
 * Make an icon from paths on a 24 by 24 grid. Screen readers skip it.
 * @param {string} path
 */
export function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

/**
 * Call a function once, after things have been quiet for a while, and at the latest after ten times that.
 * @param {number} wait milliseconds
 * @param {() => void} run
 */
export function debounced(wait, run) {
  let timer = 0;
  let first = 0;
  const call = () => {
    const now = performance.now();
    first ||= now;
    clearTimeout(timer);
    timer = setTimeout(() => {
      first = 0;
      run();
    }, Math.max(0, Math.min(wait, first + 10 * wait - now)));
  };
  call.cancel = () => {
    clearTimeout(timer);
    first = 0;
  };
  return call;
}
