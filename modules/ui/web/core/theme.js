/** Light, dark, or as the system says. Sets what our tokens and Gradio's own styles look at. */

const CHOICES = ["system", "light", "dark"];

export class Theme {
  #prefs;
  #setting = "system";
  #media = matchMedia("(prefers-color-scheme: dark)");

  /** @param {import("./prefs.js").Prefs} prefs */
  constructor(prefs) {
    this.#prefs = prefs;
    this.#media.addEventListener("change", () => this.apply());
  }

  /** What the person chose here, else the server's setting. */
  get choice() {
    const own = this.#prefs.get("theme");
    return CHOICES.includes(own) ? own : this.#setting;
  }

  get dark() {
    return this.choice === "dark" || (this.choice === "system" && this.#media.matches);
  }

  /** The server's `theme` setting; a choice made in this browser wins over it. @param {string|undefined} setting */
  follow(setting) {
    this.#setting = setting && CHOICES.includes(setting) ? setting : "system";
    this.apply();
  }

  /** @param {string} choice */
  choose(choice) {
    this.#prefs.set("theme", choice);
    this.apply();
  }

  apply() {
    const root = document.documentElement;
    if (this.choice === "system") root.removeAttribute("data-theme");
    else root.dataset.theme = this.choice;
    document.body.classList.toggle("dark", this.dark); // Gradio's own components look for this class
  }
}
