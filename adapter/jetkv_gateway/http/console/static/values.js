/** What a stored value is, and how it is shown. Pure. A value is never more than text here. */

import { formatJson } from "./json_text.js";

/** @typedef {"json" | "text" | "bytes"} Shape */

const STRICT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/;
const ROW = 16;

/**
 * @param {string} text standard base64
 * @returns {Uint8Array}
 */
export function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

/**
 * @param {Uint8Array} bytes
 * @returns {string} standard base64
 */
export function toBase64(bytes) {
  const parts = [];
  // A call takes some ten thousand arguments; a multiple of three needs no padding.
  for (let at = 0; at < bytes.length; at += 24_576) {
    parts.push(btoa(String.fromCharCode(...bytes.subarray(at, at + 24_576))));
  }
  return parts.join("");
}

/**
 * @param {Uint8Array} bytes
 * @returns {string | null} null if the bytes are not UTF-8
 */
export function decodeText(bytes) {
  try {
    return STRICT.decode(bytes);
  } catch {
    return null;
  }
}

/**
 * Return the shape in which a value says most. The content type does not decide: clients send all
 * kinds of types with all kinds of values.
 *
 * @param {Uint8Array} bytes
 * @returns {{shape: Shape, text: string | null, json: string | null}} `text` if it is UTF-8, `json`
 *   formatted if it is JSON
 */
export function describe(bytes) {
  const text = decodeText(bytes);
  if (text === null) return { shape: "bytes", text, json: null };
  const json = formatJson(text);
  if (json !== null) return { shape: "json", text, json };
  return { shape: CONTROL.test(text) ? "bytes" : "text", text, json };
}

/**
 * Replace control characters, which a page does not show, by their pictures.
 *
 * @param {string} text
 */
export function visible(text) {
  if (!CONTROL.test(text)) return text;
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, (character) => {
    const code = character.charCodeAt(0);
    return String.fromCharCode(code === 0x7f ? 0x2421 : 0x2400 + code);
  });
}

/**
 * Name the characters of a key that are invisible or turn text round, so that no key looks like another.
 *
 * @param {string} key
 */
export function plainKey(key) {
  return key.replace(
    /[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (character) => `⟨U+${character.charCodeAt(0).toString(16).toUpperCase()}⟩`,
  );
}

/**
 * Return a dump of bytes: an offset, sixteen bytes, and what of them is ASCII, in each line.
 *
 * @param {Uint8Array} bytes
 */
export function hexDump(bytes) {
  const lines = [];
  for (let start = 0; start < bytes.length; start += ROW) {
    let digits = "";
    let letters = "";
    for (let at = start; at < start + ROW; at += 1) {
      if (at % 8 === 0) digits += " ";
      if (at >= bytes.length) {
        digits += "   ";
        continue;
      }
      const byte = bytes[at];
      digits += ` ${HEX[byte]}`;
      letters += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·";
    }
    lines.push(`${start.toString(16).padStart(8, "0")}${digits}  ${letters}`);
  }
  return lines.join("\n");
}

/**
 * @param {Uint8Array} bytes
 * @returns {string} two hexadecimal digits a byte, sixteen bytes a line
 */
export function toHex(bytes) {
  const lines = [];
  for (let start = 0; start < bytes.length; start += ROW) {
    lines.push(Array.from(bytes.subarray(start, start + ROW), (byte) => HEX[byte]).join(" "));
  }
  return lines.join("\n");
}

/**
 * @param {string} text hexadecimal digits, with space anywhere between bytes
 * @returns {Uint8Array | null} null if it is something else
 */
export function fromHex(text) {
  const digits = text.replace(/\s+/g, "");
  if (digits.length % 2 !== 0 || /[^0-9a-fA-F]/.test(digits)) return null;
  const bytes = new Uint8Array(digits.length / 2);
  for (let at = 0; at < bytes.length; at += 1) {
    bytes[at] = parseInt(digits.slice(2 * at, 2 * at + 2), 16);
  }
  return bytes;
}

/**
 * @param {Uint8Array} a
 * @param {Uint8Array} b
 */
export function sameBytes(a, b) {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at += 1) if (a[at] !== b[at]) return false;
  return true;
}

/**
 * Split text into blocks that a page can lay out one by one: at line ends, and in long lines.
 *
 * @param {string} text
 * @param {number} size characters of a block
 * @returns {string[]} together they are the text, without the line end between two blocks
 */
export function blocksOf(text, size) {
  const blocks = [];
  let start = 0;
  while (text.length - start > size) {
    const newline = text.lastIndexOf("\n", start + size);
    if (newline > start) {
      blocks.push(text.slice(start, newline));
      start = newline + 1;
    } else {
      // A pair of surrogates stays together.
      const low = text.charCodeAt(start + size) & 0xfc00;
      const end = start + size - (low === 0xdc00 ? 1 : 0);
      blocks.push(text.slice(start, end));
      start = end;
    }
  }
  blocks.push(text.slice(start));
  return blocks;
}
