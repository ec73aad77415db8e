/** The row across the top while the server can't be reached: since when it is tried again, and a button to try at once. */

import { button, h, show } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { t } from "../core/texts.js";

const GRACE = 700; // ms; a short break is not worth a word

export class ConnectionBanner {
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #seconds;
  #shown;

  /** @param {{retry: () => void, shown?: () => void}} parts  retry tries at once; shown is called when the row comes or goes */
  constructor({ retry, shown = () => null }) {
    this.#shown = shown;
    this.wait = h("span", {});
    // The seconds stand outside the alert: each change inside would be read out again.
    this.node = h("div", { class: "eh-banner eh-warning", hidden: true }, icon("alert"),
      h("p", {}, h("span", { role: "alert" }, h("strong", { text: t("server.away") }), " ", t("server.away_changes"), " "), this.wait),
      button({ text: t("server.try_now"), label: t("server.try_now"), class: "eh-btn eh-outline", onClick: retry }));
  }

  up() {
    this.close();
    this.#show(false);
  }

  /** @param {number} retryAt  when the next attempt starts, in ms since the epoch */
  down(retryAt) {
    this.close();
    this.#timer = setTimeout(() => this.#show(true), this.node.hidden ? GRACE : 0);
    const count = () => {
      const left = Math.ceil((retryAt - Date.now()) / 1000);
      this.wait.textContent = left > 0 ? t("server.retry_in", { seconds: left }) : t("server.retrying");
    };
    count();
    this.#seconds = setInterval(count, 1000);
  }

  /** @param {boolean} visible */
  #show(visible) {
    if (this.node.hidden !== visible) return;
    show(this.node, visible);
    this.#shown();
  }

  close() {
    clearTimeout(this.#timer);
    clearInterval(this.#seconds);
  }
}
