/** State events for the tabs outside the chat, over the page's one line to the server. */

import { Api } from "../core/api.js";
import { pageLine } from "../core/line.js";

/**
 * Hear every event of /api/events. The first is a `hello` with the whole state; it comes again after each reconnect.
 * @param {(event: object) => void} listener @returns {() => void} stop hearing
 */
export function hear(listener) {
  return pageLine().hear({ message: listener }, () => new Api().state());
}
