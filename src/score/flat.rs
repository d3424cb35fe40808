//! A verdict as the cells of a table: one column a score, so that pandas, polars or a spreadsheet need no unpacking.
//!
//! | columns | |
//! |---|---|
//! | `row`, `id` | the row of the input, from 1; the article's id |
//! | `language`, `language_confidence` | |
//! | `topics` | the assigned ones, the best first, with `|` between |
//! | `topic_LABEL` | the score of each topic of the model |
//! | `target`, `stance`, `stance_favor`, `stance_against`, `stance_neutral`, `stance_unrelated` | toward the first target; the second has `target_2`, `stance_2` and so on, as many as `--target` names |
//! | `stances` | where rows bring their own targets: all of a row's, as JSON |
//! | `tokens`, `windows` | |
//! | `error`, `error_message` | empty on a good row |
//! | the kept columns | under their own names, with `kept_` before a name that is one of the above |

use std::borrow::Cow;

use parquet::schema::types::TypePtr;

use super::reader::Kept;
use super::row::Scored;
use super::value::Value;
use crate::article::{Stance, Verdict};

/// Between the assigned topics.
const SEPARATOR: &str = "|";

/// What the verdicts of a run have.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    /// The model's labels; `None` where the task isn't asked for.
    pub topics: Option<Vec<String>>,
    /// How many targets have columns; 0 where the task isn't asked for.
    pub targets: usize,
    /// Whether rows bring targets of their own.
    pub own_targets: bool,
    pub kept: Vec<Kept>,
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Text,
    Float,
    Integer,
    /// As the column of the input was.
    Same(TypePtr),
}

#[derive(Debug, Clone)]
pub(super) enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    Float(f32),
    Integer(i64),
    Kept(&'a Value),
}

impl<'a> Cell<'a> {
    fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(Cow::Borrowed(text)))
    }

    fn count(count: Option<usize>) -> Self {
        count
            .and_then(|count| i64::try_from(count).ok())
            .map_or(Self::Null, Self::Integer)
    }
}

impl Shape {
    /// The columns, in the order of [`Self::cells`].
    pub(super) fn columns(&self) -> Vec<Column> {
        use Kind::{Float, Integer, Text};
        let mut columns = Vec::new();
        let mut add = |name: String, kind: Kind| columns.push(Column { name, kind });
        add("row".to_owned(), Integer);
        add("id".to_owned(), Text);
        add("language".to_owned(), Text);
        add("language_confidence".to_owned(), Float);
        if let Some(labels) = &self.topics {
            add("topics".to_owned(), Text);
            labels.iter().for_each(|label| add(format!("topic_{label}"), Float));
        }
        for target in 1..=self.targets {
            let number = if target == 1 {
                String::new()
            } else {
                format!("_{target}")
            };
            add(format!("target{number}"), Text);
            add(format!("stance{number}"), Text);
            for class in crate::model::STANCES {
                add(format!("stance_{class}{number}"), Float);
            }
        }
        if self.own_targets {
            add("stances".to_owned(), Text);
        }
        add("tokens".to_owned(), Integer);
        add("windows".to_owned(), Integer);
        add("error".to_owned(), Text);
        add("error_message".to_owned(), Text);
        for kept in &self.kept {
            let taken = columns.iter().any(|column| column.name == kept.name);
            columns.push(Column {
                name: format!("{}{}", if taken { "kept_" } else { "" }, kept.name),
                kind: kept.column.clone().map_or(Text, Kind::Same),
            });
        }
        columns
    }

    pub(super) fn cells<'a>(&self, row: &'a Scored) -> Vec<Cell<'a>> {
        let verdict = row.verdict.as_ref().ok();
        let error = row.verdict.as_ref().err();
        let language = verdict.and_then(|verdict| verdict.language.as_ref());
        let mut cells = vec![
            i64::try_from(row.number).map_or(Cell::Null, Cell::Integer),
            Cell::text(row.id.as_deref()),
            Cell::text(language.map(|language| language.code.as_str())),
            language.map_or(Cell::Null, |language| Cell::Float(language.confidence)),
        ];
        if let Some(labels) = &self.topics {
            topics(labels, verdict, &mut cells);
        }
        let stances = verdict
            .and_then(|verdict| verdict.stance.as_deref())
            .unwrap_or_default();
        for target in 0..self.targets {
            stance(stances.get(target), &mut cells);
        }
        if self.own_targets {
            cells.push(if stances.is_empty() {
                Cell::Null
            } else {
                // Strings and finite numbers: there is nothing that JSON couldn't hold.
                Cell::Text(serde_json::to_string(stances).unwrap_or_default().into())
            });
        }
        cells.push(Cell::count(verdict.map(|verdict| verdict.usage.tokens)));
        cells.push(Cell::count(verdict.map(|verdict| verdict.usage.windows)));
        cells.push(Cell::text(error.map(|error| error.code())));
        cells.push(error.map_or(Cell::Null, |error| Cell::Text(error.to_string().into())));
        for index in 0..self.kept.len() {
            cells.push(row.kept.get(index).map_or(Cell::Null, Cell::Kept));
        }
        cells
    }
}

fn topics<'a>(labels: &[String], verdict: Option<&'a Verdict>, cells: &mut Vec<Cell<'a>>) {
    let topics = verdict.and_then(|verdict| verdict.topics.as_deref());
    let assigned = topics.map(|topics| {
        let assigned = topics.iter().filter(|topic| topic.assigned);
        let labels: Vec<&str> = assigned.map(|topic| topic.label.as_str()).collect();
        labels.join(SEPARATOR)
    });
    cells.push(assigned.map_or(Cell::Null, |assigned| Cell::Text(assigned.into())));
    let topics = topics.unwrap_or_default();
    for label in labels {
        let topic = topics.iter().find(|topic| topic.label == *label);
        cells.push(topic.map_or(Cell::Null, |topic| Cell::Float(topic.score)));
    }
}

fn stance<'a>(stance: Option<&'a Stance>, cells: &mut Vec<Cell<'a>>) {
    cells.push(Cell::text(stance.and_then(|stance| stance.target.as_deref())));
    cells.push(Cell::text(stance.map(|stance| stance.label.as_str())));
    let scores = stance.map(|stance| {
        let scores = stance.scores;
        [scores.favor, scores.against, scores.neutral, scores.unrelated]
    });
    for class in 0..4 {
        cells.push(scores.map_or(Cell::Null, |scores| Cell::Float(scores[class])));
    }
}
