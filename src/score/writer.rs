//! From scored rows to the bytes of an output file, a chunk of whole rows at a time.
//!
//! What a chunk becomes depends on its rows alone, so that a run that was cut and goes on writes the same file as one that
//! was not.

use std::io;
use std::path::Path;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::flat::{Cell, Shape};
use super::format::{Compression, Format, Rows};
use super::parquet_writer::ParquetWriter;
use super::reader::Kept;
use super::row::{RowError, Scored};
use super::value::Value;
use crate::article::Verdict;

/// Why an output can't be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Csv(#[from] csv::Error),
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
}

/// An output format. Files of chunks behind one another are what [`Self::assemble`] makes the output of.
pub(super) trait Writer: Send {
    /// What the file begins with.
    fn head(&self) -> Result<Vec<u8>, WriteError>;

    fn chunk(&self, rows: &[Scored]) -> Result<Vec<u8>, WriteError>;

    /// Makes the output `to` of the chunks in `from`; `false` where the chunks are the output already.
    fn assemble(&self, _from: &Path, _to: &Path) -> Result<bool, WriteError> {
        Ok(false)
    }
}

pub(super) fn writer(format: Format, shape: Shape) -> Result<Box<dyn Writer>, WriteError> {
    let compression = format.compression;
    Ok(match format.rows {
        Rows::Jsonl => Box::new(Jsonl {
            kept: shape.kept,
            compression,
        }),
        Rows::Csv => Box::new(Csv { shape, compression }),
        Rows::Parquet => Box::new(ParquetWriter::new(shape)?),
    })
}

/// A verdict or an error a line.
struct Jsonl {
    kept: Vec<Kept>,
    compression: Compression,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Verdict {
        #[serde(flatten)]
        verdict: &'a Verdict,
        #[serde(skip_serializing_if = "KeptValues::is_empty")]
        kept: KeptValues<'a>,
    },
    Error {
        row: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        error: Error<'a>,
        #[serde(skip_serializing_if = "KeptValues::is_empty")]
        kept: KeptValues<'a>,
    },
}

#[derive(Serialize)]
struct Error<'a> {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
}

impl<'a> From<&'a RowError> for Error<'a> {
    fn from(error: &'a RowError) -> Self {
        Self {
            code: error.code(),
            message: error.to_string(),
            param: error.param(),
        }
    }
}

struct KeptValues<'a>(&'a [Kept], &'a [Value]);

impl KeptValues<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty() || self.1.is_empty()
    }
}

impl Serialize for KeptValues<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (column, value) in self.0.iter().zip(self.1) {
            map.serialize_entry(&column.name, &value.json(column.meaning))?;
        }
        map.end()
    }
}

impl Writer for Jsonl {
    fn head(&self) -> Result<Vec<u8>, WriteError> {
        Ok(Vec::new())
    }

    fn chunk(&self, rows: &[Scored]) -> Result<Vec<u8>, WriteError> {
        let mut bytes = Vec::new();
        for row in rows {
            let kept = KeptValues(&self.kept, &row.kept);
            let line = match &row.verdict {
                Ok(verdict) => Line::Verdict { verdict, kept },
                Err(error) => Line::Error {
                    row: row.number,
                    id: row.id.as_deref(),
                    error: error.into(),
                    kept,
                },
            };
            serde_json::to_writer(&mut bytes, &line).map_err(io::Error::from)?;
            bytes.push(b'\n');
        }
        Ok(self.compression.member(bytes)?)
    }
}

struct Csv {
    shape: Shape,
    compression: Compression,
}

impl Csv {
    fn member(&self, writer: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, WriteError> {
        let bytes = writer.into_inner().map_err(|error| error.into_error())?;
        Ok(self.compression.member(bytes)?)
    }
}

impl Writer for Csv {
    fn head(&self) -> Result<Vec<u8>, WriteError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.shape.columns().iter().map(|column| column.name.as_str()))?;
        self.member(writer)
    }

    fn chunk(&self, rows: &[Scored]) -> Result<Vec<u8>, WriteError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let meanings = self.shape.kept.iter().map(|kept| kept.meaning);
        for row in rows {
            let cells = self.shape.cells(row);
            let mut meanings = meanings.clone();
            for cell in cells {
                match cell {
                    Cell::Null => writer.write_field("")?,
                    Cell::Text(text) => writer.write_field(text.as_bytes())?,
                    Cell::Float(value) => writer.write_field(value.to_string())?,
                    Cell::Integer(value) => writer.write_field(value.to_string())?,
                    // The kept cells come last, in the order of the kept columns.
                    Cell::Kept(value) => {
                        let text = meanings.next().and_then(|meaning| value.text(meaning));
                        writer.write_field(text.unwrap_or_default())?;
                    }
                }
            }
            writer.write_record(None::<&[u8]>)?;
        }
        self.member(writer)
    }
}
