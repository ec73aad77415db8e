/** Editing a message in its place. Saving makes a new version; leaving with changes asks first. */

import { describeError } from "../core/api.js";
import { button, h } from "../core/dom.js";
import { composing } from "../core/shortcuts.js";
import { touch } from "../core/viewport.js";
import { t } from "../core/texts.js";

export class Editor {
  #original;
  #armed = false;
  #keepDraft;

  /**
   * @param {{node: import("../types.js").Message, drafts: import("./drafts.js").Drafts, save: (text: string, reply: boolean) => Promise<void>,
   *   leave: () => void}} options
   */
  constructor({ node, drafts, save, leave }) {
    this.#original = node.text;
    this.#keepDraft = (/** @type {string|null} */ text) => drafts.setEdit(node.id, text);
    this.save = save;
    this.leave = () => {
      this.#keepDraft(null);
      leave();
    };
    this.own = node.role === "user";
    this.keep = button({ text: t("action.save"), label: t("action.save"), class: this.own ? "eh-btn eh-outline" : "eh-btn eh-solid", onClick: () => this.#submit(false) });
    this.go = button({ text: t("edit.save_send"), label: t("edit.save_send"), class: "eh-btn eh-solid", onClick: () => this.#submit(true) });
    this.area = h("textarea", { class: "eh-input eh-edit", dir: "auto", "aria-label": this.own ? t("edit.own") : t("edit.reply"), rows: 1 });
    this.area.value = drafts.edit(node.id) ?? node.text;
    this.hint = h("span", { class: "eh-muted", role: "status" });
    this.notice = h("p", { class: "eh-muted eh-edit-notice", role: "status", hidden: true, text: t("edit.changed_elsewhere") });
    this.node = h("div", { class: "eh-editor" }, this.area, this.notice, h("div", { class: "eh-row" }, this.hint, this.#buttons()));
    this.area.addEventListener("input", () => this.#input());
    this.area.addEventListener("keydown", (event) => this.#key(event));
  }

  #buttons() {
    const cancel = button({ text: t("action.cancel"), label: t("action.cancel"), class: "eh-btn", onClick: () => this.leave() });
    return this.own ? [cancel, this.keep, this.go] : [cancel, this.keep];
  }

  /** The message got another version in another tab: what is typed here stays, and saving it makes a version more. */
  changedElsewhere() {
    this.notice.hidden = false;
    this.#input(false); // the tab that saved has removed the draft, which both share
  }

  focus() {
    this.#fit();
    this.area.focus({ preventScroll: true });
    this.area.setSelectionRange(this.area.value.length, this.area.value.length);
  }

  /** Leave; with unsaved changes only when asked twice. */
  escape() {
    if (this.area.value === this.#original || this.#armed) return this.leave();
    this.#armed = true;
    this.hint.textContent = t("edit.discard");
    return undefined;
  }

  #input(typed = true) {
    if (typed) {
      this.#armed = false;
      this.hint.textContent = "";
    }
    this.#keepDraft(this.area.value === this.#original ? null : this.area.value);
    this.#fit();
  }

  #fit() {
    this.area.style.height = "auto";
    this.area.style.height = `${Math.min(this.area.scrollHeight + 2, innerHeight * 0.6)}px`;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key !== "Enter" || composing(event)) return;
    if (event.ctrlKey || event.metaKey || (this.own && !event.shiftKey && !touch())) {
      event.preventDefault();
      event.stopPropagation();
      this.#submit(this.own);
    }
  }

  /** @param {boolean} reply */
  async #submit(reply) {
    const text = this.area.value;
    if (!text.trim() || this.keep.disabled) return;
    if (text === this.#original && !reply) return void this.leave(); // nothing was changed: no further version
    this.keep.disabled = this.go.disabled = true;
    try {
      await this.save(text, reply);
      this.#keepDraft(null);
    } catch (error) {
      this.hint.textContent = describeError(error);
    } finally {
      this.keep.disabled = this.go.disabled = false;
    }
  }
}
