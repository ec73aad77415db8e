/** The system prompt of the open chat: saved shortly after the last key, to the chat it was typed in. */

import { h } from "../core/dom.js";
import { t } from "../core/texts.js";

const SETTLE = 600; // ms

export class SystemPrompt {
  #context;
  /** @type {import("../chat/chat_tree.js").ChatTree|null} */
  #tree = null; // the chat the text in the box belongs to
  /** @type {string|null} */
  #key = null; // its id
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  /** @type {{text: string, tree: import("../chat/chat_tree.js").ChatTree|null, done: Promise<unknown>}|null} */
  #saving = null; // on its way
  #old = false; // the draft is of a time before the prompt that the chat has now: it waits to be taken up

  /** @param {import("../chat_app.js").ChatApp} context */
  constructor(context) {
    this.#context = context;
    this.node = h("textarea", { class: "eh-input", rows: 4, dir: "auto", placeholder: t("params.no_system"), "aria-label": t("params.system") });
    this.node.addEventListener("input", () => this.#typed());
    this.node.addEventListener("blur", () => this.flush());
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
      if (draft !== null) drafts.setSystem(key, draft, "");
      drafts.setSystem(this.#key, null);
    } else if (key !== this.#key) {
      this.flush();
      this.#tree = tree;
      this.#key = key;
      this.#show();
      this.#takeUp();
      return;
    }
    this.#tree = tree;
    this.#key = key;
    if (draft === null && document.activeElement !== this.node) this.#show();
  }

  #show() {
    this.node.value = this.#draft ?? this.#tree?.system ?? "";
  }

  /** The page went away before a draft was saved: it is saved now, unless the chat got another prompt since. */
  #takeUp() {
    const { drafts, toasts } = this.#context;
    const [key, draft, now] = [this.#key, this.#draft, this.#tree?.system ?? ""];
    this.#old = false;
    if (key === null || draft === null) return;
    this.#old = draft !== now && ![null, now].includes(drafts.systemBefore(key));
    if (!this.#old) return void this.#soon();
    toasts.show({
      message: t("params.system_changed"),
      hint: t("params.system_changed_hint"),
      action: t("action.discard"), onAction: () => this.#discard(key),
    });
  }

  /** @param {string|null} key */
  #discard(key) {
    this.#context.drafts.setSystem(key, null);
    if (key !== this.#key) return;
    this.#old = false;
    this.#show();
  }

  #typed() {
    const { drafts } = this.#context;
    const before = this.#draft === null || this.#old ? (this.#tree?.system ?? "") : drafts.systemBefore(this.#key);
    this.#old = false;
    drafts.setSystem(this.#key, this.node.value, before);
    this.#soon();
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#save(), SETTLE);
  }

  /** Save now what was typed: the page goes away, or a message is being sent. A save needs nobody who waits for it. */
  flush() {
    return this.#draft === null || this.#old ? null : this.#save();
  }

  /** Save what was typed. Until that has worked the text stays a draft, which nothing else overwrites. */
  #save() {
    clearTimeout(this.#timer);
    const { conversation, drafts, run } = this.#context;
    const [key, tree, text, saving] = [this.#key, this.#tree, this.#draft, this.#saving];
    if (text === null) return null;
    if (saving !== null && saving.text === text && saving.tree === tree) return saving.done;
    /** @type {Promise<unknown>} */
    const done = run(async () => {
      const saved = text === (tree?.system ?? "") ? key : await conversation.setSystem(text, tree);
      for (const one of [key, saved]) {
        const left = drafts.system(one);
        if (left !== null) drafts.setSystem(one, left === text ? null : left, text);
      }
    }).finally(() => { if (this.#saving?.done === done) this.#saving = null; });
    this.#saving = { text, tree, done };
    return done;
  }
}
