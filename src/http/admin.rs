//! Loading, unloading and naming models while the service runs. Off unless an admin key is set.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{ApiError, App, Service, body};
use crate::registry::RegistryError;

/// A key as its hash: two hashes are compared, whose time tells nothing about the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Lets only who sends `Authorization: Bearer KEY` pass; without a key set, these routes don't exist.
pub(super) async fn guard(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let Some(key) = &service.admin else {
        return ApiError::new(
            StatusCode::NOT_FOUND,
            "admin_off",
            "no admin key is set; start the service with TASNIF_ADMIN_KEY to manage models",
        )
        .into_response();
    };
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .map(|given| Key::new(given.trim()));
    if given.as_ref() != Some(key) {
        let mut response = ApiError::new(
            StatusCode::UNAUTHORIZED,
            "key_invalid",
            "the admin key is missing or wrong; send \"Authorization: Bearer KEY\"",
        )
        .into_response();
        let challenge = axum::http::HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    }
    next.run(request).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Load {
    /// Keep a previous version of the same name beside the new one.
    keep: bool,
}

/// `POST /v1/admin/models/{name}`: loads a folder of the models folder and switches to it. A model that is refused leaves
/// what is served as it is.
pub(super) async fn load(
    State(service): App,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let registry = service.registry()?;
    let options: Load = options(&service, &headers, body).await?;
    let folder = registry.folder(&name)?;
    if !crate::model::is_bundle(&folder) {
        return Err(RegistryError::NotThere(name).into());
    }
    let served = registry.load(folder, options.keep).await?;
    Ok(Json(json!({ "model": served.pipeline.model_ref() })).into_response())
}

/// `DELETE /v1/admin/models/{name}`: a name, or `name@version`.
pub(super) async fn unload(State(service): App, Path(name): Path<String>) -> Result<Response, ApiError> {
    service.registry()?.unload(&name)?;
    Ok(Json(json!({ "unloaded": name })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alias {
    model: String,
}

/// `PUT /v1/admin/aliases/{alias}` with `{"model": "name"}`.
pub(super) async fn set_alias(
    State(service): App,
    Path(alias): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let target: Alias = options(&service, &headers, body).await?;
    service.registry()?.alias(&alias, Some(&target.model))?;
    Ok(Json(json!({ "alias": alias, "model": target.model })).into_response())
}

/// `DELETE /v1/admin/aliases/{alias}`.
pub(super) async fn remove_alias(State(service): App, Path(alias): Path<String>) -> Result<Response, ApiError> {
    service.registry()?.alias(&alias, None)?;
    Ok(Json(json!({ "removed": alias })).into_response())
}

/// A small JSON body; an empty one counts as `{}`.
async fn options<T: for<'de> Deserialize<'de>>(
    service: &Service,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, ApiError> {
    let bytes = body::bytes(headers, body, service.limits.body_bytes).await?;
    let value = if bytes.is_empty() {
        json!({})
    } else {
        body::parse(headers, &bytes)?
    };
    T::deserialize(&value).map_err(|error: serde_json::Error| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "field_invalid", error.to_string()).param(first_field(&value))
    })
}

/// The field to name where there is no better one.
fn first_field(value: &Value) -> String {
    let first = value.as_object().and_then(|object| object.keys().next());
    first.cloned().unwrap_or_else(|| "body".to_owned())
}
