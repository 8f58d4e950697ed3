//! The simulated identity provider over a real socket.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ::http::{Method, StatusCode};
use base64::Engine;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::*;
use crate::clock::{ClockControl, Timestamp};
use crate::demo::testing::{get, send, send_json};

const NOW: i64 = 1_767_225_600;

async fn start(change: impl FnOnce(&mut IdpOptions)) -> (ServerHandle<IdpSim>, Arc<ClockControl>) {
    let (clock, clock_control) = Clock::manual(Timestamp::from_secs(NOW));
    let mut options = IdpOptions { clock, ..IdpOptions::default() };
    change(&mut options);
    let idp = spawn(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), IdpSim::with(options).unwrap()).await.unwrap();
    (idp, clock_control)
}

/// The claims of a token that a key of this set has signed.
fn verified(token: &str, keys: &Value) -> Option<Value> {
    let keys: JwkSet = serde_json::from_value(keys.clone()).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let jwk = keys.find(&header.kid.unwrap())?;
    assert_eq!(jwk.common.key_algorithm.unwrap().to_string(), format!("{:?}", header.alg));
    let mut rules = Validation::new(header.alg);
    (rules.validate_exp, rules.validate_aud) = (false, false);
    rules.required_spec_claims.clear();
    Some(jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(jwk).unwrap(), &rules).unwrap().claims)
}

async fn granted(idp: &ServerHandle<IdpSim>, body: Value) -> Value {
    let answer = send_json(Method::POST, &format!("{}/token", idp.url()), &[], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()
}

#[tokio::test]
async fn a_browser_that_asks_for_an_icon_beside_json_gets_no_404() {
    let (idp, _) = start(|options| options.issuer = Some("http://idp.example/realms/a".into())).await;
    assert_eq!(get(&format!("{}/favicon.ico", idp.url()), &[]).await.status, 204);
}

#[tokio::test]
async fn discovery_leads_to_the_keys_that_verify_its_tokens() {
    let (idp, _) = start(|_| {}).await;
    let about = get(&format!("{}/.well-known/openid-configuration", idp.url()), &[]).await.json();
    assert_eq!(about["issuer"], json!(idp.url()));
    let keys = get(about["jwks_uri"].as_str().unwrap(), &[]).await.json();
    let grant = granted(&idp, json!({ "user": "ada", "email": "ada@example.com" })).await;
    assert_eq!((&grant["token_type"], &grant["expires_in"]), (&json!("Bearer"), &json!(3600)));
    let claims = verified(grant["access_token"].as_str().unwrap(), &keys).unwrap();
    for (name, value) in [
        ("iss", json!(idp.url())),
        ("sub", json!("ada")),
        ("aud", json!("my-app")),
        ("iat", json!(NOW)),
        ("exp", json!(NOW + 3600)),
        ("email", json!("ada@example.com")),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert!(claims["sid"].is_string() && claims["jti"].is_string());
    assert_eq!((idp.sim.fetches(), idp.sim.discoveries()), (1, 1));
}

#[test]
fn each_algorithm_signs_what_its_key_verifies() {
    for (algorithm, id) in [
        (SigningAlgorithm::Es256, Algorithm::ES256),
        (SigningAlgorithm::Es384, Algorithm::ES384),
        (SigningAlgorithm::Rs256, Algorithm::RS256),
        (SigningAlgorithm::Ps256, Algorithm::PS256),
        (SigningAlgorithm::EdDsa, Algorithm::EdDSA),
    ] {
        let idp = IdpSim::with(IdpOptions { algorithm, ..IdpOptions::default() }).unwrap();
        let token = idp.token(&TokenRequest::user("ada"));
        assert_eq!(jsonwebtoken::decode_header(&token).unwrap().alg, id);
        assert_eq!(verified(&token, &idp.jwks()).unwrap()["sub"], json!("ada"), "{algorithm:?}");
        let keys = idp.jwks().to_string();
        assert!(!keys.contains("\"d\""), "a private part in the key set");
        assert!(keys.contains("\"use\":\"sig\""), "{keys}");
    }
}

#[test]
fn a_token_can_be_wrong_in_every_way_that_a_test_needs() {
    let (clock, _) = Clock::manual(Timestamp::from_secs(NOW));
    let idp = IdpSim::new("https://idp.example", "my-app", clock).unwrap();
    let claims = |wanted: TokenRequest| verified(&idp.token(&wanted), &idp.jwks()).unwrap();
    let ada = || TokenRequest::user("ada");
    assert_eq!(claims(ada())["iss"], json!("https://idp.example"));
    assert_eq!(claims(ada()).get("sid"), None);
    assert_eq!(claims(ada().session("s1"))["sid"], json!("s1"));
    assert_eq!(claims(ada().expires_in(-5))["exp"], json!(NOW - 5));
    assert_eq!(claims(ada().claim("exp", "soon"))["exp"], json!("soon"));
    assert_eq!(claims(ada().claim("sub", Value::Null)).get("sub"), Some(&Value::Null));
    assert_eq!(claims(ada().without("exp")).get("exp"), None);
    let typed = idp.token(&TokenRequest { typ: Some("logout+jwt".to_owned()), ..ada() });
    assert_eq!(jsonwebtoken::decode_header(&typed).unwrap().typ.as_deref(), Some("logout+jwt"));
    assert_ne!(idp.token(&ada()), idp.token(&ada()), "each token is another one");
}

#[tokio::test]
async fn a_form_asks_for_a_token_too_and_its_password_stays_out_of_it() {
    let (idp, _) = start(|_| {}).await;
    let form = "user=grace&expires_in=60&session=&plan=gold&password=hunter2&client_secret=s&omit=jti,name";
    let fields = [("content-type", "application/x-www-form-urlencoded")];
    let answer = send(Method::POST, &format!("{}/token", idp.url()), &fields, form).await;
    let claims = verified(answer.json()["access_token"].as_str().unwrap(), &idp.sim.jwks()).unwrap();
    assert_eq!(
        claims,
        json!({ "iss": idp.url(), "sub": "grace", "aud": "my-app", "iat": NOW, "exp": NOW + 60, "plan": "gold" })
    );
}

#[tokio::test]
async fn json_chooses_audience_session_and_life() {
    let (idp, _) = start(|options| options.users = vec!["eve".to_owned()]).await;
    let body = json!({ "user": "eve", "audience": ["a", "b"], "session": null, "expires_in": -1, "omit": ["name"] });
    let grant = granted(&idp, body).await;
    let claims = verified(grant["access_token"].as_str().unwrap(), &idp.sim.jwks()).unwrap();
    assert_eq!((&claims["aud"], claims.get("sid"), claims.get("name")), (&json!(["a", "b"]), None, None));
    assert_eq!((&claims["exp"], &grant["expires_in"]), (&json!(NOW - 1), &json!(-1)));
}

#[tokio::test]
async fn what_names_no_user_gets_no_token() {
    let (idp, _) = start(|_| {}).await;
    let url = format!("{}/token", idp.url());
    for (body, error) in [
        (json!({ "user": "mallory" }), "invalid_grant"),
        (json!({}), "invalid_request"),
        (json!({ "user": 7 }), "invalid_request"),
        (json!({ "user": "ada", "expires_in": "soon" }), "invalid_request"),
        (json!([]), "invalid_request"),
    ] {
        let answer = send_json(Method::POST, &url, &[], body.clone()).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (400, &json!(error)), "{body}");
    }
    assert_eq!(get(&url, &[]).await.status, 405);
    assert_eq!(get(&format!("{}/else", idp.url()), &[]).await.status, 404);
}

#[tokio::test]
async fn after_a_rotation_the_old_key_stays_unless_it_is_dropped() {
    let (idp, _) = start(|_| {}).await;
    let first = idp.sim.token(&TokenRequest::user("ada"));
    let rotate = format!("{}/_sim/rotate", idp.url());
    let kid = send(Method::POST, &rotate, &[], "").await.json()["kid"].clone();
    let second = idp.sim.token(&TokenRequest::user("ada"));
    assert_eq!(json!(jsonwebtoken::decode_header(&second).unwrap().kid), kid);
    assert!(verified(&first, &idp.sim.jwks()).is_some() && verified(&second, &idp.sim.jwks()).is_some());
    assert_eq!(send(Method::POST, &format!("{rotate}?drop=1"), &[], "").await.status, 200);
    assert!(verified(&first, &idp.sim.jwks()).is_none() && verified(&second, &idp.sim.jwks()).is_none());
    assert_eq!(idp.sim.jwks()["keys"].as_array().unwrap().len(), 1);
    assert_eq!(send(Method::POST, &format!("{rotate}?drop=maybe"), &[], "").await.status, 400);
}

#[test]
fn the_key_set_is_bounded() {
    let idp = IdpSim::new("https://idp.example", "my-app", Clock::system()).unwrap();
    for _ in 0..=MAX_KEYS {
        idp.rotate(true).unwrap();
    }
    assert_eq!(idp.jwks()["keys"].as_array().unwrap().len(), MAX_KEYS);
    assert!(verified(&idp.token(&TokenRequest::user("ada")), &idp.jwks()).is_some(), "the newest stays");
}

#[tokio::test]
async fn faults_hit_the_calls_they_are_set_for_and_never_tokens() {
    let (idp, _) = start(|_| {}).await;
    let (keys, about) = (format!("{}/jwks.json", idp.url()), format!("{}/.well-known/openid-configuration", idp.url()));
    idp.sim.set_faults(IdpFaults {
        on: IdpOn::Keys,
        times: Some(1),
        ..IdpFaults::failing(Fail::Status(StatusCode::INTERNAL_SERVER_ERROR))
    });
    assert_eq!(get(&about, &[]).await.status, 200);
    assert_eq!(get(&keys, &[]).await.status, 500);
    assert_eq!(get(&keys, &[]).await.status, 200);
    idp.sim.set_faults(IdpFaults::failing(Fail::Garbage));
    assert!(serde_json::from_slice::<Value>(&get(&keys, &[]).await.body).is_err());
    granted(&idp, json!({ "user": "ada" })).await;
    assert_eq!((idp.sim.fetches(), idp.sim.discoveries()), (3, 1));
}

#[tokio::test]
async fn a_fetch_that_hangs_is_counted_and_answered_when_the_faults_change() {
    let (idp, _) = start(|_| {}).await;
    idp.sim.set_faults(IdpFaults::failing(Fail::Hang));
    let url = format!("{}/jwks.json", idp.url());
    let (answer, ()) = tokio::join!(get(&url, &[]), async {
        idp.sim.until_fetches(1).await;
        idp.sim.clear();
    });
    assert_eq!((answer.status.as_u16(), idp.sim.fetches()), (200, 0));
}

#[tokio::test]
async fn the_switches_are_turned_over_http_and_not_by_another_site() {
    let (idp, _) = start(|_| {}).await;
    let at = |path: &str| format!("{}/_sim/{path}", idp.url());
    let set = send_json(Method::PUT, &at("faults"), &[], json!({ "fail": 500, "on": "discovery" })).await;
    assert_eq!((set.status.as_u16(), idp.sim.faults().on), (200, IdpOn::Discovery));
    assert_eq!(send_json(Method::PUT, &at("faults"), &[], json!({ "fial": 500 })).await.status, 400);
    let kid = idp.sim.kid();
    for (method, path) in
        [(Method::PUT, "faults"), (Method::POST, "rotate"), (Method::POST, "reset"), (Method::GET, "counts")]
    {
        let answer = send(method, &at(path), &[("sec-fetch-site", "cross-site")], "{}").await;
        assert_eq!(answer.status, 403, "{path}");
    }
    assert_eq!((idp.sim.kid(), idp.sim.faults().on), (kid, IdpOn::Discovery));
    assert_eq!(send(Method::POST, &at("reset"), &[], "").await.status, 204);
    assert_eq!(get(&at("counts"), &[]).await.json(), json!({ "fetches": 0, "discoveries": 0, "kid": idp.sim.kid() }));
    assert_eq!(idp.sim.faults(), IdpFaults::default());
}

#[tokio::test]
async fn an_issuer_with_a_path_is_served_below_it() {
    let (idp, _) = start(|options| options.issuer = Some("http://idp.localhost:1/realms/one".to_owned())).await;
    let about = get(&format!("{}/realms/one/.well-known/openid-configuration", idp.url()), &[]).await.json();
    assert_eq!(about["jwks_uri"], json!("http://idp.localhost:1/realms/one/jwks.json"));
    assert_eq!(get(&format!("{}/realms/one/jwks.json", idp.url()), &[]).await.json(), idp.sim.jwks());
    assert_eq!(get(&format!("{}/jwks.json", idp.url()), &[]).await.status, 200, "for those who have only the address");
}

const VERIFIER: &str = "a-verifier-of-forty-three-characters-or-more";

/// The question of an app on this machine, its proof included.
fn question(change: &[(&str, &str)]) -> String {
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes()));
    let mut members = vec![
        ("response_type", "code"),
        ("client_id", "an \"app\""),
        ("redirect_uri", "http://app.localhost:8080/callback"),
        ("state", "a b&c"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in change {
        members.retain(|(known, _)| known != name);
        members.push((*name, *value));
    }
    form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish()
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Signs in; the code that goes back to the app.
async fn code(idp: &ServerHandle<IdpSim>, user: &str) -> String {
    let body = format!("{}&user={user}", question(&[]));
    let answer = send(Method::POST, &format!("{}/authorize", idp.url()), &[FORM], body).await;
    let back = url::Url::parse(answer.header("location").expect("a way back")).unwrap();
    assert!(back.as_str().starts_with("http://app.localhost:8080/callback?"), "{back}");
    let members: std::collections::HashMap<_, _> = back.query_pairs().into_owned().collect();
    assert_eq!(members["state"], "a b&c");
    members["code"].clone()
}

async fn redeem(idp: &ServerHandle<IdpSim>, code: &str, change: &[(&str, &str)]) -> crate::demo::testing::Answer {
    let mut members = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", "http://app.localhost:8080/callback"),
        ("code_verifier", VERIFIER),
    ];
    for (name, value) in change {
        members.retain(|(known, _)| known != name);
        members.push((*name, *value));
    }
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish();
    send(Method::POST, &format!("{}/token", idp.url()), &[FORM], body).await
}

#[tokio::test]
async fn a_browser_signs_in_and_the_app_gets_a_token_once() {
    let (idp, _) = start(|_| {}).await;
    let page = get(&format!("{}/authorize?{}", idp.url(), question(&[])), &[]).await;
    assert_eq!(page.status, 200);
    for part in ["Continue as Ada", "Continue as Grace", "an &quot;app&quot;", "value=\"a b&amp;c\""] {
        assert!(page.text().contains(part), "{part}");
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("form-action"), "{policy}");
    let code = code(&idp, "grace").await;
    let token = redeem(&idp, &code, &[]).await.json()["access_token"].as_str().unwrap().to_owned();
    let claims = verified(&token, &idp.sim.jwks()).unwrap();
    assert_eq!((&claims["sub"], &claims["name"]), (&json!("grace"), &json!("Grace")));
    assert!(claims["sid"].is_string());
    assert_eq!(redeem(&idp, &code, &[]).await.status, 400, "the second time");
}

#[tokio::test]
async fn a_code_is_good_for_its_app_its_proof_and_a_minute() {
    let (idp, clock_control) = start(|_| {}).await;
    for change in [
        [("code_verifier", "another")],
        [("code_verifier", "")],
        [("redirect_uri", "http://app.localhost:8080/elsewhere")],
        [("code", "0")],
    ] {
        let code = code(&idp, "ada").await;
        let answer = redeem(&idp, &code, &change).await;
        assert_eq!(answer.status, 400, "{change:?}");
        assert_eq!(answer.json()["error"], "invalid_grant", "{change:?}");
    }
    let code = code(&idp, "ada").await;
    clock_control.advance(std::time::Duration::from_secs(61));
    assert_eq!(redeem(&idp, &code, &[]).await.status, 400, "after a minute");
}

#[tokio::test]
async fn a_sign_in_that_can_not_be_trusted_ends_on_a_page_and_leads_nowhere() {
    let (idp, _) = start(|_| {}).await;
    for change in [
        [("redirect_uri", "https://evil.example/")],
        [("redirect_uri", "http://localhost.evil.example/")],
        [("redirect_uri", "javascript:alert(1)")],
        [("redirect_uri", "")],
        [("response_type", "token")],
        [("code_challenge_method", "plain")],
        [("user", "mallory")],
    ] {
        let mut body = question(&change);
        if change[0].0 != "user" {
            body.push_str("&user=ada");
        }
        let answer = send(Method::POST, &format!("{}/authorize", idp.url()), &[FORM], body).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (400, None), "{change:?}");
        assert!(answer.text().contains("This sign-in can't go on"), "{change:?}");
    }
    let foreign = [FORM, ("sec-fetch-site", "cross-site")];
    let answer = send(Method::POST, &format!("{}/authorize", idp.url()), &foreign, question(&[("user", "ada")])).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn listed_addresses_are_the_only_ones() {
    let (idp, _) = start(|options| options.redirect_uris = vec!["https://app.example/back".to_owned()]).await;
    for (wanted, status) in [
        ("https://app.example/back", 200),
        ("https://app.example/back?x=1", 400),
        ("http://app.localhost:8080/callback", 400),
    ] {
        let answer = get(&format!("{}/authorize?{}", idp.url(), question(&[("redirect_uri", wanted)])), &[]).await;
        assert_eq!(answer.status.as_u16(), status, "{wanted}");
    }
}

#[tokio::test]
async fn a_user_in_groups_has_them_in_each_token_unless_the_request_says_others() {
    let (idp, _) = start(|options| options.groups = [("ada".to_owned(), vec!["clinicians".to_owned()])].into()).await;
    for (body, groups) in [
        (json!({ "user": "ada" }), json!(["clinicians"])),
        (json!({ "user": "ada", "groups": ["guests"] }), json!(["guests"])),
        (json!({ "user": "grace" }), Value::Null),
    ] {
        let grant = granted(&idp, body.clone()).await;
        let claims = verified(grant["access_token"].as_str().unwrap(), &idp.sim.jwks()).unwrap();
        assert_eq!(claims["groups"], groups, "{body}");
    }
}
