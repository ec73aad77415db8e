/** What the context holds, as far as the page can tell: tokens of a text nobody has counted, and what was left out. */

const CHARACTERS_PER_TOKEN = 3.8; // a rough mean for English
const ENOUGH = 400; // characters of a counted prompt from which its own mean is the better guess

/**
 * Tokens of a text, guessed by its length; always shown as a guess ("~").
 * @param {string} text @param {{tokens: number, characters: number}} [counted]  a prompt of this chat and its texts
 */
export function guessTokens(text, counted = { tokens: 0, characters: 0 }) {
  const known = counted.tokens > 0 && counted.characters >= ENOUGH;
  return Math.ceil(text.length * (known ? counted.tokens / counted.characters : 1 / CHARACTERS_PER_TOKEN));
}

/**
 * How many messages at the start of the conversation the model does not see any more. A message that was left out
 * because it is larger than the context stands anywhere; an empty reply was never sent.
 * @param {{role: string, text: string}[]} path
 * @param {{dropped_messages?: number, oversized_messages?: number}|null|undefined} ledger
 */
export function droppedFromStart(path, ledger) {
  let left = (ledger?.dropped_messages ?? 0) - (ledger?.oversized_messages ?? 0);
  let place = 0;
  for (; place < path.length && left > 0; place++) if (path[place].text || path[place].role === "user") left--;
  return place;
}
