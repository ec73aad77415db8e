// What the page uses of KaTeX, for the type check. Not part of the package.

export interface Katex {
  render(source: string, element: HTMLElement, options: Record<string, unknown>): void;
}

declare const katex: Katex;
export default katex;
