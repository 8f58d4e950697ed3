//! What a request tells an app: the host, and claims of the session.

use bytes::Bytes;
use serde_json::json;
use valet_gateway::demo::idp::TokenRequest;

use super::http2::{ask, http2_with};
use crate::kit::app::Seen;
use crate::kit::ask::Ask;
use crate::kit::{App, HOST, Setup, Stack, in_time};

/// Sends it without a body, with one, and as one that asks for a WebSocket. What the app got each time.
async fn each_way(app: &App, ask: Ask<'_>) -> Vec<Seen> {
    let before = app.seen().len();
    ask.clone().send().await.assert_status(200);
    ask.clone().body("a body").send().await.assert_status(200);
    ask.field("Connection", "Upgrade").field("Upgrade", "websocket").send().await.assert_status(200);
    let seen = app.seen().split_off(before);
    assert_eq!(seen.len(), 3);
    seen
}

const REQUEST: &str = "session = \"none\"\n[app.request]\nhost = \"portal.internal:8080\"";

#[tokio::test]
async fn the_app_is_told_the_host_that_is_configured_and_the_clients_as_x_forwarded_host() {
    let app = App::start().await;
    let stack = Stack::before(&app, REQUEST).await;
    for host in [HOST, "other.example.com:8443"] {
        for seen in each_way(&app, stack.get("/").host(host)).await {
            assert_eq!(
                (seen.field("host"), seen.field("x-forwarded-host")),
                (Some("portal.internal:8080"), Some(host))
            );
            assert!(seen.field("forwarded").is_some_and(|said| said.contains(host.split(':').next().unwrap())));
        }
    }
    // Where a client of HTTP/1.0 names none, the app is told it all the same.
    let mut old = stack.wire().await;
    old.write("GET / HTTP/1.0\r\n\r\n").await;
    old.answer().await.assert_status(200);
    let seen = app.last();
    assert_eq!((seen.field("host"), seen.field("x-forwarded-host")), (Some("portal.internal:8080"), Some(HOST)));
}

#[tokio::test]
async fn routes_are_chosen_by_the_clients_host_and_not_by_the_apps() {
    let [one, other] = [App::start().await, App::start().await];
    let lines = |name: &str, host: &str, told: &str| {
        format!("name = \"{name}\"\nhost = \"{host}\"\nsession = \"none\"\n[app.request]\nhost = \"{told}\"")
    };
    let stack = Setup::new()
        .app(&one, &lines("one", "one.example.com", "other.example.com"))
        .app(&other, &lines("other", "other.example.com", "one.example.com"))
        .start()
        .await;
    stack.get("/").host("one.example.com").send().await.assert_status(200);
    assert_eq!((one.last().field("host"), other.connections()), (Some("other.example.com"), 0));
}

#[tokio::test]
async fn a_client_of_http_2_changes_nothing_about_the_host_that_the_app_is_told() {
    let app = App::start().await;
    let (_stack, mut send) = http2_with(Some(&app), REQUEST).await;
    for fields in [&[][..], &[("host", HOST)]] {
        assert_eq!(ask(&mut send, "GET", "/", fields, "").await.status, 200);
        let seen = app.last();
        assert_eq!((seen.field("host"), seen.field("x-forwarded-host")), (Some("portal.internal:8080"), Some(HOST)));
    }
}

/// An app of HTTP/2 in the clear, and the authority of each request to it.
async fn h2c() -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                while let Some(Ok((request, mut answer))) = connection.accept().await {
                    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
                    let _ = tell.send(authority);
                    let mut body = answer.send_response(http::Response::new(()), false).expect("sent");
                    body.send_data(Bytes::from_static(b"hello"), true).expect("sent");
                }
            });
        }
    });
    (address, told)
}

#[tokio::test]
async fn an_app_of_http_2_is_told_the_host_as_its_authority() {
    let (address, mut told) = h2c().await;
    let app = format!("[[app]]\nname = \"portal\"\nupstreams = [\"h2c://{address}\"]\n{REQUEST}");
    let stack = Setup::new().tables(&app).start().await;
    stack.until_ready().await;
    for ask in [stack.get("/"), stack.get("/").body("a body")] {
        ask.send().await.assert_status(200);
        assert_eq!(in_time("a request", told.recv()).await.as_deref(), Some("portal.internal:8080"));
    }
}

#[tokio::test]
async fn claims_that_are_lists_or_numbers_are_told_joined_by_commas() {
    let app = App::start().await;
    let claims = "claims = { x-auth-groups = \"groups\", x-auth-level = \"level\", x-auth-mail = \"email\" }";
    let stack = Stack::before(&app, claims).await;
    let token = |groups: serde_json::Value, level: serde_json::Value| {
        stack.idp().token(&TokenRequest::user("ada").claim("groups", groups).claim("level", level))
    };
    let long = "x".repeat(4096);
    for (groups, level, told, number) in [
        (json!(["staff", "on call", "zoë"]), json!(7), Some("staff,on call,zoë"), Some("7")),
        (json!(["staff", "a,b", "", " c", "admins"]), json!(-2.5), Some("staff,admins"), Some("-2.5")),
        (json!(["a,b"]), json!(true), None, None),
        (json!([]), json!({ "a": 1 }), None, None),
        (json!(["staff", 1]), json!("seven"), None, Some("seven")),
        (json!(["a\r\nx-auth-subject: eve", "b"]), json!(0), Some("b"), Some("0")),
        (json!([&long]), json!(1), Some(&*long), Some("1")),
        (json!([&long[1..], ""]), json!(1), Some(&long[1..]), Some("1")),
        (json!([&long, "x"]), json!(1), None, Some("1")),
    ] {
        let ask = stack.get("/").bearer(token(groups.clone(), level)).field("X-Auth-Groups", "forged");
        let ask = ask.field("X_Auth_Level", "forged").field("x.auth.mail", "forged");
        for seen in each_way(&app, ask).await {
            assert_eq!((seen.field("x-auth-groups"), seen.field("x-auth-level")), (told, number), "{groups}");
            assert_eq!(seen.field("x-auth-subject"), Some("ada"));
            assert!(!seen.head.contains("forged"), "{}", seen.head);
        }
    }
}

#[tokio::test]
async fn a_client_of_http_2_has_its_claims_told_too() {
    let app = App::start().await;
    let (stack, mut send) = http2_with(Some(&app), "claims = { x-auth-groups = \"groups\" }").await;
    let token = stack.idp().token(&TokenRequest::user("ada").claim("groups", json!(["staff", "a,b", "zoë"])));
    let bearer = format!("Bearer {token}");
    let fields = [("authorization", &*bearer), ("x-auth-groups", "forged")];
    assert_eq!(ask(&mut send, "GET", "/", &fields, "").await.status, 200);
    assert_eq!(app.last().field("x-auth-groups"), Some("staff,zoë"));
}
