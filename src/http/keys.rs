//! Who may do what. Keys are known by their SHA-256 alone.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::observe::Tally;
use super::{Access, ApiError, Service};

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scope {
    /// Articles, and the list of models and topics.
    Classify,
    /// `/metrics`.
    Metrics,
    /// Loading, unloading and naming models.
    Admin,
}

impl Scope {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Classify, "classify"),
        (Self::Metrics, "metrics"),
        (Self::Admin, "admin"),
    ];

    fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(scope, _)| *scope == self)
            .map_or("", |(_, name)| name)
    }
}

/// A key: its owner's name for the log, its scopes, its hash. Written `NAME:SCOPE+SCOPE:SHA256`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    name: String,
    scopes: Vec<Scope>,
    hash: [u8; 32],
}

impl Key {
    #[must_use]
    pub fn new(name: &str, scopes: &[Scope], key: &str) -> Self {
        Self {
            name: name.to_owned(),
            scopes: scopes.to_vec(),
            hash: hash(key),
        }
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.name()).collect();
        write!(f, "{}:{}:", self.name, scopes.join("+"))?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a line is no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("NAME:SCOPES:SHA256 is expected, as `tasnif key NAME` makes it")]
    Form,
    #[error("{0:?} is no scope; classify, metrics and admin are")]
    Scope(String),
    #[error("the key's SHA-256 has 64 hexadecimal digits; a key itself does not belong here")]
    Hash,
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let [name, scopes, digits] = text.trim().split(':').collect::<Vec<_>>()[..] else {
            return Err(KeyError::Form);
        };
        if name.is_empty() {
            return Err(KeyError::Form);
        }
        let scopes = scopes.split('+').map(|name| {
            let found = Scope::ALL.into_iter().find(|(_, known)| *known == name);
            found
                .map(|(scope, _)| scope)
                .ok_or_else(|| KeyError::Scope(name.to_owned()))
        });
        let mut hash = [0; 32];
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(KeyError::Hash);
        }
        for (index, byte) in hash.iter_mut().enumerate() {
            let pair = digits.get(2 * index..2 * index + 2).ok_or(KeyError::Hash)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| KeyError::Hash)?;
        }
        Ok(Self {
            name: name.to_owned(),
            scopes: scopes.collect::<Result<_, _>>()?,
            hash,
        })
    }
}

/// Lets only requests pass whose key has the scope. Where no key has it, articles and metrics are for everybody, and
/// administration is for nobody.
pub(super) async fn guard(
    State((service, scope)): State<(Arc<Service>, Scope)>,
    request: Request,
    next: Next,
) -> Response {
    match check(&service.access, scope, request.headers()) {
        Err(error) => error.into_response(),
        Ok(name) => {
            if let (Some(name), Some(tally)) = (name, request.extensions().get::<Arc<Tally>>()) {
                tally.is_from(name);
            }
            next.run(request).await
        }
    }
}

impl Access {
    /// Whether some key has `scope`, so that one is needed for what it guards.
    #[must_use]
    pub fn needs_key(&self, scope: Scope) -> bool {
        self.keys.iter().any(|key| key.scopes.contains(&scope))
    }
}

/// The name of the key that was given, if one is needed.
fn check<'a>(access: &'a Access, scope: Scope, headers: &HeaderMap) -> Result<Option<&'a str>, ApiError> {
    if !access.needs_key(scope) {
        return if scope == Scope::Admin {
            Err(admin_off())
        } else {
            Ok(None)
        };
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("Bearer").then(|| hash(key.trim()))
    });
    let given = given.ok_or_else(invalid)?;
    // All are compared, each in the same time, so that nothing tells how near a guess was.
    let known = access
        .keys
        .iter()
        .filter(|key| bool::from(key.hash.ct_eq(&given)))
        .collect::<Vec<_>>();
    let allowed = known.iter().find(|key| key.scopes.contains(&scope));
    match (allowed, known.first()) {
        (Some(key), _) => Ok(Some(&key.name)),
        (None, Some(_)) => Err(scope_missing(scope)),
        (None, None) => Err(invalid()),
    }
}

pub(super) fn invalid() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "key_invalid",
        "the key is missing or wrong; send \"Authorization: Bearer KEY\"",
    )
    .send_key()
}

pub(super) fn scope_missing(scope: Scope) -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "scope_missing",
        format!("the key is good, but not for this: it has no scope {:?}", scope.name()),
    )
}

pub(super) fn admin_off() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "admin_off",
        "no key may administrate; start the service with TASNIF_ADMIN_KEY, or a key of scope admin, to manage models",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = Key::new("desk", &[Scope::Classify, Scope::Admin], "secret");
        let written = key.to_string();
        assert_eq!(
            written,
            "desk:classify+admin:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
        );
        assert_eq!(written.parse(), Ok(key));
    }

    #[test]
    fn what_is_no_key_is_told_why() {
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        for (text, error) in [
            ("secret".to_owned(), KeyError::Form),
            (format!(":classify:{hash}"), KeyError::Form),
            (format!("desk:{hash}"), KeyError::Form),
            (format!("desk:all:{hash}"), KeyError::Scope("all".to_owned())),
            (format!("desk::{hash}"), KeyError::Scope(String::new())),
            ("desk:classify:secret".to_owned(), KeyError::Hash),
            (format!("desk:classify:{}", hash.replace('2', "g")), KeyError::Hash),
            (format!("desk:classify:{}", "+1".repeat(32)), KeyError::Hash),
            (format!("desk:classify:{}", "é".repeat(32)), KeyError::Hash),
        ] {
            assert_eq!(text.parse::<Key>(), Err(error), "{text}");
        }
    }
}
