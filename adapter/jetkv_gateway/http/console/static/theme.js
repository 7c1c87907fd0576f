/** Dark and light: as the system says, or as the user has chosen. */

import { fill, h, icon } from "./dom.js";

const STORED = "jetkv.theme";
const THEMES = ["system", "light", "dark"];
const ICONS = {
  system: "M4 5h16v11H4zM9 20h6",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1 1M17.4 17.4l1 1M18.4 5.6l-1 1M6.6 17.4l-1 1",
  dark: "M20 14.5A8 8 0 0 1 9.5 4 8 8 0 1 0 20 14.5z",
};

const button = h("button", { class: "tool", onclick: nextTheme });

function chosen() {
  const stored = localStorage.getItem(STORED) ?? "system";
  return THEMES.includes(stored) ? stored : "system";
}

function apply() {
  const theme = chosen();
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  button.setAttribute("aria-label", `Theme: ${theme}`);
  button.title = `Theme: ${theme} (t)`;
  fill(button, icon(ICONS[theme]));
}

export function nextTheme() {
  localStorage.setItem(STORED, THEMES[(THEMES.indexOf(chosen()) + 1) % THEMES.length]);
  apply();
}

export function themeButton() {
  apply();
  return button;
}
