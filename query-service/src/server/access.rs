//! Refuses requests that other machines or other web sites made.
//!
//! A page in this machine's browser can send requests to loopback (cross-site), and can make its own name resolve to
//! 127.0.0.1 to read the answers (DNS rebinding). The first shows in `Origin`, which a browser sends with most requests but
//! not with a plain GET, and in `Sec-Fetch-Site` (W3C Fetch Metadata), which it sends with all; the second in `Host`.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::answer::refusal;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request pass that names this machine and comes from no foreign page.
pub(super) async fn from_here(request: Request, next: Next) -> Response {
    match refused(request.headers()) {
        None => next.run(request).await,
        Some(why) => refusal(StatusCode::FORBIDDEN, "user", why),
    }
}

fn refused(headers: &HeaderMap) -> Option<&'static str> {
    // Which of two is meant is not defined, and a check of one proves nothing about the other.
    if [header::HOST, header::ORIGIN, SEC_FETCH_SITE].iter().any(|name| headers.get_all(name).iter().nth(1).is_some()) {
        return Some("the request has a Host, Origin or Sec-Fetch-Site header more than once");
    }
    let Some(host) = text(headers, header::HOST) else { return Some("the request has no Host header") };
    if !is_loopback_name(host) {
        return Some("Host is not a name of this machine's loopback: use localhost, 127.0.0.1 or [::1]");
    }
    let from_page = match headers.get(SEC_FETCH_SITE) {
        // `none`: the user typed the address.
        Some(site) => !matches!(site.as_bytes(), b"same-origin" | b"none"),
        None => false,
    };
    if from_page {
        return Some("Sec-Fetch-Site is another site");
    }
    let foreign = match text(headers, header::ORIGIN) {
        Some(origin) => origin.strip_prefix("http://") != Some(host),
        None => headers.contains_key(header::ORIGIN),
    };
    foreign.then_some("Origin is another site")
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether `host`, with or without a port, is `localhost` or a loopback address.
fn is_loopback_name(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()));
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_are_allowed() {
        for (host, origin, may) in [
            ("localhost:8642", None, true),
            ("127.0.0.1:8642", None, true),
            ("127.0.0.1", Some("http://127.0.0.1"), true),
            ("[::1]:8642", Some("http://[::1]:8642"), true),
            ("LOCALHOST:1", None, true),
            ("evil.example:8642", None, false),
            ("127.0.0.1.evil.example", None, false),
            ("localhost.evil.example:80", None, false),
            ("192.0.2.1:8642", None, false),
            ("[fe80::1]:8642", None, false),
            ("localhost:8642", Some("http://evil.example"), false),
            ("localhost:8642", Some("http://localhost:3000"), false),
            ("localhost:8642", Some("null"), false),
            ("localhost:8642", Some("https://localhost:8642"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(refused(&headers).is_none(), may, "{host} {origin:?}");
        }
        assert!(refused(&HeaderMap::new()).is_some());
        for (site, may) in
            [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false), ("", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost:8642".parse().unwrap());
            headers.insert(SEC_FETCH_SITE, site.parse().unwrap());
            assert_eq!(refused(&headers).is_none(), may, "{site}");
        }
        for (name, value) in
            [(header::HOST, "localhost"), (header::ORIGIN, "http://localhost"), (SEC_FETCH_SITE, "none")]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost".parse().unwrap());
            headers.insert(&name, value.parse().unwrap());
            assert_eq!(refused(&headers), None, "one {name}");
            headers.append(&name, value.parse().unwrap());
            assert!(refused(&headers).is_some(), "two {name}");
        }
    }
}
