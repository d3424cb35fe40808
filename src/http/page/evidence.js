// Passages of the evidence in the text that they belong to.

/**
 * Cuts `text` into `{text, rank}` pieces, one behind the other: `rank` is the place (1 is the strongest) of the passage that a piece lies in, 0
 * outside of all. Offsets count Unicode characters (code points), not UTF-16 units as JavaScript's strings do.
 * Where passages overlap, the stronger one has the piece.
 */
export function pieces(text, passages) {
  const characters = Array.from(text);
  const ranked = passages
    .map((passage) => ({
      start: Math.max(0, passage.start),
      end: Math.min(characters.length, passage.end),
      score: passage.score,
    }))
    .filter((passage) => passage.start < passage.end)
    .sort((a, b) => b.score - a.score);
  const bounds = new Set([0, characters.length]);
  for (const { start, end } of ranked) bounds.add(start).add(end);
  const sorted = [...bounds].sort((a, b) => a - b);
  return sorted.slice(1).map((end, index) => {
    const start = sorted[index];
    const rank = ranked.findIndex((passage) => passage.start <= start && end <= passage.end) + 1;
    return { text: characters.slice(start, end).join(""), rank };
  });
}

/** The passages of one field; a span without `in` lies in the text. */
export const inField = (evidence, field) => (evidence ?? []).filter((passage) => (passage.in ?? "text") === field);
