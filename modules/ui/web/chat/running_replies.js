/** Which chats have a reply being written, wherever it was asked for. A chat may have several, on branches of it. */

export class RunningReplies {
  #chats = new Map(); // by message
  #ended = new Set(); // known to have ended before the first list came

  /**
   * The server's whole list. Gives back the ids of the chats.
   * @param {{chat: string, message: string}[]} replies
   * @param {boolean} late  the list did not come over the WebSocket: what was received meanwhile may be newer
   */
  all(replies, late = false) {
    if (late && this.#ended === null) return this.chats; // the WebSocket has brought a list since it was asked for
    const before = late ? [...this.#chats] : [];
    const listed = (replies ?? []).filter(({ message }) => !(late && this.#ended.has(message)));
    this.#chats = new Map([...before, ...listed.map(({ chat, message }) => [message, chat])]);
    this.#ended = null;
    return this.chats;
  }

  /** A reply began or ended. Gives back the ids of the chats. */
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
