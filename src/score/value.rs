//! Values of columns that are kept: as they came, so that a table's column goes into another table with its type.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::data_type::{ByteArray, Int96};
use parquet::schema::types::Type;
use serde_json::Value as Json;

/// A value of JSONL or CSV, or one of Parquet's physical types.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Json(Json),
    Null,
    Bool(bool),
    Int32(i32),
    Int64(i64),
    Int96(Int96),
    Float(f32),
    Double(f64),
    Bytes(ByteArray),
    List(Vec<Value>),
}

/// What a Parquet column's physical values stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Meaning {
    #[default]
    Plain,
    Unsigned,
    Date,
    /// Units in a second, and whether it is UTC rather than a clock on some wall.
    Timestamp(i64, bool),
    Decimal(u32),
}

impl Meaning {
    pub(super) fn of(column: &Type) -> Self {
        let info = column.get_basic_info();
        match (info.logical_type_ref(), info.converted_type()) {
            (Some(LogicalType::Timestamp(timestamp)), _) => {
                let units = match timestamp.unit {
                    TimeUnit::MILLIS => 1_000,
                    TimeUnit::MICROS => 1_000_000,
                    TimeUnit::NANOS => 1_000_000_000,
                };
                Self::Timestamp(units, timestamp.is_adjusted_to_u_t_c)
            }
            (_, ConvertedType::TIMESTAMP_MILLIS) => Self::Timestamp(1_000, true),
            (_, ConvertedType::TIMESTAMP_MICROS) => Self::Timestamp(1_000_000, true),
            (Some(LogicalType::Date), _) | (_, ConvertedType::DATE) => Self::Date,
            (_, ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64) => {
                Self::Unsigned
            }
            (_, ConvertedType::DECIMAL) => Self::Decimal(match column {
                Type::PrimitiveType { scale, .. } => u32::try_from(*scale).unwrap_or(0),
                Type::GroupType { .. } => 0,
            }),
            _ => Self::Plain,
        }
    }
}

impl Value {
    /// As JSON: numbers as numbers, dates and times as ISO 8601, decimals as text, which loses no digit.
    pub(super) fn json(&self, meaning: Meaning) -> Json {
        match self {
            Self::Json(value) => value.clone(),
            Self::Null => Json::Null,
            Self::Bool(value) => Json::from(*value),
            Self::Int32(value) => match meaning {
                Meaning::Unsigned => Json::from(value.cast_unsigned()),
                Meaning::Date => date(*value).map_or_else(|| Json::from(*value), Json::from),
                _ => integer(i64::from(*value), meaning),
            },
            Self::Int64(value) => integer(*value, meaning),
            Self::Int96(value) => integer(value.to_nanos(), Meaning::Timestamp(1_000_000_000, true)),
            Self::Float(value) => Json::from(*value),
            Self::Double(value) => Json::from(*value),
            Self::Bytes(value) => bytes(value.data(), meaning),
            Self::List(values) => values.iter().map(|value| value.json(meaning)).collect(),
        }
    }

    /// As a cell of a text table; `None` for none.
    pub(super) fn text(&self, meaning: Meaning) -> Option<String> {
        match self.json(meaning) {
            Json::Null => None,
            Json::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }
}

fn integer(value: i64, meaning: Meaning) -> Json {
    match meaning {
        Meaning::Unsigned => Json::from(value.cast_unsigned()),
        Meaning::Timestamp(units, utc) => timestamp(value, units, utc).map_or_else(|| Json::from(value), Json::from),
        Meaning::Decimal(scale) => Json::from(decimal(i128::from(value), scale)),
        Meaning::Plain | Meaning::Date => Json::from(value),
    }
}

/// `None` where the calendar ends.
fn date(days: i32) -> Option<String> {
    let time = DateTime::from_timestamp(i64::from(days) * 86_400, 0)?;
    Some(time.date_naive().to_string())
}

fn timestamp(value: i64, units: i64, utc: bool) -> Option<String> {
    let nanos = u32::try_from(value.rem_euclid(units) * (1_000_000_000 / units)).ok()?;
    let time: DateTime<Utc> = DateTime::from_timestamp(value.div_euclid(units), nanos)?;
    let text = time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    Some(if utc {
        text
    } else {
        text.trim_end_matches('Z').to_owned()
    })
}

fn decimal(value: i128, scale: u32) -> String {
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let sign = if value < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

/// Text where it is text, hexadecimal digits otherwise.
fn bytes(bytes: &[u8], meaning: Meaning) -> Json {
    if let Meaning::Decimal(scale) = meaning
        && let Some(value) = big_endian(bytes)
    {
        return Json::from(decimal(value, scale));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Json::from(text),
        Err(_) => bytes
            .iter()
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
            .into(),
    }
}

/// Two's complement, as Parquet stores decimals.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    if bytes.is_empty() || bytes.len() > 16 {
        return None;
    }
    let fill = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
    let mut whole = [fill; 16];
    whole[16 - bytes.len()..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_people_read_them() {
        let micros = Meaning::Timestamp(1_000_000, true);
        for (value, meaning, expected) in [
            (Value::Int32(19_000), Meaning::Date, Some("2022-01-08")),
            (Value::Int32(-1), Meaning::Date, Some("1969-12-31")),
            (
                Value::Int64(1_700_000_000_123_000),
                micros,
                Some("2023-11-14T22:13:20.123Z"),
            ),
            (
                Value::Int64(-1),
                Meaning::Timestamp(1_000, false),
                Some("1969-12-31T23:59:59.999"),
            ),
            (
                Value::Int64(i64::MAX),
                Meaning::Timestamp(1_000, true),
                Some("9223372036854775807"),
            ),
            (Value::Int32(-5), Meaning::Decimal(2), Some("-0.05")),
            (
                Value::Bytes(vec![0xff, 0x38].into()),
                Meaning::Decimal(1),
                Some("-20.0"),
            ),
            (Value::Bytes("نص".into()), Meaning::Plain, Some("نص")),
            (Value::Bytes(vec![0xff, 1].into()), Meaning::Plain, Some("ff01")),
            (Value::Int32(-1), Meaning::Unsigned, Some("4294967295")),
            (Value::Double(f64::NAN), Meaning::Plain, None),
            (Value::Null, Meaning::Plain, None),
            (
                Value::List(vec![Value::Int32(1), Value::Null]),
                Meaning::Plain,
                Some("[1,null]"),
            ),
        ] {
            assert_eq!(value.text(meaning).as_deref(), expected, "{value:?} {meaning:?}");
        }
    }
}
