/**
 * SHA-256 (FIPS 180-4) of bytes that come in parts. The browser's own takes all of them at once, and
 * is missing where the page does not come by HTTPS or from this machine.
 */

/** @param {number} power 2 for square roots, 3 for cube roots */
function fractions(power) {
  const found = [];
  for (let n = 2; found.length < 64; n += 1) {
    let prime = true;
    for (let factor = 2; factor * factor <= n; factor += 1) prime &&= n % factor !== 0;
    if (prime) found.push((n ** (1 / power) % 1) * 2 ** 32);
  }
  return Uint32Array.from(found);
}

const K = fractions(3);
const START = fractions(2).slice(0, 8);

export class Sha256 {
  #state = START.slice();
  #block = new Uint8Array(64);
  #words = new Uint32Array(64);
  #filled = 0;
  #length = 0;

  /** @param {Uint8Array} bytes */
  update(bytes) {
    this.#length += bytes.length;
    let at = 0;
    while (at < bytes.length) {
      const some = Math.min(64 - this.#filled, bytes.length - at);
      this.#block.set(bytes.subarray(at, at + some), this.#filled);
      at += some;
      this.#filled += some;
      if (this.#filled === 64) this.#mix();
    }
    return this;
  }

  /** @returns {string} 64 hexadecimal digits; nothing may be added after that */
  digest() {
    const bits = this.#length * 8;
    const padding = new Uint8Array(((119 - this.#filled) % 64) + 9);
    padding[0] = 0x80;
    const view = new DataView(padding.buffer);
    view.setUint32(padding.length - 8, Math.floor(bits / 2 ** 32));
    view.setUint32(padding.length - 4, bits >>> 0);
    this.update(padding);
    return Array.from(this.#state, (word) => word.toString(16).padStart(8, "0")).join("");
  }

  #mix() {
    const w = this.#words;
    const block = this.#block;
    for (let i = 0; i < 16; i += 1) {
      const at = 4 * i;
      w[i] = (block[at] << 24) | (block[at + 1] << 16) | (block[at + 2] << 8) | block[at + 3];
    }
    for (let i = 16; i < 64; i += 1) {
      const x = w[i - 15];
      const y = w[i - 2];
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = this.#state;
    for (let i = 0; i < 64; i += 1) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => {
      this.#state[i] += word;
    });
    this.#filled = 0;
  }
}
