/** The first screen of an installation without a model: three ways on. Nothing is ever fetched by itself. */

import { button, h, setText } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { copyText, tick } from "../markdown/code_block.js";
import { t } from "../core/texts.js";

const COMMAND = "python3 start.py";

/** The command that starts this server again, with the folder it was given. @param {string} folder  "" = the default one */
export const startCommand = (folder) => (folder ? `${COMMAND} --user-data-dir ${/^[\w./:-]+$/.test(folder) ? folder : `"${folder}"`}` : COMMAND);

export class FirstRun {
  /** @param {import("../chat_app.js").ChatApp} app */
  constructor({ store, rescan, tryEcho, run }) {
    this.folder = h("code", { class: "eh-path" });
    this.found = h("p", { class: "eh-muted", role: "status" });
    const look = button({
      icon: icon("retry"), text: t("first.rescan"), label: t("first.rescan"), class: "eh-btn eh-solid",
      onClick: () => run(async () => {
        const models = await rescan();
        setText(this.found, models.some((model) => !model.builtin) ? "" : t("first.nothing"));
      }),
    });
    this.command = h("code", { text: COMMAND });
    const copy = button({ icon: icon("copy"), label: t("first.copy"), onClick: () => run(async () => { await copyText(this.command.textContent); tick(copy, "copy"); }) });
    this.node = h("section", { class: "eh-empty eh-first", hidden: true },
      h("h2", { text: t("first.title") }),
      h("p", { class: "eh-muted", text: t("first.intro") }),
      h("div", { class: "eh-choices" },
        choice("folder", t("first.have"), h("p", { text: t("first.have_text") }), this.folder, h("div", { class: "eh-row" }, look, this.found)),
        choice("download", t("first.get"), h("p", { text: t("first.get_text") }), h("div", { class: "eh-command" }, this.command, copy)),
        choice("chat", t("first.try"), h("p", { text: t("first.try_text") }),
          button({ text: t("first.echo"), label: t("first.echo"), class: "eh-btn eh-outline", onClick: () => run(tryEcho) }))),
      h("p", { class: "eh-muted eh-privacy", text: t("chat.privacy") }));
    store.on(["server"], () => setText(this.command, startCommand(store.get("server")?.settings?.user_data_dir ?? "")));
    store.on(["modelsFolder"], () => setText(this.folder, store.get("modelsFolder") || "user_data/models"));
  }
}

/** @param {string} name @param {string} title @param {...import("../types.js").Child} content */
function choice(name, title, ...content) {
  return h("div", { class: "eh-choice" }, h("h3", {}, icon(name), h("span", { text: title })), content);
}
