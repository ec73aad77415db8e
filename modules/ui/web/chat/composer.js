/** Where messages are written. Send becomes Stop while a reply is written or a model loads; nothing typed is lost. */

import { describeError } from "../core/api.js";
import { h, setText, show } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { composing } from "../core/shortcuts.js";
import { touch } from "../core/viewport.js";
import { ContextMeter } from "./context_meter.js";
import { t } from "../core/texts.js";

const BLANK_LINES = /^(?:[^\S\n]*\n)+/; // in front of the text; the indentation of its first line is part of it

/** @typedef {import("./chat_tree.js").ChatTree} ChatTree */

export class Composer {
  #context;
  #store;
  #drafts;
  /** @type {string|null|undefined} */
  #chat = undefined; // undefined until the first one is shown
  /** @type {ChatTree|null} */
  #tree = null;
  #sending = false;
  #reason = "";

  /** @param {import("../chat_app.js").ChatApp} context */
  constructor(context) {
    this.#context = context;
    this.#store = context.store;
    this.#drafts = context.drafts;
    this.area = h("textarea", { class: "eh-write", rows: 1, dir: "auto", placeholder: t("composer.placeholder"), "aria-label": t("composer.label"), enterkeyhint: touch() ? "enter" : "send", autocomplete: "off" });
    this.send = h("button", { type: "button", class: "eh-btn eh-send", "aria-label": t("composer.send") }, icon("send"));
    this.stop = h("button", { type: "button", class: "eh-btn eh-send eh-stop", "aria-label": t("action.stop"), title: t("composer.stop_key"), hidden: true }, icon("stop"));
    this.status = h("p", { class: "eh-composer-status", role: "status", hidden: true });
    this.meter = new ContextMeter(context);
    this.node = h("div", { class: "eh-composer" }, this.status,
      h("div", { class: "eh-composer-box" }, this.area,
        h("div", { class: "eh-composer-row" }, this.meter.node, h("span", { class: "eh-grow" }), this.send, this.stop)));
    this.#wire();
  }

  #wire() {
    this.area.addEventListener("input", () => this.#changed());
    this.area.addEventListener("keydown", (event) => this.#key(event));
    this.send.addEventListener("click", () => this.submit());
    this.stop.addEventListener("click", () => this.#context.stop());
    this.node.querySelector(".eh-composer-box")?.addEventListener("pointerdown", (event) => {
      if (event.target instanceof Element && event.target.closest("button,textarea")) return;
      event.preventDefault();
      this.focus();
    });
    addEventListener("storage", () => this.#restore()); // the same chat's draft was changed in another tab
    this.#store.on(["chat", "tick"], () => this.#switch());
    this.#store.on(["chat", "tick", "model", "connected"], () => this.update());
  }

  get text() {
    return this.area.value;
  }

  get empty() {
    return this.area.value === "";
  }

  focus() {
    this.area.focus({ preventScroll: true });
  }

  /** Put text in, as if typed. @param {string} text */
  put(text) {
    this.area.value = text;
    this.#changed();
    this.focus();
  }

  #switch() {
    const tree = this.#store.get("chat");
    const chat = tree?.id ?? null;
    const born = chat !== null && this.#chat === null && tree === this.#tree; // the new chat just got its id
    this.#tree = tree;
    if (chat === this.#chat) return;
    this.#chat = chat;
    if (born) {
      this.#drafts.set(chat, this.#drafts.get(null)); // the text moves with it
      this.#drafts.set(null, null);
      return;
    }
    this.#say("");
    this.area.value = this.#kept(tree);
    this.fit();
    this.update();
    this.meter.draft(this.area.value);
  }

  /** The draft of a chat, with a message before it that was on its way when the page went away and did not arrive. @param {import("./chat_tree.js").ChatTree|null} tree */
  #kept(tree) {
    const chat = tree?.id ?? null;
    const draft = this.#drafts.get(chat);
    const lost = this.#sending ? null : this.#drafts.onItsWay(chat);
    if (lost === null) return draft;
    this.#drafts.setOnItsWay(chat, null);
    const arrived = [...(tree?.nodes.values() ?? [])].some((node) => node.role === "user" && node.text === lost);
    if (arrived) return draft;
    this.#drafts.set(chat, joined(lost, draft));
    return joined(lost, draft);
  }

  #restore() {
    if (document.activeElement === this.area && !document.hidden) return;
    const text = this.#drafts.get(this.#chat ?? null);
    if (text === this.area.value || this.#sending) return;
    this.area.value = text;
    this.fit();
  }

  #changed() {
    this.#drafts.set(this.#chat ?? null, this.area.value);
    this.#say("");
    this.fit();
    this.update();
    this.meter.draft(this.area.value);
  }

  /** As tall as the text, up to 40 % of the window. */
  fit() {
    if (!this.area.isConnected) return;
    this.area.style.height = "auto";
    const most = Math.round(innerHeight * 0.4);
    this.area.style.height = `${Math.min(this.area.scrollHeight, most)}px`;
    this.area.style.overflowY = this.area.scrollHeight > most ? "auto" : "hidden";
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key !== "Enter" || composing(event) || event.shiftKey || event.altKey || event.ctrlKey || event.metaKey) return;
    if (touch()) return;
    event.preventDefault();
    this.submit();
  }

  /** @param {""|"away"|"busy"} reason  a remark with a reason goes when the reason has gone @param {string} text */
  #say(text, reason = "") {
    this.#reason = reason;
    setText(this.status, text);
    show(this.status, text !== "");
  }

  /** Send what is written. On a failure it is back in the box of its chat, and stays in this browser's storage. */
  async submit() {
    const text = this.area.value.replace(BLANK_LINES, "").trimEnd();
    if (!text || this.#sending) return;
    if (!this.#store.get("connected")) {
      this.#say(t("composer.away"), "away");
      return;
    }
    if (this.#context.conversation.running) {
      this.#say(t("composer.busy"), "busy");
      return;
    }
    const from = this.#chat ?? null;
    this.#sending = true;
    this.area.value = "";
    this.#drafts.setOnItsWay(from, text);
    this.#drafts.set(from, null);
    this.fit();
    const sent = this.#context.sendText(text);
    const tree = this.#store.get("chat"); // the chat it belongs to, whatever is opened until the answer comes
    try {
      await sent;
    } catch (error) {
      this.#giveBack(tree, text, error);
    } finally {
      this.#drafts.setOnItsWay(from, null);
      this.#sending = false;
      this.meter.draft(this.area.value);
      this.update();
    }
  }

  /** @param {ChatTree|null} tree @param {string} text @param {unknown} error */
  #giveBack(tree, text, error) {
    const shown = this.#store.get("chat");
    if (tree && shown !== tree && (shown?.id ?? null) !== tree.id) {
      this.#drafts.set(tree.id, joined(text, this.#drafts.get(tree.id)));
      this.#context.toasts.error(error);
      return;
    }
    this.area.value = joined(text, this.area.value);
    this.#drafts.set(this.#chat ?? null, this.area.value);
    this.fit();
    this.#say(t("composer.not_sent", { reason: describeError(error) }));
  }

  update() {
    const { conversation } = this.#context;
    const model = this.#store.get("model");
    const loading = model.state === "starting" && !conversation.running;
    const busy = Boolean(conversation.running) || loading;
    if ((this.#reason === "away" && this.#store.get("connected")) || (this.#reason === "busy" && !busy)) this.#say("");
    const focused = document.activeElement === (busy ? this.send : this.stop);
    show(this.stop, busy);
    show(this.send, !busy);
    if (focused) (busy ? this.stop : this.send).focus();
    this.stop.title = loading ? t("composer.stop_loading") : t("composer.stop_key");
    this.send.disabled = !this.area.value.trim() || this.#sending;
    const percent = model.progress === null || model.progress === undefined ? "" : ` ${Math.round(model.progress * 100)}%`;
    this.area.placeholder = loading ? `${model.model ? t("progress.loading", { model: model.model }) : t("progress.loading_any")}${percent}` : model.model && !["failed", "crashed"].includes(model.state) ? t("composer.to", { model: model.model }) : t("composer.placeholder");
  }
}

/** @param {string} first @param {string} second */
function joined(first, second) {
  return [first, second].filter(Boolean).join("\n\n");
}
