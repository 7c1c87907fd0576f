/** Asks for a credential. The place stays in the address, so it is there afterwards. */

import { ApiError, api } from "./api.js";
import { fill, h } from "./dom.js";
import { session } from "./session.js";

/** @param {HTMLElement} main @param {() => void} done */
export function show(main, done) {
  const token = field("token", "Token", "password", "jkv_…");
  const user = field("user", "User", "text");
  const password = field("password", "Password", "password");
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const submit = h("button", { class: "primary" }, "Sign in");
  const login = h("details", null, h("summary", null, "Use a NATS login instead"), user.row, password.row);

  async function signIn(/** @type {Event} */ event) {
    event.preventDefault();
    problem.hidden = true;
    if (token.input.value.trim()) session.useToken(token.input.value);
    else if (user.input.value) session.useLogin(user.input.value, password.input.value);
    else return refuse("Enter a token or a login");
    submit.setAttribute("disabled", "");
    try {
      await api.signIn();
      done();
    } catch (error) {
      const wrong = error instanceof ApiError && error.status === 401;
      refuse(wrong ? "This credential is not valid" : String(/** @type {Error} */ (error).message));
    } finally {
      submit.removeAttribute("disabled");
    }
  }

  function refuse(/** @type {string} */ text) {
    fill(problem, text);
    problem.hidden = false;
    token.input.focus();
  }

  main.className = "narrow";
  fill(main,
    h("h1", { tabindex: "-1" }, "Sign in"),
    h("p", { class: "quiet" }, "Your credential is kept in this tab until you close it."),
    h("form", { class: "sign-in", onsubmit: signIn, novalidate: true }, token.row, login, problem, h("p", { class: "actions" }, submit)));
  token.input.focus();
}

/** @param {string} id @param {string} label @param {string} type @param {string} [hint] */
function field(id, label, type, hint) {
  const input = /** @type {HTMLInputElement} */ (h("input", { id: `sign-in-${id}`, type, placeholder: hint }));
  return { input, row: h("p", { class: "field" }, h("label", { for: input.id }, label), input) };
}
