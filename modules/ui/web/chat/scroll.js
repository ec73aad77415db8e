/** Where the conversation is scrolled to: at the end only while the reader is there; every chat keeps its place. */

import { button, show } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { t } from "../core/texts.js";

const NEAR = 40; // px from the end that count as being there
const GESTURE = 400; // ms after a gesture in which scrolling counts as the reader's
const KEYS = new Set(["PageUp", "PageDown", "Home", "End", "ArrowUp", "ArrowDown", " "]);
const KEY = "enginehouse.places";

export class Scroller {
  stuck = true;
  #log;
  #height = 0;
  #gesture = -Infinity;
  #held = false;
  /** @type {Map<string, {id: string, offset: number}>} */
  #places;

  /** @param {HTMLElement} log  the scrolling element @param {HTMLElement} column  what grows inside it */
  constructor(log, column) {
    this.#log = log;
    this.#places = restore();
    this.pill = button({ icon: icon("down"), label: t("chat.newest"), class: "eh-btn eh-pill", hidden: true, onClick: () => this.toEnd() });
    const passive = { passive: true };
    log.addEventListener("scroll", () => this.#scrolled(), passive);
    for (const type of ["wheel", "touchmove"]) log.addEventListener(type, () => this.#meant(), passive);
    log.addEventListener("keydown", (event) => { if (KEYS.has(event.key)) this.#meant(); });
    log.addEventListener("pointerdown", (event) => { this.#held = event.target === log; }, passive); // the scroll bar
    addEventListener("pointerup", () => { this.#held = false; }, passive);
    this.observer = new ResizeObserver(() => this.#grew());
    this.observer.observe(column);
    this.observer.observe(log);
  }

  toEnd() {
    this.stuck = true;
    this.#grew();
  }

  /** Remember where the reader is in `chat`. @param {string|null|undefined} chat */
  leave(chat) {
    if (!chat) return;
    const top = this.#log.scrollTop;
    const first = [.../** @type {NodeListOf<HTMLElement>} */ (this.#log.querySelectorAll(".eh-msg"))].find((article) => article.offsetTop + article.offsetHeight > top);
    if (this.stuck || !first) this.#places.delete(chat);
    else this.#places.set(chat, { id: first.dataset.id ?? "", offset: top - first.offsetTop });
    try {
      sessionStorage.setItem(KEY, JSON.stringify([...this.#places].slice(-50)));
    } catch (error) {
      console.warn("The reading position is kept for this page only", error);
    }
  }

  /** Go to where the reader was in `chat`, else to its end. @param {string|null|undefined} chat */
  arrive(chat) {
    const place = chat ? this.#places.get(chat) : undefined;
    /** @type {HTMLElement|null|undefined} */
    const article = place && this.#log.querySelector(`.eh-msg[data-id="${CSS.escape(place.id)}"]`);
    this.stuck = !article;
    if (article && place) this.#log.scrollTop = article.offsetTop + place.offset;
    this.#grew();
  }

  /** A gesture that scrolls was made. */
  #meant() {
    this.#gesture = performance.now();
  }

  /**
   * Only the reader's own scrolling, or somebody showing another place on purpose, leaves the end.
   * A change of the height moves the place too; then the end is followed.
   */
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    const fromEnd = scrollHeight - clientHeight - scrollTop;
    const meant = this.#held || performance.now() - this.#gesture < GESTURE;
    if (fromEnd < NEAR) this.stuck = true;
    else if (meant || scrollHeight === this.#height) this.stuck = false;
    else if (this.stuck) this.#log.scrollTop = scrollHeight;
    this.#height = scrollHeight;
    show(this.pill, !this.stuck && fromEnd > NEAR * 2);
  }

  #grew() {
    const height = `${this.#log.clientHeight}px`;
    if (this.#log.style.getPropertyValue("--eh-log-height") !== height) this.#log.style.setProperty("--eh-log-height", height);
    this.#height = this.#log.scrollHeight;
    if (this.#log.classList.contains("eh-bare")) this.#log.scrollTop = 0; // a greeting is read from its top
    else if (this.stuck) this.#log.scrollTop = this.#height;
    else show(this.pill, this.#height - this.#log.clientHeight - this.#log.scrollTop > NEAR * 2);
  }

  close() {
    this.observer.disconnect();
  }
}

function restore() {
  try {
    return new Map(JSON.parse(sessionStorage.getItem(KEY) ?? "[]"));
  } catch (error) {
    console.warn("The reading positions could not be read", error);
    return new Map();
  }
}
