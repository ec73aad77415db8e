/** A chat as a tree of messages. Pure data: which messages are on the way to a leaf, which are versions of each other. */

export class ChatTree {
  #children = new Map();
  #chosen = new Map(); // parent → the child last shown under it, so that going back shows what was there

  constructor(chat) {
    this.id = chat.id;
    this.title = chat.title ?? "";
    this.created = chat.created;
    this.updated = chat.updated;
    this.rev = chat.rev ?? 0;
    this.system = chat.system ?? "";
    this.serverLeaf = chat.leaf ?? null;
    this.nodes = new Map();
    for (const node of chat.messages ?? []) this.put(node);
    this.leaf = this.nodes.has(chat.leaf) ? chat.leaf : this.leafUnder(null);
  }

  get(id) {
    return this.nodes.get(id);
  }

  /** Add or replace one message. */
  put(node) {
    const known = this.nodes.has(node.id);
    this.nodes.set(node.id, node);
    if (known) return;
    const parent = node.parent ?? null;
    if (!this.#children.has(parent)) this.#children.set(parent, []);
    this.#children.get(parent).push(node.id);
  }

  /** Take one message and everything below it out. */
  remove(id) {
    const node = this.nodes.get(id);
    if (!node) return;
    for (const gone of this.subtree(id)) this.nodes.delete(gone);
    const parent = node.parent ?? null;
    this.#children.set(parent, this.children(parent).filter((child) => child !== id));
    if (!this.nodes.has(this.leaf)) this.leaf = this.leafUnder(parent);
  }

  /** Ids of the answers below a message; null = the first messages. */
  children(id) {
    return (this.#children.get(id) ?? []).filter((child) => this.nodes.has(child));
  }

  /** All versions of a message, itself included, oldest first. */
  siblings(id) {
    return this.children(this.nodes.get(id)?.parent ?? null);
  }

  subtree(id) {
    const found = [id];
    for (let at = 0; at < found.length; at += 1) found.push(...this.children(found[at]));
    return found;
  }

  /** The messages from the first to `leaf`. */
  path(leaf = this.leaf) {
    const found = [];
    const seen = new Set();
    for (let node = this.nodes.get(leaf); node && !seen.has(node.id); node = this.nodes.get(node.parent)) {
      seen.add(node.id);
      found.push(node);
    }
    return found.reverse();
  }

  /** Show the branch that ends at `leaf`, and remember the way there. */
  show(leaf) {
    for (const node of this.path(leaf)) this.#chosen.set(node.parent ?? null, node.id);
    this.leaf = leaf;
  }

  /** Where the branch through `id` ends: the child last shown, else the newest, and so on down. */
  leafUnder(id) {
    let at = id;
    for (;;) {
      const children = this.children(at);
      if (children.length === 0) return at;
      const chosen = this.#chosen.get(at);
      at = children.includes(chosen) ? chosen : children[children.length - 1];
    }
  }

  /** Is `ancestor` on the way to `id`, or `id` itself? null stands above everything. */
  contains(ancestor, id) {
    return ancestor === null || this.path(id).some((node) => node.id === ancestor);
  }

  /**
   * Carry over what only this page knows from the tree it had before. The branch shown stays, unless
   * something new was written below it, or somewhere else while this page showed what the server had.
   */
  inherit(old) {
    this.#chosen = new Map([...old.#chosen, ...this.#chosen]);
    const follows = this.contains(old.leaf, this.leaf) || (old.leaf === old.serverLeaf && !old.nodes.has(this.leaf));
    if (!follows && this.nodes.has(old.leaf)) this.leaf = old.leaf;
    return this;
  }
}
