/** Keys that do something everywhere. They can be turned off (WCAG 2.2, 2.1.4). */

const STORED = "jetkv.shortcuts";

/** @typedef {{key: string, label: string, run: () => void}} Shortcut */

class Shortcuts {
  /** @type {Shortcut[]} */
  global = [];
  /** @type {Shortcut[]} of the view */
  local = [];

  get on() {
    return localStorage.getItem(STORED) !== "off";
  }

  set on(on) {
    localStorage.setItem(STORED, on ? "on" : "off");
  }

  always = (/** @type {string} */ key, /** @type {string} */ label, /** @type {() => void} */ run) => {
    this.global.push({ key, label, run });
  };

  add = (/** @type {string} */ key, /** @type {string} */ label, /** @type {() => void} */ run) => {
    this.local = [...this.local.filter((one) => one.key !== key), { key, label, run }];
  };

  clear() {
    this.local = [];
  }

  start() {
    document.addEventListener("keydown", (event) => {
      if (!this.on || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      const target = /** @type {HTMLElement} */ (event.target);
      if (target.closest("input, textarea, select, [contenteditable], dialog") || document.querySelector("dialog[open]")) return;
      const found = [...this.local, ...this.global].find((one) => one.key === event.key);
      if (found) {
        event.preventDefault();
        found.run();
      }
    });
  }
}

export const shortcuts = new Shortcuts();
