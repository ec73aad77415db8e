/** Colours for finished code blocks: highlight.js, fetched from this server with the first one, run when idle. */

import { sanitize } from "./sanitize.js";

const LONGEST = 60_000; // characters; longer code stays plain rather than hold up the page
/** @typedef {{timeRemaining: () => number}} Deadline */

/** @type {(run: (deadline: Deadline) => void, options?: {timeout: number}) => unknown} */
const idle = window.requestIdleCallback ?? ((run) => setTimeout(() => run({ timeRemaining: () => 8 }), 16));

export class Highlighter {
  /** @type {import("../vendor/highlight.js").HLJS|null} */
  #hljs = null;
  /** @type {Promise<void>|null} */
  #loading = null;
  /** @type {[HTMLElement, string][]} */
  #queue = [];
  #scheduled = false;

  /** Colour `code`, an element whose text is source in `language`, some time soon. @param {HTMLElement} code @param {string} language */
  add(code, language) {
    if (!language || (code.textContent ?? "").length > LONGEST) return;
    this.#queue.push([code, language]);
    if (!this.#loading) {
      this.#loading = import("../vendor/highlight.js").then((module) => { this.#hljs = module.default; });
      this.#loading.catch((error) => console.warn("Code stays without colours", error));
    }
    this.#loading.then(() => this.#schedule(), () => null);
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    idle((deadline) => this.#work(deadline), { timeout: 500 });
  }

  /** @param {Deadline} deadline */
  #work(deadline) {
    this.#scheduled = false;
    do {
      const next = this.#queue.shift();
      if (!next) return;
      this.#colour(...next);
    } while (deadline.timeRemaining() > 4);
    this.#schedule();
  }

  /** @param {HTMLElement} code @param {string} language */
  #colour(code, language) {
    if (!this.#hljs?.getLanguage(language)) return;
    const source = code.textContent ?? "";
    const { value } = this.#hljs.highlight(source, { language, ignoreIllegals: true });
    const coloured = sanitize(value);
    if (coloured.textContent === source) code.replaceChildren(coloured);
  }
}
