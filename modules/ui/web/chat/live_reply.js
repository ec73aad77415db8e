/** A reply while it is being written: what has arrived, how fast, and what the server says meanwhile. */

const WINDOW = 2000; // ms over which the live speed is measured

/** @typedef {"text"|"reasoning"|"progress"|"notice"|"ledger"|"end"} ReplyPart  what changed */
/** @typedef {import("../types.js").Progress & {since: number, from: number}} TimedProgress  since = ms of the page's clock */

export class LiveReply {
  text = "";
  reasoning = "";
  tokens = 0;
  reasoningTokens = 0;
  /** @type {TimedProgress|null} */
  progress = null;
  /** @type {import("../types.js").Notice[]} */
  notices = [];
  /** @type {import("../types.js").Ledger|null} */
  ledger = null;
  stopping = false;
  startedAt = performance.now();
  firstTokenAt = 0;
  thoughtFor = 0; // ms from the first thought to the first word of the answer
  /** @type {[number, number][]} */
  #marks = []; // time, tokens so far
  /** @type {Set<(kind: ReplyPart) => void>} */
  #listeners = new Set();

  /** Run `listener(kind)` on every change. @param {(kind: ReplyPart) => void} listener */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Forget what arrived: the stream starts again from its first event. */
  restart() {
    this.text = this.reasoning = "";
    this.tokens = this.reasoningTokens = 0;
    this.notices = [];
    this.#marks = [];
  }

  /** Take in one event of the stream that is not its end. @param {import("../types.js").ReplyEvent} event */
  take(event) {
    if (event.t !== undefined) {
      this.#count(event.n ?? 1);
      if (this.reasoning && !this.thoughtFor) this.thoughtFor = performance.now() - this.firstTokenAt;
      this.text += event.t;
      this.tell("text");
    } else if (event.r !== undefined) {
      this.#count(event.n ?? 1);
      this.reasoningTokens += event.n ?? 1;
      this.reasoning += event.r;
      this.tell("reasoning");
    } else if (event.progress) {
      const known = this.progress?.stage === event.progress.stage ? this.progress : null;
      const from = known ?? { since: performance.now(), from: event.progress.done };
      this.progress = { ...event.progress, since: from.since, from: from.from };
      this.tell("progress");
    } else if (event.notice) {
      this.notices = [...this.notices, event.notice];
      this.tell("notice");
    } else if (event.ledger) {
      this.ledger = event.ledger;
      this.tell("ledger");
    }
  }

  /** @param {number} tokens */
  #count(tokens) {
    const now = performance.now();
    this.firstTokenAt ||= now;
    this.progress = null;
    this.tokens += tokens;
    this.#marks.push([now, this.tokens]);
    while (this.#marks.length > 2 && now - this.#marks[0][0] > WINDOW) this.#marks.shift();
  }

  /** Tokens per second over the last two seconds; 0 until it can be said. */
  get speed() {
    const [first] = this.#marks;
    const last = this.#marks[this.#marks.length - 1];
    if (!first || last[0] - first[0] < 200) return 0;
    return ((last[1] - first[1]) / (last[0] - first[0])) * 1000;
  }

  /** Milliseconds until the present stage is done, or null while that cannot be said. */
  get eta() {
    if (!this.progress || this.progress.done <= this.progress.from) return null;
    const rate = (this.progress.done - this.progress.from) / (performance.now() - this.progress.since);
    return (this.progress.total - this.progress.done) / rate;
  }

  /** @param {ReplyPart} kind */
  tell(kind) {
    for (const listener of this.#listeners) listener(kind);
  }
}
