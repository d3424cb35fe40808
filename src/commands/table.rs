//! A verdict for people: aligned columns with bars.
//!
//! Right-to-left text breaks columns, since a terminal that knows it reorders the whole line. So each line keeps its
//! left-to-right columns first, gives foreign text last, and wraps it in Unicode isolates (UAX #9), which terminals
//! without bidirectional text show as nothing.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::article::{Article, Evidence, Field, Stance, Topic, Verdict};

const BAR: usize = 20;
/// Columns for a passage or a title; lines stay below 80 with what stands before them.
const EXCERPT: usize = 60;
const FIRST_STRONG_ISOLATE: char = '\u{2068}';
const POP_ISOLATE: char = '\u{2069}';
/// Topics that are not assigned are shown down to here; the rest would only be a long list of zeros.
const SHOWN: f32 = 0.05;

/// The table.
pub(super) fn render(article: &Article, verdict: &Verdict) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_all(&mut out, article, verdict);
    out
}

fn write_all(out: &mut String, article: &Article, verdict: &Verdict) -> std::fmt::Result {
    let heading = article.title.as_deref().unwrap_or(&article.text);
    writeln!(out, "{}", isolate(&excerpt(heading)))?;
    let language = verdict.language.as_ref().map_or_else(
        || "language unknown".to_owned(),
        |language| format!("language {} ({:.0} %)", language.code, language.confidence * 100.0),
    );
    writeln!(
        out,
        "{language}, {} tokens in {}, model {} {}",
        verdict.usage.tokens,
        count(verdict.usage.windows, "window"),
        verdict.model.name,
        verdict.model.version
    )?;
    if let Some(topics) = &verdict.topics {
        writeln!(out, "\nTopics")?;
        write_topics(out, article, topics)?;
    }
    for stance in verdict.stance.iter().flatten() {
        write_stance(out, stance)?;
    }
    Ok(())
}

fn write_topics(out: &mut String, article: &Article, topics: &[Topic]) -> std::fmt::Result {
    // Whoever names labels wants to see each.
    let shown = |topic: &&Topic| topic.assigned || topic.score >= SHOWN || article.labels.is_some();
    let width = topics
        .iter()
        .filter(shown)
        .map(|topic| topic.label.width())
        .max()
        .unwrap_or(0);
    for topic in topics.iter().filter(shown) {
        let mark = if topic.assigned { '✓' } else { ' ' };
        let name = topic.name.get("ar").map(|name| isolate(name)).unwrap_or_default();
        let padding = " ".repeat(width - topic.label.width());
        writeln!(
            out,
            "  {mark} {}{padding}  {} {:>5.1} %  {name}",
            topic.label,
            bar(topic.score),
            topic.score * 100.0
        )?;
        for passage in topic.evidence.iter().flatten() {
            writeln!(
                out,
                "        {:+.2}  {}",
                passage.score,
                isolate(&excerpt(&passage_text(article, passage)))
            )?;
        }
    }
    let hidden = topics.iter().filter(|topic| !shown(topic)).count();
    if hidden > 0 {
        writeln!(out, "    {} below {:.0} %", count(hidden, "more topic"), SHOWN * 100.0)?;
    }
    Ok(())
}

fn write_stance(out: &mut String, stance: &Stance) -> std::fmt::Result {
    let target = stance
        .target
        .as_deref()
        .map_or_else(|| "the main subject".to_owned(), |target| isolate(&excerpt(target)));
    writeln!(
        out,
        "\nStance: {} ({:.0} %) toward {target}",
        stance.label,
        stance.score * 100.0
    )?;
    let scores = &stance.scores;
    for (label, score) in [
        ("favor", scores.favor),
        ("against", scores.against),
        ("neutral", scores.neutral),
        ("unrelated", scores.unrelated),
    ] {
        let mark = if label == stance.label { '✓' } else { ' ' };
        writeln!(out, "  {mark} {label:<9}  {} {:>5.1} %", bar(score), score * 100.0)?;
    }
    Ok(())
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A bar of eighths of a column, always [`BAR`] columns wide.
fn bar(score: f32) -> String {
    const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = ((score.clamp(0.0, 1.0) * (BAR * 8) as f32).round()) as usize;
    let mut bar = "█".repeat(eighths / 8);
    let mut width = eighths / 8;
    if let Some(part) = (eighths % 8).checked_sub(1).and_then(|index| EIGHTHS.get(index)) {
        bar.push(*part);
        width += 1;
    }
    bar.push_str(&"░".repeat(BAR - width));
    bar
}

fn isolate(text: &str) -> String {
    format!("{FIRST_STRONG_ISOLATE}{text}{POP_ISOLATE}")
}

/// The beginning of a text on one line of a terminal: no control character, no more than [`EXCERPT`] columns.
fn excerpt(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let mut excerpt = String::new();
    let mut width = 0;
    for character in line.chars().filter(|character| !character.is_control()) {
        width += character.width().unwrap_or(0);
        if width > EXCERPT {
            excerpt.push('…');
            break;
        }
        excerpt.push(character);
    }
    excerpt
}

fn passage_text(article: &Article, passage: &Evidence) -> String {
    let field = match passage.field {
        Field::Title => article.title.as_deref().unwrap_or_default(),
        Field::Text => &article.text,
    };
    field
        .chars()
        .skip(passage.start)
        .take(passage.end - passage.start)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_keep_their_width() {
        for score in [0.0, 0.001, 0.5, 0.994, 1.0, 7.0, -1.0, f32::NAN] {
            assert_eq!(bar(score).width(), BAR, "{score}");
        }
        assert_eq!(bar(1.0), "█".repeat(BAR));
    }

    #[test]
    fn excerpts_are_one_line_without_control_characters() {
        assert_eq!(excerpt("  خبر\u{7}\u{1b}[31m عاجل\r\nسطر آخر"), "خبر[31m عاجل");
        assert!(excerpt(&"字".repeat(100)).width() <= EXCERPT + 1);
    }
}
