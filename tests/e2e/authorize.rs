//! Another proxy carries the requests of an app, and asks about each.

use valet_gateway::demo::idp::TokenRequest;

use crate::kit::ask::{Ask, basic};
use crate::kit::envoy::{Check, Checked};
use crate::kit::{Answer, App, FACE_SCAN, HOST, Setup, Stack};

const ASK: &str = "/.valet/authorize";

/// Hosts of apps that need a session, that look for one, and that do not: in pairs of one that is carried here and one that is carried elsewhere.
const NEEDS: [&str; 3] = ["required", "optional", "none"];

const POLICIES: &str = r#"
permit(principal, action, resource);
@id("no-admins")
forbid(principal, action == Valet::Action::"reach", resource) when { context.path like "/admin*" };
@id("blocked")
forbid(principal, action, resource) when { principal.subject == "bob" };
"#;

/// An app that is carried elsewhere, at `wiki.example.com`.
fn wiki(lines: &str) -> Setup {
    trusting().tables(&format!("[[app]]\nname = \"wiki\"\nhost = \"wiki.example.com\"\nauthorize = true\n{lines}"))
}

fn trusting() -> Setup {
    Setup::new().server("trusted_proxies = [\"127.0.0.1\"]")
}

async fn ready(setup: Setup) -> Stack {
    let stack = setup.start().await;
    stack.until_ready().await;
    stack
}

/// As Traefik and Caddy ask.
fn asked<'s>(stack: &'s Stack, method: &str, host: &str, target: &str) -> Ask<'s> {
    asked_with(stack, "", method, host, target)
}

fn asked_with<'s>(stack: &'s Stack, query: &str, method: &str, host: &str, target: &str) -> Ask<'s> {
    stack
        .get(&format!("{ASK}{query}"))
        .host("valet.internal")
        .field("X-Forwarded-Method", method)
        .field("X-Forwarded-Proto", "https")
        .field("X-Forwarded-Host", host)
        .field("X-Forwarded-Uri", target)
}

/// The same as nginx and Envoy ask.
fn in_other_forms<'s>(stack: &'s Stack, method: &str, host: &str, target: &str) -> [Ask<'s>; 3] {
    let ask = || stack.get(ASK).host("valet.internal").field("X-Original-Method", method);
    [
        ask().field("X-Original-URL", format!("https://{host}{target}")),
        ask().field("X-Original-URI", target).field("X-Forwarded-Host", host),
        stack.ask(method, &format!("{ASK}{target}")).host(host),
    ]
}

fn with<'s>(ask: Ask<'s>, fields: &[(&str, String)]) -> Ask<'s> {
    fields.iter().fold(ask, |ask, (name, value)| ask.field(name, value))
}

const COMPARED: [&str; 5] = ["location", "www-authenticate", "allow", "content-type", "retry-after"];

/// The same of an answer that Envoy is to give.
fn checked_verdict(checked: &Checked) -> (u16, Vec<Option<String>>) {
    (checked.status as u16, COMPARED.map(|name| checked.field(name).map(str::to_owned)).to_vec())
}

/// What is compared of an answer that is a refusal or a redirect.
fn verdict(answer: &Answer) -> (u16, Vec<Option<String>>) {
    (answer.status, COMPARED.map(|name| answer.field(name).map(str::to_owned)).to_vec())
}

#[tokio::test]
async fn three_hundred_requests_get_the_same_verdict_and_identity_by_an_app_route_and_by_each_way_of_asking() {
    let app = App::start().await;
    let mut setup = trusting().session("login_url = \"/login\"").policies(&[("a.cedar", POLICIES)]);
    setup = setup.tables("[[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"ext_authz\"");
    for need in NEEDS {
        let lines = format!("session = \"{need}\"\nclaims = {{ \"x-auth-email\" = \"email\" }}");
        setup = setup.app(&app, &format!("name = \"here-{need}\"\nhost = \"{need}.here.example\"\n{lines}")).tables(
            &format!("[[app]]\nname = \"there-{need}\"\nhost = \"{need}.there.example\"\nauthorize = true\n{lines}"),
        );
    }
    let stack = ready(setup).await;
    let token = |user: &str| stack.idp().token(&TokenRequest::user(user).claim("email", format!("{user}@exämple.com")));
    let (ada, bob, old) =
        (token("ada b/é"), token("bob"), stack.idp().token(&TokenRequest::user("ada").expires_in(-3600)));
    let bearer = |token: &str| ("Authorization", format!("Bearer {token}"));
    let cookie = |token: &str| ("Cookie", format!("a=1; session={token}; b=2"));
    let page = ("Accept", "text/html".to_owned());
    let credentials: [Vec<(&str, String)>; 12] = [
        vec![],
        vec![page.clone()],
        vec![bearer(&ada)],
        vec![cookie(&ada), page.clone()],
        vec![bearer(&bob)],
        vec![bearer(&old), page],
        vec![bearer("nonsense")],
        vec![("Authorization", basic("ada", "secret"))],
        vec![bearer(&ada), cookie(&bob)],
        vec![bearer(&ada), bearer(&ada)],
        vec![bearer(&ada), ("X-Auth-Subject", "eve".to_owned()), ("x_auth_email", "eve".to_owned())],
        vec![bearer(&ada), ("Content_Length", "5".to_owned())],
    ];
    let targets = [
        "/",
        "/page?x=1&y=%2F#",
        "/page?x=1&y=%2F..",
        "/a%20b/%C3%A9;v=1",
        "/a%2fb",
        "/a%5cb",
        "/a%252fb",
        "/%2e%2e/x",
        "/..;/x",
        "/admin/x",
        "/%61dmin",
        "/login",
    ];
    let methods = ["GET", "GET", "POST", "HEAD", "DELETE", "OPTIONS", "TRACE"];
    let mut compared = 0;
    let mut passed = 0;
    for (n, need) in NEEDS.into_iter().enumerate() {
        for (t, target) in targets.into_iter().enumerate() {
            for (c, fields) in credentials.iter().enumerate() {
                let method = methods[(n + t + c) % methods.len()];
                let before = app.seen().len();
                let (here, there) = (format!("{need}.here.example"), format!("{need}.there.example"));
                let by_route = with(stack.ask(method, target).host(&here), fields).send().await;
                let seen = app.seen().split_off(before).pop();
                let [url, uri, behind] = in_other_forms(&stack, method, &there, target);
                for ask in [asked(&stack, method, &there, target), url, uri, behind] {
                    let by_asking = with(ask.clone(), fields).send().await;
                    let case =
                        format!("{method} {target} {fields:?} of {need}: {:?}", String::from_utf8_lossy(&ask.bytes()));
                    match &seen {
                        None => assert_eq!(verdict(&by_asking), verdict(&by_route), "{case}"),
                        Some(seen) => {
                            by_asking.assert_status(200);
                            for name in ["x-auth-subject", "x-auth-issuer", "x-auth-email"] {
                                let told = seen.field(name).unwrap_or_default();
                                assert_eq!(by_asking.field(name), Some(told), "{name} of {case}");
                            }
                            passed += 1;
                        }
                    }
                }
                for raw in [true, false] {
                    let check = Check { method, host: &there, target, fields, source: None, raw };
                    let by_grpc = check.send(&stack.addresses[1]).await;
                    let case = format!("{method} {target} {fields:?} of {need}: gRPC, {raw}: {by_grpc:?}");
                    match &seen {
                        None => assert_eq!(checked_verdict(&by_grpc), verdict(&by_route), "{case}"),
                        Some(seen) => {
                            assert_eq!(by_grpc.status, 200, "{case}");
                            for name in ["x-auth-subject", "x-auth-issuer", "x-auth-email"] {
                                assert_eq!(by_grpc.field(name), seen.field(name), "{case}");
                                let gone = by_grpc.removed.iter().any(|removed| removed == name);
                                assert!(gone || seen.field(name).is_some(), "{case}");
                            }
                        }
                    }
                }
                compared += 1;
            }
        }
    }
    assert!(compared >= 300 && passed > 300, "{compared} requests, {passed} passed");
}

#[tokio::test]
async fn who_asks_learns_the_fields_of_all_apps_that_authorize_and_empty_ones_where_there_is_no_value() {
    let app = App::start().await;
    let setup = wiki("claims = { \"x-auth-email\" = \"email\" }")
        .tables(
            "[[app]]\nname = \"files\"\npath = \"/files\"\nauthorize = true\nclaims = { \"x-auth-team\" = \"team\" }",
        )
        .app(&app, "path = \"/portal\"\nclaims = { \"x-auth-floor\" = \"floor\" }");
    let stack = ready(setup).await;
    let token = stack.idp().token(&TokenRequest::user("ada").claim("email", "a@example.com").claim("team", "red"));
    let ask = |host, path| asked(&stack, "GET", host, path).bearer(&token);
    let answer = ask("wiki.example.com", "/page").send().await;
    answer
        .assert_status(200)
        .assert_field("x-auth-subject", "ada")
        .assert_field("x-auth-issuer", &stack.idp().issuer());
    answer.assert_field("x-auth-email", "a@example.com").assert_field("x-auth-team", "");
    answer.assert_no_field("x-auth-floor").assert_no_field("x-auth-cookie").assert_field("cache-control", "no-store");
    assert_eq!(answer.body, b"");
    let answer = ask(HOST, "/files/x").send().await;
    answer.assert_field("x-auth-email", "").assert_field("x-auth-team", "red");
    let line = stack.lines.all(2).await.pop().expect("a line");
    assert_eq!((&line["route"], &line["path"], &line["method"]), (&"files".into(), &"/files/x".into(), &"GET".into()));
    assert_eq!((&line["outcome"], &line["status"]), (&"authorized".into(), &200.into()));
    assert_eq!(stack.count("valet_requests_total", &[("route", "wiki"), ("outcome", "authorized")]), 1);
}

#[tokio::test]
async fn an_app_is_carried_by_one_of_us_and_plug_ins_are_not_asked_about() {
    let app = App::start().await;
    let stack = ready(wiki("").app(&app, "path = \"/portal\"")).await;
    stack.get("/page").host("wiki.example.com").as_user("ada").send().await.assert_problem(404, "not-found");
    for path in [FACE_SCAN, "/portal/x", "/.valet/x", "/.valet/authorize", "/elsewhere"] {
        asked(&stack, "GET", HOST, path).as_user("ada").send().await.assert_problem(404, "not-found");
    }
    assert!(app.seen().is_empty() && stack.vendor().users().is_empty());
}

#[tokio::test]
async fn only_trusted_proxies_may_ask() {
    let text = "[[app]]\nname = \"wiki\"\nauthorize = true";
    for setup in [Setup::new(), Setup::new().server("trusted_proxies = [\"10.0.0.0/8\"]")] {
        let stack = ready(setup.tables(text)).await;
        for target in [ASK, "/.valet/authorize/page", "/.valet/authorize?login=never"] {
            let ask = asked(&stack, "GET", HOST, "/page").as_user("ada");
            ask.send().await.assert_problem(404, "not-found");
            stack.get(target).as_user("ada").send().await.assert_problem(404, "not-found");
        }
    }
}

#[tokio::test]
async fn what_is_sent_otherwise_than_judged_is_refused() {
    let stack = ready(wiki("")).await;
    for target in
        ["//page", "/a//b", "/./a", "/a/../b", "/a/.", "/..", "https://wiki.example.com/page", "page", "/p#x", "*"]
    {
        let [url, uri, behind] = in_other_forms(&stack, "GET", "wiki.example.com", target);
        let asks = [asked(&stack, "GET", "wiki.example.com", target), url, uri];
        // Behind our path only what begins with a slash is asked for.
        for ask in asks.into_iter().chain(target.starts_with('/').then_some(behind)) {
            let answer = ask.as_user("ada").send().await;
            assert_eq!(answer.status, 400, "{target}: {answer}");
        }
    }
    let answer = stack.get(ASK).as_user("ada").send().await;
    answer.assert_problem(400, "bad-request");
    let two = asked(&stack, "GET", "wiki.example.com", "/page").field("X-Original-URI", "/other").as_user("ada");
    two.send().await.assert_problem(400, "bad-request");
}

#[tokio::test]
async fn an_app_whose_path_holds_an_escape_is_asked_about_in_each_spelling() {
    let open = "[[app]]\nname = \"open\"\nhost = \"wiki.example.com\"\nauthorize = true\nsession = \"none\"";
    let stack = ready(wiki("path = \"/caf%C3%A9\"").tables(open)).await;
    let ways = |target: &str| {
        let [url, uri, behind] = in_other_forms(&stack, "GET", "wiki.example.com", target);
        [asked(&stack, "GET", "wiki.example.com", target), url, uri, behind]
    };
    for target in ["/caf%C3%A9", "/caf%C3%A9/x", "/caf%c3%a9/x"] {
        for ask in ways(target) {
            ask.send().await.assert_problem(401, "session-required");
            ask.as_user("ada").send().await.assert_status(200);
        }
    }
    for ask in ways("/%63af%C3%A9/x") {
        ask.send().await.assert_problem(400, "bad-request");
    }
    for ask in ways("/caf%C3%A9s") {
        ask.send().await.assert_status(200);
    }
}

#[tokio::test]
async fn who_can_not_redirect_asks_for_a_401() {
    let stack = ready(wiki("login_url = \"/login\"")).await;
    let ask = |query| asked_with(&stack, query, "GET", "wiki.example.com", "/page?x=1").as_navigation();
    assert_eq!(ask("").send().await.assert_status(302).location(), "/login?return_to=%2Fpage%3Fx%3D1");
    ask("?login=never").send().await.assert_status(401).assert_field("www-authenticate", "Bearer");
    let answer = ask("?login=nevr").send().await;
    answer.assert_status(400);
}

#[tokio::test]
async fn the_cookie_goes_on_without_our_credential_where_the_proxy_asks_for_it() {
    let stack = ready(wiki("")).await;
    let token = stack.token("ada");
    let ask = |query, cookie: &str| {
        asked_with(&stack, query, "GET", "wiki.example.com", "/page")
            .field("Cookie", cookie)
            .field("X-Auth-Cookie", "x")
    };
    for (cookie, left) in [
        (format!("a=1; session={token}; b=é"), "a=1; b=é"),
        (format!("session={token}"), ""),
        (format!("session.0={}; session.1={}; c=3", &token[..20], &token[20..]), "c=3"),
    ] {
        let answer = ask("?forward=cut", &cookie).send().await;
        answer.assert_status(200).assert_field("x-auth-cookie", left);
        ask("", &cookie).send().await.assert_status(200).assert_no_field("x-auth-cookie");
    }
    let whole = ready(wiki("pass_credential = true")).await;
    let cookie = format!("session={}", whole.token("ada"));
    let ask = asked_with(&whole, "?forward=cut", "GET", "wiki.example.com", "/").field("Cookie", &cookie);
    ask.send().await.assert_field("x-auth-cookie", &cookie);
}

#[tokio::test]
async fn a_preflight_is_judged_like_any_request_for_its_answer_would_let_it_pass() {
    let stack = ready(wiki("allowed_origins = [\"https://spa.example.com\"]")).await;
    let ask = asked(&stack, "OPTIONS", "wiki.example.com", "/page").field("Origin", "https://spa.example.com");
    let answer = ask.field("Access-Control-Request-Method", "GET").send().await;
    answer
        .assert_problem(401, "session-required")
        .assert_field("access-control-allow-origin", "https://spa.example.com");
}

#[tokio::test]
async fn asking_counts_per_client_address_and_person() {
    let setup =
        wiki("").tables("[limits]\nper_subject = { rate = 1, burst = 2 }\nper_address = { rate = 1, burst = 3 }");
    let stack = ready(setup).await;
    let ask = |address: &str, user: &str| {
        asked(&stack, "GET", "wiki.example.com", "/page").field("X-Forwarded-For", address).as_user(user)
    };
    for status in [200, 200, 429] {
        ask("203.0.113.7", "ada").send().await.assert_status(status);
    }
    for user in ["bob", "eve", "joe"] {
        let limited = user == "joe";
        ask("203.0.113.8", user).send().await.assert_status(200);
        assert!(!limited || ask("203.0.113.8", user).send().await.status == 429);
    }
}
