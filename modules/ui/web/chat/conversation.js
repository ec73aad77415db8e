/** The open chat: every change to it goes through here. Nothing is overwritten; a stale page branches. */

import { plural } from "../core/format.js";
import { ChangeQueue } from "./change_queue.js";
import { ChatTree } from "./chat_tree.js";
import { ReplyStream } from "./reply_stream.js";
import { LiveReply } from "./live_reply.js";

const RELOAD_DELAY = 60; // ms; several events of one change become one reload
const SENDING = "sending"; // state of a message shown before the server has it

export class Conversation {
  #api;
  #store;
  #toasts;
  #announce;
  #settle;
  #streams = new Map();
  #live = new Map();
  #changes;
  tailed = null; // the reply to the message sent last: it gets room below so that the question stands high
  #timer = 0;
  #opening = 0;

  /** @param {{api, store, toasts, announce: (text: string) => void, settle: () => Promise|null}} parts  settle saves what counts for a reply */
  constructor({ api, store, toasts, announce, settle }) {
    this.#settle = settle;
    this.#api = api;
    this.#store = store;
    this.#toasts = toasts;
    this.#announce = announce;
    this.#changes = new ChangeQueue({ toasts, current: (tree) => this.#current(tree), reload: (tree) => this.#fetch(tree) });
  }

  get tree() {
    return this.#store.get("chat");
  }

  /** What is arriving for this message just now, or undefined. */
  live(id) {
    return this.#live.get(id);
  }

  /** The reply being written on the branch that is shown, or undefined. */
  get running() {
    return this.tree?.path().findLast((node) => node.state === "running");
  }

  // ── opening and reloading ────────────────────────────────────────────────────────────────────

  /**
   * Show a chat; null = an empty new one.
   * @returns {Promise<"shown"|"gone"|"failed"|"passed">}  passed: another chat was chosen before the answer came
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
      if (error.status !== 404) this.#toasts.error(error);
      return error.status === 404 ? "gone" : "failed";
    }
  }

  #leave() {
    for (const stream of this.#streams.values()) stream.close();
    this.#streams.clear();
    this.#live.clear();
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
    for (const stream of this.#streams.values()) stream.retry();
    this.#follow();
  }

  /** The server says this chat changed. Our own changes are known already and cost nothing. */
  onEvent(event) {
    if (event.id !== this.tree?.id) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#changes.busy) this.onEvent(event);
      else if (event.id === this.tree?.id && event.rev > this.tree.rev) this.reload().catch((error) => this.#toasts.error(error));
    }, RELOAD_DELAY);
  }

  // ── changing: each belongs to the chat it began in, whatever is shown when the answer comes ──────

  /** Send a message and follow the reply. Throws when it did not reach the server; the caller keeps the text. */
  async send(text) {
    const settled = this.#settle();
    const tree = this.tree ?? this.#fresh();
    const parent = tree.leaf;
    const draft = { id: `sending-${Date.now()}`, parent, role: "user", text, state: SENDING, created: new Date().toISOString() };
    tree.put(draft);
    this.#look(tree, draft.id);
    try {
      await this.#exists(tree);
      await settled;
      const answer = await this.#changes.run(tree, (rev) => this.#api.send(tree.id, { parent, text, rev, role: "user", reply: true }), parent);
      this.#current(tree).remove(draft.id);
      this.tailed = answer.reply?.id ?? null;
      this.#took(tree, answer);
    } catch (error) {
      this.#current(tree).remove(draft.id);
      this.#bump();
      throw error;
    }
  }

  /** The tree that stands for this chat now: a reload makes another one. A chat not shown any more keeps its own. */
  #current(tree) {
    return tree.id !== null && this.tree?.id === tree.id ? this.tree : tree;
  }

  /** A chat that is only on this page so far. */
  #fresh() {
    const tree = new ChatTree({ id: null, messages: [] });
    this.#store.set({ chat: tree });
    return tree;
  }

  /** Have the server know the chat; two that ask at once make one chat. */
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

  /** A new version of a message. reply: also ask for an answer to it. */
  async edit(id, text, reply) {
    const { tree } = this;
    const settled = reply && this.#settle();
    const made = async () => { await settled; return this.#changes.run(tree, (rev) => this.#api.edit(tree.id, id, { text, rev, reply }), id); };
    this.#took(tree, await this.#changes.once(`edit ${id}`, made));
    if (this.#store.get("editing") === id) this.#store.set({ editing: null });
  }

  /**
   * A new version of a reply, or the first reply to one of one's own messages.
   * @param {{model?: string, preset?: string, smaller?: boolean, larger?: boolean}} by  with another model or preset, this once, or with less
   *   memory or a larger context
   */
  async regenerate(id, by = {}) {
    const { tree } = this;
    const settled = this.#settle();
    const made = async () => { await settled; return this.#changes.run(tree, (rev) => this.#api.regenerate(tree.id, id, { rev, ...by }), id); };
    this.#took(tree, await this.#changes.once(`regenerate ${id}`, made));
  }

  /** A version that starts with the present text and goes on from there. */
  async continueReply(id) {
    const { tree } = this;
    const settled = this.#settle();
    const made = async () => { await settled; return this.#changes.run(tree, (rev) => this.#api.continueReply(tree.id, id, rev), id); };
    this.#took(tree, await this.#changes.once(`continue ${id}`, made));
  }

  /** Delete a message with everything below it; the toast takes it back. */
  async remove(id) {
    const { tree } = this;
    const gone = tree.subtree(id).map((key) => tree.get(key));
    for (const node of gone) if (node.state === "running") await this.#api.stop(tree.id, node.id);
    await this.#changes.run(tree, (rev) => this.#api.deleteMessage(tree.id, id, rev), id);
    const now = this.#current(tree);
    now.remove(id);
    this.#look(now, now.leaf);
    this.#toasts.show({
      message: `Deleted ${describe(gone)}.`,
      action: "Undo",
      onAction: () => this.#undelete(tree.id, id),
    });
  }

  /** Without a revision: nothing can be overwritten by what comes back. */
  async #undelete(chat, id) {
    await this.#api.undelete(chat, id, null);
    if (this.tree?.id !== chat) return;
    await this.reload();
    if (this.tree?.get(id)) this.show(this.tree.leafUnder(id));
  }

  /** Set a chat's own system message; without a chat, that of a new one. @returns {Promise<string>} the chat's id */
  async setSystem(system, chat = this.tree) {
    const tree = chat ?? this.tree ?? this.#fresh();
    await this.#exists(tree);
    await this.#changes.run(tree, (rev) => this.#api.patchChat(tree.id, { system, rev }));
    this.#current(tree).system = system;
    return tree.id;
  }

  /** The chat as the server has it now; the one that is shown keeps what only this page knows. */
  async #fetch(tree) {
    if (this.#current(tree) !== this.tree) return new ChatTree(await this.#api.chat(tree.id));
    await this.reload();
    return this.#current(tree);
  }

  #took(asked, { message, reply, rev }) {
    const tree = this.#current(asked);
    if (message) tree.put(message);
    if (reply) tree.put(reply);
    tree.rev = Math.max(tree.rev, rev ?? 0);
    this.#look(tree, (reply ?? message).id);
    if (tree === this.tree) this.#follow();
  }

  // ── looking ──────────────────────────────────────────────────────────────────────────────────

  #look(tree, leaf) {
    tree.show(leaf);
    tree.serverLeaf = leaf;
    this.#bump();
  }

  #bump() {
    this.#store.set({ tick: this.#store.get("tick") + 1 });
  }

  /** Show the branch that ends at `leaf`, and have the server remember it. */
  show(leaf) {
    const tree = this.tree;
    this.#look(tree, leaf);
    this.#api.select(tree.id, leaf).then(
      ({ rev }) => { tree.rev = Math.max(tree.rev, rev ?? 0); },
      (error) => console.warn("The branch shown could not be remembered", error),
    );
  }

  /** The previous (-1) or next (+1) version of a message, undefined at the ends. */
  version(id, step) {
    const versions = this.tree.siblings(id);
    return versions[versions.indexOf(id) + step];
  }

  /** Go to the previous (-1) or next (+1) version of a message. False at the ends. */
  turn(id, step) {
    const target = this.version(id, step);
    if (target === undefined) return false;
    this.show(this.tree.leafUnder(target));
    const versions = this.tree.siblings(target);
    this.#announce(`Version ${versions.indexOf(target) + 1} of ${versions.length}.`);
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
    const live = this.#live.get(node.id);
    if (live) {
      live.stopping = true;
      live.tell("progress");
    }
    try {
      await this.#api.stop(this.tree.id, node.id);
    } catch (error) {
      if (live) live.stopping = false; // it goes on being written; the button may be pressed again
      throw error;
    }
  }

  #follow() {
    const tree = this.tree;
    for (const node of tree.nodes.values()) {
      if (node.state !== "running" || this.#streams.has(node.id)) continue;
      const live = new LiveReply();
      const stream = new ReplyStream({
        api: this.#api, chat: tree.id, id: node.id, live,
        on: { end: (event) => this.#ended(tree.id, node.id, event), lost: () => this.#lost(tree.id, node.id) },
      });
      this.#live.set(node.id, live);
      this.#streams.set(node.id, stream);
      stream.run();
    }
    this.#bump();
  }

  #ended(chat, id, event) {
    const live = this.#live.get(id);
    this.#live.delete(id);
    this.#streams.delete(id);
    const node = this.tree?.id === chat ? this.tree.get(id) : undefined;
    if (!node || !live) return;
    const { rev, ...rest } = event.done ?? event.failed;
    Object.assign(node, { text: live.text, reasoning: live.reasoning, notices: live.notices, ledger: live.ledger ?? node.ledger });
    if (live.thoughtFor) node.thought_ms = live.thoughtFor;
    if (event.done) Object.assign(node, { state: rest.reason === "cancelled" ? "stopped" : "done", stats: rest.stats, finish_reason: rest.reason });
    else if (rest.code === "interrupted") node.state = "interrupted";
    else Object.assign(node, { state: "failed", error: rest });
    this.tree.rev = Math.max(this.tree.rev, rev ?? 0);
    live.tell("end");
    this.#bump();
    this.#announce(event.failed ? `The reply failed. ${rest.message}` : rest.reason === "cancelled" ? "Stopped." : "Reply finished.");
  }

  #lost(chat, id) {
    this.#live.delete(id);
    this.#streams.delete(id);
    if (this.tree?.id === chat) this.reload().catch((error) => this.#toasts.error(error));
  }

  close() {
    clearTimeout(this.#timer);
    this.#leave();
  }
}

/** "5 messages (2 yours, 3 replies)" */
export function describe(nodes) {
  const replies = nodes.filter((node) => node.role === "assistant").length;
  if (nodes.length === 1) return replies ? "the reply" : "your message";
  return `${plural(nodes.length, "message")} (${nodes.length - replies} yours, ${plural(replies, "reply", "replies")})`;
}
