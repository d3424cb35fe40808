// Topics as bars with their thresholds: the assigned ones first, the rest folded away.

import { el } from "./dom.js";
import { number, percent, t, topicName } from "./i18n.js";

/** `choose(topic)` is called when the reader picks another topic's evidence. */
export function topics(list, selected, choose) {
  const assigned = list.filter((topic) => topic.assigned);
  const rest = list.filter((topic) => !topic.assigned);
  const choosable = assigned.some((topic) => topic.evidence);
  const buttons = [];
  const row = (topic) => {
    if (!topic.evidence) return el("li", { className: "topic" }, inside(topic));
    const button = el(
      "button",
      {
        type: "button",
        className: "topic-button",
        "aria-pressed": String(topic.label === selected),
        "data-label": topic.label,
        onclick: () => {
          for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
          choose(topic);
        },
      },
      inside(topic),
    );
    buttons.push(button);
    return el("li", { className: "topic" }, button, codes(topic));
  };
  return el(
    "section",
    { className: "card" },
    el("h3", {}, t("topics")),
    el("p", { className: "hint" }, t(choosable ? "topics.hint" : "topics.hint.plain")),
    assigned.length > 0 ? el("ul", { className: "topics assigned" }, assigned.map(row)) : el("p", {}, t("said.none")),
    rest.length > 0 &&
      el(
        "details",
        { className: "rest" },
        el("summary", {}, t("topics.rest", { count: number(rest.length) })),
        el("ul", { className: "topics" }, rest.map((topic) => el("li", { className: "topic" }, inside(topic)))),
      ),
  );
}

function inside(topic) {
  return [
    el("span", { className: "topic-name" }, topicName(topic)),
    el(
      "span",
      { className: "topic-numbers" },
      el("strong", {}, percent(topic.score)),
      el("span", { className: "hint" }, t("topics.threshold", { value: percent(topic.threshold) })),
    ),
    el(
      "span",
      { className: "track", "aria-hidden": "true" },
      el("span", { className: "fill", "--share": topic.score }),
      el("span", { className: "threshold", "--share": topic.threshold }),
    ),
  ];
}

/** IPTC Media Topics, each a link to its definition. */
function codes(topic) {
  if (topic.iptc.length === 0) return null;
  const links = topic.iptc.map((code) =>
    el(
      "a",
      {
        href: `https://cv.iptc.org/newscodes/mediatopic/${encodeURIComponent(code.replace(/^medtop:/, ""))}`,
        target: "_blank",
        rel: "noopener noreferrer",
      },
      code.replace(/^medtop:/, ""),
    ),
  );
  return el("p", { className: "codes" }, "IPTC ", el("bdi", { dir: "ltr" }, links.flatMap((link, index) => (index ? [" ", link] : [link]))));
}
