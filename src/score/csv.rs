//! CSV (RFC 4180): a header, then a record a row; quoted fields may have line breaks. Blank lines are no rows.

use std::io::Read;

use csv::{ByteRecord, ReaderBuilder, Terminator};
use serde_json::Value as Json;

use super::reader::{ReadError, Reader};
use super::records::{Record, Records};
use super::row::{Fields, Mapped, Parsed, Row, RowError, utf8};
use super::value::Value;

/// Between several targets in one cell.
const TARGET_SEPARATOR: char = '|';

/// Where the columns of [`Fields`] stand in a record.
#[derive(Debug, Clone)]
pub struct Columns {
    fields: Fields,
    text: Option<usize>,
    title: Option<usize>,
    id: Option<usize>,
    language: Option<usize>,
    targets: Option<usize>,
    keep: Vec<Option<usize>>,
    count: usize,
}

impl Columns {
    /// The columns by their names.
    #[must_use]
    pub fn new(fields: Fields, names: &[String]) -> Self {
        let find = |name: &str| names.iter().position(|column| column == name);
        Self {
            text: find(&fields.text),
            title: find(&fields.title),
            id: find(&fields.id),
            language: find(&fields.language),
            targets: fields.targets.as_deref().and_then(find),
            keep: fields.keep.iter().map(|name| find(name)).collect(),
            count: names.len(),
            fields,
        }
    }
}

/// Parses a record, without its line break.
pub fn parse(record: &[u8], columns: &Columns) -> Parsed {
    let cells = match cells(record) {
        Ok(cells) => cells,
        Err(error) => return error.into(),
    };
    if cells.len() != columns.count {
        return RowError::Columns {
            found: cells.len(),
            expected: columns.count,
        }
        .into();
    }
    let cell = |column: Option<usize>| {
        column
            .and_then(|column| cells.get(column))
            .map_or(Json::Null, |cell| Json::from(cell.as_str()))
    };
    let targets = match cell(columns.targets) {
        Json::String(targets) if targets.contains(TARGET_SEPARATOR) => {
            targets.split(TARGET_SEPARATOR).map(str::trim).collect()
        }
        other => other,
    };
    let mapped = Mapped {
        text: cell(columns.text),
        title: cell(columns.title),
        id: cell(columns.id),
        language: cell(columns.language),
        targets,
    };
    let kept = columns.keep.iter().map(|&column| Value::Json(cell(column))).collect();
    columns.fields.parse(mapped, kept)
}

fn cells(record: &[u8]) -> Result<Vec<String>, RowError> {
    utf8(record)?;
    let mut cells = ByteRecord::new();
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        // The record was cut out already: a carriage return within is text.
        .terminator(Terminator::Any(b'\n'))
        .buffer_capacity(record.len().clamp(1, 1 << 13))
        .from_reader(record);
    // It reads from memory, where nothing fails.
    let _ = reader.read_byte_record(&mut cells);
    Ok(cells
        .iter()
        .map(|cell| String::from_utf8_lossy(cell).into_owned())
        .collect())
}

pub(super) struct Csv<R> {
    records: Records<R>,
    columns: Columns,
    max: usize,
    row: u64,
}

/// The names of the columns, read from the first record.
pub(super) fn header<R: Read>(records: &mut Records<R>) -> Result<Vec<String>, ReadError> {
    let header = match records.read()? {
        Some(Record::Whole(record)) => cells(record).map_err(|error| error.to_string()),
        Some(Record::TooLong | Record::Unclosed) => Err("a quote is not closed, or it is too long".to_owned()),
        None => Err("the file is empty".to_owned()),
    };
    header.map_err(|message| ReadError::Refused(format!("it has no header that can be read: {message}")))
}

impl<R: Read> Csv<R> {
    pub(super) fn new(records: Records<R>, columns: Columns, max: usize) -> Self {
        Self {
            records,
            columns,
            max,
            row: 0,
        }
    }
}

impl<R: Read + Send> Reader for Csv<R> {
    fn read(&mut self) -> Result<Option<Row>, ReadError> {
        loop {
            let mut parsed: Parsed = match self.records.read()? {
                None => return Ok(None),
                Some(Record::Whole(b"")) => continue,
                Some(Record::Whole(record)) => parse(record, &self.columns),
                Some(Record::TooLong) => RowError::TooLong { max: self.max }.into(),
                Some(Record::Unclosed) => RowError::Unclosed.into(),
            };
            let miscounted = matches!(parsed.article, Err(RowError::Columns { .. }));
            if miscounted && self.records.retreat() {
                parsed = RowError::Unclosed.into();
            }
            self.row += 1;
            return Ok(Some(Row {
                number: self.row,
                parsed,
            }));
        }
    }

    fn skip(&mut self, rows: u64) -> Result<(), ReadError> {
        // A row's end depends on how it parses.
        while self.row < rows && self.read()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::fields;
    use super::*;

    fn columns(keep: &[&str]) -> Columns {
        let mut fields = fields();
        fields.keep = keep.iter().map(|&name| name.to_owned()).collect();
        let names = ["id", "text", "targets", "source"].map(str::to_owned);
        Columns::new(fields, &names)
    }

    fn rows(file: &str) -> Vec<Result<String, &'static str>> {
        let records = Records::new(file.as_bytes(), true, 60);
        let mut csv = Csv::new(records, columns(&[]), 60);
        std::iter::from_fn(|| csv.read().expect("memory reads"))
            .map(|row| match row.parsed.article {
                Ok(article) => Ok(article.text),
                Err(error) => Err(error.code()),
            })
            .collect()
    }

    #[test]
    fn a_record_is_an_article() {
        let parsed = parse(b"7,\"say \"\"hi\"\",\n5 discs\",a | b,s\r.", &columns(&["source"]));
        let article = parsed.article.expect("an article");
        assert_eq!(
            (article.id.as_deref(), article.text.as_str()),
            (Some("7"), "say \"hi\",\n5 discs")
        );
        assert_eq!(article.targets, ["a", "b"]);
        assert_eq!(parsed.kept, [Value::Json("s\r.".into())]);
    }

    #[test]
    fn a_bad_row_costs_no_other() {
        let long = "x".repeat(70);
        for (file, expected) in [
            ("1,a,,\n\r\n2,b,,\r\n", &[Ok("a"), Ok("b")][..]),
            ("1,a\n2,b,,\n", &[Err("csv_malformed"), Ok("b")]),
            ("1,\"a,,\n2,b,,\n3,c,,\n", &[Err("csv_malformed"), Ok("b"), Ok("c")]),
            ("1,\"a,,\n2,b,,\n3,\"c\",,\n", &[Err("csv_malformed"), Ok("b"), Ok("c")]),
            ("1,,,\n2,b,,", &[Err("text_empty"), Ok("b")]),
            (&format!("1,{long},,\n2,b,,\n"), &[Err("row_too_long"), Ok("b")]),
        ] {
            let expected: Vec<_> = expected.iter().map(|row| row.map(str::to_owned)).collect();
            assert_eq!(rows(file), expected, "{file:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_article_or_an_error(record in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&record, &columns(&["source"]));
        }

        /// What the csv crate writes is read back.
        #[test]
        fn what_is_quoted_is_read_back(texts in prop::collection::vec("[a-z\",\n\r ]{0,12}x", 1..8)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            for text in &texts {
                writer.write_record(["1", text.as_str(), "", ""]).expect("memory");
            }
            let file = String::from_utf8(writer.into_inner().expect("memory")).expect("UTF-8");
            let expected: Vec<_> = texts.iter().map(|text| Ok(text.clone())).collect();
            prop_assert_eq!(rows(&file), expected);
        }
    }
}
