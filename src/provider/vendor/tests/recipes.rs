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
