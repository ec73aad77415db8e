/** Short messages at the edge: something finished, or a setting failed. Three at most; they wait while looked at. */

import { button, h } from "../core/dom.js";
import { icon } from "../core/icons.js";

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
    while (this.node.children.length >= MOST) this.node.firstElementChild.remove();
    const close = button({ icon: icon("close"), label: "Dismiss", onClick: () => toast.remove() });
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

  /** Say what went wrong in the error's own words. */
  error(error) {
    if (error.name === "AbortError") return;
    if (!error.code) console.error(error);
    this.show({ message: error.message, hint: error.hint, level: "error" });
  }

  async #run(work) {
    try {
      await work();
    } catch (error) {
      this.error(error);
    }
  }

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
