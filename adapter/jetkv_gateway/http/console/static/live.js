/**
 * One watch for the view that is open. It can be paused, goes on from its bookmark after a break, and
 * says what state it is in.
 */

import { api, paths } from "./api.js";
import { EventParser } from "./events.js";

/** @typedef {{type: string, bucket: string, key: string, operation: "put" | "delete", reason?: string, revision: number, size?: number, expires_at?: string}} Change */
/** @typedef {{bucket: string, filter?: string}} Target */
/** @typedef {"off" | "connecting" | "live" | "reconnecting" | "refused"} State */
/**
 * @typedef {object} Sink
 * @property {(changes: Change[]) => void} changes in the order of each bucket's revisions
 * @property {() => void} gap changes may be missing: read again
 * @property {(bucket: string, code: string) => void} ended a bucket is gone, or may not be watched any more
 */

const MOST_TARGETS = 64;
const MOST_WAITING = 5000;
/** Milliseconds that changes are collected for, so that a burst is drawn once. */
const TOGETHER = 100;
/** The gateway sends a comment every 15 seconds. */
const SILENT = 45_000;
const BACK_OFF = [500, 1000, 2000, 4000, 8000, 15_000, 30_000];
const FINAL = new Set(["not_found", "bucket_deleted", "permission_denied", "failed_precondition"]);

class Live extends EventTarget {
  /** @type {State} */
  state = "off";
  paused = false;
  /** Changes that wait for the end of the pause. */
  waiting = 0;
  /** Whether there are more than are kept. */
  more = false;
  /** @type {Target[]} */
  #targets = [];
  /** @type {Sink | null} */
  #sink = null;
  #bookmark = "";
  #round = new AbortController();
  /** @type {Map<string, Change>} the newest change of each key */
  #queue = new Map();
  #timer = 0;
  #wake = () => {};
  #tries = 0;

  constructor() {
    super();
    window.addEventListener("online", () => this.#wake());
  }

  /**
   * Watch something else from now on. Resolve when the watch is open; `sink.gap` is called if it opens
   * later than a second from now.
   *
   * @param {Target[]} targets
   * @param {Sink} sink
   * @returns {Promise<void>}
   */
  follow(targets, sink) {
    this.stop();
    this.#targets = targets.slice(0, MOST_TARGETS);
    this.#sink = sink;
    if (!targets.length) return Promise.resolve();
    return new Promise((resolve) => {
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        resolve();
      }, 1000);
      this.#run(this.#round.signal, () => {
        clearTimeout(timer);
        if (late) sink.gap();
        late = false;
        resolve();
      });
    });
  }

  stop() {
    this.#round.abort();
    this.#round = new AbortController();
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#queue.clear();
    this.waiting = 0;
    this.more = false;
    this.#bookmark = "";
    this.#tries = 0;
    this.#sink = null;
    this.#is("off");
  }

  /** Pause, or go on. */
  toggle() {
    this.paused = !this.paused;
    const cut = this.more;
    this.waiting = 0;
    this.more = false;
    this.#flush();
    if (cut) {
      this.#round = new AbortController();
      this.#run(this.#round.signal, () => {});
    }
    this.#changed();
  }

  #is(/** @type {State} */ state) {
    if (this.state === state) return;
    this.state = state;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  async #run(/** @type {AbortSignal} */ signal, /** @type {() => void} */ opened) {
    while (!signal.aborted) {
      this.#is(this.#tries ? "reconnecting" : "connecting");
      try {
        await this.#read(signal, opened);
      } catch (error) {
        if (signal.aborted) return;
        if ([400, 401, 403, 404].includes(error.status)) {
          if (error.status === 400 && this.#bookmark) {
            this.#loseBookmark();
          } else {
            this.#is("refused");
            opened();
            return;
          }
        }
      }
      if (signal.aborted) return;
      this.#is("reconnecting");
      await this.#pauseBeforeTry();
    }
  }

  #pauseBeforeTry() {
    const wait = BACK_OFF[Math.min(this.#tries, BACK_OFF.length - 1)] * (0.75 + Math.random() / 2);
    this.#tries += 1;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.#wake = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }

  #loseBookmark() {
    this.#bookmark = "";
    this.#sink?.gap();
  }

  async #read(/** @type {AbortSignal} */ signal, /** @type {() => void} */ opened) {
    const silence = new AbortController();
    let timer = 0;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENT);
    };
    const either = AbortSignal.any([signal, silence.signal]);
    try {
      const { body } = await api.get(paths.watch, {
        as: "stream",
        headers: { Accept: "text/event-stream" },
        query: {
          watch: this.#targets.map(({ bucket, filter }) => (filter ? `${bucket}/${filter}` : bucket)),
          meta_only: true,
          resume: this.#bookmark || undefined,
        },
        signal: either,
      });
      const resumed = this.#bookmark !== "";
      const again = this.#tries > 0;
      this.#tries = 0;
      this.#is("live");
      opened();
      if (again && !resumed) this.#sink?.gap();
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new EventParser();
      for (;;) {
        heard();
        const { done, value } = await reader.read();
        if (done || signal.aborted) return;
        for (const event of parser.push(value)) this.#take(event);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #take(/** @type {import("./events.js").SentEvent} */ event) {
    if (event.data) {
      const frame = JSON.parse(event.data);
      if (frame.type === "kv_update") this.#keep(frame);
      else if (frame.type === "error") this.#fail(frame);
    }
    if (event.id !== undefined) this.#bookmark = event.id;
  }

  #fail(/** @type {{code: string, bucket?: string}} */ frame) {
    if (FINAL.has(frame.code)) {
      this.#flush();
      this.#round.abort();
      this.#is("refused");
      this.#sink?.ended(frame.bucket ?? this.#targets[0]?.bucket ?? "", frame.code);
    } else if (frame.code === "resync") {
      this.#loseBookmark();
    }
  }

  #keep(/** @type {Change} */ change) {
    const place = `${change.bucket}/${change.key}`;
    this.#queue.delete(place);
    this.#queue.set(place, change);
    if (!this.paused) {
      this.#timer ||= setTimeout(() => this.#flush(), TOGETHER);
      return;
    }
    this.waiting += 1;
    if (this.#queue.size >= MOST_WAITING && !this.more) {
      // The bookmark knows the place: nothing is lost.
      this.more = true;
      this.#round.abort();
    }
    this.#changed();
  }

  #flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (!this.#queue.size || this.paused) return;
    const changes = [...this.#queue.values()];
    this.#queue.clear();
    this.#sink?.changes(changes);
  }
}

export const live = new Live();
