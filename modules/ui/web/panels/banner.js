/** Said across the top while the server does not answer, and for problems it has found at its start. */

import { button, fill, h, show } from "../core/dom.js";
import { icon } from "../core/icons.js";

const GRACE = 700; // ms; a short break is not worth a word

export class Banner {
  #timer = 0;
  #seconds = 0;

  constructor({ store, serverEvents }) {
    this.store = store;
    this.wait = h("span", {});
    // The seconds stand outside the alert: each change inside would be read out again.
    this.lost = h("div", { class: "eh-banner eh-warning", hidden: true }, icon("alert"),
      h("p", {}, h("span", { role: "alert" }, h("strong", { text: "The server does not answer. " }), "What you type is kept. "), this.wait),
      button({ text: "Try now", label: "Try now", class: "eh-btn eh-outline", onClick: () => serverEvents.retry() }));
    this.problems = h("div", { class: "eh-problems" });
    this.node = h("div", {}, this.lost, this.problems);
    store.on(["connected", "retryAt"], () => this.#connection());
    store.on(["server"], () => this.#problems(store.get("server")?.problems ?? []));
  }

  #connection() {
    clearTimeout(this.#timer);
    clearInterval(this.#seconds);
    if (this.store.get("connected")) return show(this.lost, false);
    this.#timer = setTimeout(() => show(this.lost, true), this.lost.hidden ? GRACE : 0);
    const count = () => {
      const left = Math.ceil((this.store.get("retryAt") - Date.now()) / 1000);
      this.wait.textContent = left > 0 ? `Trying again in ${left} s.` : "Trying again…";
    };
    count();
    this.#seconds = setInterval(count, 1000);
    return undefined;
  }

  #problems(problems) {
    const key = JSON.stringify(problems);
    if (key === this.drawn) return;
    this.drawn = key;
    fill(this.problems, problems.map(({ source, message }) => {
      const row = h("div", { class: "eh-banner", role: "status" }, icon("info"), h("p", {}, source && h("strong", { text: `${source}: ` }), message),
        button({ icon: icon("close"), label: "Dismiss", onClick: () => row.remove() }));
      return row;
    }));
  }

  close() {
    clearTimeout(this.#timer);
    clearInterval(this.#seconds);
  }
}
