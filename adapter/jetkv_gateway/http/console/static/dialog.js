/** Dialogs that keep the focus, close with Escape, and give it back to where it was. */

import { append, fill, h } from "./dom.js";

/** @typedef {import("./dom.js").Child} Child */

let number = 0;

/**
 * Open a dialog, and wait until it is closed.
 *
 * @template T
 * @param {string} title
 * @param {(close: (result: T | null) => void) => Child[]} build makes what is in it
 * @param {{wide?: boolean}} [options]
 * @returns {Promise<T | null>} what it was closed with; null if it was left
 */
export function openDialog(title, build, { wide = false } = {}) {
  number += 1;
  const id = `dialog-${number}`;
  const element = /** @type {HTMLDialogElement} */ (
    h("dialog", { class: wide ? "wide" : "", "aria-labelledby": id })
  );
  return new Promise((resolve) => {
    /** @type {T | null} */
    let outcome = null;
    const close = (/** @type {T | null} */ result) => {
      outcome = result;
      element.close();
    };
    append(element, [h("h2", { id }, title), ...build(close)]);
    const leave = () => element.close();
    window.addEventListener("hashchange", leave);
    element.addEventListener("close", () => {
      window.removeEventListener("hashchange", leave);
      element.remove();
      resolve(outcome);
    });
    document.body.append(element);
    element.showModal();
    const first = element.querySelector("[data-focus]");
    if (first instanceof HTMLElement) first.focus();
  });
}

/**
 * A row of buttons at the end of a dialog. The last one is what most people want.
 *
 * @param {...Child} buttons
 */
export function actions(...buttons) {
  return h("div", { class: "actions" }, buttons);
}

/**
 * A form whose way to send it is a function.
 *
 * @param {() => void} send
 * @param {...Child} children
 */
export function form(send, ...children) {
  return h(
    "form",
    {
      onsubmit: (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        send();
      },
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        const save = (event.ctrlKey || event.metaKey) && (event.key === "Enter" || event.key === "s");
        if (!save) return;
        event.preventDefault();
        /** @type {HTMLFormElement} */ (event.currentTarget).requestSubmit();
      },
    },
    children,
  );
}

/**
 * A label with its control, and a note that belongs to it.
 *
 * @param {string} label
 * @param {HTMLElement} control
 * @param {Child} [note]
 */
export function field(label, control, note) {
  number += 1;
  control.id ||= `field-${number}`;
  if (note) control.setAttribute("aria-describedby", `${control.id}-note`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: control.id }, label),
    control,
    note ? h("p", { class: "note", id: `${control.id}-note` }, note) : null,
  );
}

/**
 * A box to check, in its label.
 *
 * @param {string} text
 * @param {Record<string, any>} [props]
 */
export function checkbox(text, props) {
  const input = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox", ...props }));
  return { input, label: h("label", { class: "check" }, input, text) };
}

/** A place for what went wrong, which screen readers read out. */
export class Problem {
  element = h("div", { role: "alert", class: "problem", hidden: true });

  /** @param {...Child} what */
  show(...what) {
    fill(this.element, ...what);
    this.element.hidden = false;
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** @param {unknown} error */
  say(error) {
    this.show(...words(error));
  }

  clear() {
    fill(this.element);
    this.element.hidden = true;
  }
}

/**
 * @param {unknown} error
 * @returns {Child[]} what went wrong, and what to do
 */
export function words(error) {
  const { message, hint, status } = /** @type {import("./api.js").ApiError} */ (error);
  const unknown = status === 504 || status === 0 ? " It may have been applied all the same: look before you try again." : "";
  return [h("strong", null, `${message}.`), hint ? ` ${hint[0].toUpperCase()}${hint.slice(1)}.` : "", unknown];
}

/**
 * A button that is not the one of a form.
 *
 * @param {string} text
 * @param {() => void} run
 * @param {string} [kind]
 * @param {Record<string, any>} [more] attributes
 */
export function button(text, run, kind = "", more) {
  return h("button", { class: kind, onclick: run, ...more }, text);
}

/**
 * Ask for something, and do it. The dialog stays open as long as it does not succeed.
 *
 * @template T
 * @param {string} title
 * @param {(submit: HTMLButtonElement) => Child[]} content
 * @param {{action: string, run: () => T | Promise<T>, kind?: string, wide?: boolean}} how `run` does it;
 *   undefined leaves the dialog open
 * @returns {Promise<T | null>} what `run` returned; null if the user left
 */
export function ask(title, content, { action, run, kind = "primary", wide }) {
  return openDialog(title, (close) => {
    const problem = new Problem();
    const submit = /** @type {HTMLButtonElement} */ (h("button", { class: kind }, action));
    const send = async () => {
      problem.clear();
      submit.disabled = true;
      try {
        const result = await run();
        if (result !== undefined) close(result);
      } catch (error) {
        problem.say(error);
      } finally {
        submit.disabled = false;
      }
    };
    return [form(send, content(submit), problem.element, actions(button("Cancel", () => close(null)), submit))];
  }, { wide });
}

/**
 * Ask before something that cannot be undone.
 *
 * @param {string} title
 * @param {Child[]} text
 * @param {string} action
 * @param {string} [type] what has to be typed before `action`
 * @returns {Promise<true | null>}
 */
export function confirm(title, text, action, type) {
  return ask(title, (submit) => [h("div", { class: "stack" }, text), type === undefined ? null : typed(type, "to go on", submit)],
    { action, kind: "danger", run: () => /** @type {const} */ (true) });
}

/**
 * A field in which a word has to be typed before a button works.
 *
 * @param {string} word
 * @param {string} purpose
 * @param {HTMLButtonElement} submit
 */
export function typed(word, purpose, submit) {
  submit.disabled = true;
  const input = /** @type {HTMLInputElement} */ (
    h("input", { "data-focus": true, oninput: () => (submit.disabled = input.value.trim() !== word) })
  );
  return field(`Type ${word} ${purpose}`, input);
}
