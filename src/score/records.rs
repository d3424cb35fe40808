//! Records of a text file, one after the other, in bounded memory: lines of JSONL, records of CSV.

use std::io::{self, Read};

/// How much is read at a time.
const READ: usize = 1 << 16;

/// A record as its bytes stand in the file, without the line break.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Whole(&'a [u8]),
    /// Longer than is read; passed over up to its first line break.
    TooLong,
    /// A quote that opens here is never closed, or closes in the midst of another row; passed over up to the first line
    /// break.
    Unclosed,
}

/// Cuts a stream into records.
pub(super) struct Records<R> {
    source: R,
    /// Line breaks within quotes belong to the record, as in CSV (RFC 4180).
    quotes: bool,
    max: usize,
    buffer: Vec<u8>,
    /// Where in `buffer` the last record began, and where the next one begins.
    last: usize,
    next: usize,
    ended: bool,
}

impl<R: Read> Records<R> {
    /// `max` bytes is the longest record.
    pub(super) fn new(source: R, quotes: bool, max: usize) -> Self {
        Self {
            source,
            quotes,
            max,
            buffer: Vec::new(),
            last: 0,
            next: 0,
            ended: false,
        }
    }

    /// The first bytes of the stream, as many as `prefix` has at most, without reading them away.
    pub(super) fn starts_with(&mut self, prefix: &[u8]) -> io::Result<bool> {
        while self.buffer.len() < prefix.len() && !self.ended {
            self.fill()?;
        }
        Ok(self.buffer.starts_with(prefix))
    }

    /// Passes over bytes that [`Self::starts_with`] found.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.next = bytes.min(self.buffer.len());
    }

    /// The next record; `None` at the end. A line break at the very end begins no record.
    pub(super) fn read(&mut self) -> io::Result<Option<Record<'_>>> {
        self.buffer.drain(..self.next);
        (self.last, self.next) = (0, 0);
        let mut scan = Scan::new(self.quotes);
        loop {
            if let Some(end) = scan.line_break(&self.buffer) {
                if end > self.max {
                    return self.skip_line(Record::TooLong);
                }
                if scan.stray && position(&self.buffer[..end]).is_some() {
                    return self.skip_line(Record::Unclosed);
                }
                self.next = end + 1;
                return Ok(Some(Record::Whole(trim(&self.buffer[..end]))));
            }
            if self.buffer.len() > self.max {
                return self.skip_line(Record::TooLong);
            }
            if self.ended {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                if scan.is_quoted() {
                    return self.skip_line(Record::Unclosed);
                }
                self.next = self.buffer.len();
                return Ok(Some(Record::Whole(trim(&self.buffer))));
            }
            self.fill()?;
        }
    }

    /// Takes the record that was read last for its first line alone: what follows is read again. Says whether there is more
    /// than that line.
    ///
    /// A stray quote swallows what stands behind it up to the next one; this way it costs its own row, not its neighbours.
    pub(super) fn retreat(&mut self) -> bool {
        let record = &self.buffer[self.last..self.next];
        match position(record) {
            Some(end) if self.last + end + 1 < self.next => {
                self.next = self.last + end + 1;
                true
            }
            _ => false,
        }
    }

    fn skip_line(&mut self, record: Record<'static>) -> io::Result<Option<Record<'_>>> {
        loop {
            if let Some(end) = position(&self.buffer) {
                self.next = end + 1;
                return Ok(Some(record));
            }
            self.buffer.clear();
            if self.ended {
                return Ok(Some(record));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let before = self.buffer.len();
        self.source.by_ref().take(READ as u64).read_to_end(&mut self.buffer)?;
        self.ended = self.buffer.len() == before;
        Ok(())
    }
}

fn position(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'\n')
}

/// Without the carriage return of a CRLF.
fn trim(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Where a record ends, found piece by piece.
struct Scan {
    state: State,
    seen: usize,
    /// A quote closed and its field went on: where that happens lines later, it was the opening quote of another field.
    stray: bool,
}

/// Within a record of CSV. A quote means something only where a field begins and within one that is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    NoQuotes,
    FieldStart,
    Bare,
    Quoted,
    QuoteInQuoted,
}

impl Scan {
    fn new(quotes: bool) -> Self {
        Self {
            state: if quotes { State::FieldStart } else { State::NoQuotes },
            seen: 0,
            stray: false,
        }
    }

    fn is_quoted(&self) -> bool {
        self.state == State::Quoted
    }

    /// `record` is what is there of the record so far; what an earlier call saw isn't looked at again.
    fn line_break(&mut self, record: &[u8]) -> Option<usize> {
        let fresh = record.get(self.seen..).unwrap_or_default();
        let found = if self.state == State::NoQuotes {
            position(fresh)
        } else {
            fresh.iter().position(|&byte| {
                self.stray |= self.state == State::QuoteInQuoted && !matches!(byte, b'"' | b',' | b'\r' | b'\n');
                self.state = match (self.state, byte) {
                    (State::Quoted, b'"') => State::QuoteInQuoted,
                    (State::Quoted, _) | (State::FieldStart | State::QuoteInQuoted, b'"') => State::Quoted,
                    (_, b'\n') => return true,
                    (_, b',') => State::FieldStart,
                    _ => State::Bare,
                };
                false
            })
        };
        let end = found.map(|at| self.seen + at);
        self.seen = record.len();
        end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8], quotes: bool, max: usize) -> Vec<String> {
        let mut records = Records::new(bytes, quotes, max);
        let mut found = Vec::new();
        while let Some(record) = records.read().expect("memory reads") {
            found.push(match record {
                Record::Whole(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                other => format!("{other:?}"),
            });
        }
        found
    }

    #[test]
    fn records_end_where_they_should() {
        for (bytes, quotes, expected) in [
            ("", false, &[][..]),
            ("a\nb\r\n\nc", false, &["a", "b", "", "c"]),
            ("a\n", false, &["a"]),
            ("\"a\nb\"\n", false, &["\"a", "b\""]),
            ("\"a\nb\"\nc", true, &["\"a\nb\"", "c"]),
            ("\"a\"\"\n\",x\ny", true, &["\"a\"\"\n\",x", "y"]),
            ("5\" x,x\ny", true, &["5\" x,x", "y"]),
            ("\"a\"b,c\nd", true, &["\"a\"b,c", "d"]),
            ("\"a\nb,\"c\"\nd", true, &["Unclosed", "b,\"c\"", "d"]),
            ("a,\"b\nc\nd", true, &["Unclosed", "c", "d"]),
            ("0123456789\nb", false, &["TooLong", "b"]),
            ("\"0123\n4567\n8\n", true, &["TooLong", "4567", "8"]),
        ] {
            assert_eq!(all(bytes.as_bytes(), quotes, 8), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let bytes = [vec![b'x'; 10 << 20], b"\nnext\n".to_vec()].concat();
        let mut records = Records::new(bytes.as_slice(), false, 1 << 10);
        assert_eq!(records.read().expect("memory"), Some(Record::TooLong));
        assert_eq!(records.read().expect("memory"), Some(Record::Whole(b"next")));
        assert!(records.buffer.capacity() < 4 * READ);
    }

    #[test]
    fn a_record_can_be_taken_for_its_first_line() {
        let mut records = Records::new(&b"a,\"b\nc\",d\ne\n"[..], true, 100);
        assert_eq!(records.read().expect("memory"), Some(Record::Whole(b"a,\"b\nc\",d")));
        assert!(records.retreat());
        assert_eq!(records.read().expect("memory"), Some(Record::Whole(b"c\",d")));
        assert!(!records.retreat());
        assert_eq!(records.read().expect("memory"), Some(Record::Whole(b"e")));
    }

    proptest! {
        /// Without quotes in play, records are the lines.
        #[test]
        fn lines_are_records(text in "([a-z,]{0,6}\r?\n){0,20}[a-z]{0,6}") {
            let lines: Vec<&str> = text.lines().collect();
            prop_assert_eq!(&all(text.as_bytes(), false, 1 << 10), &lines);
            prop_assert_eq!(&all(text.as_bytes(), true, 1 << 10), &lines);
        }

        /// Whatever the bytes: it ends, nothing is longer than allowed, and each line break ends at most one record.
        #[test]
        fn any_bytes_are_read_to_the_end(bytes in prop::collection::vec(prop::sample::select(b"a\",\r\n\0\xff".to_vec()), 0..300), quotes: bool) {
            let breaks = bytes.iter().filter(|&&byte| byte == b'\n').count();
            let mut records = Records::new(bytes.as_slice(), quotes, 40);
            let mut found = 0;
            while let Some(record) = records.read().expect("memory reads") {
                found += 1;
                if let Record::Whole(bytes) = record {
                    prop_assert!(bytes.len() <= 40);
                }
            }
            prop_assert!(found <= breaks + 1);
        }
    }
}
