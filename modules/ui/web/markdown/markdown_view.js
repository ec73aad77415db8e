/**
 * Markdown that grows. Blocks that can no longer change are drawn once; only the last one is drawn again.
 * A code block still open gets text appended; of a list still growing only the last item is drawn again.
 */

import { h } from "../core/dom.js";
import { sanitize } from "./sanitize.js";
import { CodeBlock } from "./code_block.js";

const CLOSED_FENCE = /(?:^|\n) {0,3}(`{3,}|~{3,})[ \t]*\n*$/;

const REFERENCE = /^ {0,3}\[[^\]\n]+\]:\s/m;

/** What drawing needs, made once for the page. */
export class MarkdownTools {
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
  #finished = false;
  #live = null; // {raw, nodes, code?, list?}

  constructor(host, tools) {
    this.#host = host;
    this.#tools = tools;
  }

  /** Draw `text`. finished: nothing more will come. */
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
    }
  }

  #reset() {
    this.#host.replaceChildren();
    this.#stable = 0;
    this.#live = null;
  }

  #advance(finished) {
    if (finished && REFERENCE.test(this.#text)) this.#reset(); // links may point at what came later
    const tail = this.#text.slice(this.#stable);
    if (!this.#live && this.#host.firstChild?.className === "eh-plain") this.#host.replaceChildren();
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

  /** The lexer changed the text it read (tabs, odd spaces): positions cannot be trusted, draw the tail as one. */
  #drawAll(tokens) {
    this.#replace({ raw: null, nodes: this.#nodes(tokens) });
  }

  #settle(token) {
    this.#stable += token.raw.length;
    if (token.type === "space" || token.type === "def") return;
    if (this.#live?.code && token.type === "code") {
      this.#live.code.name(token.lang ?? "");
      this.#live.code.update(token.text);
      if (!this.#live.closed) this.#live.code.close();
    } else if (token.type === "list" && this.#live?.list && this.#growList(this.#live, token)) {
      this.#live.raw = token.raw;
    } else if (this.#live?.raw !== token.raw) {
      this.#replace({ raw: token.raw, ...this.#make(token, true) });
    }
    this.#live = null;
  }

  #draw(token) {
    const live = this.#live;
    if (live?.raw === token.raw) return;
    if (token.type === "code" && live?.code) {
      live.code.name(token.lang ?? "");
      live.code.update(token.text);
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

  #make(token, settled) {
    if (token.type === "code") {
      const closed = settled || isClosed(token);
      const code = new CodeBlock(token.lang ?? "", token.text, { highlighter: this.#tools.highlighter, closed });
      return { nodes: [code.node], code, closed };
    }
    const nodes = this.#nodes([token]);
    return { nodes, list: token.type === "list" ? { loose: token.loose, ordered: token.ordered, raws: token.items.map((item) => item.raw) } : null };
  }

  /** Redraw only what changed at the end of a list. False when it has to be drawn whole. */
  #growList(live, token) {
    const [element] = live.nodes;
    const { loose, ordered, raws } = live.list;
    if (token.loose !== loose || token.ordered !== ordered || element?.children.length !== raws.length) return false;
    let same = 0;
    while (same < raws.length && raws[same].trimEnd() === token.items[same]?.raw.trimEnd()) same += 1;
    if (same < raws.length - 1) return false;
    while (element.children.length > same) element.lastElementChild.remove();
    const rest = this.#nodes([{ ...token, items: token.items.slice(same) }])[0];
    if (rest) element.append(...rest.children);
    live.list.raws = token.items.map((item) => item.raw);
    return true;
  }

  #replace(next) {
    for (const node of this.#live?.nodes ?? []) node.remove();
    this.#host.append(...next.nodes);
    this.#live = next;
  }

  #nodes(tokens) {
    const fragment = sanitize(this.#tools.parser.parser(tokens));
    for (const pre of fragment.querySelectorAll("pre")) this.#code(pre);
    for (const formula of fragment.querySelectorAll(".eh-math")) this.#tools.math.render(formula);
    for (const table of fragment.querySelectorAll("table")) {
      const frame = h("div", { class: "eh-table", tabindex: 0, role: "region", "aria-label": "Table" });
      table.replaceWith(frame);
      frame.append(table);
    }
    return [...fragment.childNodes].filter((node) => node.nodeType !== Node.TEXT_NODE || node.data.trim());
  }

  /** A code block inside a list or a quote. */
  #code(pre) {
    const language = /language-(\S+)/.exec(pre.firstElementChild?.className ?? "")?.[1] ?? "";
    const source = pre.textContent.replace(/\n$/, "");
    pre.replaceWith(new CodeBlock(language, source, { highlighter: this.#tools.highlighter }).node);
  }
}

function isClosed(token) {
  return token.codeBlockStyle === "indented" || (CLOSED_FENCE.test(token.raw) && token.raw.trim().length > 3 && token.raw.includes("\n"));
}
