/** Short messages of the tabs: something was saved, or a value was refused and why. */

import { Toasts } from "../panels/toasts.js";

/** @param {import("../types.js").Surface<import("../types.js").Notice & {title?: string}>} parts */
export function mount({ element, props, watch }) {
  const toasts = new Toasts();
  element.append(toasts.node);
  watch("value", () => {
    const value = props.value;
    if (!value?.message) return;
    const message = value.title && !value.message.includes(value.title) ? `${value.title}: ${value.message}` : value.message;
    toasts.show({ message, hint: value.hint, level: value.level === "warning" ? "warning" : "info" });
  });
}
