/** A small menu or card that opens at a button, closes on Escape, on a click elsewhere, and gives the focus back. */

import { h } from "../core/dom.js";
import { composing } from "../core/shortcuts.js";

const GAP = 6;
const EDGE = 8;

export class Popup {
  #anchor;
  #stop = null;
  node = null;

  constructor(root) {
    this.root = root;
  }

  get open() {
    return this.node !== null;
  }

  /**
   * Open `content` at `anchor`; opening at the same anchor again closes it.
   * @param {{role?: string, label?: string, focus?: boolean}} options
   */
  show(anchor, content, { role = "dialog", label = "", focus = true } = {}) {
    const again = this.#anchor === anchor;
    this.close(false);
    if (again || !anchor.isConnected) return; // what it belongs to may have gone while its content was fetched
    this.#anchor = anchor;
    this.node = h("div", { class: "eh-popup", role, "aria-label": label || null }, content);
    this.root.append(this.node);
    anchor.setAttribute("aria-expanded", "true");
    anchor.parentElement.classList.add("eh-menu-open");
    this.#place();
    this.#listen();
    if (focus) (this.node.querySelector(":is([role^=menuitem],button,input,a):not([disabled],[hidden])") ?? this.node).focus({ preventScroll: true });
  }

  /** A menu of actions. @param {Array<{label, icon?, keys?, danger?, checked?, disabled?, run}|null>} items  null = a line */
  menu(anchor, items, label) {
    const rows = items.filter((item) => item !== undefined && item !== false).map((item) => {
      if (item === null) return h("div", { class: "eh-menu-line", role: "separator" });
      const role = item.checked === undefined ? "menuitem" : "menuitemradio";
      return h("button", {
        type: "button", role, tabindex: -1, class: item.danger ? "eh-menu-item eh-danger" : "eh-menu-item",
        "aria-checked": item.checked === undefined ? null : String(item.checked), disabled: item.disabled,
        on: { click: () => { this.close(); item.run(); } },
      }, item.icon, h("span", { text: item.label }), item.keys && h("kbd", { text: item.keys }));
    });
    this.show(anchor, h("div", { class: "eh-menu" }, rows), { role: "menu", label });
  }

  close(giveBack = true) {
    if (!this.node) return;
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
      if (!this.node.contains(event.target) && !this.#anchor.contains(event.target)) this.close(false);
    }, options);
    addEventListener("resize", () => this.#place(), options); // not closed: a phone's keyboard is a resize, too
    document.addEventListener("keydown", (event) => this.#key(event), options);
  }

  #key(event) {
    if (composing(event)) return;
    if (event.key === "Escape") {
      this.close();
    } else if (this.node.getAttribute("role") === "menu" && this.#step(event)) {
      // an entry has the focus now
    } else if (event.key === "Tab" && this.node.getAttribute("role") === "menu") {
      this.close();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** Arrows, Home, End, and the first letter of an entry. False for any other key. */
  #step({ key, ctrlKey, metaKey, altKey }) {
    const items = [...this.node.querySelectorAll("[role^=menuitem]:not([disabled])")];
    const at = items.indexOf(document.activeElement);
    const after = [...items.slice(at + 1), ...items.slice(0, at + 1)];
    const typed = key.length === 1 && key !== " " && !ctrlKey && !metaKey && !altKey;
    const next = {
      ArrowDown: () => after[0],
      ArrowUp: () => items[at > 0 ? at - 1 : items.length - 1],
      Home: () => items[0],
      End: () => items[items.length - 1],
    }[key]?.() ?? (typed && after.find((item) => item.textContent.trim().toLowerCase().startsWith(key.toLowerCase())));
    next?.focus?.();
    return Boolean(next);
  }

  #place() {
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
