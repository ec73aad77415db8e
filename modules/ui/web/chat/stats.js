/** The figures of a reply: one quiet line, and a card with all of them. */

import { h } from "../core/dom.js";
import { count, duration, speed, when } from "../core/format.js";

const REASONS = {
  stop: "The model ended it",
  length: "Reached the length limit",
  cancelled: "Stopped by you",
};

/** Decoding speed of finished stats, 0 when it cannot be said. */
function rate(stats) {
  if (stats.tokens_per_second) return stats.tokens_per_second;
  return stats.completion_ms > 0 && stats.completion_tokens > 1 ? (stats.completion_tokens / stats.completion_ms) * 1000 : 0;
}

/** "412 tokens · 38 t/s" */
export function statsLine(node) {
  const stats = node.stats;
  if (!stats?.completion_tokens) return "";
  const tokens = `${count(stats.completion_tokens)} ${stats.completion_tokens === 1 ? "token" : "tokens"}`;
  return rate(stats) ? `${tokens} · ${speed(rate(stats))}` : tokens;
}

/** The line while the reply is being written. */
export function liveLine(live) {
  const tokens = `${count(live.tokens)} ${live.tokens === 1 ? "token" : "tokens"}`;
  return live.speed ? `${tokens} · ${speed(live.speed)}` : tokens;
}

/** All figures as a definition list. */
export function statsCard(node) {
  const stats = node.stats ?? {};
  const read = stats.prompt_tokens - (stats.cached_tokens ?? 0);
  const rows = [
    ["Model", node.model],
    ["Tokens", stats.completion_tokens && count(stats.completion_tokens)],
    ["of them thinking", stats.reasoning_tokens && count(stats.reasoning_tokens)],
    ["Speed", rate(stats) && speed(rate(stats))],
    ["Time to first token", stats.first_token_ms && duration(stats.first_token_ms)],
    ["Waited for a slot", stats.queued_ms >= 50 && duration(stats.queued_ms)],
    ["Prompt", stats.prompt_tokens && `${count(stats.prompt_tokens)} tokens${stats.cached_tokens ? `, ${count(stats.cached_tokens)} from the cache` : ""}`],
    ["Prompt reading", stats.prompt_ms > 0 && read > 0 && speed((read / stats.prompt_ms) * 1000)],
    ["Ended", node.state === "failed" ? "Failed" : REASONS[node.finish_reason] ?? node.finish_reason],
    ["Seed", stats.seed],
    ["Written", when(node.created)],
  ];
  const shown = rows.filter(([, value]) => value !== undefined && value !== null && value !== false && value !== 0 && value !== "");
  return h("dl", { class: "eh-figures" }, shown.map(([name, value]) => [h("dt", { text: name }), h("dd", { text: String(value) })]));
}
