/** Every call to the server, by name. Errors come as ApiError with the server's own words. */

import { t } from "./texts.js";

/** @typedef {import("../types.js").ServerError} ServerError */
/** @typedef {import("../types.js").ParamValue} ParamValue */
/** @typedef {import("../types.js").PresetState} PresetState */
/** @typedef {{body?: unknown, signal?: AbortSignal, outlives?: boolean}} FetchOptions  outlives: what is small and saved by itself arrives also when the page goes away meanwhile */

export class ApiError extends Error {
  /** @param {ServerError} error */
  constructor(error) {
    super(error.message);
    this.hint = error.hint ?? "";
    this.code = error.code ?? "internal_error";
    this.param = error.param ?? null;
    this.fallback = error.fallback ?? null;
    this.status = error.status ?? 0;
  }

  /** True when nobody answered: the server is away, or the connection is. */
  get offline() {
    return this.code === "unreachable";
  }
}

/** What went wrong and what to do, as one text. @param {unknown} error */
export function describeError(error) {
  if (error instanceof ApiError) return `${error.message} ${error.hint}`.trim();
  return error instanceof Error ? error.message : String(error);
}

const away = () => ({ message: t("server.away"), hint: t("server.away_hint"), code: "unreachable" });
const OUTLIVES = 20_000; // characters; a browser carries 64 kB for pages that are gone, and one character is 3 bytes at most
const id = encodeURIComponent;

export class Api {
  /** @param {string} base  address all paths stand below; "" = this origin */
  constructor(base = "") {
    this.base = base;
  }

  /** @param {string} method @param {string} path @param {FetchOptions} [options] */
  async #fetch(method, path, { body, signal, outlives = false } = {}) {
    /** @type {RequestInit} */
    const init = { method, signal, credentials: "same-origin" };
    if (body !== undefined) {
      const text = JSON.stringify(body);
      init.body = text;
      init.headers = { "Content-Type": "application/json" };
      init.keepalive = outlives && text.length <= OUTLIVES;
    }
    let answer;
    try {
      answer = await fetch(this.base + path, init);
    } catch (error) {
      if (error instanceof Error && error.name === "AbortError") throw error;
      throw new ApiError(away());
    }
    if (answer.ok) return answer;
    throw await this.#error(answer);
  }

  /** @param {Response} answer */
  async #error(answer) {
    const text = await answer.text().catch(() => "");
    let error = null;
    try {
      error = JSON.parse(text).error;
    } catch {
      error = null; // not ours: a proxy's page, for example; said below with its status
    }
    if (answer.status === 401 && !this.base) location.assign("/login");
    const plain = { message: t("server.status", { status: String(answer.status) }), hint: text.slice(0, 200), code: "http" };
    return new ApiError({ ...(error ?? plain), status: answer.status });
  }

  /** @template Result @param {string} method @param {string} path @param {unknown} [body] @param {FetchOptions} [more] @returns {Promise<Result>} */
  async #json(method, path, body, more = {}) {
    const answer = await this.#fetch(method, path, { body, ...more });
    try {
      return await answer.json();
    } catch (error) {
      if (error instanceof SyntaxError) throw new ApiError({ message: t("server.unreadable"), code: "bad_answer" });
      throw new ApiError(away());
    }
  }

  /** @returns {Promise<import("../types.js").ServerState>} */
  state() { return this.#json("GET", "/api/state"); }
  /** @returns {Promise<{models: import("../types.js").ModelInfo[], folder: string}>} */
  models() { return this.#json("GET", "/api/models"); }
  /** @param {string} name @param {object} more @returns {Promise<import("../types.js").ModelStatus>} */
  load(name, more = {}) { return this.#json("POST", "/api/models/load", { name, ...more }); }
  /** @param {object} body @returns {Promise<import("../types.js").Estimate>} */
  estimate(body) { return this.#json("POST", "/api/models/estimate", body); }
  unload() { return this.#json("POST", "/api/models/unload", {}); }
  /** @returns {Promise<{lines: string[]}>} */
  log(lines = 200) { return this.#json("GET", `/api/logs/engine?lines=${lines}`); }

  /** @returns {Promise<{params: import("../types.js").Param[], values: Record<string, ParamValue>, supported: string[]} & PresetState>} */
  params() { return this.#json("GET", "/api/params"); }
  /** @param {Record<string, ParamValue>} values @returns {Promise<Partial<PresetState>>} */
  setParams(values) { return this.#json("PATCH", "/api/params", values, { outlives: true }); }
  resetParams() { return this.#json("POST", "/api/params/reset", {}); }
  /** @returns {Promise<{presets: import("../types.js").Preset[]} & PresetState>} */
  presets() { return this.#json("GET", "/api/presets"); }
  /** @param {string} name */
  loadPreset(name) { return this.#json("POST", `/api/presets/${id(name)}/load`, {}); }

  /** @returns {Promise<{chats: import("../types.js").ChatInfo[]}>} */
  chats({ query = "", limit = 50, before = "" } = {}) {
    const search = new URLSearchParams({ query, limit: String(limit) });
    if (before) search.set("before", before);
    return this.#json("GET", `/api/chats?${search}`);
  }
  /** @returns {Promise<import("../types.js").Chat & {id: string}>} */
  createChat(title = "") { return this.#json("POST", "/api/chats", title ? { title } : {}); }
  /** @param {string} chat @returns {Promise<import("../types.js").Chat & {id: string, rev: number}>} */
  chat(chat) { return this.#json("GET", `/api/chats/${id(chat)}`); }
  /** @param {string} chat @param {{rev: number, title?: string, system?: string}} changes @returns {Promise<import("../types.js").ChatChange>} */
  patchChat(chat, changes) { return this.#json("PATCH", `/api/chats/${id(chat)}`, changes, { outlives: true }); }
  /** @param {string} chat */
  deleteChat(chat) { return this.#json("DELETE", `/api/chats/${id(chat)}`); }
  /** @param {string} chat */
  restoreChat(chat) { return this.#json("POST", `/api/chats/${id(chat)}/restore`, {}); }
  /** The chat as a file. @param {string} chat @param {"markdown"|"jsonl"} as @returns {Promise<{name: string, data: Blob}>} */
  async export(chat, as) {
    const answer = await this.#fetch("GET", `/api/chats/${id(chat)}/export?as=${as}`);
    const coded = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") ?? "")?.[1];
    return { name: coded ? decodeURIComponent(coded) : "chat.txt", data: await answer.blob() };
  }

  /** @param {string} chat @param {string} message */
  #message(chat, message, what = "") { return `/api/chats/${id(chat)}/messages/${id(message)}${what}`; }
  /** @param {string} chat @param {object} body @returns {Promise<import("../types.js").ChatChange>} */
  send(chat, body) { return this.#json("POST", `/api/chats/${id(chat)}/messages`, body); }
  /** @param {string} chat @param {string} message @param {object} body @returns {Promise<import("../types.js").ChatChange>} */
  edit(chat, message, body) { return this.#json("POST", this.#message(chat, message, "/edit"), body); }
  /** @param {string} chat @param {string} message @param {{rev: number, model?: string, preset?: string}} body @returns {Promise<import("../types.js").ChatChange>} */
  regenerate(chat, message, body) { return this.#json("POST", this.#message(chat, message, "/regenerate"), body); }
  /** @param {string} chat @param {string} message @param {number} rev @returns {Promise<import("../types.js").ChatChange>} */
  continueReply(chat, message, rev) { return this.#json("POST", this.#message(chat, message, "/continue"), { rev }); }
  /** @param {string} chat @param {string} message @param {number} rev @returns {Promise<import("../types.js").ChatChange>} */
  deleteMessage(chat, message, rev) { return this.#json("DELETE", this.#message(chat, message, `?rev=${rev}`)); }
  /** @param {string} chat @param {string} message @param {number|null} rev  null = whatever it is by now @returns {Promise<import("../types.js").ChatChange>} */
  undelete(chat, message, rev) { return this.#json("POST", this.#message(chat, message, "/undelete"), { rev }); }
  /** @param {string} chat @param {string} leaf @returns {Promise<import("../types.js").ChatChange>} */
  select(chat, leaf) { return this.#json("POST", `/api/chats/${id(chat)}/select`, { leaf }); }

  /** @param {string} chat @param {string} reply */
  stop(chat, reply) { return this.#json("POST", `/api/chats/${id(chat)}/replies/${id(reply)}/stop`, {}); }
  /** The open SSE answer of a running reply, from event `from` on. @param {string} chat @param {string} reply @param {number} from @param {AbortSignal} signal */
  reply(chat, reply, from, signal) {
    return this.#fetch("GET", `/api/chats/${id(chat)}/replies/${id(reply)}?from=${from}`, { signal });
  }
}
