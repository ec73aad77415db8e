/** Rows across the top of the chat: problems the server found at its start, and, outside Gradio's page, that it is away. */

import { button, fill, h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { ConnectionBanner } from "./connection_banner.js";
import { t } from "../core/texts.js";

export class Banner {
  #drawn = "";

  /** @param {{store: import("../core/store.js").Store<import("../types.js").ChatState>, serverEvents: import("../core/server_events.js").ServerEvents}} parts */
  constructor({ store, serverEvents }) {
    this.store = store;
    this.problems = h("div", { class: "eh-problems" });
    // With Gradio's tabs around the chat the page's frame has this row, for all of them (tabs/page_frame.js).
    this.lost = document.getElementById("eh-frame") ? null : new ConnectionBanner({ retry: () => serverEvents.retry() });
    this.node = h("div", {}, this.lost?.node, this.problems);
    store.on(["connected", "retryAt"], () => (store.get("connected") ? this.lost?.up() : this.lost?.down(store.get("retryAt"))));
    store.on(["server"], () => this.#problems(store.get("server")?.problems ?? []));
  }

  /** @param {{source: string, message: string}[]} problems */
  #problems(problems) {
    const key = JSON.stringify(problems);
    if (key === this.#drawn) return;
    this.#drawn = key;
    fill(this.problems, problems.map(({ source, message }) => {
      /** @type {HTMLElement} */
      const row = h("div", { class: "eh-banner", role: "status" }, icon("info"), h("p", {}, source && h("strong", { text: `${source}: ` }), message),
        button({ icon: icon("close"), label: t("action.dismiss"), onClick: () => row.remove() }));
      return row;
    }));
  }

  close() {
    this.lost?.close();
  }
}
