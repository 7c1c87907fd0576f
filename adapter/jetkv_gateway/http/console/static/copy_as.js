/** Commands and programs that do what the page shows. Pure. Whatever a key or value has in it is quoted. */

import { parseRaw } from "./json_text.js";
import { decodeText, toBase64 } from "./values.js";

/**
 * @typedef {object} Subject what to copy
 * @property {"get" | "put" | "delete"} action
 * @property {string} origin the gateway's address
 * @property {boolean} auth whether it wants a token
 * @property {string} bucket
 * @property {string} key
 * @property {Uint8Array} [value] of a put
 * @property {string} [contentType] of a put
 * @property {number} [revision] of a get: an older one
 */

/** @typedef {"curl" | "python" | "jetkv" | "nats"} Language */

/** @type {[Language, string][]} */
export const LANGUAGES = [
  ["curl", "curl"],
  ["python", "Python"],
  ["jetkv", "jetkv kv"],
  ["nats", "nats kv"],
];

/** Bytes of a value that fit into a command. */
const MAX_INLINE = 16_384;

/**
 * @param {Language} language
 * @param {Subject} subject
 * @returns {string}
 */
export function copyAs(language, subject) {
  return { curl, python, jetkv, nats }[language](subject);
}

/**
 * @param {string} text
 * @returns {string} one word of a POSIX shell
 */
export function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * @param {string} text
 * @returns {string} one segment of a path, in which nothing is special to a shell either
 */
export function pathSegment(text) {
  const quoted = encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return /^\.\.?$/.test(text) ? quoted.replaceAll(".", "%2E") : quoted;
}

/** @param {Subject} subject */
function curl({ action, origin, auth, bucket, key, value, contentType, revision }) {
  const query = action === "get" ? `?values=raw${revision ? `&revision=${revision}` : ""}` : "";
  const path = `/api/v1/kv/buckets/${pathSegment(bucket)}/keys/${pathSegment(key)}`;
  const parts = ["curl", ...(/^\.\.?$/.test(key) ? ["--path-as-is"] : [])];
  if (action === "put") parts.push("-X PUT");
  if (action === "delete") parts.push("-X DELETE");
  parts.push(shellWord(origin + path + query));
  // The token stays out of the command: arguments of a process can be read by everybody there.
  if (auth) parts.push('-H "Authorization: Bearer $JETKV_TOKEN"');
  if (action !== "put") return parts.join(" ");
  // Without one, curl would send a type of its own.
  parts.push(`-H ${shellWord(`Content-Type:${contentType ? ` ${contentType}` : ""}`)}`);
  const inline = asWord(value);
  if (inline !== null) return `${parts.join(" ")} --data-raw ${inline}`;
  return `${source(value)}${parts.join(" ")} --data-binary @${tooLarge(value) ? "FILE" : "-"}`;
}

/** @param {Subject} subject */
function python({ action, origin, auth, bucket, key, value, contentType, revision }) {
  const { kind, given, imports } = pythonValue(value, contentType);
  const name = literal(key);
  const token = auth ? ', token=os.environ["JETKV_TOKEN"]' : "";
  const which = revision ? `, revision=${revision}` : "";
  const modules = [...(auth ? ["import os"] : []), ...(action === "put" ? imports : [])];
  return [
    ...modules,
    ...(modules.length ? [""] : []),
    "from jetkv import Client",
    "",
    `with Client(${literal(origin)}${token}) as client:`,
    `    bucket = client.kv().bucket(${literal(bucket)}${kind})`,
    {
      get: `    print(bucket.get(${name}${which}).value)`,
      put: `    bucket.put(${name}, ${given})`,
      delete: `    bucket.delete(${name})`,
    }[action],
  ].join("\n");
}

/**
 * @param {Uint8Array | undefined} value
 * @param {string | undefined} contentType
 * @returns {{kind: string, given: string, imports: string[]}} the type of the bucket's values as an
 *   argument, the value as an expression, and what that needs
 */
function pythonValue(value, contentType) {
  const bytes = value ?? new Uint8Array();
  if (tooLarge(value)) {
    const imports = ["from pathlib import Path"];
    return { kind: ", bytes", given: 'Path("FILE").read_bytes()', imports };
  }
  const text = decodeText(bytes);
  if (text === null) return { kind: ", bytes", given: bytesLiteral(bytes), imports: [] };
  const typed = !contentType || /json|octet-stream/i.test(contentType);
  const json = typed ? parseRaw(text) : null;
  if (json !== null) return { kind: "", given: expression(json), imports: [] };
  return { kind: ", str", given: literal(text), imports: [] };
}

/**
 * @param {import("./json_text.js").Node} node
 * @returns {string} an expression of Python
 */
function expression(node) {
  if (typeof node === "string") {
    return { true: "True", false: "False", null: "None" }[node] ?? safe(node);
  }
  const object = node.open === "{";
  const items = node.items.map(([name, item]) =>
    object ? `${safe(name)}: ${expression(item)}` : expression(item),
  );
  return object ? `{${items.join(", ")}}` : `[${items.join(", ")}]`;
}

/** @param {Subject} subject */
function jetkv({ action, bucket, key, value, contentType, revision }) {
  const where = `${shellWord(bucket)} ${dashed(key)}`;
  if (action === "get") return `jetkv kv get${revision ? ` --revision ${revision}` : ""} ${where}`;
  if (action === "delete") return `jetkv kv rm ${where}`;
  const type = contentType ? ` --content-type ${shellWord(contentType)}` : "";
  if (tooLarge(value)) return `jetkv kv put${type} --file FILE ${where}`;
  const inline = asWord(value);
  if (inline === null) return `${source(value)}jetkv kv put${type} ${where} -`;
  return `jetkv kv put${type} ${shellWord(bucket)} -- ${shellWord(key)} ${inline}`;
}

/** @param {Subject} subject */
function nats({ action, bucket, key, value, revision }) {
  const where = `${shellWord(bucket)} ${dashed(natsKey(key))}`;
  if (action === "get") {
    return `nats kv get --raw${revision ? ` --revision ${revision}` : ""} ${where}`;
  }
  if (action === "delete") return `nats kv del --force ${where}`;
  if (tooLarge(value)) return `nats kv put ${where} < FILE`;
  const inline = asWord(value);
  if (inline === null || inline === "''") return `${source(value)}nats kv put ${where}`;
  return `nats kv put ${shellWord(bucket)} -- ${shellWord(natsKey(key))} ${inline}`;
}

/** @param {string} key */
function dashed(key) {
  return key.startsWith("-") ? `-- ${shellWord(key)}` : shellWord(key);
}

/** @param {Uint8Array | undefined} value */
function tooLarge(value) {
  return (value?.length ?? 0) > MAX_INLINE;
}

/**
 * @param {Uint8Array | undefined} value
 * @returns {string | null} null if the value cannot be an argument
 */
function asWord(value) {
  const text = value === undefined ? "" : decodeText(value);
  if (text === null || tooLarge(value) || /[\u0000-\u0008\u000b-\u001f\u007f]/.test(text)) return null;
  return text === "" ? "''" : shellWord(text);
}

/**
 * @param {Uint8Array | undefined} value
 * @returns {string} a command that writes the value, and a pipe
 */
function source(value) {
  if (tooLarge(value) || value === undefined) return "";
  return `printf %s '${toBase64(value)}' | base64 -d | `;
}

/**
 * @param {string} text
 * @returns {string} a string of Python
 */
function literal(text) {
  return safe(JSON.stringify(text));
}

/**
 * @param {string} json a string or number of JSON, which is one of Python too, with its invisible
 *   characters escaped
 */
function safe(json) {
  return json.replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** @param {Uint8Array | undefined} value */
function bytesLiteral(value) {
  const bytes = Array.from(value ?? [], (byte) => {
    const plain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    return plain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
  });
  return `b"${bytes.join("")}"`;
}

const SAFE = /[-/_=.A-Za-z0-9]/;

/**
 * Return the name that NATS has for a key: what NATS refuses is escaped (docs/http-api.md#keys).
 *
 * @param {string} key
 */
export function natsKey(key) {
  if (/^[-/_A-Za-z0-9]+(\.[-/_A-Za-z0-9]+)*$/.test(key)) return key;
  const raw = String.fromCharCode(...new TextEncoder().encode(key));
  return raw
    .replace(LOOK_ALIKE, "=3D$1")
    .replace(/^\.|(?<=\.)\.|\.$/g, "=2E")
    .replace(/[^-/_=.A-Za-z0-9]/g, (byte) => `=${hex(byte.charCodeAt(0))}`);
}

/** Text that would be read as an escape. */
const LOOK_ALIKE = (() => {
  const escapable = [];
  for (let byte = 0x20; byte < 0xf5; byte += 1) {
    if (byte === 0x7f || byte === 0xc0 || byte === 0xc1) continue;
    if (byte === 0x2e || !SAFE.test(String.fromCharCode(byte))) escapable.push(hex(byte));
  }
  return new RegExp(`=((?:3D)*(?:${escapable.join("|")}))`, "g");
})();

/** @param {number} byte */
function hex(byte) {
  return byte.toString(16).toUpperCase().padStart(2, "0");
}
