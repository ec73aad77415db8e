/** Which text is a formula: `$…$`, `$$…$$`, `\(…\)`, `\[…\]`. Prices, shell variables and bracketed numbers are not. */

import { escapeHtml } from "./escape_html.js";

/** @typedef {import("../vendor/marked.js").Extension} Extension */

const LONGEST = 4000; // characters of a formula; what is longer is text, so that an unclosed one costs little
const AHEAD = 2000; // characters looked through for the next formula at a time
const PROSE = /(?:^|\s)[A-Za-z]{3,},?\s+[A-Za-z]{2,}/; // two words beside each other
const TEX = /[\\^_{}=<>+*/|]/;
const PARAGRAPH_END = /\n[ \t]*\n/;

/** The text up to `close`, both included, when it begins with `open`; "" when it does not end soon. @param {string} source @param {string} open @param {string} close */
function enclosed(source, open, close) {
  if (!source.startsWith(open)) return "";
  const near = source.slice(0, LONGEST);
  const end = near.indexOf(close, open.length);
  if (end <= open.length) return "";
  const found = near.slice(0, end + close.length);
  return PARAGRAPH_END.test(found) ? "" : found;
}

/** A price or words between two dollar signs are no formula. @param {string} inside */
function isFormula(inside) {
  if (TEX.test(inside)) return !(PROSE.test(inside) && !/[\\^_=]/.test(inside));
  return !PROSE.test(inside) && !/^\d[\d.,]*\s+\S*[A-Za-z]{2,}/.test(inside);
}

/** @param {string} source */
function inlineFormula(source) {
  const display = enclosed(source, "$$", "$$");
  if (display && !display.includes("\n")) return { raw: display, display: true };
  const line = source.slice(0, LONGEST).split("\n", 1)[0];
  const single = /^\$(?![\s$])((?:\\.|[^$\\])*?[^\s\\$]|[^\s\\$])\$(?![\w${])/.exec(line);
  if (single) return isFormula(single[1]) ? { raw: single[0], display: false } : null;
  const round = enclosed(source, "\\(", "\\)");
  if (round) return { raw: round, display: false };
  const square = enclosed(source, "\\[", "\\]");
  // "\[1\]" is a bracket that was escaped
  if (square && (TEX.test(square.slice(2, -2)) || /^\s*[A-Za-z]\s*$/.test(square.slice(2, -2)))) return { raw: square, display: true };
  return null;
}

/** @type {Extension} */
export const inlineMath = {
  name: "inlineMath",
  level: "inline",
  start(source) {
    const at = source.slice(0, AHEAD).search(/\$|\\\(|\\\[/);
    if (at >= 0) return at;
    return source.length > AHEAD ? AHEAD : undefined; // text may be cut anywhere; it is looked through from there
  },
  tokenizer(source) {
    const found = inlineFormula(source);
    return found ? { type: "inlineMath", ...found } : undefined;
  },
  renderer: (token) => `<span class="eh-math" data-display="${token.display ? 1 : 0}">${escapeHtml(token.raw)}</span>`,
};

/** @type {Extension} */
export const blockMath = {
  name: "blockMath",
  level: "block",
  start: (source) => startInParagraph(source, /\n {0,3}(?:\$\$|\\\[)/g, (rest) => blockFormula(rest) !== undefined),
  tokenizer: (source) => blockFormula(source),
  renderer: (token) => `<div class="eh-math" data-display="1">${escapeHtml(token.raw.trim())}</div>`,
};

/** @param {string} source */
function blockFormula(source) {
  const indent = /^ {0,3}/.exec(source)?.[0] ?? "";
  const rest = source.slice(indent.length, LONGEST);
  const found = enclosed(rest, "$$", "$$") || enclosed(rest, "\\[", "\\]");
  if (!found || !found.slice(2, -2).trim()) return undefined;
  const end = /^[ \t]*(?:\n+|$)/.exec(rest.slice(found.length));
  return end ? { type: "blockMath", raw: indent + found + end[0] } : undefined;
}

/**
 * Where in the paragraph at the beginning of `source` the block begins; a paragraph is looked through once, not the rest of the text.
 * Only a place where the block does begin counts: each one ends a paragraph, and what follows is read again from there.
 * @param {string} source @param {RegExp} pattern  global, from the line's end before the block on
 * @param {(rest: string) => boolean} begins
 */
export function startInParagraph(source, pattern, begins) {
  const end = source.indexOf("\n\n");
  for (const found of (end < 0 ? source : source.slice(0, end + 1)).matchAll(pattern)) {
    if (begins(source.slice(found.index + 1))) return found.index;
  }
  return undefined;
}
