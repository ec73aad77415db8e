/** What each action of the shortcut table does here. */

import { touch } from "../core/viewport.js";
import { copyText } from "../markdown/code_block.js";
import { t } from "../core/texts.js";

/** @param {import("../chat_app.js").ChatApp} app */
export function bindKeys(app) {
  const { shortcuts, conversation, composer, view, store, run } = app;
  const lastReply = () => conversation.tree?.path().findLast((node) => node.role === "assistant");
  const lastOwn = () => conversation.tree?.path().findLast((node) => node.role === "user");
  const safely = (/** @type {() => unknown} */ work) => { run(work); };

  shortcuts.on("escape", () => escape(app));
  shortcuts.on("regenerate", () => onReply((node) => conversation.regenerate(node.id)));
  shortcuts.on("continue", () => onReply((node) => node.text && conversation.continueReply(node.id)));
  shortcuts.on("previous_version", () => turn(-1));
  shortcuts.on("next_version", () => turn(1));
  shortcuts.on("edit_last", () => {
    const node = lastOwn();
    if (!node || conversation.running) return false;
    app.edit(node.id);
    return true;
  });
  shortcuts.on("new_chat", () => { app.newChat(); });
  shortcuts.on("search", () => {
    app.toggle("drawer", true);
    app.drawer.focusSearch();
  });
  shortcuts.on("models", () => app.pickModel());
  shortcuts.on("drawer", () => app.toggle("drawer"));
  shortcuts.on("params", () => app.toggle("params"));
  shortcuts.on("focus_composer", () => composer.focus());
  shortcuts.on("copy_reply", () => onReply((node) => copy(node.text, t("reply.copied"))));
  shortcuts.on("copy_code", () => {
    const code = [...view.log.querySelectorAll(".eh-code code")].pop();
    if (!code) return false;
    safely(() => copy(code.textContent ?? "", t("code.copied")));
    return true;
  });
  shortcuts.on("delete_chat", () => {
    const id = conversation.tree?.id;
    if (!id) return false;
    safely(() => app.askDelete(app.chats, id));
    return true;
  });
  shortcuts.on("help", () => app.help());
  shortcuts.on("jump", () => jump());
  shortcuts.on("message_up", () => step(-1));
  shortcuts.on("message_down", () => step(1));

  /** @param {(node: import("../types.js").Message) => unknown} work */
  function onReply(work) {
    const node = lastReply();
    if (!node || conversation.running) return false;
    safely(() => work(node));
    return true;
  }

  /** @param {string} text @param {string} said */
  async function copy(text, said) {
    await copyText(text);
    app.toasts.show({ message: said });
  }

  /** The versions of the last reply; past the last one a new one is asked for. @param {number} direction */
  function turn(direction) {
    const node = lastReply();
    if (!node) return false;
    if (conversation.turn(node.id, direction)) return true;
    if (direction < 0 || conversation.running) return false;
    safely(() => conversation.regenerate(node.id));
    return true;
  }

  function jump() {
    const inside = view.log.contains(document.activeElement);
    const last = view.messages.at(-1);
    if (inside || !last) composer.focus();
    else focus(last.article);
  }

  /** @param {number} direction */
  function step(direction) {
    const messages = view.messages.map((one) => one.article);
    const at = messages.findIndex((one) => one === document.activeElement?.closest(".eh-msg"));
    const next = messages[at + direction];
    if (!next) return false;
    focus(next);
    return true;
  }

  /** @param {HTMLElement} article */
  function focus(article) {
    article.focus({ preventScroll: true });
    article.scrollIntoView({ block: "nearest" });
  }

  store.on(["editing"], () => {
    const nowhere = store.get("editing") === null && document.activeElement === document.body;
    if (nowhere && !touch()) composer.focus(); // on a phone this would bring up the keyboard
  });
}

/** One meaning at a time: stop what runs; then close a panel; then leave the edit. @param {import("../chat_app.js").ChatApp} app */
function escape(app) {
  const { conversation, store, view } = app;
  if (conversation.running || store.get("model").state === "starting") {
    app.stop();
    return true;
  }
  if (app.closePanels()) return true;
  const editor = view.messages.find((one) => one.editor)?.editor;
  if (!editor) return false;
  editor.escape();
  return true;
}
