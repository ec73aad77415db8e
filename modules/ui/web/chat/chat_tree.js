/** A chat as a tree of messages. Pure data: which messages are on the way to a leaf, which are versions of each other. */

/** @typedef {import("../types.js").Message} Message */

export class ChatTree {
  /** @type {Map<string|null, string[]>} */
  #children = new Map();
  /** @type {Map<string|null, string>} */
  #chosen = new Map(); // parent → the child last shown under it, so that going back shows what was there

  /** @type {Promise<import("../types.js").Chat & {id: string}>|null} */
  creating = null; // the request that makes the chat on the server

  /** @param {import("../types.js").Chat} chat */
  constructor(chat) {
    /** null = only on this page so far */
    this.id = chat.id;
    this.title = chat.title ?? "";
    this.created = chat.created;
    this.updated = chat.updated;
    this.rev = chat.rev ?? 0;
    this.system = chat.system ?? "";
    this.serverLeaf = chat.leaf ?? null;
    /** @type {Map<string, Message>} */
    this.nodes = new Map();
    for (const node of chat.messages ?? []) this.put(node);
    /** @type {string|null} */
    this.leaf = chat.leaf && this.nodes.has(chat.leaf) ? chat.leaf : this.leafUnder(null);
  }

  /** @param {string|null|undefined} id */
  get(id) {
    return this.nodes.get(id ?? "");
  }

  /** Add or replace one message. @param {Message} node */
  put(node) {
    const known = this.nodes.has(node.id);
    this.nodes.set(node.id, node);
    if (known) return;
    const parent = node.parent ?? null;
    const children = this.#children.get(parent) ?? [];
    this.#children.set(parent, children);
    children.push(node.id);
  }

  /** Take one message and everything below it out. @param {string} id */
  remove(id) {
    const node = this.nodes.get(id);
    if (!node) return;
    for (const gone of this.subtree(id)) this.nodes.delete(gone);
    const parent = node.parent ?? null;
    this.#children.set(parent, this.children(parent).filter((child) => child !== id));
    if (!this.get(this.leaf)) this.leaf = this.leafUnder(parent);
  }

  /** Ids of the answers below a message; null = the first messages. @param {string|null} id */
  children(id) {
    return (this.#children.get(id) ?? []).filter((child) => this.nodes.has(child));
  }

  /** All versions of a message, itself included, oldest first. @param {string} id */
  siblings(id) {
    return this.children(this.nodes.get(id)?.parent ?? null);
  }

  /** Ids of a message and of all below it. @param {string} id */
  subtree(id) {
    const found = [id];
    for (let at = 0; at < found.length; at += 1) found.push(...this.children(found[at]));
    return found;
  }

  /** The messages from the first to `leaf`. */
  path(leaf = this.leaf) {
    /** @type {Message[]} */
    const found = [];
    const seen = new Set();
    for (let node = this.get(leaf); node && !seen.has(node.id); node = this.get(node.parent)) {
      seen.add(node.id);
      found.push(node);
    }
    return found.reverse();
  }

  /** Show the branch that ends at `leaf`, and remember the way there. @param {string|null} leaf */
  show(leaf) {
    for (const node of this.path(leaf)) this.#chosen.set(node.parent ?? null, node.id);
    this.leaf = leaf;
  }

  /** Where the branch through `id` ends: the child last shown, else the newest, and so on down. @param {string|null} id */
  leafUnder(id) {
    let at = id;
    for (;;) {
      const children = this.children(at);
      if (children.length === 0) return at;
      const chosen = this.#chosen.get(at);
      at = chosen && children.includes(chosen) ? chosen : children[children.length - 1];
    }
  }

  /** Is `ancestor` on the way to `id`, or `id` itself? null stands above everything. @param {string|null} ancestor @param {string|null} id */
  contains(ancestor, id) {
    return ancestor === null || this.path(id).some((node) => node.id === ancestor);
  }

  /**
   * Carry over what only this page knows from the tree it had before. The branch shown stays, unless
   * something new was written below it, or somewhere else while this page showed what the server had. A branch with
   * the message `edited`, open in an editor on this page, always stays.
   * @param {ChatTree} old @param {string|null} edited
   */
  inherit(old, edited = null) {
    this.#chosen = new Map([...old.#chosen, ...this.#chosen]);
    if (edited !== null && this.get(edited) && old.contains(edited, old.leaf)) {
      if (!this.contains(edited, this.leaf)) this.leaf = this.get(old.leaf) ? old.leaf : this.leafUnder(edited);
      return this;
    }
    const follows = this.contains(old.leaf, this.leaf) || (old.leaf === old.serverLeaf && !old.get(this.leaf));
    if (!follows && this.get(old.leaf)) this.leaf = old.leaf;
    return this;
  }
}
