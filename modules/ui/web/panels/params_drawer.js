/** Sampling parameters beside the chat: what the present loader honours, grouped; presets; the chat's own system prompt. */

import { button, fill, h, show } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { ParamControl } from "./param_control.js";

const SETTLE = 600;

export class ParamsDrawer {
  #context;
  #controls = new Map();
  #list = h("div", { class: "eh-params-list" });
  #loader = null;
  #loaded = false;
  #timer = 0;

  constructor(context) {
    this.#context = context;
    const close = button({ icon: icon("close"), label: "Close parameters", onClick: () => context.toggle("params", false) });
    this.preset = h("select", { class: "eh-input", "aria-label": "Preset" });
    this.preset.addEventListener("change", () => context.run(() => this.#loadPreset()));
    this.modified = h("small", { class: "eh-muted", text: "changed since", hidden: true });
    this.system = h("textarea", { class: "eh-input", rows: 4, dir: "auto", placeholder: "None: the model answers as it was trained.", "aria-label": "System prompt of this chat" });
    this.system.addEventListener("input", () => this.#systemSoon());
    this.system.addEventListener("blur", () => this.#saveSystem());
    const reset = button({ text: "Reset all", label: "Reset all", class: "eh-btn eh-outline", onClick: () => context.run(async () => { await context.api.resetParams(); await this.load(); }) });
    this.node = h("aside", { class: "eh-params", "aria-label": "Parameters" },
      h("header", { class: "eh-drawer-head" }, h("h2", { text: "Parameters" }), close),
      h("div", { class: "eh-params-scroll" },
        h("section", {}, h("h3", { class: "eh-day", text: "System prompt of this chat" }), this.system),
        h("section", {}, h("h3", { class: "eh-day", text: "Preset" }), h("div", { class: "eh-row" }, this.preset, reset), this.modified), this.#list));
    context.store.on(["params"], () => { if (context.store.get("params") && !this.#loaded) context.run(() => this.load()); });
    context.store.on(["model"], () => this.#follow(context.store.get("model").loader));
    context.store.on(["chat", "tick"], () => this.#showSystem());
  }

  /** Fetch the table and the values. */
  async load() {
    this.#loaded = true;
    const { api } = this.#context;
    const [{ params, values, supported, preset, modified }, { presets }] = await Promise.all([api.params(), api.presets()]);
    const honoured = new Set(supported);
    this.#controls.clear();
    const groups = new Map();
    for (const row of params) {
      if (!honoured.has(row.name)) continue;
      const control = new ParamControl(row, values[row.name], (changes) => this.#save(changes));
      this.#controls.set(row.name, control);
      if (!groups.has(row.group)) groups.set(row.group, []);
      groups.get(row.group).push(control.node);
    }
    fill(this.#list, [...groups].map(([name, nodes], at) => h("details", { open: at < 3 }, h("summary", { class: "eh-day" }, name, icon("caret")), nodes)));
    fill(this.preset, h("option", { value: "", text: "no preset" }), presets.map(({ name, shipped }) => h("option", { value: name, text: shipped ? name : `${name} (own)` })));
    this.#showPreset(preset, modified);
  }

  async #save(changes) {
    const answer = await this.#context.api.setParams(changes);
    this.#showPreset(answer.preset ?? this.preset.value, answer.modified ?? true);
  }

  #showPreset(preset, modified) {
    this.preset.value = preset ?? "";
    show(this.modified, Boolean(preset && modified));
  }

  async #loadPreset() {
    if (!this.preset.value) return;
    await this.#context.api.loadPreset(this.preset.value);
    await this.load();
  }

  /** Values changed, here or elsewhere. */
  heard({ values, preset, modified }) {
    for (const [name, value] of Object.entries(values ?? {})) this.#controls.get(name)?.show(value);
    if (this.#loaded) this.#showPreset(preset, modified);
  }

  #follow(loader) {
    if (loader === this.#loader) return;
    this.#loader = loader;
    if (this.#loaded) this.#context.run(() => this.load());
  }

  // ── the chat's system prompt ─────────────────────────────────────────────────────────────────

  #showSystem() {
    if (document.activeElement === this.system) return;
    this.system.value = this.#context.store.get("chat")?.system ?? "";
  }

  #systemSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#saveSystem(), SETTLE);
  }

  #saveSystem() {
    clearTimeout(this.#timer);
    const known = this.#context.store.get("chat")?.system ?? "";
    const text = this.system.value;
    if (text !== known) this.#context.run(() => this.#context.conversation.setSystem(text));
  }
}
