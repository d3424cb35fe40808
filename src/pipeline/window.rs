//! A long document as overlapping windows, cut between sentences where that is possible. Pure functions of counts.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// Where a document may be cut: first tokens, rising; every paragraph is a sentence's start too. Both begin with 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starts {
    pub sentences: Vec<usize>,
    pub paragraphs: Vec<usize>,
}

impl Starts {
    /// Of a text's tokens; `starts` are their first bytes in `text`.
    ///
    /// Sentences are those of UAX #29 (Unicode Text Segmentation), which knows the full stops of Arabic, Chinese or Hindi
    /// and takes every line break for a boundary. A paragraph begins behind a line break.
    #[must_use]
    pub fn of(text: &str, starts: impl Iterator<Item = usize>) -> Self {
        let mut found = Self {
            sentences: vec![0],
            paragraphs: vec![0],
        };
        let mut bounds = text.split_sentence_bounds().scan(0, |end, sentence| {
            *end += sentence.len();
            Some((*end, sentence.ends_with(LINE_BREAKS)))
        });
        let mut next = bounds.next();
        for (token, byte) in starts.enumerate() {
            let (mut sentence, mut paragraph) = (false, false);
            while let Some((_, line)) = next.filter(|&(bound, _)| bound <= byte) {
                (sentence, paragraph) = (true, paragraph || line);
                next = bounds.next();
            }
            if token > 0 && sentence {
                found.sentences.push(token);
            }
            if token > 0 && paragraph {
                found.paragraphs.push(token);
            }
        }
        found
    }
}

/// The mandatory breaks of UAX #14, but for form feed and line tabulation.
const LINE_BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// Ranges of at most `size` tokens that together cover all of `tokens`.
///
/// As few windows as fit are made about equally long, since a last one of a handful of tokens would cost an extra pass and
/// say little. A window ends where a paragraph does if one ends within a quarter of the window around the even cut, since
/// that is where a text changes its subject; else where a sentence does. Behind a paragraph the next one begins right
/// there, else up to `overlap` tokens earlier: at the first sentence that starts within these, or, where the cut
/// went through a sentence, at the full overlap. Callers keep `overlap` below a quarter of `size`, and `size` above 0.
#[must_use]
pub fn windows(tokens: usize, starts: &Starts, size: usize, overlap: usize) -> Vec<Range<usize>> {
    let size = size.max(1);
    let overlap = overlap.min(size / 4);
    let mut windows = Vec::new();
    let mut start = 0;
    while tokens - start > size {
        let rest = tokens - start;
        let count = (rest - overlap).div_ceil(size - overlap);
        let even = (rest + (count - 1) * overlap).div_ceil(count).min(size);
        let cut = start + even;
        let slack = size / 4;
        // A cut beyond size doesn't fit; one at or before start + overlap would not move on.
        let low = cut.saturating_sub(slack).max(start + overlap + 1);
        let high = (cut + slack).min(start + size);
        let near = |of| nearest(of, cut, low..=high);
        let paragraph = near(&starts.paragraphs);
        let end = paragraph.or_else(|| near(&starts.sentences)).unwrap_or(cut);
        windows.push(start..end);

        let earliest = end - overlap;
        let first = starts.sentences.partition_point(|&sentence| sentence < earliest);
        let shared = starts.sentences.get(first).filter(|&&sentence| sentence <= end);
        start = paragraph.unwrap_or(*shared.unwrap_or(&earliest));
    }
    windows.push(start..tokens);
    windows
}

/// The sentence start closest to `wanted` among those in `range`.
fn nearest(sentences: &[usize], wanted: usize, range: std::ops::RangeInclusive<usize>) -> Option<usize> {
    let from = sentences.partition_point(|sentence| sentence < range.start());
    let until = sentences.partition_point(|sentence| sentence <= range.end());
    sentences
        .get(from..until)?
        .iter()
        .copied()
        .min_by_key(|sentence| sentence.abs_diff(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn windows_of_known_documents() {
        struct Case {
            name: &'static str,
            tokens: usize,
            sentences: &'static [usize],
            paragraphs: &'static [usize],
            expected: &'static [(usize, usize)],
        }
        let cases = [
            Case {
                name: "nothing",
                tokens: 0,
                sentences: &[0],
                paragraphs: &[0],
                expected: &[(0, 0)],
            },
            Case {
                name: "one full window",
                tokens: 100,
                sentences: &[0],
                paragraphs: &[0],
                expected: &[(0, 100)],
            },
            Case {
                name: "no sentence ends: even, full overlap",
                tokens: 101,
                sentences: &[0],
                paragraphs: &[0],
                expected: &[(0, 61), (41, 101)],
            },
            Case {
                name: "a sentence near the even cut",
                tokens: 101,
                sentences: &[0, 55],
                paragraphs: &[0],
                expected: &[(0, 55), (55, 101)],
            },
            Case {
                name: "a short sentence before it is shared",
                tokens: 101,
                sentences: &[0, 40, 55],
                paragraphs: &[0],
                expected: &[(0, 55), (40, 101)],
            },
            Case {
                name: "a sentence too far from it",
                tokens: 101,
                sentences: &[0, 10],
                paragraphs: &[0],
                expected: &[(0, 61), (41, 101)],
            },
            Case {
                name: "a paragraph rather than a sentence that is nearer",
                tokens: 101,
                sentences: &[0, 50, 60],
                paragraphs: &[0, 50],
                expected: &[(0, 50), (50, 101)],
            },
        ];
        for case in cases {
            let starts = Starts {
                sentences: case.sentences.to_vec(),
                paragraphs: case.paragraphs.to_vec(),
            };
            let found: Vec<(usize, usize)> = windows(case.tokens, &starts, 100, 20)
                .into_iter()
                .map(|window| (window.start, window.end))
                .collect();
            assert_eq!(found, case.expected, "{}", case.name);
        }
    }

    #[test]
    fn sentences_begin_behind_full_stops_of_many_scripts_and_line_breaks() {
        let text = "هل انتهت؟ نعم.\r\n他来了。她走了。 Who? Me.";
        let bytes = text.char_indices().map(|(byte, _)| byte);
        let starts = Starts::of(text, bytes);
        let characters = |tokens: &[usize]| -> String { tokens.iter().filter_map(|&i| text.chars().nth(i)).collect() };
        assert_eq!(characters(&starts.sentences), "هن他她WM");
        assert_eq!(characters(&starts.paragraphs), "ه他");
    }

    proptest! {
        #[test]
        fn every_token_is_in_a_window_and_every_window_fits(
            tokens in 0usize..5_000,
            size in 16usize..300,
            overlap_share in 0usize..=4,
            gaps in prop::collection::vec(1usize..120, 0..200),
            lines in 1usize..9,
        ) {
            let overlap = size * overlap_share / 16;
            let mut sentences = vec![0];
            for gap in gaps {
                let next = sentences.last().copied().unwrap_or(0) + gap;
                if next < tokens { sentences.push(next); }
            }
            let paragraphs = sentences.iter().copied().step_by(lines).collect();
            let windows = windows(tokens, &Starts { sentences, paragraphs }, size, overlap);
            prop_assert_eq!(windows[0].start, 0);
            prop_assert_eq!(windows[windows.len() - 1].end, tokens);
            for window in &windows {
                prop_assert!(window.len() <= size);
            }
            for pair in windows.windows(2) {
                prop_assert!(pair[1].start <= pair[0].end, "a gap");
                prop_assert!(pair[1].start > pair[0].start && pair[1].end > pair[0].end, "no progress");
                prop_assert!(pair[0].end - pair[1].start <= overlap, "more overlap than asked for");
            }
            // Each but the last moves on by more than a half of what an even split would; so the work stays linear.
            prop_assert!(windows.len() <= 1 + 4 * tokens / size);
        }
    }
}
