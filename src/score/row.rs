//! From the named values of a row to an article, whatever the file's format.

use serde_json::Value as Json;

use super::value::Value;
use crate::article::{Article, InputError, Verdict};
use crate::batcher::ClassifyError;

/// What a row's columns are called.
#[derive(Debug, Clone)]
pub struct Fields {
    pub text: String,
    pub title: String,
    pub id: String,
    pub language: String,
    /// `None` where the targets are the same for all rows.
    pub targets: Option<String>,
    /// Columns that go into the output as they are.
    pub keep: Vec<String>,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RowError {
    #[error("the line is empty")]
    Empty,
    #[error("the row is longer than {max} bytes; --max-row-bytes sets the limit")]
    TooLong { max: usize },
    #[error("byte {at} of the row is no UTF-8; convert the file with iconv")]
    Utf8 { at: usize },
    #[error("byte {at} of the row is NUL, which no text has: the file is damaged, or not UTF-8")]
    Nul { at: usize },
    #[error("not JSON: {0}")]
    Json(String),
    #[error("{found} columns, the header has {expected}")]
    Columns { found: usize, expected: usize },
    #[error("a quote opens here that is never closed")]
    Unclosed,
    #[error(transparent)]
    Input(#[from] InputError),
    /// No fault of the row.
    #[error("{0}")]
    Internal(String),
}

impl RowError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "row_empty",
            Self::TooLong { .. } => "row_too_long",
            Self::Utf8 { .. } => "utf8_invalid",
            Self::Nul { .. } => "nul_byte",
            Self::Json(_) => "json_malformed",
            Self::Columns { .. } | Self::Unclosed => "csv_malformed",
            Self::Input(error) => error.code(),
            Self::Internal(_) => "internal",
        }
    }

    /// The column at fault, where it is one.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Input(error) => Some(error.param()),
            _ => None,
        }
    }
}

impl From<ClassifyError> for RowError {
    fn from(error: ClassifyError) -> Self {
        match error {
            ClassifyError::Input(error) => Self::Input(error),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// What a row says, and what of it goes into the output even where the article is bad.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub id: Option<String>,
    /// In the order of [`Fields::keep`]; nothing where the row couldn't be taken apart.
    pub kept: Vec<Value>,
    pub article: Result<Article, RowError>,
}

impl From<RowError> for Parsed {
    fn from(error: RowError) -> Self {
        Self {
            id: None,
            kept: Vec::new(),
            article: Err(error),
        }
    }
}

/// A row of the input; the first has number 1, a header none.
#[derive(Debug)]
pub struct Row {
    pub number: u64,
    pub parsed: Parsed,
}

/// A row of the output.
#[derive(Debug)]
pub struct Scored {
    pub number: u64,
    pub id: Option<String>,
    pub kept: Vec<Value>,
    pub verdict: Result<Verdict, RowError>,
}

/// The values of the columns that make an article; `Null` where there is none.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    pub text: Json,
    pub title: Json,
    pub id: Json,
    pub language: Json,
    pub targets: Json,
}

impl Fields {
    /// The article of these values.
    pub(super) fn parse(&self, mapped: Mapped, kept: Vec<Value>) -> Parsed {
        let (id, id_error) = match id(&self.id, mapped.id) {
            Ok(id) => (id, None),
            Err(error) => (None, Some(error)),
        };
        let article = || {
            if let Some(error) = id_error {
                return Err(error);
            }
            let article = Article {
                id: id.clone(),
                title: text(&self.title, mapped.title)?,
                text: text(&self.text, mapped.text)?.ok_or_else(|| InputError::Missing {
                    param: self.text.clone(),
                })?,
                // An empty cell is how a table says that there is none.
                language: text(&self.language, mapped.language)?.filter(|code| !code.trim().is_empty()),
                targets: targets(self.targets.as_deref().unwrap_or("targets"), mapped.targets)?,
                ..Article::default()
            };
            article.check()?;
            Ok(article)
        };
        let article = article().map_err(RowError::Input);
        Parsed { id, kept, article }
    }
}

fn wrong(field: &str, expected: &str, found: &Json) -> InputError {
    let found = match found {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    };
    InputError::Invalid {
        param: field.to_owned(),
        message: format!("{expected} is expected, not {found}"),
    }
}

fn text(field: &str, value: Json) -> Result<Option<String>, InputError> {
    match value {
        Json::Null => Ok(None),
        Json::String(text) => Ok(Some(text)),
        other => Err(wrong(field, "a string", &other)),
    }
}

/// Archives number their articles as often as they name them.
fn id(field: &str, value: Json) -> Result<Option<String>, InputError> {
    match value {
        Json::Number(number) => Ok(Some(number.to_string())),
        Json::Null => Ok(None),
        Json::String(id) => Ok(Some(id).filter(|id| !id.is_empty())),
        other => Err(wrong(field, "a string or a number", &other)),
    }
}

/// A string is one target, a list several.
fn targets(field: &str, value: Json) -> Result<Vec<String>, InputError> {
    match value {
        Json::Null => Ok(Vec::new()),
        Json::String(target) if target.trim().is_empty() => Ok(Vec::new()),
        Json::String(target) => Ok(vec![target]),
        Json::Array(targets) => targets
            .into_iter()
            .enumerate()
            .map(|(index, target)| match target {
                Json::String(target) => Ok(target),
                other => Err(wrong(&format!("{field}[{index}]"), "a string", &other)),
            })
            .collect(),
        other => Err(wrong(field, "a string or a list of strings", &other)),
    }
}

/// The row as text.
pub(super) fn utf8(row: &[u8]) -> Result<&str, RowError> {
    if let Some(at) = row.iter().position(|&byte| byte == 0) {
        return Err(RowError::Nul { at });
    }
    std::str::from_utf8(row).map_err(|error| RowError::Utf8 {
        at: error.valid_up_to(),
    })
}
