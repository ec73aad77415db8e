/** Loading, unloading and finding models, on behalf of the picker, the first screen and failed replies. */

const ECHO = "echo";

export class ModelControl {
  #api;
  #store;

  /** @param {{api: import("../core/api.js").Api, store: import("../core/store.js").Store<import("../types.js").ChatState>}} parts */
  constructor({ api, store }) {
    this.#api = api;
    this.#store = store;
  }

  /** Look at what is on disk now. */
  async rescan() {
    const { models, folder } = await this.#api.models();
    const server = this.#store.get("server");
    const has = models.some((model) => model.runnable && !model.builtin);
    this.#store.set({ models, modelsFolder: folder });
    if (server && server.has_models !== has) this.#store.set({ server: { ...server, has_models: has } });
    return models;
  }

  /** Start loading; progress comes by events. @param {string} name */
  async load(name) {
    this.#store.set({ model: await this.#api.load(name) });
  }

  async unload() {
    this.#store.set({ model: await this.#api.unload() });
  }

  /** Load again what a reply was written with, or what was loaded last. @param {string|null|undefined} name */
  async reload(name) {
    const wanted = name || this.#store.get("model").model;
    if (wanted) await this.load(wanted);
  }

  async tryEcho() {
    const models = this.#store.get("models");
    const echo = models.find((model) => model.builtin && model.loaders?.includes(ECHO)) ?? models.find((model) => model.builtin);
    await this.load(echo?.name ?? ECHO);
  }
}
