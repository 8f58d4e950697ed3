//! Apps behind the gateway: who gets to them, what they learn, and what they never see.

use valet_gateway::demo::idp::TokenRequest;

use crate::kit::ask::basic;
use crate::kit::{App, FACE_SCAN, HOST, NOBODY, Setup, Stack, in_time, until};

/// An app for all paths that needs a session, and a gateway before it.
async fn portal(lines: &str) -> (App, Stack) {
    let app = App::start().await;
    let stack = Stack::before(&app, lines).await;
    (app, stack)
}

#[tokio::test]
async fn the_app_learns_the_subject_and_never_the_credential() {
    let (app, stack) = portal("").await;
    let answer = stack.get("/orders?x=1").as_user("ada").field("Cookie", "a=1; b=2").send().await;
    answer.assert_status(200);
    assert_eq!(answer.text(), "hello");
    let seen = app.last();
    assert_eq!(seen.line(), "GET /orders?x=1");
    assert_eq!(seen.field("x-auth-subject"), Some("ada"));
    assert_eq!(seen.field("x-auth-issuer"), Some(&*stack.idp().issuer()));
    assert_eq!((seen.field("authorization"), seen.field("cookie")), (None, Some("a=1; b=2")));
    assert_eq!(seen.field("host"), Some(HOST));
    assert_eq!(seen.field("x-request-id"), answer.field("x-request-id"));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!((seen.field("x-forwarded-proto"), seen.field("x-forwarded-host")), (Some("http"), Some(HOST)));
    stack.get("/").field("Cookie", format!("a=1; session={}; b=2", stack.token("ada"))).send().await.assert_status(200);
    assert_eq!(app.last().field("cookie"), Some("a=1; b=2"));
    assert!(!app.seen().iter().any(|seen| seen.head.contains(&stack.token("ada"))));
}

#[tokio::test]
async fn the_credential_goes_on_only_where_it_was_asked_for() {
    let (app, stack) = portal("pass_credential = true").await;
    stack.get("/").as_user("ada").send().await.assert_status(200);
    assert_eq!(app.last().field("authorization"), Some(&*format!("Bearer {}", stack.token("ada"))));
}

#[tokio::test]
async fn a_route_comes_after_the_plug_ins_and_the_most_specific_wins() {
    let [all, api, host, suffix] = [App::start().await, App::start().await, App::start().await, App::start().await];
    let stack = Setup::new()
        .app(&all, "name = \"all\"\nsession = \"none\"")
        .app(&api, "name = \"api\"\npath = \"/api/\"\nsession = \"none\"")
        .app(&suffix, "name = \"suffix\"\nhost = \"*.example.com\"\nsession = \"none\"\npath = \"/s\"")
        .app(&host, "name = \"host\"\nhost = \"App.example.com\"\nsession = \"none\"\npath = \"/s\"")
        .start()
        .await;
    for (host_, path, app) in [
        (HOST, "/", &all),
        (HOST, "/apis", &all),
        (HOST, "/api", &api),
        (HOST, "/api/x", &api),
        (HOST, "/s/x", &host),
        ("APP.example.com:8443", "/s", &host),
        ("other.example.com", "/s", &suffix),
        ("example.com", "/s", &all),
    ] {
        let before = app.seen().len();
        stack.get(path).host(host_).send().await.assert_status(200);
        assert_eq!(app.seen().len(), before + 1, "{host_}{path}");
    }
    stack.get(FACE_SCAN).send().await.assert_problem(401, "session-required");
    for own in ["/.valet", "/.valet/", "/.valet/x"] {
        stack.get(own).send().await.assert_problem(404, "not-found");
    }
}

#[tokio::test]
async fn nobody_gets_in_without_a_session_whatever_else_the_request_says() {
    let (app, stack) = portal("").await;
    for fields in [
        &[][..],
        &[("User-Agent", "kube-probe/1.0")],
        &[("User-Agent", "")],
        &[("User-Agent", "GoogleHC/1.0"), ("X-Forwarded-For", "127.0.0.1")],
        &[("Upgrade", "x"), ("Connection", "upgrade")],
        &[("Upgrade", "websocket"), ("Connection", "upgrade"), ("Sec-WebSocket-Version", "13")],
        &[("Upgrade", "h2c"), ("Connection", "upgrade, http2-settings"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")],
        &[("X-Original-URL", "/public"), ("X-Rewrite-URL", "/public"), ("X-Forwarded-Uri", "/public")],
        &[("X-HTTP-Method-Override", "OPTIONS")],
        &[("X-Auth-Subject", "ada"), ("X-Auth-Issuer", "x")],
        &[("Authorization", "Basic YTpi")],
        &[("Authorization", "Bearer a.b.c")],
        &[("Cookie", "session=nonsense")],
        &[("Connection", "authorization, cookie")],
    ] {
        let ask = fields.iter().fold(stack.get("/admin"), |ask, (name, value)| ask.field(name, value));
        ask.send().await.assert_status(401);
        let ask = fields.iter().fold(stack.ask("OPTIONS", "/admin"), |ask, (name, value)| ask.field(name, value));
        ask.send().await.assert_status(401);
    }
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn an_optional_session_is_told_and_an_expired_one_is_none() {
    let (app, stack) = portal("session = \"optional\"").await;
    stack.get("/").send().await.assert_status(200);
    assert_eq!(app.last().field("x-auth-subject"), None);
    stack.get("/").as_user("ada").send().await.assert_status(200);
    assert_eq!(app.last().field("x-auth-subject"), Some("ada"));
    stack.get("/").field("Authorization", basic("a", "b")).send().await.assert_status(200);
    assert_eq!(app.last().field("authorization"), Some(&*basic("a", "b")));
    let seen = app.seen().len();
    stack.get("/").bearer("a.b.c").send().await.assert_problem(401, "session-invalid");
    assert_eq!(app.seen().len(), seen);
    let token = stack.token("ada");
    stack.advance(std::time::Duration::from_secs(2 * 3600));
    stack.get("/").cookie(&token).send().await.assert_status(200);
    assert_eq!((app.last().field("x-auth-subject"), app.last().field("cookie")), (None, None));
}

#[tokio::test]
async fn where_no_session_is_asked_for_nothing_is_read_and_nobody_is_named() {
    let (app, stack) = portal("session = \"none\"").await;
    stack.get("/").bearer("a.b.c").field("X-Auth-Subject", "ada").send().await.assert_status(200);
    assert_eq!((app.last().field("authorization"), app.last().field("x-auth-subject")), (None, None));
    stack.get("/").as_user("ada").send().await.assert_status(200);
    assert_eq!(app.last().field("x-auth-subject"), None);
}

#[tokio::test]
async fn what_only_the_gateway_may_say_is_taken_out_in_every_spelling() {
    let (app, stack) = portal("claims = { x-auth-email = \"email\" }").await;
    let forged = [
        "X-Auth-Subject",
        "x-auth-subject",
        "X_Auth_Subject",
        "X.Auth.Subject",
        "x-auth_subject",
        "X-Auth-Issuer",
        "x_auth_issuer",
        "X-Auth-Email",
        "x.auth.email",
        "Forwarded",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Real-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Request-Id",
        "X~Auth~Subject",
        "x+auth+subject",
        "X!Auth!Email",
        "x|forwarded|for",
        "Proxy",
        "Client-IP",
    ];
    let ask = forged.iter().fold(stack.get("/").as_user("ada"), |ask, name| ask.field(name, "forged"));
    ask.field("X-Auth-Subject", "forged").send().await.assert_status(200);
    let seen = app.last();
    assert!(!seen.head.contains("forged"), "{}", seen.head);
    assert_eq!(seen.field("x-auth-subject"), Some("ada"));
    assert_eq!(seen.field("x-auth-email"), None);
}

#[tokio::test]
async fn what_one_app_believes_no_client_says_to_another() {
    let app = App::start().await;
    let with_claims = "name = \"mail\"\npath = \"/mail\"\nclaims = { x-auth-email = \"email\" }";
    let others = ["name = \"open\"\npath = \"/open\"\nsession = \"none\"", "name = \"rest\"\npath = \"/\""];
    let setup = others.iter().fold(Setup::new().app(&app, with_claims), |setup, lines| setup.app(&app, lines));
    let stack = setup.start().await;
    stack.until_ready().await;
    for path in ["/mail", "/open", "/"] {
        for (name, body) in [("x-auth-email", ""), ("X_Auth_Email", ""), ("X-Auth.Email", "x")] {
            stack.get(path).as_user("ada").field(name, "forged").body(body).send().await.assert_status(200);
            assert!(!app.last().head.contains("forged"), "{}", app.last().head);
        }
    }
}

#[tokio::test]
async fn a_connection_field_names_nothing_of_ours_away() {
    let (app, stack) = portal("").await;
    let ask = stack.get("/").as_user("ada").field("Connection", "close, X-Auth-Subject, x-auth-issuer, X-Mine");
    ask.field("X-Mine", "1").send().await.assert_status(200);
    let seen = app.last();
    assert_eq!((seen.field("x-auth-subject"), seen.field("x-mine")), (Some("ada"), None));
    // What can't be a list of names, or names what frames or routes a request.
    for list in ["host", "content-length", "x-forwarded-for", "a b", "\"x\"", "a,b,c,d,e,f,g,h,i,j,k"] {
        let ask = stack.get("/").as_user("ada").field("Connection", list);
        ask.send().await.assert_problem(400, "bad-request");
    }
}

#[tokio::test]
async fn the_app_gets_the_path_that_was_judged() {
    let (app, stack) = portal("").await;
    for (sent, judged) in [
        ("/a/b?x=1&y=%2f..%2f", "/a/b?x=1&y=%2f..%2f"),
        ("//a//b", "/a/b"),
        ("/a/../b/./c", "/b/c"),
        ("/../../etc", "/etc"),
        ("/a%20b/%C3%A9;v=1", "/a%20b/%C3%A9;v=1"),
        ("/\"{}|^~!$&'()*+,=:@", "/\"{}|^~!$&'()*+,=:@"),
        (&format!("http://{HOST}/x?y"), "/x?y"),
    ] {
        stack.get(sent).as_user("ada").send().await.assert_status(200);
        assert_eq!(app.last().line(), format!("GET {judged}"), "{sent}");
    }
    let before = app.seen().len();
    for sent in [
        "/a%2fb",
        "/a%5cb",
        "/a\\b",
        "/a%00",
        "/a%0d%0ab",
        "/%zz",
        "/%ff",
        "/%2e%2e/a",
        "/..;/a",
        "/%252e%252e/a",
        "/a#b",
        "/%252fa",
        "/<a>",
        "/`a",
        "/a?<b",
        "http://other.example/a",
        "x",
        "*",
    ] {
        stack.get(sent).as_user("ada").send().await.assert_problem(400, "bad-request");
    }
    assert_eq!(app.seen().len(), before);
}

#[tokio::test]
async fn a_path_that_two_readings_route_differently_is_refused() {
    let (open, admin) = (App::start().await, App::start().await);
    let stack = Setup::new()
        .app(&open, "name = \"open\"\nsession = \"none\"\nencoded_slash = true")
        .app(&admin, "name = \"admin\"\npath = \"/admin\"\nencoded_slash = true")
        .start()
        .await;
    for sent in ["/%61dmin", "/admin;x", "/admin%3bx/y", "/a%64min/x", "/%2fadmin", "/x;/%61dmin/..;y"] {
        let answer = stack.get(sent).send().await;
        assert!(answer.status == 400 || open.seen().is_empty() || sent.starts_with("/x"), "{sent}: {answer}");
    }
    for sent in ["/%61dmin", "/admin;x", "/admin%3bx/y", "/a%64min/x", "/%2fadmin"] {
        stack.get(sent).send().await.assert_problem(400, "bad-request");
    }
    stack.get("/plugins/face%2Dscan").send().await.assert_problem(400, "bad-request");
    stack.get("/a%2fb;c").send().await.assert_status(200);
    assert_eq!(open.last().line(), "GET /a%2fb;c");
    assert_eq!(admin.connections(), 0);
}

#[tokio::test]
async fn an_app_whose_path_holds_an_escape_is_reached_by_it_and_protected_in_each_spelling() {
    let [open, cafe, blank] = [App::start().await, App::start().await, App::start().await];
    let stack = Setup::new()
        .app(&open, "name = \"open\"\nsession = \"none\"")
        .app(&cafe, "name = \"cafe\"\npath = \"/caf%C3%A9\"")
        .app(&blank, "name = \"blank\"\npath = \"/a%20b/\"")
        .start()
        .await;
    for (app, sent) in [
        (&cafe, "/caf%C3%A9"),
        (&cafe, "/caf%C3%A9/x"),
        (&cafe, "/caf%c3%a9/x"),
        (&cafe, "/caf%C3%a9/x;v=1/%20y"),
        (&blank, "/a%20b"),
        (&blank, "/a%20b/x"),
    ] {
        stack.get(sent).send().await.assert_problem(401, "session-required");
        stack.get(sent).as_user("ada").send().await.assert_status(200);
        assert_eq!(app.last().line(), format!("GET {sent}"));
    }
    for sent in [
        "/%63af%C3%A9/x",
        "/c%61f%c3%a9",
        "/caf%C3%A9;x",
        "/caf%C3%A9%3Fx",
        "/caf%C3%A9%2fx",
        "/%61%20b/x",
        "/a%20%62/x",
        "/a%20b;/x",
    ] {
        stack.get(sent).send().await.assert_problem(400, "bad-request");
        stack.get(sent).as_user("ada").send().await.assert_problem(400, "bad-request");
    }
    assert_eq!(open.connections(), 0);
    for sent in ["/caf%C3%A9s", "/cafe/x", "/a%20bc"] {
        stack.get(sent).send().await.assert_status(200);
        assert_eq!(open.last().line(), format!("GET {sent}"));
    }
}

#[tokio::test]
async fn a_request_that_two_parsers_could_read_in_two_ways_never_reaches_the_app() {
    let (app, stack) = portal("session = \"none\"").await;
    let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n{body}");
    for raw in [
        post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{smuggled}")),
        post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &format!("0\r\n\r\n{smuggled}")),
        post("Content-Length: 0\r\nContent-Length: 0\r\n", &smuggled),
        post("Content-Length: 1, 1\r\n", "x"),
        post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        post("X: a\r\n b\r\n", ""),
        format!("POST / HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("GET / HTTP/1.1\nHost: {HOST}\n\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /\0 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: a\0b\r\n\r\n"),
    ] {
        let mut wire = stack.wire().await;
        wire.write(&raw).await;
        wire.answer().await.assert_problem(400, "bad-request").assert_field("connection", "close");
        wire.assert_closed().await;
    }
    assert_eq!(app.connections(), 0);
    stack.ask("CONNECT", "/").send().await.assert_problem(405, "method-not-allowed");
    stack.ask("TRACE", "/").send().await.assert_problem(405, "method-not-allowed");
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn bodies_arrive_whole_and_nothing_behind_them_is_a_request() {
    let (app, stack) = portal("").await;
    let mut wire = stack.wire().await;
    let token = stack.token("ada");
    let head =
        |fields: &str| format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n{fields}\r\n");
    wire.write(head("Content-Length: 5\r\n") + "12345").await;
    wire.answer().await.assert_status(200);
    assert_eq!(app.last().body, b"12345");
    wire.write(head("Transfer-Encoding: chunked\r\n")).await;
    wire.write("3;ext=1\r\nabc\r\n").await;
    wire.write("2\r\nde\r\n0\r\nTrailer: x\r\n\r\n").await;
    wire.answer().await.assert_status(200);
    assert_eq!(app.last().body, b"abcde");
    // Chunks that two parsers could read in two ways.
    for chunks in ["0x2\r\nab\r\n0\r\n\r\n", "+2\r\nab\r\n0\r\n\r\n", "2\nab\r\n0\r\n\r\n", "2\r\nabc0\r\n\r\n"] {
        let mut wire = stack.wire().await;
        wire.write(head("Transfer-Encoding: chunked\r\n") + chunks).await;
        wire.answer().await.assert_problem(400, "bad-request");
    }
    // Kept alive, each answered by a look of its own.
    wire.write(format!("GET /y HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    wire.answer().await.assert_problem(401, "session-required");
}

#[tokio::test]
async fn an_app_that_fails_is_told_from_one_that_is_slow() {
    let (_app, stack) = portal("read_timeout = \"200ms\"").await;
    for path in ["/gone", "/nonsense", "/switch"] {
        stack.get(path).as_user("ada").send().await.assert_problem(502, "app-unavailable");
    }
    stack.get("/hang").as_user("ada").send().await.assert_problem(504, "app-timeout");
    let page = stack.get("/gone").as_user("ada").as_navigation().send().await;
    page.assert_status(502).assert_field("content-type", "text/html; charset=utf-8");
    assert_eq!((stack.answered("app_error"), stack.answered("app_timeout")), (4, 1));
    let nobody = format!("[[app]]\nname = \"portal\"\nupstreams = [\"{NOBODY}\"]");
    let stack = Setup::new().tables(&nobody).start().await;
    stack.get("/").as_user("ada").send().await.assert_problem(502, "app-unavailable");
}

#[tokio::test]
async fn a_body_has_a_bound_announced_or_not() {
    let (app, stack) = portal("max_body = \"10B\"").await;
    stack.post("/").as_user("ada").body("0123456789").send().await.assert_status(200);
    stack.post("/").as_user("ada").body("0123456789x").send().await.assert_problem(413, "body-too-large");
    assert_eq!(app.seen().len(), 1);
    let mut wire = stack.wire().await;
    let token = stack.token("ada");
    wire.write(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789x\r\n0\r\n\r\n"
    ))
    .await;
    wire.answer().await.assert_problem(413, "body-too-large");
}

#[tokio::test]
async fn a_websocket_is_a_request_like_any_other_and_then_a_tunnel() {
    let (app, stack) = portal("").await;
    let upgrade = |token: &str| {
        format!(
            "GET /socket HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    };
    let mut wire = stack.wire().await;
    wire.write(upgrade("a.b.c")).await;
    wire.answer().await.assert_problem(401, "session-invalid");
    assert_eq!(app.connections(), 0);
    let mut wire = stack.wire().await;
    // What is sent ahead waits for the app's 101.
    wire.write(upgrade(&stack.token("ada")) + "early").await;
    let head = wire.read_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(wire.read_to("early").await, "early");
    wire.write("ping").await;
    assert_eq!(wire.read_to("ping").await, "ping");
    let seen = app.last();
    assert_eq!((seen.field("x-auth-subject"), seen.field("authorization")), (Some("ada"), None));
    assert_eq!(seen.field("upgrade"), Some("websocket"));
}

#[tokio::test]
async fn each_piece_of_an_answer_arrives_at_once() {
    let (_app, stack) = portal("").await;
    let mut sent = stack.get("/pieces").as_user("ada").start().await;
    // The app sends no more until the client goes: the first piece is not held back.
    let text = sent.wire.read_to("first").await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

#[tokio::test]
async fn what_is_between_the_app_and_the_gateway_stays_there() {
    let (_app, stack) = portal("").await;
    let answer = stack.get("/private").as_user("ada").send().await;
    answer.assert_status(200).assert_no_field("x-internal").assert_no_field("keep-alive");
}

#[tokio::test]
async fn a_navigation_without_a_session_is_sent_to_the_login_page_of_the_app() {
    let (_app, stack) = portal("login_url = \"/sign-in\"").await;
    let answer = stack.get("/orders?x=1").as_navigation().send().await;
    answer.assert_status(302).assert_field("location", "/sign-in?return_to=%2Forders%3Fx%3D1");
    stack.get("/orders").send().await.assert_problem(401, "session-required");
    stack.get("/orders").as_navigation().bearer("a.b.c").send().await.assert_status(401);
    stack.post("/orders").as_navigation().send().await.assert_status(401);
}

#[tokio::test]
async fn one_line_tells_of_each_request() {
    let (app, stack) = portal("").await;
    stack.get("/orders?secret=1").as_user("ada").send().await;
    stack.get("/gone").as_user("ada").send().await;
    let lines = stack.lines.all(2).await;
    let line = lines.iter().find(|line| line["path"] == "/orders").expect("a line");
    assert_eq!(
        (&line["route"], &line["status"], &line["outcome"]),
        (&"portal".into(), &200.into(), &"forwarded".into())
    );
    assert_eq!((&line["method"], &line["session_check"]), (&"GET".into(), &"valid".into()));
    assert_eq!(line["upstream"], app.address);
    assert_eq!(line["subject"].as_str().map(str::len), Some(43));
    assert!(!stack.lines.text(2).await.contains("secret"));
    assert_eq!(lines.iter().find(|line| line["path"] == "/gone").expect("a line")["outcome"], "app_error");
    until("counters", || stack.answered("forwarded") == 1 && stack.answered("app_error") == 1).await;
}

#[tokio::test]
async fn connections_to_the_app_are_used_again() {
    let (app, stack) = portal("").await;
    for _ in 0..5 {
        stack.get("/").as_user("ada").send().await.assert_status(200);
    }
    assert_eq!((app.seen().len(), app.connections()), (5, 1));
}

#[tokio::test]
async fn a_request_that_is_cut_at_the_end_of_the_drain_is_told_of() {
    let app = App::start().await;
    let mut stack = Setup::new().real_time().server("drain = \"100ms\"").app(&app, "").start().await;
    stack.until_ready().await;
    let mut sent = stack.get("/pieces").as_user("ada").start().await;
    sent.wire.read_to("first").await;
    stack.take_gateway().stop().await;
    let lines = stack.lines.all(1).await;
    assert_eq!((&lines[0]["path"], &lines[0]["outcome"]), (&"/pieces".into(), &"cut".into()));
    assert_eq!((&lines[0]["status"], &lines[0]["upstream"]), (&200.into(), &app.address.as_str().into()));
    assert_eq!(stack.answered("cut"), 1);
}

#[tokio::test]
async fn a_field_that_frames_has_one_spelling() {
    let (app, stack) = portal("session = \"none\"").await;
    for name in ["Content_Length", "Content.Length", "Transfer_Encoding", "transfer~encoding", "HOST_", "Ho-st"] {
        let answer = stack.get("/").field(name, "5").send().await;
        let frames = name.starts_with(['C', 'T', 't']);
        assert_eq!(answer.status, if frames { 400 } else { 200 }, "{name}");
    }
    assert!(!app.seen().iter().any(|seen| seen.head.to_lowercase().contains("content_length")));
}

#[tokio::test]
async fn a_subject_that_no_field_can_carry_as_it_is_gets_to_no_app() {
    let (app, stack) = portal("claims = { x-auth-mail = \"email\" }").await;
    for subject in ["ada ", " ada", "\u{a0}ada"] {
        let token = stack.idp().token(&TokenRequest::user(subject));
        stack.get("/").bearer(&token).send().await.assert_problem(403, "not-permitted");
        // The vendor is told in a place that carries it.
        stack.get(FACE_SCAN).bearer(&token).send().await.assert_status(302);
    }
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn who_asks_for_a_websocket_is_bound_as_others_until_the_app_says_yes() {
    let (app, stack) = portal("session = \"none\"\nread_timeout = \"200ms\"\nmax_body = \"10B\"").await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    // With a body it is a request like any other.
    for (line, fields, body, status) in [
        ("GET /x", "Content-Length: 5\r\n", "12345", 200),
        ("GET /x", "Content-Length: 11\r\n", "0123456789x", 413),
        ("GET /x", "Transfer-Encoding: chunked\r\n", "b\r\n0123456789x\r\n0\r\n\r\n", 413),
        ("GET /hang", "Content-Length: 1\r\n", "x", 504),
        ("POST /x", "", "", 200),
    ] {
        let mut wire = stack.wire().await;
        wire.write(format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{upgrade}{fields}\r\n{body}")).await;
        wire.answer().await.assert_status(status);
        assert!(app.seen().iter().all(|seen| seen.field("upgrade").is_none()), "{line} {fields}");
    }
    // Without `Connection` it is no wish for one either (RFC 6455, section 4.1).
    stack.get("/x").field("Upgrade", "websocket").send().await.assert_status(200);
    assert_eq!(app.last().field("upgrade"), None);
    let mut tunnel = stack.wire().await;
    tunnel.write(format!("GET /socket HTTP/1.1\r\nHost: {HOST}\r\n{upgrade}\r\n")).await;
    tunnel.read_to("\r\n\r\n").await;
    // An app that does not say yes in time is left; one that did may be silent for longer.
    let mut silent = stack.wire().await;
    silent.write(format!("GET /hang HTTP/1.1\r\nHost: {HOST}\r\n{upgrade}\r\n")).await;
    silent.answer().await.assert_problem(504, "app-timeout");
    silent.assert_closed().await;
    tunnel.write("still there").await;
    tunnel.read_to("still there").await;
}

#[tokio::test]
async fn an_answer_that_is_ready_while_the_gateway_stops_closes_its_connection() {
    let app = App::start().await;
    let mut stack = Setup::new().real_time().app(&app, "").start().await;
    stack.until_ready().await;
    let mut sent = stack.get("/later").as_user("ada").start().await;
    until("the app has it", || !app.seen().is_empty()).await;
    let stopping = tokio::spawn(stack.take_gateway().stop());
    // The stop has begun when answers close their connections.
    in_time("the stop", async { while stack.get("/.valet").send().await.field("connection") != Some("close") {} })
        .await;
    app.go_on();
    sent.answer().await.assert_status(200).assert_field("connection", "close");
    stopping.await.expect("a stop");
}
