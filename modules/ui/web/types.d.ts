// The data that crosses between the server and the page, as /api sends it (docs/api.md), and what the parts of the page
// share. Types only: nothing here reaches a browser.

/** An error in the server's words. `code` is what code decides by. */
export interface ServerError {
  message: string;
  hint?: string;
  code?: string;
  param?: string | null;
  status?: number;
  fallback?: FallbackOffer | null;
  figures?: Record<string, number>;
  offers?: Offer[];
}

/** What can be done about a prompt that does not fit the context. */
export type Offer = { kind: "edit_message"; message: string } | ({ kind: "reload"; settings: { context: number } } & FallbackOffer);

/** With which settings a model that did not fit should load. */
export interface FallbackOffer {
  model: string;
  loader?: string;
  settings: Record<string, unknown>;
  changes: { label: string; was: string; now: string }[];
  says?: string;
  why?: string;
}

export interface Notice {
  message: string;
  code?: string;
  param?: string | null;
  hint?: string;
  level?: "info" | "warning" | "error";
}

/** What the prompt took of the context, and what did not fit. Counts are tokens unless named otherwise. */
export interface Ledger {
  limit: number;
  prompt_tokens: number;
  reserved: number;
  kept_messages: number;
  dropped_messages: number;
  dropped_tokens: number;
  exact: boolean;
  why: string;
  model: string;
  oversized_messages?: number;
  sources?: LedgerSource[];
}

/** What one source takes of the prompt: "system_prompt", "history" … */
export interface LedgerSource {
  name: string;
  tokens: number;
  messages: number;
  dropped_tokens: number;
  dropped_messages: number;
}

export interface Stats {
  prompt_tokens: number;
  cached_tokens?: number;
  completion_tokens: number;
  reasoning_tokens?: number;
  prompt_ms: number;
  completion_ms: number;
  first_token_ms?: number;
  queued_ms?: number;
  seed?: number | null;
  context_limit?: number;
  tokens_per_second?: number;
}

export type MessageState = "sending" | "running" | "done" | "stopped" | "failed" | "interrupted";

/** One message of a chat. `parent` null = the first. */
export interface Message {
  id: string;
  parent: string | null;
  role: "system" | "user" | "assistant";
  text: string;
  state: MessageState;
  created: string;
  reasoning?: string;
  model?: string | null;
  stats?: Stats | null;
  notices?: Notice[];
  ledger?: Ledger | null;
  error?: ServerError | null;
  finish_reason?: string | null;
  continue_of?: string | null;
  thought_ms?: number;
  meta?: Record<string, unknown>;
  rev?: number;
}

/** A whole chat. `rev` counts its changes: a change names the one it saw. */
export interface Chat {
  id: string | null;
  title?: string;
  created?: string;
  updated?: string;
  rev?: number;
  leaf?: string | null;
  system?: string;
  messages?: Message[];
}

/** A chat in the list. */
export interface ChatInfo {
  id: string;
  title: string;
  created: string;
  updated: string;
  snippet: string;
  messages: number;
}

/** The answer to a change of a chat. */
export interface ChatChange {
  rev?: number;
  message?: Message | null;
  reply?: Message | null;
}

export interface Progress {
  /** "queued", "loading", "prompt", or a word of the engine's own */
  stage: string;
  done: number;
  total: number;
  cached?: number;
}

/** One event of a running reply: t = text, r = reasoning, n = tokens, i = its number. */
export interface ReplyEvent {
  i?: number;
  n?: number;
  t?: string;
  r?: string;
  reset?: boolean;
  progress?: Progress;
  notice?: Notice;
  ledger?: Ledger;
  done?: { reason: string; stats: Stats; rev?: number };
  failed?: ServerError & { rev?: number };
}

export type ModelState = "empty" | "starting" | "ready" | "busy" | "stopping" | "crashed" | "failed";

/** The state of the model in the foreground. `progress` runs from 0 to 1. */
export interface ModelStatus {
  state: ModelState;
  model: string;
  loader: string;
  progress: number | null;
  stage: string;
  error: ServerError | null;
  info: { context: number; slots: number; sends_to: string; features: string[]; details: Record<string, string> } | null;
  settings: Record<string, unknown>;
  memory_bytes?: number;
  running?: number;
  waiting?: number;
  why?: string;
}

/** Bytes. */
export interface Memory {
  total: number;
  available: number;
  server: number;
  engine: number;
  partial?: boolean;
}

/** A model on disk. */
export interface ModelInfo {
  name: string;
  size: number;
  format: string;
  arch: string;
  quant: string;
  kind: string;
  context_length: number | null;
  parameters: number | null;
  layers: number | null;
  chat_template: boolean;
  runnable: boolean;
  reason: string;
  loaders: string[];
  builtin: boolean;
  capabilities: string[];
  languages: string[];
  sends_to: string;
  loaded: boolean;
}

export interface DeviceShare {
  name: string;
  sum: number;
  device_free: number | null;
  device_total: number | null;
  weights: number;
  kv_cache: number;
  compute: number;
  overhead: number;
}

export interface Estimate {
  verdict: string;
  why: string;
  shares: DeviceShare[];
  partial: string[];
}

export type ParamValue = number | string | boolean | string[] | Record<string, number>;

/** A sampling parameter: one row of the server's table. */
export interface Param {
  name: string;
  kind: "int" | "float" | "bool" | "choice" | "list" | "map" | "text";
  label: string;
  help: string;
  group: string;
  low: number;
  high: number;
  step: number;
  default: ParamValue;
  choices: string[];
}

export interface PresetState {
  preset: string | null;
  modified: boolean;
}

export type Preset = { name: string; shipped: boolean };

export interface RunningReply {
  chat: string;
  message: string;
}

/** The whole state, as GET /api/state and each `hello` give it. */
export interface ServerState {
  version: string;
  model: ModelStatus;
  memory: Memory;
  has_models: boolean;
  problems: { source: string; message: string }[];
  settings: { theme?: string; user_data_dir?: string } & Record<string, unknown>;
  loaders: string[];
  replies: RunningReply[];
  api: { base_url: string; key_needed: boolean };
}

/** What the server tells over the WebSocket. */
export type ServerEvent =
  | { type: "hello"; state: ServerState; late?: boolean }
  | { type: "resync"; state: ServerState }
  | { type: "model"; status: ModelStatus }
  | { type: "memory"; memory: Memory }
  | { type: "models" }
  | { type: "chat"; id: string; kind: string; rev: number }
  | { type: "reply"; chat: string; message: string; state: string }
  | ({ type: "params"; values?: Record<string, ParamValue> } & PresetState)
  | ({ type: "notice" } & Notice);

/** A row of the table of shortcuts. */
export interface Shortcut {
  action: string;
  keys: string[];
  label: string;
  group: string;
  when: string;
}

/** What Gradio gives a component that draws itself. */
export interface Surface<Value = unknown> {
  element: HTMLElement & { enginehouse?: { close: () => void } };
  trigger: (event: string, detail?: object) => void;
  props: { value: Value };
  watch: (name: string, listener: () => void) => void;
}

/** What stands for a message on the page beside it: whether it is the last, and the versions of it. */
export interface Place {
  last: boolean;
  index: number;
  versions: string[];
  dropped: boolean;
}

export type Child = Node | string | number | null | undefined | false | readonly Child[];

/** The record the views of the chat read (core/store.js). */
export interface ChatState {
  ready: boolean;
  connected: boolean;
  retryAt: number;
  server: Omit<ServerState, "model" | "memory" | "replies"> | null;
  model: ModelStatus;
  memory: Memory | null;
  models: ModelInfo[];
  modelsFolder: string;
  chats: ChatInfo[];
  chatsMore: boolean;
  query: string;
  running: Set<string>;
  chat: import("./chat/chat_tree.js").ChatTree | null;
  tick: number;
  drawer: boolean;
  params: boolean;
  editing: string | null;
}

declare global {
  /** The catalogue of texts, written into the page's head. */
  var enginehouseTexts: Record<string, string> | undefined;
  interface Window {
    enginehouseTheme: (chosen: string) => void;
  }
  interface Navigator {
    userAgentData?: { platform?: string };
  }
}
