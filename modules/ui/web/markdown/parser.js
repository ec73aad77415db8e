/** Markdown as marked reads it, plus formulas; raw HTML only where it is harmless formatting. */

import { Marked } from "../vendor/marked.js";

const SAFE_TAG = /^<\/?(?:b|i|u|s|em|strong|del|ins|sub|sup|kbd|mark|small|br|hr|p|details|summary|wbr)\s*\/?>$/i;
const ANY_TAG = /<[^>]*>?/g;
const SAFE_LINK = /^(?:https?:|mailto:)/i;

/** Text as it may stand inside HTML. */
export function escape(text) {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

const inlineMath = {
  name: "inlineMath",
  level: "inline",
  start: (src) => {
    const at = src.search(/\$|\\\(|\\\[/);
    return at < 0 ? undefined : at;
  },
  tokenizer(src) {
    const match =
      /^\$\$([^$\n]+?)\$\$/.exec(src) ??
      /^\$(?![\s$])((?:\\.|[^$\\\n])*?[^\s\\$]|[^\s\\$])\$(?![\d$])/.exec(src) ??
      /^\\\(([\s\S]+?)\\\)/.exec(src) ??
      /^\\\[([\s\S]+?)\\\]/.exec(src);
    if (!match) return undefined;
    const display = match[0].startsWith("$$") || match[0].startsWith("\\[");
    return { type: "inlineMath", raw: match[0], display };
  },
  renderer: (token) => `<span class="eh-math" data-display="${token.display ? 1 : 0}">${escape(token.raw)}</span>`,
};

const blockMath = {
  name: "blockMath",
  level: "block",
  start: (src) => {
    const at = src.search(/\n {0,3}(?:\$\$|\\\[)/);
    return at < 0 ? undefined : at;
  },
  tokenizer(src) {
    const match = /^ {0,3}(?:\$\$(?:(?!\n\s*\n)[\s\S])+?\$\$|\\\[(?:(?!\n\s*\n)[\s\S])+?\\\])[ \t]*(?:\n+|$)/.exec(src);
    return match ? { type: "blockMath", raw: match[0] } : undefined;
  },
  renderer: (token) => `<div class="eh-math" data-display="1">${escape(token.raw.trim())}</div>`,
};

function html({ raw, text }) {
  const source = raw ?? text;
  const tags = source.match(ANY_TAG) ?? [];
  return tags.every((tag) => SAFE_TAG.test(tag)) ? source : escape(source);
}

function link({ href, title, tokens }) {
  const inside = this.parser.parseInline(tokens);
  if (!SAFE_LINK.test(href)) return `${inside} <span class="eh-dead">(${escape(href)})</span>`;
  return `<a href="${escape(href)}"${title ? ` title="${escape(title)}"` : ""}>${inside}</a>`;
}

/** Pictures from elsewhere are never fetched: the address is shown, and a click opens it outside. */
function image({ href, text }) {
  const name = escape(text || "image");
  if (!SAFE_LINK.test(href)) return `<span class="eh-img">${name}</span>`;
  let host = href;
  try {
    host = new URL(href).host;
  } catch {
    return `<span class="eh-img">${name}</span>`;
  }
  return `<a class="eh-img" href="${escape(href)}">${name}<span>${escape(host)}</span></a>`;
}

/** A parser with these rules. Make one and share it. */
export function makeParser() {
  const marked = new Marked({ gfm: true, breaks: false });
  marked.use({ extensions: [inlineMath, blockMath], renderer: { html, link, image } });
  return marked;
}
