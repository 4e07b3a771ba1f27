//! Tells local users apart on loopback, where a socket does not: whoever knows the token may read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::answer::refusal;
use super::callers::{Caller, Rights};
use super::serve::Work;

/// What a client has to show, as `Authorization: Bearer TOKEN` (RFC 6750).
#[derive(Clone)]
pub struct Token {
    secret: Arc<str>,
    /// Where a client finds it.
    place: Arc<str>,
}

impl Token {
    /// The token `secret`, which clients read from `place`.
    pub fn new(secret: &str, place: &str) -> Self {
        Self { secret: secret.into(), place: place.into() }
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        token.is_some_and(|(_, token)| same(token.trim().as_bytes(), self.secret.as_bytes()))
    }
}

/// Whether both are the same, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

/// Lets a request pass whose caller may read, or shows the token.
pub(super) async fn reads(State(token): State<Token>, mut request: Request, next: Next) -> Response {
    let shows = token.is_in(request.headers());
    match request.extensions_mut().get_mut::<Caller>() {
        Some(caller) if caller.rights >= Rights::Read => {}
        Some(caller) if shows => {
            caller.name = "token".to_owned();
            caller.rights = Rights::Read;
        }
        _ => {
            let message = format!(
                "on TCP, send the token of {} as `Authorization: Bearer TOKEN`; on the Unix socket, none is necessary",
                token.place
            );
            let mut response = refusal(StatusCode::UNAUTHORIZED, "user", &message);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        }
    }
    allow(&request);
    next.run(request).await
}

/// From now on, the request's connection is not closed to make room for another.
fn allow(request: &Request) {
    if let Some(work) = request.extensions().get::<Arc<Work>>() {
        work.allow();
    }
}

/// Lets a request pass whose caller may write.
pub(super) async fn writes(request: Request, next: Next) -> Response {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.rights >= Rights::Write => {
            allow(&request);
            next.run(request).await
        }
        _ => {
            let message = "adding to the history needs the program's own user or root, on the Unix socket";
            refusal(StatusCode::FORBIDDEN, "user", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_show_the_token() {
        let token = Token::new("s3cret", "/token");
        for (value, shows) in [
            ("Bearer s3cret", true),
            ("bearer s3cret", true),
            ("Bearer s3cre", false),
            ("Bearer s3crets", false),
            ("Basic s3cret", false),
            ("s3cret", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(token.is_in(&headers), shows, "{value}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
    }
}
