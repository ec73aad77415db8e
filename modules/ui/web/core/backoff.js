/** Waiting times between attempts: 0.4 s doubling to 8 s, each with a little chance so that tabs do not march in step. */

export class Backoff {
  #attempt = 0;

  /** Milliseconds to wait before the next attempt. */
  next() {
    const base = Math.min(8000, 400 * 2 ** this.#attempt);
    this.#attempt += 1;
    return base * (0.8 + Math.random() * 0.4);
  }

  reset() {
    this.#attempt = 0;
  }
}
