/** What the page says to people: the catalogue modules/ui/texts, which the server writes into the page's head. */

/** @type {Record<string, string>} */
const texts = globalThis.enginehouseTexts ?? {};
const plurals = new Intl.PluralRules(undefined);
const numbers = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });

/**
 * The text of a key with `{{name}}` replaced by values; numbers are written with separators. A text that depends on a
 * number stands under `key_one`, `key_other` …, and `count` chooses. A key without a text is shown itself.
 * @param {string} key @param {Record<string, string|number|null|undefined>} values
 */
export function t(key, values = {}) {
  const text = texts[key] ?? (typeof values.count === "number" ? texts[`${key}_${plurals.select(values.count)}`] ?? texts[`${key}_other`] : undefined) ?? key;
  return text.replace(/\{\{(\w+)\}\}/g, (whole, name) => {
    const value = values[name];
    return typeof value === "number" ? numbers.format(value) : String(value ?? whole);
  });
}
