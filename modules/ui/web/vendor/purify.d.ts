// What the page uses of DOMPurify, for the type check. Not part of the package.

export interface DOMPurify {
  (window: Window): DOMPurify;
  sanitize(html: string, config: { RETURN_DOM_FRAGMENT: true } & Record<string, unknown>): DocumentFragment;
  removed: { element?: Node; attribute?: Attr | null; from?: Node }[];
  addHook(name: string, hook: (node: Element, data: { tagName?: string; allowedTags?: Record<string, boolean> }) => void): void;
}

declare const createDOMPurify: DOMPurify;
export default createDOMPurify;
