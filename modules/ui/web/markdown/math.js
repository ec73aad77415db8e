/** Formulas by KaTeX, fetched from this server with the first formula; until then, and on a mistake, the source stays. */

const CACHED = 300;

export class MathRenderer {
  /** @type {import("../vendor/katex/katex.js").Katex|null} */
  #katex = null;
  /** @type {Promise<void>|null} */
  #loading = null;
  /** @type {Map<string, HTMLElement>} */
  #cache = new Map();

  #load() {
    if (!this.#loading) {
      const css = document.createElement("link");
      css.rel = "stylesheet";
      css.href = new URL("../vendor/katex/katex.min.css", import.meta.url).href;
      document.head.append(css);
      this.#loading = import("../vendor/katex/katex.js").then((module) => { this.#katex = module.default; });
      this.#loading.catch((error) => console.warn("Formulas stay as text", error));
    }
    return this.#loading;
  }

  /** Turn the element's text, a formula with its delimiters, into the formula. @param {HTMLElement} element */
  render(element) {
    const source = element.textContent ?? "";
    const draw = () => this.#draw(element, source);
    if (this.#katex) draw();
    else this.#load().then(() => element.isConnected && draw(), () => null);
  }

  /** @param {HTMLElement} element @param {string} source */
  #draw(element, source) {
    const display = element.dataset.display === "1";
    const key = `${display}${source}`;
    let drawn = this.#cache.get(key);
    if (!drawn) {
      drawn = document.createElement("span");
      try {
        this.#katex?.render(bare(source), drawn, { displayMode: display, throwOnError: true, trust: false, strict: "ignore", maxSize: 40, maxExpand: 300 });
      } catch (error) {
        drawn.textContent = source;
        drawn.className = "eh-math-raw";
        drawn.title = (error instanceof Error ? error.message : String(error)).slice(0, 200);
      }
      if (this.#cache.size >= CACHED) this.#cache.delete([...this.#cache.keys()][0]);
      this.#cache.set(key, drawn);
    }
    element.replaceChildren(drawn.cloneNode(true));
  }
}

/** A formula without its delimiters. @param {string} source */
export function bare(source) {
  return source.trim().replace(/^(?:\$\$|\$|\\\(|\\\[)/, "").replace(/(?:\$\$|\$|\\\)|\\\])$/, "");
}
