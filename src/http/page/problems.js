// What the service refused, in plain words, beside the field that it is about.

import { $ } from "./dom.js";
import { known, t } from "./i18n.js";
import * as targets from "./targets.js";

const FIELDS = {
  text: ["text", "text-error"],
  title: ["title", "title-error"],
  targets: ["target", "targets-error"],
  model: ["model", "model-error"],
};

/** No key, a wrong one, or one that isn't good for this. */
export const wantsKey = (error) => [401, 403].includes(error.status);

export function inWords(error) {
  if (wantsKey(error)) return t("error.unauthorized");
  if (known(`error.${error.code}`)) return t(`error.${error.code}`);
  return error.message ? t("error.other", { message: error.message }) : t("error.internal");
}

export function clear() {
  for (const [field, place] of Object.values(FIELDS)) {
    $(field).removeAttribute("aria-invalid");
    $(place).textContent = "";
  }
  $("form-error").textContent = "";
}

/** Shows an error of one article, and leads to its field. */
export function show(error) {
  const [name, index] = (error.param ?? "").split(/[[\].]+/);
  // No place: whatever concerns none of the fields.
  const [field, place] = FIELDS[name] ?? [null, "form-error"];
  $(place).textContent = inWords(error);
  if (name === "targets" && index) targets.blame(Number(index));
  if (field) {
    $(field).setAttribute("aria-invalid", "true");
    $(field).focus();
  }
}
