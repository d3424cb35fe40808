//! Parquet, column by column. Whether a string is dictionary-encoded, plain, "large" or not is a matter of encoding that is
//! settled below; lists are what Parquet calls a repeated group of one column.

use std::collections::VecDeque;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};
use serde_json::Value as Json;

use super::parquet_pages::Plausible;
use super::reader::{Kept, Opened, Position, ReadError, Reader, has_columns};
use super::row::{Fields, Mapped, Parsed, Row, RowError};
use super::value::{Meaning, Value};

/// Rows that are decoded at a time.
const BATCH: usize = 64;

pub(super) struct ParquetRows {
    file: SerializedFileReader<File>,
    fields: Fields,
    roles: Roles,
    columns: Vec<Column>,
    max: usize,
    position: Position,
    row: u64,
    /// The row group that is read next, and the rows of the current one that aren't decoded yet.
    group: usize,
    left: usize,
}

/// Which of the columns are what.
struct Roles {
    text: usize,
    title: Option<usize>,
    id: Option<usize>,
    language: Option<usize>,
    targets: Option<usize>,
    keep: Vec<usize>,
}

/// A column that is read.
struct Column {
    leaf: usize,
    descriptor: ColumnDescPtr,
    meaning: Meaning,
    reader: Option<ColumnReader>,
    /// Decoded and not yet taken.
    values: VecDeque<Value>,
}

impl ParquetRows {
    pub(super) fn open(file: File, mut fields: Fields, named: &[String], max: usize) -> Result<Opened, ReadError> {
        let file = guarded(|| Ok(SerializedFileReader::new(file)?)).map_err(|error| {
            ReadError::Refused(format!(
                "it is no Parquet file that can be read ({error}); its end is where its table of contents stands, so a \
                 cut file is unreadable as a whole"
            ))
        })?;
        let metadata = file.metadata().file_metadata();
        let schema = metadata.schema_descr_ptr();
        let rows = u64::try_from(metadata.num_rows()).unwrap_or(0);
        let names: Vec<String> = schema
            .root_schema()
            .get_fields()
            .iter()
            .map(|column| column.name().to_owned())
            .collect();
        has_columns(&names, &mut fields, named)?;

        let mut columns = Vec::new();
        let mut add = |name: &str| -> Result<usize, ReadError> {
            columns.push(Column::find(&schema, name)?);
            Ok(columns.len() - 1)
        };
        let text = add(&fields.text)?;
        let mut optional = |name: &String| names.contains(name).then(|| add(name)).transpose();
        let title = optional(&fields.title)?;
        let id = optional(&fields.id)?;
        let language = optional(&fields.language)?;
        let targets = fields.targets.as_ref().map(&mut optional).transpose()?.flatten();
        let keep = fields.keep.iter().map(|name| add(name)).collect::<Result<_, _>>()?;
        let roles = Roles {
            text,
            title,
            id,
            language,
            targets,
            keep,
        };
        let kept = roles.keep.iter().zip(&fields.keep).map(|(&column, name)| {
            let column = &columns[column];
            Kept {
                name: name.clone(),
                meaning: column.meaning,
                column: (column.descriptor.max_rep_level() == 0).then(|| column.descriptor.self_type_ptr()),
            }
        });
        let kept = kept.collect();
        let position = Position::new(Some(rows));
        let targets = fields.targets.is_some();
        let reader = Self {
            file,
            fields,
            roles,
            columns,
            max,
            position: position.clone(),
            row: 0,
            group: 0,
            left: 0,
        };
        Ok(Opened {
            reader: Box::new(reader),
            position,
            kept,
            targets,
        })
    }

    /// Opens the next row group that has rows; `false` at the end.
    fn next_group(&mut self) -> Result<bool, ReadError> {
        while self.left == 0 {
            if self.group >= self.file.num_row_groups() {
                return Ok(false);
            }
            let group = self.file.get_row_group(self.group)?;
            self.left = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
            for column in &mut self.columns {
                let pages = Plausible::new(group.get_column_page_reader(column.leaf)?, column.descriptor.clone());
                column.reader = Some(get_column_reader(column.descriptor.clone(), Box::new(pages)));
            }
            self.group += 1;
        }
        Ok(true)
    }

    /// Decodes the next rows; `false` at the end.
    fn fill(&mut self) -> Result<bool, ReadError> {
        if !self.next_group()? {
            return Ok(false);
        }
        let rows = self.left.min(BATCH);
        for column in &mut self.columns {
            column.decode(rows)?;
        }
        self.left -= rows;
        Ok(true)
    }

    fn pass(&mut self, rows: u64) -> Result<(), ReadError> {
        while self.row < rows && self.next_group()? {
            let skipped = usize::try_from(rows - self.row).unwrap_or(usize::MAX).min(self.left);
            // A whole group is passed over unread.
            if skipped < self.left {
                for column in &mut self.columns {
                    column.skip(skipped)?;
                }
            }
            self.left -= skipped;
            self.row += skipped as u64;
        }
        Ok(())
    }

    fn parse(&mut self) -> Parsed {
        let values: Vec<Value> = self
            .columns
            .iter_mut()
            .map(|column| column.values.pop_front().unwrap_or(Value::Null))
            .collect();
        let kept = self.roles.keep.iter().map(|&column| values[column].clone()).collect();
        let json = |column: Option<usize>| -> Result<Json, RowError> {
            let Some(column) = column else {
                return Ok(Json::Null);
            };
            check(&values[column], self.max)?;
            Ok(values[column].json(self.columns[column].meaning))
        };
        let roles = &self.roles;
        let mapped = || -> Result<Mapped, RowError> {
            Ok(Mapped {
                text: json(Some(roles.text))?,
                title: json(roles.title)?,
                id: json(roles.id)?,
                language: json(roles.language)?,
                targets: json(roles.targets)?,
            })
        };
        match mapped() {
            Ok(mapped) => self.fields.parse(mapped, kept),
            Err(error) => Parsed {
                id: None,
                kept,
                article: Err(error),
            },
        }
    }
}

/// The parquet crate panics on some damaged files, where offsets lead out of a page. Nothing is read from it afterwards.
fn guarded<T>(read: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
    std::panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let message = "the file is damaged: a column contradicts itself";
        Err(ParquetError::General(message.to_owned()).into())
    })
}

/// Strings of Parquet should be UTF-8, but nothing makes them.
fn check(value: &Value, max: usize) -> Result<(), RowError> {
    match value {
        Value::Bytes(bytes) if bytes.len() > max => Err(RowError::TooLong { max }),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(_) => Ok(()),
            Err(error) => Err(RowError::Utf8 {
                at: error.valid_up_to(),
            }),
        },
        Value::List(values) => values.iter().try_for_each(|value| check(value, max)),
        _ => Ok(()),
    }
}

impl Reader for ParquetRows {
    fn read(&mut self) -> Result<Option<Row>, ReadError> {
        if self.columns[self.roles.text].values.is_empty() && !guarded(|| self.fill())? {
            return Ok(None);
        }
        self.row += 1;
        self.position.advance(1);
        Ok(Some(Row {
            number: self.row,
            parsed: self.parse(),
        }))
    }

    fn skip(&mut self, rows: u64) -> Result<(), ReadError> {
        guarded(|| self.pass(rows))?;
        self.position.advance(self.row);
        Ok(())
    }
}

impl Column {
    /// The column `name`: a plain one, or a list of plain ones.
    fn find(schema: &Arc<SchemaDescriptor>, name: &str) -> Result<Self, ReadError> {
        let leaves: Vec<usize> = (0..schema.num_columns())
            .filter(|&leaf| schema.get_column_root(leaf).name() == name)
            .collect();
        let [leaf] = leaves[..] else {
            return Err(ReadError::Refused(format!(
                "its column {name:?} is a structure of several; plain columns and lists are read"
            )));
        };
        let descriptor = schema.column(leaf);
        if descriptor.max_rep_level() > 1 {
            return Err(ReadError::Refused(format!(
                "its column {name:?} has lists of lists; plain columns and lists are read"
            )));
        }
        Ok(Self {
            leaf,
            meaning: Meaning::of(descriptor.self_type()),
            descriptor,
            reader: None,
            values: VecDeque::new(),
        })
    }

    fn decode(&mut self, rows: usize) -> Result<(), ReadError> {
        let Some(reader) = &mut self.reader else {
            return Ok(());
        };
        let (mut definitions, mut repetitions) = (Vec::new(), Vec::new());
        macro_rules! values {
            ($reader:expr, $value:expr) => {{
                let mut values = Vec::new();
                let (read, ..) =
                    $reader.read_records(rows, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
                (read, values.into_iter().map($value).collect::<Vec<Value>>())
            }};
        }
        let (read, values) = match reader {
            ColumnReader::BoolColumnReader(reader) => values!(reader, Value::Bool),
            ColumnReader::Int32ColumnReader(reader) => values!(reader, Value::Int32),
            ColumnReader::Int64ColumnReader(reader) => values!(reader, Value::Int64),
            ColumnReader::Int96ColumnReader(reader) => values!(reader, Value::Int96),
            ColumnReader::FloatColumnReader(reader) => values!(reader, Value::Float),
            ColumnReader::DoubleColumnReader(reader) => values!(reader, Value::Double),
            ColumnReader::ByteArrayColumnReader(reader) => values!(reader, Value::Bytes),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                values!(reader, |value| Value::Bytes(ByteArray::from(value)))
            }
        };
        if read < rows {
            return Err(ReadError::Io(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                format!("column {:?} ends before its row group does", self.descriptor.name()),
            )));
        }
        let values = values.into_iter();
        if self.descriptor.max_rep_level() == 0 {
            if self.descriptor.max_def_level() == 0 {
                self.values.extend(values);
            } else {
                self.values
                    .extend(defined(values, &definitions, self.descriptor.max_def_level()));
            }
        } else {
            self.values
                .extend(lists(values, &definitions, &repetitions, &self.descriptor));
        }
        Ok(())
    }

    fn skip(&mut self, rows: usize) -> Result<(), ReadError> {
        macro_rules! skip {
            ($($variant:ident),*) => {
                match &mut self.reader {
                    $(Some(ColumnReader::$variant(reader)) => reader.skip_records(rows)?,)*
                    None => 0,
                }
            };
        }
        skip!(
            BoolColumnReader,
            Int32ColumnReader,
            Int64ColumnReader,
            Int96ColumnReader,
            FloatColumnReader,
            DoubleColumnReader,
            ByteArrayColumnReader,
            FixedLenByteArrayColumnReader
        );
        Ok(())
    }
}

/// Values in their places among the nulls (Dremel's levels; Melnik et al. 2010).
fn defined(mut values: impl Iterator<Item = Value>, definitions: &[i16], most: i16) -> Vec<Value> {
    definitions
        .iter()
        .map(|&level| {
            let value = if level == most { values.next() } else { None };
            value.unwrap_or(Value::Null)
        })
        .collect()
}

/// One list a row: a new one begins where the repetition level is 0.
fn lists(
    mut values: impl Iterator<Item = Value>,
    definitions: &[i16],
    repetitions: &[i16],
    descriptor: &ColumnDescPtr,
) -> Vec<Value> {
    let most = descriptor.max_def_level();
    // The level of an element that is null, if elements may be.
    let null = descriptor.self_type().is_optional().then_some(most - 1);
    // A list that is there has at least the level of its repeated group less one; below, the list itself is null.
    let empty = descriptor.repeated_ancestor_def_level() - 1;
    let mut rows: Vec<Value> = Vec::new();
    for (&definition, &repetition) in definitions.iter().zip(repetitions) {
        if repetition == 0 {
            rows.push(if definition < empty {
                Value::Null
            } else {
                Value::List(Vec::new())
            });
        }
        let Some(Value::List(list)) = rows.last_mut() else {
            continue;
        };
        if definition == most {
            list.extend(values.next());
        } else if Some(definition) == null {
            list.push(Value::Null);
        }
    }
    rows
}
