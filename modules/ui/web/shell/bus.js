/** State events for the tabs outside the chat. The line to the server is opened when the first tab asks for it. */

import { Events } from "../core/events.js";

let line = null;
const listeners = new Set();

/**
 * Hear every event of /api/events; `hello` comes again after each reconnect.
 * @param {(event: object) => void} listener @returns {() => void} stop hearing
 */
export function hear(listener) {
  listeners.add(listener);
  if (line === null) {
    line = new Events({
      message: (event) => listeners.forEach((one) => one(event)),
      up: () => null, // the chat's banner says whether the server is there; the tabs need only what it says
      down: () => null,
    });
    line.connect();
  }
  return () => listeners.delete(listener);
}
