/** The figures of a reply: one quiet line, and a card with all of them. */

import { h } from "../core/dom.js";
import { count, duration, speed, when } from "../core/format.js";

/** @type {Record<string, string>} */
const REASONS = {
  stop: "The model ended it",
  length: "Reached the length limit",
  cancelled: "Stopped by you",
};

/** Decoding speed of finished stats, 0 when it cannot be said. @param {Partial<import("../types.js").Stats>} stats */
function rate(stats) {
  if (stats.tokens_per_second) return stats.tokens_per_second;
  const { completion_ms: ms = 0, completion_tokens: tokens = 0 } = stats;
  return ms > 0 && tokens > 1 ? (tokens / ms) * 1000 : 0;
}

/** "412 tokens · 38 t/s" @param {import("../types.js").Message} node */
export function statsLine(node) {
  const stats = node.stats;
  if (!stats?.completion_tokens) return "";
  const tokens = `${count(stats.completion_tokens)} ${stats.completion_tokens === 1 ? "token" : "tokens"}`;
  return rate(stats) ? `${tokens} · ${speed(rate(stats))}` : tokens;
}

/** The line while the reply is being written. @param {import("./live_reply.js").LiveReply} live */
export function liveLine(live) {
  const tokens = `${count(live.tokens)} ${live.tokens === 1 ? "token" : "tokens"}`;
  return live.speed ? `${tokens} · ${speed(live.speed)}` : tokens;
}

/** All figures as a definition list. @param {import("../types.js").Message} node */
export function statsCard(node) {
  /** @type {Partial<import("../types.js").Stats>} */
  const stats = node.stats ?? {};
  const read = (stats.prompt_tokens ?? 0) - (stats.cached_tokens ?? 0);
  const rows = [
    ["Model", node.model],
    ["Tokens", stats.completion_tokens && count(stats.completion_tokens)],
    ["of them thinking", stats.reasoning_tokens && count(stats.reasoning_tokens)],
    ["Speed", rate(stats) && speed(rate(stats))],
    ["Time to first token", stats.first_token_ms && duration(stats.first_token_ms)],
    ["Waited for a slot", stats.queued_ms && stats.queued_ms >= 50 && duration(stats.queued_ms)],
    ["Prompt", stats.prompt_tokens && `${count(stats.prompt_tokens)} tokens${stats.cached_tokens ? `, ${count(stats.cached_tokens)} from the cache` : ""}`],
    ["Prompt reading", stats.prompt_ms && read > 0 && speed((read / stats.prompt_ms) * 1000)],
    ["Ended", node.state === "failed" ? "Failed" : REASONS[node.finish_reason ?? ""] ?? node.finish_reason],
    ["Seed", stats.seed],
    ["Written", when(node.created)],
  ];
  const shown = rows.filter(([, value]) => value !== undefined && value !== null && value !== false && value !== 0 && value !== "");
  return h("dl", { class: "eh-figures" }, shown.map(([name, value]) => [h("dt", { text: name }), h("dd", { text: String(value) })]));
}
