/** The settings of a bucket: to look at, and to change after a look at the plan. */

import { api, paths } from "./api.js";
import { warning } from "./bucket_facts.js";
import { BucketFields, FIELDS, shownValue } from "./bucket_fields.js";
import { showExport } from "./bulk.js";
import { actions, ask, button, checkbox, confirm, field, form, Problem } from "./dialog.js";
import { debounced, fact, fill, h, heads } from "./dom.js";
import { count, counted, duration, size, timestamp } from "./format.js";
import { links, router } from "./router.js";
import { session } from "./session.js";

/** @typedef {import("./bucket_fields.js").Settings} Settings */
/** @typedef {import("./app.js").Context} Context */

/** @type {(main: HTMLElement, place: import("./router.js").Place, context: Context) => Promise<import("./app.js").View>} */
export async function show(main, place, context) {
  const { bucket } = place;
  const { signal } = context;
  context.title(`Settings of ${bucket}`);
  await context.follow([{ bucket }]);
  const [{ body }, admin, mayRead, mayDelete] = await Promise.all([
    api.get(paths.bucket(bucket), { signal }), session.can("admin", bucket), session.can("read", bucket), session.can("delete", bucket),
  ]);
  const facts = h("dl", { class: "facts" });
  const draw = (/** @type {Settings} */ info) => fill(facts,
    info.values === undefined ? null : fact("Stored messages", count(info.values)), info.bytes === undefined ? null : fact("Size", size(info.bytes)),
    fact("Created", timestamp(info.created_at)), info.marker_ttl_seconds ? fact("Expiry markers stay", duration(info.marker_ttl_seconds)) : null,
    fact("Storage", info.storage));
  // The form stays as it is: somebody may be filling it in.
  const again = debounced(1000, () => api.get(paths.bucket(bucket), { signal }).then((answer) => draw(answer.body)).catch(() => {}));
  draw(body);
  main.classList.add("settings");
  fill(main,
    h("header", { class: "entry-head" }, h("h1", null, `Settings of ${bucket}`),
      h("div", { class: "actions" },
        mayRead || session.mayTouch("read", bucket) ? button("Export…", () => showExport(bucket, {}, context)) : null,
        mayDelete && button("Remove tombstones…", () => compact(bucket, context)),
        admin && !body.protected && button("Delete bucket…", () => removeBucket(bucket, body.values, context), "danger")),
      facts),
    (body.warnings ?? []).map((/** @type {any} */ one) => h("p", { class: "notice" }, warning(one))),
    admin ? changeForm(bucket, body, context) : readOnly(body));
  return { update: again, refresh: again, close: again.cancel };
}

/** @param {Settings} info */
function readOnly(info) {
  return h("section", null, h("p", { class: "note" }, "You may look at these settings, and not change them."),
    h("dl", { class: "facts" }, FIELDS.map(({ name, label }) => fact(label, shownValue(name, info[name])))));
}

/** @param {string} bucket @param {Settings} info @param {Context} context */
function changeForm(bucket, info, context) {
  const fields = new BucketFields(info);
  const problem = new Problem();
  const see = async () => {
    problem.clear();
    try {
      const wanted = fields.changes();
      if (!Object.keys(wanted).length) return problem.show("You have changed nothing.");
      const changed = await showPlan(`Change ${bucket}?`, info, (query) => api.patch(paths.bucket(bucket), { json: wanted, query }));
      if (!changed) return;
      context.say(`Changed: ${changed.changed.join(", ")}`);
      context.reload();
    } catch (error) {
      problem.say(error);
    }
  };
  return form(see, fields.element, problem.element, actions(h("button", { class: "primary" }, "See what would change…")));
}

/**
 * Show what a change would do, and make it if the user says so.
 *
 * @param {string} title
 * @param {Settings | null} now null for a new bucket
 * @param {(query: Record<string, boolean | undefined>) => Promise<{body: any}>} send
 * @param {(query: Record<string, boolean | undefined>) => Promise<{body: any}>} [make] in place of `send`
 * @returns {Promise<any>} the bucket as it is now; null if nothing was done
 * @throws {ApiError} it cannot be done
 */
async function showPlan(title, now, send, make = send) {
  /** @type {Record<string, {current: any, wanted: any}> | null} */
  let losses = null;
  let plan = null;
  try {
    plan = (await send({ dry_run: true })).body;
  } catch (error) {
    if (error.message !== "would lose data") throw error;
    losses = error.details;
    plan = (await send({ dry_run: true, allow_data_loss: true })).body;
  }
  const names = now ? plan.changed : FIELDS.map(({ name }) => name);
  const row = (/** @type {string} */ name) => h("tr", null, h("th", { scope: "row" }, FIELDS.find((one) => one.name === name)?.label ?? name),
    now && h("td", null, shownValue(name, now[name])), h("td", null, shownValue(name, plan[name])),
    losses && h("td", null, losses[name] ? h("strong", { class: "warning" }, "removes stored data") : ""));
  return ask(title, (submit) => {
    const agree = checkbox("Remove the stored data that does not fit. It cannot be brought back.", { onchange: () => (submit.disabled = !agree.input.checked) });
    submit.disabled = losses !== null;
    submit.hidden = !names.length;
    return [
      names.length ? h("table", { class: "plan" },
        heads(["Setting", ...(now ? ["Now", "Then"] : ["Value"]), ...(losses ? ["Effect"] : [])]),
        h("tbody", null, names.map(row))) : h("p", null, "There is nothing to change: the bucket is like this already."),
      losses && agree.label,
    ];
  }, {
    action: now ? "Change it" : "Create it", kind: losses ? "danger" : "primary", wide: true,
    run: async () => (await make({ allow_data_loss: losses ? true : undefined })).body,
  });
}

/** Whether the caller may create some bucket. */
export function mayCreateBuckets() {
  return (session.caller?.scopes ?? []).some((scope) => {
    const [verbs, where] = scope.split(/:(.*)/s);
    return !where.includes("/") && /(^|,)(\*|admin)(,|$)/.test(verbs);
  });
}

/** Ask for a new bucket, and create it. @param {Context} context */
export async function showNewBucket(context) {
  const name = /** @type {HTMLInputElement} */ (h("input", { required: true, pattern: "[A-Za-z0-9_\\-]{1,200}", maxlength: 200, "data-focus": true }));
  const fields = new BucketFields(null);
  const made = await ask("New bucket", () => [field("Name", name, "Letters, digits, _ and -. It cannot be changed later."), fields.element], {
    action: "See what would be created…", wide: true,
    run: async () => {
      const wanted = fields.changes();
      const bucket = name.value;
      const found = await showPlan(`Create ${bucket}?`, null,
        async (query) => {
          const answer = await api.put(paths.bucket(bucket), { json: wanted, query });
          if (answer.body.created !== true) throw new Error(`The bucket ${bucket} exists already`);
          return answer;
        },
        () => api.post(paths.buckets, { json: { ...wanted, name: bucket } }));
      return found?.name;
    },
  });
  if (!made) return;
  context.say(`Created ${made}`);
  router.go(links.keys(made));
}

/** @param {string} bucket @param {Context} context */
async function compact(bucket, context) {
  const text = "A deleted key leaves a tombstone. This removes those that nothing else of the key is stored with, and never a value. A watcher that was away for a while does not learn of those deletes.";
  if (!(await confirm("Remove tombstones?", [h("p", null, text)], "Remove them"))) return;
  try {
    const { body } = await api.post(paths.compact(bucket), { json: {}, seconds: 600 });
    context.say(`Removed ${counted(body.removed, "tombstone")}`);
    context.reload();
  } catch (error) {
    context.fail(error);
  }
}

/** @param {string} bucket @param {number | undefined} values @param {Context} context */
async function removeBucket(bucket, values, context) {
  const text = [h("p", null, "The bucket is deleted with everything in it", values === undefined ? "" : `: ${counted(values, "stored message")}`, ". It cannot be brought back. An export keeps a copy.")];
  if (!(await confirm(`Delete the bucket ${bucket}?`, text, "Delete bucket", bucket))) return;
  try {
    await api.delete(paths.bucket(bucket));
    context.say(`Deleted ${bucket}`);
    router.go(links.buckets());
  } catch (error) {
    context.fail(error);
  }
}
