/** Where the API is, with the lines a client needs. */

import { Api } from "../core/api.js";
import { button, fill, h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { copyText } from "../markdown/code_block.js";

/** @param {import("../types.js").Surface} parts */
export function mount({ element }) {
  new Api().state().then(
    ({ api }) => fill(element,
      address("Base address", `${api.base_url}/v1`),
      h("p", { class: "eht-muted", text: api.key_needed
        ? "Give the API key as “Authorization: Bearer …”, the way OpenAI's clients do."
        : "No key is needed from this computer; clients that insist on one may send anything." })),
    (error) => fill(element, h("p", { class: "eht-problem", text: error.message })),
  );
}

/** @param {string} label @param {string} text */
function address(label, text) {
  const said = h("span", { class: "eht-muted", role: "status" });
  const copy = button({ icon: icon("copy"), label: `Copy the ${label.toLowerCase()}`, onClick: async () => {
    try {
      await copyText(text);
      said.textContent = "copied";
    } catch (error) {
      said.textContent = error instanceof Error ? error.message : String(error);
    }
  } });
  return h("p", { class: "eht-address" }, h("span", { text: `${label}: ` }), h("code", { text }), copy, said);
}
