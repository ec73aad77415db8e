/** A code block: its language, wrapping, copying, saving; text grows in place while it streams. */

import { button, h, saveAs, setText } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { t } from "../core/texts.js";

/** @type {Record<string, string>} */
const ENDINGS = {
  python: "py", javascript: "js", typescript: "ts", bash: "sh", shell: "sh", sh: "sh", json: "json", html: "html",
  xml: "xml", css: "css", c: "c", cpp: "cpp", csharp: "cs", java: "java", go: "go", rust: "rs", ruby: "rb", php: "php",
  sql: "sql", yaml: "yaml", markdown: "md", kotlin: "kt", swift: "swift", lua: "lua", r: "r", perl: "pl", diff: "diff",
};
const DONE = 1600; // ms the tick stays after copying

/** Put text on the clipboard, also where the page is not a secure context (a LAN address over http). @param {string} text */
export async function copyText(text) {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  const focused = document.activeElement;
  const area = h("textarea", { class: "eh-sr", "aria-hidden": "true" });
  area.value = text;
  (focused?.closest("dialog[open]") ?? document.body).append(area); // outside an open dialog nothing can be selected
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  if (!copied) throw new Error(t("code.no_copy"));
  return undefined;
}

/** Show a tick on a button for a moment. @param {HTMLElement} target @param {string} name  the icon that comes back */
export function tick(target, name) {
  target.replaceChildren(icon("check"));
  setTimeout(() => target.replaceChildren(icon(name)), DONE);
}

export class CodeBlock {
  #text;

  /**
   * @param {string} language  what stands after the fence, as written
   * @param {string} source
   * @param {{highlighter: import("./highlight.js").Highlighter, closed?: boolean}} options
   */
  constructor(language, source, { highlighter, closed = true }) {
    this.label = h("span", { class: "eh-code-lang" });
    this.#text = document.createTextNode(source);
    this.code = h("code", { dir: "ltr" }, this.#text);
    this.highlighter = highlighter;
    this.node = h("div", { class: "eh-code" }, this.#head(), h("pre", { tabindex: 0, "aria-label": t("code.label") }, this.code));
    this.name(language);
    if (closed) this.close();
  }

  /** Set what stands after the fence; while it streams, it still grows. @param {string} language */
  name(language) {
    /** @type {string} the first word of it, by which it is colored and saved */
    this.language = (language.trim().split(/[\s{,]/)[0] ?? "").toLowerCase();
    setText(this.label, language.trim() || "text");
  }

  get source() {
    return this.code.textContent ?? "";
  }

  /** Set the source while it streams; appends when it only grew. @param {string} source */
  update(source) {
    const known = this.#text.data;
    if (source === known) return;
    if (!this.#text.isConnected) this.code.replaceChildren(this.#text); // coloured too early: the fence was not the end
    if (source.startsWith(known)) this.#text.appendData(source.slice(known.length));
    else this.#text.data = source;
  }

  /** The fence has closed: colour it. */
  close() {
    this.highlighter.add(this.code, this.language);
  }

  #head() {
    const wrap = button({
      icon: icon("wrap"), label: t("code.wrap"), "aria-pressed": "false",
      onClick: () => wrap.setAttribute("aria-pressed", String(this.node.classList.toggle("eh-wrap"))),
    });
    const copy = button({
      icon: icon("copy"), label: t("code.copy"), class: "eh-btn eh-copy-code",
      onClick: () => copyText(this.source).then(() => tick(copy, "copy"), (error) => {
        copy.dispatchEvent(new CustomEvent("eh-problem", { bubbles: true, detail: error })); // the page says it
      }),
    });
    const save = button({ icon: icon("download"), label: t("code.download"), onClick: () => this.#save() });
    return h("div", { class: "eh-code-head" }, this.label, wrap, copy, save);
  }

  #save() {
    saveAs(`code.${ENDINGS[this.language] ?? "txt"}`, new Blob([this.source], { type: "text/plain" }));
  }
}
