//! Administration: which leases are held, what was minted of late, and dropping a person's leases. No URL, no plain subject.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::EmbedPolicy;
use crate::clock::Timestamp;
use crate::lease::Book;
use crate::problem::{Refusal, TYPE_BASE};
use crate::revocation::{Dropped, Ended, NotRevoked, PluginScope, Revoker, Source};
use crate::secret::{Secret, SecretCell};
use crate::session::Sessions;
use crate::telemetry::Recent;

/// A page of a list, unless its reader says otherwise; and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// A holder of the token drops everybody's leases: one that can be guessed is no token.
///
/// # Errors
/// In an operator's words: what is expected of a token.
pub fn check_token(token: &Secret) -> Result<(), &'static str> {
    const SHORTEST: usize = 16;
    // Looked at here, goes nowhere.
    let good = token.expose().len() >= SHORTEST && token.expose().iter().all(u8::is_ascii_graphic);
    good.then_some(()).ok_or("expected at least 16 visible ASCII characters without spaces")
}

/// What an administrator looks at.
pub struct Api {
    /// The token.
    pub token: Arc<SecretCell>,
    /// The leases.
    pub book: Arc<Book>,
    /// What hashes subjects.
    pub sessions: Arc<Sessions>,
    /// What ends sessions, and knows each plug-in's leases of each issuer.
    pub revoker: Arc<Revoker>,
    /// Reads everything again.
    pub reload: Reload,
    /// What pages need that embed a plug-in.
    pub embeds: Vec<EmbedPolicy>,
    /// Where this process is told to drain and end.
    pub drain: Arc<Notify>,
    /// The last refusals and mints.
    pub recent: Recent,
}

/// Reads everything again: which sections have changed and are in force, or why none is.
pub type Reload = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Vec<String>, Vec<String>>> + Send>> + Send + Sync>;

impl Api {
    fn allows(&self, headers: &HeaderMap) -> bool {
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (all.next(), all.next()) else { return false };
        let (scheme, token) = value.as_bytes().split_at_checked(7).unwrap_or_default();
        // Compared here, goes nowhere; in the same time wherever the two differ.
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(token, self.token.current().expose()).is_ok();
        scheme.eq_ignore_ascii_case(b"bearer ") && same
    }

    /// The plug-in and issuer of an owner, and the subject.
    fn owner<'a>(&'a self, owner: &'a [u8]) -> Option<(&'a str, &'a str, &'a str)> {
        let mut scopes = self.revoker.scopes().iter();
        scopes.find_map(|PluginScope { scope, plugin, issuer, .. }| {
            Some((&**plugin, &**issuer, scope.subject_of(owner)?))
        })
    }
}

pub(super) async fn admit(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    if api.allows(request.headers()) {
        let mut response = next.run(request).await;
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return response;
    }
    warn!(target: "valet::admin", path = request.uri().path(), "an administrator's route without the token");
    // RFC 6750, section 3.1: a request without a bearer token is told of no error.
    let came = request.headers().get_all(header::AUTHORIZATION).iter().any(is_bearer);
    let wanted = HeaderValue::from_static(if came { "Bearer error=\"invalid_token\"" } else { "Bearer" });
    let mut response = problem(StatusCode::UNAUTHORIZED, "the token of [admin] is required");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, wanted);
    response
}

/// Whether a field is of the scheme `Bearer` (RFC 9110, section 11.4).
fn is_bearer(value: &HeaderValue) -> bool {
    value.as_bytes().split(|b| *b == b' ').next().is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
}

/// RFC 9457; what is wrong is in the title.
pub(super) fn problem(status: StatusCode, title: &str) -> Response {
    let body = axum::Json(json!({ "type": "about:blank", "title": title, "status": status.as_u16() }));
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<usize>,
    pub after: Option<String>,
}

impl Page {
    pub fn limit(&self) -> Option<usize> {
        let limit = self.limit.unwrap_or(PAGE);
        (1..=MAX_PAGE).contains(&limit).then_some(limit)
    }
}

pub(super) async fn leases(State(api): State<Arc<Api>>, page: Result<Query<Page>, QueryRejection>) -> Response {
    let wrong =
        || problem(StatusCode::BAD_REQUEST, "expected `limit` of 1 to 1000 and `after` as the last page's `next` says");
    let Ok(Query(page)) = page else { return wrong() };
    let after = match page.after.as_deref().map(cursor) {
        Some(None) => return wrong(),
        after => after.flatten(),
    };
    let Some(limit) = page.limit() else { return wrong() };
    let listed = api.book.leases().list(after, limit);
    // Of a page that is not full there may still be more: some had gone meanwhile.
    let next = listed.last().filter(|_| !api.book.leases().list(listed.last().map(|last| last.at), 1).is_empty());
    let next = next.map(|last| format!("{}-{}", last.at.0.as_millis(), last.at.1));
    let leases: Vec<Value> = listed
        .iter()
        .map(|lease| {
            let (plugin, subject) = match api.owner(&lease.owner) {
                Some((plugin, issuer, subject)) => (Some(plugin), Some(api.sessions.log_id(issuer, subject))),
                None => (None, None),
            };
            json!({
                "plugin": plugin,
                "subject": subject,
                "ends_at": lease.at.0.rfc3339(),
                "source": if lease.shared { "shared" } else { "minted" },
            })
        })
        .collect();
    axum::Json(json!({ "leases": leases, "held": api.book.leases().len(), "next": next })).into_response()
}

fn cursor(text: &str) -> Option<(Timestamp, u64)> {
    let (end, seq) = text.split_once('-')?;
    Some((Timestamp::from_millis(end.parse().ok()?), seq.parse().ok()?))
}

/// Whatever the body is: there is nothing to say.
pub(super) async fn reload(State(api): State<Arc<Api>>) -> Response {
    match (api.reload)().await {
        Ok(changed) => axum::Json(json!({ "changed": changed })).into_response(),
        Err(faults) => (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(json!({ "faults": faults }))).into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Embedded {
    plugin: String,
}

pub(super) async fn embed_policy(
    State(api): State<Arc<Api>>,
    asked: Result<Query<Embedded>, QueryRejection>,
) -> Response {
    let Ok(Query(Embedded { plugin })) = asked else {
        return problem(StatusCode::BAD_REQUEST, "expected `plugin`, the name of one");
    };
    match api.embeds.iter().find(|policy| policy.plugin == plugin) {
        Some(policy) => axum::Json(policy.json()).into_response(),
        None => problem(StatusCode::NOT_FOUND, "no plug-in of this name is a page"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    issuer: String,
    subject: Option<String>,
    session: Option<String>,
}

/// Whose sessions or leases a body names; `None`: it can't be read.
fn named(body: Result<Bytes, BytesRejection>) -> Option<Ended> {
    let Whose { issuer, subject, session } = serde_json::from_slice(&body.ok()?).ok()?;
    Some(Ended { issuer, subject, session, until: None })
}

const EXPECTED: &str =
    r#"expected {"issuer", "subject"}, {"issuer", "session"} or all three as JSON, the issuer as configured here"#;

/// Whatever `Content-Type` says: nobody but who has the token gets here, and a browser sends none along.
pub(super) async fn drop_leases(State(api): State<Arc<Api>>, body: Result<Bytes, BytesRejection>) -> Response {
    let dropped = match named(body) {
        Some(whose) => api.revoker.drop_only(&whose).await,
        None => None,
    };
    let Some(Dropped { owners, told }) = dropped else { return problem(StatusCode::BAD_REQUEST, EXPECTED) };
    info!(target: "valet::admin", owners, "leases dropped");
    if !told {
        return problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "dropped here; the store of leases can't be asked: call again",
        );
    }
    StatusCode::NO_CONTENT.into_response()
}

/// Ends sessions. What the caller does not wait for goes on.
pub(super) async fn revoke(State(api): State<Arc<Api>>, body: Result<Bytes, BytesRejection>) -> Response {
    // Counted as the call that it is.
    let done = match named(body) {
        Some(ended) => api.revoker.end(Source::Api, ended).await,
        None => api.revoker.refuse(Source::Api),
    };
    match done {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(fault) => not_revoked(fault, EXPECTED),
    }
}

fn not_revoked(fault: NotRevoked, expected: &str) -> Response {
    match fault {
        NotRevoked::Nobody => problem(StatusCode::BAD_REQUEST, expected),
        NotRevoked::Full => problem(StatusCode::SERVICE_UNAVAILABLE, "the list of revocations is full"),
        NotRevoked::Unwritten => unwritten(),
    }
}

/// Erases a person. What the caller does not wait for goes on.
pub(super) async fn forget(State(api): State<Arc<Api>>, body: Result<Bytes, BytesRejection>) -> Response {
    let whose = body.ok().and_then(|body| serde_json::from_slice::<Whose>(&body).ok());
    let done = match whose {
        Some(Whose { issuer, subject: Some(subject), session: None }) => api.revoker.erase(issuer, subject).await,
        _ => api.revoker.refuse(Source::Api).map(|()| (Ok(()), Vec::new())),
    };
    match done {
        Ok((Ok(()), providers)) => {
            let told = providers.iter().map(|(name, outcome)| json!({ "name": name, "outcome": outcome.label() }));
            axum::Json(json!({ "providers": told.collect::<Vec<Value>>() })).into_response()
        }
        Ok((Err(fault), _)) | Err(fault) => {
            not_revoked(fault, r#"expected {"issuer", "subject"} as JSON, the issuer as configured here"#)
        }
    }
}

/// RFC 9457, of the type that requests are refused with.
fn unwritten() -> Response {
    let row = Refusal::StoreUnavailable.row();
    let title = "in force here; the store of leases can't be asked, and is told when it can be";
    let body = json!({ "type": format!("{TYPE_BASE}{}", row.slug), "title": title, "status": row.status });
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
