/** The bar on top: the chat list's switch, which model is there and how it is, memory, parameters, the rest. */

import { button, h, setText, show } from "../core/dom.js";
import { bytes, gigabytes } from "../core/format.js";
import { icon } from "../core/icons.js";
import { t } from "../core/texts.js";

/** @type {Record<string, string>} */
const TONES = {
  empty: "", starting: "busy", ready: "good", busy: "good", stopping: "busy", crashed: "bad", failed: "bad",
};

export class Topbar {
  #context;
  #name = h("bdi", { class: "eh-model-name" });
  #dot = h("span", { class: "eh-dot", "aria-hidden": "true" });
  #state = h("span", { class: "eh-model-state" });
  #label = h("span", { class: "eh-sr" });
  #bar = h("span", { class: "eh-load-bar", "aria-hidden": "true", hidden: true }, h("i", {}));
  #memory = h("span", { class: "eh-memory-text" });
  #fill = h("i", {});

  /** @param {import("../chat_app.js").ChatApp} context */
  constructor(context) {
    this.#context = context;
    const { store, keys } = context;
    this.drawer = button({ icon: icon("panel"), label: t("chats.title"), keys: keys("drawer"), "aria-expanded": "false", onClick: () => context.toggle("drawer") });
    this.model = h("button", { type: "button", class: "eh-model", "aria-haspopup": "dialog", "aria-expanded": "false", title: keys("models") },
      this.#dot, this.#label, this.#name, " ", this.#state, icon("caret"), this.#bar);
    this.model.addEventListener("click", () => context.pickModel());
    this.memory = h("div", { class: "eh-memory", role: "img" }, h("span", { class: "eh-meter-bar" }, this.#fill), this.#memory);
    this.params = button({ icon: icon("sliders"), label: t("params.title"), keys: keys("params"), "aria-expanded": "false", onClick: () => context.toggle("params") });
    this.more = button({ icon: icon("more"), label: t("action.more_short"), "aria-haspopup": "menu", "aria-expanded": "false", onClick: () => this.#menu() });
    const fresh = button({ icon: icon("plus"), label: t("chats.new"), keys: keys("new_chat"), class: "eh-btn eh-bar-new", onClick: () => context.newChat() });
    this.node = h("header", { class: "eh-topbar" }, this.drawer, fresh, this.model, h("span", { class: "eh-grow" }), this.memory, this.params, this.more);
    store.on(["model", "ready", "connected"], () => this.#showModel(store.get("model")));
    store.on(["memory"], () => this.#showMemory(store.get("memory")));
    store.on(["drawer", "params"], () => {
      this.drawer.setAttribute("aria-expanded", String(store.get("drawer")));
      this.params.setAttribute("aria-expanded", String(store.get("params")));
    });
  }

  /** @param {import("../types.js").ModelStatus} status */
  #showModel({ state, model, progress, stage, error }) {
    const ready = this.#context.store.get("ready");
    const connected = this.#context.store.get("connected");
    const words = connected ? t(`state.${state}`) : t("state.offline");
    const share = state === "starting" && typeof progress === "number" ? progress : null;
    setText(this.#label, model ? t("model.prefix") : "");
    setText(this.#name, model || (ready ? t("model.choose") : "…"));
    setText(this.#state, model ? (share === null ? words : `${words} ${Math.round(share * 100)}%`) : "");
    this.#dot.dataset.tone = connected ? TONES[state] ?? "" : "";
    show(this.#bar, share !== null);
    if (share !== null) /** @type {HTMLElement} */ (this.#bar.firstElementChild).style.transform = `scaleX(${share})`;
    this.model.title = [share === null ? "" : stage, error?.message, this.#context.keys("models")].filter(Boolean).join("\n");
  }

  /** @param {import("../types.js").Memory|null} memory */
  #showMemory(memory) {
    show(this.memory, Boolean(memory?.total));
    if (!memory?.total) return;
    const used = memory.total - memory.available;
    const share = used / memory.total;
    this.#fill.style.transform = `scaleX(${Math.min(1, share).toFixed(3)})`;
    this.memory.dataset.level = share >= 0.95 ? "full" : share >= 0.85 ? "warn" : "fine";
    setText(this.#memory, t("memory.short", { used: gigabytes(used), total: gigabytes(memory.total) }));
    const own = t("memory.own", { engine: bytes(memory.engine), server: bytes(memory.server) });
    this.memory.title = t("memory.tooltip", { own });
    this.memory.setAttribute("aria-label", t("memory.spoken", { used: gigabytes(used), total: gigabytes(memory.total), own }));
  }

  #menu() {
    const { popup, theme, help, conversation, chats, run, drawer, keys, askDelete } = this.#context;
    const tree = conversation.tree;
    const look = (/** @type {string} */ choice, /** @type {string} */ label, /** @type {string} */ name) => ({ icon: icon(name), label, checked: theme.choice === choice, run: () => theme.choose(choice) });
    const id = tree?.id;
    const own = id ? [
      { icon: icon("pen"), label: t("chats.rename"), run: () => run(() => drawer.rename(tree)) },
      { icon: icon("download"), label: t("chats.export_markdown"), run: () => run(() => chats.export(id, "markdown")) },
      { icon: icon("trash"), label: t("chats.delete"), danger: true, keys: keys("delete_chat"), run: () => run(() => askDelete(chats, id)) },
      null,
    ] : [];
    popup.menu(this.more, [...own, look("system", t("theme.system"), "screen"), look("light", t("theme.light"), "sun"), look("dark", t("theme.dark"), "moon"), null,
      { icon: icon("keyboard"), label: t("help.title"), keys: keys("help"), run: help }], t("action.more_short"));
  }
}
