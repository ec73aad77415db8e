/** What the Model tab knows: the models on disk, the one that runs, memory. Shared by its list and its detail. */

import { Api } from "../core/api.js";
import { Store } from "../core/store.js";
import { onServerEvent } from "./server_events.js";

export const api = new Api();

export const store = new Store({
  models: null, // null until the first answer
  folder: "",
  status: { state: "empty", model: "", loader: "", error: null, info: null },
  memory: null,
  selected: "",
  scanning: false,
  connected: true,
  problem: null, // the last call that failed, as an ApiError
});

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
    store.set({ problem: error, models: store.get("models") ?? [] });
  } finally {
    store.set({ scanning: false });
  }
}

/** The model shown first: the one that runs, else the first that can. */
function first(models) {
  const running = store.get("status").model;
  const loaded = models.find((model) => model.loaded || model.name === running);
  return (loaded ?? models.find((model) => model.runnable && !model.builtin) ?? models.find((model) => model.runnable))?.name ?? "";
}

/** Run a call of the person's; what goes wrong is shown in the detail. */
export async function attempt(call) {
  try {
    await call();
    store.set({ problem: null });
  } catch (error) {
    store.set({ problem: error });
  }
}
