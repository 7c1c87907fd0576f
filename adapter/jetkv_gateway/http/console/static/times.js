/** Times that go on: how long ago something was, and how soon a value expires. */

import { h } from "./dom.js";
import { exactDuration } from "./durations.js";
import { duration, relative, timestamp } from "./format.js";

/**
 * @param {string} at RFC 3339
 * @param {"ago" | "left"} [kind]
 */
export function timeOf(at, kind = "ago") {
  const element = h("time", { datetime: at, title: timestamp(at), "data-kind": kind });
  draw(/** @type {HTMLTimeElement} */ (element));
  return element;
}

/** @param {HTMLTimeElement} time */
function draw(time) {
  const left = Math.ceil((Date.parse(time.dateTime) - Date.now()) / 1000);
  let text = relative(time.dateTime);
  if (time.dataset.kind === "left") {
    text = left > 0 ? countdown(left) : "any moment";
    time.classList.toggle("soon", left < 60);
  }
  // Without a change, nothing is read out or drawn.
  if (time.textContent !== text) time.textContent = text;
}

/** @param {number} seconds */
function countdown(seconds) {
  return seconds < 86_400 ? exactDuration(seconds).replace(/(?<=[hm])(?=\d)/g, " ") : duration(seconds);
}

/** Draw the times of a part of the page again. @param {HTMLElement} part */
export function tick(part) {
  for (const time of part.querySelectorAll("time")) draw(time);
}
