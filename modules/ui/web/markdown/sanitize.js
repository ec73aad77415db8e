/** The last gate before the page: nothing but formatting comes through, whatever the parser produced. Nothing is taken out in silence. */

import createDOMPurify from "../vendor/purify.js";

const TAGS = (
  "p br hr h1 h2 h3 h4 h5 h6 strong em del sub sup kbd a code pre blockquote ul ol li table thead tbody tr th td input span div"
).split(" ");
const ATTRIBUTES = ["href", "title", "class", "align", "start", "value", "type", "checked", "disabled", "data-display"];

/** @type {{RETURN_DOM_FRAGMENT: true} & Record<string, unknown>} */
const CONFIG = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ATTRIBUTES,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ADD_URI_SAFE_ATTR: ["align", "start", "value", "type", "checked", "disabled", "data-display"], // not addresses
  RETURN_DOM_FRAGMENT: true,
};

/**
 * The nodes of `html`. Throws when an element had to be taken out: then the text is to be shown as it was written.
 * @param {string} html @returns {DocumentFragment}
 */
export function sanitize(html) {
  const fragment = createDOMPurify.sanitize(html, CONFIG);
  const gone = createDOMPurify.removed.find(({ element }) => element && element.nodeName !== "BODY"); // of the document it was parsed in
  if (gone) throw new Error(`The parser produced an element that is not formatting: ${gone.element?.nodeName}`);
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (fragment.querySelectorAll("a[href]"))) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    link.referrerPolicy = "no-referrer";
  }
  for (const box of /** @type {NodeListOf<HTMLInputElement>} */ (fragment.querySelectorAll("input"))) {
    box.closest("li")?.classList.add("eh-task");
    box.replaceWith(mark(box));
  }
  return fragment;
}

/** The box of a task list: a sign, because it cannot be ticked here. @param {HTMLInputElement} box */
function mark(box) {
  const sign = document.createElement("span");
  if (box.type !== "checkbox") return sign;
  sign.className = "eh-box";
  sign.setAttribute("role", "img");
  sign.setAttribute("aria-label", box.checked ? "done" : "open");
  sign.textContent = box.checked ? "☑" : "☐";
  return sign;
}
