/** Choose a model: search, arrow keys, what is loaded, on disk, built in; why one cannot run; load and unload here. */

import { button, fill, h, setText, show, uid } from "../core/dom.js";
import { bytes } from "../core/format.js";
import { icon } from "../core/icons.js";
import { composing } from "../core/shortcuts.js";
import { t } from "../core/texts.js";

/** @typedef {import("../types.js").ModelInfo} ModelInfo */

const HEADROOM = 1.15; // a loaded model takes about this much of its file's size, and the context comes on top

/** @type {Record<string, number>} */
const STEPS = { ArrowDown: 1, ArrowUp: -1 };

export class ModelPicker {
  #context;
  #store;
  #at = 0;
  /** @type {ModelInfo[]} */
  #rows = [];
  /** @type {HTMLElement} */
  #list;
  #drawn = "";
  /** @type {{text: HTMLElement|null, bar: HTMLElement}|null} */
  #loading = null; // of the row that is being loaded
  /** @type {HTMLInputElement} */
  #input;
  /** @type {(() => void)|null} */
  #off = null;
  /** @type {HTMLElement} */
  folder;
  /** @type {HTMLElement} */
  now;

  /** @param {import("../chat_app.js").ChatApp} context */
  constructor(context) {
    this.#context = context;
    this.#store = context.store;
  }

  /** Open below `anchor`. @param {HTMLElement} anchor */
  open(anchor) {
    const list = uid("models");
    this.#list = h("div", { class: "eh-models", role: "listbox", id: list, "aria-label": t("models.title") });
    this.#input = h("input", {
      type: "search", class: "eh-input", placeholder: t("models.search"), role: "combobox", "aria-label": t("models.search"),
      "aria-controls": list, "aria-expanded": "true", "aria-autocomplete": "list", autocomplete: "off",
    });
    this.#input.addEventListener("input", () => { this.#at = 0; this.#draw(); });
    this.#input.addEventListener("keydown", (event) => this.#key(event));
    this.folder = h("span", { class: "eh-muted eh-path" });
    const rescan = button({ icon: icon("retry"), label: t("models.rescan"), onClick: () => this.#context.run(() => this.#context.rescan()) });
    this.now = h("div", { class: "eh-row eh-picker-now" }); // beside the list: a button inside an option can't be reached
    const card = h("div", { class: "eh-picker" }, h("div", { class: "eh-search" }, icon("search"), this.#input), this.now, this.#list,
      h("div", { class: "eh-row eh-picker-foot" }, icon("folder"), this.folder, rescan));
    this.#at = 0;
    this.#drawn = "";
    this.#context.popup.show(anchor, card, { label: t("models.title") });
    if (!this.#context.popup.open) return;
    this.#off?.();
    this.#off = this.#store.on(["models", "model", "modelsFolder"], () => (card.isConnected ? this.#draw() : this.#off?.()));
    this.#context.run(() => this.#context.rescan());
  }

  /** @returns {[string, ModelInfo[]][]} */
  #found() {
    const words = this.#input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = this.#store.get("model");
    const current = (/** @type {ModelInfo} */ model) => model.name === status.model && ["ready", "busy", "starting"].includes(status.state);
    const match = (/** @type {ModelInfo} */ model) => words.every((word) => `${model.name} ${model.quant} ${model.arch}`.toLowerCase().includes(word));
    const models = this.#store.get("models").filter(match);
    /** @type {[string, ModelInfo[]][]} */
    const groups = [
      [t("models.loaded"), models.filter(current)],
      [t("models.on_disk"), models.filter((model) => !current(model) && !model.builtin)],
      [t("models.builtin"), models.filter((model) => !current(model) && model.builtin)],
    ];
    return groups.filter(([, group]) => group.length);
  }

  #draw() {
    const groups = this.#found();
    const status = this.#store.get("model");
    const key = JSON.stringify([groups, status.model, status.state, status.error, this.#store.get("modelsFolder"), this.#input.value]);
    if (key === this.#drawn) return this.#progress(status); // the rows stay: a button may be under a finger just now
    this.#drawn = key;
    this.#loading = null;
    this.#rows = groups.flatMap(([, models]) => models);
    this.#at = Math.max(0, Math.min(this.#at, this.#rows.length - 1));
    const nodes = [];
    for (const [name, models] of groups) {
      nodes.push(h("div", { role: "group", "aria-label": name },
        h("h3", { class: "eh-day", role: "presentation", text: name }), models.map((model) => this.#row(model))));
    }
    this.#drawNow(status);
    fill(this.#list, nodes.length ? nodes : h("p", { class: "eh-muted eh-none", text: this.#input.value ? t("models.no_match") : t("models.none") }));
    this.folder.textContent = this.#store.get("modelsFolder");
    this.folder.title = this.folder.textContent;
    this.#mark();
    return this.#progress(status);
  }

  /** @param {import("../types.js").ModelStatus} status */
  #progress({ progress, stage }) {
    if (!this.#loading) return;
    if (this.#loading.text) setText(this.#loading.text, t("models.loading", { percent: Math.round((progress ?? 0) * 100), stage: stage ?? "" }).trim());
    this.#loading.bar.style.transform = `scaleX(${progress ?? 0})`;
  }

  /** @param {import("../types.js").ModelInfo} model */
  #row(model) {
    const status = this.#store.get("model");
    const own = model.name === status.model;
    const loading = own && status.state === "starting";
    const row = h("div", { class: "eh-model-row", role: "option", id: uid("model"), "aria-disabled": model.runnable ? null : "true", "aria-selected": "false" },
      h("div", { class: "eh-model-text" }, h("bdi", { class: "eh-model-name", text: model.name }), h("small", { class: "eh-muted", text: facts(model) }), this.#remark(model, own ? status : null)));
    row.addEventListener("click", () => this.#choose(model));
    if (loading) {
      const bar = h("i");
      row.append(h("span", { class: "eh-load-bar", "aria-hidden": "true" }, bar));
      this.#loading = { text: /** @type {HTMLElement|null} */ (row.querySelector(".eh-model-loading")), bar };
    }
    return row;
  }

  /** What can be done with the model that is loaded or loading: it ends. @param {import("../types.js").ModelStatus} status */
  #drawNow({ model, state }) {
    const loading = state === "starting";
    const there = loading || ["ready", "busy"].includes(state);
    show(this.now, there);
    fill(this.now, there && [
      h("bdi", { class: "eh-grow eh-model-name", text: model }),
      button({ icon: icon(loading ? "stop" : "power"), text: loading ? t("model.cancel") : t("model.unload"), label: loading ? t("model.cancel") : t("model.unload"), class: "eh-btn eh-outline", onClick: () => this.#context.run(() => this.#context.unload()) })]);
  }

  /** @param {import("../types.js").ModelInfo} model @param {import("../types.js").ModelStatus|null} status */
  #remark(model, status) {
    if (!model.runnable) return h("small", { class: "eh-bad", text: model.reason });
    if (status?.state === "starting") return h("small", { class: "eh-model-loading" });
    if (["failed", "crashed"].includes(status?.state ?? "")) return h("small", { class: "eh-bad", text: status?.error?.message ?? t("models.failed_before") });
    const free = this.#store.get("memory")?.available ?? 0;
    const loaded = ["ready", "busy"].includes(status?.state ?? "");
    if (!loaded && free && model.size * HEADROOM > free) return h("small", { class: "eh-warn", text: t("models.too_big", { needed: bytes(model.size * HEADROOM), free: bytes(free) }) });
    return null;
  }

  /** @param {import("../types.js").ModelInfo} model */
  #choose(model) {
    if (!model.runnable) return;
    const status = this.#store.get("model");
    const there = model.name === status.model && ["ready", "busy", "starting"].includes(status.state);
    if (!there) this.#context.run(() => this.#context.load(model.name));
    if (there) this.#context.popup.close();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (composing(event)) return;
    const step = STEPS[event.key];
    if (step) {
      this.#at = (this.#at + step + this.#rows.length) % Math.max(1, this.#rows.length);
      this.#mark();
    } else if (event.key === "Enter" && this.#rows[this.#at]) {
      const model = this.#rows[this.#at];
      this.#choose(model);
      if (model.runnable) this.#context.popup.close();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  #mark() {
    const rows = [...this.#list.querySelectorAll(".eh-model-row")];
    rows.forEach((row, at) => row.setAttribute("aria-selected", String(at === this.#at)));
    const row = rows[this.#at];
    if (row) this.#input.setAttribute("aria-activedescendant", row.id);
    else this.#input.removeAttribute("aria-activedescendant");
    row?.scrollIntoView({ block: "nearest" });
  }
}

/** "Q4_1 · 98 MB · 2,048 context · 135M parameters" @param {import("../types.js").ModelInfo} model */
function facts(model) {
  if (model.builtin) return t("models.echo");
  const size = model.parameters && model.parameters >= 1e9 ? `${(model.parameters / 1e9).toFixed(1)}B` : model.parameters ? `${Math.round(model.parameters / 1e6)}M` : "";
  return [model.quant, size && t("models.parameters", { size }), model.size && bytes(model.size), model.context_length && t("models.context", { tokens: model.context_length })].filter(Boolean).join(" · ");
}
