// Many articles: what was pasted and opened, the run, the table, the downloads.

import { classify } from "./api.js";
import { run } from "./batch.js";
import { $, download, el } from "./dom.js";
import { read } from "./files.js";
import { languageName, number, onLanguage, percent, t, topicName } from "./i18n.js";
import * as models from "./models.js";
import * as problems from "./problems.js";
import { csv, jsonl } from "./results.js";
import * as targets from "./targets.js";

/** More rows than anyone reads make a page slow; the downloads have all. */
const ROWS = 300;

let tools;
/** Opened files: `{name, articles, problems}`. */
let files = [];
/** `{articles, results, begun, before, state}` of the run that is shown; `state` is running, done or stopped. */
let batch = null;
let running = null;

/** Reads files into the list; the promise resolves with all of their articles. */
export async function open(list) {
  for (const file of list) {
    try {
      files.push({ name: file.name, ...read(file.name, await text(file)) });
    } catch {
      files.push({ name: file.name, articles: [], problems: [t("file.failed", { name: file.name })] });
    }
  }
  tell();
}

/** A file as text. What isn't UTF-8 is refused here rather than misread there. */
export const text = async (file) => new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());

function collected() {
  const pasted = $("bulk").value.trim() ? read("", $("bulk").value) : { articles: [], problems: [] };
  return {
    articles: [...files.flatMap((file) => file.articles), ...pasted.articles],
    problems: [...files.flatMap((file) => file.problems), ...pasted.problems],
  };
}

/** What was found, as it will be read. */
function tell() {
  const { articles, problems: wrong } = collected();
  const count = number(articles.length);
  const names = files.map((file) => file.name).join(", ");
  $("bulk-found").replaceChildren();
  if (articles.length > 0 || files.length > 0) {
    $("bulk-found").append(names ? t("bulk.files", { count, files: names }) : t("bulk.found", { count }));
    $("bulk-found").append(" ", el("button", { type: "button", className: "link", onclick: clear }, t("bulk.clear")));
  }
  // The first few tell what kind of mistake it is.
  $("bulk-error").textContent = wrong.slice(0, 3).join(" · ") + (wrong.length > 3 ? ` … (${number(wrong.length)})` : "");
}

function clear() {
  files = [];
  $("bulk").value = "";
  tell();
  $("bulk").focus();
}

async function begin() {
  if (running) return;
  problems.clear();
  const list = targets.settle();
  const model = models.chosen();
  const articles = collected().articles.map((article) => ({
    ...article,
    ...(!article.targets && list.length > 0 && { targets: list }),
    ...(model && { model }),
  }));
  if (articles.length === 0) {
    $("bulk-error").textContent = t("bulk.none");
    $("bulk").focus();
    return;
  }
  const same = batch?.state === "stopped" && JSON.stringify(batch.articles) === JSON.stringify(articles);
  if (!same) batch = { articles, results: new Array(articles.length) };
  await go();
}

async function go() {
  running = new AbortController();
  const { signal } = running;
  Object.assign(batch, { state: "running", begun: performance.now(), before: done() });
  draw();
  $("batch").focus({ preventScroll: true });
  tools.announce(t("batch.progress", { done: number(done()), total: number(batch.articles.length) }));
  try {
    await run(batch.articles, batch.results, {
      signal,
      send: async (articles, both) => (await classify({ articles }, { signal: both })).verdicts,
      onProgress: () => {
        tools.notice("");
        progress();
      },
      onWait: (error, seconds) =>
        tools.notice(
          error.code === "network" ? t("error.network") : t(error.status === 429 ? "batch.wait" : "batch.loading", { seconds }),
        ),
    });
    batch.state = "done";
    tools.announce(t("batch.done", { done: number(done()) }));
  } catch (error) {
    batch.state = "stopped";
    if (!signal.aborted) {
      if (problems.wantsKey(error)) tools.askKey(go);
      problems.show(error);
    }
    tools.announce(t("batch.stopped"));
  } finally {
    running = null;
    tools.notice("");
    draw();
  }
}

const done = () => batch.results.filter(Boolean).length;
const failed = () => batch.results.filter((result) => result?.error).length;

/** The bar, its words, and the rows that have come. */
function progress() {
  const total = batch.articles.length;
  const read = done();
  const bar = $("progress");
  if (bar) bar.value = read;
  const words = [t("batch.progress", { done: number(read), total: number(total) })];
  if (failed() > 0) words.push(t("batch.failed", { failed: number(failed()) }));
  if (batch.state === "running" && read > batch.before) {
    const rate = (read - batch.before) / ((performance.now() - batch.begun) / 1000);
    words.push(t("batch.rate", { rate: number(rate, { maximumSignificantDigits: 2 }) }));
    if (read < total) words.push(t("batch.left", { time: duration((total - read) / rate) }));
  }
  $("progress-words").textContent = words.join(" · ");
  const body = $("rows");
  batch.results.slice(0, ROWS).forEach((result, index) => {
    if (result && !body.querySelector(`[data-index="${index}"]`)) insert(body, row(result, index));
  });
}

const duration = (seconds) =>
  seconds < 90 ? t("seconds", { n: number(Math.ceil(seconds)) }) : t("minutes", { n: number(Math.ceil(seconds / 60)) });

/** Rows come as their requests are answered, and stand in the order of the articles. */
function insert(body, line) {
  const index = Number(line.dataset.index);
  const after = [...body.children].find((other) => Number(other.dataset.index) > index);
  body.insertBefore(line, after ?? null);
}

function row(result, index) {
  const article = batch.articles[index];
  const name = article.title ?? article.text.trim().split("\n", 1)[0].slice(0, 160);
  const head = el(
    "th",
    { scope: "row" },
    el("button", { type: "button", className: "link", "aria-label": t("batch.open", { name }), onclick: () => tools.show(article) }, el("bdi", {}, name)),
    article.id && el("span", { className: "hint id" }, el("bdi", {}, article.id)),
  );
  if (result.error) {
    return el(
      "tr",
      { "data-index": String(index) },
      head,
      el("td", { colSpan: 3, className: "error" }, problems.inWords(result.error)),
    );
  }
  const topics = (result.topics ?? []).filter((topic) => topic.assigned);
  return el(
    "tr",
    { "data-index": String(index) },
    head,
    el("td", {}, el("ul", { className: "tags" }, topics.map((topic) => el("li", {}, topicName(topic), " ", el("span", {}, percent(topic.score)))))),
    el(
      "td",
      {},
      el(
        "ul",
        { className: "tags plain" },
        (result.stance ?? []).map((entry) =>
          el(
            "li",
            {},
            el("span", { className: `label ${entry.label}` }, t(entry.label)),
            " ",
            entry.target === null ? "" : el("bdi", {}, entry.target),
          ),
        ),
      ),
    ),
    el("td", {}, result.language ? languageName(result.language.code) : "–"),
  );
}

function draw() {
  $("cancel").hidden = batch?.state !== "running";
  $("start").hidden = batch?.state === "running";
  $("start").textContent = t(batch?.state === "stopped" ? "batch.resume" : "batch.start");
  if (!batch) {
    $("batch-body").replaceChildren(
      el("div", { className: "card empty" }, el("p", { className: "lead" }, t("batch.empty.title")), el("p", {}, t("batch.empty"))),
    );
    return;
  }
  const total = batch.articles.length;
  const ready = batch.state !== "running" && done() > 0;
  // Answers that came are kept together with their articles; places still empty are left out.
  const kept = () => {
    const pairs = batch.articles.map((article, index) => [article, batch.results[index]]).filter(([, result]) => result);
    return [pairs.map(([article]) => article), pairs.map(([, result]) => result)];
  };
  $("batch-body").replaceChildren(
    el(
      "div",
      { className: "card" },
      el("progress", { id: "progress", max: total, value: 0, "aria-labelledby": "progress-words" }),
      el("p", { id: "progress-words", className: "found" }),
      batch.state === "stopped" && el("p", { className: "hint" }, t("batch.stopped")),
      ready &&
        el(
          "div",
          { className: "row downloads" },
          el(
            "button",
            { type: "button", className: "secondary", id: "download-csv", onclick: () => download("tasnif.csv", "text/csv", csv(...kept())) },
            t("batch.csv"),
          ),
          el(
            "button",
            {
              type: "button",
              className: "secondary",
              id: "download-jsonl",
              onclick: () => download("tasnif.jsonl", "application/x-ndjson", jsonl(kept()[1])),
            },
            t("batch.jsonl"),
          ),
        ),
      total > ROWS && el("p", { className: "hint" }, t("batch.first", { shown: number(ROWS), total: number(total) })),
      el(
        "div",
        { className: "table", tabIndex: 0, role: "region", "aria-label": t("batch.table") },
        el(
          "table",
          {},
          el(
            "thead",
            {},
            el("tr", {}, ["article", "topics", "stance", "language"].map((name) => el("th", { scope: "col" }, t(`batch.${name}`)))),
          ),
          el("tbody", { id: "rows" }),
        ),
      ),
    ),
  );
  progress();
}

/** `given` is `{announce, notice, askKey, show}`. */
export function start(given) {
  tools = given;
  $("many").addEventListener("submit", (event) => {
    event.preventDefault();
    begin();
  });
  $("cancel").addEventListener("click", () => running?.abort());
  $("bulk").addEventListener("input", tell);
  addEventListener("beforeunload", (event) => {
    if (running) event.preventDefault();
  });
  const redraw = () => {
    tell();
    draw();
  };
  onLanguage(redraw);
  redraw();
}
