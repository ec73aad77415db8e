/** A modal sheet on the browser's own <dialog>: focus is kept inside, Escape closes, the focus goes back. */

import { button, h, uid } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { t } from "../core/texts.js";

/**
 * Open a dialog.
 * @param {{root: Element, title: string, body: Node|Node[], actions?: Node[], wide?: boolean, onClose?: () => void}} parts
 * @returns {HTMLDialogElement}
 */
export function openDialog({ root, title, body, actions = [], wide = false, onClose }) {
  const name = uid("dialog");
  /** @type {HTMLDialogElement} */
  const dialog = h("dialog", { class: wide ? "eh-dialog eh-wide" : "eh-dialog", "aria-labelledby": name },
    h("header", {}, h("h2", { id: name, text: title }), button({ icon: icon("close"), label: t("action.close"), onClick: () => dialog.close() })),
    h("div", { class: "eh-dialog-body" }, body),
    actions.length > 0 && h("div", { class: "eh-dialog-foot" }, actions));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => { if (event.key === "Escape") event.stopPropagation(); });
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose?.();
  });
  root.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Ask before something that cannot be taken back.
 * @param {{root: Element, title: string, text: string, yes: string, danger?: boolean}} parts
 * @returns {Promise<boolean>}
 */
export function confirmDialog({ root, title, text, yes, danger = true }) {
  return new Promise((resolve) => {
    let answer = false;
    const agree = button({ text: yes, label: yes, class: danger ? "eh-btn eh-solid eh-danger" : "eh-btn eh-solid", onClick: () => { answer = true; dialog.close(); } });
    const cancel = button({ text: t("action.cancel"), label: t("action.cancel"), class: "eh-btn eh-outline", onClick: () => dialog.close() });
    const dialog = openDialog({ root, title, body: h("p", { text }), actions: [cancel, agree], onClose: () => resolve(answer) });
    cancel.focus();
  });
}

/**
 * Ask for one line of text.
 * @param {{root: Element, title: string, label: string, value: string, yes: string}} parts
 * @returns {Promise<string|null>}
 */
export function askDialog({ root, title, label, value, yes }) {
  return new Promise((resolve) => {
    /** @type {string|null} */
    let answer = null;
    const input = h("input", { type: "text", class: "eh-input", value, "aria-label": label, maxlength: 200, dir: "auto" });
    const form = h("form", { method: "dialog", on: { submit: () => { answer = input.value.trim(); } } }, input,
      h("div", { class: "eh-dialog-foot" }, button({ text: t("action.cancel"), label: t("action.cancel"), class: "eh-btn eh-outline", onClick: () => dialog.close() }),
        h("button", { type: "submit", class: "eh-btn eh-solid", text: yes })));
    const dialog = openDialog({ root, title, body: form, onClose: () => resolve(answer || null) });
    input.select();
  });
}
