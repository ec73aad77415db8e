/**
 * Markdown that grows. Blocks that can no longer change are drawn once; only the last one is drawn again.
 * A code block still open gets text appended; of a list still growing only the last item is drawn again.
 */

import { h } from "../core/dom.js";
import { sanitize } from "./sanitize.js";
import { CodeBlock } from "./code_block.js";
import { t } from "../core/texts.js";

const CLOSED_FENCE = /(?:^|\n) {0,3}(`{3,}|~{3,})[ \t]*\n*$/;

const REFERENCE = /^ {0,3}\[[^\]\n]+\]:\s/m;

/** @typedef {import("../vendor/marked.js").Token} Token */
/** @typedef {{loose?: boolean, ordered?: boolean, raws: string[]}} DrawnList */
/**
 * @typedef {{raw: string|null, nodes: ChildNode[], code?: CodeBlock, closed?: boolean, list?: DrawnList|null}} Drawn
 *   a block that may still grow, and what stands for it
 */

/** What drawing needs, made once for the page. */
export class MarkdownTools {
  /**
   * @param {{parser: ReturnType<typeof import("./parser.js").makeParser>, math: {render: (element: HTMLElement) => void},
   *   highlighter: import("./highlight.js").Highlighter}} tools
   */
  constructor({ parser, math, highlighter }) {
    this.parser = parser;
    this.math = math;
    this.highlighter = highlighter;
  }
}

export class MarkdownView {
  #host;
  #tools;
  #text = "";
  #stable = 0; // characters of #text whose blocks are drawn for good
  /** @type {string[]} */
  #settled = []; // those blocks as they were written
  #finished = false;
  /** @type {Drawn|null} */
  #live = null;

  /** @param {HTMLElement} host  what the text is drawn into @param {MarkdownTools} tools */
  constructor(host, tools) {
    this.#host = host;
    this.#tools = tools;
  }

  /** Draw `text`. finished: nothing more will come. @param {string} text */
  update(text, finished = false) {
    const clean = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    if (this.#finished && finished && clean === this.#text) return;
    this.#finished = finished;
    if (clean.length < this.#stable || !clean.startsWith(this.#text.slice(0, this.#stable))) this.#reset();
    this.#text = clean;
    try {
      this.#advance(finished);
    } catch (error) {
      console.warn("A reply is shown as plain text", error);
      this.#host.replaceChildren(h("div", { class: "eh-plain", text: clean }));
      this.#live = null;
      this.#stable = 0;
      this.#settled = [];
    }
  }

  #reset() {
    this.#host.replaceChildren();
    this.#stable = 0;
    this.#settled = [];
    this.#live = null;
  }

  /** @param {boolean} finished */
  #advance(finished) {
    if (finished && this.#stable > 0 && !this.#holds()) this.#reset();
    const tail = this.#text.slice(this.#stable);
    if (!this.#live && this.#host.firstElementChild?.className === "eh-plain") this.#host.replaceChildren();
    const tokens = this.#tools.parser.lexer(tail);
    let last = tokens.length - 1;
    while (last >= 0 && (tokens[last].type === "space" || tokens[last].type === "def")) last -= 1;
    const exact = tokens.reduce((sum, token) => sum + token.raw.length, 0) === tail.length;
    if (!exact && !finished) return this.#drawAll(tokens);
    const end = finished ? tokens.length : Math.max(0, last);
    for (let at = 0; at < end; at += 1) this.#settle(tokens[at]);
    if (!finished && last >= 0) this.#draw(tokens[last]);
    return undefined;
  }

  /** Is what was drawn while it streamed what the whole text gives? What comes later can change what a block before it is. */
  #holds() {
    if (REFERENCE.test(this.#text)) return false; // links may point at what came later
    const blocks = this.#tools.parser.lexer(this.#text);
    return this.#settled.every((raw, at) => blocks[at]?.raw === raw);
  }

  /** The lexer changed the text it read (tabs, odd spaces): positions cannot be trusted, draw the tail as one. @param {Token[]} tokens */
  #drawAll(tokens) {
    this.#replace({ raw: null, nodes: this.#nodes(tokens) });
  }

  /** @param {Token} token */
  #settle(token) {
    this.#stable += token.raw.length;
    this.#settled.push(token.raw);
    if (token.type === "space" || token.type === "def") return;
    if (this.#live?.code && token.type === "code") {
      this.#live.code.name(token.lang ?? "");
      this.#live.code.update(token.text ?? "");
      if (!this.#live.closed) this.#live.code.close();
    } else if (token.type === "list" && this.#live?.list && this.#growList(this.#live, token)) {
      this.#live.raw = token.raw;
    } else if (this.#live?.raw !== token.raw) {
      this.#replace({ raw: token.raw, ...this.#make(token, true) });
    }
    this.#live = null;
  }

  /** @param {Token} token */
  #draw(token) {
    const live = this.#live;
    if (live?.raw === token.raw) return;
    if (token.type === "code" && live?.code) {
      live.code.name(token.lang ?? "");
      live.code.update(token.text ?? "");
      live.raw = token.raw;
      if (!live.closed && isClosed(token)) {
        live.closed = true;
        live.code.close();
      }
    } else if (token.type === "list" && live?.list && this.#growList(live, token)) {
      live.raw = token.raw;
    } else {
      this.#replace({ raw: token.raw, ...this.#make(token, false) });
    }
  }

  /** @param {Token} token @param {boolean} settled @returns {Omit<Drawn, "raw">} */
  #make(token, settled) {
    if (token.type === "code") {
      const closed = settled || isClosed(token);
      const code = new CodeBlock(token.lang ?? "", token.text ?? "", { highlighter: this.#tools.highlighter, closed });
      return { nodes: [code.node], code, closed };
    }
    const nodes = this.#nodes([token]);
    const raws = (token.items ?? []).map((item) => item.raw);
    return { nodes, list: token.type === "list" ? { loose: token.loose, ordered: token.ordered, raws } : null };
  }

  /** Redraw only what changed at the end of a list. False when it has to be drawn whole. @param {Drawn} live @param {Token} token */
  #growList(live, token) {
    const [element] = live.nodes;
    if (!live.list || !(element instanceof HTMLElement)) return false;
    const { loose, ordered, raws } = live.list;
    const items = token.items ?? [];
    if (token.loose !== loose || token.ordered !== ordered || element.children.length !== raws.length) return false;
    let same = 0;
    while (same < raws.length && raws[same].trimEnd() === items[same]?.raw.trimEnd()) same += 1;
    if (same < raws.length - 1) return false;
    while (element.children.length > same) element.lastElementChild?.remove();
    const rest = this.#nodes([{ ...token, items: items.slice(same) }])[0];
    if (rest instanceof HTMLElement) element.append(...rest.children);
    live.list.raws = items.map((item) => item.raw);
    return true;
  }

  /** @param {Drawn} next */
  #replace(next) {
    for (const node of this.#live?.nodes ?? []) node.remove();
    this.#host.append(...next.nodes);
    this.#live = next;
  }

  /** @param {Token[]} tokens @returns {ChildNode[]} */
  #nodes(tokens) {
    const fragment = sanitize(this.#tools.parser.parser(tokens));
    for (const pre of fragment.querySelectorAll("pre")) this.#code(pre);
    for (const formula of /** @type {NodeListOf<HTMLElement>} */ (fragment.querySelectorAll(".eh-math"))) this.#tools.math.render(formula);
    for (const table of fragment.querySelectorAll("table")) {
      const frame = h("div", { class: "eh-table", tabindex: 0, role: "region", "aria-label": t("markdown.table") });
      table.replaceWith(frame);
      frame.append(table);
    }
    return [...fragment.childNodes].filter((node) => node.nodeType !== Node.TEXT_NODE || node.textContent?.trim());
  }

  /** A code block inside a list or a quote. @param {HTMLElement} pre */
  #code(pre) {
    const source = (pre.textContent ?? "").replace(/\n$/, "");
    pre.replaceWith(new CodeBlock(pre.title, source, { highlighter: this.#tools.highlighter }).node);
  }
}

/** @param {Token} token */
function isClosed(token) {
  return token.codeBlockStyle === "indented" || (CLOSED_FENCE.test(token.raw) && token.raw.trim().length > 3 && token.raw.includes("\n"));
}
