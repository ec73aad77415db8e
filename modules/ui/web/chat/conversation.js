/** The open chat: every change to it goes through here. Nothing is overwritten; a stale page branches. */

import { ApiError } from "../core/api.js";
import { ChangeQueue } from "./change_queue.js";
import { ChatTree } from "./chat_tree.js";
import { describe } from "./message_counts.js";
import { finish, ReplyStreams } from "./reply_streams.js";
import { t } from "../core/texts.js";

const RELOAD_DELAY = 60; // ms; several events of one change become one reload
/** @typedef {import("../types.js").Message} Message */

const SENDING = "sending"; // state of a message shown before the server has it

export class Conversation {
  #api;
  #store;
  #toasts;
  #announce;
  #settle;
  #streams;
  #changes;
  /** @type {string|null} */
  tailed = null; // the reply to the message sent last: it gets room below so that the question stands high
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  #opening = 0;

  /** @param {{api: import("../core/api.js").Api, store: import("../core/store.js").Store<import("../types.js").ChatState>, toasts: import("../panels/toasts.js").Toasts, announce: (text: string) => void, settle: () => Promise<unknown>|null}} parts  settle saves what counts for a reply */
  constructor({ api, store, toasts, announce, settle }) {
    this.#settle = settle;
    this.#api = api;
    this.#store = store;
    this.#toasts = toasts;
    this.#announce = announce;
    this.#streams = new ReplyStreams(api, {
      ended: (chat, id, event, live) => this.#ended(chat, id, event, live),
      lost: (chat) => { if (this.tree?.id === chat) this.reload().catch((error) => toasts.error(error)); },
    });
    this.#changes = new ChangeQueue({ toasts, current: (tree) => this.#current(tree), reload: (tree) => this.#fetch(tree) });
  }

  get tree() {
    return this.#store.get("chat");
  }

  /** What is arriving for this message just now, or undefined. @param {string} id */
  live(id) {
    return this.#streams.live(id);
  }

  /** The reply being written on the branch that is shown, or undefined. */
  get running() {
    return this.tree?.path().findLast((node) => node.state === "running");
  }

  // ── opening and reloading ────────────────────────────────────────────────────────────────────

  /**
   * Show a chat; null = an empty new one.
   * @returns {Promise<"shown"|"gone"|"failed"|"passed">}  passed: another chat was chosen before the answer came
   * @param {string|null} id
   */
  async open(id) {
    const turn = (this.#opening += 1);
    if (id === null) {
      this.#leave();
      this.#store.set({ chat: null, editing: null });
      return "shown";
    }
    try {
      const chat = new ChatTree(await this.#api.chat(id));
      if (turn !== this.#opening) return "passed";
      const same = this.tree?.id === id;
      if (!same) this.#leave();
      const editing = same && chat.get(this.#store.get("editing")) ? this.#store.get("editing") : null; // an open editor stays
      if (same) chat.inherit(this.tree, editing);
      this.#store.set({ chat, editing });
      this.#follow();
      return "shown";
    } catch (error) {
      if (turn !== this.#opening) return "passed";
      const gone = error instanceof ApiError && error.status === 404;
      if (!gone) this.#toasts.error(error);
      return gone ? "gone" : "failed";
    }
  }

  #leave() {
    this.#streams.close();
  }

  /** Fetch the open chat again and keep what only this page knows: the branch shown, what is being sent. */
  async reload() {
    const old = this.tree;
    if (!old?.id) return;
    const fresh = new ChatTree(await this.#api.chat(old.id)).inherit(old, this.#store.get("editing"));
    if (this.tree?.id !== old.id) return;
    for (const node of this.tree.nodes.values()) {
      if (node.state === SENDING && (node.parent === null || fresh.get(node.parent))) {
        fresh.put(node);
        fresh.leaf = node.id;
      }
    }
    this.#store.set({ chat: fresh });
    this.#streams.retry();
    this.#follow();
  }

  /** The server says this chat changed. Our own changes are known already and cost nothing. @param {{id: string, rev: number}} event */
  onEvent(event) {
    if (event.id !== this.tree?.id) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#changes.busy) this.onEvent(event);
      else if (event.id === this.tree?.id && event.rev > this.tree.rev) this.reload().catch((error) => this.#toasts.error(error));
    }, RELOAD_DELAY);
  }

  // ── changing: each belongs to the chat it began in, whatever is shown when the answer comes ──────

  /** Send a message and follow the reply. Throws when it did not reach the server; the caller keeps the text. @param {string} text */
  async send(text) {
    const settled = this.#settle();
    const tree = this.tree ?? this.#fresh();
    const parent = tree.leaf;
    /** @type {Message} */
    const draft = { id: `sending-${Date.now()}`, parent, role: "user", text, state: SENDING, created: new Date().toISOString() };
    tree.put(draft);
    this.#look(tree, draft.id);
    try {
      await this.#exists(tree);
      await settled;
      const answer = await this.#changes.run(tree, (rev) => this.#api.send(this.#id(tree), { parent, text, rev, role: "user", reply: true }), parent);
      this.#current(tree).remove(draft.id);
      this.tailed = answer.reply?.id ?? null;
      this.#took(tree, answer);
    } catch (error) {
      this.#current(tree).remove(draft.id);
      this.#bump();
      throw error;
    }
  }

  /** The id of a chat that the server knows by now. @param {ChatTree} tree */
  #id(tree) {
    if (tree.id === null) throw new Error("This chat is not on the server yet.");
    return tree.id;
  }

  /** The open chat, for what can only be asked for while one is open. */
  get #open() {
    const { tree } = this;
    if (tree === null) throw new Error("No chat is open.");
    return tree;
  }

  /** The tree that stands for this chat now: a reload makes another one. A chat not shown any more keeps its own. @param {import("./chat_tree.js").ChatTree} tree */
  #current(tree) {
    return tree.id !== null && this.tree?.id === tree.id ? this.tree : tree;
  }

  /** A chat that is only on this page so far. */
  #fresh() {
    const tree = new ChatTree({ id: null, messages: [] });
    this.#store.set({ chat: tree });
    return tree;
  }

  /** Have the server know the chat; two that ask at once make one chat. @param {import("./chat_tree.js").ChatTree} tree */
  async #exists(tree) {
    if (tree.id) return;
    tree.creating ??= this.#api.createChat();
    try {
      const chat = await tree.creating;
      if (!tree.id) Object.assign(tree, { id: chat.id, rev: chat.rev, title: chat.title ?? "", created: chat.created });
    } finally {
      tree.creating = null;
    }
    this.#bump();
  }

  /** A new version of a message. reply: also ask for an answer to it. @param {string} id @param {string} text @param {boolean} reply */
  async edit(id, text, reply) {
    const tree = this.#open;
    const settled = reply && this.#settle();
    const made = async () => { await settled; return this.#changes.run(tree, (rev) => this.#api.edit(this.#id(tree), id, { text, rev, reply }), id); };
    this.#took(tree, await this.#changes.once(`edit ${id}`, made));
    if (this.#store.get("editing") === id) this.#store.set({ editing: null });
  }

  /**
   * A new version of a reply, or the first reply to one of one's own messages.
   * @param {{model?: string, preset?: string, smaller?: boolean, larger?: boolean}} by  with another model or preset, this once, or with less
   *   memory or a larger context
   * @param {string} id
   */
  async regenerate(id, by = {}) {
    const tree = this.#open;
    const settled = this.#settle();
    const made = async () => { await settled; return this.#changes.run(tree, (rev) => this.#api.regenerate(this.#id(tree), id, { rev, ...by }), id); };
    this.#took(tree, await this.#changes.once(`regenerate ${id}`, made));
  }

  /** A version that starts with the present text and goes on from there. @param {string} id */
  async continueReply(id) {
    const tree = this.#open;
    const settled = this.#settle();
    const made = async () => { await settled; return this.#changes.run(tree, (rev) => this.#api.continueReply(this.#id(tree), id, rev), id); };
    this.#took(tree, await this.#changes.once(`continue ${id}`, made));
  }

  /** Delete a message with everything below it; the toast takes it back. @param {string} id */
  async remove(id) {
    const tree = this.#open;
    const gone = tree.subtree(id).flatMap((key) => tree.get(key) ?? []);
    for (const node of gone) if (node.state === "running") await this.#api.stop(this.#id(tree), node.id);
    await this.#changes.run(tree, (rev) => this.#api.deleteMessage(this.#id(tree), id, rev), id);
    const now = this.#current(tree);
    now.remove(id);
    this.#look(now, now.leaf);
    this.#toasts.show({
      message: t("message.deleted", { what: describe(gone) }),
      action: t("action.undo"),
      onAction: () => this.#undelete(this.#id(tree), id),
    });
  }

  /** Without a revision: nothing can be overwritten by what comes back. @param {string} chat @param {string} id */
  async #undelete(chat, id) {
    await this.#api.undelete(chat, id, null);
    if (this.tree?.id !== chat) return;
    await this.reload();
    if (this.tree?.get(id)) this.show(this.tree.leafUnder(id) ?? id);
  }

  /** Set a chat's own system message; without a chat, that of a new one. @returns {Promise<string>} the chat's id @param {string} system */
  async setSystem(system, chat = this.tree) {
    const tree = chat ?? this.tree ?? this.#fresh();
    await this.#exists(tree);
    await this.#changes.run(tree, (rev) => this.#api.patchChat(this.#id(tree), { system, rev }));
    this.#current(tree).system = system;
    return this.#id(tree);
  }

  /** The chat as the server has it now; the one that is shown keeps what only this page knows. @param {import("./chat_tree.js").ChatTree} tree */
  async #fetch(tree) {
    if (this.#current(tree) !== this.tree) return new ChatTree(await this.#api.chat(this.#id(tree)));
    await this.reload();
    return this.#current(tree);
  }

  /** @param {ChatTree} asked @param {import("../types.js").ChatChange} change */
  #took(asked, { message, reply, rev }) {
    const tree = this.#current(asked);
    if (message) tree.put(message);
    if (reply) tree.put(reply);
    tree.rev = Math.max(tree.rev, rev ?? 0);
    this.#look(tree, (reply ?? message)?.id ?? tree.leaf);
    if (tree === this.tree) this.#follow();
  }

  // ── looking ──────────────────────────────────────────────────────────────────────────────────

  /** @param {import("./chat_tree.js").ChatTree} tree @param {string|null} leaf */
  #look(tree, leaf) {
    tree.show(leaf);
    tree.serverLeaf = leaf;
    this.#bump();
  }

  #bump() {
    this.#store.set({ tick: this.#store.get("tick") + 1 });
  }

  /** Show the branch that ends at `leaf`, and have the server remember it. @param {string} leaf */
  show(leaf) {
    const tree = this.#open;
    this.#look(tree, leaf);
    this.#api.select(this.#id(tree), leaf).then(
      ({ rev }) => { tree.rev = Math.max(tree.rev, rev ?? 0); },
      (error) => console.warn("The branch shown could not be remembered", error),
    );
  }

  /** The previous (-1) or next (+1) version of a message, undefined at the ends. @param {string} id @param {number} step */
  version(id, step) {
    const versions = this.#open.siblings(id);
    return versions[versions.indexOf(id) + step];
  }

  /** Go to the previous (-1) or next (+1) version of a message. False at the ends. @param {string} id @param {number} step */
  turn(id, step) {
    const target = this.version(id, step);
    if (target === undefined) return false;
    this.show(this.#open.leafUnder(target) ?? target);
    const versions = this.#open.siblings(target);
    this.#announce(t("message.version_spoken", { at: versions.indexOf(target) + 1, total: versions.length }));
    return true;
  }

  // ── replies ──────────────────────────────────────────────────────────────────────────────────

  /** Stop the reply shown; with none running, a model being loaded. */
  async stop() {
    const node = this.running;
    if (!node) {
      if (this.#store.get("model").state === "starting") await this.#api.unload();
      return;
    }
    const live = this.#streams.live(node.id);
    if (live) {
      live.stopping = true;
      live.tell("progress");
    }
    try {
      await this.#api.stop(this.#id(this.#open), node.id);
    } catch (error) {
      if (live) live.stopping = false; // it goes on being written; the button may be pressed again
      throw error;
    }
  }

  #follow() {
    const { tree } = this;
    if (tree === null || tree.id === null) return;
    this.#streams.follow(tree.id, tree.nodes.values());
    this.#bump();
  }

  /** @param {string} chat @param {string} id @param {import("../types.js").ReplyEvent} event @param {import("./live_reply.js").LiveReply} live */
  #ended(chat, id, event, live) {
    const tree = this.tree?.id === chat ? this.tree : null;
    const node = tree?.get(id);
    if (!tree || !node) return;
    const { done, failed } = event;
    finish(node, live, event);
    tree.rev = Math.max(tree.rev, (done ?? failed)?.rev ?? 0);
    live.tell("end");
    this.#bump();
    this.#announce(failed ? t("chat.failed_spoken", { reason: failed.message }) : done?.reason === "cancelled" ? t("chat.stopped_spoken") : t("chat.finished_spoken"));
  }

  close() {
    clearTimeout(this.#timer);
    this.#leave();
  }
}
