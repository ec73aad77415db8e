/** One message on the page. Knows how to draw itself at rest, while it is written, and while it is edited. */

import { h, setText, show, uid } from "../core/dom.js";
import { MarkdownView } from "../markdown/markdown_view.js";
import { Editor } from "./editor.js";
import { errorCard, interruptedCard, noticeList } from "./error_card.js";
import { MessageFooter } from "./message_footer.js";
import { editFor, largerFor, offerFor } from "./fallback_offer.js";
import { SmoothStream } from "./smooth_stream.js";
import { ProgressView } from "./progress.js";
import { ReasoningView } from "./reasoning.js";
import { t } from "../core/texts.js";

export class MessageView {
  #context;
  #body = h("div", { class: "eh-body", dir: "auto" });
  /** @type {HTMLElement|null} */
  #plain = null; // the text node of a message not yet drawn as Markdown
  /** @type {MarkdownView|null} */
  #markdown = null;
  /** @type {MessageFooter|null} */
  #foot = null;
  /** @type {ReasoningView|null} */
  #reasoning = null;
  /** @type {ProgressView|null} */
  #progress = null;
  #notes = h("div", { class: "eh-notes" });
  #noted = "";
  /** @type {Editor|null} */
  #editor = null;
  #versions = Infinity; // how many this message had when it was drawn last
  /** @type {import("./live_reply.js").LiveReply|null} */
  #live = null;
  /** @type {(() => unknown)|null} */
  #unlisten = null;
  /** @type {SmoothStream|null} */
  #pace = null;
  /** @type {import("../types.js").Place} */
  #place;
  #fresh = false; // failed while on the page: worth an alert

  /** @param {import("../chat_app.js").ChatApp} context  what message parts share: conversation, popup, tools, run, edit … @param {import("../types.js").Message} node */
  constructor(context, node) {
    this.#context = context;
    this.node = node;
    this.id = node.id;
    const name = uid("message");
    this.heading = h("h2", { class: "eh-sr", id: name });
    this.article = h("article", { class: "eh-msg", "data-role": node.role, tabindex: -1, "aria-labelledby": name }, this.heading, this.#body, this.#notes);
  }

  /** Drawn in full, actions included. */
  get complete() {
    return this.#foot !== null && (this.#markdown !== null || this.node.role === "user");
  }

  /** Draw what changed. @param {import("../types.js").Place} place @param {import("../types.js").Message} node */
  update(node, place) {
    this.node = node;
    this.id = node.id;
    this.#place = place;
    this.article.dataset.id = node.id;
    this.article.classList.toggle("eh-last", place.last);
    this.article.classList.toggle("eh-dropped", place.dropped);
    setText(this.heading, node.role === "user" ? t("message.you") : node.model ? t("message.reply_from", { model: node.model }) : t("message.reply"));
    this.#follow(this.#context.conversation.live(node.id));
    if (!this.#live) this.#rest();
    this.#notesNow();
    this.#editing(this.#context.store.get("editing") === node.id);
    if (this.#editor && place.versions.length > this.#versions) this.#editor.changedElsewhere();
    this.#versions = place.versions.length;
    if (this.#foot || place.last) this.#feet();
  }

  /** Turn plain text into Markdown and add the row of actions; done in idle time for old messages. */
  finish() {
    if (this.node.role !== "user" && !this.#markdown) this.#draw(this.node.text, this.node.state !== "running");
    this.#feet();
  }

  /** The button of this name, or where that is off, the arrow that is left. @param {string} label */
  control(label) {
    const named = [.../** @type {NodeListOf<HTMLButtonElement>} */ (this.article.querySelectorAll(".eh-foot button"))].find((one) => one.getAttribute("aria-label") === label && one.offsetParent);
    if (named && !named.disabled) return named;
    return named && [this.#foot?.back, this.#foot?.forth].find((one) => one && !one.disabled && one.offsetParent);
  }

  #feet() {
    const foot = this.#foot ?? new MessageFooter(this.#context, this.node.role);
    if (!this.#foot) this.article.append(foot.node);
    this.#foot = foot;
    foot.update(this.node, this.#place, this.#live);
  }

  #rest() {
    const { node } = this;
    if (node.role === "user" || (!this.#markdown && !this.#place.last)) this.#plainText(node.text);
    else this.#draw(node.text, node.state !== "running");
    if (node.reasoning) this.#thought().done(node);
    this.#progressRow(false);
    this.article.removeAttribute("aria-busy");
  }

  /** @param {string} text */
  #plainText(text) {
    const plain = this.#plain ?? h("div", { class: "eh-plain" });
    if (!this.#plain) this.#body.replaceChildren(plain);
    this.#plain = plain;
    setText(plain, text);
  }

  /** @param {string} text @param {boolean} finished */
  #draw(text, finished) {
    if (!this.#markdown) {
      this.#plain = null;
      const host = h("div", { class: "eh-md" });
      this.#body.replaceChildren(host);
      this.#markdown = new MarkdownView(host, this.#context.tools);
    }
    this.#markdown.update(text, finished);
  }

  // ── while it is written ──────────────────────────────────────────────────────────────────────

  /** @param {import("./live_reply.js").LiveReply|undefined} live */
  #follow(live) {
    if (live === this.#live) return;
    this.#unlisten?.();
    this.#pace?.stop();
    this.#unlisten = this.#pace = null;
    this.#live = live ?? null;
    if (!live) return;
    this.article.setAttribute("aria-busy", "true");
    this.#pace = new SmoothStream((text) => this.#reveal(text));
    this.#unlisten = live.listen((kind) => this.#onEvent(kind));
    for (const kind of /** @type {const} */ (["progress", "reasoning", "text"])) this.#onEvent(kind);
  }

  /** @param {import("./live_reply.js").ReplyPart} kind */
  #onEvent(kind) {
    const live = this.#live;
    if (!live) return;
    if (kind === "end") {
      this.#fresh = true;
      return;
    }
    if (kind === "text" && live.text) this.#pace?.push(live.text);
    if (kind === "reasoning" || (kind === "text" && live.reasoning)) {
      if (live.reasoning) this.#thought().live(live);
    }
    if (kind === "notice") this.#notesNow();
    this.#progressRow(!live.text && !live.reasoning);
    if (kind === "ledger") this.#context.ledger();
    this.#foot?.figures(this.node, live);
  }

  /** @param {string} text */
  #reveal(text) {
    this.#draw(text, false);
  }

  /** @param {boolean} visible */
  #progressRow(visible) {
    if (visible && !this.#progress) {
      this.#progress = new ProgressView();
      this.#body.before(this.#progress.node);
    }
    if (!this.#progress) return;
    show(this.#progress.node, visible);
    if (visible && this.#live) this.#progress.update(this.#live, this.node.model || this.#context.store.get("model").model);
  }

  #thought() {
    const view = this.#reasoning ?? new ReasoningView();
    if (!this.#reasoning) this.#body.before(view.node);
    this.#reasoning = view;
    return view;
  }

  // ── notices and failures ─────────────────────────────────────────────────────────────────────

  /** The model is in another state: a failed reply may have something else to offer. */
  modelChanged() {
    if (!this.#live && this.node.state === "failed") this.#notesNow();
  }

  #notesNow() {
    const { node } = this;
    const notices = this.#live?.notices ?? node.notices ?? [];
    const state = this.#live ? "running" : node.state;
    const offer = state === "failed" ? offerFor(node, this.#context.store.get("model")) : null;
    const larger = state === "failed" ? largerFor(node, this.#context.store.get("model")) : null;
    const said = `${state}${notices.length}${node.error?.message ?? ""}`;
    const key = said + JSON.stringify([offer, larger]);
    if (key === this.#noted) return;
    const news = offer !== null || !this.#noted.startsWith(said); // an offer that has gone is nothing to be read out
    const pressed = this.#notes.contains(document.activeElement) ? document.activeElement?.textContent ?? null : null;
    this.#noted = key;
    const { conversation, run, reloadModel, showLog, edit } = this.#context;
    const actions = {
      retry: () => run(() => conversation.regenerate(node.id)),
      smaller: () => run(() => conversation.regenerate(node.id, { smaller: true })),
      larger: () => run(() => conversation.regenerate(node.id, { larger: true })),
      edit: () => edit(editFor(node) ?? node.id),
      continueReply: () => run(() => conversation.continueReply(node.id)),
      reload: () => run(() => reloadModel(node.model)),
      log: () => run(showLog),
    };
    this.#notes.replaceChildren();
    if (notices.length) this.#notes.append(noticeList(notices));
    if (state === "failed") this.#notes.append(errorCard(node, actions, this.#fresh && news, offer, larger));
    if (state === "interrupted") this.#notes.append(interruptedCard(node, actions));
    if (pressed !== null) /** @type {HTMLElement} */ ([...this.#notes.querySelectorAll("button")].find((one) => one.textContent === pressed) ?? this.article).focus({ preventScroll: true });
  }

  // ── editing ──────────────────────────────────────────────────────────────────────────────────

  get editor() {
    return this.#editor;
  }

  /** @param {boolean} wanted */
  #editing(wanted) {
    if (wanted === (this.#editor !== null)) return;
    this.article.classList.toggle("eh-editing", wanted);
    if (!wanted) {
      this.#editor?.node.remove();
      this.#editor = null;
      return;
    }
    const { conversation, drafts, store } = this.#context;
    const editor = new Editor({
      node: this.node,
      drafts,
      save: (text, reply) => conversation.edit(this.node.id, text, reply),
      leave: () => {
        store.set({ editing: null });
        this.article.focus({ preventScroll: true });
      },
    });
    this.#editor = editor;
    this.#body.before(editor.node);
    editor.focus();
  }

  close() {
    this.#unlisten?.();
    this.#pace?.stop();
    this.article.remove();
  }
}
