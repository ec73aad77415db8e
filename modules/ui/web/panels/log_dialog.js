/** The end of the engine's log, for when a reply or a load has failed. */

import { button, h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { copyText, tick } from "../markdown/code_block.js";
import { openDialog } from "./dialog.js";

/** @param {{root: Element, api: import("../core/api.js").Api, toasts: import("./toasts.js").Toasts}} context */
export async function openLog({ root, api, toasts }) {
  const { lines } = await api.log(300);
  const text = lines.join("\n");
  const pre = h("pre", { class: "eh-log-text", tabindex: 0, text: text || "The log is empty: no engine has written anything yet." });
  const copy = button({ icon: icon("copy"), label: "Copy the log", onClick: () => copyText(text).then(() => tick(copy, "copy"), (error) => toasts.error(error)) });
  openDialog({ root, title: "Engine log", body: pre, actions: [copy], wide: true });
  pre.scrollTop = pre.scrollHeight;
}
