/**
 * Changes to chats, one after the other, each with the revision this page knows, so that none is stale by our own doing.
 * A chat keeps its identity while another one is shown: a change belongs to the tree it was asked for.
 */

import { ApiError } from "../core/api.js";
import { t } from "../core/texts.js";

/** @typedef {import("./chat_tree.js").ChatTree} ChatTree */
/** @typedef {import("../types.js").ChatChange} ChatChange */

export class ChangeQueue {
  /** @type {Promise<unknown>} */
  #queue = Promise.resolve();
  /** @type {Map<string, Promise<ChatChange>>} */
  #pending = new Map();
  #busy = 0;
  #parts;

  /**
   * @param {{toasts: import("../panels/toasts.js").Toasts, current: (tree: ChatTree) => ChatTree, reload: (tree: ChatTree) => Promise<ChatTree>}} parts
   *   current gives the tree that now stands for this chat; reload fetches it anew and gives it back
   */
  constructor(parts) {
    this.#parts = parts;
  }

  /** Is a change on its way? Then what the server says of it is no news. */
  get busy() {
    return this.#busy > 0;
  }

  /** Run `call(rev)`; `needed` is the message it belongs to. @param {import("./chat_tree.js").ChatTree} tree @param {(rev: number) => Promise<import("../types.js").ChatChange>} call @param {string|null} [needed] */
  run(tree, call, needed = null) {
    const result = this.#queue.then(() => this.#attempt(tree, call, needed));
    this.#queue = result.catch(() => null); // whoever asked for the change is told; the next one goes on
    return result;
  }

  /** A second click on the same thing, while the first is on its way, is the same click. @param {string} key @param {() => Promise<import("../types.js").ChatChange>} work */
  once(key, work) {
    const known = this.#pending.get(key) ?? work().finally(() => this.#pending.delete(key));
    this.#pending.set(key, known);
    return known;
  }

  /** When the revision is stale, reload and try once more: the change becomes a branch. @param {import("./chat_tree.js").ChatTree} tree @param {(rev: number) => Promise<import("../types.js").ChatChange>} call @param {string|null} needed */
  async #attempt(tree, call, needed) {
    const { current, reload, toasts } = this.#parts;
    this.#busy += 1;
    try {
      const answer = await call(current(tree).rev).catch(async (/** @type {import("../core/api.js").ApiError} */ error) => {
        if (error.status !== 409) throw error;
        const fresh = await reload(tree);
        if (needed && !fresh.get(needed)) {
          throw new ApiError({ message: t("edit.deleted_elsewhere"), hint: t("server.away_hint"), code: "conflict" });
        }
        const second = await call(fresh.rev);
        toasts.show({ message: t("chats.changed_elsewhere") });
        return second;
      });
      const now = current(tree);
      now.rev = Math.max(now.rev, answer.rev ?? 0);
      return answer;
    } finally {
      this.#busy -= 1;
    }
  }
}
