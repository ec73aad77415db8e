/** The selected model: facts, state, and what can be done with it now. */

import { button, fill, h, refill } from "../core/dom.js";
import { bytes, gigabytes, millions } from "../core/format.js";
import { icon } from "../core/icons.js";
import { api, attempt, start, store } from "./model_store.js";
import { COMPANIONS } from "./models_list.js";
import { t } from "../core/texts.js";

/** @param {import("../types.js").Surface} parts */
export function mount({ element, trigger }) {
  const head = h("div", { class: "eht-detail-head" });
  const state = h("div", { class: "eht-detail-state" });
  const cards = h("div");
  const memory = h("div", { class: "eht-detail-memory" });
  element.append(head, state, cards, memory);
  store.on(["models", "status", "selected"], () => drawHead(head, trigger));
  store.on(["status", "selected", "connected"], () => drawState(state));
  store.on(["models", "status", "selected", "problem"], () => drawCards(cards, trigger));
  store.on(["memory", "status"], () => drawMemory(memory));
  let before = store.get("status").state;
  store.on(["status"], () => { // what stands at the settings is about the load that has just ended
    const now = store.get("status");
    if (now.state === "ready" && before === "starting" && now.model === store.get("selected")) trigger("ready", {});
    before = now.state;
  });
  start();
}

/** @typedef {import("../types.js").ModelInfo} ModelInfo */
/** @typedef {import("../types.js").ModelStatus} ModelStatus */
/** @typedef {import("../types.js").Surface["trigger"]} Trigger */

const selected = () => (store.get("models") ?? []).find((model) => model.name === store.get("selected"));
/** @type {string[]} */
const RUNNING = ["ready", "busy"];

/** @param {HTMLElement} head @param {Trigger} trigger */
function drawHead(head, trigger) {
  const model = selected();
  const { state, error, model: current } = store.get("status");
  const waiting = store.get("models") === null;
  const focused = head.contains(document.activeElement);
  refill(head, [model, waiting, state, error, current], () => (model
    ? [h("div", { class: "eht-detail-title" }, h("h2", { text: model.name, dir: "auto" }), h("p", { class: "eht-muted", text: facts(model) }), chips(model),
      model.sends_to && !(RUNNING.includes(state) && current === model.name) && leaves(t("model.will_leave", { host: model.sends_to }))),
      h("div", { class: "eht-detail-actions" }, actions(model, trigger))]
    : h("p", { class: "eht-muted", text: waiting ? "" : t("model.none_selected") })));
  if (focused && !head.contains(document.activeElement)) /** @type {HTMLElement|null} */ (head.querySelector("button:not([disabled])"))?.focus();
}

/** @param {ModelInfo} model */
function facts(model) {
  return [
    model.builtin ? t("models.builtin_note") : model.format?.toUpperCase(),
    model.size ? bytes(model.size) : "",
    model.quant,
    model.parameters ? t("models.parameters", { size: millions(model.parameters) }) : "",
    model.arch,
    model.layers ? t("model.layers", { count: model.layers }) : "",
    model.context_length ? t("model.trained", { tokens: model.context_length }) : "",
    model.builtin || !model.runnable ? "" : model.chat_template ? t("model.template") : t("model.no_template"),
  ].filter(Boolean).join(" · ");
}

/** @type {Record<string, string>} */
/** @type {Record<string, string>} the server's name of a capability → the last part of its text's key */
const CAN = {
  images: "vision", audio: "audio", tools: "tools", thinking: "reasoning", embeddings: "embeddings", rerank: "rerank",
  "fill in the middle": "infill",
};

/** What the model can do and which languages it states, known before it is loaded. @param {ModelInfo} model */
function chips(model) {
  const can = (model.capabilities ?? []).filter((one) => CAN[one]).map((one) => t(`model.can.${CAN[one]}`));
  const languages = (model.languages ?? []).map(language);
  const shown = languages.slice(0, 6);
  if (languages.length > shown.length) shown.push(t("model.more_languages", { count: languages.length - shown.length }));
  const all = [...can.map((text) => ["is-skill", text]), ...shown.map((text) => ["", text])];
  return all.length > 0 && h("ul", { class: "eht-chips", "aria-label": t("model.capabilities") },
    all.map(([kind, text]) => h("li", { class: `eht-chip ${kind}`.trim(), text, dir: "auto" })));
}

/** @param {string} code */
function language(code) {
  try {
    return new Intl.DisplayNames(undefined, { type: "language" }).of(code) ?? code;
  } catch {
    return code; // not a code the browser knows; shown as the makers wrote it
  }
}

/** @param {ModelInfo} model @param {Trigger} trigger */
function actions(model, trigger) {
  const status = store.get("status");
  const mine = status.model === model.name;
  const load = (/** @type {string} */ text, kind = "eh-btn-primary") => button({
    text, label: text, id: "eh-load", class: `eh-btn ${kind}`, disabled: !model.runnable,
    onClick: () => trigger("start", {}),
  });
  const unload = (/** @type {string} */ text) => button({
    text, label: text, id: "eh-unload", class: "eh-btn", onClick: () => attempt(() => api.unload()),
  });
  if (status.state === "starting" && mine) return [unload(t("model.cancel"))];
  if (status.state === "stopping" && mine) return [h("span", { class: "eht-muted", text: t("model.unloading") })];
  if (RUNNING.includes(status.state) && mine) return [load(t("model.reload_short"), ""), unload(t("model.unload"))];
  return [load(mine && status.error ? t("action.try_again") : t("model.load"))];
}

/** @param {HTMLElement} state */
function drawState(state) {
  const status = store.get("status");
  if (!store.get("connected")) {
    fill(state, dot("empty"), h("span", { text: t("server.away") }));
    return;
  }
  if (!status.model || status.state === "empty") {
    fill(state, dot("empty"), h("span", { text: t("model.none") }));
    return;
  }
  const mine = status.model === store.get("selected");
  const words = mine ? "" : `${status.model}: `;
  const parts = [dot(status.state), h("span", { text: mine ? sentence(describe(status)) : words + describe(status) })];
  if (status.state === "starting") parts.push(bar(status));
  if (RUNNING.includes(status.state) && status.info?.sends_to) parts.push(leaves(t("model.leaves", { host: status.info.sends_to })));
  if (RUNNING.includes(status.state) && mine && status.info?.details?.notes) {
    parts.push(h("p", { class: "eht-muted eht-load-notes", text: status.info.details.notes, dir: "auto" }));
  }
  fill(state, parts);
}

/** @param {string} text */
const leaves = (text) => h("p", { class: "eht-leaves" }, icon("alert"),
  h("span", { text, dir: "auto" }));

/** @param {string} text */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {string} state */
const dot = (state) => h("span", { class: `eht-dot is-${state}`, "aria-hidden": "true" });

/** @param {ModelStatus} status */
function describe(status) {
  if (status.state === "starting") {
    const percent = status.progress === null ? "" : ` ${Math.round(status.progress * 100)}%`;
    return `${status.stage || t("state.starting")}${percent}`;
  }
  if (!RUNNING.includes(status.state)) return t(`models.state.${status.state}`);
  return [
    t("model.running", { state: t(`models.state.${status.state}`), loader: status.loader }),
    status.info ? t("model.context", { tokens: status.info.context }) : "",
    status.info && status.info.slots > 1 ? t("model.slots", { count: status.info.slots }) : "",
    status.memory_bytes ? t("model.memory", { size: bytes(status.memory_bytes) }) : "",
    status.running ? t("model.active", { count: status.running }) : "",
    status.waiting ? t("model.waiting", { count: status.waiting }) : "",
  ].filter(Boolean).join(" · ");
}

/** @param {ModelStatus} status */
function bar(status) {
  const percent = status.progress === null || status.progress === undefined ? null : Math.round(status.progress * 100);
  const known = percent !== null;
  return h("div", {
    class: `eht-progress${known ? "" : " is-open"}`, role: "progressbar", "aria-label": t("model.loading"), "aria-valuemin": "0",
    "aria-valuemax": "100", "aria-valuenow": percent, vars: { "--eh-part": `${percent ?? 30}%` },
  }, h("span"));
}

/** @param {HTMLElement} cards @param {Trigger} trigger */
function drawCards(cards, trigger) {
  const model = selected();
  const status = store.get("status");
  const problem = store.get("problem");
  const failed = status.error && (status.model === store.get("selected") || !status.model) ? status.error : null;
  const replaced = model?.runnable && RUNNING.includes(status.state) && status.model !== model.name;
  const offer = failed?.fallback && status.model === model?.name ? failed.fallback : null;
  const shown = [offer?.says, problem?.message, problem?.hint, failed, model?.name, model?.runnable, model?.reason, replaced, status.model];
  refill(cards, shown, () => [
    problem && card(problem.message, problem.hint),
    failed && card(failed.message, failed.hint, offer && smaller(offer, trigger)),
    model && !model.runnable && card(COMPANIONS.includes(model.kind) ? t("model.companion", { reason: model.reason }) : t("model.cannot_run", { reason: model.reason }), ""),
    replaced && h("p", { class: "eht-muted", text: t("model.replaces", { model: status.model }) })]);
}

/** @param {string} message @param {string|undefined} hint @param {import("../types.js").Child} more */
function card(message, hint, more = null) {
  return h("div", { class: "eht-alert", role: "alert" }, icon("alert"),
    h("div", {}, h("strong", { text: message }), hint && h("span", { text: hint }), more));
}

/** What would fit instead, with one button that loads it so. @param {import("../types.js").FallbackOffer} offer @param {Trigger} trigger */
function smaller(offer, trigger) {
  return h("div", { class: "eht-offer" }, h("span", { text: t("model.offer", { changes: offer.says }) }),
    button({ text: t("load.smaller"), label: t("load.smaller"), id: "eh-load-smaller",
      class: "eh-btn eh-btn-primary", onClick: () => trigger("smaller", {}) }));
}

/** @param {HTMLElement} memory */
function drawMemory(memory) {
  const known = store.get("memory");
  if (!known?.total) return fill(memory);
  const used = known.total - known.available;
  const share = Math.min(100, Math.round((used / known.total) * 100));
  return fill(memory,
    h("span", { class: "eht-muted", text: t("memory.line", { free: gigabytes(known.available), total: gigabytes(known.total), engine: bytes(known.engine), server: bytes(known.server) }) }),
    h("div", { class: "eht-meter", "aria-hidden": "true", vars: { "--eh-part": `${share}%` } }, h("span")));
}
