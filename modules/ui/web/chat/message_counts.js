/** Messages counted in words, for what is said before and after they are deleted. */

import { plural } from "../core/format.js";

/** "5 messages (2 yours, 3 replies)" @param {import("../types.js").Message[]} nodes */
export function describe(nodes) {
  const replies = nodes.filter((node) => node.role === "assistant").length;
  if (nodes.length === 1) return replies ? "the reply" : "your message";
  return `${plural(nodes.length, "message")} (${nodes.length - replies} yours, ${plural(replies, "reply", "replies")})`;
}
