// The results of many articles as files: JSONL is what the service said, CSV what a spreadsheet can use.

/** One answer a line, in the order of the articles. */
export const jsonl = (results) => results.map((result) => `${JSON.stringify(result)}\n`).join("");

/** A row an article; two columns a target: its stance and the probability of that. */
export function csv(articles, results) {
  const targets = [...new Set(results.flatMap((result) => (result.stance ?? []).map((entry) => entry.target)))];
  const named = (target) => target ?? "main subject";
  const header = ["id", "title", "language", "topics", "topic_scores"];
  for (const target of targets) header.push(`stance: ${named(target)}`, `score: ${named(target)}`);
  header.push("tokens", "model", "error");
  const lines = results.map((result, index) => {
    const assigned = (result.topics ?? []).filter((topic) => topic.assigned);
    const row = [
      result.id ?? index + 1,
      articles[index].title,
      result.language?.code,
      assigned.map((topic) => topic.label).join("; "),
      assigned.map((topic) => topic.score.toFixed(4)).join("; "),
    ];
    for (const target of targets) {
      const entry = result.stance?.find((candidate) => candidate.target === target);
      row.push(entry?.label, entry?.score.toFixed(4));
    }
    row.push(result.usage?.tokens, result.model && `${result.model.name}@${result.model.version}`, result.error?.message);
    return row;
  });
  // The mark at the beginning tells Excel that this is UTF-8.
  return `\uFEFF${[header, ...lines].map((row) => `${row.map(cell).join(",")}\r\n`).join("")}`;
}

function cell(value) {
  if (value === undefined || value === null) return "";
  if (typeof value === "number") return String(value);
  // A spreadsheet would run what begins like a formula; a foreign title could be one.
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
