/** Puts the parts together: what is shared by the views, who listens to whom. */

import { h, show } from "./core/dom.js";
import { Api } from "./core/api.js";
import { refuseFiles } from "./core/file_drop.js";
import { serverEvents } from "./core/server_events.js";
import { Prefs } from "./core/prefs.js";
import { Shortcuts } from "./core/shortcuts.js";
import { initialState, Store } from "./core/store.js";
import { Theme } from "./core/theme.js";
import { narrow, touch, Viewport } from "./core/viewport.js";
import { ChatView } from "./chat/chat_view.js";
import { Chats, titleOf } from "./chat/chats.js";
import { Composer } from "./chat/composer.js";
import { Conversation } from "./chat/conversation.js";
import { Drafts } from "./chat/drafts.js";
import { bindKeys } from "./chat/key_bindings.js";
import { Highlighter } from "./markdown/highlight.js";
import { MarkdownTools } from "./markdown/markdown_view.js";
import { MathRenderer } from "./markdown/math.js";
import { makeParser } from "./markdown/parser.js";
import { Banner } from "./panels/banner.js";
import { confirmDialog } from "./panels/dialog.js";
import { Drawer } from "./panels/drawer.js";
import { openHelp } from "./panels/help_sheet.js";
import { LoadCard } from "./panels/load_card.js";
import { openLog } from "./panels/log_dialog.js";
import { Popup } from "./panels/menu.js";
import { ModelPicker } from "./panels/model_picker.js";
import { ModelControl } from "./panels/model_control.js";
import { ParamsDrawer } from "./panels/params_drawer.js";
import { Toasts } from "./panels/toasts.js";
import { Topbar } from "./panels/topbar.js";
import { ServerSync } from "./server_sync.js";
import { t } from "./core/texts.js";

export class ChatApp {
  #stop = new AbortController();
  // What show() builds. The store's listeners that need it run after that.
  /** @type {Drawer} */
  drawer;
  /** @type {Topbar} */
  topbar;
  /** @type {Banner} */
  banner;
  /** @type {ChatView} */
  view;
  /** @type {Composer} */
  composer;
  /** @type {LoadCard} */
  loadCard;
  /** @type {ParamsDrawer} */
  params;
  /** @type {ModelPicker} */
  picker;
  /** @type {HTMLElement} */
  veil;
  /** @type {HTMLElement} */
  main;
  /** @type {Viewport} */
  viewport;

  /** @param {HTMLElement} root @param {{shortcuts?: import("./types.js").Shortcut[], base?: string}} config */
  constructor(root, config) {
    this.root = root;
    this.store = new Store(initialState());
    this.prefs = new Prefs();
    this.drafts = new Drafts(this.prefs);
    this.theme = new Theme(this.prefs);
    this.api = new Api(config.base ?? "");
    this.toasts = new Toasts();
    this.popup = new Popup(root);
    this.status = h("div", { class: "eh-sr", role: "status", "aria-live": "polite" });
    this.tools = new MarkdownTools({ parser: makeParser(), math: new MathRenderer(), highlighter: new Highlighter() });
    this.conversation = new Conversation({ api: this.api, store: this.store, toasts: this.toasts, announce: (text) => { this.status.textContent = text; }, settle: () => this.params.flush() });
    this.chats = new Chats(this);
    this.models = new ModelControl(this);
    this.sync = new ServerSync(this);
    this.serverEvents = serverEvents(config.base);
    this.shortcuts = new Shortcuts(config.shortcuts ?? [], this.prefs, { empty: (target) => this.#inEmptyComposer(target), active: () => root.offsetParent !== null });
    this.theme.apply();
  }

  /** Ask for everything the first screen needs, all at once. */
  fetchFirst() {
    this.unsubscribe = this.serverEvents.subscribe(this.sync.handlers, () => this.api.state());
    return this.sync.refresh(Chats.named());
  }

  /** Build the page. */
  show() {
    const { root, store } = this;
    this.drawer = new Drawer(this);
    this.topbar = new Topbar(this);
    this.banner = new Banner(this);
    this.view = new ChatView(this);
    this.composer = new Composer(this);
    this.loadCard = new LoadCard(this);
    this.params = new ParamsDrawer(this);
    this.picker = new ModelPicker(this);
    this.veil = h("div", { class: "eh-veil", hidden: true, on: { click: () => this.closePanels() } });
    this.main = h("section", { class: "eh-main", "aria-label": t("chat.region") }, this.topbar.node, this.banner.node, this.view.node, this.loadCard.node, this.composer.node);
    root.append(this.drawer.node, this.main, this.veil, this.params.node, this.toasts.node, this.status);
    this.viewport = new Viewport(root);
    this.#arrange();
    store.on(["drawer", "params"], () => this.#panels());
    store.on(["chat", "tick", "ready"], () => this.#address());
    store.on(["chat", "chats"], () => this.#title());
    const options = { signal: this.#stop.signal };
    addEventListener("popstate", () => this.run(() => this.chats.open(Chats.named(), { replace: true })), options);
    // Hidden is the last a phone tells before it ends a page.
    document.addEventListener("visibilitychange", () => document.hidden && this.params.flush(), options);
    addEventListener("pagehide", () => this.params.flush(), options);
    root.addEventListener("eh-problem", (event) => this.toasts.error(/** @type {CustomEvent} */ (event).detail));
    matchMedia("(max-width: 860px)").addEventListener("change", () => this.#arrange(), options);
    refuseFiles(window, () => this.toasts.show({ message: t("chat.no_files"), hint: t("chat.no_files_hint") }), options);
    bindKeys(this);
    this.composer.fit();
    if (!touch()) this.composer.focus();
  }

  /** @param {EventTarget|null} target */
  #inEmptyComposer(target) {
    if (target === this.composer.area) return this.composer.empty;
    return target === document.body && this.composer.empty;
  }

  /** A chat that was just made gets its address. */
  #address() {
    const id = this.conversation.tree?.id;
    if (id && this.store.get("ready")) this.chats.name(id);
  }

  /** The browser's tab is called as the chat: people keep several open. */
  #title() {
    const id = this.conversation.tree?.id;
    const info = id && this.store.get("chats").find((chat) => chat.id === id);
    document.title = info ? `${titleOf(info)} · Enginehouse` : "Enginehouse";
  }

  /** Panels as they were left where there is room for them; closed where they would cover the chat. */
  #arrange() {
    const room = !narrow();
    this.store.set({ drawer: room && this.prefs.get("drawer", true), params: room && this.prefs.get("params", false) });
    if (this.viewport) this.#panels();
  }

  #panels() {
    const { store, root } = this;
    const sheet = narrow() && (store.get("drawer") || store.get("params"));
    root.classList.toggle("eh-with-drawer", store.get("drawer"));
    root.classList.toggle("eh-with-params", store.get("params"));
    this.drawer.node.inert = !store.get("drawer");
    this.params.node.inert = !store.get("params");
    this.main.inert = sheet;
    show(this.veil, sheet);
  }

  // ── what the views ask for; they may pass these on, so they keep their `this` ───────────────────────────────────────────────────────────────────

  /** Run something that may fail; failures are said in a toast. */
  run = async (/** @type {() => unknown} */ work) => {
    try {
      return await work();
    } catch (error) {
      this.toasts.error(error);
      return undefined;
    }
  };

  keys = (/** @type {string} */ action) => this.shortcuts.keys(action);

  help = () => openHelp(this);

  showLog = () => openLog(this);

  edit = (/** @type {string} */ id) => this.store.set({ editing: id });

  /** The ledger arrived: meter and cut line follow. */
  ledger = () => this.store.set({ tick: this.store.get("tick") + 1 });

  /** @param {string} text */
  async sendText(text) {
    this.status.textContent = "";
    await this.conversation.send(text).finally(() => this.chats.soon());
    this.status.textContent = t("chat.generating");
  }

  /** A starter was chosen: put it into the composer, ready to be changed or sent. */
  startWith = (/** @type {string} */ text) => this.composer.put(text);

  stop() {
    return this.run(() => this.conversation.stop());
  }

  async newChat() {
    await this.run(() => this.chats.open(null));
    if (narrow()) this.closePanels();
    if (!touch()) this.composer.focus();
  }

  /** @param {"drawer"|"params"} panel */
  toggle(panel, open = !this.store.get(panel)) {
    const other = panel === "drawer" ? "params" : "drawer";
    /** @type {Partial<Record<"drawer"|"params", boolean>>} */
    const change = { [panel]: open };
    if (open && narrow()) change[other] = false;
    const focused = this[panel].node.contains(document.activeElement);
    this.store.set(change);
    if (!narrow()) this.prefs.set(panel, open);
    if (open && narrow()) /** @type {HTMLElement|null} */ (this[panel].node.querySelector("button,input,select"))?.focus();
    else if (!open && (focused || narrow())) this.topbar[panel].focus();
  }

  /** Close what lies over or beside the chat. False when nothing was open. */
  closePanels() {
    const open = /** @type {("params"|"drawer")[]} */ (["params", "drawer"]).find((panel) => this.store.get(panel) && (panel === "params" || narrow()));
    if (!open) return false;
    this.toggle(open, false);
    return true;
  }

  pickModel() {
    this.picker.open(this.topbar.model);
  }

  load = (/** @type {string} */ name) => this.models.load(name);
  unload = () => this.models.unload();
  rescan = () => this.models.rescan();
  reloadModel = (/** @type {string|null|undefined} */ name) => this.models.reload(name);
  tryEcho = () => this.models.tryEcho();

  /** Delete a chat after asking. @param {import("./chat/chats.js").Chats} chats @param {string} id */
  async askDelete(chats, id) {
    const yes = await confirmDialog({ root: this.root, title: t("chats.delete_title"), text: t("chats.delete_text"), yes: t("action.delete") });
    if (yes) await chats.remove(id);
  }

  close() {
    this.#stop.abort();
    this.unsubscribe?.();
    for (const part of [this.sync, this.conversation, this.chats, this.shortcuts, this.viewport, this.view, this.banner]) part?.close();
    this.root.remove();
  }
}
