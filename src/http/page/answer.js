// The answer to one article: a summary in words, topics, stance, and the text with its evidence.

import { el } from "./dom.js";
import { inField, pieces } from "./evidence.js";
import { languageName, listed, number, percent, t, topicName } from "./i18n.js";
import { curl, python } from "./snippets.js";
import { stance } from "./stance.js";
import { topics } from "./topics.js";

const STANCES = ["favor", "against", "neutral", "unrelated"];
/** As many topics as a sentence bears. */
const NAMED = 4;

/** What was understood, in a few sentences. */
export function summary(verdict) {
  const sentences = [];
  if (verdict.topics) {
    const names = verdict.topics.filter((topic) => topic.assigned).slice(0, NAMED).map(topicName);
    sentences.push(names.length > 0 ? t("said.topics", { topics: listed(names) }) : t("said.none"));
  }
  for (const label of STANCES) {
    const targets = (verdict.stance ?? [])
      .filter((entry) => entry.label === label)
      .map(({ target }) => (target === null ? t("main.subject") : t("quoted", { text: target })));
    if (targets.length > 0) sentences.push(t(`said.${label}`, { targets: listed(targets) }));
  }
  return sentences;
}

/**
 * Draws the answer into `place`. `answered` is `{request, verdict, ms, selected}`; `selected` is the label whose evidence shows, and follows
 * what the reader chooses.
 */
export function draw(place, answered, announce) {
  const { request, verdict } = answered;
  const text = el("div", { className: "reading" });
  const marked = (verdict.topics ?? []).filter((topic) => topic.evidence);
  const showEvidence = () => {
    const topic = marked.find((candidate) => candidate.label === answered.selected);
    text.replaceChildren(...reading(request, topic));
  };
  showEvidence();
  const [first, ...rest] = summary(verdict);
  const parts = [
    el(
      "div",
      { className: "card summary" },
      el("p", { className: "lead" }, first),
      rest.length > 0 && el("p", {}, rest.join(" ")),
      facts(answered),
    ),
    verdict.topics &&
      topics(verdict.topics, answered.selected, (topic) => {
        answered.selected = topic.label;
        showEvidence();
        announce(t("evidence.shown", { topic: topicName(topic), count: number(topic.evidence.length) }));
      }),
    el("section", { className: "card" }, text),
    verdict.stance && stance(verdict.stance),
    program(request, verdict),
    el("details", { className: "card fold" }, el("summary", {}, t("calibrated.title")), el("p", {}, t("calibrated"))),
  ];
  place.replaceChildren(...parts.filter(Boolean));
}

function facts({ verdict, ms }) {
  const { language, model, usage } = verdict;
  const tokens = number(usage.tokens);
  const entries = [
    ["facts.language", language ? languageName(language.code) : t("facts.unknown")],
    [
      "facts.length",
      usage.windows > 1
        ? t("facts.windows", { tokens, windows: number(usage.windows) })
        : t("facts.tokens", { tokens }),
    ],
    ["facts.model", el("bdi", {}, `${model.name} ${model.version}`)],
    ["facts.time", t("facts.ms", { ms: number(Math.round(ms)) })],
  ];
  return el(
    "dl",
    { className: "facts" },
    entries.map(([name, value]) => el("div", {}, el("dt", {}, t(name)), el("dd", {}, value))),
  );
}

/** The article, the passages of `topic` marked. */
function reading(request, topic) {
  const name = topic && topicName(topic);
  const count = topic?.evidence.length ?? 0;
  const marks = (text, field) =>
    pieces(text, inField(topic?.evidence, field)).map((piece) =>
      piece.rank === 0
        ? piece.text
        : el(
            "mark",
            { "data-rank": piece.rank },
            el(
              "span",
              // With a direction of its own it doesn't count for that of the text.
              { className: "visually-hidden", dir: document.documentElement.dir },
              `${t("evidence.rank", { rank: number(piece.rank), count: number(count), topic: name })} `,
            ),
            piece.text,
          ),
    );
  return [
    el(
      "div",
      { className: "section-head" },
      el("h3", {}, topic ? t("evidence", { topic: name }) : t("evidence.none")),
      count > 1 && el("span", { className: "hint", "aria-hidden": "true" }, t("evidence.key")),
    ),
    topic && count === 0 && el("p", { className: "hint" }, t("evidence.missing")),
    el(
      "div",
      { className: "article", id: "reading", tabIndex: 0, role: "region", "aria-label": t("text.label") },
      request.title && el("p", { className: "article-title", dir: "auto" }, marks(request.title, "title")),
      el("p", { className: "article-text", dir: "auto" }, marks(request.text, "text")),
    ),
  ].filter(Boolean);
}

/** curl, Python and the raw answer, to copy. */
function program(request, verdict) {
  const code = (name, text) =>
    el(
      "div",
      { className: "code" },
      el("div", { className: "section-head" }, el("h4", {}, t(name)), copyButton(t(name), text)),
      el("pre", { dir: "ltr", tabIndex: 0, role: "region", "aria-label": t(name) }, el("code", { id: name.replace(".", "-") }, text)),
    );
  return el(
    "details",
    { className: "card fold", id: "program" },
    el("summary", {}, t("request.title")),
    code("request.curl", curl(request)),
    code("request.python", python(request)),
    code("request.json", JSON.stringify(verdict, null, 2)),
  );
}

function copyButton(name, text) {
  const button = el("button", { type: "button", className: "quiet", "aria-label": `${t("copy")}: ${name}` }, t("copy"));
  button.addEventListener("click", async () => {
    let said = "copied";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // No clipboard without TLS or permission.
      said = "copy.failed";
    }
    button.textContent = t(said);
    setTimeout(() => (button.textContent = t("copy")), 2_000);
  });
  return button;
}

/** Before the first answer: what will be here. */
export function empty() {
  return el(
    "div",
    { className: "card empty" },
    el("p", { className: "lead" }, t("empty.title")),
    el("ul", {}, ["empty.topics", "empty.stance", "empty.evidence"].map((key) => el("li", {}, t(key)))),
  );
}
