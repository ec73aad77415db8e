/** How full the model's context is: always visible, coloured near the limit, and on a click what is in it. */

import { h, setText } from "../core/dom.js";
import { count } from "../core/format.js";
import { droppedFromStart, guessTokens } from "./context_figures.js";
import { t } from "../core/texts.js";

const WARN = 0.75;
const FULL = 0.95;
/** @type {Record<string, () => string>} */
const SOURCES = { system_prompt: () => t("context.system"), history: () => t("context.yours") };

export class ContextMeter {
  #context;
  #draft = "";
  #bar = h("i", {});
  #text = h("span", {});
  #spoken = h("span", { class: "eh-sr" });
  /** @type {(() => unknown)|null|undefined} */
  #unlisten = null;
  #frame = 0;

  /** @param {import("../chat_app.js").ChatApp} context */
  constructor(context) {
    this.#context = context;
    this.node = h("button", { type: "button", class: "eh-meter", "aria-haspopup": "dialog", "aria-expanded": "false" },
      h("span", { class: "eh-meter-bar", "aria-hidden": "true" }, this.#bar), h("span", { class: "eh-sr", text: t("context.prefix") }), this.#text, this.#spoken);
    this.node.addEventListener("click", () => context.popup.show(this.node, this.#card(), { label: t("context.title") }));
    context.store.on(["chat", "tick", "model"], () => this.#watch());
  }

  /** The text being written, counted roughly while it grows; nothing is asked of the server. @param {string} text */
  draft(text) {
    if (text === this.#draft) return;
    this.#draft = text;
    this.#soon();
  }

  /** Tokens of the draft, guessed from the last prompt of this chat that was counted. @param {{prompt: number, path: import("../types.js").Message[], node: import("../types.js").Message|undefined}} figures */
  #drafted({ prompt, path, node }) {
    const before = node ? path.slice(0, path.indexOf(node)) : [];
    const system = this.#context.store.get("chat")?.system.length ?? 0;
    const dropped = node?.ledger?.dropped_messages ?? 0;
    const characters = dropped ? 0 : before.reduce((sum, one) => sum + one.text.length, system);
    return guessTokens(this.#draft, { tokens: prompt, characters });
  }

  #watch() {
    this.#unlisten?.();
    const running = this.#context.conversation?.running;
    this.#unlisten = running && this.#context.conversation.live(running.id)?.listen(() => this.#soon());
    this.update();
  }

  #soon() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.update();
    });
  }

  /** What is known: {limit, used, prompt, reply, ledger, node}; limit 0 = no model has said yet. */
  figures() {
    const { conversation, store } = this.#context;
    const path = store.get("chat")?.path() ?? [];
    const of = (/** @type {import("../types.js").Message} */ node) => conversation.live(node.id)?.ledger ?? node.ledger;
    const node = path.findLast((one) => one.role === "assistant" && (of(one) || one.stats?.prompt_tokens));
    const ledger = node ? of(node) : null;
    const live = node && conversation.live(node.id);
    const prompt = live ? ledger?.prompt_tokens ?? 0 : node?.stats?.prompt_tokens || ledger?.prompt_tokens || 0;
    const reply = live ? live.tokens : node?.stats?.completion_tokens ?? 0;
    const limit = store.get("model").info?.context || ledger?.limit || node?.stats?.context_limit || 0;
    return { limit, prompt, reply, used: prompt + reply, ledger, node, path };
  }

  update() {
    const figures = this.figures();
    const { limit } = figures;
    const draft = this.#drafted(figures);
    const used = figures.used + draft;
    const share = limit ? used / limit : 0;
    this.#bar.style.transform = `scaleX(${Math.min(1, share).toFixed(3)})`;
    this.node.dataset.level = share >= FULL ? "full" : share >= WARN ? "warn" : "fine";
    setText(this.#text, limit ? `${draft ? "~" : ""}${count(used)} / ${count(limit)}` : "");
    setText(this.#spoken, limit ? t("context.spoken", { percent: Math.round(share * 100) }) : t("context.none"));
    this.node.title = limit ? t("context.tooltip", { used: draft ? t("unit.about", { value: used }) : used, limit, percent: Math.round(share * 100) }) : t("context.tooltip_none");
  }

  #card() {
    const figures = this.figures();
    const { limit, prompt, reply, ledger, node, path } = figures;
    const draft = this.#drafted(figures);
    const free = Math.max(0, limit - prompt - reply - draft);
    const dropped = ledger?.dropped_messages ?? 0;
    const rows = /** @type {[string, string][]} */ ([
      ...this.#shares(prompt, path.slice(droppedFromStart(path, ledger), node ? path.indexOf(node) : 0), ledger),
      reply && [t("context.reply"), count(reply)],
      draft && [t("context.draft"), t("unit.about", { value: draft })],
      [t("context.free"), count(free)],
      [t("context.limit"), count(limit)],
    ].filter(Boolean));
    const left = dropped && ledger ? t("context.cut", { count: dropped }) + (ledger.dropped_tokens ? ` (${t("unit.tokens", { count: ledger.dropped_tokens })})` : "") : "";
    return h("div", { class: "eh-context-card" }, h("h3", { text: t("context.title") }),
      limit ? h("dl", { class: "eh-figures" }, rows.map(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })])) : h("p", { text: t("context.load_first") }),
      left && h("p", { text: left }),
      h("p", { class: "eh-muted", text: t("context.full") }));
  }

  /** The prompt split by where it came from, as the ledger says; the history by who wrote it, by length. @param {number} prompt @param {import("../types.js").Message[]} before @param {import("../types.js").Ledger|null|undefined} ledger */
  #shares(prompt, before, ledger) {
    if (!prompt) return [];
    const named = ledger?.sources ?? [];
    if (!named.length) return [[t("stats.prompt"), count(prompt)]];
    const scale = prompt / Math.max(1, named.reduce((sum, one) => sum + one.tokens, 0)); // the ledger may hold a bound
    const length = (/** @type {string} */ role) => before.filter((one) => one.role === role).reduce((sum, one) => sum + one.text.length, 0);
    const [yours, replies] = [length("user"), length("assistant")];
    /** @type {[string, number][]} */
    const rows = named.flatMap(({ name, tokens }) => name !== "history" || !yours || !replies ? [[SOURCES[name]?.() ?? name, tokens]] :
      [[t("context.yours"), (tokens * yours) / (yours + replies)], [t("context.replies"), (tokens * replies) / (yours + replies)]]);
    return rows.filter(([, tokens]) => tokens > 0).map(([name, tokens]) => [name, t("unit.about", { value: Math.round(tokens * scale) })]);
  }
}
