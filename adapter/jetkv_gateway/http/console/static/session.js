/**
 * Who uses the console: the credential, its name, and what it may do.
 *
 * The credential is kept for this tab only, and ends with it.
 */

const STORED = "jetkv.credential";

/** @typedef {{name: string, method: string, scopes: string[], expires_at?: string}} Caller */

class Session extends EventTarget {
  /** @type {Caller | null} */
  caller = null;
  /** Whether the gateway wants a credential. */
  authRequired = false;
  version = "";
  /** @type {Map<string, Promise<boolean>>} */
  #answers = new Map();
  /** @type {Scope[] | null} */
  #scopes = null;

  /** The value of `Authorization`, or null. */
  get credential() {
    return sessionStorage.getItem(STORED);
  }

  get signedIn() {
    return this.caller !== null;
  }

  /** @param {string} token */
  useToken(token) {
    this.#use(`Bearer ${token.trim()}`);
  }

  /**
   * Use a login of NATS.
   * @param {string} user
   * @param {string} password
   */
  useLogin(user, password) {
    const bytes = new TextEncoder().encode(`${user}:${password}`);
    this.#use(`Basic ${btoa(String.fromCharCode(...bytes))}`);
  }

  #use(/** @type {string} */ credential) {
    sessionStorage.setItem(STORED, credential);
    this.forget();
  }

  /** Forget what is known about the caller, but not the credential. */
  forget() {
    this.caller = null;
    this.#answers.clear();
    this.#scopes = null;
  }

  signOut() {
    sessionStorage.removeItem(STORED);
    this.forget();
    this.dispatchEvent(new Event("change"));
  }

  /** The gateway has refused the credential. */
  refused() {
    if (!this.authRequired) return;
    const worked = this.signedIn;
    sessionStorage.removeItem(STORED);
    this.forget();
    if (worked) this.dispatchEvent(new Event("refused"));
  }

  /** @param {Caller} caller */
  is(caller) {
    this.caller = caller;
    this.dispatchEvent(new Event("change"));
  }

  /**
   * Return whether the caller may do something with a key, or with all keys of a bucket.
   *
   * @param {"read" | "write" | "delete" | "admin" | "metrics"} verb
   * @param {string} bucket
   * @param {string} [key]
   * @returns {Promise<boolean>}
   */
  can(verb, bucket, key) {
    const place = JSON.stringify([verb, bucket, key]);
    let answer = this.#answers.get(place);
    if (!answer) {
      if (this.#answers.size > 2000) this.#answers.clear();
      answer = this.ask(verb, bucket, key);
      this.#answers.set(place, answer);
      answer.catch(() => this.#answers.delete(place));
    }
    return answer;
  }

  /** Set by `api.js`, which sends the question. @type {(verb: string, bucket: string, key?: string) => Promise<boolean>} */
  ask = () => Promise.resolve(false);

  /**
   * Return whether the caller may do something with at least one key of a bucket. `admin` is about
   * the bucket itself.
   *
   * @param {string} verb
   * @param {string} bucket
   */
  mayTouch(verb, bucket) {
    this.#scopes ??= (this.caller?.scopes ?? []).map(readScope);
    return this.#scopes.some(
      (scope) => (scope.verbs.includes("*") || scope.verbs.includes(verb)) && scope.bucket.test(bucket),
    );
  }
}

/** @typedef {{verbs: string[], bucket: RegExp}} Scope */

/** @param {string} text `VERBS:BUCKET[/KEYS]` @returns {Scope} */
function readScope(text) {
  const colon = text.indexOf(":");
  const bucket = text.slice(colon + 1).split("/", 1)[0];
  return {
    verbs: text.slice(0, colon).split(","),
    bucket: new RegExp(`^${bucket.replaceAll(/[^A-Za-z0-9_*-]/g, "").replaceAll("*", ".*")}$`),
  };
}

export const session = new Session();
