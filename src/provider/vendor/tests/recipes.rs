//! What the language of recipes can say, as a vendor sees it.

use serde_json::{Value as Json, json};

use super::script::{KEYS, Reply, START, Stage, person, status};
use super::*;

/// Values that mean something in each of the places.
const HOSTILE: [&str; 5] = ["a&b=c", "\"}", "a\nb", "é", "{subject}"];

fn reply(json: Json) -> Reply {
    Reply::Is(200, "", json.to_string())
}

fn body(stage: &Stage, at: usize) -> Json {
    serde_json::from_str(&stage.calls()[at].body).unwrap()
}

#[tokio::test]
async fn what_the_registration_answered_stands_in_the_mint_and_is_asked_for_again_when_it_is_forgotten() {
    let recipe = "auth = { bearer = true }\n[register]\npath = '/users'\njson = { id = '{subject}' }\n\
                  [mint.embed]\nmethod = 'POST'\npath = '/users/{register:/user/id}/links'\n\
                  json = { user = '{register:/user/id}', n = '{register:/n#}' }\nurl = 'json:/url'\nexpires = 'fixed'";
    let known = std::sync::atomic::AtomicUsize::new(0);
    let stage = Stage::with_recipe(recipe, KEYS, move |call| {
        if call.is_registration() {
            let n = known.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            return reply(json!({ "user": { "id": format!("u/{n}") }, "n": n }));
        }
        let wanted = format!("POST /users/u%2F{}/links", known.load(std::sync::atomic::Ordering::Relaxed));
        // The third mint meets a vendor that has forgotten its users.
        if call.line() != wanted || (call.earlier == 3 && !call.body.contains("u/2")) {
            return status(404);
        }
        reply(json!({ "url": "https://e.acme.example/" }))
    })
    .await;
    for story in ["RM", "RMM", "RMMMRM"] {
        stage.mint().await.unwrap();
        assert_eq!(stage.story(), story);
    }
    assert_eq!(body(&stage, 1), json!({ "user": "u/1", "n": 1 }));
    assert_eq!(body(&stage, 5), json!({ "user": "u/2", "n": 2 }));
}

#[tokio::test]
async fn a_pointer_that_finds_nothing_makes_no_call_with_a_hole() {
    let recipe = "auth = { bearer = true }\n[register]\npath = '/users'\naccept_if = [{ status = 400, body_contains = 'exists' }]\n\
                  [mint.embed]\npath = '/links/{register:/id}'\nurl = 'text'\nexpires = 'fixed'";
    for answer in ["{}", "{\"id\":null}", "{\"id\":\"\"}", "{\"id\":{}}", "canary"] {
        let stage = Stage::with_recipe(recipe, KEYS, move |_| Reply::Is(200, "", answer.into())).await;
        assert_eq!(stage.mint().await, Err(MintFailure::Nonsense), "{answer}");
        assert_eq!(stage.story(), "R");
        let why = stage.vendor.minter("embed").unwrap().why().unwrap();
        assert!(why.contains("/id") && !why.contains("canary"), "{why}");
    }
    let stage = Stage::with_recipe(recipe, KEYS, |_| Reply::Is(400, "", "it exists".into())).await;
    assert_eq!(stage.mint().await, Err(MintFailure::Nonsense));
    assert_eq!(stage.story(), "R");

    let recipe = "auth = { bearer = true }\n[mint.embed]\npath = '/'\nurl = 'https://e.acme.example/{answer:/room}'\nexpires = 'fixed'";
    let stage = Stage::with_recipe(recipe, KEYS, |_| reply(json!({ "rum": "canary" }))).await;
    assert_eq!(stage.mint().await, Err(MintFailure::Nonsense));
    let why = stage.vendor.minter("embed").unwrap().why().unwrap();
    assert!(why.contains("/room") && why.contains("rum") && !why.contains("canary"), "{why}");
}

#[tokio::test]
async fn a_url_is_put_together_and_no_value_of_the_answer_leads_elsewhere() {
    let recipe = "auth = { bearer = true }\n[mint.embed]\npath = '/'\n\
                  url = 'https://e.acme.example/{answer:/room}/x?t={answer:/token}&u={subject}#{answer:/n}'\nexpires = 'fixed'";
    let stage = Stage::with_recipe(recipe, KEYS, |_| {
        reply(json!({ "room": "../@evil.example/?", "token": "a&b=c#\"é", "n": 7 }))
    })
    .await;
    let minted = stage.mint_for(&person("i", "a&b")).await.unwrap();
    assert_eq!(
        minted.url.expose(),
        "https://e.acme.example/..%2F%40evil.example%2F%3F/x?t=a%26b%3Dc%23%22%C3%A9&u=a%26b#7"
    );
    let stage = Stage::with_recipe(recipe, KEYS, |_| reply(json!({ "room": "..", "token": "t", "n": 7 }))).await;
    assert_eq!(stage.mint().await, Err(MintFailure::Refused));
}

#[tokio::test]
async fn times_spans_and_types_stand_in_json_as_they_are_meant() {
    let recipe = "auth = { bearer = true }\n[mint.embed]\nmethod = 'POST'\npath = '/'\nurl = 'json:/url'\nexpires = 'fixed'\n\
                  query = { at = '{now}' }\n[mint.embed.json]\nttl = '{seconds:6h#}'\ntext = '{seconds:6h}'\nuntil = '{now+6h}'\nat = '{now+6h:epoch#}'\n\
                  before = '{now-5m:epoch}'\nms = '{now:epoch_ms#}'\nboard = '{param:board#}'\nsame = '{param:board}'";
    let stage = Stage::with_recipe(recipe, KEYS, |_| reply(json!({ "url": "https://e.acme.example/" }))).await;
    let board = |value: &str| MintInput { parameters: [("board".into(), value.into())].into(), ..person("i", "ada") };
    stage.mint_for(&board("42")).await.unwrap();
    assert_eq!(stage.calls()[0].line(), "POST /?at=2025-12-29T09%3A20%3A00Z");
    assert_eq!(
        body(&stage, 0),
        json!({
            "ttl": 21600, "text": "21600", "until": "2025-12-29T15:20:00Z", "at": START + 21600,
            "before": (START - 300).to_string(), "ms": START * 1000, "board": 42, "same": "42",
        })
    );
    for unfit in [board("042"), board("x"), person("i", "ada")] {
        assert_eq!(stage.mint_for(&unfit).await, Err(MintFailure::Refused));
    }
    assert_eq!(stage.calls().len(), 1);
}

#[tokio::test]
async fn a_token_is_taken_whole_and_held_until_its_own_end() {
    let token = |end: i64| format!("h.{}.s", URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{end}}}")));
    let recipe = "auth = { bearer = true }\n[mint.embed]\npath = '/'\ntoken = 'json:/token'\nexpires = 'jwt'";
    let stage = Stage::with_recipe(recipe, KEYS, move |_| reply(json!({ "token": token(START + 300) }))).await;
    let minted = stage.mint().await.unwrap();
    assert!(minted.url.is_token() && minted.url.expose().starts_with("h."));
    assert_eq!(minted.ends, Some(Timestamp::from_secs(START + 300)));
    assert_eq!(format!("{:?}", minted.url), "PluginUrl(…)");
    let minter = stage.vendor.minter("embed").unwrap();
    assert!(minter.readmit_token("t").is_some_and(|token| token.is_token()));
    assert!(minter.readmit("https://e.acme.example/").is_none(), "a store's URL is none of a token plug-in");
    assert!(minter.readmit_token("a\r\nb").is_none() && minter.readmit_token("").is_none());
    for wrong in
        [json!({ "token": "" }), json!({ "token": "a\nb" }), json!({ "token": 7 }), json!({}), json!({ "token": "é" })]
    {
        let stage = Stage::with_recipe(recipe, KEYS, move |_| reply(wrong.clone())).await;
        assert_eq!(stage.mint().await, Err(MintFailure::Nonsense));
    }
}

#[tokio::test]
async fn a_jwt_is_signed_here_and_no_call_is_made() {
    let recipe = "[mint.embed]\nurl = 'https://e.acme.example/embed/{jwt}#a=b'\n\
                  jwt = { algorithm = 'HS256', header = { kid = 'k-{language}' }, claims = { nested = { list = ['{subject}', 1] }, exp = '{now+10m:epoch#}' } }";
    let stage = Stage::with_recipe(recipe, KEYS, |_| status(500)).await;
    let long = "x".repeat(4096);
    for subject in HOSTILE.into_iter().chain([long.as_str()]) {
        let minted = stage.mint_for(&MintInput { language: Some("nl".into()), ..person("i", subject) }).await.unwrap();
        assert_eq!(minted.ends, Some(Timestamp::from_secs(START + 600)));
        let url = minted.url.expose();
        let jwt = url.strip_prefix("https://e.acme.example/embed/").unwrap().strip_suffix("#a=b").unwrap();
        let [header, claims, signature] = jwt.split('.').collect::<Vec<_>>().try_into().unwrap();
        let read = |part: &str| serde_json::from_slice::<Json>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(read(header), json!({ "alg": "HS256", "typ": "JWT", "kid": "k-nl" }));
        assert_eq!(read(claims), json!({ "nested": { "list": [subject, 1] }, "exp": START + 600 }));
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEYS[0].as_bytes());
        hmac::verify(&key, format!("{header}.{claims}").as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
    }
    assert!(stage.calls().is_empty());
    let (metrics, canary) = (stage.metrics.text(), "canary");
    assert!(!metrics.contains(canary));
}

/// A vendor with a token endpoint and one mint.
const OAUTH2: &str = "auth = { oauth2 = { token_url = 'BASE/oauth/token', client_id = 'a b:c', scope = 'x y' } }\n\
                      [mint.embed]\nmethod = 'POST'\npath = '/embed'\nurl = 'json:/url'\nexpires = 'fixed'";

fn is_token_call(call: &super::script::Seen) -> bool {
    call.line() == "POST /oauth/token"
}

fn granted(number: usize) -> Reply {
    reply(json!({ "access_token": format!("canary-token-{number}"), "token_type": "bearer", "expires_in": 3600 }))
}

fn link() -> Reply {
    reply(json!({ "url": "https://e.acme.example/" }))
}

#[tokio::test]
async fn a_thousand_mints_at_once_ask_for_one_access_token() {
    let recipe = format!("max_in_flight = 2000\ntimeout = '60s'\n{OAUTH2}");
    let stage =
        Stage::with_recipe(&recipe, ["s%c é", "unused"], |call| if is_token_call(call) { granted(1) } else { link() })
            .await;
    let people: Vec<_> = (0..1000).map(|n| person("i", &n.to_string())).collect();
    let minted = futures_util::future::join_all(people.iter().map(|input| stage.mint_for(input))).await;
    assert!(minted.iter().all(Result::is_ok));
    let calls = stage.calls();
    let asked: Vec<_> = calls.iter().filter(|call| is_token_call(call)).collect();
    assert_eq!((asked.len(), calls.len()), (1, 1001));
    // Both percent-encoded, then joined (RFC 6749, section 2.3.1).
    let basic = base64::engine::general_purpose::STANDARD.encode("a%20b%3Ac:s%25c%20%C3%A9");
    assert!(asked[0].head.contains(&format!("\r\nauthorization: Basic {basic}\r\n")), "{}", asked[0].head);
    assert_eq!(asked[0].body, "grant_type=client_credentials&scope=x%20y");
    let with_token = |call: &&super::script::Seen| call.head.contains("\r\nauthorization: Bearer canary-token-1\r\n");
    assert_eq!(calls.iter().filter(with_token).count(), 1000);
    assert!(!stage.metrics.text().contains("canary"));
}

#[tokio::test]
async fn a_token_that_ends_in_mid_flight_is_replaced_once_and_no_mint_fails() {
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    let recipe = format!("max_in_flight = 2000\ntimeout = '60s'\n{OAUTH2}");
    let stage = Stage::with_recipe(&recipe, KEYS, move |call| {
        if is_token_call(call) {
            return granted(count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1);
        }
        // The first token is no longer good.
        if call.head.contains("canary-token-1\r\n") { status(401) } else { link() }
    })
    .await;
    let people: Vec<_> = (0..200).map(|n| person("i", &n.to_string())).collect();
    let minted = futures_util::future::join_all(people.iter().map(|input| stage.mint_for(input))).await;
    assert!(minted.iter().all(Result::is_ok));
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
    // Renewed before its end: a minute before an hour is over.
    stage.pass(3_539_000);
    stage.mint().await.unwrap();
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
    stage.pass(2_000);
    stage.mint().await.unwrap();
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_access_token_that_cannot_be_had_is_told_and_remembered_for_a_second() {
    for (answer, failure) in [
        (status(400), MintFailure::Refused),
        (status(404), MintFailure::Refused),
        (status(500), MintFailure::Unreachable),
        (Reply::HangUp, MintFailure::Unreachable),
        (reply(json!({ "token": "canary" })), MintFailure::Nonsense),
        (reply(json!({ "access_token": "canary\n", "expires_in": 1 })), MintFailure::Nonsense),
        (reply(json!({ "access_token": "canary", "token_type": "mac" })), MintFailure::Nonsense),
        (Reply::Is(429, "retry-after: 7\r\n", String::new()), MintFailure::Busy(Duration::from_secs(7))),
    ] {
        let stage =
            Stage::with_recipe(OAUTH2, KEYS, move |call| if is_token_call(call) { answer.clone() } else { link() })
                .await;
        assert_eq!(stage.mint().await, Err(failure));
        assert!(stage.calls().iter().all(is_token_call));
        let calls = stage.calls().len();
        let busy = matches!(failure, MintFailure::Busy(_));
        let why = stage.vendor.minter("embed").unwrap().why().unwrap_or_else(|| "access token".repeat(busy.into()));
        assert!(why.contains("access token") || why.contains("token endpoint"), "{why}");
        assert!(!why.contains("canary"), "{why}");
        let _ = stage.mint().await;
        assert_eq!(stage.calls().len(), calls, "for a second it answers for all");
    }
}

#[tokio::test]
async fn the_client_may_show_its_secret_in_the_form_or_sign_a_word() {
    let post = OAUTH2.replace("scope = 'x y'", "client_auth = 'post', audience = 'aud'");
    let stage =
        Stage::with_recipe(&post, ["s&c", "unused"], |call| if is_token_call(call) { granted(1) } else { link() })
            .await;
    stage.mint().await.unwrap();
    let call = &stage.calls()[0];
    assert_eq!(call.body, "grant_type=client_credentials&client_id=a%20b%3Ac&client_secret=s%26c&audience=aud");
    assert!(!call.head.contains("authorization"));

    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let signed = OAUTH2.replace("scope = 'x y'", "client_auth = 'private_key_jwt', key_id = 'k1'");
    let stage =
        Stage::with_recipe(&signed, [&key, "unused"], |call| if is_token_call(call) { granted(1) } else { link() })
            .await;
    stage.mint().await.unwrap();
    let body = stage.calls()[0].body.clone();
    let fields: std::collections::HashMap<_, _> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    assert_eq!(fields["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let part = |at: usize| {
        let part = fields["client_assertion"].split('.').nth(at).unwrap().to_owned();
        serde_json::from_slice::<Json>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(part(0), json!({ "alg": "ES256", "kid": "k1", "typ": "JWT" }));
    let claims = part(1);
    assert!(claims["aud"].as_str().unwrap().ends_with("/oauth/token"));
    assert_eq!((&claims["iss"], &claims["sub"], &claims["iat"]), (&json!("a b:c"), &json!("a b:c"), &json!(START)));
    assert!(claims["exp"].as_i64().unwrap() > START && claims["jti"].as_str().unwrap().len() > 20);
}

#[tokio::test]
async fn a_log_in_of_the_vendors_own_gives_the_token() {
    let recipe = "auth = { login = { path = '/login', json = { user = 'valet', password = '{api_key}' }, token = 'json:/t', prefix = 'token ' } }\n\
                  [mint.embed]\npath = '/embed'\nurl = 'json:/url'\nexpires = 'fixed'";
    let stage = Stage::with_recipe(recipe, ["p\"}w", "unused"], |call| {
        if call.line() == "POST /login" { reply(json!({ "t": "canary-login" })) } else { link() }
    })
    .await;
    stage.mint().await.unwrap();
    stage.mint().await.unwrap();
    assert_eq!(body(&stage, 0), json!({ "user": "valet", "password": "p\"}w" }));
    let lines: Vec<_> = stage.calls().iter().map(|call| call.line().to_owned()).collect();
    assert_eq!(lines, ["POST /login", "GET /embed", "GET /embed"]);
    assert!(stage.calls()[1].head.contains("\r\nauthorization: token canary-login\r\n"));
}

#[tokio::test]
async fn a_signature_is_over_what_is_sent() {
    let recipe = "auth = { hmac = { algorithm = 'sha256', text = '{timestamp}{method}{path_and_query}{body}', header = 'x-sig', encoding = 'hex', timestamp_header = 'x-ts' } }\n\
                  [mint.embed]\nmethod = 'POST'\npath = '/u/{subject}'\nquery = { a = '{subject}' }\njson = { id = '{subject}' }\nurl = 'json:/url'\nexpires = 'fixed'";
    let stage = Stage::with_recipe(recipe, KEYS, |_| link()).await;
    for subject in HOSTILE {
        stage.mint_for(&person("i", subject)).await.unwrap();
        let call = stage.calls().last().unwrap().clone();
        let field = |name: &str| {
            call.head.split(&format!("\r\n{name}: ")).nth(1).unwrap().split('\r').next().unwrap().to_owned()
        };
        let text = format!("{}{}{}", START, call.line().replace("POST ", "POST"), call.body);
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEYS[0].as_bytes());
        let expected: String =
            hmac::sign(&key, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((field("x-sig"), field("x-ts")), (expected, START.to_string()));
        assert_eq!(serde_json::from_str::<Json>(&call.body).unwrap(), json!({ "id": subject }));
    }
}

#[tokio::test]
async fn a_call_is_made_again_where_the_recipe_says_so_and_the_vendor_names_no_pause() {
    let recipe = |retry: &str| {
        format!(
            "auth = {{ bearer = true }}\n[mint.embed]\npath = '/embed'\nurl = 'json:/url'\nexpires = 'fixed'\nretry = {retry}"
        )
    };
    let both = "{ attempts = 3, on = ['unreachable', '503'] }";
    for (retry, replies, calls, good) in [
        (both, vec![status(503), status(503), link()], 3, true),
        (both, vec![status(503), status(503), status(503), link()], 3, false),
        (both, vec![status(500), link()], 1, false),
        (both, vec![Reply::Is(503, "retry-after: 1\r\n", String::new()), link()], 1, false),
        ("{ attempts = 2, on = ['500'] }", vec![status(500), link()], 2, true),
        ("{ attempts = 1, on = ['500'] }", vec![status(500), link()], 1, false),
    ] {
        let at = std::sync::atomic::AtomicUsize::new(0);
        let count = replies.len();
        let stage = Stage::with_recipe(&recipe(retry), KEYS, move |_| {
            replies[at.fetch_add(1, std::sync::atomic::Ordering::SeqCst).min(count - 1)].clone()
        })
        .await;
        assert_eq!(stage.mint().await.is_ok(), good, "{retry}");
        assert_eq!(stage.calls().len(), calls, "{retry}");
    }
    let stage = Stage::with_recipe(&recipe("{ attempts = 5, on = ['unreachable'] }"), KEYS, |_| Reply::Silence).await;
    assert_eq!(stage.mint_in_vain(1).await, Err(MintFailure::TimedOut));
    assert_eq!(stage.calls().len(), 1, "never after a time-out");
}

#[tokio::test]
async fn an_answer_that_is_no_success_may_hold_the_link() {
    let recipe = "auth = { bearer = true }\n[mint.embed]\npath = '/embed'\nurl = 'json:/url'\nexpires = 'fixed'\naccept_if = [{ status = 409, body_contains = 'open already' }]";
    let stage = Stage::with_recipe(recipe, KEYS, |_| {
        Reply::Is(409, "", json!({ "why": "Open Already", "url": "https://e.acme.example/" }).to_string())
    })
    .await;
    stage.mint().await.unwrap();
    let stage = Stage::with_recipe(recipe, KEYS, |_| {
        Reply::Is(409, "", json!({ "url": "https://e.acme.example/" }).to_string())
    })
    .await;
    assert_eq!(stage.mint().await, Err(MintFailure::Refused));
}
