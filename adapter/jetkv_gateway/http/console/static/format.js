/** How numbers and times are shown. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const NUMBER = new Intl.NumberFormat("en");

/** @param {number} n */
export const count = (n) => NUMBER.format(n);

/** @param {number} n @param {string} one @param {string} [many] */
export const counted = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  let n = bytes;
  let unit = 0;
  while (n >= 1024 && unit < UNITS.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${UNITS[unit]}`;
}

/**
 * A span of time in its two largest units, such as `2h 5m`.
 * @param {number} seconds
 */
export function duration(seconds) {
  const parts = [];
  let rest = Math.max(0, Math.round(seconds));
  for (const [unit, length] of /** @type {[string, number][]} */ ([["d", 86400], ["h", 3600], ["m", 60], ["s", 1]])) {
    const n = Math.floor(rest / length);
    rest -= n * length;
    if (n) parts.push(`${count(n)}${unit}`);
    else if (parts.length) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ") || "0s";
}

/** How long ago or how soon, such as `5m ago` or `in 2h`. @param {string} time RFC 3339 @param {number} [now] */
export function relative(time, now = Date.now()) {
  const seconds = (Date.parse(time) - now) / 1000;
  if (Number.isNaN(seconds)) return time;
  if (Math.abs(seconds) < 1) return "now";
  return seconds < 0 ? `${largest(-seconds)} ago` : `in ${largest(seconds)}`;
}

function largest(/** @type {number} */ seconds) {
  return seconds < 60 ? `${Math.floor(seconds)}s` : duration(seconds - (seconds % 60)).split(" ")[0];
}

const DATE = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

/** A time in the reader's zone, such as `2026-11-29 14:05:09`. @param {string} time RFC 3339 */
export function timestamp(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : DATE.format(date);
}
