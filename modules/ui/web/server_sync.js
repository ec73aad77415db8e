/** What the server says, put into the store; and everything fetched anew after it was away. */

import { Chats } from "./chat/chats.js";
import { RunningReplies } from "./chat/running_replies.js";
import { Backoff } from "./core/backoff.js";
import { t } from "./core/texts.js";

export class ServerSync {
  #parts;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  #backoff = new Backoff(); // for questions that got no answer though the WebSocket is open
  #replies = new RunningReplies();
  #wasUp = false;
  #missed = false; // something was asked and not answered

  /** @param {import("./chat_app.js").ChatApp} parts */
  constructor(parts) {
    this.#parts = parts;
    this.handlers = {
      message: (/** @type {import("./types.js").ServerEvent} */ event) => this.#onEvent(event),
      up: () => this.#up(),
      down: (/** @type {number} */ retryAt) => parts.store.set({ connected: false, retryAt }),
    };
  }

  /** Fetch state, models, chats and the open (or named) chat. Failures are left to the reconnect. */
  async refresh(chat = this.#parts.conversation.tree?.id ?? Chats.named()) {
    const { api, chats, models, conversation, params, store, toasts } = this.#parts;
    clearTimeout(this.#timer);
    const open = conversation.tree?.id === chat && chat ? conversation.reload() : chat ? chats.open(chat, { replace: true }) : null;
    const results = await Promise.allSettled([api.state().then((state) => this.#state(state)), models.rescan(), chats.load(), open, params?.again()]);
    const reasons = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
    for (const reason of reasons) if (!reason?.offline) toasts.error(reason);
    if (results[0].status === "fulfilled") store.set({ ready: true });
    this.#missed = reasons.some((reason) => reason?.offline) || results.some((result) => result.status === "fulfilled" && result.value === "failed");
    if (!this.#missed) this.#backoff.reset();
    else if (store.get("connected")) this.#timer = setTimeout(() => this.refresh(), this.#backoff.next());
  }

  /** @param {import("./types.js").ServerState} state */
  #state(state) {
    const { store, theme } = this.#parts;
    const { model, memory, replies, ...server } = state; // the replies: only from the WebSocket, where nothing overtakes them
    store.set({ server, model, memory });
    theme.follow(server.settings?.theme);
  }

  #up() {
    const { store } = this.#parts;
    const back = !store.get("connected") || !store.get("ready");
    store.set({ connected: true });
    if (back && (this.#wasUp || this.#missed)) this.refresh();
    this.#wasUp = true;
  }

  close() {
    clearTimeout(this.#timer);
  }

  /** @param {import("./types.js").ServerEvent} event */
  #onEvent(event) {
    const { store, conversation, chats, models, toasts, params } = this.#parts;
    switch (event.type) {
      case "hello":
        this.#running(this.#replies.all(event.state.replies, event.late));
        return this.#state(event.state);
      case "model": return this.#model(event.status);
      case "memory": return store.set({ memory: event.memory });
      case "models": return void models.rescan().catch((error) => toasts.error(error));
      case "chat":
        if (event.kind === "deleted" && event.id === conversation.tree?.id) chats.lost(event.id);
        else conversation.onEvent(event);
        return chats.soon();
      case "reply": return this.#reply(event);
      case "params": return params?.onEvent(event);
      case "notice": return void toasts.show({ message: event.message, hint: event.hint, level: event.level });
      case "resync":
        this.#running(this.#replies.all(event.state.replies));
        return void this.refresh();
      default: return console.info("An event this page does not know", event);
    }
  }

  /** @param {import("./types.js").ModelStatus} status */
  #model(status) {
    const { store, toasts } = this.#parts;
    const before = store.get("model");
    store.set({ model: status });
    const fell = ["failed", "crashed"].includes(status.state) && before.state !== status.state;
    if (!fell || !status.error || this.#parts.conversation.running) return;
    if (!status.error.fallback?.model) toasts.show({ message: status.error.message, hint: status.error.hint, level: "error", action: t("action.show_log"), onAction: this.#parts.showLog }); // else a card stays
  }

  /** @param {{chat: string, message: string, state: string}} event */
  #reply(event) {
    this.#running(this.#replies.onEvent(event));
    if (event.state !== "running") this.#parts.chats.soon();
  }

  /** @param {Set<string>} chats */
  #running(chats) {
    this.#parts.store.set({ running: chats });
  }
}
