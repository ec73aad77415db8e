/** The conversation: the messages on the way to the leaf shown, the line where context was cut, what stands in an empty chat. */

import { button, h, setText, show } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { droppedFromStart } from "./context_figures.js";
import { EmptyChat } from "./empty_chat.js";
import { FirstRun } from "./first_run.js";
import { MessageView } from "./message_view.js";
import { Scroller } from "./scroll.js";
import { Swipe } from "./swipe.js";
import { t } from "../core/texts.js";

const AT_ONCE = 8; // newest messages drawn in full before the first frame; the others follow in idle time
/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("./chat_tree.js").ChatTree} ChatTree */

/** @type {(run: (deadline: {timeRemaining: () => number}) => void, options?: {timeout: number}) => unknown} */
const idle = window.requestIdleCallback ?? ((run) => setTimeout(() => run({ timeRemaining: () => 8 }), 16));

export class ChatView {
  #context;
  #store;
  /** @type {Map<string, MessageView>} */
  #views = new Map();
  /** @type {string|null|undefined} */
  #chat = undefined; // undefined until the first one is shown
  /** @type {MessageView[]} */
  #waiting = [];
  #working = false;
  #column = h("div", { class: "eh-column" });
  #cut = h("div", { class: "eh-cut", role: "separator", hidden: true }, h("span", {}));
  #tail = h("div", { class: "eh-tailrow", hidden: true });
  #tailKey = "";

  /** @param {import("../chat_app.js").ChatApp} context */
  constructor(context) {
    this.#context = context;
    this.#store = context.store;
    this.log = h("div", { class: "eh-log", role: "log", "aria-live": "off", "aria-label": t("chat.conversation") }, this.#column);
    this.scroller = new Scroller(this.log, this.#column);
    const { conversation } = context;
    this.swipe = new Swipe(this.log, { can: (id, step) => conversation.version(id, step) !== undefined, turn: (id, step) => conversation.turn(id, step) });
    this.node = h("div", { class: "eh-stage" }, this.log, this.scroller.pill);
    this.empty = new EmptyChat(context);
    this.firstRun = new FirstRun(context);
    this.#column.append(this.empty.node, this.firstRun.node, this.#cut, this.#tail);
    this.#store.on(["chat", "tick", "editing"], () => this.update());
    this.#store.on(["ready", "server", "model", "chat", "tick"], () => this.#blank());
    this.#store.on(["model"], () => this.#views.forEach((view) => view.modelChanged()));
    addEventListener("pagehide", () => this.scroller.leave(this.#chat));
  }

  /** Views in the order shown. */
  get messages() {
    return articlesIn(this.#column).flatMap((article) => this.#views.get(article.dataset.id ?? "") ?? []);
  }

  update() {
    const tree = this.#store.get("chat");
    const path = tree?.path() ?? [];
    const another = (tree?.id ?? null) !== this.#chat && !(this.#chat === null && path.some((node) => this.#views.has(node.id)));
    if (another) this.scroller.leave(this.#chat);
    this.#chat = tree?.id ?? null;
    const dropped = this.#dropped(path);
    this.#adopt(path);
    const stay = new Set(path.map((node) => node.id));
    const focus = another ? null : this.#focused(stay);
    for (const [id, view] of this.#views) {
      if (stay.has(id)) continue;
      if (!another && tree && !tree.get(id)) this.#rescue(view);
      this.#forget(id, view);
    }
    this.#order(path.map((node) => this.#view(node).article));
    if (tree) path.forEach((node, at) => this.#place(tree, node, at, path.length, dropped));
    this.#showCut(path, dropped);
    this.#showTail(tree, path);
    if (another) this.#arrive(path);
    if (focus) this.#refocus(focus, path);
    this.#continueInIdle();
  }

  /** The button pressed in a message that is about to go, such as the arrow to another version of it. @param {Set<string>} stay */
  #focused(stay) {
    const at = document.activeElement;
    /** @type {HTMLElement|null|undefined} */
    const article = at?.closest(".eh-msg");
    const view = this.#views.get(article?.dataset.id ?? "");
    if (!at || !view || stay.has(view.id) || at.matches("textarea")) return null;
    return { node: view.node, label: at.getAttribute("aria-label") };
  }

  /**
   * The focus goes to the same button of the version now shown, or to a message close by: never to nowhere.
   * @param {{node: Message, label: string|null}} pressed @param {Message[]} path
   */
  #refocus({ node, label }, path) {
    const heir = path.find((one) => one.parent === node.parent && one.role === node.role) ?? path[path.length - 1];
    if (!heir) return this.#context.composer.focus();
    const view = this.#views.get(heir.id);
    view?.finish();
    const found = heir.state === "running" ? null : view?.control(label ?? "");
    (found ?? view?.article)?.focus({ preventScroll: true });
    return undefined;
  }

  /** A chat has come up: go where the reader was, and take up an edit that was not finished. @param {import("../types.js").Message[]} path */
  #arrive(path) {
    this.scroller.arrive(this.#chat);
    const unsaved = path.findLast((node) => this.#context.drafts.edit(node.id) !== null);
    if (unsaved && this.#store.get("editing") === null) queueMicrotask(() => this.#context.edit(unsaved.id));
  }

  /** A message shown while it was being sent becomes the server's: keep its view. @param {import("../types.js").Message[]} path */
  #adopt(path) {
    for (const node of path) {
      if (this.#views.has(node.id)) continue;
      const old = [...this.#views.values()].find((view) => view.node.state === "sending" && view.node.text === node.text && view.node.role === node.role);
      if (!old || node.state === "sending") continue;
      this.#views.delete(old.id);
      this.#views.set(node.id, old);
    }
  }

  /** @param {import("../types.js").Message} node */
  #view(node) {
    let view = this.#views.get(node.id);
    if (!view) {
      view = new MessageView(this.#context, node);
      this.#views.set(node.id, view);
      if (node.state === "sending") this.scroller.stuck = true;
    }
    return view;
  }

  /** Put the articles into this order, moving only those that are not there yet. @param {HTMLElement[]} articles */
  #order(articles) {
    let next = this.#column.querySelector(".eh-msg");
    for (const article of articles) {
      if (article !== next) this.#column.insertBefore(article, next ?? this.#tail);
      else do next = next?.nextElementSibling ?? null; while (next && !next.classList.contains("eh-msg"));
    }
  }

  /** @param {import("./chat_tree.js").ChatTree} tree @param {import("../types.js").Message} node @param {number} at @param {number} length @param {number} dropped */
  #place(tree, node, at, length, dropped) {
    const view = this.#view(node);
    const last = at === length - 1;
    view.article.tabIndex = last ? 0 : -1;
    view.article.classList.toggle("eh-fresh", node.id === this.#context.conversation.tailed);
    view.update(node, { last, index: at, versions: tree.siblings(node.id), dropped: at < dropped });
    if (view.complete) return;
    if (at >= length - AT_ONCE) view.finish();
    else if (!this.#waiting.includes(view)) this.#waiting.push(view);
  }

  /** A message that was being edited here was deleted elsewhere: what was typed goes to the composer. @param {import("./message_view.js").MessageView} view */
  #rescue(view) {
    const { composer, drafts, toasts } = this.#context;
    const text = view.editor && drafts.edit(view.id);
    if (!text) return;
    drafts.setEdit(view.id, null);
    queueMicrotask(() => {
      this.#store.set({ editing: null });
      composer.put([composer.text, text].filter(Boolean).join("\n\n"));
      toasts.show({ message: t("edit.moved"), hint: t("edit.moved_hint") });
    });
  }

  /** @param {string} id @param {import("./message_view.js").MessageView} view */
  #forget(id, view) {
    view.close();
    this.#views.delete(id);
  }

  #continueInIdle() {
    this.#waiting = this.#waiting.filter((view) => this.#views.get(view.id) === view);
    if (this.#working || !this.#waiting.length) return;
    this.#working = true;
    idle((deadline) => {
      this.#working = false;
      do this.#waiting.pop()?.finish(); while (this.#waiting.length && deadline.timeRemaining() > 6);
      this.#continueInIdle();
    }, { timeout: 1000 });
  }

  // ── between and after the messages ───────────────────────────────────────────────────────────

  /** @param {import("../types.js").Message[]} path */
  #dropped(path) {
    const node = path.findLast((one) => one.role === "assistant" && (this.#context.conversation.live(one.id)?.ledger ?? one.ledger));
    const ledger = node && (this.#context.conversation.live(node.id)?.ledger ?? node.ledger);
    return droppedFromStart(path, ledger);
  }

  /** @param {import("../types.js").Message[]} path @param {number} dropped */
  #showCut(path, dropped) {
    const article = dropped > 0 && dropped < path.length ? this.#views.get(path[dropped].id)?.article : undefined;
    show(this.#cut, article !== undefined);
    if (!article) return;
    if (this.#cut.nextElementSibling !== article) article.before(this.#cut);
    setText(/** @type {HTMLElement} */ (this.#cut.firstElementChild), t("context.cut", { count: dropped }));
  }

  /** @param {import("./chat_tree.js").ChatTree|null} tree @param {import("../types.js").Message[]} path */
  #showTail(tree, path) {
    const last = path[path.length - 1];
    const below = last && tree ? tree.children(last.id) : [];
    const key = `${last?.id}${last?.state}${below.length}`;
    if (key === this.#tailKey) return;
    this.#tailKey = key;
    this.#tail.replaceChildren();
    const { conversation, run } = this.#context;
    if (tree && below.length) {
      this.#tail.append(h("span", { class: "eh-muted", text: t("chat.branch_here") }),
        button({ icon: icon("branch"), text: t("chat.show_later"), label: t("chat.show_later"), class: "eh-btn eh-outline", onClick: () => conversation.show(tree.leafUnder(below[below.length - 1]) ?? "") }));
    } else if (last?.role === "user" && last.state !== "sending") {
      this.#tail.append(button({ icon: icon("play"), text: t("chat.get_reply"), label: t("chat.get_reply"), class: "eh-btn eh-outline", onClick: () => run(() => conversation.regenerate(last.id)) }));
    }
    show(this.#tail, this.#tail.childElementCount > 0);
  }

  #blank() {
    const ready = this.#store.get("ready");
    const bare = !this.#store.get("chat")?.nodes.size;
    const none = ready && this.#store.get("server")?.has_models === false && this.#store.get("model").state === "empty";
    show(this.firstRun.node, bare && none);
    show(this.empty.node, bare && ready && !none);
    this.log.classList.toggle("eh-bare", bare);
  }

  close() {
    this.scroller.close();
    for (const view of this.#views.values()) view.close();
  }
}

/** @param {Element} within @returns {HTMLElement[]} */
function articlesIn(within) {
  return [.../** @type {NodeListOf<HTMLElement>} */ (within.querySelectorAll(".eh-msg"))];
}
