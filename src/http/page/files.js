// Articles from texts and files: plain text, JSONL, JSON, CSV.

import { t } from "./i18n.js";

/** What is read of a record; anything else in it is passed over. */
const FIELDS = ["id", "title", "text", "language", "targets"];

/** The articles of one file, or of what was pasted (`name` is empty then), and what could not be read of it, in words. */
export function read(name, content) {
  const text = content.replace(/^\uFEFF/, "");
  const extension = name.split(".").at(-1).toLowerCase();
  const kind = KINDS[extension] ?? guess(text);
  return kind(name, text);
}

const KINDS = {
  jsonl: jsonLines,
  ndjson: jsonLines,
  json: (name, text) => (isJson(text) ? json(name, text) : jsonLines(name, text)),
  csv,
  tsv: csv,
};

function guess(text) {
  const start = text.trimStart();
  if (/^[[{]/.test(start)) {
    if (isJson(text)) return json;
    if (isJson(start.split("\n", 1)[0])) return jsonLines;
  }
  const header = rows(start.split("\n", 1)[0])[0] ?? [];
  return header.length > 1 && header.some((name) => plain(name) === "text") ? csv : plainTexts;
}

function isJson(text) {
  try {
    return typeof JSON.parse(text) === "object";
  } catch {
    return false;
  }
}

/** Texts with a line of three dashes or more between them. */
function plainTexts(_, text) {
  const texts = text.split(/^\s*-{3,}\s*$/m).map((part) => part.trim());
  return { articles: texts.filter(Boolean).map((part) => ({ text: part })), problems: [] };
}

function json(name, text) {
  const value = JSON.parse(text);
  const list = Array.isArray(value) ? value : (value.articles ?? [value]);
  return records(name, list.map((record, index) => [index + 1, record]));
}

function jsonLines(name, text) {
  const found = [];
  const problems = [];
  text.split("\n").forEach((line, index) => {
    if (!line.trim()) return;
    try {
      found.push([index + 1, JSON.parse(line)]);
    } catch {
      problems.push(t("file.row", { name: name || "JSONL", line: index + 1, problem: t("file.json") }));
    }
  });
  const read = records(name || "JSONL", found);
  return { articles: read.articles, problems: [...problems, ...read.problems] };
}

function csv(name, text) {
  const [header, ...body] = rows(text, delimiter(text));
  const columns = (header ?? []).map(plain);
  if (!columns.includes("text")) return { articles: [], problems: [t("file.column", { name: name || "CSV" })] };
  const found = body
    .filter((row) => row.some((cell) => cell.trim()))
    .map((row, index) => [index + 2, Object.fromEntries(columns.map((column, place) => [column, row[place] ?? ""]))]);
  return records(name || "CSV", found);
}

const plain = (name) => name.trim().toLowerCase();

/** The one of the usual four that the header has most of. */
function delimiter(text) {
  const header = text.split("\n", 1)[0];
  const count = (mark) => header.split(mark).length;
  return [",", ";", "\t", "|"].reduce((best, mark) => (count(mark) > count(best) ? mark : best));
}

/** RFC 4180: quoted cells may hold delimiters, line breaks and doubled quotes. */
export function rows(text, mark = ",") {
  const result = [];
  let row = [];
  let cell = "";
  let quoted = false;
  const endRow = () => {
    row.push(cell);
    result.push(row);
    [row, cell] = [[], ""];
  };
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (quoted) {
      if (character !== '"') cell += character;
      else if (text[at + 1] === '"') cell += text[++at];
      else quoted = false;
    } else if (character === '"' && cell === "") quoted = true;
    else if (character === mark) {
      row.push(cell);
      cell = "";
    } else if (character === "\n") endRow();
    else if (character !== "\r" || text[at + 1] !== "\n") cell += character;
  }
  if (cell || row.length > 0) endRow();
  return result;
}

function records(name, numbered) {
  const articles = [];
  const problems = [];
  for (const [line, record] of numbered) {
    if (typeof record?.text !== "string") {
      problems.push(t("file.row", { name: name || "JSON", line, problem: t("file.object") }));
      continue;
    }
    const article = {};
    for (const field of FIELDS) {
      const value = record[field];
      if (value === undefined || value === null || value === "") continue;
      article[field] = field === "id" ? String(value) : value;
    }
    articles.push({ ...article, text: record.text });
  }
  return { articles, problems };
}
