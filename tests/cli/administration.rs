//! Who holds the token sees what is held and what was minted, and drops a person's leases.

use serde_json::{Value, json};

use super::client::{Answer, once};
use super::process::{end_of, until};
use super::stack::{CANARY_PERSON, Folder, Gateway, Idp, KEY, Stack, Vendor, bearer};

const TOKEN: &str = "the-token-of-this-test";

/// With the token, and more than the defaults.
fn stack(change: impl FnOnce(String) -> String) -> Stack {
    let (vendor, idp, folder) = (Vendor::start(KEY), Idp::start(), Folder::new());
    folder.write("admin.token", &format!("{TOKEN}\n"));
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let with_token = |config: String| config.replace(admin, &format!("{admin}token = {{ file = \"admin.token\" }}\n"));
    folder.configure(&vendor.url, &idp.url, KEY, |config| change(with_token(config)));
    let gateway = Gateway::start(&folder);
    Stack { vendor, idp, folder, gateway }
}

fn ask(stack: &Stack, method: &str, path: &str, body: &str) -> Answer {
    let headers = [&*bearer(TOKEN), "content-type: application/json"];
    once(&stack.gateway.admin, method, path, &headers, body)
}

fn leases(stack: &Stack, query: &str) -> Value {
    ask(stack, "GET", &format!("/api/leases{query}"), "").json()
}

#[test]
fn without_a_token_there_is_no_administration_and_with_a_wrong_one_no_answer() {
    let plain = Stack::start();
    for path in ["/api/leases", "/api/mints"] {
        assert_eq!(once(&plain.gateway.admin, "GET", path, &[&bearer(TOKEN)], "").status, 404);
    }
    let stack = stack(|config| config);
    let (right, wrong) = (bearer(TOKEN), bearer(&TOKEN[1..]));
    for headers in [
        &[][..],
        &[&*wrong],
        &[&*right, &*wrong],
        &[&*right, &*right],
        &["authorization: Basic the-token-of-this-test"],
    ] {
        for (method, path) in [("GET", "/api/leases"), ("GET", "/api/mints"), ("POST", "/api/leases/drop")] {
            let answer = once(&stack.gateway.admin, method, path, headers, "");
            let token = headers.iter().any(|header| header.contains("Bearer"));
            let wanted = if token { "Bearer error=\"invalid_token\"" } else { "Bearer" };
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some(wanted)), "{headers:?}");
        }
    }
    assert_eq!(ask(&stack, "GET", "/api/leases", "").status, 200);
    assert_eq!(ask(&stack, "PUT", "/api/leases", "").status, 405);
    // Health and metrics are for everybody who reaches the address.
    assert_eq!(stack.gateway.admin("/livez").status, 200);
}

#[test]
fn leases_are_listed_in_pages_without_a_url_or_a_name() {
    let stack = stack(|config| config);
    let urls: Vec<String> = (0..5)
        .map(|user| stack.gateway.open(&stack.idp.token(&format!("{user}-{CANARY_PERSON}"))).location().to_owned())
        .collect();
    let whole = ask(&stack, "GET", "/api/leases", "");
    for secret in urls.iter().map(String::as_str).chain([CANARY_PERSON, "action_token", KEY]) {
        assert!(!whole.body.contains(secret), "{}", whole.body);
    }
    let whole = whole.json();
    assert_eq!((whole["held"].as_u64(), &whole["next"]), (Some(5), &Value::Null));
    let lease = &whole["leases"][0];
    assert_eq!((&lease["plugin"], &lease["source"]), (&json!("face-scan"), &json!("minted")));
    assert_eq!(lease["subject"].as_str().map(str::len), Some(43));

    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = leases(&stack, &query);
        seen.extend(page["leases"].as_array().expect("a list").clone());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&after={next}");
    }
    assert_eq!(&seen, whole["leases"].as_array().unwrap());
    for wrong in ["?limit=0", "?limit=1001", "?limit=x", "?after=x", "?after=1", "?page=2"] {
        assert_eq!(ask(&stack, "GET", &format!("/api/leases{wrong}"), "").status, 400, "{wrong}");
    }
}

#[test]
fn the_last_mints_say_why_and_how_it_ended() {
    let stack = stack(|config| config);
    let ada = stack.idp.token(CANARY_PERSON);
    stack.gateway.open(&ada);
    once(&stack.gateway.address, "POST", "/plugins/face-scan", &[&bearer(&ada)], "");
    stack.vendor.faults(json!({ "on": "mint", "fail": 500 }));
    stack.gateway.open(&stack.idp.token("bob"));
    let mints = ask(&stack, "GET", "/api/mints", "");
    assert!(!mints.body.contains("action_token") && !mints.body.contains(CANARY_PERSON), "{}", mints.body);
    let told: Vec<_> = mints.json()["mints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|mint| (mint["reason"].clone(), mint["outcome"].clone(), mint["remaining_s"].as_u64().is_some()))
        .collect();
    let (miss, again, ok) = (json!("miss"), json!("again"), json!("ok"));
    assert_eq!(told, [(miss.clone(), json!("unreachable"), false), (again, ok.clone(), true), (miss, ok, true)]);
    assert_eq!(ask(&stack, "GET", "/api/mints?limit=1", "").json()["mints"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_persons_leases_are_dropped_and_nobody_elses() {
    let stack = stack(|config| config);
    let (ada, bob) = (stack.idp.token("ada"), stack.idp.token("bob"));
    let before = [&ada, &bob].map(|token| stack.gateway.open(token).location().to_owned());
    let drop = |body: Value| ask(&stack, "POST", "/api/leases/drop", &body.to_string());
    assert_eq!(drop(json!({ "issuer": stack.idp.url, "subject": "ada" })).status, 204);
    let after = [&ada, &bob].map(|token| stack.gateway.open(token).location().to_owned());
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
    // Who is not there has no lease.
    assert_eq!(drop(json!({ "issuer": stack.idp.url, "subject": "nobody" })).status, 204);
    // As scripts send it, whatever they say that it is.
    for kind in [&[][..], &["content-type: application/x-www-form-urlencoded"], &["content-type: text/plain"]] {
        let token = bearer(TOKEN);
        let headers = [&[&*token][..], kind].concat();
        let body = json!({ "issuer": stack.idp.url, "subject": "nobody" }).to_string();
        assert_eq!(once(&stack.gateway.admin, "POST", "/api/leases/drop", &headers, &body).status, 204, "{kind:?}");
    }
    for wrong in [
        json!({}),
        json!({ "issuer": stack.idp.url }),
        json!({ "issuer": "https://other.example", "subject": "ada" }),
        json!({ "issuer": stack.idp.url, "subject": "" }),
        json!({ "issuer": stack.idp.url, "subject": "ada", "all": true }),
    ] {
        assert_eq!(drop(wrong.clone()).status, 400, "{wrong}");
    }
}

#[test]
fn the_leases_of_one_session_are_dropped_by_its_name() {
    let stack = stack(|config| config.replace("reuse = \"user\"", "reuse = \"session\""));
    let tokens = ["one", "two"].map(|session| stack.idp.token_with("ada", json!({ "sid": session })));
    let other = stack.idp.token_with("bob", json!({ "sid": "three" }));
    stack.gateway.open(&other);
    let before = tokens.each_ref().map(|token| stack.gateway.open(token).location().to_owned());
    let body = json!({ "issuer": stack.idp.url, "session": "two" }).to_string();
    assert_eq!(ask(&stack, "POST", "/api/leases/drop", &body).status, 204);
    let after = tokens.each_ref().map(|token| stack.gateway.open(token).location().to_owned());
    assert_ne!(after[1], before[1]);
    until("bob's is still held", || (leases(&stack, "")["held"].as_u64() == Some(3)).then_some(()));
    assert_eq!(stack.vendor.mint_calls(), 5, "ada's other session is dropped with it, bob's is not");
}

#[test]
fn the_policy_of_an_embedding_page_is_told_from_the_configuration() {
    let stack = stack(|config| config);
    let told = ask(&stack, "GET", "/api/embed-policy?plugin=face-scan", "");
    assert_eq!(told.status, 200);
    let told = told.json();
    let sources = told["frame_src"].as_str().unwrap().to_owned();
    assert!(sources.contains("http://127.0.0.1:*"), "{told}");
    assert_eq!(told["content_security_policy"], format!("frame-src {sources}; form-action {sources}"));
    assert_eq!((&told["permissions_policy"], &told["allow"]), (&json!("camera=*"), &json!("camera *")));
    assert!(told["src"].as_str().unwrap().ends_with("/plugins/face-scan"), "{told}");
    assert_eq!(ask(&stack, "GET", "/api/embed-policy?plugin=none", "").status, 404);
    assert_eq!(ask(&stack, "GET", "/api/embed-policy", "").status, 400);
    assert_eq!(once(&stack.gateway.admin, "GET", "/api/embed-policy?plugin=face-scan", &[], "").status, 401);
}

#[test]
fn one_request_is_followed_by_the_id_that_its_user_saw() {
    let stack = stack(|config| config);
    let token = stack.idp.token(CANARY_PERSON);
    let minted = stack.gateway.open(&token);
    let refused = once(&stack.gateway.address, "GET", "/plugins/face-scan?canary=1", &[], "");
    let text = std::fs::read_to_string(stack.folder.path().join("valet.toml")).unwrap();
    let running =
        text.replace("address = \"127.0.0.1:0\"\ntoken", &format!("address = \"{}\"\ntoken", stack.gateway.admin));
    assert_ne!(running, text);
    stack.folder.write("running.toml", &running);
    let explain = |id: &str| end_of(stack.folder.path(), &["explain", "--config", "running.toml", "--request", id]);
    let id = |answer: &Answer| answer.header("x-request-id").expect("an id").to_owned();

    let told = explain(&id(&minted));
    told.assert_code(0);
    for line in [
        "asked    GET /plugins/face-scan: the route face-scan",
        "session  valid, subject ",
        "mint     face-scan (miss): ok after ",
    ] {
        assert!(told.stdout.contains(line), "{line} in:\n{}", told.stdout);
    }
    assert!(told.stdout.contains("url      minted, life 21"), "{}", told.stdout);
    let told = explain(&id(&refused).to_uppercase());
    told.assert_code(0);
    assert!(told.stdout.contains("session  absent\nanswer   401 unauthenticated after "), "{}", told.stdout);
    for ended in [explain(&id(&minted)), told] {
        for secret in [CANARY_PERSON, KEY, TOKEN, "canary", "action_token"] {
            assert!(!ended.all().contains(secret), "{secret} in:\n{}", ended.all());
        }
    }

    let held = id(&stack.gateway.open(&token));
    let unknown = explain(&held);
    unknown.assert_code(1);
    assert!(unknown.only_line().contains("is not among the last 1,000 refusals"), "{}", unknown.only_line());
    explain("no-id").assert_code(1);
    let listed = ask(&stack, "GET", "/api/requests", "").json();
    assert_eq!(listed["requests"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["requests"][0]["request_id"], id(&refused));
    assert_eq!(ask(&stack, "GET", "/api/requests?limit=0", "").status, 400);
    assert_eq!(ask(&stack, "GET", "/api/requests/none", "").status, 404);
}

#[test]
fn an_administrator_drains_the_process() {
    let stack = stack(|config| config);
    assert_eq!(once(&stack.gateway.admin, "POST", "/api/drain", &[], "").status, 401);
    assert_eq!(ask(&stack, "GET", "/api/drain", "").status, 405);
    assert_eq!(ask(&stack, "POST", "/api/drain", "").status, 202);
    stack.gateway.program.end().assert_code(0);
}
