/** Where the API is, with the lines a client needs. */

import { Api } from "../core/api.js";
import { button, fill, h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { copyText } from "../markdown/code_block.js";
import { t } from "../core/texts.js";

/** @param {import("../types.js").Surface} parts */
export function mount({ element }) {
  new Api().state().then(
    ({ api }) => fill(element,
      address(t("api.base"), `${api.base_url}/v1`),
      h("p", { class: "eht-muted", text: api.key_needed
        ? t("api.key_needed")
        : t("api.no_key") })),
    (error) => fill(element, h("p", { class: "eht-problem", text: error.message })),
  );
}

/** @param {string} label @param {string} text */
function address(label, text) {
  const said = h("span", { class: "eht-muted", role: "status" });
  const copy = button({ icon: icon("copy"), label: t("api.copy", { what: label }), onClick: async () => {
    try {
      await copyText(text);
      said.textContent = t("api.copied");
    } catch (error) {
      said.textContent = error instanceof Error ? error.message : String(error);
    }
  } });
  return h("p", { class: "eht-address" }, h("span", { text: `${label}: ` }), h("code", { text }), copy, said);
}
