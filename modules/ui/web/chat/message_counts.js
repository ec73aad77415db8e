/** Messages counted in words, for what is said before and after they are deleted. */

import { t } from "../core/texts.js";

/** "5 messages (2 yours, 3 replies)" @param {import("../types.js").Message[]} nodes */
export function describe(nodes) {
  const replies = nodes.filter((node) => node.role === "assistant").length;
  if (nodes.length === 1) return replies ? t("message.the_reply") : t("message.yours");
  return t("message.several", { total: nodes.length, yours: nodes.length - replies, replies: t("message.replies", { count: replies }) });
}
