//! Loading, unloading and naming models while the service runs. Off unless a key may do it.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::answers::{AliasRemoved, Aliased, Loaded, Unloaded};
use super::body::{self, MediaType};
use super::openapi::{LoadResponses, RemoveAliasResponses, SetAliasResponses, UnloadResponses};
use super::path::Path;
use super::{ApiError, App, Service, stream};
use crate::registry::RegistryError;

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Load {
    /// Keep a previous version of the same name beside the new one.
    keep: bool,
}

/// Load a model
///
/// Loads a folder of the models folder and switches to it. A model that is refused leaves what is served as it is.
#[utoipa::path(
    post,
    path = "/v1/admin/models/{name}",
    tag = "administration",
    params(("name" = String, Path, description = "The folder")),
    request_body(content = Option<Load>, example = json!({"keep": true})),
    security(("key" = [])),
    responses(LoadResponses)
)]
pub(super) async fn load(
    State(service): App,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Loaded>, ApiError> {
    let registry = service.registry()?;
    let options: Load = options(&service, &headers, body).await?;
    let folder = registry.folder(&name)?;
    if !crate::model::is_bundle(&folder) {
        return Err(RegistryError::NotThere(name).into());
    }
    let served = registry.load(folder, options.keep).await?;
    let model = served.pipeline.model_ref();
    Ok(Json(Loaded { model }))
}

/// Unload a model
///
/// What began on it ends on it.
#[utoipa::path(
    delete,
    path = "/v1/admin/models/{name}",
    tag = "administration",
    params(("name" = String, Path, description = "A name with all its versions, or `name@version`")),
    security(("key" = [])),
    responses(UnloadResponses)
)]
pub(super) async fn unload(State(service): App, Path(unloaded): Path<String>) -> Result<Json<Unloaded>, ApiError> {
    service.registry()?.unload(&unloaded)?;
    Ok(Json(Unloaded { unloaded }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Alias {
    /// A name, or `name@version`.
    model: String,
}

/// Set an alias
#[utoipa::path(
    put,
    path = "/v1/admin/aliases/{alias}",
    tag = "administration",
    params(("alias" = String, Path)),
    request_body(content = Alias, example = json!({"model": "mine"})),
    security(("key" = [])),
    responses(SetAliasResponses)
)]
pub(super) async fn set_alias(
    State(service): App,
    Path(alias): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Aliased>, ApiError> {
    let Alias { model } = options(&service, &headers, body).await?;
    service.registry()?.alias(&alias, Some(&model))?;
    Ok(Json(Aliased { alias, model }))
}

/// Remove an alias
#[utoipa::path(
    delete,
    path = "/v1/admin/aliases/{alias}",
    tag = "administration",
    params(("alias" = String, Path)),
    security(("key" = [])),
    responses(RemoveAliasResponses)
)]
pub(super) async fn remove_alias(
    State(service): App,
    Path(removed): Path<String>,
) -> Result<Json<AliasRemoved>, ApiError> {
    service.registry()?.alias(&removed, None)?;
    Ok(Json(AliasRemoved { removed }))
}

/// A small JSON body; an empty one counts as `{}`.
async fn options<T: for<'de> Deserialize<'de>>(
    service: &Service,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, ApiError> {
    let bytes = body::bytes(body, &service.limits).await?;
    let value = match (bytes.is_empty(), body::media_type(headers)?) {
        (true, _) => json!({}),
        (false, MediaType::Json) => body::parse(&bytes)?,
        (false, MediaType::Ndjson) => return Err(body::unsupported(stream::MEDIA_TYPE)),
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
