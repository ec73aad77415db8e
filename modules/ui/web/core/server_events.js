/** The page's one WebSocket to the server, shared by the chat and the tabs; opened for the first that listens. */

import { EventSocket } from "./event_socket.js";

const nothing = () => null;

export class ServerEvents {
  #base;
  #socket = null;
  #listeners = new Set();
  #there = null; // null = not known yet, true, or {retryAt}
  #greeted = false;

  constructor(base = "") {
    this.#base = base;
    addEventListener("online", () => this.retry()); // for as long as the page lives, as this does
  }

  /**
   * Receive every event; `hello`, with the server's whole state, comes again after each reconnect.
   * Whoever comes later than the first gets a `hello` of its own, with the state as it is then. It is marked `late`: it
   * came by another way, so an event heard before it may be newer.
   * @param {{message: (event: object) => void, up?: () => void, down?: (retryAt: number) => void}} listener
   * @param {() => Promise<object>} state  asks the server for its state, for those who come later
   * @returns {() => void} unsubscribe; the last one closes it
   */
  subscribe({ message, up = nothing, down = nothing }, state) {
    const listener = { message, up, down };
    this.#listeners.add(listener);
    if (this.#socket === null) this.#open();
    else if (this.#greeted) this.#greet(listener, state);
    if (this.#there?.retryAt) down(this.#there.retryAt);
    return () => this.#leave(listener);
  }

  /** Try to reach the server at once. */
  retry() {
    this.#socket?.retry();
  }

  #open() {
    this.#socket = new EventSocket({
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
    this.#socket.connect();
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
    this.#socket?.close();
    this.#socket = this.#there = null;
    this.#greeted = false;
  }
}

const connections = new Map();

/** The server's events below `base`: the same for everybody on this page. */
export function serverEvents(base = "") {
  if (!connections.has(base)) connections.set(base, new ServerEvents(base));
  return connections.get(base);
}
