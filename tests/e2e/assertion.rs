//! A signed word on the session, for apps that must not trust the network.

use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use rcgen::KeyPair;
use serde_json::{Value, json};
use valet_gateway::demo::idp::TokenRequest;

use crate::kit::setup::START;
use crate::kit::{Answer, App, HOST, Setup, Stack};

const KEYS: &str = "/.valet/jwks.json";

fn key() -> String {
    KeyPair::generate().expect("a key").serialize_pem()
}

fn signing(lines: &str) -> Setup {
    let setup = Setup::new().file("a.pem", &key()).file("b.pem", &key());
    setup.tables(&format!("[assertion]\nkeys = [{{ file = \"a.pem\" }}, {{ file = \"b.pem\" }}]\n{lines}"))
}

/// An app that gets assertions.
async fn portal(lines: &str) -> (App, Stack) {
    let app = App::start().await;
    let told = format!(
        "assertion = {{ audience = \"portal\", claims = [\"email\", \"groups\", \"/org/id\", \"absent\"] }}\n{lines}"
    );
    let stack = signing("").app(&app, &told).start().await;
    stack.until_ready().await;
    (app, stack)
}

async fn key_set(stack: &Stack) -> JwkSet {
    let answer = stack.get(KEYS).send().await;
    serde_json::from_value(answer.assert_status(200).json()).expect("a key set")
}

/// The header and the claims, if one of the keys has signed it.
fn verified(keys: &JwkSet, token: &str) -> (jsonwebtoken::Header, Value) {
    let header = decode_header(token).expect("a header");
    let key = keys.find(header.kid.as_deref().expect("a kid")).expect("a published key");
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&["portal"]);
    rules.validate_exp = false;
    let claims = decode::<Value>(token, &DecodingKey::from_jwk(key).expect("a key"), &rules).expect("a signature");
    (header, claims.claims)
}

fn token(stack: &Stack, user: &str) -> String {
    let request = TokenRequest::user(user).session("s-1").claim("email", "a@exämple.com");
    stack.idp().token(&request.claim("groups", vec!["a,b", "c"]).claim("org", json!({ "id": 7 })))
}

#[tokio::test]
async fn the_app_gets_a_word_that_the_published_keys_verify() {
    let (app, stack) = portal("").await;
    stack.get("/").bearer(token(&stack, "ada")).field("X-Auth-Assertion", "spoofed").send().await.assert_status(200);
    let told = app.last().field("x-auth-assertion").expect("an assertion").to_owned();
    let keys = key_set(&stack).await;
    assert_eq!(keys.keys.len(), 2);
    let (header, mut claims) = verified(&keys, &told);
    assert_eq!((header.typ.as_deref(), header.alg), (Some("valet+jwt"), Algorithm::ES256));
    assert_eq!(header.kid, keys.keys[0].common.key_id);
    assert_eq!(claims["jti"].take().as_str().map(str::len), Some(36));
    let expected = json!({
        "iss": "https://app.example.com", "aud": "portal", "sub": "ada", "idp": stack.idp().issuer(), "sid": "s-1",
        "iat": START, "exp": START + 60, "jti": null,
        "claims": { "email": "a@exämple.com", "groups": ["a,b", "c"], "/org/id": 7 },
    });
    assert_eq!(claims, expected);
}

#[tokio::test]
async fn it_is_signed_once_for_each_session_and_half_of_its_life() {
    let (app, stack) = portal("").await;
    let (ada, other) = (token(&stack, "ada"), token(&stack, "bob"));
    let told = async |bearer: &str| {
        stack.get("/").bearer(bearer).send().await.assert_status(200);
        app.last().field("x-auth-assertion").expect("an assertion").to_owned()
    };
    let signed = || stack.count("valet_assertions_signed_total", &[("app", "portal")]);
    assert_eq!(signed(), 0);
    let first = told(&ada).await;
    for _ in 0..3 {
        assert_eq!(told(&ada).await, first);
    }
    assert_ne!(told(&other).await, first);
    assert_eq!(signed(), 2);
    stack.advance(Duration::from_millis(29_999));
    assert_eq!(told(&ada).await, first);
    stack.advance(Duration::from_millis(1));
    let second = told(&ada).await;
    assert_eq!(verified(&key_set(&stack).await, &second).1["iat"], START + 30);
    assert!(second != first && signed() == 3);
}

#[tokio::test]
async fn it_never_outlives_the_session() {
    let (app, stack) = portal("").await;
    let token = stack.idp().token(&TokenRequest::user("ada").expires_in(5));
    stack.get("/").bearer(&token).send().await.assert_status(200);
    let told = app.last().field("x-auth-assertion").expect("an assertion").to_owned();
    // With the clock skew of 30 s.
    assert_eq!(verified(&key_set(&stack).await, &told).1["exp"], START + 35);
}

#[tokio::test]
async fn nobody_else_can_say_it() {
    let app = App::start().await;
    for lines in ["", "session = \"none\"", "session = \"optional\"", "pass_credential = true"] {
        let stack = Stack::before(&app, lines).await;
        for name in ["X-Auth-Assertion", "x_auth_assertion", "X.Auth.Assertion"] {
            let ask = stack.get("/").field(name, "spoofed").field("Connection", name);
            ask.as_user("ada").send().await.assert_status(200);
            assert!(!app.last().head.contains("spoofed"), "{lines} {name}");
        }
        stack.get(KEYS).send().await.assert_problem(404, "not-found");
    }
}

#[tokio::test]
async fn without_a_session_there_is_no_word() {
    let (app, stack) = portal("session = \"optional\"").await;
    stack.get("/").field("X-Auth-Assertion", "spoofed").send().await.assert_status(200);
    assert_eq!(app.last().field("x-auth-assertion"), None);
}

#[tokio::test]
async fn the_keys_are_for_everybody_and_may_be_kept_for_five_minutes() {
    let (_app, stack) = portal("").await;
    for method in ["GET", "HEAD"] {
        let answer = stack.ask(method, KEYS).host("anything.example").send().await;
        answer.assert_status(200).assert_field("cache-control", "public, max-age=300");
        answer.assert_field("content-type", "application/jwk-set+json");
        assert!(!answer.text().contains("\"d\""));
    }
    stack.post(KEYS).send().await.assert_problem(405, "method-not-allowed").assert_field("allow", "GET, HEAD");
}

#[tokio::test]
async fn who_asks_gets_it_too() {
    let app = App::start().await;
    let setup = signing("life = \"10s\"").server("trusted_proxies = [\"127.0.0.1\"]");
    let setup = setup.tables("[[app]]\nname = \"wiki\"\nauthorize = true\nassertion = { audience = \"portal\" }");
    let stack = setup.app(&app, "path = \"/here\"\nassertion = { audience = \"here\" }").start().await;
    stack.until_ready().await;
    let ask = async |target: &str| -> Answer {
        let ask = stack.get("/.valet/authorize").field("X-Forwarded-Method", "GET").field("X-Forwarded-Host", HOST);
        ask.field("X-Forwarded-Uri", target).field("X-Auth-Assertion", "spoofed").as_user("ada").send().await
    };
    let first = ask("/page").await;
    let told = first.assert_status(200).field("x-auth-assertion").expect("an assertion").to_owned();
    assert_eq!(verified(&key_set(&stack).await, &told).1["exp"], START + 10);
    ask("/other").await.assert_field("x-auth-assertion", &told);
}

#[tokio::test]
async fn a_reload_that_puts_another_key_first_signs_with_it_and_publishes_both() {
    let (app, stack) = portal("").await;
    let asked = || async {
        stack.get("/").bearer(token(&stack, "ada")).send().await.assert_status(200);
        app.last().field("x-auth-assertion").expect("an assertion").to_owned()
    };
    let (first, before) = (asked().await, key_set(&stack).await);
    let config = stack.config();
    let swapped =
        config.replace("[{ file = \"a.pem\" }, { file = \"b.pem\" }]", "[{ file = \"b.pem\" }, { file = \"a.pem\" }]");
    assert_ne!(config, swapped);
    assert_eq!(stack.reload_with(&swapped).await, ["assertion"]);
    let (second, after) = (asked().await, key_set(&stack).await);
    // Whoever holds the old word, or the old key set, can still verify.
    verified(&after, &first);
    let (header, _) = verified(&before, &second);
    assert_eq!((&header.kid, after.keys.len()), (&after.keys[0].common.key_id, 2));
    assert_ne!(verified(&after, &first).0.kid, header.kid);
    // A key that is replaced in its file.
    std::fs::write(stack.directory.path().join("b.pem"), key()).expect("our file");
    assert_eq!(stack.reload_with(&swapped).await, ["assertion"]);
    assert!(!key_set(&stack).await.keys.iter().any(|key| key.common.key_id == header.kid));
    verified(&key_set(&stack).await, &asked().await);
}
