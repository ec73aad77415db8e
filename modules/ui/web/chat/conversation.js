/** The open chat: every change to it goes through here. Nothing is overwritten; a stale page branches. */

import { ApiError } from "../core/api.js";
import { plural } from "../core/format.js";
import { ChatTree } from "./tree.js";
import { Follower } from "./follower.js";
import { LiveReply } from "./live_reply.js";

const RELOAD_DELAY = 60; // ms; several events of one change become one reload
const SENDING = "sending"; // state of a message shown before the server has it

export class Conversation {
  #api;
  #store;
  #toasts;
  #announce;
  #followers = new Map();
  #live = new Map();
  #busy = 0;
  tailed = null; // the reply to the message sent last: it gets room below so that the question stands high
  #queue = Promise.resolve();
  #timer = 0;
  #opening = 0;

  /** @param {{api, store, toasts, announce: (text: string) => void}} parts */
  constructor({ api, store, toasts, announce }) {
    this.#api = api;
    this.#store = store;
    this.#toasts = toasts;
    this.#announce = announce;
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

  /** Show a chat; null = an empty new one. False when there is no such chat. */
  async open(id) {
    const turn = (this.#opening += 1);
    if (id === null) {
      this.#leave();
      this.#store.set({ chat: null, editing: null });
      return true;
    }
    try {
      const chat = new ChatTree(await this.#api.chat(id));
      if (turn !== this.#opening) return true; // another chat was chosen meanwhile
      if (this.tree?.id !== id) this.#leave();
      this.#store.set({ chat, editing: null });
      this.#follow();
      return true;
    } catch (error) {
      if (error.status !== 404) this.#toasts.error(error);
      return error.status !== 404;
    }
  }

  #leave() {
    for (const follower of this.#followers.values()) follower.close();
    this.#followers.clear();
    this.#live.clear();
  }

  /** Fetch the open chat again and keep what only this page knows: the branch shown, what is being sent. */
  async reload() {
    const old = this.tree;
    if (!old?.id) return;
    const fresh = new ChatTree(await this.#api.chat(old.id)).inherit(old);
    if (this.tree?.id !== old.id) return;
    for (const node of this.tree.nodes.values()) {
      if (node.state === SENDING && (node.parent === null || fresh.get(node.parent))) {
        fresh.put(node);
        fresh.leaf = node.id;
      }
    }
    this.#store.set({ chat: fresh });
    for (const follower of this.#followers.values()) follower.retry();
    this.#follow();
  }

  /** The server says this chat changed. Our own changes are known already and cost nothing. */
  heard(event) {
    if (event.id !== this.tree?.id) return;
    if (event.kind === "deleted") {
      this.#toasts.show({ message: "This chat was deleted in another tab." });
      this.open(null);
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#busy > 0) this.heard(event);
      else if (event.id === this.tree?.id && event.rev > this.tree.rev) this.reload().catch((error) => this.#toasts.error(error));
    }, RELOAD_DELAY);
  }

  // ── changing ─────────────────────────────────────────────────────────────────────────────────

  /** Send a message and follow the reply. Throws when it did not reach the server; the caller keeps the text. */
  async send(text) {
    const tree = this.tree ?? this.#fresh();
    const parent = tree.leaf;
    const draft = { id: `sending-${Date.now()}`, parent, role: "user", text, state: SENDING, created: new Date().toISOString() };
    tree.put(draft);
    this.#look(tree, draft.id);
    try {
      await this.#exists(tree);
      const answer = await this.#change((rev) => this.#api.send(tree.id, { parent, text, rev, role: "user", reply: true }), parent);
      this.tree.remove(draft.id);
      this.tailed = answer.reply?.id ?? null;
      this.#took(answer);
    } catch (error) {
      this.tree?.remove(draft.id);
      this.#bump();
      throw error;
    }
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
    this.#took(await this.#change((rev) => this.#api.edit(this.tree.id, id, { text, rev, reply }), id));
    this.#store.set({ editing: null });
  }

  /** A new version of a reply, or the first reply to one of one's own messages. */
  async regenerate(id) {
    this.#took(await this.#change((rev) => this.#api.regenerate(this.tree.id, id, rev), id));
  }

  /** A version that starts with the present text and goes on from there. */
  async continueReply(id) {
    this.#took(await this.#change((rev) => this.#api.continueReply(this.tree.id, id, rev), id));
  }

  /** Delete a message with everything below it; the toast takes it back. */
  async remove(id) {
    const tree = this.tree;
    const gone = tree.subtree(id).map((key) => tree.get(key));
    for (const node of gone) if (node.state === "running") await this.#api.stop(tree.id, node.id);
    await this.#change((rev) => this.#api.deleteMessage(tree.id, id, rev), id);
    this.tree.remove(id);
    this.#look(this.tree, this.tree.leaf);
    this.#toasts.show({
      message: `Deleted ${describe(gone)}.`,
      action: "Undo",
      onAction: () => this.#undelete(tree.id, id),
    });
  }

  async #undelete(chat, id) {
    await this.#api.undelete(chat, id, this.tree?.id === chat ? this.tree.rev : null);
    if (this.tree?.id !== chat) return;
    await this.reload();
    if (this.tree.get(id)) this.show(this.tree.leafUnder(id));
  }

  /** Set this chat's own system message. */
  async setSystem(system) {
    await this.#exists(this.tree ?? this.#fresh());
    await this.#change((rev) => this.#api.patchChat(this.tree.id, { system, rev }));
    this.tree.system = system;
  }

  /** Run a change with the revision this page knows; one after the other, so that none is stale by our own doing. */
  #change(call, needed = null) {
    const result = this.#queue.then(() => this.#attempt(call, needed));
    this.#queue = result.catch(() => null); // whoever asked for the change is told; the next one goes on
    return result;
  }

  /** When the revision is stale, reload and try once more: the change becomes a branch. */
  async #attempt(call, needed) {
    this.#busy += 1;
    try {
      const answer = await call(this.tree.rev).catch(async (error) => {
        if (error.status !== 409) throw error;
        await this.reload();
        if (needed && !this.tree.get(needed)) {
          throw new ApiError({ message: "The message this belongs to was deleted in another tab.", hint: "What you typed is kept.", code: "conflict" });
        }
        const second = await call(this.tree.rev);
        this.#toasts.show({ message: "This chat had changed in another tab. Both versions are kept: ‹ › switches between them." });
        return second;
      });
      this.tree.rev = Math.max(this.tree.rev, answer.rev ?? 0);
      return answer;
    } finally {
      this.#busy -= 1;
    }
  }

  #took({ message, reply, rev }) {
    const tree = this.tree;
    if (message) tree.put(message);
    if (reply) tree.put(reply);
    tree.rev = Math.max(tree.rev, rev ?? 0);
    this.#look(tree, (reply ?? message).id);
    this.#follow();
  }

  // ── looking ──────────────────────────────────────────────────────────────────────────────────

  #look(tree, leaf) {
    tree.show(leaf);
    tree.serverLeaf = leaf;
    if (this.tree === tree) this.#bump();
    else this.#store.set({ chat: tree });
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

  /** Go to the previous (-1) or next (+1) version of a message. False at the ends. */
  turn(id, step) {
    const versions = this.tree.siblings(id);
    const target = versions[versions.indexOf(id) + step];
    if (!target) return false;
    this.show(this.tree.leafUnder(target));
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
    await this.#api.stop(this.tree.id, node.id);
  }

  #follow() {
    const tree = this.tree;
    for (const node of tree.nodes.values()) {
      if (node.state !== "running" || this.#followers.has(node.id)) continue;
      const live = new LiveReply();
      const follower = new Follower({
        api: this.#api, chat: tree.id, id: node.id, live,
        on: { end: (event) => this.#ended(tree.id, node.id, event), lost: () => this.#lost(tree.id, node.id) },
      });
      this.#live.set(node.id, live);
      this.#followers.set(node.id, follower);
      follower.run();
    }
    this.#bump();
  }

  #ended(chat, id, event) {
    const live = this.#live.get(id);
    this.#live.delete(id);
    this.#followers.delete(id);
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
    this.#followers.delete(id);
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
