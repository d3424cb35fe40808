//! `POST /v2/models/{name}/infer`, with Triton's extensions for classification and for binary tensor data.
//!
//! A model has the input `text` and, where it judges stances, `target` of the same shape, which asks for the stance in place
//! of the topics. Its outputs are `scores` and `labels`, a row for each text, in the model's own order of labels: a column of
//! scores is one label's.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::{ContentBuilder, Object, Type};
use utoipa::{IntoResponses, ToSchema};

use super::{Message, Model};
use crate::article::InputError;
use crate::http::call::{Call, Headers};
use crate::http::compat::document::{self, OIL, VOTE};
use crate::http::compat::kserve::tensor::{self, TensorError};
use crate::http::compat::{Row, Scored, article, ask, shaped};
use crate::http::openapi::Responses;
use crate::http::path::Path;
use crate::http::{ApiError, App, body};

const HEAD_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

const HEAD_LENGTH_EXPECTED: &str = "a number of bytes is expected";

/// Each has the size of all answers together; there are two names, as they are or as the best few, in JSON or in binary.
const OUTPUTS: usize = 8;

const BYTES: &str = "application/octet-stream";

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = kserve::v2::Request)]
struct Request {
    id: Option<String>,
    inputs: Vec<InputTensor>,
    /// All of them, if not given.
    #[serde(default)]
    outputs: Vec<Wanted>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = kserve::v2::Parameters)]
struct Parameters {
    #[serde(default)]
    binary_data_output: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = kserve::v2::InputTensor)]
struct InputTensor {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    #[serde(default)]
    parameters: InputParameters,
    /// Strings, in lists as deep as one likes.
    #[serde(default)]
    data: Value,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = kserve::v2::InputParameters)]
struct InputParameters {
    binary_data_size: Option<usize>,
}

#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(as = kserve::v2::Wanted)]
struct Wanted {
    name: Output,
    #[serde(default)]
    parameters: OutputParameters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = kserve::v2::Output)]
#[serde(rename_all = "lowercase")]
enum Output {
    Scores,
    Labels,
}

#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[schema(as = kserve::v2::OutputParameters)]
struct OutputParameters {
    /// As the request says, if the output doesn't.
    binary_data: Option<bool>,
    /// The best so many as `"score:index:label"` in place of the tensor.
    classification: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = kserve::v2::Answer)]
pub(in crate::http::compat) struct Answer {
    model_name: String,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<OutputTensor>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = kserve::v2::OutputTensor)]
struct OutputTensor {
    name: Output,
    datatype: &'static str,
    shape: [usize; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<DataParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = kserve::v2::DataParameters)]
struct DataParameters {
    binary_data_size: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = kserve::v2::Data)]
#[serde(untagged)]
enum Data {
    Floats(Vec<f32>),
    Strings(Vec<String>),
}

impl IntoResponses for Answer {
    fn responses() -> Responses {
        let wanted = |name| Wanted {
            name,
            parameters: OutputParameters::default(),
        };
        let rows = [document::row().in_order()];
        let example = Self {
            model_name: "default".to_owned(),
            model_version: "1.0.0".to_owned(),
            id: Some("7".to_owned()),
            outputs: [Output::Scores, Output::Labels]
                .map(|name| output(&wanted(name), &rows))
                .into(),
        };
        let mut success = document::success("A row for each text, in the model's order of labels", &example);
        let bytes = ContentBuilder::new()
            .schema(Some(Object::with_type(Type::String)))
            .example(Some("{\"model_name\": …}\u{0}\u{0}@?…".into()))
            .build();
        success.content.insert(BYTES.to_owned(), bytes.into());
        let more = [
            ApiError::header_invalid(HEAD_LENGTH.as_str(), HEAD_LENGTH_EXPECTED),
            refused("inputs[0]", &TensorError::NotUtf8 { index: 0 }),
        ];
        let mut answers =
            document::texts::<Message, Request>(success, "text", more.into_iter().chain(document::name_errors()));
        // Any type is read.
        answers.remove(StatusCode::UNSUPPORTED_MEDIA_TYPE.as_str());
        answers
    }
}

/// Infer as the Open Inference Protocol does
///
/// `text` is a tensor of strings; `target`, of the same shape, asks for stances. The body is read whatever its Content-Type; behind
/// a JSON head of `Inference-Header-Content-Length` bytes there may be the tensors' binary data.
// Triton's client sends no Content-Type.
#[utoipa::path(
    post,
    path = "/v2/models/{name}/infer",
    operation_id = "kserve_infer",
    tag = "KServe",
    params(
        ("name" = String, Path, description = "A name, `name@version` or alias", example = "default"),
        ("inference-header-content-length" = Option<u64>, Header, description = "The length of the JSON head, where binary data is behind it"),
        Headers,
    ),
    request_body(content(
        (Request = "application/json", examples(
            ("texts" = (value = json!({"id": "7", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": [OIL, VOTE]}]}))),
            ("a target" = (value = json!({
                "inputs": [
                    {"name": "text", "datatype": "BYTES", "shape": [1], "data": [VOTE]},
                    {"name": "target", "datatype": "BYTES", "shape": [1], "data": ["the government"]},
                ],
                "outputs": [{"name": "scores", "parameters": {"classification": 2}}],
            }))),
        )),
        (String = "application/octet-stream"),
    )),
    security((), ("key" = [])),
    responses(Answer)
)]
pub(super) async fn infer(
    State(service): App,
    call: Call,
    Path(model): Path<Model>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let pipeline = model.resolve(&service)?;
    let head = head_length(&headers)?;
    let body = body::bytes(body, &service.limits).await?;
    let (head, data) = tensor::split(&body, head).map_err(|error| refused("body", &error))?;
    let request: Request = shaped(body::parse(head)?)?;
    let (texts, targets) = inputs(&request.inputs, data, service.limits.articles)?;
    let articles = match targets {
        None => texts.into_iter().map(|text| article(text, None)).collect(),
        Some(targets) if targets.len() == texts.len() => {
            let pairs = texts.into_iter().zip(targets);
            pairs.map(|(text, target)| article(text, Some(target))).collect()
        }
        Some(targets) => {
            let message = format!("{} elements, but text has {}", targets.len(), texts.len());
            return Err(invalid("target", message));
        }
    };
    if request.outputs.len() > OUTPUTS {
        let message = format!("{} outputs, at most {OUTPUTS} are made", request.outputs.len());
        return Err(invalid("outputs", message));
    }
    let rows = ask(&service, &call, &pipeline, "text", articles).await?;
    let rows: Vec<Vec<Scored>> = rows.into_iter().map(Row::in_order).collect();
    let mut wanted = request.outputs;
    if wanted.is_empty() {
        wanted = [Output::Scores, Output::Labels]
            .map(|name| Wanted {
                name,
                parameters: OutputParameters::default(),
            })
            .to_vec();
    }
    let mut binary = Vec::new();
    let outputs = wanted
        .iter()
        .map(|wanted| {
            let as_bytes = wanted
                .parameters
                .binary_data
                .unwrap_or(request.parameters.binary_data_output);
            let mut output = output(wanted, &rows);
            if as_bytes {
                output.move_data(&mut binary);
            }
            output
        })
        .collect();
    let manifest = pipeline.manifest();
    let answer = Answer {
        model_name: manifest.name.clone(),
        model_version: manifest.version.clone(),
        id: request.id,
        outputs,
    };
    if binary.is_empty() {
        return Ok(Json(answer).into_response());
    }
    let mut bytes = serde_json::to_vec(&answer).map_err(|_| ApiError::internal())?;
    let head = HeaderValue::from(bytes.len());
    bytes.append(&mut binary);
    let media_type = HeaderValue::from_static(BYTES);
    Ok((
        [(HEAD_LENGTH, head), (header::CONTENT_TYPE, media_type)],
        Bytes::from(bytes),
    )
        .into_response())
}

fn head_length(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let Some(value) = headers.get(HEAD_LENGTH) else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|value| value.parse().ok());
    length
        .map(Some)
        .ok_or_else(|| ApiError::header_invalid(HEAD_LENGTH.as_str(), HEAD_LENGTH_EXPECTED))
}

/// The texts, and the targets where there are any. A lone input may be called whatever its client calls it.
fn inputs(
    inputs: &[InputTensor],
    mut data: &[u8],
    limit: usize,
) -> Result<(Vec<String>, Option<Vec<String>>), ApiError> {
    let mut texts = None;
    let mut targets = None;
    for (index, input) in inputs.iter().enumerate() {
        let place = match input.name.as_str() {
            "target" => &mut targets,
            "text" => &mut texts,
            _ if inputs.len() == 1 => &mut texts,
            other => {
                return Err(invalid(
                    &format!("inputs[{index}].name"),
                    format!("{other:?}; text or target is expected"),
                ));
            }
        };
        *place = Some(elements(&format!("inputs[{index}]"), input, &mut data, limit)?);
    }
    if !data.is_empty() {
        return Err(refused("body", &TensorError::Rest(data.len())));
    }
    let texts = texts.ok_or_else(|| invalid("inputs", "a tensor of the name text is expected".to_owned()))?;
    Ok((texts, targets))
}

fn elements(place: &str, input: &InputTensor, data: &mut &[u8], limit: usize) -> Result<Vec<String>, ApiError> {
    if input.datatype != "BYTES" {
        let message = format!("{:?}; BYTES is expected", input.datatype);
        return Err(invalid(&format!("{place}.datatype"), message));
    }
    let elements = match input.parameters.binary_data_size {
        Some(size) => {
            let bytes = tensor::take(data, size).map_err(|error| refused(place, &error))?;
            let strings = tensor::strings(bytes, limit).map_err(|error| refused(place, &error))?;
            strings.into_iter().map(str::to_owned).collect()
        }
        None => {
            let mut strings = Vec::new();
            flatten(&input.data, limit, &mut strings).map_err(|message| invalid(&format!("{place}.data"), message))?;
            strings
        }
    };
    let expected = input
        .shape
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size));
    if expected != Some(elements.len()) {
        let message = format!(
            "{:?} doesn't fit the {} elements of the data",
            input.shape,
            elements.len()
        );
        return Err(invalid(&format!("{place}.shape"), message));
    }
    Ok(elements)
}

/// Tensors may be nested lists, row by row, or one flat list of all elements.
fn flatten(data: &Value, limit: usize, strings: &mut Vec<String>) -> Result<(), String> {
    match data {
        Value::String(_) if strings.len() == limit => Err(TensorError::TooMany(limit).to_string()),
        Value::String(string) => {
            strings.push(string.clone());
            Ok(())
        }
        Value::Array(values) => values.iter().try_for_each(|value| flatten(value, limit, strings)),
        _ => Err("a list of strings is expected".to_owned()),
    }
}

fn output(wanted: &Wanted, rows: &[Vec<Scored>]) -> OutputTensor {
    let all = || rows.iter().flatten();
    let width = rows.first().map_or(0, Vec::len);
    let (datatype, width, data) = match (wanted.name, wanted.parameters.classification) {
        (_, Some(count)) => {
            let best = rows.iter().flat_map(|row| classification(row, count)).collect();
            ("BYTES", width.min(count), Data::Strings(best))
        }
        (Output::Scores, None) => ("FP32", width, Data::Floats(all().map(|scored| scored.score).collect())),
        (Output::Labels, None) => {
            let labels = all().map(|scored| scored.label.clone()).collect();
            ("BYTES", width, Data::Strings(labels))
        }
    };
    OutputTensor {
        name: wanted.name,
        datatype,
        shape: [rows.len(), width],
        parameters: None,
        data: Some(data),
    }
}

/// Triton's classification extension.
fn classification(row: &[Scored], count: usize) -> Vec<String> {
    let mut best: Vec<&Scored> = row.iter().collect();
    best.sort_by(|a, b| b.score.total_cmp(&a.score));
    best.iter()
        .take(count)
        .map(
            |Scored {
                 score, index, label, ..
             }| format!("{score:.6}:{index}:{label}"),
        )
        .collect()
}

impl OutputTensor {
    /// Moves the data from the JSON head to the bytes behind it.
    fn move_data(&mut self, binary: &mut Vec<u8>) {
        let Some(data) = self.data.take() else { return };
        let bytes = match data {
            Data::Floats(floats) => tensor::float_bytes(&floats),
            Data::Strings(strings) => tensor::string_bytes(&strings),
        };
        self.parameters = Some(DataParameters {
            binary_data_size: bytes.len(),
        });
        binary.extend(bytes);
    }
}

fn invalid(param: &str, message: String) -> ApiError {
    let param = param.to_owned();
    InputError::Invalid { param, message }.into()
}

fn refused(place: &str, error: &TensorError) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "tensor_invalid", format!("{place}: {error}"))
}
