//! Parquet output. A Parquet file ends with its table of contents and can't grow, so each chunk is a small Parquet file of
//! its own behind its length, and the output is made of them at the end, in row groups of a size that readers like.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::column::reader::ColumnReader;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use super::flat::{Cell, Column, Kind, Shape};
use super::row::Scored;
use super::value::Value;
use super::writer::{WriteError, Writer};

/// Rows of a row group, about. Readers split work by groups and keep statistics for each; tens of thousands is what they
/// expect.
const GROUP_ROWS: i64 = 1 << 16;
/// Bytes of the chunks of a row group, which bounds it where the rows are large.
const GROUP_BYTES: u64 = 128 << 20;

pub(super) struct ParquetWriter {
    shape: Shape,
    schema: TypePtr,
    properties: WriterPropertiesPtr,
}

impl ParquetWriter {
    pub(super) fn new(shape: Shape) -> Result<Self, WriteError> {
        let columns = shape.columns();
        let fields = columns.iter().map(column_type).collect::<Result<_, _>>()?;
        let schema = Type::group_type_builder("schema").with_fields(fields).build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("tasnif version ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        Ok(Self {
            shape,
            schema: Arc::new(schema),
            properties: Arc::new(properties),
        })
    }

    fn file<W: Write + Send>(&self, to: W) -> Result<SerializedFileWriter<W>, ParquetError> {
        SerializedFileWriter::new(to, Arc::clone(&self.schema), Arc::clone(&self.properties))
    }
}

fn column_type(column: &Column) -> Result<TypePtr, ParquetError> {
    let builder = |physical| Type::primitive_type_builder(&column.name, physical).with_repetition(Repetition::OPTIONAL);
    let column = match &column.kind {
        Kind::Text => builder(Physical::BYTE_ARRAY).with_logical_type(Some(LogicalType::String)),
        Kind::Float => builder(Physical::FLOAT),
        Kind::Integer => builder(Physical::INT64),
        Kind::Same(same) => {
            let info = same.get_basic_info();
            let mut builder = builder(same.get_physical_type())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_converted_type(info.converted_type());
            if let Type::PrimitiveType {
                type_length,
                precision,
                scale,
                ..
            } = same.as_ref()
            {
                builder = builder
                    .with_length(*type_length)
                    .with_precision(*precision)
                    .with_scale(*scale);
            }
            builder
        }
    };
    Ok(Arc::new(column.build()?))
}

impl Writer for ParquetWriter {
    fn head(&self) -> Result<Vec<u8>, WriteError> {
        Ok(Vec::new())
    }

    fn chunk(&self, rows: &[Scored]) -> Result<Vec<u8>, WriteError> {
        let rows: Vec<Vec<Cell>> = rows.iter().map(|row| self.shape.cells(row)).collect();
        let mut file = self.file(vec![0; 8])?;
        let mut group = file.next_row_group()?;
        let mut index = 0;
        while let Some(mut column) = group.next_column()? {
            write(column.untyped(), rows.iter().map(|row| &row[index]))?;
            column.close()?;
            index += 1;
        }
        group.close()?;
        let mut bytes = file.into_inner()?;
        let length = bytes.len() as u64 - 8;
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        Ok(bytes)
    }

    fn assemble(&self, from: &Path, to: &Path) -> Result<bool, WriteError> {
        let mut out = self.file(BufWriter::new(File::create(to)?))?;
        let mut chunks = Chunks::open(from)?;
        loop {
            let chunks = chunks.next_group()?;
            if chunks.is_empty() {
                break;
            }
            let mut group = out.next_row_group()?;
            let mut index = 0;
            // A column at a time, so that no more than one column of the group is in memory.
            while let Some(mut column) = group.next_column()? {
                for chunk in &chunks {
                    let chunk = SerializedFileReader::new(chunk.clone())?;
                    let rows = chunk.get_row_group(0)?;
                    let count = usize::try_from(rows.metadata().num_rows()).unwrap_or(0);
                    copy(rows.get_column_reader(index)?, column.untyped(), count)?;
                }
                column.close()?;
                index += 1;
            }
            group.close()?;
        }
        out.into_inner()?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        Ok(true)
    }
}

/// A column's cells, nulls by definition levels.
fn write<'a>(writer: &mut ColumnWriter<'_>, cells: impl Iterator<Item = &'a Cell<'a>>) -> Result<(), ParquetError> {
    macro_rules! write {
        ($writer:expr, $value:expr) => {{
            let values: Vec<Option<_>> = cells.map($value).collect();
            let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
            let values: Vec<_> = values.into_iter().flatten().collect();
            $writer.write_batch(&values, Some(&levels), None)?;
        }};
    }
    match writer {
        ColumnWriter::BoolColumnWriter(writer) => write!(writer, |cell| match cell {
            Cell::Kept(Value::Bool(value)) => Some(*value),
            _ => None,
        }),
        ColumnWriter::Int32ColumnWriter(writer) => write!(writer, |cell| match cell {
            Cell::Kept(Value::Int32(value)) => Some(*value),
            _ => None,
        }),
        ColumnWriter::Int64ColumnWriter(writer) => write!(writer, |cell| match cell {
            Cell::Integer(value) | Cell::Kept(Value::Int64(value)) => Some(*value),
            _ => None,
        }),
        ColumnWriter::Int96ColumnWriter(writer) => write!(writer, |cell| match cell {
            Cell::Kept(Value::Int96(value)) => Some::<Int96>(*value),
            _ => None,
        }),
        ColumnWriter::FloatColumnWriter(writer) => write!(writer, |cell| match cell {
            Cell::Float(value) | Cell::Kept(Value::Float(value)) => Some(*value),
            _ => None,
        }),
        ColumnWriter::DoubleColumnWriter(writer) => write!(writer, |cell| match cell {
            Cell::Kept(Value::Double(value)) => Some(*value),
            _ => None,
        }),
        ColumnWriter::ByteArrayColumnWriter(writer) => write!(writer, |cell| match cell {
            Cell::Text(text) => Some(ByteArray::from(text.as_ref())),
            Cell::Kept(Value::Bytes(value)) => Some(value.clone()),
            // Of JSONL or CSV, or a list.
            Cell::Kept(value) => value
                .text(Default::default())
                .map(|text| ByteArray::from(text.into_bytes())),
            _ => None,
        }),
        ColumnWriter::FixedLenByteArrayColumnWriter(writer) => write!(writer, |cell| match cell {
            Cell::Kept(Value::Bytes(value)) => Some(FixedLenByteArray::from(value.clone())),
            _ => None,
        }),
    }
    Ok(())
}

fn copy(reader: ColumnReader, writer: &mut ColumnWriter<'_>, rows: usize) -> Result<(), ParquetError> {
    macro_rules! copy {
        ($($reader:ident => $writer:ident),*) => {
            match (reader, writer) {
                $((ColumnReader::$reader(mut reader), ColumnWriter::$writer(writer)) => {
                    let (mut values, mut levels) = (Vec::new(), Vec::new());
                    reader.read_records(rows, Some(&mut levels), None, &mut values)?;
                    writer.write_batch(&values, Some(&levels), None)?;
                })*
                _ => return Err(ParquetError::General("a chunk has columns of other types".to_owned())),
            }
        };
    }
    copy!(
        BoolColumnReader => BoolColumnWriter,
        Int32ColumnReader => Int32ColumnWriter,
        Int64ColumnReader => Int64ColumnWriter,
        Int96ColumnReader => Int96ColumnWriter,
        FloatColumnReader => FloatColumnWriter,
        DoubleColumnReader => DoubleColumnWriter,
        ByteArrayColumnReader => ByteArrayColumnWriter,
        FixedLenByteArrayColumnReader => FixedLenByteArrayColumnWriter
    );
    Ok(())
}

/// The chunks of a file, each behind its length.
struct Chunks {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Chunks {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self {
            end: file.metadata()?.len(),
            file: Arc::new(file),
            at: 0,
        })
    }

    /// The chunks that make the next row group; none at the end.
    fn next_group(&mut self) -> Result<Vec<Chunk>, WriteError> {
        let (mut chunks, mut rows, mut bytes) = (Vec::new(), 0, 0);
        while self.at < self.end && rows < GROUP_ROWS && bytes < GROUP_BYTES {
            let mut length = [0; 8];
            (&*self.file).seek(SeekFrom::Start(self.at))?;
            (&*self.file).read_exact(&mut length)?;
            let chunk = Chunk {
                file: Arc::clone(&self.file),
                start: self.at + 8,
                length: u64::from_le_bytes(length),
            };
            self.at = chunk.start + chunk.length;
            bytes += chunk.length;
            rows += SerializedFileReader::new(chunk.clone())?
                .metadata()
                .file_metadata()
                .num_rows();
            chunks.push(chunk);
        }
        Ok(chunks)
    }
}

/// A Parquet file within a file.
#[derive(Clone)]
struct Chunk {
    file: Arc<File>,
    start: u64,
    length: u64,
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Chunk {
    type T = BufReader<io::Take<File>>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(self.start + start))?;
        Ok(BufReader::new(file.take(self.length.saturating_sub(start))))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}
