/** Building DOM without ever parsing a string: text goes in as text nodes only. */

/** @typedef {import("../types.js").Child} Child */

/**
 * Create an element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} props  `class`, `text`, `on` ({event: handler}), `vars` ({"--name": value});
 *   everything else becomes an attribute (true = empty, false/null/undefined = left out)
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name === "on") for (const [type, fn] of Object.entries(value)) element.addEventListener(type, fn);
    else if (name === "vars") for (const [key, item] of Object.entries(value)) element.style.setProperty(key, item);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/**
 * Append nodes and strings, skipping empty ones.
 * @template {Element} Parent
 * @param {Parent} parent @param {readonly Child[]} children
 */
export function append(parent, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(parent, child);
    else parent.append(/** @type {Node|string} */ (child));
  }
  return parent;
}

/**
 * Replace everything inside `parent`.
 * @param {Element} parent @param {...Child} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren();
  return append(parent, children);
}

/** @type {WeakMap<Element, string>} */
const drawn = new WeakMap();

/**
 * Fill `parent` anew only when `facts` are others than the last time: a button that is being pressed has to stay
 * the same one, and an alert that was read out is not read out again.
 * @param {Element} parent @param {unknown} facts @param {() => Child} build
 */
export function refill(parent, facts, build) {
  const key = JSON.stringify(facts);
  if (drawn.get(parent) === key) return;
  drawn.set(parent, key);
  fill(parent, build());
}

/** Show or hide by the `hidden` attribute, touching the DOM only on a change. @param {HTMLElement} element @param {boolean} visible */
export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** Set text only when it differs, so that a frame without news costs nothing. @param {Node} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * A button with an icon; the label is its accessible name and its tooltip, or visible text beside it.
 * @param {{icon?: Node, label: string, text?: string, keys?: string, onClick?: (event: MouseEvent) => unknown} & Record<string, any>} parts
 */
export function button({ icon, label, text, keys, onClick, ...props }) {
  const name = keys ? `${label} (${keys})` : label;
  const made = h("button", { type: "button", class: "eh-btn", title: text ? null : name, "aria-label": text ? null : label, ...props });
  if (icon) made.append(icon);
  if (text) made.append(h("span", { text }));
  if (onClick) made.addEventListener("click", onClick);
  return made;
}

/** A document-unique id for aria references. @param {string} prefix */
export function uid(prefix) {
  return `eh-${prefix}-${Math.random().toString(36).slice(2, 10)}`;
}

/** Give the person a file to save. @param {string} name @param {Blob} data */
export function saveAs(name, data) {
  const url = URL.createObjectURL(data);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
