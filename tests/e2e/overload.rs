//! `server.max_requests`: how many requests are under way to apps and mints at once, and what the one beyond gets.

use bytes::Bytes;
use http::Request;
use valet_gateway::demo::provider::{Faults, On};

use crate::http2::{ask, connect, http2_of};
use crate::kit::{App, FACE_SCAN, HOST, Setup, in_time, until};

#[tokio::test]
async fn streams_of_one_http_2_connection_count_as_requests_one_by_one() {
    let app = App::start().await;
    let setup = Setup::new().server("max_requests = 3").app(&app, "session = \"none\"");
    let (stack, mut send, _authority) = http2_of(setup).await;

    let post = || Request::post(format!("https://{HOST}/x")).body(()).expect("a request");
    let mut bodies = Vec::new();
    for _ in 0..3 {
        bodies.push(send.send_request(post(), false).expect("a head"));
    }
    until("the app has three heads", || app.seen().len() == 3).await;
    for _ in 0..20 {
        let (answer, _body) = send.send_request(post(), false).expect("a head");
        let (head, mut body) = in_time("an answer", answer).await.expect("an answer").into_parts();
        assert_eq!((head.status.as_u16(), &head.headers["retry-after"]), (503, &"1".parse().expect("a value")));
        let problem = in_time("a body", body.data()).await.expect("a body").expect("a body");
        let problem: serde_json::Value = serde_json::from_slice(&problem).expect("JSON");
        assert!(problem["type"].as_str().expect("a type").ends_with("/overloaded"), "{problem}");
    }
    assert_eq!((stack.answered("overloaded"), app.connections()), (20, 3));
    assert_eq!(stack.admin_get("/livez").await.status, 200);

    // The place is free when the exchange is over, however it ends.
    let (_, mut reset) = bodies.pop().expect("a stream");
    reset.send_reset(h2::Reason::CANCEL);
    until("the app's connection is gone", || stack.answered("cancelled") == 1).await;
    let (answer, mut body) = bodies.pop().expect("a stream");
    body.send_data(Bytes::from_static(b"a body"), true).expect("sent");
    assert_eq!(in_time("an answer", answer).await.expect("an answer").status(), 200);
    let get = || Request::get(format!("https://{HOST}/x")).body(()).expect("a request");
    for _ in 0..5 {
        let (answer, _) = send.send_request(get(), true).expect("a head");
        assert_eq!(in_time("an answer", answer).await.expect("an answer").status(), 200);
    }
}

#[tokio::test]
async fn a_flood_of_streams_of_few_connections_leaves_places_for_who_comes_new() {
    let app = App::start().await;
    let setup = Setup::new().server("max_requests = 99").app(&app, "session = \"none\"");
    let (stack, first, authority) = http2_of(setup).await;
    let (second, _end) = connect(&authority, &stack).await;
    let post = || Request::post(format!("https://{HOST}/x")).body(()).expect("a request");
    let (mut floods, mut bodies) = (Vec::new(), Vec::new());
    // The first one gets half of all, the second one half of what is left.
    for (mut send, most) in [(first, 50), (second, 75)] {
        for _ in 0..90 {
            bodies.push(send.send_request(post(), false).expect("a head"));
        }
        until("the rest is refused", || stack.answered("overloaded") + app.seen().len() as u64 == bodies.len() as u64)
            .await;
        assert_eq!(app.seen().len(), most);
        floods.push(send);
    }
    for _ in 0..3 {
        let (mut send, _end) = connect(&authority, &stack).await;
        assert_eq!(ask(&mut send, "GET", "/new", &[], "").await.status, 200);
    }
}

#[tokio::test]
async fn a_websocket_and_a_request_on_the_short_way_take_a_place_each_until_they_end() {
    let app = App::start().await;
    let stack = Setup::new().server("max_requests = 2").app(&app, "").start().await;
    stack.until_ready().await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut tunnel = stack.wire().await;
    let bearer = stack.token("ada");
    tunnel
        .write(format!("GET /socket HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {bearer}\r\n{upgrade}\r\n"))
        .await;
    tunnel.read_to("101").await;
    let mut later = stack.get("/later").as_user("ada").start().await;
    until("the app has it", || app.seen().len() == 2).await;
    let refused = stack.get("/x").as_user("ada").send().await;
    assert_eq!(refused.assert_problem(503, "overloaded").retry_after(), 1);
    stack.post("/x").as_user("ada").body("x").send().await.assert_problem(503, "overloaded");
    assert_eq!(stack.count("valet_requests_total", &[("route", "portal"), ("outcome", "overloaded")]), 2);

    app.go_on();
    later.answer().await.assert_status(200);
    stack.get("/x").as_user("ada").send().await.assert_status(200);
    drop(tunnel);
    until("the tunnel is over", || stack.answered("forwarded") == 3).await;
    let mut one = stack.get("/later").as_user("ada").start().await;
    until("the app has it", || app.last().line() == "GET /later").await;
    stack.get("/x").as_user("ada").send().await.assert_status(200);
    app.go_on();
    one.answer().await.assert_status(200);
}

#[tokio::test]
async fn callers_that_wait_for_one_mint_take_a_place_each_and_a_held_lease_takes_none() {
    let stack = Setup::new().server("max_requests = 2").start().await;
    stack.until_ready().await;
    let held = stack.url_of("held").await;
    stack.vendor_does(Faults::hang().on(On::Mint));
    let waiting =
        [stack.get(FACE_SCAN).as_user("ada").start().await, stack.get(FACE_SCAN).as_user("ada").start().await];
    until("the vendor is asked", || stack.vendor().mint_count() == 2).await;
    stack.until_sessions(3).await;
    let refused = stack.get(FACE_SCAN).as_user("bob").send().await;
    assert_eq!(refused.assert_problem(503, "overloaded").retry_after(), 1);
    stack.post(FACE_SCAN).as_user("held").send().await.assert_problem(503, "overloaded");
    // A `POST` that is refused costs nothing, and what is held goes out.
    assert_eq!((stack.url_of("held").await, stack.vendor().mint_count()), (held, 2));
    assert!(stack.count("valet_requests_total", &[("route", "face-scan"), ("outcome", "overloaded")]) == 2);
    drop(waiting);
}

#[tokio::test]
async fn a_body_that_stalls_ends_after_the_time_of_the_key() {
    let app = App::start().await;
    let stack = Setup::new().server("body_stall = \"1s\"\nidle_timeout = \"1s\"").app(&app, "").start().await;
    stack.until_ready().await;
    let mut wire = stack.wire().await;
    let bearer = stack.token("ada");
    wire.write(format!(
        "POST /x HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {bearer}\r\nContent-Length: 9\r\n\r\nhalf"
    ))
    .await;
    wire.answer().await.assert_problem(408, "too-slow");
    // And a connection that was used is closed when it is idle for as long as its key says.
    let mut wire = stack.wire().await;
    wire.write(stack.get("/x").as_user("ada").bytes()).await;
    wire.answer().await.assert_status(200);
    wire.assert_closed().await;
}
