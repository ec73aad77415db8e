/** Markdown to HTML: marked with the rules of docs/markdown.md. A tag that a model wrote never becomes an element. */

import { Marked } from "../vendor/marked.js";
import { BoundedLexer, isTooDeep } from "./bounded_lexer.js";
import { escapeHtml } from "./escape_html.js";
import { blockMath, inlineMath } from "./math_rules.js";
import { definition, htmlDocument, shortTags, tokenizer } from "./tokenizer_rules.js";

/** @typedef {import("../vendor/marked.js").Token} Token */
/** @typedef {import("../vendor/marked.js").RendererThis} RendererThis */

const SAFE_LINK = /^(?:https?:|mailto:)/i;

/** @param {Token} token */
function html({ raw, block }) {
  if (block) return `<div class="eh-html">${escapeHtml(raw.replace(/\n+$/, ""))}</div>`;
  return escapeHtml(raw).replaceAll("\n", "<br>");
}

/** @this {RendererThis} @param {Token} token */
function link(token) {
  const { href = "", title, tokens = [], raw } = token;
  const inside = this.parser.parseInline(tokens) || escapeHtml(href);
  if (SAFE_LINK.test(href)) return `<a href="${escapeHtml(href)}"${title ? ` title="${escapeHtml(title)}"` : ""}>${inside}</a>`;
  if (!raw.startsWith("[")) return escapeHtml(raw);
  return `${inside} <span class="eh-dead">(${escapeHtml(href)})</span>`;
}

/** Pictures from elsewhere are never fetched: the address is shown, and a click opens it outside. @param {Token} token */
function image({ href = "", text, raw }) {
  if (!SAFE_LINK.test(href) || !URL.canParse(href)) return escapeHtml(raw);
  return `<a class="eh-img" href="${escapeHtml(href)}">${escapeHtml(text || "image")}<span>${escapeHtml(new URL(href).host)}</span></a>`;
}

/** Code; what stands after the fence goes along. @param {Token} token */
function code({ text = "", lang = "" }) {
  return `<pre title="${escapeHtml(lang)}"><code>${escapeHtml(text)}\n</code></pre>\n`;
}

/** A list; a numbered one with the numbers as they were written. @this {RendererThis} @param {Token} token */
function list(token) {
  const { ordered, items = [] } = token;
  const tag = ordered ? "ol" : "ul";
  const drawn = items.map((item) => {
    const number = ordered ? /^\s*(\d{1,9})[.)]/.exec(item.raw)?.[1] : undefined;
    return `<li${number ? ` value="${Number(number)}"` : ""}>${this.parser.parse(item.tokens ?? [])}</li>`;
  });
  return `<${tag}>${drawn.join("")}</${tag}>\n`;
}

/** A cell; <br> is the only way to break a line in one. @this {RendererThis} @param {Token} cell */
function tablecell(cell) {
  const tokens = (cell.tokens ?? []).map((token) => (token.type === "html" && /^<br\s*\/?>$/i.test(token.raw) ? { type: "br", raw: token.raw } : token));
  const tag = cell.header ? "th" : "td";
  return `<${tag}${cell.align ? ` align="${cell.align}"` : ""}>${this.parser.parseInline(tokens)}</${tag}>\n`;
}

/**
 * A parser with these rules. Make one and share it. `lexer` throws where a text nests too deep to be drawn.
 * @returns {{lexer: (source: string) => import("../vendor/marked.js").Tokens, parser: (tokens: Token[]) => string}}
 */
export function makeParser() {
  const marked = new Marked({ gfm: true, breaks: true });
  marked.use({
    extensions: [htmlDocument, definition, shortTags, inlineMath, blockMath],
    renderer: { code, html, link, image, list, tablecell },
    tokenizer,
  });
  return {
    lexer: (source) => {
      if (isTooDeep(source)) throw new RangeError("a line opens more lists and quotes, or a paragraph more tables, than can be drawn");
      return new BoundedLexer(marked.defaults).lex(source);
    },
    parser: (tokens) => marked.parser(tokens),
  };
}
