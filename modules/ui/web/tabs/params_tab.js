/** The Parameters tab's own part: a search box, and following changes made elsewhere. */

import { h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { onServerEvent } from "./server_events.js";
import { t } from "../core/texts.js";

const GATHER = 120; // ms; a preset changes many values in one event, a slider one after the other

/** @param {import("../types.js").Surface} parts */
export function mount({ element, trigger }) {
  element.append(searchBox());
  follow(trigger);
}

function searchBox() {
  const input = h("input", {
    type: "search", class: "eht-search-input", placeholder: t("params.search"), "aria-label": t("params.search"),
    autocomplete: "off", spellcheck: "false",
  });
  const nothing = h("span", { class: "eht-muted", role: "status" });
  input.addEventListener("input", () => {
    const found = filter(input.value.trim().toLowerCase());
    nothing.textContent = found ? "" : t("params.no_match");
  });
  return h("div", { class: "eht-search" }, icon("search"), input, nothing);
}

/** Show the controls whose name, label or explanation has the words. Gives back how many are shown. @param {string} query */
function filter(query) {
  let shown = 0;
  for (const card of document.querySelectorAll("#eh-parameters .eht-card")) {
    let here = 0;
    for (const control of card.querySelectorAll("[id^='param-']")) {
      const text = `${control.id.slice(6)} ${control.textContent}`.toLowerCase();
      const match = query === "" || text.includes(query) || text.includes(query.replaceAll("_", "-"));
      control.classList.toggle("eht-filtered", !match);
      if (match) here += 1;
    }
    card.classList.toggle("eht-filtered", here === 0);
    shown += here;
  }
  return shown;
}

/** Ask Python for what changed: exact names for a change of values, the whole tab for a change of model. @param {import("../types.js").Surface["trigger"]} trigger */
function follow(trigger) {
  /** @type {Set<string>} */
  let names = new Set();
  let timer = 0;
  /** @type {string|null} */
  let loader = null;
  let greeted = false;
  const send = () => {
    trigger("changed", { names: [...names] });
    names = new Set();
    timer = 0;
  };
  onServerEvent((event) => {
    if (event.type === "params") {
      Object.keys(event.values ?? {}).forEach((name) => names.add(name));
      timer ||= setTimeout(send, GATHER);
    } else if (event.type === "model") {
      if (loader !== null && event.status.loader !== loader) trigger("refresh", {});
      loader = event.status.loader;
    } else if (event.type === "resync" || event.type === "hello") {
      if (event.type === "hello") loader = event.state.model.loader;
      if (greeted) trigger("refresh", {}); // the first hello only says what the page was just built from
      greeted = true;
    }
  });
}
