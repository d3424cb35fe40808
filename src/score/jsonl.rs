//! JSONL: an object a line. Every line is a row, so that line n of the output answers line n of the input.

use std::io::Read;

use serde_json::{Map, Value as Json};

use super::reader::{ReadError, Reader};
use super::records::{Record, Records};
use super::row::{Fields, Mapped, Parsed, Row, RowError, utf8};
use super::value::Value;
use crate::article::InputError;

/// Parses a line. Fields that nothing asks for are passed over: an archive is somebody's export.
pub fn parse(line: &[u8], fields: &Fields) -> Parsed {
    let object = match object(line) {
        Ok(object) => object,
        Err(error) => return error.into(),
    };
    let get = |name: &str| object.get(name).cloned().unwrap_or_default();
    let mapped = Mapped {
        text: get(&fields.text),
        title: get(&fields.title),
        id: get(&fields.id),
        language: get(&fields.language),
        targets: fields.targets.as_deref().map(get).unwrap_or_default(),
    };
    let kept = fields.keep.iter().map(|name| Value::Json(get(name))).collect();
    fields.parse(mapped, kept)
}

fn object(line: &[u8]) -> Result<Map<String, Json>, RowError> {
    let line = utf8(line)?;
    if line.trim().is_empty() {
        return Err(RowError::Empty);
    }
    match serde_json::from_str(line) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(RowError::Input(InputError::Invalid {
            param: "row".to_owned(),
            message: "an object with a text is expected".to_owned(),
        })),
        // serde_json counts lines too, and there is only the one.
        Err(error) => Err(RowError::Json(error.to_string().replace("line 1 column", "column"))),
    }
}

pub(super) struct Jsonl<R> {
    records: Records<R>,
    fields: Fields,
    max: usize,
    row: u64,
}

impl<R: Read> Jsonl<R> {
    pub(super) fn new(records: Records<R>, fields: Fields, max: usize) -> Self {
        Self {
            records,
            fields,
            max,
            row: 0,
        }
    }
}

impl<R: Read + Send> Reader for Jsonl<R> {
    fn read(&mut self) -> Result<Option<Row>, ReadError> {
        let parsed = match self.records.read()? {
            None => return Ok(None),
            Some(Record::Whole(line)) => parse(line, &self.fields),
            Some(Record::TooLong | Record::Unclosed) => RowError::TooLong { max: self.max }.into(),
        };
        self.row += 1;
        Ok(Some(Row {
            number: self.row,
            parsed,
        }))
    }

    fn skip(&mut self, rows: u64) -> Result<(), ReadError> {
        while self.row < rows && self.records.read()?.is_some() {
            self.row += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::fields;
    use super::*;

    #[test]
    fn a_line_is_an_article() {
        let mut fields = fields();
        fields.keep = vec!["source".to_owned(), "gone".to_owned()];
        let parsed = parse(
            br#"{"id": 7, "text": "a\u0000b", "title": null, "language": "", "targets": ["x", "y"], "source": {"a": 1}, "lang": 3}"#,
            &fields,
        );
        let article = parsed.article.expect("an article");
        assert_eq!(article.id.as_deref(), Some("7"));
        assert_eq!(
            (article.text.as_str(), article.title, article.language),
            ("a\0b", None, None)
        );
        assert_eq!(article.targets, ["x", "y"]);
        assert_eq!(
            parsed.kept,
            [Value::Json(serde_json::json!({"a": 1})), Value::Json(Json::Null)]
        );
    }

    #[test]
    fn a_bad_line_says_why_and_keeps_what_it_can() {
        for (line, code, message, id) in [
            (&b""[..], "row_empty", "empty", None),
            (b" \t", "row_empty", "empty", None),
            (b"{\"text\": \"a", "json_malformed", "column 11", None),
            (b"{\"text\": \"\xff\"}", "utf8_invalid", "byte 10", None),
            (b"{\"text\": \"\0\"}", "nul_byte", "byte 10", None),
            (b"[1]", "field_invalid", "an object", None),
            (b"{\"id\": \"a\"}", "field_missing", "text is missing", Some("a")),
            (b"{\"id\": \"a\", \"text\": null}", "field_missing", "text", Some("a")),
            (b"{\"id\": 4, \"text\": 5}", "field_invalid", "not a number", Some("4")),
            (b"{\"id\": [], \"text\": \"x\"}", "field_invalid", "id", None),
            (
                b"{\"text\": \"x\", \"targets\": [1]}",
                "field_invalid",
                "targets[0]",
                None,
            ),
            (b"{\"text\": \" \"}", "text_empty", "white space", None),
        ] {
            let parsed = parse(line, &fields());
            let error = parsed.article.expect_err("a bad line");
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(message), "{error}");
            assert_eq!(parsed.id.as_deref(), id, "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_article_or_an_error(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line, &fields());
        }

        #[test]
        fn any_json_is_an_article_or_an_error(text in ".{0,20}", id in "[0-9]{1,4}|\"[a-z]{0,3}\"|null|\\[\\]", targets in "\"x\"|\\[\"x\", 1\\]|\\{\\}") {
            let line = format!("{{\"text\": {}, \"id\": {id}, \"targets\": {targets}}}", Json::from(text.clone()));
            if let Ok(article) = parse(line.as_bytes(), &fields()).article {
                prop_assert_eq!(article.text, text);
            }
        }
    }
}
