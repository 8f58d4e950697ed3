//! The sign-in of a browser: a page that asks who one is, and a code for a token (RFC 6749, section 4.1; PKCE: RFC 7636).

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Map, Value};
use url::{Host, Url};
use uuid::Uuid;

use super::{IdpSim, TokenRequest};
use crate::clock::Tick;
use crate::demo::page::{self, Part};

const PAGE: &str = include_str!("../pages/sign-in.html");
const REFUSED: &str = include_str!("../pages/sign-in-refused.html");

/// RFC 6749, section 4.1.2, advises ten minutes at most; a browser needs a moment.
const CODE_LIFE: Duration = Duration::from_secs(60);

/// Codes that nobody has redeemed; more end the oldest.
const MAX_CODES: usize = 1_000;

/// What of the request travels through the page and back.
const CARRIED: [&str; 6] =
    ["response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method"];

/// The members of a request.
pub(super) type Members = Map<String, Value>;

/// What a code stands for.
struct Grant {
    user: String,
    redirect_uri: String,
    challenge: Option<String>,
    until: Tick,
}

/// Codes that can be redeemed, each once.
#[derive(Default)]
pub(super) struct Codes(HashMap<String, Grant>);

impl Codes {
    fn issue(&mut self, grant: Grant, now: Tick) -> String {
        self.0.retain(|_, grant| now < grant.until);
        if self.0.len() >= MAX_CODES {
            let oldest = self.0.iter().min_by_key(|(_, grant)| grant.until).map(|(code, _)| code.clone());
            oldest.and_then(|code| self.0.remove(&code));
        }
        let code = Uuid::new_v4().simple().to_string();
        self.0.insert(code.clone(), grant);
        code
    }

    fn redeem(&mut self, code: &str, now: Tick) -> Option<Grant> {
        self.0.remove(code).filter(|grant| now < grant.until)
    }
}

/// A request that leads back to an app.
struct Authorization {
    back: Url,
    redirect_uri: String,
    state: Option<String>,
    challenge: Option<String>,
}

impl Authorization {
    /// The error is a page: a browser is never sent to an address that can't be trusted (RFC 6749, section 4.1.2.1).
    fn read(sim: &IdpSim, members: &Members) -> Result<Self, Box<Response>> {
        let redirect_uri = text(members, "redirect_uri").unwrap_or_default();
        let back = Url::parse(redirect_uri).ok().filter(|url| sim.leads_back(redirect_uri, url));
        let Some(back) = back else {
            return Err(refused("The app named no address to go back to that this sign-in may use (redirect_uri)."));
        };
        if text(members, "response_type") != Some("code") {
            return Err(refused("The app asked for something else than a code (response_type)."));
        }
        let challenge = text(members, "code_challenge").map(str::to_owned);
        if challenge.is_some() && text(members, "code_challenge_method") != Some("S256") {
            return Err(refused("The app uses another proof than S256 (code_challenge_method)."));
        }
        let state = text(members, "state").map(str::to_owned);
        Ok(Self { back, redirect_uri: redirect_uri.to_owned(), state, challenge })
    }
}

impl IdpSim {
    /// `GET /authorize`: who are you?
    pub(super) fn ask(&self, members: &Members) -> Response {
        let authorization = match Authorization::read(self, members) {
            Ok(authorization) => authorization,
            Err(refusal) => return *refusal,
        };
        let mut fields = String::new();
        for (name, value) in CARRIED.iter().filter_map(|name| Some((name, text(members, name)?))) {
            fields.push_str(&format!("<input type=\"hidden\" name=\"{name}\" value=\""));
            page::escape(value, &mut fields);
            fields.push_str("\">");
        }
        let mut users = String::new();
        for user in &self.0.options.users {
            users.push_str("<button name=\"user\" value=\"");
            page::escape(user, &mut users);
            users.push_str("\">Continue as ");
            page::escape(&super::token::capitalised(user), &mut users);
            users.push_str("</button>");
        }
        let back = authorization.back.origin().ascii_serialization();
        page::respond(
            StatusCode::OK,
            PAGE,
            // No `form-action`: a browser holds every redirect behind the form to it, and where the app sends people is its own affair.
            "frame-ancestors 'none'",
            &[
                ("client", Part::Text(text(members, "client_id").unwrap_or(&back))),
                ("fields", Part::Markup(&fields)),
                ("users", Part::Markup(&users)),
            ],
        )
    }

    /// `POST /authorize`: back to the app, with a code.
    pub(super) fn chosen(&self, members: &Members) -> Response {
        let Authorization { mut back, redirect_uri, state, challenge } = match Authorization::read(self, members) {
            Ok(authorization) => authorization,
            Err(refusal) => return *refusal,
        };
        let user = text(members, "user").unwrap_or_default();
        if !self.0.options.users.iter().any(|known| known == user) {
            return *refused("There is nobody of that name here.");
        }
        let now = self.0.options.clock.tick();
        let grant = Grant { user: user.to_owned(), redirect_uri, challenge, until: now.plus(CODE_LIFE) };
        let code = self.0.state.lock().codes.issue(grant, now);
        back.query_pairs_mut().append_pair("code", &code);
        if let Some(state) = state {
            back.query_pairs_mut().append_pair("state", &state);
        }
        Redirect::to(back.as_str()).into_response()
    }

    /// The token for a code. One face for all faults: an unknown code, one that was used, another address, a wrong verifier.
    pub(super) fn redeem(&self, members: &Members) -> Option<TokenRequest> {
        let now = self.0.options.clock.tick();
        let grant = self.0.state.lock().codes.redeem(text(members, "code")?, now)?;
        let verified = match &grant.challenge {
            None => true,
            Some(challenge) => text(members, "code_verifier")
                .is_some_and(|verifier| URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())) == *challenge),
        };
        let same_way_back = text(members, "redirect_uri") == Some(&grant.redirect_uri);
        (verified && same_way_back).then(|| TokenRequest::user(&grant.user).session(&Uuid::new_v4().to_string()))
    }

    /// An address of the list, or without a list one on this machine: a code must not leave it for who knows where.
    fn leads_back(&self, text: &str, url: &Url) -> bool {
        let listed = &self.0.options.redirect_uris;
        if !listed.is_empty() {
            return listed.iter().any(|known| known == text);
        }
        matches!(url.scheme(), "http" | "https")
            && match url.host() {
                Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
                Some(Host::Ipv4(address)) => address.is_loopback(),
                Some(Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            }
    }
}

fn refused(text: &str) -> Box<Response> {
    let allowed = "frame-ancestors 'none'; form-action 'none'";
    Box::new(page::respond(StatusCode::BAD_REQUEST, REFUSED, allowed, &[("text", Part::Text(text))]))
}

fn text<'m>(members: &'m Members, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}
