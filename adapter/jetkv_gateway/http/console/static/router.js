/**
 * Places of the console, as the part of the address after `#`. So each place is a link, and the back
 * button works.
 */

/** @typedef {{name: "buckets" | "keys" | "settings" | "entry" | "me" | "unknown", bucket: string, key: string, query: URLSearchParams}} Place */

const encode = encodeURIComponent;

function withQuery(/** @type {string} */ path, /** @type {Record<string, any>} */ query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") search.set(name, String(value));
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

/** Addresses of places. Names are encoded here, so any key works. */
export const links = {
  /** @param {Record<string, any>} [query] */
  buckets: (query) => withQuery("#/", query),
  me: () => "#/me",
  /** @param {string} bucket @param {Record<string, any>} [query] */
  keys: (bucket, query) => withQuery(`#/b/${encode(bucket)}`, query),
  /** @param {string} bucket */
  settings: (bucket) => `#/b/${encode(bucket)}/settings`,
  /** @param {string} bucket @param {string} key @param {Record<string, any>} [query] */
  entry: (bucket, key, query) => withQuery(`#/b/${encode(bucket)}/k/${encode(key)}`, query),
};

/**
 * Read an address.
 * @param {string} hash
 * @returns {Place}
 */
export function parse(hash) {
  const [, path, search] = /** @type {RegExpExecArray} */ (/^#?([^?]*)\??(.*)/s.exec(hash));
  const query = new URLSearchParams(search);
  const parts = path.split("/").slice(1);
  const place = (/** @type {Place["name"]} */ name, bucket = "", key = "") => ({ name, bucket, key, query });
  try {
    if (path === "" || path === "/") return place("buckets");
    if (path === "/me") return place("me");
    const bucket = decodeURIComponent(parts[1] ?? "");
    if (parts[0] === "b" && bucket) {
      if (parts.length === 2) return place("keys", bucket);
      if (parts.length === 3 && parts[2] === "settings") return place("settings", bucket);
      // A slash that somebody typed belongs to the key.
      if (parts.length > 3 && parts[2] === "k") return place("entry", bucket, decodeURIComponent(parts.slice(3).join("/")));
    }
  } catch {
    // The address holds a stray percent sign.
  }
  return place("unknown");
}

/** The address of the view that is open. */
let shown = "";

export const router = {
  /** The place of the address, which is going to be shown. @returns {Place} */
  arrive() {
    shown = location.hash;
    return parse(shown);
  },

  /** Go to a place, as a link does. */
  go(/** @type {string} */ hash) {
    if (location.hash === hash) window.dispatchEvent(new Event("hashchange"));
    else location.hash = hash;
  },

  /** Change the address without leaving the view: it has shown this already. */
  replace(/** @type {string} */ hash) {
    if (location.hash !== shown) return; // a link was followed just now
    history.replaceState(null, "", hash);
    shown = location.hash;
  },
};
