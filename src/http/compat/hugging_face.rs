//! Hugging Face Inference: `POST /models/{name}`, as `huggingface_hub` and `@huggingface/inference` send it.
//!
//! The shapes of the answers are those that its clients take: nested for text classification even of one text, flat for
//! zero-shot classification of one.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::document::{self, OIL, VOTE};
use super::{Function, Message, OneOrMany, Row, Scored, article, ask, check_count, read, resolve, topics};
use crate::article::{Article, InputError, Label, limits};
use crate::http::call::{Call, Headers};
use crate::http::openapi::Responses;
use crate::http::path::Path;
use crate::http::{ApiError, App, Service};
use crate::pipeline::Pipeline;

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(classify))
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = hugging_face::Request)]
struct Request {
    inputs: Inputs,
    parameters: Option<Parameters>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = hugging_face::Inputs)]
#[serde(
    untagged,
    expecting = "a string, {\"text\": …, \"text_pair\": …}, or a list of these is expected"
)]
enum Inputs {
    One(Input),
    Many(Vec<Input>),
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = hugging_face::Input)]
#[serde(untagged)]
enum Input {
    Text(String),
    Pair { text: String, text_pair: Option<String> },
}

impl From<Input> for Article {
    fn from(input: Input) -> Self {
        match input {
            Input::Text(text) => article(text, None),
            Input::Pair { text, text_pair } => article(text, text_pair),
        }
    }
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = hugging_face::Parameters)]
struct Parameters {
    #[schema(minimum = 1)]
    top_k: Option<usize>,
    /// The calibrated score, if not given.
    function_to_apply: Option<Function>,
    /// A list, or one string with commas between.
    candidate_labels: Option<OneOrMany>,
    multi_label: Option<bool>,
    hypothesis_template: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = hugging_face::Answer)]
#[serde(untagged)]
pub(super) enum Answer {
    /// Of zero-shot classification of one text.
    Flat(Vec<Scored>),
    Nested(Vec<Vec<Scored>>),
}

impl IntoResponses for Answer {
    fn responses() -> Responses {
        let success = document::success(
            "Labels by falling score; of one text too a list of lists",
            &Self::Nested(vec![document::row().labels]),
        );
        let template = invalid("parameters.hypothesis_template", TEMPLATE_EXPECTED);
        let label = |error: InputError| ApiError::from(error).at("inputs".to_owned());
        let param = || "labels[0]".to_owned();
        let more = [
            template,
            ApiError::path_invalid("it is not UTF-8"),
            label(InputError::Empty { param: param() }),
            label(InputError::Unreadable { param: param() }),
            label(InputError::TooLong {
                param: param(),
                found: 301,
                max: limits::LABEL_CHARS,
            }),
            label(InputError::TooManyLabels {
                found: 65,
                max: limits::LABELS,
            }),
            label(InputError::LabelsNotServed {
                param: "labels".to_owned(),
                model: "sentiment".to_owned(),
                message: "has no head that labels of a request could be scored by",
            }),
        ];
        document::texts::<Message, Request>(success, "inputs", more)
    }
}

/// Classify as Hugging Face Inference does
///
/// Text classification; zero-shot classification where `parameters.candidate_labels` is given, flat for one text. A pair asks for
/// the stance of its text toward its `text_pair`.
#[utoipa::path(
    post,
    path = "/models/{name}",
    operation_id = "hugging_face_classify",
    tag = "Hugging Face Inference",
    params(("name" = String, Path, description = "A name, `name@version` or alias", example = "default"), Headers),
    request_body(content = Request, examples(
        ("a text" = (value = json!({"inputs": OIL, "parameters": {"top_k": 2}}))),
        ("many texts" = (value = json!({"inputs": [OIL, {"text": VOTE, "text_pair": "the government"}]}))),
        ("zero-shot" = (value = json!({"inputs": OIL, "parameters": {"candidate_labels": ["energy", "sport"]}}))),
    )),
    security((), ("key" = [])),
    responses(Answer)
)]
async fn classify(
    State(service): App,
    call: Call,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Answer>, ApiError> {
    let pipeline = resolve(&service, Some(&name))?;
    let request: Request = read(&service, &headers, body).await?;
    let parameters = request.parameters.unwrap_or_default();
    if parameters.top_k == Some(0) {
        return Err(invalid("parameters.top_k", "at least 1 is expected"));
    }
    let zero_shot = parameters.candidate_labels.map(|labels| ZeroShot {
        labels: candidates(labels),
        multi_label: parameters.multi_label.unwrap_or_default(),
        hypothesis_template: parameters.hypothesis_template,
    });
    let (one, mut articles) = match request.inputs {
        Inputs::One(input) => (true, vec![Article::from(input)]),
        Inputs::Many(inputs) => (false, inputs.into_iter().map(Article::from).collect()),
    };
    let mut function = parameters.function_to_apply;
    if let Some(zero_shot) = &zero_shot {
        // Each article gets all labels: both are counted before they are multiplied.
        check_count(&service, "inputs", articles.len())?;
        function = zero_shot.put_to(&pipeline, &mut articles)?;
    }
    let rows = ask(&service, &call, &pipeline, "inputs", articles).await?;
    let mut rows: Vec<Vec<Scored>> = rows
        .into_iter()
        .map(|Row { mut labels, .. }| {
            if let Some(function) = function {
                function.apply(&mut labels);
            }
            labels.truncate(parameters.top_k.unwrap_or(usize::MAX));
            labels
        })
        .collect();
    Ok(Json(match rows.pop() {
        Some(row) if one && zero_shot.is_some() => Answer::Flat(row),
        last => {
            rows.extend(last);
            Answer::Nested(rows)
        }
    }))
}

/// As transformers' pipeline reads them.
fn candidates(labels: OneOrMany) -> Vec<String> {
    match labels {
        OneOrMany::One(labels) => labels.split(',').map(|label| label.trim().to_owned()).collect(),
        OneOrMany::Many(labels) => labels,
    }
}

const TEMPLATE_EXPECTED: &str = "a sentence with {} in the place of the label is expected";

/// Labels that a request brings.
#[derive(Debug)]
struct ZeroShot {
    labels: Vec<String>,
    multi_label: bool,
    hypothesis_template: Option<String>,
}

impl ZeroShot {
    /// Asks the articles for these labels, and tells what makes their scores. Labels that are topics of the model are
    /// judged as it was trained to; among them only one is true unless `multi_label` says otherwise, hence softmax. Any
    /// others are labels of the request, whose scores come as they are asked for.
    fn put_to(&self, pipeline: &Pipeline, articles: &mut [Article]) -> Result<Option<Function>, ApiError> {
        if self.labels.iter().all(|label| label.trim().is_empty()) {
            return Err(invalid("parameters.candidate_labels", "at least one label is expected"));
        }
        if self
            .hypothesis_template
            .as_ref()
            .is_some_and(|template| !template.contains("{}"))
        {
            return Err(invalid("parameters.hypothesis_template", TEMPLATE_EXPECTED));
        }
        let own = |label: &String| topics(pipeline).any(|topic| topic == label);
        if self.labels.iter().all(own) {
            let chosen: Vec<String> = topics(pipeline)
                .filter(|topic| self.labels.iter().any(|label| label == topic))
                .map(str::to_owned)
                .collect();
            for article in articles {
                article.topics = Some(chosen.clone());
            }
            return Ok((!self.multi_label).then_some(Function::Softmax));
        }
        let Some((first, others)) = articles.split_first_mut() else {
            return Ok(None);
        };
        first.labels = Some(self.labels.iter().cloned().map(Label::Name).collect());
        first.multi_label = Some(self.multi_label);
        first.hypothesis_template.clone_from(&self.hypothesis_template);
        first.check_labels()?;
        for article in others {
            article.labels.clone_from(&first.labels);
            article.multi_label = first.multi_label;
            article.hypothesis_template.clone_from(&first.hypothesis_template);
        }
        Ok(None)
    }
}

fn invalid(param: &str, message: &str) -> ApiError {
    let (param, message) = (param.to_owned(), message.to_owned());
    InputError::Invalid { param, message }.into()
}
