/** What happens before the first token: waiting, loading the model, reading the prompt, with the time that is left. */

import { h, setText } from "../core/dom.js";
import { duration } from "../core/format.js";
import { t } from "../core/texts.js";

export class ProgressView {
  #text = h("span", {});
  #bar = h("div", { class: "eh-progress-bar", hidden: true }, h("i", {}));

  constructor() {
    this.node = h("div", { class: "eh-progress" }, h("span", { class: "eh-dots", "aria-hidden": "true" }, h("i"), h("i"), h("i")), this.#text, this.#bar);
  }

  /** @param {import("./live_reply.js").LiveReply} live @param {string} model */
  update(live, model) {
    const { progress } = live;
    setText(this.#text, live.stopping ? t("progress.stopping") : describe(live, model));
    const share = progress && progress.total > 0 && progress.stage !== "queued" ? progress.done / progress.total : null;
    this.#bar.hidden = share === null || live.stopping;
    if (share !== null) /** @type {HTMLElement} */ (this.#bar.firstElementChild).style.transform = `scaleX(${Math.min(1, share).toFixed(3)})`;
  }
}

/** @param {import("./live_reply.js").LiveReply} live @param {string} model */
function describe(live, model) {
  const { progress, eta } = live;
  const left = eta !== null && eta > 1000 ? ` · ${t("progress.left", { time: duration(eta) })}` : "";
  if (!progress) return t("progress.first");
  if (progress.stage === "queued") return progress.total > 1 ? t("progress.queued_many", { count: progress.total }) : t("progress.queued");
  if (progress.stage === "loading") return `${model ? t("progress.loading", { model }) : t("progress.loading_any")} ${percent(progress)}${left}`;
  if (progress.stage === "prompt") return t("progress.prompt", { done: progress.done, total: progress.total }) + left;
  return `${progress.stage[0].toUpperCase()}${progress.stage.slice(1)}… ${percent(progress)}${left}`;
}

/** @param {import("../types.js").Progress} progress */
function percent({ done, total }) {
  return total > 0 ? `${Math.round((done / total) * 100)}%` : "";
}
