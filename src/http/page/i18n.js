// The language of the interface: English or Arabic.

import { $, remember } from "./dom.js";
import { TEXTS } from "./texts.js";

const listeners = [];

export const language = () => document.documentElement.lang;

/** A text of the interface; `{name}` in it is replaced from `values`. */
export function t(key, values = {}) {
  const text = TEXTS[language()][key] ?? TEXTS.en[key];
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const known = (key) => key in TEXTS.en;

// Latin digits in both languages: they stand beside codes, offsets and JSON.
const locale = () => (language() === "ar" ? "ar-u-nu-latn" : "en");

export const number = (value, options) => new Intl.NumberFormat(locale(), options).format(value);

/** A probability. One that isn't nothing or all doesn't round to 0 or 100 %. */
export function percent(score) {
  if (score > 0 && score < 0.005) return t("below", { value: number(0.01, { style: "percent" }) });
  const shown = score < 1 ? Math.min(score, 0.99) : score;
  return number(shown, { style: "percent", maximumFractionDigits: 0 });
}

export const listed = (items) => new Intl.ListFormat(locale(), { type: "conjunction" }).format(items);

export function languageName(code) {
  try {
    return new Intl.DisplayNames([language()], { type: "language" }).of(code);
  } catch {
    return code;
  }
}

/** A topic's name in the language of the interface, or the best that there is. */
export const topicName = (topic) => topic.name?.[language()] ?? topic.name?.en ?? topic.label;

/** Calls `listener` whenever the language has changed. */
export const onLanguage = (listener) => listeners.push(listener);

export function translate(root = document) {
  for (const element of root.querySelectorAll("[data-i18n]")) element.textContent = t(element.dataset.i18n);
  for (const element of root.querySelectorAll("[data-i18n-label]")) {
    element.setAttribute("aria-label", t(element.dataset.i18nLabel));
  }
}

function use(code) {
  document.documentElement.lang = code;
  document.documentElement.dir = code === "ar" ? "rtl" : "ltr";
  translate();
  // The button is in the language that it leads to.
  const other = code === "ar" ? "en" : "ar";
  $("language").lang = other;
  $("language").textContent = TEXTS[other]["language.name"];
  for (const listener of listeners) listener();
}

export function start() {
  $("language").addEventListener("click", () => {
    const code = language() === "ar" ? "en" : "ar";
    remember("lang", code);
    use(code);
  });
  use(language());
}
