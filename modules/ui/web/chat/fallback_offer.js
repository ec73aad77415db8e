/** Other settings to load a model with: less memory where it did not fit, a larger context where a prompt did not. */

import { button, h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { t } from "../core/texts.js";

const RUNNING = ["starting", "ready", "busy"];
const ENGINE = new Set([
  "engine_crashed", "crashed_too_often", "engine_aborted", "engine_hung", "engine_stopped", "engine_error", "out_of_memory",
  "load_failed", "not_ready",
]);

/** @typedef {import("../types.js").FallbackOffer} FallbackOffer */
/** @typedef {{error?: import("../types.js").ServerError|null}} Failed */

/** Whether a reply failed for its engine's sake, so that loading the model anew may help. */
export const ofEngine = (/** @type {import("../types.js").ServerError|null|undefined} */ error) => ENGINE.has(error?.code ?? "");

/**
 * What can be tried instead for a reply that failed: what the last load of its model offered, else what its own did.
 * Null when there is nothing, or when the model has been loaded since. With `why` where it is not the reply's own reason.
 * @param {{error?: import("../types.js").ServerError|null, model?: string|null}} node
 * @param {import("../types.js").ModelStatus} status  the state of the model in the foreground
 */
export function offerFor(node, status) {
  const own = node.error?.fallback?.model ? node.error.fallback : null;
  const model = own?.model ?? node.model;
  const last = status.state === "failed" ? status.error?.fallback : null;
  if (last?.model && (own || ofEngine(node.error)) && (!model || last.model === model)) return { ...last, why: status.error?.message === node.error?.message ? "" : status.error?.message };
  return own && RUNNING.includes(status.state) && status.model === own.model ? null : own && { ...own, why: "" };
}

/** @param {Failed} node @returns {import("../types.js").Offer[]} what the server offers for a reply that failed; the error may come from a chat's file */
const offersOf = (node) => (Array.isArray(node.error?.offers) ? node.error.offers.filter(Boolean) : []);

/** The message to edit for a prompt that did not fit the context, or null. @param {Failed} node @returns {string|null} */
export const editFor = (node) => offersOf(node).filter((one) => one.kind === "edit_message")[0]?.message ?? null;

/** The larger context that can be loaded for it; null when there is none, or when the model has it by now. @param {Failed} node @param {import("../types.js").ModelStatus} status */
export function largerFor(node, status) {
  const offer = offersOf(node).filter((one) => one.kind === "reload").find((one) => one.model && one.settings?.context) ?? null;
  return offer && status.model === offer.model && (status.info?.context ?? 0) >= offer.settings.context ? null : offer;
}

/** What would be different, in words: ["Context: 8,192 → 4,096"]. @param {FallbackOffer} offer */
export function changesOf(offer) {
  const rows = Array.isArray(offer.changes) ? offer.changes : []; // it may come from a chat's file
  return rows.filter(Boolean).map(({ label, was, now }) => `${label}: ${was} → ${now}`);
}

/** The offer with its button. @param {import("../types.js").FallbackOffer} offer @param {string} label @param {() => unknown} onClick */
export function offerView(offer, label, onClick) {
  return h("div", { class: "eh-offer" },
    offer.why && h("p", { text: t("offer.again", { model: offer.model, reason: offer.why }), dir: "auto" }),
    h("p", { text: t("offer.title") }),
    h("ul", {}, changesOf(offer).map((text) => h("li", { text, dir: "auto" }))),
    button({ icon: icon("retry"), text: label, label, class: "eh-btn eh-solid", onClick }));
}
