// What the page uses of highlight.js, for the type check. Not part of the package.

export interface HLJS {
  getLanguage(name: string): object | undefined;
  highlight(source: string, options: { language: string; ignoreIllegals?: boolean }): { value: string };
}

declare const hljs: HLJS;
export default hljs;
