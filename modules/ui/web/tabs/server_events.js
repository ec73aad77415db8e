/** State events for the tabs outside the chat, over the page's one WebSocket. */

import { Api } from "../core/api.js";
import { serverEvents } from "../core/server_events.js";

/**
 * Receive every event of /api/events. The first is a `hello` with the whole state; it comes again after each reconnect.
 * @param {(event: import("../types.js").ServerEvent) => void} listener @param {{up?: () => void, down?: () => void}} connection  whether the server is there
 * @returns {() => void} unsubscribe
 */
export function onServerEvent(listener, connection = {}) {
  return serverEvents().subscribe({ message: listener, ...connection }, () => new Api().state());
}
