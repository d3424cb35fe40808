//! Title and text as one tokenized document, and the way back from its tokens to characters of the one or the other.

use std::ops::Range;

use super::PipelineError;
use super::tokenize::{TextTokenizer, Tokens};
use super::window::Starts;
use crate::article::Field;

/// What the windows are cut from.
#[derive(Debug)]
pub struct Document {
    /// The title, a line break and the text, or the text alone; news texts of the training data begin with their title.
    joined: String,
    /// Bytes of `joined` before the text.
    text_start: usize,
    pub tokens: Tokens,
    pub starts: Starts,
}

impl Document {
    pub fn new(tokenizer: &TextTokenizer, title: Option<&str>, text: &str) -> Result<Self, PipelineError> {
        let (joined, text_start) = match title {
            Some(title) if !title.trim().is_empty() => (format!("{title}\n{text}"), title.len() + 1),
            _ => (text.to_owned(), 0),
        };
        let mut tokens = tokenizer.tokens(&joined)?;
        for offset in &mut tokens.offsets {
            skip_white_space(&joined, offset);
        }
        let starts = Starts::of(&joined, tokens.offsets.iter().map(|offset| offset.start));
        Ok(Self {
            joined,
            text_start,
            tokens,
            starts,
        })
    }

    /// The sentences within a window, as token ranges; the first and the last may be cut.
    pub fn sentences_in(&self, window: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let sentences = &self.starts.sentences;
        let first = sentences.partition_point(|&start| start <= window.start);
        let inner = sentences.get(first..).unwrap_or_default().iter().copied();
        let end = window.end;
        let bounds = std::iter::once(window.start)
            .chain(inner.take_while(move |&start| start < end))
            .chain(std::iter::once(end));
        let bounds: Vec<usize> = bounds.collect();
        (1..bounds.len()).map(move |index| bounds[index - 1]..bounds[index])
    }

    /// The characters of title or text under a token range, without the white space around them.
    #[must_use]
    pub fn characters(&self, tokens: &Range<usize>) -> Option<(Field, Range<usize>)> {
        let offsets = self.tokens.offsets.get(tokens.clone())?;
        let (start, end) = (offsets.first()?.start, offsets.last()?.end);
        let (field, base, limit) = if start < self.text_start {
            (Field::Title, 0, self.text_start - 1)
        } else {
            (Field::Text, self.text_start, self.joined.len())
        };
        let span = self.joined.get(start..end.min(limit))?;
        let lead = span.len() - span.trim_start().len();
        let span = span.trim();
        let before = self.joined.get(base..start + lead)?.chars().count();
        (!span.is_empty()).then(|| (field, before..before + span.chars().count()))
    }
}

/// A piece takes the white space before a word along; the word alone is what it stands for.
fn skip_white_space(text: &str, offset: &mut Range<usize>) {
    let word = text.get(offset.clone()).map_or(0, |slice| slice.trim_start().len());
    if word > 0 {
        offset.start = offset.end - word;
    }
}
