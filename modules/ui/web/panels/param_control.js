/** One sampling parameter as a control that saves itself, from its row of the server's table. */

import { button, h, setText, show, uid } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { t } from "../core/texts.js";

/** @typedef {import("../types.js").ParamValue} ParamValue */
/** @typedef {HTMLInputElement|HTMLSelectElement|HTMLTextAreaElement} Control */

const SETTLE = 250; // ms without a further change until a value is saved

export class ParamControl {
  /** @type {ReturnType<typeof setTimeout>|0} */
  #timer = 0;
  #saving = false;
  /** @type {Promise<unknown>|null} */
  #storing = null;

  /**
   * @param {import("../types.js").Param} row  of /api/params
   * @param {ParamValue} value
   * @param {(changes: Record<string, ParamValue>) => Promise<unknown>} save
   */
  constructor(row, value, save) {
    this.row = row;
    this.save = save;
    this.id = uid("param");
    this.problem = h("small", { class: "eh-bad", role: "status", hidden: true });
    this.reset = button({ icon: icon("retry"), label: t("params.reset", { name: row.label }), class: "eh-btn eh-reset", onClick: () => this.#toNeutral() });
    this.inputs = this.#inputs();
    this.node = h("div", { class: `eh-param eh-param-${row.kind}`, title: row.help },
      h("label", { for: this.id, text: row.label }), this.reset, h("div", { class: "eh-param-inputs" }, this.inputs), this.problem);
    this.show(value);
  }

  /** @returns {Control[]} */
  #inputs() {
    const { kind, low, high, step, choices, label } = this.row;
    const change = () => this.#changed();
    if (kind === "bool") return [h("input", { type: "checkbox", id: this.id, on: { change } })];
    if (kind === "choice") return [h("select", { id: this.id, class: "eh-input", on: { change } }, choices.map((name) => h("option", { value: name, text: name })))];
    if (kind === "float" || kind === "int") {
      const number = h("input", { type: "number", id: this.id, class: "eh-input", step: kind === "int" ? 1 : "any", on: { input: change } });
      if (high - low > 10_000) return [number];
      const slider = h("input", { type: "range", min: low, max: high, step, "aria-label": t("params.slider", { name: label }) });
      slider.addEventListener("input", () => { number.value = slider.value; change(); });
      number.addEventListener("input", () => { slider.value = number.value; });
      return [slider, number];
    }
    return [h("textarea", { id: this.id, class: "eh-input", rows: kind === "list" ? 3 : 2, spellcheck: "false", on: { input: change } })];
  }

  /** Put a value in, unless the person is at it. @param {import("../types.js").ParamValue} value */
  show(value) {
    this.value = value;
    show(this.reset, JSON.stringify(value) !== JSON.stringify(this.row.default));
    if (this.#saving || this.inputs.some((input) => input === document.activeElement)) return;
    this.#write(value);
  }

  /** @param {import("../types.js").ParamValue} value */
  #write(value) {
    const { kind } = this.row;
    for (const input of this.inputs) {
      if (kind === "bool" && input instanceof HTMLInputElement) input.checked = Boolean(value);
      else if (kind === "map") input.value = JSON.stringify(value);
      else if (Array.isArray(value)) input.value = value.map((item) => JSON.stringify(item)).join(", ");
      else input.value = String(value);
    }
  }

  #toNeutral() {
    this.#write(this.row.default);
    this.#changed();
  }

  #read() {
    const input = this.inputs[this.inputs.length - 1];
    switch (this.row.kind) {
      case "bool": return input instanceof HTMLInputElement && input.checked;
      case "float": case "int": return input.value.trim() === "" ? NaN : Number(input.value);
      case "list": return JSON.parse(`[${input.value}]`);
      case "map": return JSON.parse(input.value || "{}");
      default: return input.value;
    }
  }

  #changed() {
    clearTimeout(this.#timer);
    this.#saving = true;
    this.#timer = setTimeout(() => this.flush(), SETTLE);
  }

  /**
   * Save now what waits for a further change: the page goes away, or a message is being sent.
   * @returns {Promise<unknown>|null} what is on its way, null = nothing is
   */
  flush() {
    if (!this.#timer) return this.#storing;
    clearTimeout(this.#timer);
    this.#timer = 0;
    /** @type {Promise<unknown>} */
    const storing = Promise.all([this.#storing, this.#store()]).finally(() => { if (this.#storing === storing) this.#storing = null; });
    this.#storing = storing;
    return storing;
  }

  async #store() {
    let said = "";
    try {
      const value = this.#read();
      if (Number.isNaN(value)) throw new Error(t("params.number"));
      await this.save({ [this.row.name]: value });
      this.value = value;
      show(this.reset, JSON.stringify(value) !== JSON.stringify(this.row.default));
    } catch (error) {
      said = error instanceof SyntaxError ? t(`params.how.${this.row.kind}`) : error instanceof Error ? error.message : String(error);
    }
    this.#saving = this.#timer !== 0; // changed again meanwhile
    setText(this.problem, said);
    show(this.problem, said !== "");
  }
}
