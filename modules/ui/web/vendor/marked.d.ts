// What the page uses of marked, for the type check. Not part of the package.

export interface Token {
  type: string;
  raw: string;
  text?: string;
  lang?: string;
  codeBlockStyle?: "indented";
  tokens?: Token[];
  items?: Token[];
  loose?: boolean;
  ordered?: boolean;
  href?: string;
  title?: string | null;
  [extra: string]: unknown;
}

export type Tokens = Token[] & { links: Record<string, { href: string; title: string | null }> };

export interface RendererThis {
  parser: { parse(tokens: Token[]): string; parseInline(tokens: Token[]): string };
}

export interface TokenizerThis {
  lexer: { inlineTokens(source: string, tokens?: Token[]): Token[]; blockTokens(source: string, tokens?: Token[]): Token[]; state: { inLink: boolean; inRawBlock: boolean; top: boolean } };
  rules: { inline: Record<string, RegExp>; block: Record<string, RegExp>; other: Record<string, RegExp> };
  options: Record<string, unknown>;
}

export interface Extension {
  name: string;
  level?: "block" | "inline";
  start?(this: TokenizerThis, source: string): number | undefined;
  tokenizer?(this: TokenizerThis, source: string, tokens: Token[]): Token | undefined;
  renderer?(this: RendererThis, token: Token): string | false | undefined;
}

export interface Options {
  gfm?: boolean;
  breaks?: boolean;
  extensions?: Extension[];
  renderer?: Record<string, (this: RendererThis, token: Token) => string | false>;
  tokenizer?: Record<string, (this: TokenizerThis, source: string, ...more: unknown[]) => Token | undefined | false>;
  hooks?: Record<string, unknown>;
  walkTokens?: (token: Token) => void;
}

export class Marked {
  constructor(...options: Options[]);
  use(...options: Options[]): this;
  lexer(source: string): Tokens;
  parser(tokens: Token[]): string;
  parse(source: string): string;
}
