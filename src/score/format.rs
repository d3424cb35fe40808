//! What kind of table a file is: rows as JSONL, CSV or Parquet, the first two compressed or not.

use std::fmt::{self, Display, Formatter};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::str::FromStr;

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

/// A format as its file's extension names it: `jsonl`, `csv.gz`, `parquet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub rows: Rows,
    pub compression: Compression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    Jsonl,
    Csv,
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Format {
    /// The names that are understood, for messages and `--help`.
    pub const NAMES: &'static str = "jsonl, csv (each also with .gz or .zst) or parquet";

    /// By the last one or two extensions, in any case.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let mut parts = name.rsplit('.');
        let last = parts.next()?;
        last.parse()
            .ok()
            .or_else(|| format!("{}.{last}", parts.next()?).parse().ok())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let unknown = || format!("{name:?} is no format; {} is expected", Self::NAMES);
        let (rows, compression) = name.split_once('.').unwrap_or((name, ""));
        let format = Self {
            rows: match rows {
                "jsonl" | "ndjson" => Rows::Jsonl,
                "csv" => Rows::Csv,
                "parquet" => Rows::Parquet,
                _ => return Err(unknown()),
            },
            compression: match compression {
                "" => Compression::None,
                "gz" => Compression::Gzip,
                "zst" => Compression::Zstd,
                _ => return Err(unknown()),
            },
        };
        if format.rows == Rows::Parquet && format.compression != Compression::None {
            return Err(format!(
                "{name:?}: Parquet compresses its columns itself; name it .parquet"
            ));
        }
        Ok(format)
    }
}

impl Display for Format {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.rows {
            Rows::Jsonl => "jsonl",
            Rows::Csv => "csv",
            Rows::Parquet => "parquet",
        })?;
        f.write_str(match self.compression {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        })
    }
}

/// The bytes as they were before compression, which is told by their magic numbers whatever the file is called.
pub(super) fn decompress(source: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut source = BufReader::with_capacity(1 << 16, source);
    let head = source.fill_buf()?;
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(source))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(zstd::stream::read::Decoder::with_buffer(source)?)
    } else {
        Box::new(source)
    })
}

impl Compression {
    /// The bytes as a whole member (gzip, RFC 1952) or frame (zstd, RFC 8878). Members and frames behind one another are
    /// one file to every reader, so that a file can grow by whole ones.
    pub(super) fn member(self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(bytes),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&bytes)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(&bytes, zstd::DEFAULT_COMPRESSION_LEVEL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_told_by_the_name() {
        for (path, expected) in [
            ("a.jsonl", Some("jsonl")),
            ("A.NDJSON.GZ", Some("jsonl.gz")),
            ("dir.csv/x.y.csv.zst", Some("csv.zst")),
            ("x.parquet", Some("parquet")),
            ("x.parquet.gz", None),
            ("x.gz", None),
            ("csv", Some("csv")),
            ("x.json", None),
            ("-", None),
        ] {
            let format = Format::of_path(Path::new(path)).map(|format| format.to_string());
            assert_eq!(format.as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn members_behind_one_another_are_read_as_one() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let members: Vec<u8> = ["first ", "second"]
                .into_iter()
                .flat_map(|part| compression.member(part.as_bytes().to_vec()).expect("it compresses"))
                .collect();
            let mut text = String::new();
            decompress(io::Cursor::new(members))
                .and_then(|mut reader| reader.read_to_string(&mut text))
                .expect("it reads");
            assert_eq!(text, "first second");
        }
    }
}
