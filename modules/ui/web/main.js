/** Mounts the chat into an element, in Gradio or in any page: `mount({element, config: {shortcuts}})`. */

import { fill, h } from "./core/dom.js";
import { ChatApp } from "./chat_app.js";

const STYLES = ["tokens", "css/base", "css/layout", "css/messages", "css/markdown", "css/composer", "css/panels"];

/** Load our style sheets once for the document; resolves when they apply. */
function styles() {
  return Promise.all(STYLES.map((name) => new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
    const href = new URL(`./${name}.css`, import.meta.url).href;
    if ([.../** @type {NodeListOf<HTMLLinkElement>} */ (document.querySelectorAll("link[rel=stylesheet]"))].some((link) => link.href === href)) return resolve();
    const link = h("link", { rel: "stylesheet", href, on: { load: resolve, error: resolve } });
    document.head.append(link);
    return undefined;
  })));
}

/**
 * @param {{element: import("./types.js").Surface["element"], config: {shortcuts: import("./types.js").Shortcut[], base?: string}}} parts
 *   element is ours from now on; config holds constants only, never anything a person or a model wrote
 * @returns {Promise<{close: () => void}>}
 */
export async function mount({ element, config }) {
  element.enginehouse?.close();
  /** @type {HTMLElement|null} */ (element.closest(".html-container"))?.style.setProperty("padding", "0"); // Gradio's frame around us
  const root = h("div", { class: "eh", "data-loading": true });
  fill(element, root);
  const workbench = new ChatApp(root, config);
  element.enginehouse = { close: () => workbench.close() };
  const data = workbench.fetchFirst();
  await styles();
  workbench.show();
  await data;
  root.removeAttribute("data-loading");
  return element.enginehouse;
}
