/** A small menu or card that opens at a button, closes on Escape, on a click elsewhere, and gives the focus back. */

import { h } from "../core/dom.js";
import { composing } from "../core/shortcuts.js";

/**
 * @typedef {object} MenuItem
 * @property {string} label
 * @property {Node} [icon]
 * @property {string} [keys]
 * @property {boolean} [danger]
 * @property {boolean} [checked]  given = one of several choices
 * @property {boolean} [disabled]
 * @property {() => unknown} [run]
 */

const GAP = 6;
const EDGE = 8;

export class Popup {
  /** @type {HTMLElement|null} */
  #anchor = null;
  #stop = new AbortController();
  /** @type {HTMLElement|null} */
  node = null;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  get open() {
    return this.node !== null;
  }

  /**
   * Open `content` at `anchor`; opening at the same anchor again closes it.
   * @param {HTMLElement} anchor @param {Node} content
   * @param {{role?: string, label?: string, focus?: boolean}} [options]
   */
  show(anchor, content, { role = "dialog", label = "", focus = true } = {}) {
    const again = this.#anchor === anchor;
    this.close(false);
    if (again || !anchor.isConnected) return; // what it belongs to may have gone while its content was fetched
    this.#anchor = anchor;
    const node = h("div", { class: "eh-popup", role, "aria-label": label || null }, content);
    this.node = node;
    this.root.append(node);
    anchor.setAttribute("aria-expanded", "true");
    anchor.parentElement?.classList.add("eh-menu-open");
    this.#place();
    this.#listen();
    const first = /** @type {HTMLElement|null} */ (node.querySelector(":is([role^=menuitem],button,input,a):not([disabled],[hidden])"));
    if (focus) (first ?? node).focus({ preventScroll: true });
  }

  /**
   * A menu of actions.
   * @param {HTMLElement} anchor @param {(MenuItem|null|false|undefined)[]} items  null = a line @param {string} label
   */
  menu(anchor, items, label) {
    const rows = items.flatMap((item) => {
      if (item === undefined || item === false) return [];
      if (item === null) return h("div", { class: "eh-menu-line", role: "separator" });
      const role = item.checked === undefined ? "menuitem" : "menuitemradio";
      return h("button", {
        type: "button", role, tabindex: -1, class: item.danger ? "eh-menu-item eh-danger" : "eh-menu-item",
        "aria-checked": item.checked === undefined ? null : String(item.checked), disabled: item.disabled,
        on: { click: () => { this.close(); item.run?.(); } },
      }, item.icon, h("span", { text: item.label }), item.keys && h("kbd", { text: item.keys }));
    });
    this.show(anchor, h("div", { class: "eh-menu" }, rows), { role: "menu", label });
  }

  close(giveBack = true) {
    if (!this.node || !this.#anchor) return;
    const inside = this.node.contains(document.activeElement);
    this.node.remove();
    this.node = null;
    this.#stop.abort();
    this.#anchor.setAttribute("aria-expanded", "false");
    this.#anchor.parentElement?.classList.remove("eh-menu-open");
    if (giveBack && inside && this.#anchor.isConnected) this.#anchor.focus({ preventScroll: true });
    this.#anchor = null;
  }

  #listen() {
    this.#stop = new AbortController();
    const options = { signal: this.#stop.signal, capture: true };
    document.addEventListener("pointerdown", (event) => {
      const target = /** @type {Node} */ (event.target);
      if (!this.node?.contains(target) && !this.#anchor?.contains(target)) this.close(false);
    }, options);
    addEventListener("resize", () => this.#place(), options); // not closed: a phone's keyboard is a resize, too
    document.addEventListener("keydown", (event) => this.#key(event), options);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (composing(event)) return;
    const menu = this.node?.getAttribute("role") === "menu";
    if (event.key === "Escape") {
      this.close();
    } else if (menu && this.#step(event)) {
      // an entry has the focus now
    } else if (event.key === "Tab" && menu) {
      this.close();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** Arrows, Home, End, and the first letter of an entry. False for any other key. @param {KeyboardEvent} event */
  #step({ key, ctrlKey, metaKey, altKey }) {
    /** @type {HTMLElement[]} */
    const items = [...(this.node?.querySelectorAll("[role^=menuitem]:not([disabled])") ?? [])].filter((item) => item instanceof HTMLElement);
    const at = items.findIndex((item) => item === document.activeElement);
    const after = [...items.slice(at + 1), ...items.slice(0, at + 1)];
    const typed = key.length === 1 && key !== " " && !ctrlKey && !metaKey && !altKey;
    /** @type {Record<string, () => HTMLElement>} */
    const moves = {
      ArrowDown: () => after[0],
      ArrowUp: () => items[at > 0 ? at - 1 : items.length - 1],
      Home: () => items[0],
      End: () => items[items.length - 1],
    };
    const next = moves[key]?.() ?? (typed ? after.find((item) => item.textContent.trim().toLowerCase().startsWith(key.toLowerCase())) : undefined);
    next?.focus();
    return Boolean(next);
  }

  #place() {
    if (!this.#anchor || !this.node) return;
    const at = this.#anchor.getBoundingClientRect();
    const frame = this.root.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.node;
    const below = at.bottom + GAP + height <= innerHeight - EDGE || at.top - GAP - height < EDGE;
    const top = below ? Math.min(at.bottom + GAP, innerHeight - height - EDGE) : at.top - GAP - height;
    const left = Math.max(EDGE, Math.min(at.left, innerWidth - width - EDGE));
    this.node.style.top = `${Math.max(EDGE, top) - frame.top}px`;
    this.node.style.left = `${left - frame.left}px`;
  }
}
