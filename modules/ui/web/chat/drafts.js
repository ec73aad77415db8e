/** What is typed but not sent, per chat, kept in this browser until the server has it. */

const NEW = "new";
const MOST = 200_000; // characters; more would fill the browser's storage

export class Drafts {
  #prefs;

  constructor(prefs) {
    this.#prefs = prefs;
  }

  get(chat) {
    return this.#prefs.get(`draft.${chat ?? NEW}`, "");
  }

  /** The unsaved text of a message being edited, or null. */
  edit(message) {
    return this.#prefs.get(`draft.edit.${message}`);
  }

  setEdit(message, text) {
    this.#prefs.set(`draft.edit.${message}`, text === null ? null : text.slice(0, MOST));
  }

  set(chat, text) {
    this.#prefs.set(`draft.${chat ?? NEW}`, text ? text.slice(0, MOST) : null);
  }
}
