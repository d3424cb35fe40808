//! The contract as OpenAPI 3.1, made from the handlers, the types and the errors themselves, and a page that shows it.
//!
//! Each error of the document is one that the code makes, with its own message; the tests hold every answer that they get
//! against it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::get;
use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::Response;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{self, ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi, ToSchema};

use super::error::{Envelope, Failure};
use super::{ApiError, answers, body, call, examples, keys, stream};
use crate::article::{self, InputError};
use crate::batcher::ClassifyError;
use crate::registry::RegistryError;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "tasnif",
        description = "Topics and stance of news articles in any language, with calibrated confidence.\n\nEvery failure is \
            `{\"error\": {\"code\", \"message\", \"param\"}}`; on another system's paths it is what that system's clients read. \
            Answers carry `x-request-id`, the request's own or one that was made.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(
        answers::ClassifyRequest,
        answers::ClassifyAnswer,
        answers::Models,
        answers::Topics,
        answers::Live,
        answers::Ready,
        answers::Loaded,
        answers::Unloaded,
        answers::Aliased,
        answers::AliasRemoved,
        Envelope
    )),
    tags(
        (name = "articles", description = "What articles are about and where they stand"),
        (name = "models", description = "What is served"),
        (name = "service", description = "Its health and its figures"),
        (name = "administration", description = "Models, loaded and named while the service runs; needs a key of scope `admin`")
    )
)]
struct Document;

/// The document without its paths; the router adds them.
pub(super) fn document() -> openapi::OpenApi {
    let mut document = Document::openapi();
    let key = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key, where the service was started with keys"))
        .build();
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("key", SecurityScheme::Http(key));
    document
}

/// `/openapi.json`, and `/docs`: the same for people, without a script from elsewhere.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(document: &openapi::OpenApi) -> axum::Router<S> {
    let json = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    let file = |media_type: &'static str, content: Bytes| get(move || async move { page(media_type, content) });
    let text = |content: &'static str| Bytes::from_static(content.as_bytes());
    axum::Router::new()
        .route("/openapi.json", file("application/json", json))
        .route(
            "/docs",
            file("text/html; charset=utf-8", text(include_str!("docs/docs.html"))),
        )
        .route(
            "/docs/docs.css",
            file("text/css; charset=utf-8", text(include_str!("docs/docs.css"))),
        )
        .route(
            "/docs/docs.js",
            file("text/javascript; charset=utf-8", text(include_str!("docs/docs.js"))),
        )
}

fn page(media_type: &'static str, content: Bytes) -> Answer {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
    ];
    (headers, content).into_response()
}

pub(super) type Responses = BTreeMap<String, RefOr<Response>>;

/// A JSON answer with its example.
pub(super) fn success<T: ToSchema>(description: &str, example: Value) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content("application/json", content(T::name(), &[("answer", example)]))
        .build()
}

fn content(schema: impl AsRef<str>, examples: &[(&str, Value)]) -> openapi::Content {
    let examples = examples.iter().map(|(name, value)| {
        let example = ExampleBuilder::new().summary(*name).value(Some(value.clone())).build();
        ((*name).to_owned(), example)
    });
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(schema.as_ref())))
        .examples_from_iter(examples)
        .build()
}

/// The answer to a good request, and every error in a protocol's shape: one response for each status, one example for each
/// code.
pub(super) fn responses<F: Failure>(success: Response, errors: impl IntoIterator<Item = ApiError>) -> Responses {
    let mut by_status: BTreeMap<u16, Vec<ApiError>> = BTreeMap::new();
    for error in errors.into_iter().chain([ApiError::internal()]) {
        by_status.entry(error.status().as_u16()).or_default().push(error);
    }
    let mut responses = Responses::from([("200".to_owned(), success.into())]);
    for (status, errors) in by_status {
        let examples: Vec<_> = errors
            .iter()
            .map(|error| (error.code(), json!(F::new(error))))
            .collect();
        let codes: Vec<_> = errors.iter().map(|error| format!("`{}`", error.code())).collect();
        let mut response = ResponseBuilder::new()
            .description(codes.join(", "))
            .content("application/json", content(F::name(), &examples));
        for name in errors.iter().filter_map(ApiError::header_name) {
            response = response.header(name.as_str(), HeaderBuilder::new().build());
        }
        responses.insert(status.to_string(), response.build().into());
    }
    let head = ResponseBuilder::new().description("the request's head is larger than 32 KiB; without a body");
    responses.insert("431".to_owned(), head.build().into());
    responses
}

/// Of all routes that a key can guard.
pub(super) fn key_errors(scope: keys::Scope) -> [ApiError; 2] {
    [keys::invalid(), keys::scope_missing(scope)]
}

fn body_errors() -> [ApiError; 6] {
    let malformed = serde_json::from_str::<Value>("{\"text\": ").err();
    [
        malformed.map_or_else(ApiError::internal, |error| body::malformed(&error)),
        body::not_utf8(10),
        body::incomplete(),
        body::too_slow(Duration::from_secs(75)),
        body::too_large(2 << 20),
        body::unsupported("text/plain"),
    ]
}

/// Of all routes that take articles, whatever these are.
pub(super) fn article_errors() -> Vec<ApiError> {
    let mut errors = body_errors().to_vec();
    errors.extend(key_errors(keys::Scope::Classify));
    errors.extend([
        ApiError::header_invalid(call::TIMEOUT.as_str(), call::TIMEOUT_EXPECTED),
        ApiError::deadline_exceeded(Duration::from_millis(250)),
        ClassifyError::Overloaded {
            retry_after: Duration::from_secs(4),
        }
        .into(),
        ApiError::not_ready(),
        ApiError::shutting_down(),
    ]);
    errors
}

fn input_errors() -> Vec<ApiError> {
    let param = |param: &str| param.to_owned();
    [
        InputError::Missing { param: param("text") },
        InputError::Invalid {
            param: param("threshold"),
            message: "a probability from 0 to 1 is expected".to_owned(),
        },
        InputError::Empty { param: param("text") },
        InputError::Empty {
            param: param("targets[0]"),
        },
        InputError::Unreadable { param: param("text") },
        InputError::Unreadable {
            param: param("targets[0]"),
        },
        InputError::TooLong {
            param: param("id"),
            found: 600,
            max: article::limits::ID_CHARS,
        },
        InputError::TooLong {
            param: param("targets[0]"),
            found: 301,
            max: article::limits::TARGET_CHARS,
        },
        InputError::TooManyTargets {
            found: 17,
            max: article::limits::TARGETS,
        },
        InputError::Empty {
            param: param("labels[0]"),
        },
        InputError::Unreadable {
            param: param("labels[0]"),
        },
        InputError::TooLong {
            param: param("labels[0]"),
            found: 301,
            max: article::limits::LABEL_CHARS,
        },
        InputError::TooManyLabels {
            found: 65,
            max: article::limits::LABELS,
        },
        InputError::LabelsMissing {
            model: "nli".to_owned(),
        },
        InputError::TargetsMissing {
            model: "nli".to_owned(),
        },
        InputError::LabelsNotServed {
            param: param("labels"),
            model: "sentiment".to_owned(),
            message: "has no head that labels of a request could be scored by",
        },
        InputError::UnknownTask {
            param: param("tasks[0]"),
            message: "unknown variant `sentiment`, expected `topics` or `stance`".to_owned(),
        },
        InputError::UnknownTopic {
            param: param("topics[0]"),
            topic: "gossip".to_owned(),
        },
        unknown_model(),
    ]
    .into_iter()
    .map(ApiError::from)
    .collect()
}

pub(super) fn unknown_model() -> InputError {
    InputError::UnknownModel {
        model: "nothing".to_owned(),
    }
}

pub(super) struct ClassifyResponses;

impl IntoResponses for ClassifyResponses {
    fn responses() -> Responses {
        let (verdict, refused) = (examples::verdict(), examples::article_error(None));
        let one = ("one article", verdict.clone());
        let many = ("many articles", json!({ "verdicts": [verdict, refused] }));
        let success = ResponseBuilder::new()
            .description("A verdict; or, for many articles, verdicts in their order, with an error in the place of an article that has none")
            .content("application/json", content("ClassifyAnswer", &[one, many]))
            .content(
                stream::MEDIA_TYPE,
                content(answers::Answer::name(), &[("a line", verdict), ("a bad line", examples::article_error(Some(2)))]),
            )
            .build();
        let mut errors = input_errors();
        errors.extend(article_errors());
        errors.extend([
            body::line_too_long(2 << 20),
            body::no_articles(),
            body::too_many_articles(300, 256),
        ]);
        responses::<Envelope>(success, errors)
    }
}

pub(super) struct ModelsResponses;

impl IntoResponses for ModelsResponses {
    fn responses() -> Responses {
        let success = success::<answers::Models>("The models that are served", examples::models());
        let [missing, scope] = key_errors(keys::Scope::Classify);
        responses::<Envelope>(success, [missing, scope, ApiError::not_ready()])
    }
}

pub(super) struct TopicsResponses;

impl IntoResponses for TopicsResponses {
    fn responses() -> Responses {
        let success = success::<answers::Topics>("The topics that the model knows", examples::topics());
        let [missing, scope] = key_errors(keys::Scope::Classify);
        let unread = ApiError::query_invalid("duplicate field `model`");
        responses::<Envelope>(
            success,
            [missing, scope, unread, unknown_model().into(), ApiError::not_ready()],
        )
    }
}

pub(super) struct LiveResponses;

impl IntoResponses for LiveResponses {
    fn responses() -> Responses {
        responses::<Envelope>(
            success::<answers::Live>("The process answers", json!({ "status": "live" })),
            [],
        )
    }
}

pub(super) struct ReadyResponses;

impl IntoResponses for ReadyResponses {
    fn responses() -> Responses {
        let example = json!({ "status": "ready", "models": [examples::model()] });
        let success = success::<answers::Ready>("Articles are answered", example);
        responses::<Envelope>(success, [ApiError::not_ready(), ApiError::shutting_down()])
    }
}

pub(super) struct MetricsResponses;

impl IntoResponses for MetricsResponses {
    fn responses() -> Responses {
        let example =
            "# TYPE tasnif_articles_total counter\ntasnif_articles_total{model=\"default\",outcome=\"answered\"} 42\n";
        let text = ContentBuilder::new()
            .schema(Some(openapi::Object::with_type(openapi::Type::String)))
            .example(Some(example.into()))
            .build();
        let success = ResponseBuilder::new()
            .description("Prometheus' text format")
            .content("text/plain", text)
            .build();
        responses::<Envelope>(success, key_errors(keys::Scope::Metrics))
    }
}

/// What administration can be refused for.
fn admin_errors() -> Vec<ApiError> {
    let [missing, scope] = key_errors(keys::Scope::Admin);
    vec![
        missing,
        scope,
        keys::admin_off(),
        ApiError::path_invalid("it is not UTF-8"),
        ApiError::not_ready(),
    ]
}

fn admin_body_errors() -> Vec<ApiError> {
    let field = InputError::Invalid {
        param: "keep".to_owned(),
        message: "invalid type: integer `1`, expected a boolean".to_owned(),
    };
    body_errors()
        .into_iter()
        .chain([field.into()])
        .chain(admin_errors())
        .collect()
}

pub(super) struct LoadResponses;

impl IntoResponses for LoadResponses {
    fn responses() -> Responses {
        let success =
            success::<answers::Loaded>("The model is served from now on", json!({ "model": examples::model() }));
        let mut errors = admin_body_errors();
        errors.push(RegistryError::NotThere("mine".to_owned()).into());
        errors.push(RegistryError::Name("../mine".to_owned()).into());
        errors.push(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "model_refused",
            "models/mine/heads.safetensors: its sha256 is not the one of the manifest",
        ));
        responses::<Envelope>(success, errors)
    }
}

pub(super) struct UnloadResponses;

impl IntoResponses for UnloadResponses {
    fn responses() -> Responses {
        let success =
            success::<answers::Unloaded>("The model is no longer served", json!({ "unloaded": "mine@1.0.0" }));
        let not_served = RegistryError::NotServed("mine".to_owned());
        responses::<Envelope>(success, admin_errors().into_iter().chain([not_served.into()]))
    }
}

pub(super) struct SetAliasResponses;

impl IntoResponses for SetAliasResponses {
    fn responses() -> Responses {
        let success = success::<answers::Aliased>(
            "The alias leads to the model",
            json!({ "alias": "news", "model": "mine" }),
        );
        let mut errors = admin_body_errors();
        errors.push(RegistryError::NotServed("mine".to_owned()).into());
        errors.push(RegistryError::AliasIsModel("default".to_owned()).into());
        responses::<Envelope>(success, errors)
    }
}

pub(super) struct RemoveAliasResponses;

impl IntoResponses for RemoveAliasResponses {
    fn responses() -> Responses {
        let success = success::<answers::AliasRemoved>("The alias is gone", json!({ "removed": "news" }));
        let not_served = RegistryError::NotServed("news".to_owned());
        responses::<Envelope>(success, admin_errors().into_iter().chain([not_served.into()]))
    }
}
