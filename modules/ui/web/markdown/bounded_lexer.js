/**
 * marked's lexer with a bound on the work that a text can ask for. Some of its rules look from each sign to the end of the
 * paragraph, so a paragraph of many signs costs their square. Such a paragraph is shown as it was written.
 */

import { Lexer } from "../vendor/marked.js";

const SHORT = 2000; // characters; a paragraph up to this length is never too much
const MOST_SIGNS = 400; // of one kind, in a longer paragraph
const LONGEST_WORD = 1000; // characters without a space: each place in it could begin an e-mail address
const DEEPEST = 32; // quotes and lists opened in one line
const MOST_DASHES = 64; // lines that could begin a table, in one paragraph: at each the rule reads all that follow
const SIGNS = ["*", "_", "~", "[", "<", "`", "$", "\\", "@"];
const WORD = new RegExp(`[^\\s]{${LONGEST_WORD}}`);
const DEEP = new RegExp(`^(?:[ \\t]*(?:>|(?:[-+*]|\\d{1,9}[.)])[ \\t])){${DEEPEST}}`, "m");

/** @param {string} source  a paragraph */
export function isCostly(source) {
  if (source.length <= SHORT) return false;
  return SIGNS.some((sign) => hasMore(source, sign)) || WORD.test(source);
}

/** Does a line open more quotes and lists in each other, or a paragraph more tables, than a person would write? @param {string} source */
export function isTooDeep(source) {
  if (DEEP.test(source)) return true;
  let dashes = 0;
  for (const line of source.split("\n")) {
    if (line.trim() === "") dashes = 0;
    else if (/^[-:| \t]+$/.test(line)) dashes += 1;
    if (dashes > MOST_DASHES) return true;
  }
  return false;
}

/** @param {string} source @param {string} sign */
function hasMore(source, sign) {
  let found = 0;
  for (let at = source.indexOf(sign); at >= 0 && found <= MOST_SIGNS; at = source.indexOf(sign, at + 1)) found += 1;
  return found > MOST_SIGNS;
}

export class BoundedLexer extends Lexer {
  /**
   * @param {string} source @param {import("../vendor/marked.js").Token[]} tokens
   * @returns {import("../vendor/marked.js").Token[]}
   */
  inlineTokens(source, tokens = []) {
    if (!isCostly(source)) return super.inlineTokens(source, tokens);
    for (const [at, line] of source.split("\n").entries()) {
      if (at > 0) tokens.push({ type: "br", raw: "\n" });
      tokens.push({ type: "text", raw: line, text: line, escaped: false });
    }
    return tokens;
  }
}
