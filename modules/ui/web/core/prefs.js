/** What this browser remembers: drafts, panel states, the theme. A browser that refuses storage still works. */

const PREFIX = "enginehouse.";

export class Prefs {
  /** @type {Map<string, unknown>} */
  #memory = new Map();

  /**
   * The stored value, or `fallback`.
   * @param {string} key @param {any} fallback @returns {any} what was stored: the caller checks it where it matters
   */
  get(key, fallback = null) {
    if (this.#memory.has(key)) return this.#memory.get(key);
    try {
      const raw = localStorage.getItem(PREFIX + key);
      return raw === null ? fallback : JSON.parse(raw);
    } catch (error) {
      console.warn(`The setting ${key} could not be read`, error);
      return fallback;
    }
  }

  /** Remember `value`; null forgets it. Falls back to this page's memory when storage is full or off. @param {string} key @param {unknown} value */
  set(key, value) {
    try {
      if (value === null) localStorage.removeItem(PREFIX + key);
      else localStorage.setItem(PREFIX + key, JSON.stringify(value));
      this.#memory.delete(key);
    } catch (error) {
      console.warn(`The setting ${key} is kept for this page only`, error);
      this.#memory.set(key, value);
    }
  }
}
