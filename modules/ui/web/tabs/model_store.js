/** What the Model tab knows: the models on disk, the one that runs, memory. Shared by its list and its detail. */

import { Api, ApiError } from "../core/api.js";
import { Store } from "../core/store.js";
import { onServerEvent } from "./server_events.js";

export const api = new Api();

/**
 * @typedef {object} ModelTabState
 * @property {import("../types.js").ModelInfo[]|null} models  null until the first answer
 * @property {string} folder
 * @property {import("../types.js").ModelStatus} status
 * @property {import("../types.js").Memory|null} memory
 * @property {string} selected
 * @property {boolean} scanning
 * @property {boolean} connected
 * @property {{message: string, hint?: string}|null} problem  the last call that failed
 */

export const store = new Store(/** @type {ModelTabState} */ ({
  models: null,
  folder: "",
  status: { state: "empty", model: "", loader: "", progress: null, stage: "", error: null, info: null, settings: {} },
  memory: null,
  selected: "",
  scanning: false,
  connected: true,
  problem: null,
}));

let started = false;

/** Fill the store and keep it true. Called by both halves; the second call does nothing. */
export function start() {
  if (started) return;
  started = true;
  rescan(); // not after the first `hello`: the folder can be read while the WebSocket is being opened
  onServerEvent((event) => {
    if (event.type === "hello") {
      store.set({ status: event.state.model, memory: event.state.memory });
      rescan();
    } else if (event.type === "model") {
      store.set({ status: event.status });
    } else if (event.type === "memory") {
      store.set({ memory: event.memory });
    } else if (event.type === "models" || event.type === "resync") {
      rescan();
    }
  }, { up: () => store.set({ connected: true }), down: () => store.set({ connected: false }) });
}

/** Look at the folder again. */
export async function rescan() {
  store.set({ scanning: true });
  try {
    const { models, folder } = await api.models();
    store.set({ models, folder, problem: null });
    if (!store.get("selected")) store.set({ selected: first(models) });
  } catch (error) {
    store.set({ problem: problemOf(error), models: store.get("models") ?? [] });
  } finally {
    store.set({ scanning: false });
  }
}

/** @param {unknown} error */
function problemOf(error) {
  return error instanceof ApiError ? error : { message: String(error) };
}

/** The model shown first: the one that runs, else the first that can. @param {import("../types.js").ModelInfo[]} models */
function first(models) {
  const running = store.get("status").model;
  const loaded = models.find((model) => model.loaded || model.name === running);
  return (loaded ?? models.find((model) => model.runnable && !model.builtin) ?? models.find((model) => model.runnable))?.name ?? "";
}

/** Run a call of the person's; what goes wrong is shown in the detail. @param {() => Promise<unknown>} call */
export async function attempt(call) {
  try {
    await call();
    store.set({ problem: null });
  } catch (error) {
    store.set({ problem: problemOf(error) });
  }
}
