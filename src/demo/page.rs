//! Pages: templates filled with escaped values, under a policy that allows them nothing else.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use uuid::Uuid;

const STYLE: &str = include_str!("pages/style.css");

/// What takes a marker's place.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// A value from outside: escaped.
    Text(&'a str),
    /// A part of the page that we made.
    Markup(&'a str),
}

/// The page. `allowed` is what its policy allows beyond its own script and style: directives, each ended with `;`.
///
/// In the template `{{nonce}}` and `{{style}}` are known; a marker without a part is left out.
pub(super) fn respond(status: StatusCode, template: &str, allowed: &str, parts: &[(&str, Part<'_>)]) -> Response {
    let nonce = Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; base-uri 'none'; {allowed}"
    );
    let mut response = (status, Html(fill(template, &nonce, parts))).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        // Not `no-referrer`: a form on such a page says `Origin: null`, even to its own server (Fetch, section 3.2).
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What a browser asks for beside an answer that names no icon, as JSON does.
pub(super) const ICON: &str = "/favicon.ico";

/// `GET /favicon.ico`: there is none, and that is no fault: a 404 would stand as one in the browser's console.
pub(super) async fn no_icon() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Replaces each `{{name}}` once, from left to right: a value that looks like a marker stays text.
fn fill(template: &str, nonce: &str, parts: &[(&str, Part<'_>)]) -> String {
    let mut page = String::with_capacity(template.len() + STYLE.len());
    let mut rest = template;
    while let Some((before, marker)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((name, after)) = marker.split_once("}}") else {
            rest = marker;
            break;
        };
        match name {
            "nonce" => page.push_str(nonce),
            "style" => page.push_str(STYLE),
            name => match parts.iter().find(|(key, _)| *key == name) {
                Some((_, Part::Text(text))) => escape(text, &mut page),
                Some((_, Part::Markup(markup))) => page.push_str(markup),
                None => {}
            },
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Appends the text so that it is no markup, in an attribute neither.
pub(super) fn escape(text: &str, page: &mut String) {
    for character in text.chars() {
        match character {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            other => page.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_can_be_neither_markup_nor_marker() {
        let patient = Part::Text("\"><script>{{nonce}}&'");
        let page = fill("<p title=\"{{patient}}\">{{patient}}{{nonce}}", "N", &[("patient", patient)]);
        assert_eq!(
            page,
            "<p title=\"&quot;&gt;&lt;script&gt;{{nonce}}&amp;&#39;\">&quot;&gt;&lt;script&gt;{{nonce}}&amp;&#39;N"
        );
    }

    #[test]
    fn no_page_has_an_asset_from_elsewhere_or_a_style_that_the_policy_forbids() {
        for (name, part) in [
            ("style.css", STYLE),
            ("ended.html", include_str!("pages/ended.html")),
            ("face-scan.html", include_str!("pages/face-scan.html")),
            ("face-scan.js", include_str!("pages/face-scan.js")),
            ("health-dashboard.html", include_str!("pages/health-dashboard.html")),
            ("sign-in.html", include_str!("pages/sign-in.html")),
            ("sign-in-refused.html", include_str!("pages/sign-in-refused.html")),
            ("app.html", include_str!("pages/app.html")),
            ("app.css", include_str!("pages/app.css")),
            ("app.js", include_str!("pages/app.js")),
        ] {
            for forbidden in ["http:", "https:", "src=\"", "@import", " style=\"", "onclick=", "url("] {
                assert!(!part.contains(forbidden), "{name}: {forbidden}");
            }
        }
    }
}
