// One article: the form, the request, the answer.

import { classify, patiently } from "./api.js";
import * as answer from "./answer.js";
import { $ } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { onLanguage, t } from "./i18n.js";
import * as models from "./models.js";
import * as problems from "./problems.js";
import * as targets from "./targets.js";

/** What the answer panel shows: `{request, verdict, ms, selected}`. */
let answered = null;
let running = null;
let tools;

/** Puts an article into the form. */
export function fill({ title = "", text, targets: list }) {
  $("title").value = title;
  $("text").value = text;
  if (list) targets.set(list);
  problems.clear();
}

/** The request as it goes out; what is empty stays away. */
function compose() {
  const request = {};
  if ($("title").value.trim()) request.title = $("title").value;
  // The text area's own line breaks are what offsets are counted in.
  request.text = $("text").value;
  const list = targets.settle();
  if (list.length > 0) request.targets = list;
  if (models.chosen()) request.model = models.chosen();
  request.evidence = true;
  return request;
}

export async function ask() {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  problems.clear();
  const request = compose();
  if (!request.text.trim()) {
    problems.show({ code: "text_empty", param: "text" });
    return;
  }
  busy(true);
  const begun = performance.now();
  try {
    const verdict = await patiently(() => classify(request, { signal }), {
      signal,
      busy: 5,
      onWait: (_, seconds) => tools.notice(t("busy.wait", { seconds })),
    });
    const ms = performance.now() - begun;
    const selected = verdict.topics?.find((topic) => topic.assigned && topic.evidence)?.label ?? null;
    answered = { request, verdict, ms, selected };
    draw();
    tools.announce(t("answer.here", { summary: answer.summary(verdict).join(" ") }));
    // Beside the form on a wide screen, below it on a narrow one.
    if ($("answer").getBoundingClientRect().top > innerHeight * 0.6) {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      $("answer").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
    }
  } catch (error) {
    // A newer question took this one's place.
    if (signal.aborted) return;
    if (problems.wantsKey(error)) tools.askKey(ask);
    problems.show(error);
  } finally {
    if (!signal.aborted) {
      busy(false);
      tools.notice("");
    }
  }
}

function busy(is) {
  $("answer").setAttribute("aria-busy", String(is));
  $("classify").textContent = t(is ? "classify.busy" : "classify");
}

function draw() {
  if (answered) answer.draw($("answer-body"), answered, tools.announce);
  else $("answer-body").replaceChildren(answer.empty());
}

/** `given` is `{announce, notice, askKey}`. */
export function start(given) {
  tools = given;
  for (const code of ["en", "ar"]) {
    $(`example-${code}`).addEventListener("click", () => {
      fill(EXAMPLES[code]);
      ask();
    });
  }
  $("one").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  $("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      ask();
    }
  });
  onLanguage(draw);
  draw();
}
