/** Reveals text evenly on animation frames, whatever the rhythm in which it arrives. */

import { prefersReducedMotion } from "../core/viewport.js";

const SPAN = 120; // ms in which the present backlog is revealed
const JUMP = 1500; // characters of backlog that are shown at once
const HIDDEN = 250; // ms between updates while nobody looks

export class SmoothStream {
  #target = "";
  #shown = 0;
  #frame = 0;
  #timer = 0;
  #last = 0;
  #show;

  /** @param {(text: string) => void} show  called at most once a frame with everything to be seen so far */
  constructor(show) {
    this.#show = show;
  }

  /** The whole text as it is now; it only ever grows. @param {string} text */
  push(text) {
    this.#target = text;
    if (document.hidden) {
      this.#timer ||= setTimeout(() => this.flush(), HIDDEN);
    } else if (!this.#frame) {
      this.#last = performance.now();
      this.#frame = requestAnimationFrame((now) => this.#tick(now));
    }
  }

  /** Show everything now. */
  flush() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#frame = this.#timer = 0;
    this.#shown = this.#target.length;
    this.#show(this.#target);
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#frame = this.#timer = 0;
  }

  /** @param {number} now */
  #tick(now) {
    const backlog = this.#target.length - this.#shown;
    if (prefersReducedMotion() || backlog > JUMP) return this.flush();
    const step = Math.max(1, Math.ceil((backlog * Math.max(1, now - this.#last)) / SPAN));
    this.#last = now;
    this.#shown = this.#whole(Math.min(this.#target.length, this.#shown + step));
    this.#show(this.#target.slice(0, this.#shown));
    this.#frame = this.#shown < this.#target.length ? requestAnimationFrame((next) => this.#tick(next)) : 0;
    return undefined;
  }

  /** Never end between the halves of a surrogate pair. @param {number} end */
  #whole(end) {
    const code = this.#target.charCodeAt(end - 1);
    return code >= 0xd800 && code < 0xdc00 ? Math.min(this.#target.length, end + 1) : end;
  }
}
