/** Ways to have a reply written again: the same way, by another model, with another preset. */

import { icon } from "../core/icons.js";

/**
 * @param {{conversation, popup, store, models, api, run, keys}} context
 * @param {HTMLElement} anchor  the button it opens at
 * @param {object} node  the reply
 */
export function openRegenerateMenu(context, anchor, node) {
  const { conversation, popup, run, keys } = context;
  popup.menu(anchor, [
    { icon: icon("retry"), label: "Again", keys: keys("regenerate"), run: () => run(() => conversation.regenerate(node.id)) },
    { icon: icon("chat"), label: "With another model…", run: () => run(() => chooseModel(context, anchor, node)) },
    { icon: icon("sliders"), label: "With another preset…", run: () => run(() => choosePreset(context, anchor, node)) },
  ], "Regenerate");
}

async function chooseModel({ conversation, models, popup, run }, anchor, node) {
  const found = (await models.rescan()).filter((model) => model.runnable);
  popup.menu(anchor, [
    ...found.map(({ name }) => ({ label: name, checked: name === node.model, run: () => run(() => conversation.regenerate(node.id, { model: name })) })),
    found.length === 0 && { label: "There is no model that can run.", disabled: true },
  ], "Regenerate with this model");
}

async function choosePreset({ api, conversation, popup, run }, anchor, node) {
  const { presets, preset: used } = await api.presets();
  popup.menu(anchor, [
    ...presets.map(({ name }) => ({ label: name, checked: name === used, run: () => run(() => conversation.regenerate(node.id, { preset: name })) })),
    presets.length === 0 && { label: "There are no presets yet.", disabled: true },
  ], "Regenerate with this preset");
}
