/** The page's one WebSocket to the server, shared by the chat and the tabs; opened for the first that listens. */

import { EventSocket } from "./event_socket.js";

/** @typedef {import("../types.js").ServerEvent} ServerEvent */
/** @typedef {{up: () => void, down: (retryAt: number) => void}} Connection */
/** @typedef {{message: (event: ServerEvent) => void, up: () => void, down: (retryAt: number) => void}} Listener */

const nothing = () => {};

export class ServerEvents {
  #base;
  /** @type {EventSocket|null} */
  #socket = null;
  /** @type {Set<Listener>} */
  #listeners = new Set();
  /** @type {Set<Connection>} */
  #watchers = new Set();
  #retryAt = 0; // while the server is away: when it is tried again
  #greeted = false;

  constructor(base = "") {
    this.#base = base;
    addEventListener("online", () => this.retry()); // for as long as the page lives, as this does
  }

  /**
   * Receive every event; `hello`, with the server's whole state, comes again after each reconnect.
   * Whoever comes later than the first gets a `hello` of its own, with the state as it is then. It is marked `late`: it
   * came by another way, so an event heard before it may be newer.
   * @param {{message: (event: ServerEvent) => void, up?: () => void, down?: (retryAt: number) => void}} listener
   * @param {() => Promise<import("../types.js").ServerState>} state  asks the server for its state, for those who come later
   * @returns {() => void} unsubscribe; the last one closes it
   */
  subscribe({ message, up = nothing, down = nothing }, state) {
    const listener = { message, up, down };
    this.#listeners.add(listener);
    if (this.#socket === null) this.#open();
    else if (this.#greeted) this.#greet(listener, state);
    if (this.#retryAt) down(this.#retryAt);
    return () => this.#leave(listener);
  }

  /**
   * Hear whether the server is there, for as long as the page lives; opens no connection of its own.
   * @param {Connection} watcher
   */
  watch(watcher) {
    this.#watchers.add(watcher);
    if (this.#retryAt) watcher.down(this.#retryAt);
  }

  /** Try to reach the server at once. */
  retry() {
    this.#socket?.retry();
  }

  #open() {
    const socket = new EventSocket({
      message: (event) => {
        this.#greeted ||= event.type === "hello";
        this.#tell((one) => one.message(event), [...this.#listeners]);
      },
      up: () => {
        this.#retryAt = 0;
        this.#tell((one) => one.up(), [...this.#listeners, ...this.#watchers]);
      },
      down: (retryAt) => {
        this.#retryAt = retryAt;
        this.#tell((one) => one.down(retryAt), [...this.#listeners, ...this.#watchers]);
      },
    }, this.#base);
    this.#socket = socket;
    socket.connect();
  }

  /** @param {Listener} listener @param {() => Promise<import("../types.js").ServerState>} state */
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

  /**
   * @template {Connection} Heard
   * @param {(listener: Heard) => void} say @param {Iterable<Heard>} to
   */
  #tell(say, to) {
    for (const listener of to) say(listener);
  }

  /** @param {Listener} listener */
  #leave(listener) {
    this.#listeners.delete(listener);
    if (this.#listeners.size > 0) return;
    this.#socket?.close();
    this.#socket = null;
    this.#retryAt = 0;
    this.#greeted = false;
  }
}

/** @type {Map<string, ServerEvents>} */
const connections = new Map();

/** The server's events below `base`: the same for everybody on this page. */
export function serverEvents(base = "") {
  const known = connections.get(base) ?? new ServerEvents(base);
  connections.set(base, known);
  return known;
}
