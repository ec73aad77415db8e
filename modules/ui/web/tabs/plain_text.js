/** A single line of text, written as text: it may hold names that people or files gave. */

/** @param {import("../types.js").Surface<string>} parts */
export function mount({ element, props, watch }) {
  const draw = () => {
    element.textContent = props.value ?? "";
    element.hidden = !props.value;
  };
  watch("value", draw);
  draw();
}
