//! A long document as overlapping windows, cut between sentences where that is possible. Pure functions of counts.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// The first token of each sentence, rising, always beginning with 0. `starts` are the tokens' first bytes in `text`.
///
/// Sentences are those of UAX #29 (Unicode Text Segmentation), which knows the full stops of Arabic, Chinese or Hindi and
/// takes every line break for a boundary.
#[must_use]
pub fn sentence_starts(text: &str, starts: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut sentences = vec![0];
    let mut bounds = text
        .split_sentence_bound_indices()
        .map(|(byte, _)| byte)
        .skip(1)
        .peekable();
    for (token, byte) in starts.enumerate() {
        let mut begins = false;
        while bounds.next_if(|&bound| bound <= byte).is_some() {
            begins = true;
        }
        if begins && token > 0 {
            sentences.push(token);
        }
    }
    sentences
}

/// Ranges of at most `size` tokens that together cover all of `tokens`.
///
/// As few windows as fit are made about equally long, since a last one of a handful of tokens would cost an extra pass and
/// say little. A window ends where a sentence does if one ends within a quarter of the window around the even cut. The
/// next one then begins up to `overlap` tokens earlier: at the first sentence that starts within these, or, where the cut
/// went through a sentence, at the full overlap. Callers keep `overlap` below a quarter of `size`, and `size` above 0.
#[must_use]
pub fn windows(tokens: usize, sentences: &[usize], size: usize, overlap: usize) -> Vec<Range<usize>> {
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
        let bound = nearest(sentences, cut, low..=high);
        let end = bound.unwrap_or(cut);
        windows.push(start..end);

        let earliest = end - overlap;
        let first = sentences.partition_point(|&sentence| sentence < earliest);
        start = match (sentences.get(first), bound) {
            (Some(&sentence), _) if sentence <= end => sentence,
            (_, Some(_)) => end,
            (_, None) => earliest,
        };
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
            expected: &'static [(usize, usize)],
        }
        let cases = [
            Case {
                name: "nothing",
                tokens: 0,
                sentences: &[0],
                expected: &[(0, 0)],
            },
            Case {
                name: "one full window",
                tokens: 100,
                sentences: &[0],
                expected: &[(0, 100)],
            },
            Case {
                name: "no sentence ends: even, full overlap",
                tokens: 101,
                sentences: &[0],
                expected: &[(0, 61), (41, 101)],
            },
            Case {
                name: "a sentence near the even cut",
                tokens: 101,
                sentences: &[0, 55],
                expected: &[(0, 55), (55, 101)],
            },
            Case {
                name: "a short sentence before it is shared",
                tokens: 101,
                sentences: &[0, 40, 55],
                expected: &[(0, 55), (40, 101)],
            },
            Case {
                name: "a sentence too far from it",
                tokens: 101,
                sentences: &[0, 10],
                expected: &[(0, 61), (41, 101)],
            },
        ];
        for case in cases {
            let found: Vec<(usize, usize)> = windows(case.tokens, case.sentences, 100, 20)
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
        let starts: Vec<char> = sentence_starts(text, bytes)
            .into_iter()
            .filter_map(|index| text.chars().nth(index))
            .collect();
        assert_eq!(starts, ['ه', 'ن', '他', '她', 'W', 'M']);
    }

    proptest! {
        #[test]
        fn every_token_is_in_a_window_and_every_window_fits(
            tokens in 0usize..5_000,
            size in 16usize..300,
            overlap_share in 0usize..=4,
            gaps in prop::collection::vec(1usize..120, 0..200),
        ) {
            let overlap = size * overlap_share / 16;
            let mut sentences = vec![0];
            for gap in gaps {
                let next = sentences.last().copied().unwrap_or(0) + gap;
                if next < tokens { sentences.push(next); }
            }
            let windows = windows(tokens, &sentences, size, overlap);
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
