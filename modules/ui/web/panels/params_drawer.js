/** Sampling parameters beside the chat: what the present loader honours, grouped; presets; the chat's own system prompt. */

import { button, fill, h, show } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { ParamControl } from "./param_control.js";
import { SystemPrompt } from "./system_prompt.js";
import { t } from "../core/texts.js";

export class ParamsDrawer {
  #context;
  /** @type {Map<string, ParamControl>} */
  #controls = new Map();
  #list = h("div", { class: "eh-params-list" });
  /** @type {string|null} */
  #loader = null;
  #loaded = false;

  /** @param {import("../chat_app.js").ChatApp} context */
  constructor(context) {
    this.#context = context;
    const close = button({ icon: icon("close"), label: t("params.close"), onClick: () => context.toggle("params", false) });
    this.preset = h("select", { class: "eh-input", "aria-label": t("params.preset") });
    this.preset.addEventListener("change", () => context.run(() => this.#loadPreset()));
    this.modified = h("small", { class: "eh-muted", text: t("params.modified"), hidden: true });
    this.system = new SystemPrompt(context);
    const reset = button({ text: t("params.defaults"), label: t("params.defaults"), class: "eh-btn eh-outline", onClick: () => context.run(() => this.#reset()) });
    this.node = h("aside", { class: "eh-params", "aria-label": t("params.title") },
      h("header", { class: "eh-drawer-head" }, h("h2", { text: t("params.title") }), close),
      h("div", { class: "eh-params-scroll" },
        h("section", {}, h("h3", { class: "eh-day", text: t("params.system") }), this.system.node),
        h("section", {}, h("h3", { class: "eh-day", text: t("params.preset") }), h("div", { class: "eh-row" }, this.preset, reset), this.modified), this.#list));
    context.store.on(["params"], () => { if (context.store.get("params") && !this.#loaded) context.run(() => this.load()); });
    context.store.on(["model"], () => this.#follow(context.store.get("model").loader));
  }

  /** Fetch the table and the values. */
  async load() {
    const { api } = this.#context;
    const [{ params, values, supported, preset, modified }, { presets }] = await Promise.all([api.params(), api.presets()]);
    this.#loaded = true; // not before: a table that could not be fetched is asked for again
    const honoured = new Set(supported);
    this.flush();
    this.#controls.clear();
    /** @type {Map<string, Node[]>} */
    const groups = new Map();
    for (const row of params) {
      if (!honoured.has(row.name)) continue;
      const control = new ParamControl(row, values[row.name], (changes) => this.#save(changes));
      this.#controls.set(row.name, control);
      groups.set(row.group, [...(groups.get(row.group) ?? []), control.node]);
    }
    fill(this.#list, [...groups].map(([name, nodes], at) => h("details", { open: at < 3 }, h("summary", { class: "eh-day" }, name, icon("caret")), nodes)));
    fill(this.preset, h("option", { value: "", text: t("params.no_preset") }), presets.map(({ name, shipped }) => h("option", { value: name, text: shipped ? t("params.builtin", { name }) : name })));
    this.#showPreset(preset, modified);
  }

  /** Save what was changed last and is not on its way yet. @returns {Promise<unknown>|null} null = nothing was */
  flush() {
    const waiting = [...[...this.#controls.values()].map((control) => control.flush()), this.system.flush()].filter(Boolean);
    return waiting.length ? Promise.all(waiting) : null;
  }

  /** The server was away: values may have changed meanwhile. */
  async again() {
    if (this.#loaded) await this.load();
  }

  /** @param {Record<string, import("../types.js").ParamValue>} changes */
  async #save(changes) {
    const answer = await this.#context.api.setParams(changes);
    this.#showPreset(answer.preset ?? this.preset.value, answer.modified ?? true);
  }

  /** @param {string|null} preset @param {boolean} modified */
  #showPreset(preset, modified) {
    this.preset.value = preset ?? "";
    show(this.modified, Boolean(preset && modified));
  }

  /** What was changed a moment before is saved first, else it would come after. */
  async #reset() {
    await this.flush();
    await this.#context.api.resetParams();
    await this.load();
  }

  async #loadPreset() {
    const name = this.preset.value;
    await this.flush();
    if (!name) return void (await this.load()); // "no preset" is what it says, not something to choose
    await this.#context.api.loadPreset(name);
    await this.load();
  }

  /** Values changed, here or elsewhere. @param {{values?: Record<string, import("../types.js").ParamValue>} & import("../types.js").PresetState} event */
  onEvent({ values, preset, modified }) {
    for (const [name, value] of Object.entries(values ?? {})) this.#controls.get(name)?.show(value);
    if (this.#loaded) this.#showPreset(preset, modified);
  }

  /** @param {string} loader */
  #follow(loader) {
    if (loader === this.#loader) return;
    this.#loader = loader;
    if (this.#loaded) this.#context.run(() => this.load());
  }
}
