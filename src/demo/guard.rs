//! Who may turn the switches: tools and the simulator's own pages, never another site in somebody's browser.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};

use super::fault::reason;

/// Refuses a request that a browser sent for another origin (Fetch Metadata; `Origin`, RFC 6454).
/// Nothing is done before the verdict, so dropping it undoes nothing.
pub(super) async fn own_site_only(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        return reason(StatusCode::FORBIDDEN, "the switches of a simulator are not for other sites");
    }
    next.run(request).await
}

/// Whether a browser sent it for another origin.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    // Another port of the same host counts as the same site to a browser; here it is another program.
    let by_site = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site.as_bytes() != b"same-origin" && site.as_bytes() != b"none");
    let by_origin = text(&header::ORIGIN).is_some_and(|origin| {
        let own = text(&header::HOST).map(|host| format!("http://{host}"));
        own.is_none_or(|own| !own.eq_ignore_ascii_case(origin))
    });
    by_site || by_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(fields: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        is_foreign(&headers)
    }

    #[test]
    fn tools_and_own_pages_may_turn_the_switches() {
        assert!(!foreign(&[("host", "127.0.0.1:8091")]));
        assert!(!foreign(&[("host", "127.0.0.1:8091"), ("sec-fetch-site", "none")]));
        assert!(!foreign(&[
            ("host", "127.0.0.1:8091"),
            ("sec-fetch-site", "same-origin"),
            ("origin", "http://127.0.0.1:8091")
        ]));
    }

    #[test]
    fn other_sites_may_not() {
        for site in ["cross-site", "same-site", "nonsense"] {
            assert!(foreign(&[("host", "127.0.0.1:8091"), ("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["https://evil.example", "null", "http://127.0.0.1:8092", "http://127.0.0.1"] {
            assert!(foreign(&[("host", "127.0.0.1:8091"), ("origin", origin)]), "{origin}");
        }
        assert!(foreign(&[("origin", "http://127.0.0.1:8091")]), "an origin without a host to compare with");
    }
}
