/** A model that did not fit, asked for in the list of models and not by a message: why, and with what it would. */

import { button, h, refill, show } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { changesOf, offerFor, offerView } from "../chat/fallback_offer.js";
import { t } from "../core/texts.js";

export class LoadCard {
  #context;
  /** @type {string|null} */
  #dismissed = null; // the error that was waved away
  /** @type {{offer: import("../types.js").FallbackOffer, begun: boolean}|null} */
  #taken = null; // what is being loaded instead, to be said when it is there

  /** @param {import("../chat_app.js").ChatApp} context */
  constructor(context) {
    this.#context = context;
    this.node = h("div", { class: "eh-load-card", hidden: true });
    context.store.on(["model", "chat", "tick"], () => this.#update());
  }

  #update() {
    const { store } = this.#context;
    const status = store.get("model");
    this.#say(status);
    if (status.state !== "failed") this.#dismissed = null;
    const offer = status.state === "failed" ? status.error?.fallback ?? null : null;
    const key = offer ? JSON.stringify(status.error) : null;
    const shown = Boolean(offer?.model) && key !== this.#dismissed && !this.#elsewhere(status);
    refill(this.node, shown ? key : "", () => (shown && offer ? this.#card(status, offer, key) : []));
    show(this.node, shown);
  }

  /** Said afterwards, once it is true: nothing was changed behind anybody's back. Something else loaded meanwhile ends it. @param {import("../types.js").ModelStatus} status */
  #say(status) {
    const taken = this.#taken;
    if (!taken) return;
    const ours = status.model === taken.offer.model && Object.entries(taken.offer.settings).every(([name, value]) => status.settings[name] === value);
    if (ours && status.state === "starting") taken.begun = true;
    const there = ours && ["ready", "busy"].includes(status.state);
    if (there) this.#context.toasts.show({ message: t("load.smaller_done", { model: status.model }), hint: `${changesOf(taken.offer).join("; ")}.` });
    if (there || (taken.begun && !(ours && status.state === "starting"))) this.#taken = null;
  }

  /** A reply at the end of what is shown waits for the load, or failed of it: its own card has the button. @param {import("../types.js").ModelStatus} status */
  #elsewhere(status) {
    const last = this.#context.store.get("chat")?.path().at(-1);
    return last?.state === "running" || (last?.state === "failed" && offerFor(last, status) !== null);
  }

  /** @param {import("../types.js").ModelStatus} status @param {import("../types.js").FallbackOffer} offer @param {string|null} key */
  #card(status, offer, key) {
    const { run, showLog } = this.#context;
    return h("div", { class: "eh-callout eh-error", role: "alert", "aria-label": t("load.failed_label", { model: offer.model }) }, icon("alert"),
      h("div", { class: "eh-callout-text" },
        h("p", {}, h("strong", { text: t("load.failed", { model: offer.model }), dir: "auto" }), " ", status.error?.message),
        status.error?.hint && h("p", { class: "eh-muted", text: status.error.hint }),
        offerView(offer, t("load.smaller"), () => run(() => this.#take(offer))),
        h("div", { class: "eh-row" },
          button({ text: t("action.show_log"), label: t("action.show_log"), class: "eh-btn eh-outline", onClick: () => run(showLog) }),
          button({ text: t("action.dismiss"), label: t("action.dismiss"), class: "eh-btn eh-outline", onClick: () => this.#dismiss(key) }))));
  }

  /** @param {import("../types.js").FallbackOffer} offer */
  async #take(offer) {
    const { api, topbar } = this.#context;
    topbar.model.focus(); // where the load is shown; this card goes
    this.#taken = { offer, begun: false };
    try {
      await api.load(offer.model, { loader: offer.loader, settings: offer.settings, fallback: false });
    } catch (error) {
      this.#taken = null;
      throw error;
    }
  }

  /** @param {string|null} key */
  #dismiss(key) {
    this.#dismissed = key;
    this.#context.topbar.model.focus();
    this.#update();
  }
}
