//! A Unigram vocabulary that is quick to load and small: what the tokenizers crate does with one, piece by piece and score by
//! score, on tables of another kind.
//!
//! XLM-R's vocabulary has 250,002 pieces. The crate holds each twice as a string, in a hash map from piece to id, and in a
//! trie that has a hash map for every node. Here the pieces lie behind one another in one text, and one table finds them by
//! their hashes: 11 MB instead of 282, read in 75 ms of processor time instead of 970, and a word is segmented 2.9 times as
//! fast, without the crate's cache of words (docs/performance.md).
//!
//! A table rather than a double-array trie, since that would have to be built at each load: crawdad, daachorse and yada take 2 to
//! 11 times as long for it as sorting the pieces does, and sorting alone takes longer than the table.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokenizers::Token;
use tokenizers::models::unigram::UnigramError;

/// How much worse than the worst piece a character is that no piece covers (SentencePiece's `kUnkPenalty`).
const UNKNOWN_PENALTY: f64 = 10.0;

/// The `model` of a tokenizer.json whose `type` is `Unigram`.
#[derive(Deserialize)]
#[serde(try_from = "UnigramFile")]
pub struct Unigram {
    pieces: Pieces,
    /// From a piece to its id, the last one where several are alike. The table holds ids alone; their pieces are compared.
    index: HashTable<u32>,
    hashes: DefaultHashBuilder,
    /// Characters of the longest piece.
    longest: usize,
    unknown: Option<u32>,
    unknown_score: f64,
    byte_fallback: bool,
}

#[derive(Deserialize)]
struct UnigramFile {
    vocab: Pieces,
    unk_id: Option<usize>,
    #[serde(default)]
    byte_fallback: bool,
}

/// Pieces and their scores by id.
#[derive(Default)]
struct Pieces {
    /// All pieces, one behind the other.
    text: String,
    /// Where in `text` each piece ends.
    ends: Vec<u32>,
    /// Log probabilities.
    scores: Vec<f64>,
}

/// The best way to a place in a word.
#[derive(Clone, Copy)]
struct Step {
    /// The sum of its pieces' scores.
    score: f64,
    /// Bytes of its last piece; 0 where no way leads.
    bytes: u32,
    /// The id of its last piece.
    id: u32,
}

impl Unigram {
    /// The best segmentation of a word, as the crate's `encode_optimized` and `tokenize` find it: among equal scores the
    /// longest last piece wins, and neighbouring unknown characters are one token.
    pub fn tokenize(&self, word: &str) -> Result<Vec<Token>, UnigramError> {
        let mut tokens = Vec::new();
        let mut segments = self.segments(word)?.into_iter().rev().peekable();
        while let Some((start, id)) = segments.next() {
            let end = segments.peek().map_or(word.len(), |&(next, _)| next);
            let text = &word[start..end];
            let token = |id, value| Token::new(id, value, (start, end));
            if Some(id) != self.unknown {
                tokens.push(token(id, text.to_owned()));
            } else if let Some(known) = self.id(text) {
                // Unknown characters side by side can spell a piece that no path took.
                tokens.push(token(known, text.to_owned()));
            } else if let Some(bytes) = self.bytes(text) {
                tokens.extend(bytes.into_iter().map(|(id, value)| token(id, value)));
            } else {
                tokens.push(token(id, text.to_owned()));
            }
        }
        Ok(tokens)
    }

    /// Where each segment of the best path starts and its piece, last one first: the Viterbi algorithm over byte positions.
    fn segments(&self, word: &str) -> Result<Vec<(usize, u32)>, UnigramError> {
        let nowhere = Step {
            score: 0.0,
            bytes: 0,
            id: 0,
        };
        let mut steps = vec![nowhere; word.len() + 1];
        for (start, first) in word.char_indices() {
            let so_far = steps[start].score;
            let mut step = |bytes: usize, id, score| {
                let target = &mut steps[start + bytes];
                let score = score + so_far;
                let better = target.bytes == 0 || score > target.score;
                if better {
                    let bytes = bytes as u32;
                    *target = Step { score, bytes, id };
                }
                better
            };
            let mut known = false;
            for (bytes, id) in self.prefixes(&word[start..]) {
                step(bytes, id, self.pieces.scores[id as usize]);
                known |= bytes == first.len_utf8();
            }
            // A vocabulary without an unknown piece fails only where it would be on the best path.
            if !known && step(first.len_utf8(), self.unknown.unwrap_or(u32::MAX), self.unknown_score) {
                self.unknown.ok_or(UnigramError::MissingUnkId)?;
            }
        }
        let mut segments: Vec<(usize, u32)> = Vec::new();
        let mut at = word.len();
        while at > 0 {
            let Step { bytes, id, .. } = steps[at];
            at -= bytes as usize;
            match segments.last_mut() {
                Some((start, last)) if *last == id && Some(id) == self.unknown => *start = at,
                _ => segments.push((at, id)),
            }
        }
        Ok(segments)
    }

    /// The pieces that `text` begins with, shortest first: bytes and id of each.
    fn prefixes(&self, text: &str) -> impl Iterator<Item = (usize, u32)> {
        let mut hasher = self.hashes.build_hasher();
        let ends = text.char_indices().take(self.longest);
        ends.filter_map(move |(at, character)| {
            let piece = &text[..at + character.len_utf8()];
            hasher.write_u32(character.into());
            let id = self.index.find(hasher.finish(), |&id| self.pieces.get(id) == piece)?;
            Some((piece.len(), *id))
        })
    }

    pub fn id(&self, piece: &str) -> Option<u32> {
        let found = self
            .index
            .find(hash(&self.hashes, piece), |&id| self.pieces.get(id) == piece);
        found.copied()
    }

    pub fn piece(&self, id: u32) -> Option<&str> {
        ((id as usize) < self.len()).then(|| self.pieces.get(id))
    }

    /// Pieces, unlike ones and like ones.
    pub fn len(&self) -> usize {
        self.pieces.ends.len()
    }

    pub fn vocabulary(&self) -> HashMap<String, u32> {
        let ids = self.index.iter();
        ids.map(|&id| (self.pieces.get(id).to_owned(), id)).collect()
    }

    /// The pieces of the bytes of a text, if the vocabulary has all of them and they are to be used.
    fn bytes(&self, text: &str) -> Option<Vec<(u32, String)>> {
        let piece = |byte| {
            let piece = format!("<0x{byte:02X}>");
            self.id(&piece).map(|id| (id, piece))
        };
        self.byte_fallback.then(|| text.bytes().map(piece).collect())?
    }
}

/// By characters, so that the hash of a prefix is a step on the way to that of the whole.
fn hash(hashes: &DefaultHashBuilder, piece: &str) -> u64 {
    let mut hasher = hashes.build_hasher();
    piece.chars().for_each(|character| hasher.write_u32(character.into()));
    hasher.finish()
}

impl TryFrom<UnigramFile> for Unigram {
    type Error = UnigramError;

    fn try_from(file: UnigramFile) -> Result<Self, UnigramError> {
        let pieces = file.vocab;
        let count = pieces.ends.len();
        let unknown = match file.unk_id {
            Some(_) if count == 0 => return Err(UnigramError::EmptyVocabulary),
            Some(id) if id >= count => return Err(UnigramError::UnkIdNotInVocabulary),
            id => id.map(|id| id as u32),
        };
        let hashes = DefaultHashBuilder::default();
        let mut index = HashTable::with_capacity(count);
        let mut longest = 0;
        for id in 0..count as u32 {
            let piece = pieces.get(id);
            longest = longest.max(piece.chars().count());
            index
                .entry(
                    hash(&hashes, piece),
                    |&other| pieces.get(other) == piece,
                    |&other| hash(&hashes, pieces.get(other)),
                )
                .insert(id);
        }
        let worst = pieces.scores.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(Self {
            pieces,
            index,
            hashes,
            longest,
            unknown,
            unknown_score: worst - UNKNOWN_PENALTY,
            byte_fallback: file.byte_fallback,
        })
    }
}

impl Pieces {
    /// The piece of an id that there is.
    fn get(&self, id: u32) -> &str {
        let id = id as usize;
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[id] as usize]
    }
}

impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PiecesVisitor)
    }
}

struct PiecesVisitor;

impl<'de> Visitor<'de> for PiecesVisitor {
    type Value = Pieces;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("pieces with their scores")
    }

    /// Each piece goes from the file's text into ours, without a string of its own.
    fn visit_seq<A: SeqAccess<'de>>(self, mut vocabulary: A) -> Result<Pieces, A::Error> {
        #[derive(Deserialize)]
        struct Piece<'a>(#[serde(borrow)] Cow<'a, str>, f64);

        let mut pieces = Pieces::default();
        while let Some(Piece(text, score)) = vocabulary.next_element()? {
            pieces.text.push_str(&text);
            let end = u32::try_from(pieces.text.len()).map_err(|_| Error::custom("the vocabulary is over 4 GB"))?;
            pieces.ends.push(end);
            pieces.scores.push(score);
        }
        pieces.text.shrink_to_fit();
        pieces.ends.shrink_to_fit();
        pieces.scores.shrink_to_fit();
        Ok(pieces)
    }
}

impl fmt::Debug for Unigram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut own = formatter.debug_struct("Unigram");
        own.field("pieces", &self.len()).finish_non_exhaustive()
    }
}
