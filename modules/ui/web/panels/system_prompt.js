/** The system prompt of the open chat: saved shortly after the last key, to the chat it was typed in. */

import { h } from "../core/dom.js";

const SETTLE = 600; // ms

export class SystemPrompt {
  #context;
  #tree = null; // the chat the text in the box belongs to
  #key = null; // its id
  #timer = 0;
  #saving = null; // {text, tree, done}: on its way

  /** @param {{store, drafts, conversation, run}} context */
  constructor(context) {
    this.#context = context;
    this.node = h("textarea", { class: "eh-input", rows: 4, dir: "auto", placeholder: "None: the model answers as it was trained.", "aria-label": "System prompt of this chat" });
    this.node.addEventListener("input", () => this.#typed());
    this.node.addEventListener("blur", () => this.#save());
    this.#show();
    context.store.on(["chat", "tick"], () => this.#follow());
  }

  get #draft() {
    return this.#context.drafts.system(this.#key);
  }

  #follow() {
    const { store, drafts } = this.#context;
    const tree = store.get("chat");
    const key = tree?.id ?? null;
    const draft = this.#draft;
    if (key !== this.#key && tree === this.#tree) { // a new chat just got its id
      if (draft !== null) drafts.setSystem(key, draft);
      drafts.setSystem(this.#key, null);
    } else if (key !== this.#key) {
      this.#save();
      this.#tree = tree;
      this.#key = key;
      this.#show();
      if (key && this.#draft !== null) this.#soon(); // the page went away before it was saved
      return;
    }
    this.#tree = tree;
    this.#key = key;
    if (draft === null && document.activeElement !== this.node) this.#show();
  }

  #show() {
    this.node.value = this.#draft ?? this.#tree?.system ?? "";
  }

  #typed() {
    this.#context.drafts.setSystem(this.#key, this.node.value);
    this.#soon();
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#save(), SETTLE);
  }

  /** Save now what was typed: the page goes away, or a message is being sent. A save needs nobody who waits for it. */
  flush() {
    return this.#draft === null ? null : this.#save();
  }

  /** Save what was typed. Until that has worked the text stays a draft, which nothing else overwrites. */
  #save() {
    clearTimeout(this.#timer);
    const { conversation, drafts, run } = this.#context;
    const [key, tree, text] = [this.#key, this.#tree, this.#draft];
    if (text === null) return null;
    if (this.#saving?.text === text && this.#saving.tree === tree) return this.#saving.done;
    const done = run(async () => {
      const saved = text === (tree?.system ?? "") ? key : await conversation.setSystem(text, tree);
      for (const one of [key, saved]) if (drafts.system(one) === text) drafts.setSystem(one, null);
    }).finally(() => { if (this.#saving?.done === done) this.#saving = null; });
    this.#saving = { text, tree, done };
    return done;
  }
}
