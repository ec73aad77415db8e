/** A finger drawn across a reply turns to its next or previous version. Scrolling, also of code and tables, comes first. */

import { prefersReducedMotion } from "../core/viewport.js";

const DECIDE = 10; // px after which a movement is either along or across
const TURN = 64; // px that turn to another version
const EDGE = 24; // px at the screen's sides that belong to the system's own "back"
const STEEP = 1.6; // how many times more across than along a swipe has to be

export class Swipe {
  #log;
  #turn;
  #can;
  /** @type {{x: number, y: number, article: HTMLElement, across: boolean}|null} */
  #from = null;

  /**
   * @param {HTMLElement} log  what holds the messages
   * @param {{can: (id: string, step: number) => boolean, turn: (id: string, step: number) => void}} versions
   */
  constructor(log, { can, turn }) {
    this.#log = log;
    this.#can = can;
    this.#turn = turn;
    const passive = { passive: true };
    log.addEventListener("touchstart", (event) => this.#start(event), passive);
    log.addEventListener("touchmove", (event) => this.#move(event), passive);
    log.addEventListener("touchend", (event) => this.#end(event), passive);
    log.addEventListener("touchcancel", () => this.#drop(), passive);
  }

  /** @param {TouchEvent} event */
  #start({ touches, target }) {
    this.#drop();
    if (!(target instanceof Element)) return;
    /** @type {HTMLElement|null} */
    const article = target.closest('.eh-msg[data-role="assistant"]');
    const [touch] = touches;
    if (touches.length !== 1 || !article || target.closest("textarea,input,.eh-foot") || this.#sideways(target)) return;
    if (touch.clientX < EDGE || touch.clientX > innerWidth - EDGE || !getSelection()?.isCollapsed) return;
    this.#from = { x: touch.clientX, y: touch.clientY, article, across: false };
  }

  /** Is the touched part one that scrolls sideways itself? @param {Element} target */
  #sideways(target) {
    for (let at = /** @type {Element|null} */ (target); at && at !== this.#log; at = at.parentElement) {
      if (at.scrollWidth > at.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(at).overflowX)) return true;
    }
    return false;
  }

  /** @param {TouchEvent} event */
  #move({ touches }) {
    const from = this.#from;
    if (!from) return;
    const [x, y] = [touches[0].clientX - from.x, touches[0].clientY - from.y];
    if (touches.length !== 1) return this.#drop();
    if (!from.across) {
      if (Math.hypot(x, y) < DECIDE) return;
      if (Math.abs(x) < STEEP * Math.abs(y)) return this.#drop(); // along: the conversation is being scrolled
      from.across = true;
    }
    if (prefersReducedMotion()) return;
    const way = this.#can(from.article.dataset.id ?? "", x < 0 ? 1 : -1) ? 0.7 : 0.15; // at an end it hardly gives way
    from.article.style.translate = `${Math.round(x * way)}px`;
  }

  /** @param {TouchEvent} event */
  #end({ changedTouches }) {
    const from = this.#from;
    this.#drop();
    if (!from?.across) return;
    const x = changedTouches[0].clientX - from.x;
    if (Math.abs(x) >= TURN) this.#turn(from.article.dataset.id ?? "", x < 0 ? 1 : -1);
  }

  #drop() {
    this.#from?.article.style.removeProperty("translate");
    this.#from = null;
  }
}
