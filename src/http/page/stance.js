// Stance as diverging bars: against on the side where lines begin, in favor on the other, neutral around the middle. Unrelated is no place
// between the two, so that it has a bar of its own.

import { el } from "./dom.js";
import { percent, t } from "./i18n.js";

const ORDER = ["against", "neutral", "favor", "unrelated"];

export function stance(list) {
  return el(
    "section",
    { className: "card" },
    el("h3", {}, t("stance")),
    el("p", { className: "hint" }, t("stance.hint")),
    el("ul", { className: "stances" }, list.map(one)),
  );
}

function one({ target, label, scores }) {
  return el(
    "li",
    { className: "stance" },
    el(
      "div",
      { className: "stance-head" },
      target === null ? el("strong", {}, t("main.subject.title")) : el("strong", { dir: "auto" }, target),
      el("span", { className: `label ${label}` }, t(label)),
    ),
    el(
      "div",
      { className: "stance-bars", "aria-hidden": "true" },
      el(
        "div",
        { className: "diverging" },
        // The half of neutral that lies on either side pushes the others outwards.
        el("span", { className: "part against", "--share": scores.against, "--neutral": scores.neutral }),
        el("span", { className: "part neutral", "--share": scores.neutral }),
        el("span", { className: "part favor", "--share": scores.favor, "--neutral": scores.neutral }),
        el("span", { className: "middle" }),
      ),
      el("div", { className: "aside" }, el("span", { className: "part unrelated", "--share": scores.unrelated })),
    ),
    el(
      "dl",
      { className: "scores" },
      ORDER.map((name) =>
        el("div", { className: `score ${name}${name === label ? " most" : ""}` }, el("dt", {}, t(name)), el("dd", {}, percent(scores[name]))),
      ),
    ),
  );
}
