//! Opens an input of any format as rows.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::csv::{self, Columns, Csv};
use super::format::{Format, Rows, decompress};
use super::jsonl::Jsonl;
use super::parquet_reader::ParquetRows;
use super::records::Records;
use super::row::{Fields, Row};
use super::value::Meaning;

/// Why reading ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It isn't what it is said to be; nothing was read.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
}

/// Rows, in the order of the file.
pub(super) trait Reader: Send {
    /// The next row, good or bad; `None` at the end.
    fn read(&mut self) -> Result<Option<Row>, ReadError>;

    /// Passes over the first `rows`; nothing has been read yet.
    fn skip(&mut self, rows: u64) -> Result<(), ReadError>;
}

/// How far reading is, in bytes of the file or in rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Position {
    read: Arc<AtomicU64>,
    pub total: Option<u64>,
}

impl Position {
    pub(super) fn new(total: Option<u64>) -> Self {
        Self {
            read: Arc::default(),
            total,
        }
    }

    pub(super) fn get(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(super) fn advance(&self, by: u64) {
        self.read.fetch_add(by, Ordering::Relaxed);
    }
}

/// An input, ready to be read.
pub(super) struct Opened {
    pub reader: Box<dyn Reader>,
    pub position: Position,
    /// What the kept columns are, in their order.
    pub kept: Vec<Kept>,
    /// Whether rows may bring targets of their own.
    pub targets: bool,
}

/// A column that is kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub name: String,
    pub meaning: Meaning,
    /// Of a Parquet input, where the column isn't nested.
    pub column: Option<parquet::schema::types::TypePtr>,
}

/// Opens `path`, or standard input for `-`. `named` are the columns that the flags name: a table must have them.
pub(super) fn open(
    path: &Path,
    format: Format,
    mut fields: Fields,
    named: &[String],
    max: usize,
) -> Result<Opened, ReadError> {
    let stdin = path == Path::new("-");
    if format.rows == Rows::Parquet {
        return ParquetRows::open(File::open(path)?, fields, named, max);
    }
    let (source, position): (Box<dyn Read + Send>, _) = if stdin {
        (Box::new(io::stdin()), Position::default())
    } else {
        let file = File::open(path)?;
        let total = file.metadata()?.len();
        (Box::new(file), Position::new(Some(total)))
    };
    let counted = Counted {
        source,
        position: position.clone(),
    };
    let mut records = Records::new(decompress(counted)?, format.rows == Rows::Csv, max);
    for utf16 in [b"\xff\xfe", b"\xfe\xff"] {
        if records.starts_with(utf16)? {
            return Err(ReadError::Refused(
                "it is UTF-16; convert it with `iconv -f UTF-16 -t UTF-8`".to_owned(),
            ));
        }
    }
    const BOM: &[u8] = b"\xef\xbb\xbf";
    if records.starts_with(BOM)? {
        records.pass(BOM.len());
    }
    let kept = fields.keep.iter().map(|name| Kept {
        name: name.clone(),
        meaning: Meaning::Plain,
        column: None,
    });
    let kept = kept.collect();
    let (reader, targets): (Box<dyn Reader>, bool) = match format.rows {
        Rows::Jsonl => {
            let targets = fields.targets.is_some();
            (Box::new(Jsonl::new(records, fields, max)), targets)
        }
        Rows::Csv | Rows::Parquet => {
            let names = csv::header(&mut records)?;
            has_columns(&names, &mut fields, named)?;
            let targets = fields.targets.is_some();
            (Box::new(Csv::new(records, Columns::new(fields, &names), max)), targets)
        }
    };
    Ok(Opened {
        reader,
        position,
        kept,
        targets,
    })
}

/// A table must have its text, each column once, and all that the flags name.
pub(super) fn has_columns(names: &[String], fields: &mut Fields, named: &[String]) -> Result<(), ReadError> {
    for name in std::iter::once(&fields.text).chain(named).chain(&fields.keep) {
        let found = names.iter().filter(|column| *column == name).count();
        if found != 1 {
            let found = if found == 0 { "no" } else { "more than one" };
            return Err(ReadError::Refused(format!(
                "it has {found} column {name:?}; its columns are {}. --text-field, --title-field, --id-field, \
                 --language-field and --target-field say what they are called",
                names.join(", ")
            )));
        }
    }
    fields.targets = fields.targets.take().filter(|name| names.contains(name));
    Ok(())
}

/// Counts what goes by.
struct Counted<R> {
    source: R,
    position: Position,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.position.advance(read as u64);
        Ok(read)
    }
}
