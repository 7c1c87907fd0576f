/**
 * Starts the console and shows the view of each place.
 *
 * A view is `async function show(main, place, context)`. It returns an object with any of:
 * `update(changes)` for changes of what it follows, `refresh()` when changes may be missing,
 * `ended(bucket, code)` when a bucket is gone, and `close()`.
 */

import * as bucketForm from "./bucket_form.js";
import * as buckets from "./buckets_view.js";
import * as entry from "./entry_view.js";
import * as keys from "./keys_view.js";
import * as me from "./me_view.js";
import { ApiError, api } from "./api.js";
import { h, fill } from "./dom.js";
import { live } from "./live.js";
import { links, router } from "./router.js";
import { session } from "./session.js";
import { shell } from "./shell.js";
import { shortcuts } from "./shortcuts.js";
import * as signIn from "./sign_in.js";

/** @typedef {import("./live.js").Change} Change */
/** @typedef {{update?: (changes: Change[]) => void, refresh?: () => void, ended?: (bucket: string, code: string) => void, close?: () => void}} View */
/**
 * @typedef {object} Context
 * @property {AbortSignal} signal aborted when the view is left
 * @property {(text: string) => void} title set the title of the window
 * @property {(text: string, kind?: "info" | "error") => void} say tell the user, screen readers too
 * @property {(error: unknown) => void} fail tell the user about an error
 * @property {(targets: import("./live.js").Target[]) => Promise<void>} follow watch for changes; call it before you read. It throws when the view is left
 * @property {(key: string, label: string, run: () => void) => void} shortcut a key that works while the view is open
 * @property {() => void} reload show the place again
 */

const VIEWS = { buckets, keys, settings: bucketForm, entry, me };

let leave = new AbortController();
/** @type {View | null} */
let open = null;

/** @param {import("./router.js").Place} place */
async function show(place) {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  open?.close?.();
  open = null;
  live.stop();
  shortcuts.clear();
  shell.place(place);
  const main = shell.freshMain();
  if (session.authRequired && !session.signedIn) {
    shell.title("Sign in");
    signIn.show(main, start);
    return;
  }
  if (place.name === "unknown") {
    shell.title("Not found");
    fill(main, h("h1", { tabindex: "-1" }, "Not found"), h("p", null, "The console has no such place."),
      h("p", null, h("a", { href: links.buckets() }, "See all buckets")));
    shell.focus();
    return;
  }
  try {
    const view = await VIEWS[place.name].show(main, place, contextOf(signal));
    if (signal.aborted) {
      view?.close?.();
      return;
    }
    open = view ?? {};
    deliver();
    shell.focus();
  } catch (error) {
    if (signal.aborted) return;
    showError(main, error);
  }
}

/** @type {(() => void)[]} what happened before the view was ready */
let early = [];

function deliver() {
  const some = early;
  early = [];
  for (const run of some) run();
}

/** @param {AbortSignal} signal @returns {Context} */
function contextOf(signal) {
  early = [];
  const tell = (/** @type {() => void} */ run) => {
    if (signal.aborted) return;
    if (open) run();
    else early.push(run);
  };
  return {
    signal,
    title: shell.title,
    say: shell.say,
    fail: (error) => {
      if (error !== signal.reason) shell.say(describe(error), "error");
    },
    follow: async (targets) => {
      // The one watch belongs to the view that is open now.
      signal.throwIfAborted();
      await live.follow(targets, {
        changes: (changes) => tell(() => open?.update?.(changes)),
        gap: () => tell(() => open?.refresh?.()),
        ended: (bucket, code) => tell(() => (open?.ended ? open.ended(bucket, code) : reload())),
      });
      signal.throwIfAborted();
    },
    shortcut: shortcuts.add,
    reload,
  };
}

function reload() {
  show(router.arrive());
}

/** @param {unknown} error */
function describe(error) {
  const { message = String(error), hint, status } = /** @type {ApiError} */ (error);
  return hint && status ? `${message}: ${hint}` : message;
}

/** @param {HTMLElement} main @param {unknown} error */
function showError(main, error) {
  if (!(error instanceof ApiError)) console.error(error);
  const { status, requestId } = /** @type {ApiError} */ (error);
  shell.title("Error");
  fill(
    main,
    h("h1", { tabindex: "-1" }, status === 404 ? "Not found" : status === 403 ? "You may not see this" : "This did not work"),
    h("p", { class: "problem", role: "alert" }, describe(error)),
    requestId && h("p", { class: "quiet" }, "Request ", h("code", null, requestId)),
    h("p", { class: "actions" },
      h("button", { onclick: reload }, "Try again"),
      h("a", { class: "button", href: links.buckets() }, "See all buckets")),
  );
  shell.focus();
}

/** Find out who calls, and show the place. */
async function start() {
  try {
    await api.signIn();
  } catch (error) {
    if (error.status !== 401) {
      showError(shell.freshMain(), error);
      return;
    }
  }
  reload();
}

shell.build({ reload });
session.addEventListener("refused", () => {
  shell.say("Your credential is not valid any more: sign in again", "error");
  reload();
});
session.addEventListener("change", () => {
  if (!session.signedIn) reload();
});
window.addEventListener("hashchange", reload);
start();
