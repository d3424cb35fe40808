// The models that are served, to choose from.

import { models, patiently } from "./api.js";
import { $, el } from "./dom.js";
import { onLanguage, t } from "./i18n.js";

let served = [];

/** The chosen model's name, or nothing for the default. */
export const chosen = () => $("model").value;

function draw() {
  const before = chosen();
  const isDefault = (model) => model.name === "default" || model.aliases.includes("default");
  // The empty value leaves the choice to the service, also after its default has changed.
  $("model").replaceChildren(
    ...served.map((model) =>
      el("option", { value: isDefault(model) ? "" : reference(model) }, isDefault(model) ? t("model.default", model) : reference(model)),
    ),
  );
  if ([...$("model").options].some((option) => option.value === before)) $("model").value = before;
  describe();
}

/** With its version where the name alone would mean another one. */
const reference = (model) =>
  served.filter((other) => other.name === model.name).length > 1 ? `${model.name}@${model.version}` : model.name;

function describe() {
  const model = served[$("model").selectedIndex];
  $("model-hint").textContent = model?.description ?? "";
}

/** Asks the service until it answers; `wait(error)` is told while it does not. */
export async function load(wait) {
  served = await patiently(() => models(), { lost: Infinity, onWait: wait });
  draw();
}

export function start() {
  $("model").addEventListener("change", describe);
  onLanguage(draw);
}
