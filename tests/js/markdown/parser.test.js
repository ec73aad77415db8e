import assert from "node:assert/strict";
import { test } from "node:test";

import { makeParser } from "../../../modules/ui/web/markdown/parser.js";

const parser = makeParser();
const html = (text) => parser.parser(parser.lexer(text)).trim();

const RULES = {
  "one tilde is a tilde": ["3~5 and 7~10", "<p>3~5 and 7~10</p>"],
  "two tildes strike through": ["~~a~~", "<p><del>a</del></p>"],
  "a tag is text": ["<s> and </s>", "<p>&#60;s&#62; and &#60;/s&#62;</p>"],
  "a line break is one": ["a\nb", "<p>a<br>b</p>"],
  "prices are no formula": ["$5 and $10", "<p>$5 and $10</p>"],
  "a formula is one": ["$x$", '<p><span class="eh-math" data-display="0">$x$</span></p>'],
  "products keep their signs": ["2*3*4 and x**2 + y**2", "<p>2*3*4 and x**2 + y**2</p>"],
  "bold may end inside a word": ["**B**old", "<p><strong>B</strong>old</p>"],
  "names with underscores": ["__init__ and a_b_c", "<p>__init__ and a_b_c</p>"],
  "numbers stay as they were written": ["3. a\n2. b", '<ol><li value="3">a</li><li value="2">b</li></ol>'],
  "a named source keeps its brackets": ["[1]\n\n[1]: https://a.org/x", '<p><a href="https://a.org/x">[1]</a></p>\n<p>[1]: <a href="https://a.org/x">https://a.org/x</a></p>'],
  "a break in a cell": ["|a|\n|:-|\n|1<br>2|", '<table>\n<thead>\n<tr>\n<th align="left">a</th>\n</tr>\n</thead>\n<tbody><tr>\n<td align="left">1<br>2</td>\n</tr>\n</tbody></table>'],
  "dashes below a text are a rule": ["a\n---", "<p>a</p>\n<hr>"],
  "a link to a script is not one": ["[a](javascript:1)", '<p>a <span class="eh-dead">(javascript:1)</span></p>'],
  "a link without a text shows its address": ["[](https://a.org)", '<p><a href="https://a.org">https://a.org</a></p>'],
  "what stands after a fence is kept": ["```js title=\"x\"\na\n```", '<pre title="js title=&#34;x&#34;"><code>a\n</code></pre>'],
};

for (const [name, [text, wanted]] of Object.entries(RULES)) {
  test(name, () => assert.equal(html(text), wanted));
}

// ── work ─────────────────────────────────────────────────────────────────────────────────────────

const repeat = (piece) => (length) => piece.repeat(Math.ceil(length / piece.length)).slice(0, length);

const HOSTILE = {
  "unclosed formulas": repeat("$$a\n"), "unclosed round brackets": repeat("\\("), "an address that never comes": (length) => `${"a.".repeat(length / 2)}@`,
  "formulas between paragraphs": repeat("\\[\na\n\n"), "stars": repeat("*a "), "underscores": repeat("_a "), "brackets": repeat("["),
  "links": repeat("[a]("), "backticks": repeat("`a``"), "comments": repeat("<!--"), "tags": repeat("<a "), "tildes": repeat("~~a "),
  "rows of a table": (length) => `|a|\n|-|\n${repeat("|x|\n")(length)}`, "paragraphs": repeat("a\n\n"), "pages": repeat("<!doctype html>\n\n"),
  "definitions": repeat("[a]: b\n\n"), "addresses": repeat("a.a.a@ "), "urls": repeat("http://a.b/ "), "one word": repeat("a"),
};

/** Processor time in ms that a text of this length takes, the better of two. */
function cost(make, length) {
  const text = make(length);
  const times = [1, 2].map(() => {
    const before = process.cpuUsage();
    html(text);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
  return Math.min(...times);
}

for (const [name, make] of Object.entries(HOSTILE)) {
  test(`the work grows as the length does: ${name}`, () => {
    const [small, large] = [cost(make, 16_384), cost(make, 131_072)];
    // eight times the text: a square would be 64 times the work. What takes no time at all may grow as it likes.
    assert.ok(large < 60 || large < small * 24, `${small} ms for 16 kB, ${large} ms for 128 kB`);
  });
}

test("what would ask for the square of the work whatever the rules is refused, and becomes plain text", () => {
  for (const piece of [">", "> ", "- ", "1. "]) assert.throws(() => html(`${piece.repeat(5000)}a`), RangeError);
  for (const piece of ["a\n-\n", "a|b|c\n-|-\n"]) assert.throws(() => html(piece.repeat(5000)), RangeError);
  assert.doesNotThrow(() => html("a\n\n---\n\n|a|\n|-|\n|b|\n\n".repeat(500)));
});

test("a long paragraph with few signs is drawn as any other", () => {
  assert.match(html(`**bold** ${"word ".repeat(20_000)}`), /<strong>bold<\/strong>/);
});
