/** The last gate before the page: nothing but formatting comes through, whatever the parser produced. */

import createDOMPurify from "../vendor/purify.js";

const TAGS = (
  "p br hr h1 h2 h3 h4 h5 h6 strong b em i u s del ins sub sup kbd mark small wbr a code pre blockquote " +
  "ul ol li table thead tbody tr th td details summary input span div"
).split(" ");
const ATTRIBUTES = ["href", "title", "class", "align", "start", "type", "checked", "disabled", "data-display"];

const CONFIG = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ATTRIBUTES,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ADD_URI_SAFE_ATTR: ["align", "start", "type", "checked", "disabled", "data-display"], // not addresses
  RETURN_DOM_FRAGMENT: true,
};

/** @param {string} html @returns {DocumentFragment} */
export function sanitize(html) {
  const purify = createDOMPurify.sanitize ? createDOMPurify : createDOMPurify(window);
  const fragment = purify.sanitize(html, CONFIG);
  for (const link of fragment.querySelectorAll("a[href]")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    link.referrerPolicy = "no-referrer";
  }
  for (const box of fragment.querySelectorAll("input")) {
    box.closest("li")?.classList.add("eh-task");
    box.replaceWith(mark(box));
  }
  return fragment;
}

/** The box of a task list: a sign, because it cannot be ticked here. */
function mark(box) {
  const sign = document.createElement("span");
  if (box.type !== "checkbox") return sign;
  sign.className = "eh-box";
  sign.setAttribute("role", "img");
  sign.setAttribute("aria-label", box.checked ? "done" : "open");
  sign.textContent = box.checked ? "☑" : "☐";
  return sign;
}
