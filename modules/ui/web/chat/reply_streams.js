/** The replies of the open chat that are being written, each with the stream it is read from; and what a reply is at its end. */

import { LiveReply } from "./live_reply.js";
import { ReplyStream } from "./reply_stream.js";

/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("../types.js").ReplyEvent} ReplyEvent */

export class ReplyStreams {
  /** @type {Map<string, {live: LiveReply, stream: ReplyStream}>} */
  #open = new Map();
  #api;
  #on;

  /**
   * @param {import("../core/api.js").Api} api
   * @param {{ended: (chat: string, id: string, event: ReplyEvent, live: LiveReply) => void, lost: (chat: string) => void}} on
   *   `ended` gets the done or failed event of a reply, `lost` the chat of one that cannot be followed any more
   */
  constructor(api, on) {
    this.#api = api;
    this.#on = on;
  }

  /** What is arriving for this message just now, or undefined. @param {string} id */
  live(id) {
    return this.#open.get(id)?.live;
  }

  /** Read every reply of the chat that is being written and not read yet. @param {string} chat @param {Iterable<Message>} nodes */
  follow(chat, nodes) {
    for (const { id, state } of nodes) {
      if (state !== "running" || this.#open.has(id)) continue;
      const live = new LiveReply();
      const end = (/** @type {ReplyEvent} */ event) => {
        this.#open.delete(id);
        this.#on.ended(chat, id, event, live);
      };
      const lost = () => {
        this.#open.delete(id);
        this.#on.lost(chat);
      };
      const stream = new ReplyStream({ api: this.#api, chat, id, live, on: { end, lost } });
      this.#open.set(id, { live, stream });
      stream.run();
    }
  }

  /** The server is back: wait no longer. */
  retry() {
    for (const { stream } of this.#open.values()) stream.retry();
  }

  close() {
    for (const { stream } of this.#open.values()) stream.close();
    this.#open.clear();
  }
}

/** Put what arrived, and how it ended, into the message. @param {Message} node @param {LiveReply} live @param {ReplyEvent} event */
export function finish(node, live, { done, failed }) {
  Object.assign(node, { text: live.text, reasoning: live.reasoning, notices: live.notices, ledger: live.ledger ?? node.ledger });
  if (live.thoughtFor) node.thought_ms = live.thoughtFor;
  if (done) Object.assign(node, { state: done.reason === "cancelled" ? "stopped" : "done", stats: done.stats, finish_reason: done.reason });
  else if (failed?.code === "interrupted") node.state = "interrupted";
  else Object.assign(node, { state: "failed", error: failed });
}
