/** The end of the engine's log, for when a reply or a load has failed. */

import { button, h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { copyText, tick } from "../markdown/code_block.js";
import { openDialog } from "./dialog.js";
import { t } from "../core/texts.js";

/** @param {{root: Element, api: import("../core/api.js").Api, toasts: import("./toasts.js").Toasts}} context */
export async function openLog({ root, api, toasts }) {
  const { lines } = await api.log(300);
  const text = lines.join("\n");
  const pre = h("pre", { class: "eh-log-text", tabindex: 0, text: text || t("log.empty") });
  const copy = button({ icon: icon("copy"), label: t("log.copy"), onClick: () => copyText(text).then(() => tick(copy, "copy"), (error) => toasts.error(error)) });
  openDialog({ root, title: t("log.title"), body: pre, actions: [copy], wide: true });
  pre.scrollTop = pre.scrollHeight;
}
