/** The list of chats and what can be done with one from there. */

import { ApiError } from "../core/api.js";
import { saveAs } from "../core/dom.js";
import { t } from "../core/texts.js";

const PAGE = 50;
const MOST = 200; // chats the server gives at once
const SETTLE = 150; // ms; a burst of events is one reload of the list

export class Chats {
  #api;
  #store;
  #toasts;
  #conversation;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  /** @type {Promise<unknown>} */
  #queue = Promise.resolve();
  #listed = ""; // the search whose result is listed

  /** @param {import("../chat_app.js").ChatApp} app */
  constructor({ api, store, toasts, conversation }) {
    this.#api = api;
    this.#store = store;
    this.#toasts = toasts;
    this.#conversation = conversation;
  }

  /** The chat the address names (`#/chat/ID`, or `?chat=ID` in a link from elsewhere), or null. */
  static named() {
    const name = /^#\/chat\/([\w-]+)$/.exec(location.hash)?.[1] ?? new URLSearchParams(location.search).get("chat");
    return name || null;
  }

  /** Load as many as are listed, at least the first page, for the present search. */
  load() {
    return this.#next(() => this.#load());
  }

  /** Load the page after the last one listed. */
  more() {
    return this.#next(() => this.#more());
  }

  /** One after the other: else the list is as short again as it was when the slower one was asked for. @param {() => Promise<void>} work */
  #next(work) {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => null); // told to whoever asked
    return result;
  }

  async #load() {
    const query = this.#store.get("query");
    const limit = query === this.#listed ? Math.min(MOST, Math.max(PAGE, this.#store.get("chats").length)) : PAGE;
    const { chats } = await this.#api.chats({ query, limit });
    this.#listed = query;
    this.#store.set({ chats, chatsMore: chats.length === limit });
  }

  async #more() {
    const known = this.#store.get("chats");
    if (!known.length) return;
    const last = known[known.length - 1];
    const before = `${last.updated},${last.id}`; // the place stays, even when that chat is changed or deleted meanwhile
    const { chats } = await this.#api.chats({ query: this.#listed, limit: PAGE, before });
    const ids = new Set(known.map((chat) => chat.id));
    this.#store.set({ chats: [...known, ...chats.filter((chat) => !ids.has(chat.id))], chatsMore: chats.length === PAGE });
  }

  /** @param {string} query */
  search(query) {
    this.#store.set({ query });
    this.soon();
  }

  /** Reload the list shortly. */
  soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.load().catch((error) => this.#failed(error)), SETTLE);
  }

  /** Open a chat and name it in the address, so that a reload comes back to it. @param {string|null} id @returns {Promise<"shown"|"gone"|"failed"|"passed">} */
  async open(id, { replace = false } = {}) {
    const how = await this.#conversation.open(id);
    if (how === "gone") {
      this.#toasts.show({ message: t("chats.gone") });
      return this.open(null, { replace: true });
    }
    if (how === "shown") this.name(id, replace);
    return how;
  }

  /** The open chat was deleted elsewhere. @param {string} id */
  lost(id) {
    this.open(null, { replace: true });
    this.#toasts.show({ message: t("chats.deleted_elsewhere"), action: t("action.restore"), onAction: () => this.#restore(id, true) });
  }

  /** @param {string} id @param {boolean} show */
  async #restore(id, show) {
    await this.#api.restoreChat(id);
    await this.load();
    if (show) await this.open(id);
  }

  /** Save a chat as a file, "markdown" or "jsonl". @param {string} id @param {"markdown"|"jsonl"} as */
  async export(id, as) {
    const { name, data } = await this.#api.export(id, as);
    saveAs(name, data);
  }

  /** Put a chat's id into the address. @param {string|null} id */
  name(id, replace = false) {
    if (Chats.named() === id) return;
    const search = new URLSearchParams(location.search);
    search.delete("chat");
    const url = location.pathname + (search.size ? `?${search}` : "") + (id ? `#/chat/${id}` : "");
    if (replace) history.replaceState(history.state, "", url);
    else history.pushState(history.state, "", url);
  }

  /** @param {string} id @param {string} title */
  async rename(id, title) {
    const open = this.#conversation.tree?.id === id;
    const rev = open && this.#conversation.tree ? this.#conversation.tree.rev : (await this.#api.chat(id)).rev;
    const chat = await this.#api.patchChat(id, { title, rev });
    if (open && this.#conversation.tree) Object.assign(this.#conversation.tree, { title, rev: chat.rev ?? rev });
    this.#store.set({ chats: this.#store.get("chats").map((info) => (info.id === id ? { ...info, title } : info)) });
  }

  /** Delete a chat; the toast takes it back. @param {string} id */
  async remove(id) {
    const open = this.#conversation.tree?.id === id;
    const info = this.#store.get("chats").find((chat) => chat.id === id);
    const listed = this.#store.get("chats");
    if (open) await this.open(null, { replace: true });
    this.#store.set({ chats: listed.filter((chat) => chat.id !== id) });
    try {
      await this.#api.deleteChat(id);
    } catch (error) {
      this.#store.set({ chats: listed }); // it is still there
      if (open) await this.open(id, { replace: true });
      throw error;
    }
    this.#toasts.show({ message: t("chats.deleted", { title: titleOf(info) }), action: t("action.undo"), onAction: () => this.#restore(id, open) });
  }

  /** @param {unknown} error */
  #failed(error) {
    if (!(error instanceof ApiError && error.offline)) this.#toasts.error(error); // offline has its own banner
  }

  close() {
    clearTimeout(this.#timer);
  }
}

/** What a chat is called in lists. @param {{title?: string, snippet?: string}|undefined} chat */
export function titleOf(chat) {
  const title = (chat?.title || chat?.snippet || "").trim().replace(/\s+/g, " ");
  return title ? title.slice(0, 120) : t("chats.new");
}
