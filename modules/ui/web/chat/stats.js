/** The figures of a reply: one quiet line, and a card with all of them. */

import { h } from "../core/dom.js";
import { count, duration, speed, when } from "../core/format.js";
import { t } from "../core/texts.js";

/** @type {Record<string, string>} */
/** @param {string} reason  of the engine: stop, length or cancelled */
const ended = (reason) => (["stop", "length", "cancelled"].includes(reason) ? t(`stats.reason.${reason}`) : reason);

/** Decoding speed of finished stats, 0 when it cannot be said. @param {Partial<import("../types.js").Stats>} stats */
function rate(stats) {
  if (stats.tokens_per_second) return stats.tokens_per_second;
  const { completion_ms: ms = 0, completion_tokens: tokens = 0 } = stats;
  return ms > 0 && tokens > 1 ? (tokens / ms) * 1000 : 0;
}

/** "412 tokens · 38 tok/s" @param {import("../types.js").Message} node */
export function statsLine(node) {
  const stats = node.stats;
  if (!stats?.completion_tokens) return "";
  const tokens = t("unit.tokens", { count: stats.completion_tokens });
  return rate(stats) ? `${tokens} · ${speed(rate(stats))}` : tokens;
}

/** The line while the reply is being written. @param {import("./live_reply.js").LiveReply} live */
export function liveLine(live) {
  const tokens = t("unit.tokens", { count: live.tokens });
  return live.speed ? `${tokens} · ${speed(live.speed)}` : tokens;
}

/** All figures as a definition list. @param {import("../types.js").Message} node */
export function statsCard(node) {
  /** @type {Partial<import("../types.js").Stats>} */
  const stats = node.stats ?? {};
  const read = (stats.prompt_tokens ?? 0) - (stats.cached_tokens ?? 0);
  const rows = [
    [t("stats.model"), node.model],
    [t("stats.tokens"), stats.completion_tokens && count(stats.completion_tokens)],
    [t("stats.reasoning"), stats.reasoning_tokens && count(stats.reasoning_tokens)],
    [t("stats.speed"), rate(stats) && speed(rate(stats))],
    [t("stats.first_token"), stats.first_token_ms && duration(stats.first_token_ms)],
    [t("stats.queued"), stats.queued_ms && stats.queued_ms >= 50 && duration(stats.queued_ms)],
    [t("stats.prompt"), stats.prompt_tokens && (stats.cached_tokens ? t("stats.prompt_cached", { tokens: stats.prompt_tokens, cached: stats.cached_tokens }) : t("unit.tokens", { count: stats.prompt_tokens }))],
    [t("stats.prompt_speed"), stats.prompt_ms && read > 0 && speed((read / stats.prompt_ms) * 1000)],
    [t("stats.end"), node.state === "failed" ? t("stats.reason.failed") : ended(node.finish_reason ?? "")],
    [t("stats.seed"), stats.seed],
    [t("stats.created"), when(node.created)],
  ];
  const shown = rows.filter(([, value]) => value !== undefined && value !== null && value !== false && value !== 0 && value !== "");
  return h("dl", { class: "eh-figures" }, shown.map(([name, value]) => [h("dt", { text: name }), h("dd", { text: String(value) })]));
}
