/** What the model thought before it answered: one line that opens. Whether it is open is the reader's choice and stays. */

import { h, setText } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { duration } from "../core/format.js";
import { t } from "../core/texts.js";

export class ReasoningView {
  #label = h("span", {});
  #text = document.createTextNode("");

  constructor() {
    this.node = h("details", { class: "eh-thought" },
      h("summary", {}, icon("thought"), this.#label, icon("caret")),
      h("div", { class: "eh-thought-text", dir: "auto" }, this.#text));
  }

  /** While it streams. @param {import("./live_reply.js").LiveReply} live */
  live(live) {
    const over = live.text.length > 0;
    this.#write(live.reasoning);
    setText(this.#label, over ? summary(live.thoughtFor, live.reasoningTokens) : t("reasoning.live", { tokens: t("unit.tokens", { count: live.reasoningTokens }) }));
    this.node.classList.toggle("eh-working", !over);
  }

  /** From a finished reply. @param {import("../types.js").Message} node */
  done(node) {
    /** @type {Partial<import("../types.js").Stats>} */
    const stats = node.stats ?? {};
    const share = stats.completion_tokens ? (stats.reasoning_tokens ?? 0) / stats.completion_tokens : 0;
    this.#write(node.reasoning ?? "");
    setText(this.#label, summary(node.thought_ms || share * (stats.completion_ms ?? 0), stats.reasoning_tokens));
    this.node.classList.remove("eh-working");
  }

  /** @param {string} text */
  #write(text) {
    const known = this.#text.data;
    if (text === known) return;
    if (text.startsWith(known)) this.#text.appendData(text.slice(known.length));
    else this.#text.data = text;
  }
}

/** @param {number} ms @param {number|undefined} tokens */
function summary(ms, tokens) {
  const time = ms >= 100 ? t("reasoning.done", { time: duration(ms) }) : t("reasoning.short");
  return tokens ? `${time} · ${t("unit.tokens", { count: tokens })}` : time;
}
