/** A short table of names and values, each with its explanation. Everything is written as text. */

import { fill, h } from "../core/dom.js";

/** @param {import("../types.js").Surface<{name: string, value: string, help?: string}[]>} parts */
export function mount({ element, props, watch }) {
  const draw = () => fill(element, h("dl", { class: "eht-facts" }, (props.value || []).flatMap(({ name, value, help }) => [
    h("dt", { text: name }),
    h("dd", {}, h("span", { class: "eht-fact-value", text: value, dir: "auto" }), help && h("span", { class: "eht-muted", text: help })),
  ])));
  watch("value", draw);
  draw();
}
