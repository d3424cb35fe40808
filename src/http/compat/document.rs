//! What the protocols' declarations in the OpenAPI document share. Each declares its own answers, beside their types.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use utoipa::openapi::{self, Response};
use utoipa::{OpenApi, ToSchema};

use super::{Message, Row, Scored, hugging_face, kserve, no_texts, openai, shaped, tei, too_many_texts, vllm};
use crate::article::{InputError, Task, limits};
use crate::batcher::Times;
use crate::http::ApiError;
use crate::http::error::Failure;
use crate::http::keys::Scope;
use crate::http::openapi::{
    Responses, article_errors, key_errors, responses, success as openapi_success, unknown_model,
};

pub(super) const OIL: &str = "Oil prices rose on world markets.";
pub(super) const VOTE: &str = "The government lost the vote in parliament.";

#[derive(OpenApi)]
#[openapi(
    components(schemas(
        hugging_face::Answer,
        Message,
        kserve::ModelReady,
        kserve::v1::Answer,
        kserve::v2::infer::Answer,
        kserve::v2::Live,
        kserve::v2::Metadata,
        kserve::v2::Ready,
        kserve::v2::Server,
        openai::Answer,
        openai::Failure,
        tei::Answer,
        tei::Failure,
        tei::Info,
        vllm::Answer,
        vllm::Failure,
    )),
    tags(
        (name = "Hugging Face Inference", description = "What `huggingface_hub` and `@huggingface/inference` call"),
        (name = "text-embeddings-inference", description = "What its clients call"),
        (name = "KServe", description = "Its v1, and v2, the Open Inference Protocol, which Triton's clients speak too"),
        (name = "vLLM", description = "What its clients call"),
        (name = "OpenAI", description = "What `openai` calls")
    )
)]
struct Schemas;

pub(super) fn schemas() -> openapi::OpenApi {
    Schemas::openapi()
}

/// A JSON answer with an example of its own type.
pub(super) fn success<T: ToSchema + Serialize>(description: &str, example: &T) -> Response {
    openapi_success::<T>(description, json!(example))
}

/// An answer to texts, and what they can be refused for; `field` is what the request calls them, `Request` its shape.
pub(super) fn texts<F: Failure, Request: DeserializeOwned>(
    success: Response,
    field: &str,
    more: impl IntoIterator<Item = ApiError>,
) -> Responses {
    let param = || field.to_owned();
    let mut errors = article_errors();
    errors.extend(shaped::<Request>(json!({})).err());
    errors.extend([no_texts(field), too_many_texts(field, 300, 256)]);
    let of_a_text = [
        InputError::Empty { param: param() },
        InputError::Unreadable { param: param() },
        InputError::Empty {
            param: "targets[0]".to_owned(),
        },
        InputError::Unreadable {
            param: "targets[0]".to_owned(),
        },
        InputError::TooLong {
            param: "targets[0]".to_owned(),
            found: 301,
            max: limits::TARGET_CHARS,
        },
        InputError::TaskNotServed {
            model: "topics".to_owned(),
            task: Task::Stance,
        },
        InputError::LabelsMissing {
            model: "nli".to_owned(),
        },
    ];
    errors.extend(of_a_text.map(|error| ApiError::from(error).at(format!("{field}[1]"))));
    errors.push(unknown_model().into());
    errors.extend(more);
    responses::<F>(success, errors)
}

/// An answer about what is served, and what asking can be refused for.
pub(super) fn question<F: Failure>(success: Response, more: impl IntoIterator<Item = ApiError>) -> Responses {
    let errors = key_errors(Scope::Classify).into_iter().chain([ApiError::not_ready()]);
    responses::<F>(success, errors.chain(more))
}

/// Of a path that names a model.
pub(super) fn name_errors() -> [ApiError; 2] {
    [ApiError::path_invalid("it is not UTF-8"), unknown_model().into()]
}

/// The answer to a text: two labels by falling score.
pub(super) fn row() -> Row {
    let labels = [("economy", 0.75, 1.5), ("sport", 0.125, -2.0)].into_iter().enumerate();
    let labels = labels.map(|(index, (label, score, logit))| Scored {
        label: label.to_owned(),
        score,
        logit,
        assigned: index == 0,
        index,
    });
    Row {
        labels: labels.collect(),
        tokens: 9,
        times: Times::default(),
    }
}
