/** The row below a message: its versions, what can be done with it, and its figures. */

import { button, h, setText, show } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { copyText, tick } from "../markdown/code_block.js";
import { describe } from "./message_counts.js";
import { openRegenerateMenu } from "./regenerate_menu.js";
import { liveLine, statsCard, statsLine } from "./stats.js";
import { t } from "../core/texts.js";

const RESUMABLE = new Set(["stopped", "interrupted", "failed"]);

export class MessageFooter {
  #context;
  /** @type {import("../types.js").Message} */
  #node;
  /** @type {import("../types.js").Place} */
  #place;
  #versions = h("div", { class: "eh-versions", role: "group" });
  #count = h("span", {});
  #by = h("bdi", { class: "eh-by", hidden: true });
  /** @type {HTMLButtonElement|null} */
  #continue = null;
  #stats;

  /** @param {import("../chat_app.js").ChatApp} context @param {string} role */
  constructor(context, role) {
    this.#context = context;
    const turn = (/** @type {number} */ step, /** @type {string} */ label, /** @type {string} */ name) => button({ icon: icon(name), label, onClick: () => context.conversation.turn(this.#node.id, step) });
    this.back = turn(-1, t("message.previous"), "left");
    this.forth = turn(1, t("message.next"), "right");
    this.#versions.append(this.back, this.#count, this.forth, this.#by);
    this.#stats = h("button", { type: "button", class: "eh-stats", "aria-haspopup": "dialog", "aria-expanded": "false", on: { click: () => this.#figures() } });
    this.actions = h("div", { class: "eh-actions" }, role === "assistant" ? this.#replyActions() : this.#ownActions());
    this.node = h("div", { class: "eh-foot" }, this.#versions, this.actions, role === "assistant" && this.#stats);
  }

  #copyButton() {
    const made = button({ icon: icon("copy"), label: t("message.copy"), onClick: () => this.#context.run(async () => {
      await copyText(this.#node.text);
      tick(made, "copy");
    }) });
    return made;
  }

  #editButton() {
    return button({ icon: icon("edit"), label: t("action.edit"), onClick: () => this.#context.edit(this.#node.id) });
  }

  #moreButton() {
    const more = button({ icon: icon("more"), label: t("action.more"), "aria-haspopup": "menu", "aria-expanded": "false", onClick: () => this.#menu(more) });
    return more;
  }

  #ownActions() {
    return [this.#copyButton(), this.#editButton(), this.#moreButton()];
  }

  #replyActions() {
    const { conversation, run } = this.#context;
    const again = button({ icon: icon("retry"), label: t("message.regenerate"), onClick: () => run(() => conversation.regenerate(this.#node.id)) });
    const ways = button({
      icon: icon("caret"), label: t("message.regenerate_options"), class: "eh-btn eh-ways", "aria-haspopup": "menu", "aria-expanded": "false",
      onClick: () => openRegenerateMenu(this.#context, ways, this.#node),
    });
    this.#continue = button({ icon: icon("play"), text: t("action.continue"), label: t("action.continue"), "aria-label": t("action.continue"), title: t("action.continue"), class: "eh-btn eh-continue", onClick: () => run(() => conversation.continueReply(this.#node.id)) });
    return [this.#copyButton(), this.#editButton(), again, ways, this.#continue, this.#moreButton()];
  }

  /** @param {HTMLElement} anchor */
  #menu(anchor) {
    const { conversation, popup, run } = this.#context;
    const node = this.#node;
    const { tree } = conversation;
    const gone = tree?.subtree(node.id).flatMap((id) => tree.get(id) ?? []) ?? [];
    popup.menu(anchor, [
      { icon: icon("branch"), label: t("message.branch"), disabled: this.#place.last, run: () => conversation.show(node.id) },
      node.role === "user" && { icon: icon("retry"), label: t("message.another"), run: () => run(() => conversation.regenerate(node.id)) },
      node.role === "assistant" && { icon: icon("info"), label: t("message.details"), disabled: !node.stats, run: () => this.#figures(anchor) },
      null,
      { icon: icon("trash"), label: t("message.delete", { what: describe(gone) }), danger: true, run: () => run(() => conversation.remove(node.id)) },
    ], t("action.more"));
  }

  #figures(anchor = /** @type {HTMLElement} */ (this.#stats)) {
    this.#context.popup.show(anchor, statsCard(this.#node), { label: t("message.details_label") });
  }

  /** @param {import("../types.js").Place} place @param {import("../types.js").Message} node @param {import("./live_reply.js").LiveReply|null} live */
  update(node, place, live) {
    this.#node = node;
    this.#place = place;
    const at = place.versions.indexOf(node.id);
    const many = place.versions.length > 1;
    show(this.#versions, many);
    if (many) {
      const label = t("message.version", { at: at + 1, total: place.versions.length });
      this.#versions.setAttribute("aria-label", label);
      setText(this.#count, `${at + 1}/${place.versions.length}`);
      this.back.disabled = at <= 0;
      this.forth.disabled = at >= place.versions.length - 1;
      this.#author(node, place.versions);
    }
    show(this.actions, !live && node.state !== "sending");
    if (this.#continue) {
      show(this.#continue, Boolean(node.text) && (place.last || RESUMABLE.has(node.state)));
      this.#continue.classList.toggle("eh-labelled", node.finish_reason === "length" || node.state === "stopped");
    }
    this.figures(node, live);
  }

  /** Which model wrote this version, where they are not all by the same one. @param {import("../types.js").Message} node @param {string[]} versions */
  #author(node, versions) {
    const { tree } = this.#context.conversation;
    const models = new Set(versions.map((id) => tree?.get(id)?.model).filter(Boolean)); // an edit has none
    show(this.#by, node.role === "assistant" && models.size > 1 && Boolean(node.model));
    setText(this.#by, node.model ?? "");
  }

  /** The figures alone; called while text arrives. @param {import("../types.js").Message} node @param {import("./live_reply.js").LiveReply|null} live */
  figures(node, live) {
    const line = live ? (live.tokens ? liveLine(live) : "") : this.#ended(node);
    setText(this.#stats, line);
    this.#stats.disabled = Boolean(live);
    show(this.#stats, line !== "");
  }

  /** @param {import("../types.js").Message} node */
  #ended(node) {
    const end = RESUMABLE.has(node.state) ? t(`message.end.${node.state}`) : node.finish_reason === "length" ? t("message.end.length") : "";
    return [statsLine(node), end].filter(Boolean).join(" · ");
  }
}
