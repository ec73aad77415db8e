/** Follows one running reply to its end, through lost connections: reads on from the event after the last one. */

import { ApiError } from "../core/api.js";
import { events } from "../core/sse.js";
import { Backoff } from "../core/backoff.js";

export class ReplyStream {
  #api;
  #chat;
  #id;
  #stop = new AbortController();
  #next = 0;
  #backoff = new Backoff();
  /** @type {() => void} */
  #wake = () => {};

  /**
   * @param {{api: import("../core/api.js").Api, chat: string, id: string, live: import("./live_reply.js").LiveReply,
   *   on: {end: (event: import("../types.js").ReplyEvent) => void, lost: (error: unknown) => void}}} parts
   *   `end` gets the done or failed event; `lost` an answer that says this reply cannot be followed (it is gone)
   */
  constructor({ api, chat, id, live, on }) {
    this.#api = api;
    this.#chat = chat;
    this.#id = id;
    this.live = live;
    this.on = on;
  }

  async run() {
    while (!this.#stop.signal.aborted) {
      try {
        if (await this.#once()) return;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (error instanceof ApiError && error.status >= 400 && error.status < 500) return void this.on.lost(error);
      }
      await new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, this.#backoff.next());
      });
    }
  }

  /** The server is back: do not wait any longer. */
  retry() {
    this.#wake();
  }

  /** One connection. True when the reply has ended. */
  async #once() {
    const answer = await this.#api.reply(this.#chat, this.#id, this.#next, this.#stop.signal);
    this.#backoff.reset();
    if (this.#next === 0) this.live.restart();
    let ended = false;
    for await (const event of events(answer)) {
      if (event.reset) {
        this.live.restart(); // the events we had seen are gone; what follows is the whole reply
        continue;
      }
      this.#next = event.i ?? this.#next + 1;
      if (event.done || event.failed) {
        ended = true; // the server closes the stream now; leaving it early would count as hanging up
        this.on.end(event);
      } else if (!ended) {
        this.live.take(event);
      }
    }
    return ended;
  }

  close() {
    this.#stop.abort();
  }
}
