//! Framing and hosts: what nginx, HAProxy and Envoy refuse to read gets to no app.

use crate::kit::{App, HOST, Setup, Stack, until};

/// Bodies in chunks that RFC 9112, section 7.1, does not know, behind a first chunk that it knows.
pub const WRONG: [&str; 16] = [
    "\r\n\r\n",
    ";a\r\n\r\n",
    "1;a\nb\r\nx\r\n0\r\n\r\n",
    "1;a\rb\r\nx\r\n0\r\n\r\n",
    "1\nx\r\n0\r\n\r\n",
    "1 \r\nx\r\n0\r\n\r\n",
    "1\r\nx\n0\r\n\r\n",
    "0\n\r\n",
    "0\r\n\n",
    "0\r\nx\r\n\r\n",
    "0\r\nx y: z\r\n\r\n",
    "0\r\nx : z\r\n\r\n",
    "0\r\nx: y\n\r\n",
    "0\r\nx: y\r\n z\r\n\r\n",
    "0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "0\r\n: z\r\n\r\n",
];

pub fn post(fields: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")
}

#[tokio::test]
async fn a_chunk_line_or_trailer_that_strict_readers_refuse_is_400_before_a_connection_to_the_app() {
    let app = App::start().await;
    let stack = Stack::before(&app, "session = \"none\"").await;
    for wrong in WRONG {
        let mut wire = stack.wire().await;
        wire.write(post("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n" + wrong).await;
        wire.answer().await.assert_problem(400, "bad-request").assert_field("connection", "close");
        wire.assert_closed().await;
    }
    assert_eq!(app.connections(), 0);
    assert_eq!(stack.answered("bad_request"), WRONG.len() as u64);
}

#[tokio::test]
async fn a_wrong_chunk_line_or_trailer_that_comes_later_ends_the_request_to_the_app() {
    let app = App::start().await;
    let stack = Stack::before(&app, "session = \"none\"").await;
    for wrong in WRONG {
        let so_far = app.seen().len();
        let mut wire = stack.wire().await;
        wire.write(post("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n").await;
        until("the head at the app", || app.seen().len() > so_far).await;
        wire.write(wrong).await;
        wire.answer().await.assert_problem(400, "bad-request").assert_field("connection", "close");
        wire.assert_closed().await;
    }
    // The app never had a whole body, and no second request.
    assert_eq!(app.seen().len(), WRONG.len());
    assert!(app.seen().iter().all(|seen| seen.line() == "POST /x" && seen.body.is_empty()));
}

#[tokio::test]
async fn chunks_as_the_rfc_has_them_arrive_and_the_connection_stays() {
    let app = App::start().await;
    let stack = Stack::before(&app, "session = \"none\"").await;
    let mut wire = stack.wire().await;
    for body in
        ["3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "3;a=\"b;c\" ; d\r\nabc\r\n002\r\nde\r\n0;e\r\nx-trailer: y\r\nz:\r\n\r\n"]
    {
        let so_far = app.seen().len();
        wire.write(post("Transfer-Encoding: chunked\r\n")).await;
        until("the head at the app", || app.seen().len() > so_far).await;
        for byte in body.bytes() {
            wire.write([byte]).await;
        }
        let answer = wire.answer().await;
        answer.assert_status(200);
        assert_ne!(answer.field("connection"), Some("close"), "{body:?}");
        assert_eq!(app.last().body, b"abcde");
    }
    wire.write(format!("GET /y HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    wire.answer().await.assert_status(200);
    assert_eq!(app.last().line(), "GET /y");
}

#[tokio::test]
async fn a_length_is_written_in_decimal_to_the_app() {
    let app = App::start().await;
    let stack = Stack::before(&app, "session = \"none\"").await;
    let mut wire = stack.wire().await;
    for (sent, told, body) in [("007", "7", "0123456"), ("5", "5", "01234"), ("000", "0", ""), ("0", "0", "")] {
        wire.write(post(&format!("Content-Length: {sent}\r\n")) + body).await;
        wire.answer().await.assert_status(200);
        assert_eq!((app.last().field("content-length"), app.last().body), (Some(told), body.as_bytes().to_vec()));
    }
}

#[tokio::test]
async fn a_request_without_a_host_is_judged_by_the_host_that_the_app_is_told() {
    let (open, closed) = (App::start().await, App::start().await);
    let stack = Setup::new()
        .app(&open, "name = \"open\"\nsession = \"none\"")
        .app(&closed, &format!("name = \"closed\"\nhost = \"{HOST}\""))
        .start()
        .await;
    stack.until_ready().await;
    let ask = |fields: &str| format!("GET / HTTP/1.0\r\n{fields}\r\n");
    let mut wire = stack.wire().await;
    wire.write(ask("")).await;
    wire.answer().await.assert_problem(401, "session-required");
    let mut wire = stack.wire().await;
    wire.write(ask(&format!("Authorization: Bearer {}\r\n", stack.token("ada")))).await;
    wire.answer().await.assert_status(200);
    let seen = closed.last();
    assert_eq!((seen.field("host"), seen.field("x-forwarded-host")), (Some(HOST), Some(HOST)));
    let mut wire = stack.wire().await;
    wire.write(ask("Host: other.example.com\r\n")).await;
    wire.answer().await.assert_status(200);
    assert_eq!((open.last().field("host"), open.connections()), (Some("other.example.com"), 1));
}

#[tokio::test]
async fn an_encoded_slash_behind_parameters_opens_no_stricter_route() {
    let (open, admin) = (App::start().await, App::start().await);
    let stack = Setup::new()
        .app(&open, "name = \"open\"\nsession = \"none\"\nencoded_slash = true")
        .app(&admin, "name = \"admin\"\npath = \"/x/admin\"\nencoded_slash = true")
        .start()
        .await;
    stack.until_ready().await;
    for sent in [
        "/x;%2fadmin",
        "/x%3b%2Fadmin",
        "/x;a%2f/admin",
        "/x/;/admin",
        "/x%2f;%2f%61dmin",
        "/x%2fadmin%3fy",
        "/x/admin%23y",
        "/%2561",
        "/x/%25%36%31dmin",
    ] {
        stack.get(sent).send().await.assert_problem(400, "bad-request");
    }
    assert_eq!((open.connections(), admin.connections()), (0, 0));
    stack.get("/y;a%2fb;c/d").send().await.assert_status(200);
    assert_eq!(open.last().line(), "GET /y;a%2fb;c/d");
}

#[tokio::test]
async fn fetch_metadata_that_stands_twice_is_refused() {
    let app = App::start().await;
    let stack = Stack::before(&app, "session = \"none\"").await;
    for path in ["/", "/plugins/face-scan"] {
        let ask = stack.get(path).field("Sec-Fetch-Site", "same-origin").field("sec-fetch-site", "cross-site");
        ask.send().await.assert_problem(400, "bad-request");
    }
    assert_eq!(app.connections(), 0);
}
