/** Keeps the surface exactly as tall as what is visible: below Gradio's tabs, above an on-screen keyboard. */

export class Viewport {
  #root;
  #stop = new AbortController();

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
    const options = { signal: this.#stop.signal };
    const fit = () => this.fit();
    addEventListener("resize", fit, options);
    visualViewport?.addEventListener("resize", fit, options);
    visualViewport?.addEventListener("scroll", fit, options);
    this.observer = new ResizeObserver(fit);
    this.observer.observe(document.body);
    if (root.parentElement) this.observer.observe(root.parentElement);
    this.fit();
    for (const later of [0, 100, 400, 1500]) setTimeout(fit, later); // the host page settles around us
  }

  fit() {
    if (!this.#root.isConnected || this.#root.offsetParent === null) return; // another tab is shown
    const top = Math.max(0, this.#root.getBoundingClientRect().top + scrollY);
    const visible = visualViewport ? visualViewport.height + visualViewport.offsetTop : innerHeight;
    const height = `${Math.max(320, Math.round(visible - top))}px`;
    if (this.#root.style.getPropertyValue("--eh-height") !== height) this.#root.style.setProperty("--eh-height", height);
  }

  close() {
    this.#stop.abort();
    this.observer.disconnect();
  }
}

/** True where the main pointer is a finger: Enter makes a newline there, and targets are larger. */
export const touch = () => matchMedia("(pointer: coarse)").matches;

/** True where panels are sheets over the conversation instead of columns beside it. */
export const narrow = () => matchMedia("(max-width: 860px)").matches;

export const prefersReducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
