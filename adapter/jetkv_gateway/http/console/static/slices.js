/** Long work in short slices, so that the page answers at any time. */

const SLICE = 8;
const channel = new MessageChannel();
/** @type {(() => void)[]} */
const waiting = [];
channel.port1.onmessage = () => waiting.shift()?.();

export class Slices {
  #began = performance.now();

  /** Whether it is time to let others run: then wait for `rest`. */
  get over() {
    return performance.now() - this.#began > SLICE;
  }

  /** @returns {Promise<void>} */
  async rest() {
    await new Promise((resolve) => {
      waiting.push(() => resolve(undefined));
      channel.port2.postMessage(0);
    });
    this.#began = performance.now();
  }
}
