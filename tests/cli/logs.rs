//! What stands in the logs, the metrics and the answers: JSON lines with the promised fields, and never a secret.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::client::{Answer, Connection, once, request};
use super::process::{Ended, Program, Stream, VALET, jwt_in, until, valet};
use super::stack::{CANARY_PERSON, Folder, Gateway, Idp, Stack, Vendor, bearer};

const KEY: &str = "canary-api-key-3f1e";

/// What must be seen nowhere, and what was seen.
#[derive(Default)]
struct Evidence {
    secrets: BTreeSet<String>,
    seen: Vec<(String, String)>,
    heads: usize,
}

impl Evidence {
    fn new() -> Self {
        // What every secret of these tests has, and every plug-in URL.
        let always = ["canary", "action_token"].map(str::to_owned);
        Self { secrets: always.into(), ..Self::default() }
    }

    /// A token, and its parts.
    fn token(&mut self, token: String) -> String {
        self.secrets.extend(token.split('.').skip(1).filter(|part| part.len() > 8).map(str::to_owned));
        self.secrets.insert(token.clone());
        token
    }

    /// A plug-in URL, and what it is made of.
    fn url(&mut self, url: &str) {
        let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let action_token = query.split_once('=').map(|(_, token)| token.split('&').next().unwrap_or(token).to_owned());
        self.secrets.extend([url.to_owned(), query.to_owned()].into_iter().filter(|secret| !secret.is_empty()));
        self.token(action_token.unwrap_or_default());
        self.secrets.remove("");
    }

    /// An answer: but for the one place where its URL belongs, all of it is looked at.
    fn answer(&mut self, what: &str, mut answer: Answer) -> Answer {
        let whole = answer.clone();
        self.heads += 1;
        if (302..=303).contains(&answer.status) {
            self.url(answer.location());
            answer.headers.retain(|(name, _)| name != "location");
        }
        if answer.status == 200 {
            self.url(answer.json()["url"].as_str().expect("a URL"));
            answer.body.clear();
        }
        self.seen.push((what.to_owned(), format!("{answer:?}")));
        whole
    }

    fn text(&mut self, what: &str, text: &str) {
        self.seen.push((what.to_owned(), text.to_owned()));
    }

    fn assert_nothing_leaked(&self) {
        for (what, text) in &self.seen {
            for secret in &self.secrets {
                assert!(!text.contains(secret.as_str()), "{what} holds {secret:?}:\n{text}");
            }
            assert_eq!(jwt_in(text), None, "{what} holds a token:\n{text}");
        }
    }
}

/// Each line as an object.
fn objects(text: &str) -> Vec<serde_json::Map<String, Value>> {
    text.lines()
        .map(|line| match serde_json::from_str(line) {
            Ok(Value::Object(object)) => object,
            _ => panic!("no JSON object: {line:?}"),
        })
        .collect()
}

fn keys(object: &serde_json::Map<String, Value>) -> Vec<&str> {
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// JSON on both streams, each line with the fields of its kind.
fn assert_form(ended: &Ended) {
    for line in objects(&ended.stdout) {
        let expected = [
            "duration_us",
            "method",
            "outcome",
            "path",
            "peer",
            "remaining_s",
            "request_id",
            "route",
            "session_check",
            "source",
            "status",
            "subject",
            "time",
            "trace_id",
        ];
        assert_eq!(keys(&line), expected, "{line:?}");
        assert!(line["status"].is_u64() && line["duration_us"].is_u64(), "{line:?}");
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line:?}");
    }
    for line in objects(&ended.stderr) {
        let target = line["target"].as_str().expect("a target");
        assert!(line["level"].is_string() && line["time"].is_string(), "{line:?}");
        if !target.starts_with("valet") {
            assert_eq!(keys(&line), ["level", "target", "time"], "a library's text got in");
        }
    }
}

/// A stack that says all it can.
fn talkative() -> Stack {
    Stack::with(KEY, |config| {
        config
            .replace("level = \"info\"", "level = \"trace\"")
            .replace("timeout = \"20s\"", "timeout = \"1s\"")
            .replace(
                "reuse = \"user\"",
                "reuse = \"user\"\nlanguages = [\"en\", \"nl\"]\nallowed_origins = [\"https://spa.example\"]",
            )
    })
}

/// A token with this header and these claims, and a signature of nobody.
fn forged(header: &str, claims: &Value) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(header), part(&claims.to_string()), part(&"forged-canary-signature!".repeat(3)))
}

#[test]
fn nothing_secret_is_written_whatever_happens() {
    let stack = talkative();
    let mut evidence = Evidence::new();
    good_requests(&stack, &mut evidence);
    bad_credentials(&stack, &mut evidence);
    unknown_routes(&stack, &mut evidence);
    malformed_heads(&stack, &mut evidence);
    a_faulty_vendor(&stack, &mut evidence);
    faulty_files(&stack, &mut evidence);
    a_faulty_identity_provider(&stack, &mut evidence);
    let Stack { vendor, idp, gateway, folder: _folder } = stack;
    evidence.text("/metrics", &gateway.admin("/metrics").body);
    evidence.text("/readyz", &gateway.admin("/readyz").body);
    // Both gone.
    let token = evidence.token(idp.token("canary-subject-of-the-end"));
    drop((vendor, idp));
    let answer = gateway.open(&token);
    evidence.answer("all is down", answer);
    evidence.text("/metrics at the end", &gateway.admin("/metrics").body);
    let ended = gateway.terminate();
    ended.assert_code(0);

    assert_form(&ended);
    evidence.text("stdout", &ended.stdout);
    evidence.text("stderr", &ended.stderr);
    evidence.assert_nothing_leaked();
    assert!(evidence.secrets.len() > 60, "{} secrets were in play", evidence.secrets.len());
    assert_eq!(ended.stdout.lines().count(), evidence.heads, "one line for each request:\n{}", ended.stdout);
    let lines = objects(&ended.stdout);
    let outcomes: BTreeSet<&str> = lines.iter().filter_map(|line| line["outcome"].as_str()).collect();
    for outcome in ["redirect", "json", "preflight", "unauthenticated", "not_found", "malformed"] {
        assert!(outcomes.contains(outcome), "no {outcome} among {outcomes:?}");
    }
    for status in [200, 302, 303, 400, 401, 403, 404, 405, 414, 431, 502, 503, 504] {
        assert!(lines.iter().any(|line| line["status"] == status), "no {status} was provoked");
    }
}

fn good_requests(stack: &Stack, evidence: &mut Evidence) {
    let address = &stack.gateway.address;
    let token = evidence.token(stack.idp.token("canary-subject-good"));
    let (bearer, cookie) = (bearer(&token), format!("cookie: a=b; session={token}"));
    let page = "/plugins/face-scan";
    let json = "accept: application/json";
    for (what, method, path, headers, status) in [
        ("a redirect", "GET", page, vec![&*bearer], 302),
        ("again", "GET", page, vec![&*bearer], 302),
        ("by cookie", "GET", page, vec![&*cookie], 302),
        ("by both", "GET", page, vec![&*bearer, &*cookie], 302),
        ("with a language", "GET", "/plugins/face-scan?language=nl&canary=1&access_token=canary", vec![&*bearer], 302),
        ("as JSON", "GET", page, vec![&*bearer, json], 200),
        ("scan again", "POST", page, vec![&*bearer], 303),
        ("scan again, as JSON", "POST", page, vec![&*bearer, json], 200),
        ("from elsewhere", "POST", page, vec![&*cookie, "sec-fetch-site: cross-site"], 403),
        ("a preflight from elsewhere", "OPTIONS", page, vec!["origin: https://canary.example"], 405),
        ("a preflight", "OPTIONS", page, vec!["origin: https://spa.example"], 204),
        ("a prefetch", "GET", page, vec![&*bearer, "sec-purpose: prefetch"], 503),
        ("another method", "DELETE", page, vec![&*bearer], 405),
        ("a method of nobody's", "CANARY-method", page, vec![&*bearer], 405),
    ] {
        let answer = evidence.answer(what, once(address, method, path, &headers, ""));
        assert_eq!(answer.status, status, "{what}: {answer:?}");
    }
    let with_body = once(address, "POST", page, &[&*bearer], "canary=in-the-body");
    evidence.answer("with a body", with_body);
}

fn bad_credentials(stack: &Stack, evidence: &mut Evidence) {
    let stranger = Idp::start();
    let idp = &stack.idp;
    let subject = "canary-subject-bad";
    let good = idp.token(subject);
    let claims = json!({ "iss": idp.url, "sub": subject, "aud": "my-app", "exp": 9_999_999_999_u64 });
    let tampered = format!("{}AAAA", &good[..good.len() - 4]);
    let kid = r#"{"alg":"ES256","kid":"canary-kid"}"#;
    for (what, token) in [
        ("expired", idp.token_with(subject, json!({ "expires_in": -3600 }))),
        ("for others", idp.token_with(subject, json!({ "audience": "canary-others" }))),
        ("of a type", idp.token_with(subject, json!({ "typ": "logout+jwt" }))),
        ("without a subject", idp.token_with(subject, json!({ "omit": ["sub"] }))),
        ("not yet good", idp.token_with(subject, json!({ "nbf": 9_999_999_999_u64 }))),
        ("of a stranger", stranger.token(subject)),
        ("tampered with", tampered),
        ("unsigned", forged(r#"{"alg":"none"}"#, &claims)),
        ("with a kid of nobody's", forged(kid, &claims)),
        ("with a key inside", forged(r#"{"alg":"ES256","jwk":{"kty":"canary"}}"#, &claims)),
        ("no token", "canary-that-is-no-token".into()),
        ("three empty parts", "..".into()),
        ("too long", format!("eyJ.{}", "canary".repeat(2000))),
    ] {
        let token = evidence.token(token);
        for headers in [vec![bearer(&token)], vec![format!("cookie: session={token}"), "accept: text/html".into()]] {
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            let answer = once(&stack.gateway.address, "GET", "/plugins/face-scan", &headers, "");
            let answer = evidence.answer(what, answer);
            assert_eq!(answer.status, 401, "{what}: {answer:?}");
        }
    }
    let good = evidence.token(good);
    let other = evidence.token(idp.token("canary-subject-other"));
    let cookies = [format!("cookie: session={good}; session={other}")];
    let two = [bearer(&good), bearer(&other)];
    let persons = [bearer(&good), format!("cookie: session={other}")];
    for headers in [&cookies[..], &two, &persons] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = once(&stack.gateway.address, "GET", "/plugins/face-scan", &headers, "");
        assert_eq!(evidence.answer("two persons", answer).status, 400);
    }
    let basic = once(&stack.gateway.address, "GET", "/plugins/face-scan", &["authorization: Basic canary"], "");
    assert_eq!(evidence.answer("another scheme", basic).status, 401);
}

fn unknown_routes(stack: &Stack, evidence: &mut Evidence) {
    let token = evidence.token(stack.idp.token("canary-subject-lost"));
    let query = format!("?access_token={token}&url=https%3A%2F%2Fx%2F%3Faction_token%3Dcanary");
    for path in ["/", "/nowhere", "/plugins/face-scan/", "/plugins//face-scan/x", "//evil"] {
        for method in ["GET", "POST", "HEAD"] {
            if method == "HEAD" {
                continue; // Its length is that of an answer that does not come.
            }
            let answer = once(&stack.gateway.address, method, &format!("{path}{query}"), &[&bearer(&token)], "");
            let answer = evidence.answer(path, answer);
            assert!(matches!(answer.status, 404 | 400), "{path}: {answer:?}");
        }
    }
    let absolute = format!("http://127.0.0.1/nowhere{query}");
    let answer = once(&stack.gateway.address, "GET", &absolute, &[&bearer(&token)], "");
    evidence.answer("absolute form", answer);
}

fn malformed_heads(stack: &Stack, evidence: &mut Evidence) {
    let token = evidence.token(stack.idp.token("canary-subject-malformed"));
    let secret = format!("authorization: Bearer {token}\r\nx-canary: canary-api-key-3f1e");
    let get = format!("GET /plugins/face-scan?access_token={token} HTTP/1.1\r\n");
    let hello = b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c\x03\x03canary-canary-canary-canary\r\n\r\n";
    for head in [
        format!("{get}host: x\n{secret}\n\n").into_bytes(),
        format!("canary {token}\r\n\r\n").into_bytes(),
        format!("{get}host: x\r\n{secret}\r\ncanary-without-a-colon\r\n\r\n").into_bytes(),
        format!("GET /?{token} HTTP/9.9\r\nhost: x\r\n{secret}\r\n\r\n").into_bytes(),
        format!("GET /?{token} canary HTTP/1.1\r\nhost: x\r\n{secret}\r\n\r\n").into_bytes(),
        format!("{get}{secret}\r\n\r\n").into_bytes(),
        format!("{get}host: canary\r\nhost: canary-2\r\n{secret}\r\n\r\n").into_bytes(),
        format!("{get}host: x\r\n{secret}\0\r\n\r\n").into_bytes(),
        format!("{get}host: x\r\n folded: canary\r\n{secret}\r\n\r\n").into_bytes(),
        format!("{get}host: x\r\n{secret}\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes(),
        format!("{get}host: x\r\n{secret}\r\ncontent-length: canary\r\n\r\n").into_bytes(),
        format!("{get}host: x\r\n{secret}\r\nx: {}\r\n\r\n", "canary".repeat(8000)).into_bytes(),
        format!("{get}host: x\r\n{secret}\r\n{}\r\n", "x-canary: canary\r\n".repeat(300)).into_bytes(),
        format!("GET /{}?{token} HTTP/1.1\r\nhost: x\r\n\r\n", "canary".repeat(2000)).into_bytes(),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{token}\r\n\r\n").into_bytes(),
        format!("GET nowhere?{token} HTTP/1.1\r\nhost: x\r\n{secret}\r\n\r\n").into_bytes(),
        format!("GET ?{token} HTTP/1.1\r\nhost: x\r\n{secret}\r\n\r\n").into_bytes(),
        format!("GET http://canary:{token}@x/ HTTP/1.1\r\nhost: x\r\n{secret}\r\n\r\n").into_bytes(),
        format!("CONNECT canary:443 HTTP/1.1\r\nhost: x\r\n{secret}\r\n\r\n").into_bytes(),
        [format!("{get}host: x\r\n{secret}\r\n").as_bytes(), b"\xff\xfe: x\r\n\r\n"].concat(),
        [b"GET /canary\xff\xfe?", format!("{token} HTTP/1.1\r\nhost: x\r\n{secret}\r\n\r\n").as_bytes()].concat(),
        hello.to_vec(),
    ] {
        let mut connection = Connection::open(&stack.gateway.address);
        connection.send(&head);
        let answer = String::from_utf8_lossy(&connection.rest()).into_owned();
        let shown = String::from_utf8_lossy(&head[..head.len().min(120)]).into_owned();
        assert!(!answer.is_empty() && answer.starts_with("HTTP/1.1 4"), "{shown:?}: {answer:?}");
        evidence.text(&format!("the answer to {shown:?}"), &answer);
        evidence.heads += 1;
    }
    // A head that ends in the middle, and one that never comes: nobody asked anything.
    let mut half = Connection::open(&stack.gateway.address);
    half.send(&get);
}

fn a_faulty_vendor(stack: &Stack, evidence: &mut Evidence) {
    let canary_url = "https://plugin.foreign.example/canary?action_token=canary";
    for (number, (faults, status)) in [
        (json!({ "fail": "reject-keys" }), 502),
        (json!({ "fail": "500" }), 502),
        (json!({ "fail": "503", "on": "mint" }), 503),
        (json!({ "fail": "429", "on": "mint" }), 503),
        (json!({ "fail": "418", "on": "register" }), 502),
        (json!({ "fail": "garbage", "on": "mint" }), 502),
        (json!({ "fail": "garbage", "on": "register" }), 0),
        (json!({ "fail": "empty", "on": "mint" }), 502),
        (json!({ "fail": "oversize", "on": "mint" }), 502),
        (json!({ "fail": "redirect", "on": "mint" }), 502),
        (json!({ "fail": "unknown-user", "on": "mint" }), 502),
        (json!({ "fail": "hang", "on": "mint" }), 504),
        (json!({ "url": "wrong-host" }), 502),
        (json!({ "url": "expired" }), 502),
        (json!({ "url": "short" }), 302),
        (json!({ "url": "years" }), 302),
        (json!({ "url": "no-exp" }), 302),
        (json!({ "url_text": canary_url }), 502),
        (json!({ "url_text": "javascript:canary" }), 502),
        (json!({ "url_text": "http://127.0.0.1:1/?action_token=canary canary" }), 502),
        (json!({ "url_text": "http://canary:canary@127.0.0.1:1/?action_token=eyJ" }), 502),
    ]
    .into_iter()
    .enumerate()
    {
        stack.vendor.faults(faults.clone());
        let token = evidence.token(stack.idp.token(&format!("canary-subject-{number}")));
        let answer = evidence.answer(&faults.to_string(), stack.gateway.open(&token));
        assert!(status == 0 || answer.status == status, "{faults}: {answer:?}");
    }
    stack.vendor.faults(json!({}));
    stack.vendor.accept_only("another-key");
    let token = evidence.token(stack.idp.token("canary-subject-refused"));
    assert_eq!(evidence.answer("a key of others", stack.gateway.open(&token)).status, 502);
    stack.vendor.accept_only(KEY);
}

fn faulty_files(stack: &Stack, evidence: &mut Evidence) {
    let key = stack.folder.path().join("vendor.key");
    let lines = || stack.gateway.program.so_far(Stream::Stderr).lines().count();
    for change in ["gone", "empty", "unusable"] {
        match change {
            "gone" => std::fs::remove_file(&key).expect("our file"),
            "empty" => drop(stack.folder.write("vendor.key", "")),
            _ => drop(stack.folder.write("vendor.key", "canary key with\u{1} control characters\n")),
        }
        let before = lines();
        stack.gateway.program.signal("HUP");
        // One that it rereads, and one about the file.
        until("it says so", || (lines() >= before + 2).then_some(()));
    }
    stack.folder.write("vendor.key", &format!("{KEY}\n"));
    stack.gateway.program.signal("HUP");
    let token = evidence.token(stack.idp.token("canary-subject-after-the-files"));
    assert_eq!(evidence.answer("after the files", stack.gateway.open(&token)).status, 302);
}

fn a_faulty_identity_provider(stack: &Stack, evidence: &mut Evidence) {
    for faults in [json!({ "fail": "garbage" }), json!({ "fail": "500" })] {
        stack.idp.faults(faults);
        stack.idp.post("/_sim/rotate?drop=1", "");
        let token = evidence.token(stack.idp.token("canary-subject-new-key"));
        let answer = evidence.answer("a key that can't be fetched", stack.gateway.open(&token));
        assert!(matches!(answer.status, 401 | 503), "{answer:?}");
    }
}

#[test]
fn nothing_secret_is_written_while_there_are_no_keys() {
    let (vendor, idp, folder) = (Vendor::start(KEY), Idp::start(), Folder::new());
    folder.configure(&vendor.url, &idp.url, KEY, |config| config.replace("level = \"info\"", "level = \"trace\""));
    let mut evidence = Evidence::new();
    let token = evidence.token(idp.token("canary-subject"));
    let mut look = |what: &str| {
        let gateway = Gateway::serving(Program::start(valet(folder.path(), &["run", "--config", "valet.toml"])));
        let answer = evidence.answer(what, gateway.open(&token));
        assert_eq!((answer.status, answer.problem().as_str()), (503, "keys-unavailable"), "{what}");
        assert!(answer.header("retry-after").is_some());
        evidence.text("/metrics", &gateway.admin("/metrics").body);
        evidence.text("/readyz", &gateway.admin("/readyz").body);
        let ended = gateway.terminate();
        ended.assert_code(0);
        assert_form(&ended);
        evidence.text("both streams", &ended.all());
    };
    for (fail, on) in [
        ("500", "all"),
        ("garbage", "discovery"),
        ("redirect", "discovery"),
        ("garbage", "keys"),
        ("empty", "keys"),
        ("oversize", "keys"),
    ] {
        idp.faults(json!({ "fail": fail, "on": on }));
        look(fail);
    }
    drop(idp);
    look("nobody there");
    evidence.assert_nothing_leaked();
}

#[test]
fn a_line_of_a_library_has_no_text() {
    let stack = Stack::with(KEY, |config| {
        let config = config.replace("level = \"info\"", "level = \"trace\"");
        let config = config.replacen("[server]", "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]", 1);
        let config = config.replacen("[[listener]]", "[[listener]]\nkind = \"ext_authz\"", 1);
        config + "\n[[app]]\nname = \"wiki\"\npath = \"/\"\nauthorize = true\n"
    });
    let mut connection = Connection::open(&stack.gateway.address);
    // A SETTINGS frame, and an answer to a PING that nobody sent, of which the h2 crate tells with its payload (RFC 9113, section 6.7).
    assert!(connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x08\x06\x01\0\0\0\0a-canary"));
    let line = stack.gateway.program.line(Stream::Stderr, |line| line.contains("h2::").then(|| line.to_owned()));
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    let mut keys: Vec<_> = line.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["level", "target", "time"], "{line}");
    let ended = stack.gateway.terminate();
    ended.assert_code(0);
    assert_form(&ended);
}

#[test]
fn without_a_free_descriptor_it_says_so_and_goes_on() {
    let folder = Folder::new();
    folder.configure("http://127.0.0.1:9", "http://127.0.0.1:9", KEY, |config| config);
    // It needs 14 descriptors itself and lets in clients for half of all: with 24 none is left for some of these.
    let mut few = Command::new("sh");
    few.args(["-c", &format!("ulimit -n 24; exec '{VALET}' run --config valet.toml")]);
    few.current_dir(folder.path()).stdin(Stdio::null());
    let gateway = Gateway::serving(Program::start(few));
    let crowd: Vec<Connection> = (0..50).map(|_| Connection::open(&gateway.address)).collect();
    gateway.program.line(Stream::Stderr, |line| line.contains("no connection can be accepted").then_some(()));
    drop(crowd);
    // It goes on, once it has seen that they are gone.
    until("it serves again", || {
        let mut connection = Connection::try_open(&gateway.address)?;
        connection.send(request("GET", "/plugins/face-scan", &["connection: close"], ""));
        connection.answer().filter(|answer| answer.status == 401)
    });
    let ended = gateway.terminate();
    ended.assert_code(0);
    assert_form(&ended);
}

#[test]
fn an_access_line_says_what_the_contract_promises() {
    let stack = Stack::start();
    let (ada, grace) = (stack.idp.token(CANARY_PERSON), stack.idp.token("grace"));
    let first = stack.gateway.open(&ada);
    stack.gateway.open(&ada);
    stack.gateway.open(&grace);
    once(&stack.gateway.address, "GET", "/nowhere?a=b", &[], "");
    let ended = stack.gateway.terminate();
    ended.assert_code(0);
    assert_form(&ended);
    let lines = objects(&ended.stdout);
    let [minted, held, other, lost] = &lines[..] else { panic!("not four lines:\n{}", ended.stdout) };
    assert_eq!(minted["request_id"], first.header("x-request-id").expect("a request id"));
    assert_eq!((&minted["method"], &minted["path"]), (&json!("GET"), &json!("/plugins/face-scan")));
    assert_eq!((&minted["route"], &minted["status"]), (&json!("face-scan"), &json!(302)));
    assert_eq!((&minted["outcome"], &minted["peer"]), (&json!("redirect"), &json!("127.0.0.1")));
    assert_eq!([&minted["source"], &held["source"], &lost["source"]], [&json!("minted"), &json!("hit"), &Value::Null]);
    assert_eq!([&lost["path"], &lost["route"], &lost["subject"]], [&json!("/nowhere"), &Value::Null, &Value::Null]);
    assert_eq!(minted["subject"], held["subject"]);
    assert_ne!(minted["subject"], other["subject"]);
    assert!(minted["subject"].as_str().is_some_and(|hash| hash.len() >= 16 && !hash.contains(CANARY_PERSON)));
}

#[test]
fn the_hash_of_a_subject_is_the_same_in_another_process_with_the_same_key_only() {
    let stack =
        Stack::with(KEY, |config| config.replace("[session]", "subject_key = { file = \"vendor.key\" }\n\n[session]"));
    let token = stack.idp.token("ada");
    let subject = |gateway: Gateway| {
        gateway.open(&token);
        objects(&gateway.terminate().stdout)[0]["subject"].clone()
    };
    let first = subject(stack.gateway);
    assert_eq!(subject(Gateway::start(&stack.folder)), first);
    let text = std::fs::read_to_string(stack.folder.path().join("valet.toml")).expect("our file");
    stack.folder.write("valet.toml", &text.replace("subject_key", "# subject_key"));
    let without = subject(Gateway::start(&stack.folder));
    assert_ne!(without, first);
    assert_ne!(subject(Gateway::start(&stack.folder)), without);
}

#[test]
fn without_access_lines_stdout_stays_empty() {
    let stack = Stack::with(KEY, |config| config.replace("access = true", "access = false"));
    assert_eq!(stack.gateway.open(&stack.idp.token("ada")).status, 302);
    let mut connection = Connection::open(&stack.gateway.address);
    assert_eq!(connection.ask(&request("GET", "/nowhere", &[], "")).status, 404);
    drop(connection);
    let ended = stack.gateway.terminate();
    ended.assert_code(0);
    assert_eq!(ended.stdout, "");
}

#[test]
fn before_it_serves_it_speaks_plainly_and_afterwards_in_json_only() {
    let stack = Stack::start();
    // What is said before is for a person, and a good start has nothing to say.
    let ended = stack.gateway.terminate();
    let messages: Vec<_> = objects(&ended.stderr).into_iter().map(|line| line["message"].clone()).collect();
    assert_eq!(messages, ["serving", "administration address serving", "draining", "stopped"]);
    let mut bad = valet(Path::new("."), &["run", "--config", "is-not-there.toml"]);
    bad.env("RUST_BACKTRACE", "1").env("RUST_LOG", "trace");
    let ended = Program::start(bad).end();
    ended.assert_code(78);
    assert!(serde_json::from_str::<Value>(ended.only_line()).is_err());
}

#[test]
fn an_app_that_fails_is_one_line_for_each_cause_and_names_the_key() {
    let app =
        |port| format!("[[app]]\nname = \"portal\"\nsession = \"none\"\nupstreams = [\"https://127.0.0.1:{port}\"]\n");
    let plain = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = plain.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = plain.accept() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        }
    });
    let stack = Stack::with(KEY, |config| config + &app(port));
    for _ in 0..3 {
        assert_eq!(once(&stack.gateway.address, "GET", "/", &[], "").status, 502);
    }
    let ended = stack.gateway.terminate();
    ended.assert_code(0);
    let lines = objects(&ended.stderr);
    let lines: Vec<_> = lines.iter().filter(|line| line["message"] == "request to the app failed").collect();
    let [line] = &lines[..] else { panic!("not one line:\n{}", ended.stderr) };
    assert_eq!(
        (&line["level"], &line["app"], &line["cause"]),
        (&json!("warn"), &json!("portal"), &json!("plain_port"))
    );
    assert_eq!(line["upstream"], json!(format!("127.0.0.1:{port}")));
    let why = line["why"].as_str().expect("words");
    assert!(why.contains("no TLS") && why.contains("`upstreams`"), "{why}");
}
