/** Every call to the server, by name. Errors come as ApiError with the server's own words. */

export class ApiError extends Error {
  /** @param {{message:string,hint?:string,code?:string,param?:string,status?:number}} error */
  constructor(error) {
    super(error.message);
    this.hint = error.hint ?? "";
    this.code = error.code ?? "internal_error";
    this.param = error.param ?? null;
    this.status = error.status ?? 0;
  }

  /** True when nobody answered: the server is away, or the connection is. */
  get offline() {
    return this.code === "unreachable";
  }
}

const AWAY = { message: "The server does not answer.", hint: "What you typed is kept.", code: "unreachable" };
const OUTLIVES = 20_000; // characters; a browser carries 64 kB for pages that are gone, and one character is 3 bytes at most
const id = encodeURIComponent;

export class Api {
  /** @param {string} base  address all paths stand below; "" = this origin */
  constructor(base = "") {
    this.base = base;
  }

  /** outlives: what is small and saved by itself arrives also when the page goes away meanwhile. */
  async #fetch(method, path, { body, signal, outlives = false } = {}) {
    const init = { method, signal, credentials: "same-origin", headers: {} };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers["Content-Type"] = "application/json";
      init.keepalive = outlives && init.body.length <= OUTLIVES;
    }
    let answer;
    try {
      answer = await fetch(this.base + path, init);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(AWAY);
    }
    if (answer.ok) return answer;
    throw await this.#error(answer);
  }

  async #error(answer) {
    const text = await answer.text().catch(() => "");
    let error = null;
    try {
      error = JSON.parse(text).error;
    } catch {
      error = null; // not ours: a proxy's page, for example; said below with its status
    }
    if (answer.status === 401 && !this.base) location.assign("/login");
    const plain = { message: `The server answered ${answer.status}.`, hint: text.slice(0, 200), code: "http" };
    return new ApiError({ ...(error ?? plain), status: answer.status });
  }

  async #json(method, path, body, more = {}) {
    const answer = await this.#fetch(method, path, { body, ...more });
    try {
      return await answer.json();
    } catch (error) {
      if (error instanceof SyntaxError) throw new ApiError({ message: "The server's answer could not be read.", code: "bad_answer" });
      throw new ApiError(AWAY);
    }
  }

  state() { return this.#json("GET", "/api/state"); }
  models() { return this.#json("GET", "/api/models"); }
  load(name, more = {}) { return this.#json("POST", "/api/models/load", { name, ...more }); }
  estimate(body) { return this.#json("POST", "/api/models/estimate", body); }
  unload() { return this.#json("POST", "/api/models/unload", {}); }
  log(lines = 200) { return this.#json("GET", `/api/logs/engine?lines=${lines}`); }

  params() { return this.#json("GET", "/api/params"); }
  setParams(values) { return this.#json("PATCH", "/api/params", values, { outlives: true }); }
  resetParams() { return this.#json("POST", "/api/params/reset", {}); }
  presets() { return this.#json("GET", "/api/presets"); }
  loadPreset(name) { return this.#json("POST", `/api/presets/${id(name)}/load`, {}); }

  chats({ query = "", limit = 50, before = "" } = {}) {
    const search = new URLSearchParams({ query, limit: String(limit) });
    if (before) search.set("before", before);
    return this.#json("GET", `/api/chats?${search}`);
  }
  createChat(title = "") { return this.#json("POST", "/api/chats", title ? { title } : {}); }
  chat(chat) { return this.#json("GET", `/api/chats/${id(chat)}`); }
  patchChat(chat, changes) { return this.#json("PATCH", `/api/chats/${id(chat)}`, changes, { outlives: true }); }
  deleteChat(chat) { return this.#json("DELETE", `/api/chats/${id(chat)}`); }
  restoreChat(chat) { return this.#json("POST", `/api/chats/${id(chat)}/restore`, {}); }
  /** The chat as a file. @returns {Promise<{name: string, data: Blob}>} */
  async export(chat, as) {
    const answer = await this.#fetch("GET", `/api/chats/${id(chat)}/export?as=${as}`);
    const coded = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") ?? "")?.[1];
    return { name: coded ? decodeURIComponent(coded) : "chat.txt", data: await answer.blob() };
  }

  #message(chat, message, what = "") { return `/api/chats/${id(chat)}/messages/${id(message)}${what}`; }
  send(chat, body) { return this.#json("POST", `/api/chats/${id(chat)}/messages`, body); }
  edit(chat, message, body) { return this.#json("POST", this.#message(chat, message, "/edit"), body); }
  /** @param {{rev: number, model?: string, preset?: string}} body */
  regenerate(chat, message, body) { return this.#json("POST", this.#message(chat, message, "/regenerate"), body); }
  continueReply(chat, message, rev) { return this.#json("POST", this.#message(chat, message, "/continue"), { rev }); }
  deleteMessage(chat, message, rev) { return this.#json("DELETE", this.#message(chat, message, `?rev=${rev}`)); }
  undelete(chat, message, rev) { return this.#json("POST", this.#message(chat, message, "/undelete"), { rev }); }
  select(chat, leaf) { return this.#json("POST", `/api/chats/${id(chat)}/select`, { leaf }); }

  stop(chat, reply) { return this.#json("POST", `/api/chats/${id(chat)}/replies/${id(reply)}/stop`, {}); }
  /** The open SSE answer of a running reply, from event `from` on. */
  reply(chat, reply, from, signal) {
    return this.#fetch("GET", `/api/chats/${id(chat)}/replies/${id(reply)}?from=${from}`, { signal });
  }
}
