//! Simulated vendors behind the other presets: each judges what shows the key, and answers as its documents say.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::ValueEnum;
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use uuid::Uuid;

use super::serve::{self, ServerHandle, SimFault};
use crate::clock::{Clock, Timestamp};

/// More is no call of an API.
const MAX_BODY: usize = 64 * 1024;

/// A signature that is older is refused.
const SIGNED_WITHIN: Duration = Duration::from_secs(300);

/// Whose API is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// IntelliProve's IntelliWidgets.
    IntelliproveWidgets,
    /// Jumio.
    Jumio,
    /// Metabase.
    Metabase,
    /// Onfido.
    Onfido,
    /// Plaid.
    Plaid,
    /// Stripe's customer portal.
    StripePortal,
    /// Sumsub.
    Sumsub,
    /// Apache Superset.
    Superset,
}

/// A simulated vendor. Cheap to clone. No `Debug`: it holds a key.
#[derive(Clone)]
pub struct VendorSim(Arc<Shared>);

struct Shared {
    preset: Preset,
    key: String,
    life: Duration,
    clock: Clock,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    base: String,
    /// Pages, and when they end.
    pages: HashMap<String, Timestamp>,
    applicants: Vec<String>,
    access_tokens: Vec<String>,
    mints: u64,
}

/// A call, read whole.
struct Call {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

impl VendorSim {
    /// A vendor of this kind that takes this key; its URLs and tokens live as long as `life`.
    pub fn new(preset: Preset, key: impl Into<String>, life: Duration, clock: Clock) -> Self {
        Self(Arc::new(Shared { preset, key: key.into(), life, clock, known: Mutex::default() }))
    }

    /// What it has handed out.
    pub fn mints(&self) -> u64 {
        self.0.known.lock().mints
    }

    /// Forgets the access tokens, as if they had ended.
    pub fn forget_tokens(&self) {
        self.0.known.lock().access_tokens.clear();
    }

    /// The lines of a `valet.toml` that lead to it; `key` is the source of its key.
    pub fn lines(&self, url: &str, key: &str) -> String {
        let name = self.0.preset.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let more = match self.0.preset {
            Preset::Jumio => format!(
                "auth = {{ oauth2 = {{ token_url = \"{url}/oauth2/token\", client_id = \"simulated\" }} }}\nsubject_key = {key}\n"
            ),
            Preset::Plaid => "headers = { plaid-client-id = \"simulated\" }\n".to_owned(),
            Preset::Sumsub => format!("secret_headers = {{ x-app-token = {key} }}\n"),
            _ => String::new(),
        };
        format!(
            "[[provider]]\nname = \"simulated\"\npreset = \"{name}\"\nbase_url = \"{url}\"\napi_key = {key}\nredirect_hosts = [\"127.0.0.1\", \"*.localhost\"]\n{more}"
        )
    }

    fn answer(&self, call: &Call) -> Response {
        let path = call.target.split('?').next().unwrap_or_default();
        let get = call.method == Method::GET;
        match (self.0.preset, path) {
            (Preset::Metabase, path) if get && path.starts_with("/embed/dashboard/") => self.dashboard(path),
            (_, path) if get && path.starts_with("/page/") => self.page(path),
            (Preset::Metabase, _) => refusal(StatusCode::NOT_FOUND, "not found"),
            (Preset::Jumio, "/oauth2/token") => self.oauth2(call),
            (Preset::Superset, "/api/v1/security/login") => self.log_in(call),
            _ if call.method != Method::POST => refusal(StatusCode::NOT_FOUND, "not found"),
            _ if !self.shows_key(call) => refusal(StatusCode::UNAUTHORIZED, "the key, token or signature is wrong"),
            _ => self.mint(call, path),
        }
    }

    fn shows_key(&self, call: &Call) -> bool {
        let field = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let bearer = field("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let key = self.0.key.as_str();
        match self.0.preset {
            Preset::IntelliproveWidgets => field("x-api-key") == key,
            Preset::Onfido => field("authorization") == format!("Token token={key}"),
            Preset::Plaid => field("plaid-secret") == key && !field("plaid-client-id").is_empty(),
            Preset::StripePortal => bearer == key,
            Preset::Jumio | Preset::Superset => self.0.known.lock().access_tokens.iter().any(|token| token == bearer),
            Preset::Sumsub => {
                self.is_signed(call, field("x-app-token"), field("x-app-access-ts"), field("x-app-access-sig"))
            }
            Preset::Metabase => false,
        }
    }

    fn is_signed(&self, call: &Call, token: &str, time: &str, signature: &str) -> bool {
        let Ok(secs) = time.parse::<i64>() else { return false };
        let (now, then) = (self.0.clock.now(), Timestamp::from_secs(secs));
        let text = [time.as_bytes(), call.method.as_str().as_bytes(), call.target.as_bytes(), &call.body].concat();
        let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.0.key.as_bytes()), &text);
        let expected: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        !token.is_empty() && now.since(then).max(then.since(now)) <= SIGNED_WITHIN && signature == expected
    }

    fn oauth2(&self, call: &Call) -> Response {
        let encode =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let shown = call.headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
        let shown = shown.and_then(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok()).unwrap_or_default();
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let good = shown
            .split_once(':')
            .is_some_and(|(id, secret)| !id.is_empty() && encode(&decode(secret)) == encode(&self.0.key));
        if !good || self.field(call, "grant_type").as_deref() != Some("client_credentials") {
            return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_client" }))).into_response();
        }
        Json(json!({ "access_token": self.access_token(), "token_type": "Bearer", "expires_in": 3600 })).into_response()
    }

    fn log_in(&self, call: &Call) -> Response {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        if body["password"] != self.0.key.as_str() || !body["username"].is_string() || body["provider"] != "db" {
            return refusal(StatusCode::UNAUTHORIZED, "Not authorized");
        }
        Json(json!({ "access_token": self.access_token() })).into_response()
    }

    fn access_token(&self) -> String {
        let token = Uuid::new_v4().simple().to_string();
        self.0.known.lock().access_tokens.push(token.clone());
        token
    }

    fn field(&self, call: &Call, name: &str) -> Option<String> {
        form_urlencoded::parse(&call.body).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    fn mint(&self, call: &Call, path: &str) -> Response {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let wrong = |what: &str| refusal(StatusCode::BAD_REQUEST, what);
        let ends = self.0.clock.now().plus(self.0.life);
        match (self.0.preset, path) {
            (Preset::IntelliproveWidgets, "/v1/auth/action-token") => {
                let life = self.field(call, "expire_in").and_then(|text| text.parse().ok());
                let Some(life) = life else { return wrong("expire_in is required") };
                let ends = self.0.clock.now().plus(self.0.life.min(Duration::from_secs(life)));
                self.count(json!({ "token": self.jwt(ends) }), StatusCode::OK)
            }
            (Preset::Jumio, "/api/v1/accounts") => {
                match (text("userReference"), body["workflowDefinition"]["key"].as_i64()) {
                    (Some(_), Some(_)) => self.count(json!({ "web": { "href": self.link(ends) } }), StatusCode::OK),
                    _ => wrong("userReference and workflowDefinition.key are required"),
                }
            }
            (Preset::Onfido, path) => self.onfido(path, &body, ends),
            (Preset::Plaid, "/link/token/create") => {
                let user = body["user"]["client_user_id"].as_str().unwrap_or_default();
                if user.is_empty() || !body["hosted_link"].is_object() || text("client_name").is_none() {
                    return wrong("client_name, user.client_user_id and hosted_link are required");
                }
                self.count(json!({ "hosted_link_url": self.link(ends), "expiration": ends.rfc3339() }), StatusCode::OK)
            }
            (Preset::StripePortal, "/v1/billing_portal/sessions") => match self.field(call, "customer") {
                Some(customer) if !customer.is_empty() => self.count(json!({ "url": self.link(ends) }), StatusCode::OK),
                _ => wrong("Missing required param: customer."),
            },
            (Preset::Sumsub, "/resources/sdkIntegrations/levels/-/websdkLink") => {
                match (text("levelName"), text("userId"), body["ttlInSecs"].as_u64()) {
                    (Some(_), Some(_), Some(life)) => {
                        let ends = self.0.clock.now().plus(self.0.life.min(Duration::from_secs(life)));
                        self.count(json!({ "url": self.link(ends) }), StatusCode::OK)
                    }
                    _ => wrong("levelName, userId and ttlInSecs are required"),
                }
            }
            (Preset::Superset, "/api/v1/security/guest_token/") => {
                if !body["user"]["username"].is_string() || !body["resources"].is_array() || !body["rls"].is_array() {
                    return wrong("user, resources and rls are required");
                }
                self.count(json!({ "token": self.jwt(ends) }), StatusCode::OK)
            }
            _ => refusal(StatusCode::NOT_FOUND, "not found"),
        }
    }

    fn onfido(&self, path: &str, body: &Value, ends: Timestamp) -> Response {
        let has = |name: &str| body[name].as_str().is_some_and(|text| !text.is_empty());
        match path {
            "/v3.6/applicants" if has("first_name") && has("last_name") => {
                let id = Uuid::new_v4().to_string();
                self.0.known.lock().applicants.push(id.clone());
                (StatusCode::CREATED, Json(json!({ "id": id }))).into_response()
            }
            "/v3.6/workflow_runs" if has("workflow_id") && self.knows(&body["applicant_id"]) => {
                let link = json!({ "url": self.link(ends), "expires_at": ends.rfc3339() });
                self.count(json!({ "id": Uuid::new_v4().to_string(), "link": link }), StatusCode::CREATED)
            }
            "/v3.6/applicants" | "/v3.6/workflow_runs" => {
                refusal(StatusCode::UNPROCESSABLE_ENTITY, "There was a validation error on this request")
            }
            _ => refusal(StatusCode::NOT_FOUND, "not found"),
        }
    }

    fn knows(&self, applicant: &Value) -> bool {
        self.0.known.lock().applicants.iter().any(|known| applicant == known)
    }

    fn count(&self, body: Value, status: StatusCode) -> Response {
        self.0.known.lock().mints += 1;
        (status, Json(body)).into_response()
    }

    fn link(&self, ends: Timestamp) -> String {
        let id = Uuid::new_v4().simple().to_string();
        let mut known = self.0.known.lock();
        known.pages.insert(id.clone(), ends);
        format!("{}/page/{id}", known.base)
    }

    fn jwt(&self, ends: Timestamp) -> String {
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed =
            format!("{}.{}", part(json!({ "alg": "HS256", "typ": "JWT" })), part(json!({ "exp": ends.as_secs() })));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.0.key.as_bytes()), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn page(&self, path: &str) -> Response {
        let id = path.trim_start_matches("/page/");
        match self.0.known.lock().pages.get(id) {
            Some(ends) if self.0.clock.now() < *ends => "a page of the simulated vendor".into_response(),
            Some(_) => refusal(StatusCode::GONE, "this link has ended"),
            None => refusal(StatusCode::NOT_FOUND, "not found"),
        }
    }

    /// Metabase reads a JWT that somebody else has signed.
    fn dashboard(&self, path: &str) -> Response {
        let parts: Vec<&str> = path.trim_start_matches("/embed/dashboard/").split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return refusal(StatusCode::BAD_REQUEST, "Message seems corrupt or manipulated");
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.key.as_bytes());
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let read: Option<Value> =
            URL_SAFE_NO_PAD.decode(claims).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let (Ok(()), Some(claims)) = (hmac::verify(&key, format!("{header}.{claims}").as_bytes(), &signature), read)
        else {
            return refusal(StatusCode::BAD_REQUEST, "Message seems corrupt or manipulated");
        };
        if claims["exp"].as_i64().is_none_or(|exp| exp <= self.0.clock.now().as_secs()) {
            return refusal(StatusCode::BAD_REQUEST, "Token is expired");
        }
        if !claims["resource"]["dashboard"].is_i64() || !claims["params"].is_object() {
            return refusal(StatusCode::BAD_REQUEST, "resource.dashboard and params are required");
        }
        "a dashboard of the simulated vendor".into_response()
    }
}

fn refusal(status: StatusCode, what: &str) -> Response {
    (status, Json(json!({ "message": what }))).into_response()
}

async fn handle(State(sim): State<VendorSim>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "too large");
    };
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    sim.answer(&Call { method: head.method, target, headers: head.headers, body })
}

/// Serves until `stop` says `true` or its sender is gone. Dropped: nothing more is accepted.
pub async fn serve(listener: TcpListener, sim: VendorSim, stop: watch::Receiver<bool>) {
    sim.0.known.lock().base = serve::url_of(&listener);
    serve::serve(listener, Router::new().fallback(handle).with_state(sim), stop).await;
}

/// Listens on `address` (port 0: a free one) and serves on a task of its own. Dropped before it returns: nothing is left open.
///
/// # Errors
/// The address can't be had.
pub async fn spawn(address: SocketAddr, sim: VendorSim) -> Result<ServerHandle<VendorSim>, SimFault> {
    let listener = serve::bind(address).await?;
    let address = serve::address_of(&listener)?;
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve(listener, sim.clone(), stopped));
    Ok(ServerHandle::new(sim, address, stop, task))
}
