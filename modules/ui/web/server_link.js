/** What the server says, put into the store; and everything fetched anew after it was away. */

export class ServerLink {
  #parts;

  /** @param {object} parts  the workbench: api, store, toasts, theme, conversation, chats, models, params */
  constructor(parts) {
    this.#parts = parts;
    this.handlers = {
      message: (event) => this.#heard(event),
      up: () => this.#up(),
      down: (retryAt) => parts.store.set({ connected: false, retryAt }),
    };
  }

  /** Fetch state, models, chats and the open (or named) chat. Failures are left to the reconnect. */
  async refresh(chat = this.#parts.conversation.tree?.id ?? null) {
    const { api, chats, models, conversation, store, toasts } = this.#parts;
    const open = conversation.tree?.id === chat && chat ? conversation.reload() : chat ? chats.open(chat, { replace: true }) : null;
    const results = await Promise.allSettled([api.state().then((state) => this.#state(state)), models.rescan(), chats.load(), open]);
    for (const { reason } of results) if (reason && !reason.offline) toasts.error(reason);
    if (results[0].status === "fulfilled") store.set({ ready: true });
  }

  #state(state) {
    const { store, theme } = this.#parts;
    const { model, memory, ...server } = state;
    store.set({ server, model, memory });
    theme.follow(server.settings?.theme);
  }

  #up() {
    const { store } = this.#parts;
    const back = !store.get("connected") || !store.get("ready");
    store.set({ connected: true });
    if (back) store.set({ running: new Set() }); // what ran before may have ended unheard
    if (back && this.wasUp) this.refresh();
    this.wasUp = true;
  }

  #heard(event) {
    const { store, conversation, chats, models, toasts, params } = this.#parts;
    switch (event.type) {
      case "hello": return this.#state(event.state);
      case "model": return this.#model(event.status);
      case "memory": return store.set({ memory: event.memory });
      case "models": return void models.rescan().catch((error) => toasts.error(error));
      case "chat": conversation.heard(event); return chats.soon();
      case "reply": return this.#reply(event);
      case "params": return params?.heard(event);
      case "notice": return void toasts.show({ message: event.message, hint: event.hint, level: event.level });
      case "resync": return void this.refresh();
      default: return console.info("An event this page does not know", event.type);
    }
  }

  #model(status) {
    const { store, toasts } = this.#parts;
    const before = store.get("model");
    store.set({ model: status });
    const fell = ["failed", "crashed"].includes(status.state) && before.state !== status.state;
    if (fell && status.error && !this.#parts.conversation.running) toasts.show({ ...status.error, level: "error", action: "Show log", onAction: this.#parts.showLog });
  }

  #reply({ chat, state }) {
    const { store, chats } = this.#parts;
    const running = new Set(store.get("running"));
    if (state === "running") running.add(chat);
    else running.delete(chat);
    store.set({ running });
    if (state !== "running") chats.soon();
  }
}
