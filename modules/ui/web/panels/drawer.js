/** The list of chats: new, search, grouped by day; rename, export and delete from each row. */

import { button, fill, h, show } from "../core/dom.js";
import { dayGroup, when } from "../core/format.js";
import { icon } from "../core/icons.js";
import { composing } from "../core/shortcuts.js";
import { narrow } from "../core/viewport.js";
import { titleOf } from "../chat/chats.js";
import { askDialog } from "./dialog.js";
import { t } from "../core/texts.js";

export class Drawer {
  #context;
  #store;
  #list = h("div", { class: "eh-chats" });
  #older;
  #drawn = "";

  /** @param {import("../chat_app.js").ChatApp} context */
  constructor(context) {
    this.#context = context;
    this.#store = context.store;
    const { keys } = context;
    this.search = h("input", { type: "search", class: "eh-input", placeholder: t("chats.search"), "aria-label": t("chats.search"), title: keys("search") });
    this.search.addEventListener("input", () => context.chats.search(this.search.value));
    this.fresh = button({ icon: icon("plus"), text: t("chats.new"), label: t("chats.new"), class: "eh-btn eh-outline eh-new", onClick: () => context.newChat() });
    this.fresh.title = keys("new_chat");
    this.#older = button({ text: t("chats.older"), label: t("chats.older"), class: "eh-btn eh-older", onClick: () => context.run(() => context.chats.more()) });
    const close = button({ icon: icon("close"), label: t("chats.close"), class: "eh-btn eh-sheet-only", onClick: () => context.toggle("drawer", false) });
    this.node = h("nav", { class: "eh-drawer", "aria-label": t("chats.title") },
      h("div", { class: "eh-drawer-head" }, this.fresh, close), h("div", { class: "eh-search" }, icon("search"), this.search), this.#list, this.#older);
    this.node.addEventListener("keydown", (event) => this.#key(event));
    this.#store.on(["chats", "chatsMore", "chat", "running", "tick", "ready"], () => this.#draw());
  }

  #draw() {
    const open = this.#store.get("chat")?.id;
    const [query, ready, running] = [this.#store.get("query"), this.#store.get("ready"), this.#store.get("running")];
    show(this.#older, this.#store.get("chatsMore"));
    const key = JSON.stringify([this.#store.get("chats").map((chat) => [chat.id, chat.title, chat.snippet, chat.updated]), open, [...running], query !== "", ready]);
    if (key === this.#drawn) return;
    this.#drawn = key;
    /** @type {HTMLElement|null|undefined} */
    const focusedRow = document.activeElement?.closest(".eh-chat");
    const focused = focusedRow?.dataset.id;
    let group = "";
    /** @type {HTMLElement[]} */
    const rows = []; // a heading and a list for each day
    for (const chat of this.#store.get("chats")) {
      const heading = dayGroup(chat.updated);
      if (heading !== group) rows.push(h("h2", { class: "eh-day", text: heading }), h("div", { role: "list", "aria-label": heading }));
      group = heading;
      rows.at(-1)?.append(this.#row(chat, chat.id === open));
    }
    const none = query ? t("chats.no_match") : t("chats.none");
    fill(this.#list, rows.length ? rows : h("p", { class: "eh-muted eh-none", text: ready ? none : "" }));
    if (focused) /** @type {HTMLElement|null} */ (this.#list.querySelector(`[data-id="${CSS.escape(focused)}"] .eh-chat-open`))?.focus();
  }

  /** @param {import("../types.js").ChatInfo} chat @param {boolean} open */
  #row(chat, open) {
    const title = titleOf(chat);
    const main = h("button", { type: "button", class: "eh-chat-open", "aria-current": open ? "true" : null, title: `${title}\n${when(chat.updated)}`, on: { click: () => this.#open(chat.id) } },
      h("bdi", { text: title }), this.#store.get("query") && chat.snippet && h("small", { class: "eh-muted", dir: "auto", text: chat.snippet }));
    const more = button({ icon: icon("more"), label: t("chats.actions_for", { title }), "aria-haspopup": "menu", "aria-expanded": "false", onClick: () => this.#menu(more, chat) });
    return h("div", { class: open ? "eh-chat eh-open" : "eh-chat", role: "listitem", "data-id": chat.id },
      main, this.#store.get("running").has(chat.id) && h("span", { class: "eh-run-dot", role: "img", "aria-label": t("chats.running") }), more);
  }

  /** @param {string} id */
  #open(id) {
    this.#context.run(() => this.#context.chats.open(id));
    if (narrow()) this.#context.toggle("drawer", false);
  }

  /** @param {HTMLElement} anchor @param {import("../types.js").ChatInfo} chat */
  #menu(anchor, chat) {
    const { popup, run, chats } = this.#context;
    popup.menu(anchor, [
      { icon: icon("pen"), label: t("action.rename"), run: () => run(() => this.rename(chat)) },
      { icon: icon("download"), label: t("chats.export_markdown"), run: () => run(() => chats.export(chat.id, "markdown")) },
      { icon: icon("file"), label: t("chats.export_jsonl"), run: () => run(() => chats.export(chat.id, "jsonl")) },
      null,
      { icon: icon("trash"), label: t("action.delete"), danger: true, run: () => run(() => chats.remove(chat.id)) },
    ], t("chats.actions"));
  }

  /** @param {{id: string|null, title?: string, snippet?: string}} chat */
  async rename(chat) {
    const title = await askDialog({ root: this.#context.root, title: t("chats.rename"), label: t("chats.name"), value: titleOf(chat), yes: t("action.rename") });
    if (title && chat.id) await this.#context.chats.rename(chat.id, title);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (composing(event)) return; // Enter and the arrows belong to the input method then
    const rows = [.../** @type {NodeListOf<HTMLElement>} */ (this.#list.querySelectorAll(".eh-chat-open"))];
    const at = rows.findIndex((row) => row === document.activeElement);
    const own = this.#store.get("chats")[at];
    if (event.key === "ArrowDown") (rows[at + 1] ?? rows[0])?.focus();
    else if (event.key === "ArrowUp" && at >= 0) (rows[at - 1] ?? this.search).focus();
    else if (event.key === "Enter" && event.target === this.search) rows[0]?.click();
    else if (event.key === "F2" && own) this.#context.run(() => this.rename(own));
    else if (event.key === "Delete" && own) this.#context.run(() => this.#context.chats.remove(own.id));
    else return;
    event.preventDefault();
  }

  focusSearch() {
    this.search.focus();
    this.search.select();
  }
}
