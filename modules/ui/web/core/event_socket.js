/** The page's WebSocket for state. Reconnects with back-off and says whether the server is there. */

import { Backoff } from "./backoff.js";

export class EventSocket {
  /** @type {WebSocket|null} */
  #socket = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer = undefined;
  #backoff = new Backoff();
  #closed = false;
  #handlers;
  #base;

  /** @param {{message: (event: import("../types.js").ServerEvent) => void, up: () => void, down: (retryAt: number) => void}} handlers */
  constructor(handlers, base = "") {
    this.#handlers = handlers;
    this.#base = base;
  }

  connect() {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#drop();
    const url = new URL(`${this.#base}/api/events`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.onmessage = (event) => this.#onEvent(JSON.parse(event.data));
    socket.onclose = () => this.#lost(socket);
  }

  /** Try at once instead of waiting for the next attempt. */
  retry() {
    this.#backoff.reset();
    if (this.#socket?.readyState !== WebSocket.OPEN) this.connect();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#drop();
  }

  /** Let go of the present socket, also one that is still being opened: two would tell everything twice. */
  #drop() {
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  /** @param {import("../types.js").ServerEvent} message */
  #onEvent(message) {
    if (message.type === "hello") {
      this.#backoff.reset();
      this.#handlers.up();
    }
    this.#handlers.message(message);
  }

  /** @param {WebSocket} socket */
  #lost(socket) {
    if (this.#closed || socket !== this.#socket) return;
    this.#socket = null;
    const wait = this.#backoff.next();
    this.#handlers.down(Date.now() + wait);
    this.#timer = setTimeout(() => this.connect(), wait);
  }
}
