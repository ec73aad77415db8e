/** The first screen of an installation without a model: three ways on. Nothing is ever fetched by itself. */

import { button, h, setText } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { copyText, tick } from "../markdown/code_block.js";

const COMMAND = "python3 start.py";

/** The command that starts this server again, with the folder it was given. @param {string} folder  "" = the default one */
export const startCommand = (folder) => (folder ? `${COMMAND} --user-data-dir ${/^[\w./:-]+$/.test(folder) ? folder : `"${folder}"`}` : COMMAND);

export class FirstRun {
  /** @param {import("../chat_app.js").ChatApp} app */
  constructor({ store, rescan, tryEcho, run }) {
    this.folder = h("code", { class: "eh-path" });
    this.found = h("p", { class: "eh-muted", role: "status" });
    const look = button({
      icon: icon("retry"), text: "Look again", label: "Look again", class: "eh-btn eh-solid",
      onClick: () => run(async () => {
        const models = await rescan();
        setText(this.found, models.some((model) => !model.builtin) ? "" : "Nothing there yet.");
      }),
    });
    this.command = h("code", { text: COMMAND });
    const copy = button({ icon: icon("copy"), label: "Copy the command", onClick: () => run(async () => { await copyText(this.command.textContent); tick(copy, "copy"); }) });
    this.node = h("section", { class: "eh-empty eh-first", hidden: true },
      h("h2", { text: "Welcome to Enginehouse" }),
      h("p", { class: "eh-muted", text: "There is no model here yet. Three ways to begin:" }),
      h("div", { class: "eh-choices" },
        choice("folder", "I have models", h("p", {}, "Put ", h("strong", { text: ".gguf" }), " files into this folder, then look again:"), this.folder, h("div", { class: "eh-row" }, look, this.found)),
        choice("download", "Get a small one", h("p", { text: "SmolLM2 135M, 98 MB, Apache-2.0. Small and quick rather than clever; it runs on any machine. Stop the server and start it with:" }), h("div", { class: "eh-command" }, this.command, copy)),
        choice("chat", "Try without one", h("p", { text: "The echo engine repeats what you write. It is not a language model, but everything else works as it will." }),
          button({ text: "Start the echo engine", label: "Start the echo engine", class: "eh-btn eh-outline", onClick: () => run(tryEcho) }))),
      h("p", { class: "eh-muted eh-privacy", text: "Everything stays on this machine: your messages, the replies and the model." }));
    store.on(["server"], () => setText(this.command, startCommand(store.get("server")?.settings?.user_data_dir ?? "")));
    store.on(["modelsFolder"], () => setText(this.folder, store.get("modelsFolder") || "user_data/models"));
  }
}

/** @param {string} name @param {string} title @param {...import("../types.js").Child} content */
function choice(name, title, ...content) {
  return h("div", { class: "eh-choice" }, h("h3", {}, icon(name), h("span", { text: title })), content);
}
