/**
 * Where this page reads Markdown otherwise than CommonMark, so that no character is lost that somebody meant as text:
 * docs/markdown.md has the rule and the list.
 */

import { Tokenizer } from "../vendor/marked.js";
import { escapeHtml } from "./escape_html.js";
import { startInParagraph } from "./math_rules.js";

/** @typedef {import("../vendor/marked.js").Token} Token */
/** @typedef {import("../vendor/marked.js").TokenizerThis} TokenizerThis */

const WORD = /[A-Za-z0-9]/;
const DUNDER = /^__[a-z0-9]+(?:_[a-z0-9]+)*__(?![A-Za-z0-9_])/; // a name of Python's, such as the one of a constructor
const ESCAPED = /^\\(?:\*(?!\.\w)|_(?![(/])|[`~#$|<>[\]!]|[.+-](?=\s))/; // not the backslash of C:\*.txt or of a shrug
const GLOB = /^\*+(?:\/|\.\w)/;
const DOCUMENT = /^ {0,3}<(?:!doctype\s+html|html)(?=[\s>])/i;
const FORMATTING_BLOCK = /^ {0,3}<(?:!|\?|\/?(?:script|pre|style|textarea|address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|menuitem|meta|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul)\b)/i;

/** @param {string} raw @returns {Token} */
const text = (raw) => ({ type: "text", raw, text: raw, escaped: false });

/** Overrides of marked's tokenizer. `false` = as marked does it, `undefined` = not this, try the next rule. */
export const tokenizer = {
  /** Only what is markup here can be escaped: the backslash of a path or of a formula stays. @param {string} source */
  escape(source) {
    if (source[0] !== "\\" || source.length < 2 || source[1] === "\n") return undefined;
    const found = ESCAPED.exec(source);
    if (found) return { type: "escape", raw: found[0], text: found[0].slice(1) };
    return /[!-/:-@[-`{-~]/.test(source[1]) ? text(source.slice(0, 2)) : undefined;
  },

  /** A backslash at the end of a line is the shell's; the line ends all the same. @param {string} source */
  br(source) {
    return source.startsWith("\\\n") ? text("\\") : false;
  },

  /** 2*3*4 and x**2 are products and powers, *.txt are files, and the names with two underscores on both sides are names. @param {string} source @param {string} masked @param {string} before */
  emStrong(source, masked, before) {
    const run = /^(?:\*+|_+)/.exec(source)?.[0];
    if (!run) return undefined;
    const at = masked.length - source.length;
    const previous = at > 0 ? masked[at - 1] : before;
    const next = source[run.length] ?? "";
    if (run[0] === "*" && ((WORD.test(previous) && WORD.test(next)) || GLOB.test(source))) return text(run);
    const name = DUNDER.exec(source);
    return name && !WORD.test(previous) ? text(name[0]) : false;
  },

  /** A line of dashes below a text is a rule, or the beginning of a signature: only a line of === makes a heading. @param {string} source */
  lheading(source) {
    return /^[^\n]*\n {0,3}={3,}[ \t]*(?:\n|$)/.test(source) ? false : undefined;
  },

  /** Struck through is only what stands between two tildes each: 3~5 is a range. @param {string} source */
  del(source) {
    const run = /^~+/.exec(source)?.[0];
    if (!run) return undefined;
    return run.length === 2 ? false : text(run);
  },

  /** Every tag is text; what is between two tags is Markdown. @this {TokenizerThis} @param {string} source */
  tag(source) {
    const found = source[0] === "<" ? this.rules.inline.tag.exec(source) : null;
    return found ? { type: "html", raw: found[0], text: found[0], block: false, inLink: false, inRawBlock: false } : undefined;
  },

  /** A line with a tag that HTML does not know (think, answer) begins no block of HTML. @this {TokenizerThis} @param {string} source */
  html(source) {
    return FORMATTING_BLOCK.test(source) ? false : undefined;
  },

  /** "[1]" that names a source further down keeps its brackets. @this {TokenizerThis} @param {string} source @param {Record<string, object>} links */
  reflink(source, links) {
    const token = Tokenizer.prototype.reflink.call(this, source, links);
    if (token?.type !== "link" || !token.tokens || !/^\[[^\]]*\](?:\[\])?$/.test(token.raw)) return token;
    return { ...token, tokens: [text("["), ...token.tokens, text("]")] };
  },

  /** Cells beyond the last column are added to the last one. @this {TokenizerThis} @param {string} source */
  table(source) {
    if (!beginsTable(source)) return undefined;
    const token = Tokenizer.prototype.table.call(this, source);
    if (!token) return undefined;
    const lines = token.raw.trimEnd().split("\n").slice(2);
    for (const [at, row] of token.rows.entries()) {
      const extra = cells(lines[at] ?? "").slice(row.length);
      if (extra.length === 0 || row.length === 0) continue;
      const last = row[row.length - 1];
      last.text = [last.text, ...extra].join(" | ");
      last.tokens = this.lexer.inline(last.text);
    }
    return token;
  },
};

/** Is the second line one of dashes with as many columns as the first? Asked before the rule, which reads all rows first. @param {string} source */
function beginsTable(source) {
  const end = source.indexOf("\n", source.indexOf("\n") + 1);
  const [head, dashes = ""] = (end < 0 ? source : source.slice(0, end)).split("\n");
  return /[:|]/.test(dashes) && /^[\s:|-]+$/.test(dashes) && cells(head).length === cells(dashes).length;
}

/** @param {string} line  a row of a table */
function cells(line) {
  return line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** @type {import("../vendor/marked.js").Extension} A page of HTML that was written without a fence is code. */
export const htmlDocument = {
  name: "htmlDocument",
  level: "block",
  start: (source) => startInParagraph(source, /\n {0,3}<(?:!doctype\s+html|html)[\s>]/gi, () => true),
  tokenizer(source) {
    if (!DOCUMENT.test(source)) return undefined;
    const end = /<\/html>[ \t]*(?:\n+|$)/i.exec(source);
    const raw = end ? source.slice(0, end.index + end[0].length) : source;
    return { type: "code", raw, lang: "html", text: raw.trimEnd() };
  },
};

/** @type {import("../vendor/marked.js").Extension} "[1]: address" is a line to be read, besides being what "[1]" leads to. */
export const definition = {
  name: "definition",
  level: "block",
  tokenizer(source) {
    if (!/^ {0,3}\[/.test(source)) return undefined;
    const found = Tokenizer.prototype.def.call(this.lexer.tokenizer, source);
    if (!found) return undefined;
    const { links } = this.lexer.tokens;
    links[found.tag] ??= { href: found.href, title: found.title };
    const label = /^ {0,3}\[(?:\\[\s\S]|[^\]])*\]:/.exec(found.raw)?.[0] ?? "";
    const rest = found.raw.slice(label.length).trimEnd();
    return { type: "definition", raw: found.raw, tokens: [text(label.trimStart()), ...this.lexer.inlineTokens(rest)] };
  },
  renderer(token) {
    return `<p>${this.parser.parseInline(token.tokens ?? [])}</p>\n`;
  },
};

/** @type {import("../vendor/marked.js").Extension} Notation that Markdown lacks: H<sub>2</sub>O, x<sup>2</sup>, <kbd>Ctrl</kbd>. */
export const shortTags = {
  name: "shortTags",
  level: "inline",
  tokenizer(source, tokens) {
    if (source[0] !== "<") return undefined;
    const found = /^<(sub|sup|kbd)>([^<>\n]{1,40})<\/\1>/i.exec(source);
    if (!found) return undefined;
    const tag = found[1].toLowerCase();
    const attached = /\S$/.test(tokens.at(-1)?.raw ?? " "); // alone it is a tag somebody writes about
    if (tag !== "kbd" && !attached) return undefined;
    return { type: "shortTags", raw: found[0], tag, text: found[2] };
  },
  renderer: (token) => `<${token.tag}>${escapeHtml(String(token.text))}</${token.tag}>`,
};
