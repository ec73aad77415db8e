/** State events for the tabs outside the chat, over the page's one WebSocket. */

import { Api } from "../core/api.js";
import { serverEvents } from "../core/server_events.js";

/**
 * Receive every event of /api/events. The first is a `hello` with the whole state; it comes again after each reconnect.
 * @param {(event: object) => void} listener @returns {() => void} unsubscribe
 */
export function onServerEvent(listener) {
  return serverEvents().subscribe({ message: listener }, () => new Api().state());
}
