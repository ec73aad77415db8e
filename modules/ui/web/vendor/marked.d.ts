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
  align?: string | null;
  header?: boolean | Token[];
  block?: boolean;
  escaped?: boolean;
  display?: boolean;
  tag?: string;
}

export interface Table extends Token {
  rows: Token[][];
}

export interface Definition extends Token {
  tag: string;
  href: string;
  title: string | null;
}

export type Tokens = Token[] & { links: Record<string, { href: string; title: string | null }> };

export interface RendererThis {
  parser: { parse(tokens: Token[]): string; parseInline(tokens: Token[]): string };
}

export interface TokenizerThis {
  lexer: Lexer;
  rules: { inline: Record<string, RegExp>; block: Record<string, RegExp>; other: Record<string, RegExp> };
}

export class Tokenizer implements TokenizerThis {
  lexer: Lexer;
  rules: TokenizerThis["rules"];
  reflink(source: string, links: Record<string, object>): Token | undefined;
  table(source: string): Table | undefined;
  def(source: string): Definition | undefined;
}

export class Lexer {
  constructor(options?: Options);
  tokens: Tokens;
  tokenizer: Tokenizer;
  lex(source: string): Tokens;
  inline(source: string, tokens?: Token[]): Token[];
  inlineTokens(source: string, tokens?: Token[]): Token[];
}

export interface Extension {
  name: string;
  level?: "block" | "inline";
  start?(this: TokenizerThis, source: string): number | undefined;
  tokenizer?(this: TokenizerThis, source: string, tokens: Token[]): Token | undefined;
  renderer?(this: RendererThis, token: Token): string | false | undefined;
}

type TokenizerRule = (this: TokenizerThis, source: string, ...more: any[]) => Token | undefined | false;

export interface Options {
  gfm?: boolean;
  breaks?: boolean;
  extensions?: Extension[];
  renderer?: Record<string, (this: RendererThis, token: Token) => string | false>;
  tokenizer?: Record<string, TokenizerRule>;
}

export class Marked {
  constructor(...options: Options[]);
  defaults: Options;
  use(...options: Options[]): this;
  parser(tokens: Token[]): string;
}
