/** Short messages at the edge: something finished, or a setting failed. Three at most; they wait while looked at. */

import { ApiError } from "../core/api.js";
import { button, h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { t } from "../core/texts.js";

const STAY = 6000;
const STAY_WITH_ACTION = 12_000;
const MOST = 3;

export class Toasts {
  constructor() {
    this.node = h("div", { class: "eh-toasts", role: "status", "aria-live": "polite" });
  }

  /**
   * @param {{message: string, hint?: string, level?: "info"|"warning"|"error", action?: string, onAction?: () => unknown}} toast
   */
  show({ message, hint = "", level = "info", action, onAction }) {
    while (this.node.children.length >= MOST) this.node.firstElementChild?.remove();
    const close = button({ icon: icon("close"), label: t("action.dismiss"), onClick: () => toast.remove() });
    const act = action && button({
      text: action, label: action, class: "eh-btn eh-toast-action",
      onClick: () => { toast.remove(); this.#run(onAction); },
    });
    const toast = h("div", { class: `eh-toast eh-${level}` }, level !== "info" && icon("alert"),
      h("div", { class: "eh-toast-text" }, h("p", { text: message }), hint && h("p", { class: "eh-muted", text: hint })), act, close);
    this.node.append(toast);
    this.#expire(toast, action ? STAY_WITH_ACTION : STAY);
    return toast;
  }

  /** Say what went wrong in the error's own words. @param {unknown} error */
  error(error) {
    if (error instanceof Error && error.name === "AbortError") return;
    if (!(error instanceof ApiError)) console.error(error);
    const hint = error instanceof ApiError ? error.hint : "";
    this.show({ message: error instanceof Error ? error.message : String(error), hint, level: "error" });
  }

  /** @param {(() => unknown)|undefined} work */
  async #run(work) {
    try {
      await work?.();
    } catch (error) {
      this.error(error);
    }
  }

  /** @param {HTMLElement} toast @param {number} stay  ms */
  #expire(toast, stay) {
    let timer = setTimeout(() => toast.remove(), stay);
    const hold = () => clearTimeout(timer);
    const go = () => { hold(); timer = setTimeout(() => toast.remove(), stay); };
    toast.addEventListener("pointerenter", hold);
    toast.addEventListener("focusin", hold);
    toast.addEventListener("pointerleave", go);
    toast.addEventListener("focusout", go);
  }
}
