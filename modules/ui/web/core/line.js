/** The page's one line to the server, shared by the chat and the tabs; opened for the first that listens. */

import { Events } from "./events.js";

const nothing = () => null;

export class Line {
  #base;
  #events = null;
  #listeners = new Set();
  #there = null; // null = not known yet, true, or {retryAt}
  #greeted = false;

  constructor(base = "") {
    this.#base = base;
    addEventListener("online", () => this.retry()); // for as long as the page lives, as this does
  }

  /**
   * Hear every event; `hello`, with the server's whole state, comes again after each reconnect.
   * Whoever comes later than the first gets a `hello` of its own, with the state as it is then. It is marked `late`: it
   * came by another way, so an event heard before it may be newer.
   * @param {{message: (event: object) => void, up?: () => void, down?: (retryAt: number) => void}} listener
   * @param {() => Promise<object>} state  asks the server for its state, for those who come later
   * @returns {() => void} stop hearing; the last one closes the line
   */
  hear({ message, up = nothing, down = nothing }, state) {
    const listener = { message, up, down };
    this.#listeners.add(listener);
    if (this.#events === null) this.#open();
    else if (this.#greeted) this.#greet(listener, state);
    if (this.#there?.retryAt) down(this.#there.retryAt);
    return () => this.#leave(listener);
  }

  /** Try to reach the server at once. */
  retry() {
    this.#events?.retry();
  }

  #open() {
    this.#events = new Events({
      message: (event) => {
        this.#greeted ||= event.type === "hello";
        this.#tell((one) => one.message(event));
      },
      up: () => {
        this.#there = true;
        this.#tell((one) => one.up());
      },
      down: (retryAt) => {
        this.#there = { retryAt };
        this.#tell((one) => one.down(retryAt));
      },
    }, this.#base);
    this.#events.connect();
  }

  #greet(listener, state) {
    state().then(
      (now) => {
        if (!this.#listeners.has(listener)) return;
        listener.up();
        listener.message({ type: "hello", state: now, late: true });
      },
      (error) => console.warn("The state will come with the next hello", error),
    );
  }

  #tell(say) {
    for (const listener of [...this.#listeners]) say(listener);
  }

  #leave(listener) {
    this.#listeners.delete(listener);
    if (this.#listeners.size > 0) return;
    this.#events?.close();
    this.#events = this.#there = null;
    this.#greeted = false;
  }
}

const lines = new Map();

/** The line to the server below `base`: the same for everybody on this page. */
export function pageLine(base = "") {
  if (!lines.has(base)) lines.set(base, new Line(base));
  return lines.get(base);
}
