/** Formulas by KaTeX, fetched from this server with the first formula; until then, and on a mistake, the source stays. */

const CACHED = 300;

export class MathRenderer {
  #katex = null;
  #loading = null;
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

  /** Turn the element's text, a formula with its delimiters, into the formula. */
  render(element) {
    const source = element.textContent;
    if (this.#katex) return this.#draw(element, source);
    this.#load().then(() => element.isConnected && this.#draw(element, source), () => null);
    return undefined;
  }

  #draw(element, source) {
    const display = element.dataset.display === "1";
    const key = `${display}${source}`;
    let drawn = this.#cache.get(key);
    if (!drawn) {
      drawn = document.createElement("span");
      try {
        this.#katex.render(bare(source), drawn, { displayMode: display, throwOnError: true, trust: false, strict: "ignore", maxSize: 40, maxExpand: 300 });
      } catch (error) {
        drawn.textContent = source;
        drawn.className = "eh-math-raw";
        drawn.title = String(error.message ?? error).slice(0, 200);
      }
      if (this.#cache.size >= CACHED) this.#cache.delete(this.#cache.keys().next().value);
      this.#cache.set(key, drawn);
    }
    element.replaceChildren(drawn.cloneNode(true));
  }
}

/** A formula without its delimiters. */
export function bare(source) {
  return source.trim().replace(/^(?:\$\$|\$|\\\(|\\\[)/, "").replace(/(?:\$\$|\$|\\\)|\\\])$/, "");
}
