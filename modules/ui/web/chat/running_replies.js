/** Which chats have a reply being written, wherever it was asked for. A chat may have several, on branches of it. */

export class RunningReplies {
  /** @type {Map<string, string>} */
  #chats = new Map(); // by message
  /** @type {Set<string>|null} */
  #ended = new Set(); // known to have ended before the first list came

  /**
   * The server's whole list. Gives back the ids of the chats.
   * @param {{chat: string, message: string}[]} replies
   * @param {boolean} late  the list did not come over the WebSocket: what was received meanwhile may be newer
   */
  all(replies, late = false) {
    const ended = this.#ended;
    if (late && ended === null) return this.chats; // the WebSocket has brought a list since it was asked for
    const before = late ? [...this.#chats] : [];
    const listed = (replies ?? []).filter(({ message }) => !(late && ended?.has(message)));
    this.#chats = new Map(before);
    for (const { chat, message } of listed) this.#chats.set(message, chat);
    this.#ended = null;
    return this.chats;
  }

  /** A reply began or ended. Gives back the ids of the chats. @param {{chat: string, message: string, state: string}} event */
  onEvent({ chat, message, state }) {
    if (state === "running") this.#chats.set(message, chat);
    else {
      this.#chats.delete(message);
      this.#ended?.add(message);
    }
    return this.chats;
  }

  get chats() {
    return new Set(this.#chats.values());
  }
}
