/** A reply that failed, was cut off, or has something to be said about it. */

import { button, h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { editFor, offerView, ofEngine } from "./fallback_offer.js";
import { t } from "../core/texts.js";

/** @typedef {Record<"retry"|"smaller"|"larger"|"edit"|"reload"|"continueReply"|"log", () => unknown>} Actions */

/**
 * fresh: it failed just now, so it is announced; offer: what its model can be loaded with instead, or null.
 * larger: the context that would hold the prompt, or null.
 * @param {Actions} actions
 * @param {import("../types.js").Message} node @param {boolean} fresh @param {import("../types.js").FallbackOffer|null} offer @param {ReturnType<typeof import("./fallback_offer.js").largerFor>} larger
 */
export function errorCard(node, actions, fresh, offer, larger) {
  const error = node.error ?? { message: t("reply.failed"), hint: "", code: "" };
  const partial = node.text ? t("reply.partial_kept") : "";
  return h("div", { class: "eh-callout eh-error", role: fresh ? "alert" : "group", "aria-label": t("reply.failed_label") }, icon("alert"),
    h("div", { class: "eh-callout-text" },
      h("p", { text: error.message }),
      (error.hint || partial) && h("p", { class: "eh-muted", text: [error.hint, partial].filter(Boolean).join(" ") }),
      offer && offerView(offer, t("reply.retry_smaller"), actions.smaller),
      h("div", { class: "eh-row" },
        editFor(node) && labeled("edit", t("reply.edit_message"), actions.edit),
        larger && labeled("power", t("reply.reload_with", { tokens: Number(larger.settings.context) }), actions.larger),
        button({ icon: icon("retry"), text: t("action.retry"), label: t("action.retry"), class: "eh-btn eh-outline", onClick: actions.retry }),
        ofEngine(error) && button({ text: t("model.reload"), label: t("model.reload"), class: "eh-btn eh-outline", onClick: actions.reload }),
        button({ text: t("action.show_log"), label: t("action.show_log"), class: "eh-btn eh-outline", onClick: actions.log }))));
}

/** @param {string} name @param {string} text @param {() => unknown} onClick */
const labeled = (name, text, onClick) => button({ icon: icon(name), text, label: text, class: "eh-btn eh-solid", onClick });

/** A reply the server could not finish because it went away itself. @param {import("../types.js").Message} node @param {Actions} actions */
export function interruptedCard(node, actions) {
  return h("div", { class: "eh-callout" }, icon("info"),
    h("div", { class: "eh-callout-text" },
      h("p", { text: t("reply.interrupted") }),
      h("p", { class: "eh-muted", text: node.text ? t("reply.kept") : t("reply.nothing") }),
      h("div", { class: "eh-row" },
        node.text && button({ icon: icon("play"), text: t("action.continue"), label: t("action.continue"), class: "eh-btn eh-outline", onClick: actions.continueReply }),
        button({ icon: icon("retry"), text: t("action.retry"), label: t("action.retry"), class: "eh-btn eh-outline", onClick: actions.retry }))));
}

/** What the server decided or could not do for this reply, each in one line. @param {import("../types.js").Notice[]} notices */
export function noticeList(notices) {
  return h("ul", { class: "eh-notices", "aria-label": t("reply.notes") },
    grouped(notices).map((notice) => h("li", {}, icon("info"), h("span", { text: notice.message }))));
}

/** Several parameters that were not used are one line, not one each. @param {import("../types.js").Notice[]} notices */
function grouped(notices) {
  const ignored = notices.filter((notice) => notice.code === "sampler_ignored" && notice.param);
  if (ignored.length < 2) return notices;
  const names = ignored.map((notice) => notice.param).join(", ");
  return [...notices.filter((notice) => !ignored.includes(notice)), { message: t("reply.ignored", { names }) }];
}
