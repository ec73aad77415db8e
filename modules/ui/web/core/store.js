/**
 * One small observable record: what the views show. Set by controllers, read by views.
 * @template {object} State
 */export class Store {
  /** @type {State} */
  #state;
  /** @type {Map<keyof State, Set<() => unknown>>} */
  #listeners = new Map();

  /** @param {State} initial */
  constructor(initial) {
    this.#state = { ...initial };
  }

  /** @template {keyof State} Key @param {Key} key @returns {State[Key]} */
  get(key) {
    return this.#state[key];
  }

  /** Change keys; listeners of keys whose value is another one run at once, each once. @param {Partial<State>} patch */
  set(patch) {
    const touched = new Set();
    for (const key of /** @type {(keyof State)[]} */ (Object.keys(patch))) {
      const value = /** @type {State[keyof State]} */ (patch[key]);
      if (Object.is(this.#state[key], value)) continue;
      this.#state[key] = value;
      for (const listener of this.#listeners.get(key) ?? []) touched.add(listener);
    }
    for (const listener of touched) listener();
  }

  /** Run `listener` now and whenever one of `keys` changes. Gives back the way to stop. @param {(keyof State)[]} keys @param {() => unknown} listener */
  on(keys, listener) {
    for (const key of keys) {
      const known = this.#listeners.get(key) ?? new Set();
      this.#listeners.set(key, known.add(listener));
    }
    listener();
    return () => keys.forEach((key) => this.#listeners.get(key)?.delete(listener));
  }
}

/** What the page knows before it has heard from the server. @returns {import("../types.js").ChatState} */
export function initialState() {
  return {
    ready: false, // the first answer from the server is in
    connected: true,
    retryAt: 0, // when the next attempt to reach the server starts (ms since epoch)
    server: null, // version, has_models, problems, settings, loaders, api
    model: { state: "empty", model: "", loader: "", progress: null, stage: "", error: null, info: null, settings: {} },
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
