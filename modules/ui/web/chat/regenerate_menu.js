/** Ways to have a reply written again: the same way, by another model, with another preset. */

import { icon } from "../core/icons.js";
import { t } from "../core/texts.js";

/**
 * @param {import("../chat_app.js").ChatApp} context
 * @param {HTMLElement} anchor  the button it opens at
 * @param {import("../types.js").Message} node  the reply
 */
export function openRegenerateMenu(context, anchor, node) {
  const { conversation, popup, run, keys } = context;
  popup.menu(anchor, [
    { icon: icon("retry"), label: t("message.regenerate"), keys: keys("regenerate"), run: () => run(() => conversation.regenerate(node.id)) },
    { icon: icon("chat"), label: t("regenerate.model"), run: () => run(() => chooseModel(context, anchor, node)) },
    { icon: icon("sliders"), label: t("regenerate.preset"), run: () => run(() => choosePreset(context, anchor, node)) },
  ], t("message.regenerate"));
}

/** @param {import("../chat_app.js").ChatApp} app @param {HTMLElement} anchor @param {import("../types.js").Message} node */
async function chooseModel({ conversation, models, popup, run }, anchor, node) {
  const found = (await models.rescan()).filter((model) => model.runnable);
  popup.menu(anchor, [
    ...found.map(({ name }) => ({ label: name, checked: name === node.model, run: () => run(() => conversation.regenerate(node.id, { model: name })) })),
    found.length === 0 && { label: t("regenerate.no_model"), disabled: true },
  ], t("regenerate.model_label"));
}

/** @param {import("../chat_app.js").ChatApp} app @param {HTMLElement} anchor @param {import("../types.js").Message} node */
async function choosePreset({ api, conversation, popup, run }, anchor, node) {
  const { presets, preset: used } = await api.presets();
  popup.menu(anchor, [
    ...presets.map(({ name }) => ({ label: name, checked: name === used, run: () => run(() => conversation.regenerate(node.id, { preset: name })) })),
    presets.length === 0 && { label: t("regenerate.no_preset"), disabled: true },
  ], t("regenerate.preset_label"));
}
