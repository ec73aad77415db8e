/** Numbers, sizes and times in people's words. Figures use the browser's language for separators. */

import { t } from "./texts.js";

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

/** @param {number|null} [value] */
export const count = (value) => whole.format(value ?? 0);

/** Bytes as GB or MB with their unit. @param {number|null} [value] */
export function bytes(value) {
  if (!value) return "0 MB";
  if (value >= 1e9) return `${tenth.format(value / 1e9)} GB`;
  return value >= 1e6 ? `${whole.format(value / 1e6)} MB` : `${whole.format(Math.max(1, value / 1e3))} kB`;
}

/** Parameters as people write them: 135000000 → "135M", 1100000000 → "1.1B". @param {number} value */
export const millions = (value) => (value >= 1e9 ? `${tenth.format(value / 1e9)}B` : `${whole.format(value / 1e6)}M`);

/** @param {number|null} [value]  bytes */
export const gigabytes = (value) => tenth.format((value ?? 0) / 1e9);

/** 1 → "1 message", 3 → "3 messages". @param {number} value @param {string} one @param {string} [many] */
export function plural(value, one, many = `${one}s`) {
  return `${whole.format(value)} ${value === 1 ? one : many}`;
}

/** Milliseconds as "0.4 s", "12 s" or "3 min 20 s". @param {number} ms */
export function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 10) return t("unit.seconds", { value: tenth.format(seconds) });
  if (seconds < 100) return t("unit.seconds", { value: whole.format(seconds) });
  return t("unit.minutes", { minutes: Math.floor(seconds / 60), seconds: Math.round(seconds % 60) });
}

/** @param {number} tokensPerSecond */
export function speed(tokensPerSecond) {
  return t("unit.speed", { value: tokensPerSecond < 100 ? tenth.format(tokensPerSecond) : whole.format(tokensPerSecond) });
}

/** Clock time, with the date when it is not today's. @param {string|undefined} iso */
export function when(iso) {
  const date = new Date(iso ?? "");
  if (Number.isNaN(date.getTime())) return "";
  const today = new Date().toDateString() === date.toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const style = today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(undefined, style).format(date);
}

/** Heading a chat stands under in the list, by the calendar day of its last change. @param {string} iso @param {Date} [now] */
export function dayGroup(iso, now = new Date()) {
  const date = new Date(iso);
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate());
  const days = Math.ceil((midnight.getTime() - date.getTime()) / 86_400_000);
  if (days <= 0) return t("day.today");
  if (days === 1) return t("day.yesterday");
  if (days <= 7) return t("day.week");
  if (days <= 30) return t("day.month");
  return new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric" }).format(date);
}
