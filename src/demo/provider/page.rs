//! The plug-in as a browser sees it: a scan that only looks like one, and a dashboard of made-up figures.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use uuid::Uuid;

use super::ProviderSim;
use super::calls::Asked;
use super::token::{Plugin, TokenFault};

const STYLE: &str = include_str!("../pages/style.css");
const FACE_SCAN: &str = include_str!("../pages/face-scan.html");
const FACE_SCAN_SCRIPT: &str = include_str!("../pages/face-scan.js");
const HEALTH_DASHBOARD: &str = include_str!("../pages/health-dashboard.html");
const ENDED: &str = include_str!("../pages/ended.html");

/// The page for the action token of the query, or one that says why there is none.
pub(super) fn show(sim: &ProviderSim, asked: &Asked) -> Response {
    let token = asked.parameter("action_token").unwrap_or_default();
    let claims = match sim.0.token_key.read(&token, sim.0.options.clock.now()) {
        Ok(claims) => claims,
        Err(fault) => return ended(fault),
    };
    let meta = claims.meta;
    let template = match meta.plugin {
        Plugin::FaceScan => FACE_SCAN,
        Plugin::HealthDashboard => HEALTH_DASHBOARD,
    };
    let scan_ms = sim.0.options.scan_time.as_millis().to_string();
    let referer =
        if asked.referer { "A Referer arrived with this page." } else { "No Referer arrived with this page." };
    respond(
        StatusCode::OK,
        template,
        &[
            ("patient", if meta.patient.is_empty() { "not named" } else { &meta.patient }),
            ("language", meta.language.as_deref().unwrap_or("not asked for")),
            ("scan_ms", &scan_ms),
            ("referer", referer),
        ],
    )
}

fn ended(fault: TokenFault) -> Response {
    let (title, text) = match fault {
        TokenFault::Expired => ("This link has expired", "It was good for a while, and that while is over."),
        TokenFault::Invalid => ("This link is not valid", "It was not made here, or it is not complete."),
    };
    respond(fault.status(), ENDED, &[("title", title), ("text", text)])
}

fn respond(status: StatusCode, template: &str, values: &[(&str, &str)]) -> Response {
    let nonce = Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; base-uri 'none'; form-action 'none'"
    );
    let mut response = (status, Html(fill(template, &nonce, values))).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-valet-simulator"), "provider"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Replaces each `{{name}}` once, from left to right: a value that looks like a marker stays text. Values are escaped, our own parts are not.
fn fill(template: &str, nonce: &str, values: &[(&str, &str)]) -> String {
    let mut page = String::with_capacity(template.len() + STYLE.len() + FACE_SCAN_SCRIPT.len());
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
            "face_scan_script" => page.push_str(FACE_SCAN_SCRIPT),
            name => {
                let value = values.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value);
                escape(value, &mut page);
            }
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

fn escape(text: &str, page: &mut String) {
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
        let page = fill("<p title=\"{{patient}}\">{{patient}}{{nonce}}", "N", &[("patient", "\"><script>{{nonce}}&'")]);
        assert_eq!(
            page,
            "<p title=\"&quot;&gt;&lt;script&gt;{{nonce}}&amp;&#39;\">&quot;&gt;&lt;script&gt;{{nonce}}&amp;&#39;N"
        );
    }

    #[test]
    fn every_marker_of_every_page_has_a_value() {
        let known =
            ["nonce", "style", "face_scan_script", "patient", "language", "scan_ms", "referer", "title", "text"];
        for page in [FACE_SCAN, HEALTH_DASHBOARD, ENDED] {
            for marker in page.split("{{").skip(1) {
                let name = marker.split("}}").next().unwrap();
                assert!(known.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn no_page_has_an_asset_from_elsewhere_or_a_style_that_the_policy_forbids() {
        for part in [FACE_SCAN, HEALTH_DASHBOARD, ENDED, STYLE, FACE_SCAN_SCRIPT] {
            for forbidden in ["http:", "https:", "src=", "@import", " style=\"", "onclick=", "url("] {
                assert!(!part.contains(forbidden), "{forbidden}");
            }
        }
    }
}
