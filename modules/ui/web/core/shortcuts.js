/** Keys to actions, from the table the server keeps (modules/ui/shortcuts.py). Never fires in text without a modifier. */

const MAC = /mac|iphone|ipad/i.test(navigator.userAgentData?.platform ?? navigator.platform ?? "");
const NAMES = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", Backspace: "⌫", Mod: MAC ? "⌘" : "Ctrl", Shift: MAC ? "⇧" : "Shift", Alt: MAC ? "⌥" : "Alt" };

export class Shortcuts {
  #prefs;
  #actions = new Map();
  #stop = new AbortController();

  /**
   * @param {Array<{action: string, keys: string[], label: string, group: string, when: string}>} table
   * @param {{empty: () => boolean, active: () => boolean}} where  is the composer empty and focused; is the surface on screen
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

  set enabled(on) {
    this.#prefs.set("shortcuts", on);
  }

  /** Say what an action does. The handler gives back false when there was nothing to do. */
  on(action, handler) {
    this.#actions.set(action, handler);
  }

  /** How a chord is written for people. */
  name(chord) {
    return chord.split("+").map((part) => NAMES[part] ?? part).join(MAC ? "" : "+");
  }

  /** The first chord of an action, for tooltips and menus. */
  keys(action) {
    const row = this.table.find((one) => one.action === action);
    return row ? this.name(row.keys[0]) : "";
  }

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

  #fits(when, chord, event) {
    if (when === "empty composer") return this.where.empty(event.target);
    const typing = event.target.closest?.("input:not([type=checkbox],[type=range]),textarea,select,[contenteditable=true]");
    if (when === "message") return Boolean(event.target.closest?.(".eh-msg")) && !typing;
    return !(typing && chord.length === 1); // a plain character is text while somebody types
  }

  close() {
    this.#stop.abort();
  }
}

/** Does this key belong to an input method? Safari ends the composition first and sends its key, as 229, after it. */
export function composing(event) {
  return event.isComposing || event.keyCode === 229;
}

/** Does this key event press `chord`, such as "Mod+Shift+O"? Mod is Ctrl, or ⌘ on a Mac. */
export function matches(chord, event) {
  const parts = chord.split("+");
  const key = parts.pop();
  const wants = (name) => parts.includes(name);
  const mod = MAC ? event.metaKey : event.ctrlKey;
  const other = MAC ? event.ctrlKey : event.metaKey;
  if (wants("Mod") !== mod || other || wants("Alt") !== event.altKey) return false;
  if (key.length > 1 || /[a-z]/i.test(key)) {
    return wants("Shift") === event.shiftKey && (event.key.toLowerCase() === key.toLowerCase() || event.code === `Key${key}`);
  }
  if (wants("Shift") && !event.shiftKey) return false;
  return event.key === key || (event.code === PUNCTUATION[key] && wants("Shift") === event.shiftKey);
}

const PUNCTUATION = { ".": "Period", ",": "Comma", "/": "Slash", ";": "Semicolon" };
