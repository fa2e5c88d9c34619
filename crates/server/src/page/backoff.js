// How long to wait before the next attempt to connect: full jitter, so that a thousand pages that lost the same server
// do not come back in the same instant.

const DELAY_MIN_MS = 500;
const DELAY_MAX_MS = 20_000;

export class Backoff {
  #attempt = 0;
  #dueMs = 0;

  /** Starts from the shortest delay again. */
  reset() {
    this.#attempt = 0;
  }

  /** The delay of the next attempt in milliseconds; its range doubles with every call. */
  next() {
    const range = Math.min(DELAY_MAX_MS, DELAY_MIN_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    const delayMs = Math.min(DELAY_MAX_MS, DELAY_MIN_MS + Math.random() * range);
    this.#dueMs = Date.now() + delayMs;
    return delayMs;
  }

  /** When the attempt that `next` was asked for is due, on the wall clock. */
  get dueMs() {
    return this.#dueMs;
  }
}
