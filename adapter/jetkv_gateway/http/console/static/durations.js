/** Spans of time as people write them: `90`, `30s`, `5m`, `1h30m`, `7d`. Pure. */

const SECONDS = { d: 86_400, h: 3_600, m: 60, s: 1 };
const LONGEST = 3_153_600_000;

/**
 * @param {string} text
 * @returns {number | null} whole seconds; null if the text is no span of time, or longer than 100 years
 */
export function parseDuration(text) {
  const compact = text.replace(/\s+/g, "").toLowerCase();
  if (/^\d+$/.test(compact)) return limited(Number(compact));
  if (!/^(\d+[dhms])+$/.test(compact)) return null;
  let seconds = 0;
  for (const [, digits, unit] of compact.matchAll(/(\d+)([dhms])/g)) {
    seconds += Number(digits) * SECONDS[/** @type {"d" | "h" | "m" | "s"} */ (unit)];
  }
  return limited(seconds);
}

/** @param {number} seconds */
function limited(seconds) {
  return seconds <= LONGEST ? seconds : null;
}

/**
 * @param {number} seconds
 * @returns {string} the whole span, which `parseDuration` reads
 */
export function exactDuration(seconds) {
  let rest = seconds;
  let text = "";
  for (const [unit, length] of Object.entries(SECONDS)) {
    const n = Math.floor(rest / length);
    rest -= n * length;
    if (n) text += `${n}${unit}`;
  }
  return text || "0s";
}

const BYTES = { "": 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/**
 * @param {string} text such as `1024`, `64k` or `1.5 GiB`
 * @returns {number | null} bytes; null if the text is no size
 */
export function parseSize(text) {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?$/i.exec(text.trim());
  if (!match) return null;
  return Math.round(Number(match[1]) * BYTES[/** @type {keyof typeof BYTES} */ (match[2].toLowerCase())]);
}
