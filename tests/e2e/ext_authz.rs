//! Envoy asks over gRPC.

use crate::kit::envoy::{Check, Checked, call, call_on};
use crate::kit::{HOST, Setup, Stack};

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"ext_authz\"\n";

const WIKI: &str = "[[app]]\nname = \"wiki\"\nhost = \"wiki.example.com\"\nauthorize = true\n";

async fn wiki(lines: &str) -> Stack {
    ready(Setup::new().tables(&format!("{LISTENER}{WIKI}{lines}"))).await
}

async fn ready(setup: Setup) -> Stack {
    let stack = setup.start().await;
    stack.until_ready().await;
    stack
}

fn to_page<'a>(fields: &'a [(&'a str, String)]) -> Check<'a> {
    Check { method: "GET", host: "wiki.example.com", target: "/page?x=1", fields, source: None, raw: true }
}

async fn checked(stack: &Stack, check: Check<'_>) -> Checked {
    let checked = check.send(&stack.addresses[1]).await;
    assert_eq!(checked.grpc_status.as_deref(), Some("0"), "{checked:?}");
    checked
}

fn bearer(stack: &Stack) -> (&'static str, String) {
    ("authorization", format!("Bearer {}", stack.token("ada")))
}

#[tokio::test]
async fn a_request_that_may_pass_says_who_it_is_from_and_loses_what_the_client_said() {
    let stack = wiki("claims = { \"x-auth-email\" = \"email\" }").await;
    let mut fields = vec![bearer(&stack), (":path", "/page?x=1".into()), ("x-request-id", "1".into())];
    for name in
        ["x-auth-subject", "x_auth_email", "x-auth-assertion", "remote-user", "x-forwarded-for", "x-envoy-internal"]
    {
        fields.push((name, "203.0.113.9".to_owned()));
    }
    fields.push(("cookie", format!("a=1; session={}; b=2", stack.token("ada"))));
    fields.push(("transfer-encoding", "chunked".into()));
    for raw in [true, false] {
        let passed = checked(&stack, Check { raw, ..to_page(&fields) }).await;
        assert_eq!(passed.status, 200);
        assert_eq!(passed.field("x-auth-subject"), Some("ada"));
        assert_eq!(passed.field("x-auth-issuer"), Some(&*stack.idp().issuer()));
        let mut removed = passed.removed.clone();
        removed.sort_unstable();
        let mut expected = vec!["authorization", "remote-user", "x-auth-assertion", "x-auth-email", "x_auth_email"];
        expected.sort_unstable();
        assert_eq!(removed, expected);
        assert_eq!(passed.set.len(), 2 + usize::from(passed.field("cookie") == Some("a=1; b=2")), "{passed:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_the_one_of_an_app() {
    let stack = wiki("login_url = \"/login\"\nallowed_origins = [\"https://spa.example.com\"]").await;
    let refused = checked(&stack, to_page(&[])).await;
    assert_eq!((refused.status, refused.field("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(refused.field("content-type"), Some("application/problem+json"));
    assert!(refused.body.contains("session-required") && refused.field("content-length").is_none(), "{refused:?}");
    let login = checked(&stack, to_page(&[("accept", "text/html".into())])).await;
    assert_eq!((login.status, login.field("location")), (302, Some("/login?return_to=%2Fpage%3Fx%3D1")));
    for (host, target, status) in [
        ("wiki.example.com", "//page", 400),
        ("wiki.example.com", "/a/../b", 400),
        ("wiki.example.com", "", 400),
        ("", "/page", 400),
        ("wiki.example.com@evil", "/page", 400),
        (HOST, "/plugins/face-scan", 404),
        (HOST, "/elsewhere", 404),
    ] {
        let refused = checked(&stack, Check { host, target, ..to_page(&[bearer(&stack)]) }).await;
        assert_eq!(refused.status, status, "{host}{target}");
    }
    // Envoy gives any answer on: a preflight's too.
    let preflight = [("origin", "https://spa.example.com".into()), ("access-control-request-method", "PUT".into())];
    let answered = checked(&stack, Check { method: "OPTIONS", ..to_page(&preflight) }).await;
    assert_eq!((answered.status, answered.field("access-control-allow-methods")), (204, Some("PUT")));
}

#[tokio::test]
async fn the_client_is_whom_envoy_sees() {
    let setup = Setup::new().server("trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]");
    let stack = ready(setup.tables(&format!("{LISTENER}{WIKI}"))).await;
    let fields = [bearer(&stack), ("x-forwarded-for", "203.0.113.7".into())];
    let cases = [(Some("203.0.113.8"), "203.0.113.8"), (Some("10.0.0.1"), "203.0.113.7"), (None, "203.0.113.7")];
    for (n, (source, peer)) in cases.into_iter().enumerate() {
        checked(&stack, Check { source, ..to_page(&fields) }).await;
        let line = stack.lines.all(n + 1).await.pop().expect("a line");
        assert_eq!((line["peer"].as_str(), line["outcome"].as_str()), (Some(peer), Some("authorized")), "{source:?}");
    }
}

/// Envoy passes on what it does not write: an app that believes such a field would believe the client.
#[tokio::test]
async fn what_a_proxy_says_of_a_request_is_taken_from_a_proxy_alone() {
    let setup = Setup::new().server("trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]");
    let stack = ready(setup.tables(&format!("{LISTENER}{WIKI}"))).await;
    let users = ["x-forwarded-user", "x-forwarded-email", "x-forwarded-prefix", "x-forwarded"];
    let of_request = ["forwarded", "x-forwarded-host", "x-forwarded-port"];
    let envoys = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-client-cert", "x-envoy-attempt-count"];
    let mut fields = vec![bearer(&stack)];
    fields.extend([&users[..], &of_request, &envoys].concat().into_iter().map(|name| (name, "evil".to_owned())));
    for (source, by_proxy) in [(Some("203.0.113.8"), false), (Some("10.0.0.1"), true), (None, true)] {
        let passed = checked(&stack, Check { source, ..to_page(&fields) }).await;
        assert_eq!(passed.status, 200);
        let mut expected = [&["authorization"][..], &users, if by_proxy { &[] } else { &of_request }].concat();
        let mut removed: Vec<&str> = passed.removed.iter().map(String::as_str).collect();
        removed.retain(|name| !name.starts_with("x-auth-"));
        expected.sort_unstable();
        removed.sort_unstable();
        assert_eq!(removed, expected, "{source:?}");
    }
}

#[tokio::test]
async fn what_is_no_check_ends_the_call() {
    let stack = wiki("").await;
    let address = &stack.addresses[1];
    let path = "/envoy.service.auth.v3.Authorization/Check";
    for (path, message, status) in [
        ("/envoy.service.auth.v2.Authorization/Check", &b""[..], "12"),
        (path, &[0xff, 0xff], "3"),
        (path, &[0x0a; 300_000], "8"),
    ] {
        assert_eq!(call(address, path, message).await.grpc_status.as_deref(), Some(status));
    }
    // Nobody is told who could be anybody: an empty question is one about nothing.
    assert_eq!(call(address, path, b"").await.status, 400);
}

#[tokio::test]
async fn only_trusted_proxies_and_this_machine_may_ask() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let setup = Setup::new().server("trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]");
    let stack = ready(setup.tables(&format!("{LISTENER}proxy_protocol = true\n{WIKI}"))).await;
    for (client, answered) in [("203.0.113.7", false), ("10.0.0.1", true), ("127.0.0.2", true)] {
        let mut stream = tokio::net::TcpStream::connect(&stack.addresses[1]).await.expect("a connection");
        let start = format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        stream.write_all(&[start.as_bytes(), &settings].concat()).await.expect("written");
        let mut first = [0; 9];
        let read = crate::kit::in_time("an answer", stream.read(&mut first)).await;
        assert_eq!(read.is_ok_and(|read| read > 0), answered, "{client}");
    }
    assert_eq!(stack.answered("turned_away"), 1);
}

#[tokio::test]
async fn a_proxy_that_sleeps_holds_up_no_stop() {
    let setup = Setup::new().real_time().server("drain = \"1h\"");
    let mut stack = ready(setup.tables(&format!("{LISTENER}{WIKI}"))).await;
    let mut asleep = tokio::net::TcpStream::connect(&stack.addresses[1]).await.expect("a connection");
    crate::http2::fall_asleep(&mut asleep).await;
    crate::kit::in_time("the stop", stack.take_gateway().stop()).await;
    drop(asleep);
}

#[tokio::test]
async fn a_proxy_that_a_reload_trusts_no_more_is_answered_no_more_on_a_connection_that_stands() {
    use tokio::io::AsyncWriteExt;
    let setup = Setup::new().server("trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]");
    let stack = ready(setup.tables(&format!("{LISTENER}proxy_protocol = true\n{WIKI}"))).await;
    let address = &stack.addresses[1];
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.write_all(b"PROXY TCP4 10.0.0.1 192.0.2.1 4711 443\r\n").await.expect("written");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let (path, fields) = ("/envoy.service.auth.v3.Authorization/Check", [bearer(&stack)]);
    let message = to_page(&fields).message();
    let before = call_on(client.clone(), address, path, &message).await;
    assert_eq!((before.grpc_status.as_deref(), before.status), (Some("0"), 200));
    let text = stack.config().replace("[\"127.0.0.1\", \"10.0.0.0/8\"]", "[\"127.0.0.1\"]");
    stack.reload_with(&text).await;
    let after = call_on(client, address, path, &message).await;
    assert_eq!((after.grpc_status.as_deref(), after.status), (Some("7"), 0));
    assert_eq!(stack.answered("turned_away"), 1);
}

#[tokio::test]
async fn a_reload_changes_what_is_answered_and_may_take_the_listener_out() {
    // A listener is known by its address as configured, and two with port 0 would be one.
    let listener = LISTENER.replace("127.0.0.1", "127.0.0.2");
    let claims = "claims = { \"x-auth-email\" = \"email\" }";
    let stack = ready(Setup::new().tables(&format!("{listener}{WIKI}{claims}"))).await;
    let fields = [bearer(&stack)];
    let told = checked(&stack, to_page(&fields)).await;
    assert_eq!((told.status, told.field("x-auth-mail")), (200, None));
    let renamed = stack.config().replace("x-auth-email", "x-auth-mail");
    assert_eq!(stack.reload_with(&renamed).await, ["app.wiki"]);
    let told = checked(&stack, to_page(&fields)).await;
    assert_eq!((told.status, told.field("x-auth-subject")), (200, Some("ada")));
    assert_eq!(told.field("x-auth-email"), None);
    let gone = renamed.replace(&listener, "");
    assert_ne!(gone, renamed);
    stack.reload_with(&gone).await;
    assert_eq!(stack.gateway().addresses_now().len(), 1);
}
