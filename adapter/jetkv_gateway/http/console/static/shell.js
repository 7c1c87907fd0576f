/** What surrounds the views: the header, the main part, and what is said to the user. */

import { fill, h, icon } from "./dom.js";
import { showHelp } from "./help.js";
import { count } from "./format.js";
import { live } from "./live.js";
import { links } from "./router.js";
import { session } from "./session.js";
import { shortcuts } from "./shortcuts.js";
import { nextTheme, themeButton } from "./theme.js";

const SAID_SECONDS = 8;
const PAUSE = "M8 5v14M16 5v14";
const PLAY = "M8 5l11 7-11 7z";

const crumbs = h("nav", { class: "crumbs", "aria-label": "Place" });
let main = h("main", { id: "main", tabindex: "-1" });
const said = h("div", { class: "said", role: "status", "aria-live": "polite" });
const alerts = h("div", { class: "said", role: "alert" });
const liveButton = h("button", { class: "live", onclick: () => live.toggle() });
const account = h("span", { class: "account" });
let firstView = true;

export const shell = {
  /** @param {{reload: () => void}} actions */
  build({ reload }) {
    document.querySelector(".boot")?.remove();
    document.body.append(
      h("a", { class: "skip", href: "#main", onclick: skip }, "Skip to the content"),
      h("header", { class: "bar" },
        h("a", { class: "brand", href: links.buckets(), "aria-label": "jetkv: all buckets" },
          icon("M4 6h9M4 12h6M4 18h9M16 5l5 7-5 7"), h("span", { "aria-hidden": "true" }, "jetkv")),
        crumbs,
        h("div", { class: "tools" }, liveButton, themeButton(),
          h("button", { class: "tool", "aria-label": "Help", title: "Help (?)", onclick: showHelp }, "?"),
          account)),
      main,
      h("div", { class: "messages" }, said, alerts),
    );
    live.addEventListener("change", drawLive);
    session.addEventListener("change", drawAccount);
    drawLive();
    shortcuts.start();
    shortcuts.always("?", "Show this help", showHelp);
    shortcuts.always("b", "Go to all buckets", () => (location.hash = links.buckets()));
    shortcuts.always("m", "Go to your access", () => (location.hash = links.me()));
    shortcuts.always("u", "Go one place up", goUp);
    shortcuts.always("p", "Pause or resume live changes", () => live.toggle());
    shortcuts.always("r", "Read again", reload);
    shortcuts.always("t", "Change the theme", nextTheme);
  },

  /** @param {string} text */
  title(text) {
    document.title = `${text} · jetkv`;
  },

  /** @param {import("./router.js").Place} place */
  place(place) {
    const steps = [h("a", { href: links.buckets() }, "Buckets")];
    if (place.bucket) steps.push(h("a", { href: links.keys(place.bucket) }, place.bucket));
    if (place.name === "entry") steps.push(h("a", { href: links.entry(place.bucket, place.key) }, h("bdi", null, place.key)));
    if (place.name === "settings") steps.push(h("a", { href: links.settings(place.bucket) }, "Settings"));
    if (place.name === "me") steps.push(h("a", { href: links.me() }, "Your access"));
    steps.at(-1)?.setAttribute("aria-current", "page");
    fill(crumbs, h("ol", null, ...steps.map((step) => h("li", null, step))));
  },

  /** An empty main part. What a view that was left still draws is not seen. */
  freshMain() {
    const before = main;
    main = h("main", { id: "main", tabindex: "-1" });
    before.replaceWith(main);
    return main;
  },

  /** Move the focus to what is new, but not when the page has just been opened. */
  focus() {
    if (firstView) {
      firstView = false;
      return;
    }
    const active = document.activeElement;
    if (active && active !== document.body && main.contains(active)) return;
    const heading = main.querySelector("h1");
    heading?.setAttribute("tabindex", "-1");
    /** @type {HTMLElement} */ (heading ?? main).focus({ preventScroll: true });
  },

  /** @param {string} text @param {"info" | "error"} [kind] */
  say(text, kind = "info") {
    const place = kind === "error" ? alerts : said;
    const line = h("p", { class: kind }, h("span", null, text),
      h("button", { class: "close", "aria-label": "Close", onclick: () => line.remove() }, "×"));
    place.append(line);
    setTimeout(() => line.remove(), 1000 * SAID_SECONDS);
  },
};

function skip(/** @type {Event} */ event) {
  event.preventDefault();
  main.focus();
}

function goUp() {
  const steps = [...crumbs.querySelectorAll("a")];
  const up = steps.at(-2);
  if (up) location.hash = up.hash;
}

function drawLive() {
  const { state, paused, waiting, more } = live;
  const shown = state === "off" ? "idle" : paused ? "paused" : state;
  const texts = {
    idle: paused ? "Paused" : "Idle",
    live: "Live",
    connecting: "Connecting",
    reconnecting: "Reconnecting",
    refused: "Not live",
    paused: waiting ? `Paused, ${count(waiting)}${more ? "+" : ""} waiting` : "Paused",
  };
  liveButton.dataset.state = shown;
  liveButton.setAttribute("aria-pressed", String(paused));
  liveButton.setAttribute("aria-label", `Pause live changes (${texts[shown]})`);
  liveButton.title = paused ? "Resume live changes (p)" : "Pause live changes (p)";
  fill(liveButton, h("span", { class: "dot" }), texts[shown], icon(paused ? PLAY : PAUSE));
}

function drawAccount() {
  const { caller, authRequired } = session;
  fill(account, caller && h("a", { href: links.me(), title: "Your access (m)" }, authRequired ? caller.name : "open access"));
}
