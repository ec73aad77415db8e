/** The list of models on disk: search, one row each, and where the folder is. */

import { button, h, refill, show } from "../core/dom.js";
import { bytes, count, plural } from "../core/format.js";
import { icon } from "../core/icons.js";
import { rescan, start, store } from "./model_store.js";

/** @typedef {import("../types.js").ModelInfo} ModelInfo */

export const COMPANIONS = ["adapter", "mmproj", "control-vector"]; // named in a model's settings, never loaded by themselves
const SEARCH_FROM = 8; // fewer models than this fit on the screen

/** @param {import("../types.js").Surface<string>} parts */
export function mount({ element, trigger, props }) {
  const search = h("input", {
    type: "search", class: "eht-search-input", placeholder: "Find a model", "aria-label": "Find a model", autocomplete: "off",
  });
  const searchRow = h("div", { class: "eht-search" }, icon("search"), search);
  const rows = h("div", { class: "eht-model-rows", role: "group", "aria-label": "Models" });
  const foot = h("div", { class: "eht-model-foot" });
  element.append(h("h2", { class: "eht-heading", text: "Models" }), searchRow, rows, foot);

  const draw = () => {
    const models = store.get("models");
    show(searchRow, (models?.length ?? 0) >= SEARCH_FROM);
    drawRows(rows, models, search.value.trim().toLowerCase());
    drawFoot(foot, models);
  };
  search.addEventListener("input", draw);
  store.on(["models", "status", "selected", "scanning", "folder"], draw);
  store.on(["selected"], () => {
    const name = store.get("selected");
    if (!name || name === props.value) return;
    props.value = name;
    trigger("chosen", {});
  });
  start();
}

/** @param {HTMLElement} rows @param {ModelInfo[]|null} models @param {string} query */
function drawRows(rows, models, query) {
  const { model, state } = store.get("status");
  refill(rows, [models, query, model, state, store.get("selected")], () => rowNodes(rows, models, query));
}

/** @param {HTMLElement} rows @param {ModelInfo[]|null} models @param {string} query */
function rowNodes(rows, models, query) {
  if (models === null) return h("p", { class: "eht-muted", text: "Looking at the folder …" });
  const active = document.activeElement;
  const focused = active instanceof HTMLElement && rows.contains(active) ? active.dataset.name : null;
  const found = models.filter((model) => `${model.name} ${model.quant} ${model.arch}`.toLowerCase().includes(query));
  const runnable = found.filter((model) => model.runnable);
  const companions = found.filter((model) => !model.runnable && COMPANIONS.includes(model.kind));
  const rest = found.filter((model) => !model.runnable && !COMPANIONS.includes(model.kind));
  if (focused) queueMicrotask(() => /** @type {HTMLElement|null} */ (rows.querySelector(`[data-name="${CSS.escape(focused)}"]`))?.focus());
  return [
    runnable.map(row),
    companions.length > 0 && h("h3", { class: "eht-model-group", text: `Goes with a model (${companions.length})` }),
    companions.map(row),
    rest.length > 0 && h("h3", { class: "eht-model-group", text: `Cannot run (${rest.length})` }),
    rest.map(row),
    found.length === 0 && h("p", { class: "eht-muted", text: models.length ? "No model is called that." : "There is no model yet." }),
  ];
}

/** @param {ModelInfo} model */
function row(model) {
  const status = store.get("status");
  const mine = status.model === model.name;
  const facts = [model.quant, model.size ? bytes(model.size) : "", model.context_length ? `${count(model.context_length)} context` : "",
    model.builtin ? "built in, for trying things out" : ""];
  return h(
    "button",
    {
      type: "button", class: `eht-model-row${model.runnable ? "" : " is-off"}`, "data-name": model.name,
      "aria-pressed": String(store.get("selected") === model.name),
      on: { click: () => store.set({ selected: model.name, problem: null }) },
    },
    h("span", { class: "eht-model-name", text: model.name, dir: "auto" }),
    mine && h("span", { class: `eht-badge is-${status.state}`, text: STATES[status.state] ?? status.state }),
    h("span", { class: "eht-model-facts", text: model.runnable ? facts.filter(Boolean).join(" · ") : model.reason }),
  );
}

/** @type {Record<string, string>} */
export const STATES = {
  empty: "not loaded", starting: "loading", ready: "loaded", busy: "answering", stopping: "unloading",
  crashed: "stopped by a fault", failed: "did not load",
};

/** @param {HTMLElement} foot @param {ModelInfo[]|null} models */
function drawFoot(foot, models) {
  const scanning = store.get("scanning");
  refill(foot, [scanning, store.get("folder"), models?.length], () => [
    h("p", { class: "eht-muted" }, "Where are my models? Put .gguf files and Hugging Face folders into ", h("code", { text: store.get("folder") || "the models folder" }), "."),
    h("div", { class: "eht-foot-row" },
      button({ text: scanning ? "Looking …" : "Rescan", icon: icon("retry"), label: "Rescan", class: "eh-btn eh-btn-quiet", disabled: scanning, onClick: rescan }),
      h("span", { class: "eht-muted", role: "status", text: models ? plural(models.length, "model") : "" })),
  ]);
}
