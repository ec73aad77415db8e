/** What stands above the tabs: a link that skips them, the page's heading, and a row while the server is away. */

import { h } from "../core/dom.js";
import { serverEvents } from "../core/server_events.js";
import { ConnectionBanner } from "../panels/connection_banner.js";
import { t } from "../core/texts.js";

/** @param {import("../types.js").Surface} parts */
export function mount({ element }) {
  const events = serverEvents();
  const banner = new ConnectionBanner({
    retry: () => events.retry(),
    shown: () => dispatchEvent(new Event("resize")), // the chat is as tall as what is left below
  });
  events.watch({ up: () => banner.up(), down: (retryAt) => banner.down(retryAt) });
  const skip = h("a", { class: "eht-skip", href: "#eh-tabs", text: t("page.skip") });
  skip.addEventListener("click", (event) => {
    event.preventDefault(); // the address names the chat
    toContent();
  });
  element.append(skip, h("h1", { class: "eh-sr", text: "Enginehouse" }), banner.node);
}

/** The focus goes to where the tab that is shown begins; in the chat, to where messages are written. */
function toContent() {
  const panel = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[role=tabpanel]"))].find((one) => one.offsetParent !== null);
  /** @type {HTMLElement|null|undefined} */
  const target = panel?.querySelector(".eh-write") ?? panel;
  if (!target) return;
  if (target === panel) target.tabIndex = -1;
  target.focus();
}
