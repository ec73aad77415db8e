/** What an empty chat shows: a greeting, four ways to start, which model will answer, and who can read it. */

import { fill, h, setText } from "../core/dom.js";

const STARTERS = [
  { title: "Explain something", text: "Explain how a refrigerator moves heat, for a curious twelve-year-old." },
  { title: "Write code", text: "Write a Python function that finds duplicate files in a folder, with a short usage example." },
  { title: "Draft a text", text: "Draft a friendly note to my neighbours about a small party on Saturday evening." },
  { title: "Think it through", text: "Help me decide between repairing and replacing a ten-year-old laptop. Ask me what you need to know." },
];

export class EmptyChat {
  /** @param {import("../chat_app.js").ChatApp} app */
  constructor({ store, startWith }) {
    this.title = h("h2", { text: "What shall we work on?" });
    this.model = h("p", { class: "eh-muted" });
    const starters = h("div", { class: "eh-starters" }, STARTERS.map(({ title, text }) =>
      h("button", { type: "button", class: "eh-starter", on: { click: () => startWith(text) } }, h("strong", { text: title }), h("span", { text }))));
    this.node = h("section", { class: "eh-empty", hidden: true }, this.title, this.model, starters,
      h("p", { class: "eh-muted eh-privacy", text: "Everything stays on this machine: your messages, the replies and the model." }));
    store.on(["model", "models"], () => {
      const { model } = store.get("model");
      this.#describe(store.get("model"), store.get("models").some((one) => one.builtin && one.name === model));
    });
  }

  /** @param {import("../types.js").ModelStatus} status @param {boolean} echo */
  #describe({ state, model }, echo) {
    if (state === "empty" || !model) fill(this.model, "No model is loaded. Your first message loads one, or choose it at the top.");
    else if (["failed", "crashed"].includes(state)) setText(this.model, `Failed to load ${model}. Choose another model at the top, or send a message to try again.`);
    else if (state === "starting") setText(this.model, `Loading ${model}. You can write already.`);
    else setText(this.model, echo ? "The echo engine will repeat what you write: good for looking around, not a language model." : `${model} will answer.`);
  }
}
