//! The plug-in as a browser sees it: a scan that only looks like one, and a dashboard of made-up figures.

use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};

use super::ProviderSim;
use super::calls::Asked;
use super::token::{Plugin, TokenFault};
use crate::demo::page::{self, Part};

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
            ("patient", Part::Text(if meta.patient.is_empty() { "not named" } else { &meta.patient })),
            ("language", Part::Text(meta.language.as_deref().unwrap_or("not asked for"))),
            ("scan_ms", Part::Text(&scan_ms)),
            ("referer", Part::Text(referer)),
            ("face_scan_script", Part::Markup(FACE_SCAN_SCRIPT)),
        ],
    )
}

fn ended(fault: TokenFault) -> Response {
    let (title, text) = match fault {
        TokenFault::Expired => ("This link has expired", "It was good for a while, and that while is over."),
        TokenFault::Invalid => ("This link is not valid", "It was not made here, or it is not complete."),
    };
    respond(fault.status(), ENDED, &[("title", Part::Text(title)), ("text", Part::Text(text))])
}

fn respond(status: StatusCode, template: &str, parts: &[(&str, Part<'_>)]) -> Response {
    let mut response = page::respond(status, template, "form-action 'none'", parts);
    response.headers_mut().insert(HeaderName::from_static("x-valet-simulator"), HeaderValue::from_static("provider"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
