/** Asks for a credential. The place stays in the address, so it is there afterwards. */

import { api } from "./api.js";
import { actions, field, form, Problem } from "./dialog.js";
import { fill, h } from "./dom.js";
import { session } from "./session.js";

/** @param {HTMLElement} main @param {() => void} done */
export function show(main, done) {
  const input = (/** @type {string} */ type, placeholder = "") => /** @type {HTMLInputElement} */ (h("input", { type, placeholder }));
  const token = input("password", "jkv_…");
  const user = input("text");
  const password = input("password");
  const problem = new Problem();
  const submit = /** @type {HTMLButtonElement} */ (h("button", { class: "primary" }, "Sign in"));

  async function signIn() {
    problem.clear();
    if (token.value.trim()) session.useToken(token.value);
    else if (user.value) session.useLogin(user.value, password.value);
    else return refuse("Enter a token or a login");
    submit.disabled = true;
    try {
      await api.signIn();
      done();
    } catch (error) {
      refuse(error.status === 401 ? "This credential is not valid" : error.message);
    } finally {
      submit.disabled = false;
    }
  }

  function refuse(/** @type {string} */ text) {
    problem.show(text);
    token.focus();
  }

  main.className = "narrow";
  fill(main,
    h("h1", { tabindex: "-1" }, "Sign in"),
    h("p", { class: "quiet" }, "Your credential is kept in this tab until you close it."),
    form(signIn, field("Token", token),
      h("details", null, h("summary", null, "Use a NATS login instead"), field("User", user), field("Password", password)),
      problem.element, actions(submit)));
  token.focus();
}
