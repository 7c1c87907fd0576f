/** Who am I, and what may I do? */

import { api, paths } from "./api.js";
import { field, form } from "./dialog.js";
import { fact, fill, h, heads } from "./dom.js";
import { session } from "./session.js";
import { timeOf } from "./times.js";

const MEANINGS = {
  read: "read keys, histories and changes",
  write: "put, create and touch keys",
  delete: "delete and purge keys",
  admin: "create, change and delete buckets",
  metrics: "read the metrics",
};
const METHODS = { none: "Open access", token: "A token", jwt: "A JWT", nats: "A login of NATS" };

/** @type {(main: HTMLElement, place: import("./router.js").Place, context: import("./app.js").Context) => Promise<import("./app.js").View>} */
export async function show(main, place, context) {
  context.title("Your access");
  const { name, method, scopes, expires_at: end } = (await api.get(paths.whoami, { signal: context.signal })).body;
  main.classList.add("narrow", "me");
  fill(main, h("h1", null, "Your access"),
    h("dl", { class: "facts" }, fact("Name", name), fact("By", METHODS[method] ?? method),
      fact("Ends", end ? timeOf(end) : "never")),
    session.authRequired && h("p", null, h("button", { onclick: () => session.signOut() }, "Sign out")),
    h("h2", null, "What you may do"),
    h("table", { class: "scopes" },
      heads(["Scope", "Meaning"]),
      h("tbody", null, scopes.map((/** @type {string} */ scope) => h("tr", null, h("th", { scope: "row" }, h("code", null, scope)), h("td", null, meaning(scope)))))),
    h("h2", null, "Ask"), question(place.query, context));
  return {};
}

/** A scope in words. @param {string} scope */
function meaning(scope) {
  const [verbs, where] = [scope.slice(0, scope.indexOf(":")), scope.slice(scope.indexOf(":") + 1)];
  const cut = where.indexOf("/");
  const bucket = cut < 0 ? where : where.slice(0, cut);
  const what = verbs === "*" ? "everything" : verbs.split(",").map((verb) => MEANINGS[verb] ?? verb).join("; ");
  const place = bucket === "*" ? "in all buckets" : bucket.includes("*") ? `in buckets that match ${bucket}` : `in ${bucket}`;
  return `${what}, ${verbs === "metrics" ? "of the gateway" : place}${cut < 0 ? "" : `, on keys that match ${where.slice(cut + 1)}`}`;
}

/** @param {URLSearchParams} query @param {import("./app.js").Context} context */
function question(query, context) {
  const verb = /** @type {HTMLSelectElement} */ (h("select", null, Object.keys(MEANINGS).slice(0, 4).map((one) => h("option", { selected: query.get("verb") === one }, one))));
  const bucket = /** @type {HTMLInputElement} */ (h("input", { required: true, value: query.get("bucket") ?? "" }));
  const key = /** @type {HTMLInputElement} */ (h("input", { value: query.get("key") ?? "", placeholder: "all keys" }));
  const answer = h("p", { class: "answer", role: "status" });
  const ask = async () => {
    try {
      const asked = { verb: verb.value, bucket: bucket.value, key: key.value || undefined };
      const { allowed, scope, reason } = (await api.get(paths.can, { query: asked, signal: context.signal })).body;
      answer.dataset.allowed = allowed;
      fill(answer, allowed ? ["Yes, by ", h("code", null, scope)] : `No: ${reason}`);
    } catch (error) {
      fill(answer);
      context.fail(error);
    }
  };
  const asking = form(ask, field("May I", verb), field("in bucket", bucket), field("the key", key), h("button", { class: "primary" }, "Ask"), answer);
  asking.className = "ask";
  return asking;
}
