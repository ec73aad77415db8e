/** What an empty chat shows: a greeting, four ways to start, which model will answer, and who can read it. */

import { h, setText } from "../core/dom.js";
import { t } from "../core/texts.js";

const STARTERS = ["explain", "code", "draft", "think"];

export class EmptyChat {
  /** @param {import("../chat_app.js").ChatApp} app */
  constructor({ store, startWith }) {
    this.title = h("h2", { text: t("chat.greeting") });
    this.model = h("p", { class: "eh-muted" });
    const starters = h("div", { class: "eh-starters" }, STARTERS.map((name) => [t(`starter.${name}.title`), t(`starter.${name}.text`)]).map(([title, text]) =>
      h("button", { type: "button", class: "eh-starter", on: { click: () => startWith(text) } }, h("strong", { text: title }), h("span", { text }))));
    this.node = h("section", { class: "eh-empty", hidden: true }, this.title, this.model, starters,
      h("p", { class: "eh-muted eh-privacy", text: t("chat.privacy") }));
    store.on(["model", "models"], () => {
      const { model } = store.get("model");
      this.#describe(store.get("model"), store.get("models").some((one) => one.builtin && one.name === model));
    });
  }

  /** @param {import("../types.js").ModelStatus} status @param {boolean} echo */
  #describe({ state, model }, echo) {
    if (state === "empty" || !model) setText(this.model, t("chat.no_model"));
    else if (["failed", "crashed"].includes(state)) setText(this.model, t("chat.model_failed", { model }));
    else if (state === "starting") setText(this.model, t("chat.model_loading", { model }));
    else setText(this.model, echo ? t("chat.echo") : t("chat.with", { model }));
  }
}
