/** What a load would take of each device's memory, before it is loaded. Follows the settings; nothing waits for it. */

import { fill, h } from "../core/dom.js";
import { bytes } from "../core/format.js";
import { icon } from "../core/icons.js";
import { api, store } from "./model_store.js";
import { t } from "../core/texts.js";

const SETTLE = 250; // ms without a change before the server is asked
/** @typedef {import("../types.js").DeviceShare} DeviceShare */

/** @type {("weights"|"kv_cache"|"compute"|"overhead")[]} */
const PARTS = ["weights", "kv_cache", "compute", "overhead"];
/** @type {Record<string, string>} */
const VERDICTS = { fits: "fits", tight: "tight", "too large": "too_large", unknown: "unknown" };

/** @param {import("../types.js").Surface<{model: string, loader: string, settings: object}>} parts */
export function mount({ element, props, watch }) {
  const box = h("div", { class: "eht-fit", role: "status", "aria-label": t("fit.label") });
  element.append(box);
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  let asked = 0;
  const ask = async () => {
    const wanted = props.value;
    const mine = ++asked;
    if (!wanted?.model) return fill(box);
    try {
      const estimate = await api.estimate({ name: wanted.model, loader: wanted.loader, settings: wanted.settings });
      if (mine === asked) draw(box, estimate);
    } catch (error) {
      if (mine === asked) fill(box, h("p", { class: "eht-muted", text: t("fit.failed", { reason: error instanceof Error ? error.message : String(error) }) }));
    }
    return undefined;
  };
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(ask, SETTLE);
  };
  watch("value", later);
  let state = "";
  store.on(["status"], () => { // another model loaded or gone changes what is free
    const now = store.get("status").state;
    if (now !== state && ["ready", "empty", "failed", "crashed"].includes(now)) later();
    state = now;
  });
  later();
}

/** @param {HTMLElement} box @param {import("../types.js").Estimate} estimate */
function draw(box, estimate) {
  const name = estimate.verdict.replace(" ", "-");
  fill(
    box,
    h("p", { class: "eht-fit-verdict" },
      h("span", { class: `eht-badge is-${name}`, text: t(`fit.verdict.${VERDICTS[estimate.verdict] ?? "unknown"}`) }),
      h("span", { text: estimate.why })),
    estimate.shares.map((share) => device(share, estimate.shares.length > 1)),
    estimate.shares.length > 0 && legend(estimate.shares),
    estimate.partial.length > 0 && h("details", { class: "eht-fit-more" },
      h("summary", { text: t("fit.partial") }),
      estimate.partial.map((text) => h("p", { class: "eht-muted", text }))),
  );
}

/** One device: its parts against what is free. A bar that is full and red does not fit. @param {DeviceShare} share @param {boolean} named */
function device(share, named) {
  const free = share.device_free ?? share.device_total;
  const scale = Math.max(share.sum, free ?? share.sum, 1);
  const over = free !== null && share.sum > free;
  const words = free === null ? t("fit.device", { name: share.name, size: bytes(share.sum) }) : t("fit.device_free", { name: share.name, size: bytes(share.sum), free: bytes(free) });
  return h("div", { class: `eht-fit-device${over ? " is-over" : ""}` },
    (named || over) && h("span", { class: "eht-fit-name" }, over && icon("alert"), h("span", { text: words, dir: "auto" })),
    h("div", { class: "eht-fit-bar", "aria-hidden": "true" },
      PARTS.map((key, at) => h("span", { class: `is-part-${at}`, vars: { "--eh-part": `${(share[key] / scale) * 100}%` } })),
      over && h("i", { vars: { "--eh-part": `${(free / scale) * 100}%` } })));
}

/** @param {DeviceShare[]} shares */
function legend(shares) {
  const sums = PARTS.map((key, at) => ({ at, text: t(`fit.part.${key}`), size: shares.reduce((sum, share) => sum + share[key], 0) }));
  return h("p", { class: "eht-fit-legend" }, sums.filter(({ size }) => size > 0).map(({ at, text, size }) => h("span", {},
    h("span", { class: `eht-fit-key is-part-${at}`, "aria-hidden": "true" }), `${text} ${bytes(size)}`)));
}
