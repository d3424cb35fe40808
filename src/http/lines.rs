//! A body as lines, read as fast as they are asked for and no faster.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{ApiError, body};

/// A line of the body: its number, counted from 1, and its bytes or what is wrong with it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) content: Result<Vec<u8>, ApiError>,
}

/// The lines of a body that holds text. Blank ones are passed over, though counted.
#[derive(Debug)]
pub(super) struct Lines {
    body: BodyDataStream,
    splitter: Splitter,
    /// How long the next piece of the body may take.
    patience: Duration,
    /// From when on nothing more is read.
    draining: CancellationToken,
    ended: bool,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    pub(super) fn new(body: Body, limit: usize, patience: Duration, draining: CancellationToken) -> Self {
        Self {
            body: body.into_data_stream(),
            splitter: Splitter::new(limit),
            patience,
            draining,
            ended: false,
        }
    }

    /// The next line; after one that says why reading ended early, no more.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(content) = self.splitter.next() {
                let limit = self.splitter.limit;
                return Some(Line {
                    number: self.splitter.number,
                    content: content.map_err(|TooLong| body::line_too_long(limit)),
                });
            }
            if self.ended {
                return None;
            }
            let broken = tokio::select! {
                biased;
                () = self.draining.cancelled() => ApiError::shutting_down(),
                piece = tokio::time::timeout(self.patience, self.body.next()) => match piece {
                    Ok(Some(Ok(piece))) => {
                        self.splitter.push(piece);
                        continue;
                    }
                    Ok(None) => {
                        self.splitter.finish();
                        self.ended = true;
                        continue;
                    }
                    Ok(Some(Err(_))) => body::incomplete(),
                    Err(_) => body::too_slow(self.patience),
                },
            };
            self.ended = true;
            return Some(Line {
                number: self.splitter.number + 1,
                content: Err(broken),
            });
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct TooLong;

/// Cuts pieces of a text into lines, and holds no more than the longest line and one piece.
#[derive(Debug)]
struct Splitter {
    limit: usize,
    piece: Bytes,
    /// What is there of the next line.
    begun: Vec<u8>,
    /// Whether that line is over the limit; the rest of it is thrown away.
    too_long: bool,
    /// Of the line that was given last.
    number: u64,
}

impl Splitter {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            piece: Bytes::new(),
            begun: Vec::new(),
            too_long: false,
            number: 0,
        }
    }

    /// The next piece, once [`Self::next`] has nothing more to give.
    fn push(&mut self, piece: Bytes) {
        self.piece = piece;
    }

    /// The text has ended: its last line needs no line break.
    fn finish(&mut self) {
        if self.too_long || !self.begun.is_empty() {
            self.piece = Bytes::from_static(b"\n");
        }
    }

    fn next(&mut self) -> Option<Result<Vec<u8>, TooLong>> {
        loop {
            let Some(end) = self.piece.iter().position(|&byte| byte == b'\n') else {
                let rest = std::mem::take(&mut self.piece);
                self.append(&rest);
                return None;
            };
            let mut rest = self.piece.split_to(end + 1);
            rest.truncate(end);
            self.append(&rest);
            self.number += 1;
            let line = std::mem::take(&mut self.begun);
            if std::mem::take(&mut self.too_long) {
                return Some(Err(TooLong));
            }
            if !line.trim_ascii().is_empty() {
                return Some(Ok(line));
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.too_long |= self.begun.len() + bytes.len() > self.limit;
        if self.too_long {
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_has_the_same_lines_however_it_is_cut(
            text in "[a-c \n\r]{0,60}",
            cuts in prop::collection::vec(0..60usize, 0..10),
        ) {
            let limit = 5;
            let expected: Vec<_> = text
                .split('\n')
                .enumerate()
                .map(|(index, line)| (index as u64 + 1, line))
                .filter(|(_, line)| line.len() > limit || !line.trim_ascii().is_empty())
                .map(|(number, line)| (number, if line.len() > limit { Err(TooLong) } else { Ok(line.as_bytes().to_vec()) }))
                .collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut splitter = Splitter::new(limit);
            let mut found = Vec::new();
            for pair in cuts.windows(2) {
                splitter.push(Bytes::copy_from_slice(&text.as_bytes()[pair[0]..pair[1]]));
                while let Some(line) = splitter.next() {
                    found.push((splitter.number, line));
                }
                prop_assert!(splitter.begun.len() <= limit);
            }
            splitter.finish();
            while let Some(line) = splitter.next() {
                found.push((splitter.number, line));
            }
            prop_assert_eq!(found, expected);
        }
    }
}
