/** Keys to actions, from the table the server keeps (modules/ui/shortcuts.py). Never fires in text without a modifier. */

const MAC = /mac|iphone|ipad/i.test(navigator.userAgentData?.platform ?? navigator.platform ?? "");
/** @type {Record<string, string>} */
const NAMES = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", Backspace: "⌫", Mod: MAC ? "⌘" : "Ctrl", Shift: MAC ? "⇧" : "Shift", Alt: MAC ? "⌥" : "Alt" };

export class Shortcuts {
  #prefs;
  /** @type {Map<string, (event: KeyboardEvent) => unknown>} */
  #actions = new Map();
  #stop = new AbortController();

  /**
   * @param {import("../types.js").Shortcut[]} table
   * @param {import("./prefs.js").Prefs} prefs
   * @param {{empty: (target: EventTarget|null) => boolean, active: () => boolean}} where  is the composer empty and focused; is the surface on screen
   */
  constructor(table, prefs, where) {
    this.table = table;
    this.#prefs = prefs;
    this.where = where;
    document.addEventListener("keydown", (event) => this.#key(event), { signal: this.#stop.signal });
  }

  get enabled() {
    return this.#prefs.get("shortcuts", true);
  }

  /** @param {boolean} on */
  set enabled(on) {
    this.#prefs.set("shortcuts", on);
  }

  /** Say what an action does. The handler gives back false when there was nothing to do. @param {string} action @param {(event: KeyboardEvent) => unknown} handler */
  on(action, handler) {
    this.#actions.set(action, handler);
  }

  /** How a chord is written for people. @param {string} chord */
  name(chord) {
    return chord.split("+").map((part) => NAMES[part] ?? part).join(MAC ? "" : "+");
  }

  /** The first chord of an action, for tooltips and menus. @param {string} action */
  keys(action) {
    const row = this.table.find((one) => one.action === action);
    return row ? this.name(row.keys[0]) : "";
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.defaultPrevented || composing(event) || !this.where.active()) return;
    if (document.querySelector("dialog[open]") || (!this.enabled && event.key !== "Escape")) return;
    for (const row of this.table) {
      const chord = row.keys.find((one) => matches(one, event));
      if (!chord || !this.#fits(row.when, chord, event)) continue;
      const handler = this.#actions.get(row.action);
      if (!handler || handler(event) === false) continue;
      event.preventDefault();
      return;
    }
  }

  /** @param {string} when @param {string} chord @param {KeyboardEvent} event */
  #fits(when, chord, event) {
    if (when === "empty composer") return this.where.empty(event.target);
    const target = event.target instanceof Element ? event.target : null;
    const typing = target?.closest("input:not([type=checkbox],[type=range]),textarea,select,[contenteditable=true]");
    if (when === "message") return Boolean(target?.closest(".eh-msg")) && !typing;
    return !(typing && chord.length === 1); // a plain character is text while somebody types
  }

  close() {
    this.#stop.abort();
  }
}

/** Does this key belong to an input method? Safari ends the composition first and sends its key, as 229, after it. @param {KeyboardEvent} event */
export function composing(event) {
  return event.isComposing || event.keyCode === 229;
}

/** Does this key event press `chord`, such as "Mod+Shift+O"? Mod is Ctrl, or ⌘ on a Mac. @param {string} chord @param {KeyboardEvent} event */
export function matches(chord, event) {
  const parts = chord.split("+");
  const key = parts.pop() ?? "";
  const wants = (/** @type {string} */ name) => parts.includes(name);
  const mod = MAC ? event.metaKey : event.ctrlKey;
  const other = MAC ? event.ctrlKey : event.metaKey;
  if (wants("Mod") !== mod || other || wants("Alt") !== event.altKey) return false;
  if (key.length > 1 || /[a-z]/i.test(key)) {
    return wants("Shift") === event.shiftKey && (event.key.toLowerCase() === key.toLowerCase() || event.code === `Key${key}`);
  }
  if (wants("Shift") && !event.shiftKey) return false;
  return event.key === key || (event.code === PUNCTUATION[key] && wants("Shift") === event.shiftKey);
}

/** @type {Record<string, string>} */
const PUNCTUATION = { ".": "Period", ",": "Comma", "/": "Slash", ";": "Semicolon" };
