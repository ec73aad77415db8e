/** What is typed but not sent, per chat, kept in this browser until the server has it. */

const NEW = "new";
const MOST = 200_000; // characters stored with every key pressed; a longer text is whole on this page only

export class Drafts {
  #prefs;
  /** @type {Map<string, string>} */
  #long = new Map(); // texts too long for the storage

  /** @param {import("../core/prefs.js").Prefs} prefs */
  constructor(prefs) {
    this.#prefs = prefs;
  }

  /** @param {string|null} chat */
  get(chat) {
    return this.#get(`draft.${chat ?? NEW}`) ?? "";
  }

  /** @param {string|null} chat @param {string|null} text */
  set(chat, text) {
    this.#set(`draft.${chat ?? NEW}`, text || null);
  }

  /** The unsaved text of a message being edited, or null. @param {string} message */
  edit(message) {
    return this.#get(`draft.edit.${message}`);
  }

  /** @param {string} message @param {string|null} text */
  setEdit(message, text) {
    this.#set(`draft.edit.${message}`, text);
  }

  /** A chat's system prompt that is typed and not saved, or null. @param {string|null} chat */
  system(chat) {
    return this.#get(`draft.system.${chat ?? NEW}`);
  }

  /** What the chat's system prompt was when its draft was begun; null = not known. @param {string|null} chat */
  systemBefore(chat) {
    return this.#get(`draft.system-before.${chat ?? NEW}`);
  }

  /** @param {string|null} chat @param {string|null} text @param {string|null} [before] */
  setSystem(chat, text, before = null) {
    this.#set(`draft.system.${chat ?? NEW}`, text);
    this.#set(`draft.system-before.${chat ?? NEW}`, text === null ? null : before);
  }

  /** The message that is on its way to the server, or null: when the page goes away meanwhile it is not lost. @param {string|null} chat */
  onItsWay(chat) {
    return this.#get(`draft.sending.${chat ?? NEW}`);
  }

  /** @param {string|null} chat @param {string|null} text */
  setOnItsWay(chat, text) {
    this.#set(`draft.sending.${chat ?? NEW}`, text);
  }

  /** @param {string} key */
  #get(key) {
    return this.#long.get(key) ?? this.#prefs.get(key);
  }

  /** @param {string} key @param {string|null} text */
  #set(key, text) {
    if (text !== null && text.length > MOST) this.#long.set(key, text);
    else this.#long.delete(key);
    this.#prefs.set(key, text === null ? null : text.slice(0, MOST));
  }
}
