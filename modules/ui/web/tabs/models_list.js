/** The list of models on disk: search, one row each, and where the folder is. */

import { button, h, refill, show } from "../core/dom.js";
import { bytes } from "../core/format.js";
import { icon } from "../core/icons.js";
import { rescan, start, store } from "./model_store.js";
import { t } from "../core/texts.js";

/** @typedef {import("../types.js").ModelInfo} ModelInfo */

export const COMPANIONS = ["adapter", "mmproj", "control-vector"]; // named in a model's settings, never loaded by themselves
const SEARCH_FROM = 8; // fewer models than this fit on the screen

/** @param {import("../types.js").Surface<string>} parts */
export function mount({ element, trigger, props }) {
  const search = h("input", {
    type: "search", class: "eht-search-input", placeholder: t("models.search"), "aria-label": t("models.search"), autocomplete: "off",
  });
  const searchRow = h("div", { class: "eht-search" }, icon("search"), search);
  const rows = h("div", { class: "eht-model-rows", role: "group", "aria-label": t("models.title") });
  const foot = h("div", { class: "eht-model-foot" });
  element.append(h("h2", { class: "eht-heading", text: t("models.title") }), searchRow, rows, foot);

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
  if (models === null) return h("p", { class: "eht-muted", text: t("models.scanning") });
  const active = document.activeElement;
  const focused = active instanceof HTMLElement && rows.contains(active) ? active.dataset.name : null;
  const found = models.filter((model) => `${model.name} ${model.quant} ${model.arch}`.toLowerCase().includes(query));
  const runnable = found.filter((model) => model.runnable);
  const companions = found.filter((model) => !model.runnable && COMPANIONS.includes(model.kind));
  const rest = found.filter((model) => !model.runnable && !COMPANIONS.includes(model.kind));
  if (focused) queueMicrotask(() => /** @type {HTMLElement|null} */ (rows.querySelector(`[data-name="${CSS.escape(focused)}"]`))?.focus());
  return [
    runnable.map(row),
    companions.length > 0 && h("h3", { class: "eht-model-group", text: t("models.companions", { count: companions.length }) }),
    companions.map(row),
    rest.length > 0 && h("h3", { class: "eht-model-group", text: t("models.cannot_run", { count: rest.length }) }),
    rest.map(row),
    found.length === 0 && h("p", { class: "eht-muted", text: models.length ? t("models.no_match") : t("models.none_short") }),
  ];
}

/** @param {ModelInfo} model */
function row(model) {
  const status = store.get("status");
  const mine = status.model === model.name;
  const facts = [model.quant, model.size ? bytes(model.size) : "", model.context_length ? t("models.context", { tokens: model.context_length }) : "",
    model.builtin ? t("models.builtin_note") : ""];
  return h(
    "button",
    {
      type: "button", class: `eht-model-row${model.runnable ? "" : " is-off"}`, "data-name": model.name,
      "aria-pressed": String(store.get("selected") === model.name),
      on: { click: () => store.set({ selected: model.name, problem: null }) },
    },
    h("span", { class: "eht-model-name", text: model.name, dir: "auto" }),
    mine && h("span", { class: `eht-badge is-${status.state}`, text: t(`models.state.${status.state}`) }),
    h("span", { class: "eht-model-facts", text: model.runnable ? facts.filter(Boolean).join(" · ") : model.reason }),
  );
}

/** @type {Record<string, string>} */
/** @param {HTMLElement} foot @param {ModelInfo[]|null} models */
function drawFoot(foot, models) {
  const scanning = store.get("scanning");
  refill(foot, [scanning, store.get("folder"), models?.length], () => [
    h("p", { class: "eht-muted" }, t("models.folder"), " ", h("code", { text: store.get("folder") })),
    h("div", { class: "eht-foot-row" },
      button({ text: scanning ? t("models.scanning") : t("models.rescan"), icon: icon("retry"), label: t("models.rescan"), class: "eh-btn eh-btn-quiet", disabled: scanning, onClick: rescan }),
      h("span", { class: "eht-muted", role: "status", text: models ? t("models.count", { count: models.length }) : "" })),
  ]);
}
