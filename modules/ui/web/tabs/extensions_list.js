/** The extensions that were asked for: loaded, or not and why. */

import { fill, h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { t } from "../core/texts.js";

/** @typedef {{name: string, version?: string, ok: boolean, problem?: string}} ExtensionRow */

/** @param {import("../types.js").Surface<ExtensionRow[]>} parts */
export function mount({ element, props, watch }) {
  const draw = () => {
    const rows = props.value || [];
    fill(element, rows.length === 0 && h("p", { class: "eht-muted", text: t("extensions.none") }), rows.map(row));
  };
  watch("value", draw);
  draw();
}

/** @param {ExtensionRow} extension */
function row({ name, version, ok, problem }) {
  return h("div", { class: `eht-extension${ok ? "" : " is-bad"}` },
    icon(ok ? "check" : "alert"),
    h("div", {},
      h("strong", { text: name }),
      version && h("span", { class: "eht-muted", text: ` ${version}` }),
      h("p", { class: problem ? "eht-problem" : "eht-muted", text: problem || t("extensions.loaded") })));
}
