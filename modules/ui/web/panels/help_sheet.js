/** The sheet of keyboard shortcuts, and the switch that turns them off. */

import { h, uid } from "../core/dom.js";
import { openDialog } from "./dialog.js";
import { t } from "../core/texts.js";

/** @param {{root: Element, shortcuts: import("../core/shortcuts.js").Shortcuts}} context */
export function openHelp({ root, shortcuts }) {
  if (root.querySelector(".eh-help")) return;
  /** @type {Map<string, import("../types.js").Shortcut[]>} */
  const groups = new Map();
  for (const row of shortcuts.table) {
    groups.set(row.group, [...(groups.get(row.group) ?? []), row]);
  }
  const name = uid("switch");
  const on = h("input", { type: "checkbox", id: name });
  on.checked = shortcuts.enabled;
  on.addEventListener("change", () => { shortcuts.enabled = on.checked; });
  const body = [
    h("div", { class: "eh-help" }, [...groups].map(([group, rows]) => h("section", {}, h("h3", { class: "eh-day", text: group }),
      h("dl", { class: "eh-keys" }, rows.map((row) => [h("dt", {}, row.keys.map((keys) => h("kbd", { text: shortcuts.name(keys) }))), h("dd", { text: row.label })]))))),
    h("p", { class: "eh-row" }, on, h("label", { for: name, text: t("help.switch") })),
  ];
  openDialog({ root, title: t("help.title"), body, wide: true });
}
