/** The selected model: facts, state, and what can be done with it now. */

import { button, fill, h, refill } from "../core/dom.js";
import { bytes, count, gigabytes, plural, short } from "../core/format.js";
import { icon } from "../core/icons.js";
import { api, attempt, start, store } from "./model_store.js";
import { COMPANIONS, STATES } from "./models_list.js";

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
      model.sends_to && !(RUNNING.includes(state) && current === model.name) && leaves(model.sends_to, "Text you send to it will leave")),
      h("div", { class: "eht-detail-actions" }, actions(model, trigger))]
    : h("p", { class: "eht-muted", text: waiting ? "" : "Choose a model on the list, or put one into the folder and rescan." })));
  if (focused && !head.contains(document.activeElement)) /** @type {HTMLElement|null} */ (head.querySelector("button:not([disabled])"))?.focus();
}

/** @param {ModelInfo} model */
function facts(model) {
  return [
    model.builtin ? "built in, for trying things out" : model.format?.toUpperCase(),
    model.size ? bytes(model.size) : "",
    model.quant,
    model.parameters ? `${short(model.parameters / 1e6)} M parameters` : "",
    model.arch,
    model.layers ? plural(model.layers, "layer") : "",
    model.context_length ? `trained for ${count(model.context_length)} tokens` : "",
    model.builtin || !model.runnable ? "" : model.chat_template ? "has a chat template" : "no chat template: chats use a plain one",
  ].filter(Boolean).join(" · ");
}

/** @type {Record<string, string>} */
const CAN = {
  images: "sees images", audio: "hears sound", tools: "calls tools", thinking: "thinks first", embeddings: "makes embeddings",
  rerank: "ranks documents", "fill in the middle": "fills gaps in code",
};

/** What the model can do and which languages it states, known before it is loaded. @param {ModelInfo} model */
function chips(model) {
  const can = (model.capabilities ?? []).filter((one) => CAN[one]).map((one) => CAN[one]);
  const languages = (model.languages ?? []).map(language);
  const shown = languages.slice(0, 6);
  if (languages.length > shown.length) shown.push(`${languages.length - shown.length} more languages`);
  const all = [...can.map((text) => ["is-skill", text]), ...shown.map((text) => ["", text])];
  return all.length > 0 && h("ul", { class: "eht-chips", "aria-label": "What it can do" },
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
  if (status.state === "starting" && mine) return [unload("Cancel loading")];
  if (status.state === "stopping" && mine) return [h("span", { class: "eht-muted", text: "Unloading …" })];
  if (RUNNING.includes(status.state) && mine) return [load("Reload", ""), unload("Unload")];
  return [load(mine && status.error ? "Try again" : "Load")];
}

/** @param {HTMLElement} state */
function drawState(state) {
  const status = store.get("status");
  if (!store.get("connected")) {
    fill(state, dot("empty"), h("span", { text: "Can't reach the server." }));
    return;
  }
  if (!status.model || status.state === "empty") {
    fill(state, dot("empty"), h("span", { text: "No model is loaded." }));
    return;
  }
  const mine = status.model === store.get("selected");
  const words = mine ? "" : `${status.model}${status.state === "failed" ? "" : " is"} `;
  const parts = [dot(status.state), h("span", { text: mine ? sentence(describe(status)) : words + describe(status) })];
  if (status.state === "starting") parts.push(bar(status));
  if (RUNNING.includes(status.state) && status.info?.sends_to) parts.push(leaves(status.info.sends_to));
  if (RUNNING.includes(status.state) && mine && status.info?.details?.notes) {
    parts.push(h("p", { class: "eht-muted eht-load-notes", text: status.info.details.notes, dir: "auto" }));
  }
  fill(state, parts);
}

/** @param {string} host */
const leaves = (host, words = "Text you send leaves") => h("p", { class: "eht-leaves" }, icon("alert"),
  h("span", { text: `${words} this machine: ${host}`, dir: "auto" }));

/** @param {string} text */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {string} state */
const dot = (state) => h("span", { class: `eht-dot is-${state}`, "aria-hidden": "true" });

/** @param {ModelStatus} status */
function describe(status) {
  if (status.state === "starting") {
    const percent = status.progress === null ? "" : ` ${Math.round(status.progress * 100)} %`;
    return `${status.stage || "loading"}${percent}`;
  }
  if (!RUNNING.includes(status.state)) return STATES[status.state] ?? status.state;
  return [
    `${STATES[status.state]} with ${status.loader}`,
    status.info ? `${count(status.info.context)} tokens of context` : "",
    status.info && status.info.slots > 1 ? `${status.info.slots} replies at a time` : "",
    status.memory_bytes ? `${bytes(status.memory_bytes)} of memory` : "",
    status.running ? `${plural(status.running, "reply", "replies")} running` : "",
    status.waiting ? `${status.waiting} waiting` : "",
  ].filter(Boolean).join(" · ");
}

/** @param {ModelStatus} status */
function bar(status) {
  const percent = status.progress === null || status.progress === undefined ? null : Math.round(status.progress * 100);
  const known = percent !== null;
  return h("div", {
    class: `eht-progress${known ? "" : " is-open"}`, role: "progressbar", "aria-label": "Loading", "aria-valuemin": "0",
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
    model && !model.runnable && card(`This file cannot run${COMPANIONS.includes(model.kind) ? " by itself" : ""}: ${model.reason}`, ""),
    replaced && h("p", { class: "eht-muted", text: `Loading it ends ${status.model}, once its replies are done.` })]);
}

/** @param {string} message @param {string|undefined} hint @param {import("../types.js").Child} more */
function card(message, hint, more = null) {
  return h("div", { class: "eht-alert", role: "alert" }, icon("alert"),
    h("div", {}, h("strong", { text: message }), hint && h("span", { text: hint }), more));
}

/** What would fit instead, with one button that loads it so. @param {import("../types.js").FallbackOffer} offer @param {Trigger} trigger */
function smaller(offer, trigger) {
  return h("div", { class: "eht-offer" }, h("span", { text: `With less memory: ${offer.says}` }),
    button({ text: "Load with these settings", label: "Load with these settings", id: "eh-load-smaller",
      class: "eh-btn eh-btn-primary", onClick: () => trigger("smaller", {}) }));
}

/** @param {HTMLElement} memory */
function drawMemory(memory) {
  const known = store.get("memory");
  if (!known?.total) return fill(memory);
  const used = known.total - known.available;
  const share = Math.min(100, Math.round((used / known.total) * 100));
  return fill(memory,
    h("span", { class: "eht-muted", text: `Memory: ${gigabytes(known.available)} of ${gigabytes(known.total)} GB free · engine ${bytes(known.engine)} · server ${bytes(known.server)}` }),
    h("div", { class: "eht-meter", "aria-hidden": "true", vars: { "--eh-part": `${share}%` } }, h("span")));
}
