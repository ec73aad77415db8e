/** One small observable record: what the views show. Set by controllers, read by views. */

export class Store {
  #state;
  #listeners = new Map();

  constructor(initial) {
    this.#state = { ...initial };
  }

  get(key) {
    return this.#state[key];
  }

  /** Change keys; listeners of keys whose value is another one run at once, each once. */
  set(patch) {
    const touched = new Set();
    for (const [key, value] of Object.entries(patch)) {
      if (Object.is(this.#state[key], value)) continue;
      this.#state[key] = value;
      for (const listener of this.#listeners.get(key) ?? []) touched.add(listener);
    }
    for (const listener of touched) listener();
  }

  /** Run `listener` now and whenever one of `keys` changes. Gives back the way to stop. */
  on(keys, listener) {
    for (const key of keys) {
      if (!this.#listeners.has(key)) this.#listeners.set(key, new Set());
      this.#listeners.get(key).add(listener);
    }
    listener();
    return () => keys.forEach((key) => this.#listeners.get(key).delete(listener));
  }
}

/** What the page knows before it has heard from the server. */
export function initialState() {
  return {
    ready: false, // the first answer from the server is in
    connected: true,
    retryAt: 0, // when the next attempt to reach the server starts (ms since epoch)
    server: null, // version, has_models, problems, settings, loaders, api
    model: { state: "empty", model: "", progress: null, stage: "", error: null, info: null },
    memory: null,
    models: [],
    modelsFolder: "",
    chats: [],
    chatsMore: false,
    query: "",
    running: new Set(), // ids of chats with a reply being written
    chat: null, // ChatTree of the open chat, null = a new one
    tick: 0, // raised when the open chat's tree changed inside
    drawer: false,
    params: false,
    editing: null,
  };
}
