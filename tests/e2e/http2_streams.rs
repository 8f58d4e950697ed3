//! Streams of one HTTP/2 connection beside one another: those that wait hold up none, and each has its end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, StatusCode, Version};
use valet_gateway::demo::provider::Faults;

use crate::http2::{ask, connect, http2_of};
use crate::kit::{App, FACE_SCAN, HOST, Setup, in_time};

fn begin(send: &mut SendRequest<Bytes>, path: &str, token: &str) -> ResponseFuture {
    let uri = format!("https://{HOST}{path}");
    let request =
        Request::builder().version(Version::HTTP_2).uri(uri).header("authorization", format!("Bearer {token}"));
    send.send_request(request.body(()).expect("a request"), true).expect("sent").0
}

/// The URL that is held for this person from now on.
async fn url_of(send: &mut SendRequest<Bytes>, token: &str) -> String {
    let got = ask(send, "GET", FACE_SCAN, &[("authorization", &format!("Bearer {token}"))], "").await;
    got.field("location").expect("a URL").to_owned()
}

#[tokio::test]
async fn a_stream_that_waits_for_the_vendor_holds_up_no_other() {
    let app = App::start().await;
    let (stack, mut send, _) = http2_of(Setup::new().app(&app, "")).await;
    let url = url_of(&mut send, &stack.token("ada")).await;
    stack.vendor_does(Faults::hang());
    let waits: Vec<_> = (0..20).map(|n| begin(&mut send, FACE_SCAN, &stack.token(&format!("person-{n}")))).collect();
    stack.until_sessions(21).await;
    let bearer = format!("Bearer {}", stack.token("ada"));
    for _ in 0..3 {
        let warm = ask(&mut send, "GET", FACE_SCAN, &[("authorization", &bearer)], "").await;
        assert_eq!((warm.status, warm.field("location")), (302, Some(&*url)));
        assert_eq!(ask(&mut send, "GET", "/x", &[("authorization", &bearer)], "").await.status, 200);
    }
    stack.vendor_does(Faults::default());
    for wait in waits {
        assert_eq!(in_time("an answer", wait).await.expect("an answer").status(), StatusCode::FOUND);
    }
}

#[tokio::test]
async fn a_hundred_requests_at_once_have_each_their_own_answer() {
    let app = App::start().await;
    let (stack, mut send, _) = http2_of(Setup::new().app(&app, "")).await;
    let tokens: Vec<_> = (0..25).map(|n| stack.token(&format!("person-{n}"))).collect();
    let mut urls = Vec::new();
    for token in &tokens {
        urls.push(url_of(&mut send, token).await);
    }
    let mut answers = Vec::new();
    for n in 0..100 {
        send = in_time("a place", send.ready()).await.expect("a place");
        let (path, person) = if n % 4 == 3 { ("/x", n % 25) } else { (FACE_SCAN, n % 25) };
        answers.push((path, person, begin(&mut send, path, &tokens[person])));
    }
    for (path, person, answer) in answers {
        let answer = in_time("an answer", answer).await.expect("an answer");
        let location = answer.headers().get("location").map(|url| url.to_str().expect("text"));
        let expected = (path == FACE_SCAN).then_some(&*urls[person]);
        assert_eq!((answer.status().as_u16(), location), (if expected.is_some() { 302 } else { 200 }, expected));
    }
}

#[tokio::test]
async fn at_the_end_of_the_drain_those_who_wait_for_a_vendor_are_told_over_http_2_too() {
    let setup = Setup::new().server("drain = \"200ms\"").provider("timeout = \"1m\"");
    let (mut stack, mut send, _) = http2_of(setup).await;
    stack.vendor_does(Faults::hang());
    let wait = begin(&mut send, FACE_SCAN, &stack.token("ada"));
    stack.until_sessions(1).await;
    let stopping = tokio::spawn(stack.take_gateway().stop());
    let answer = in_time("an answer", wait).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    in_time("stopping", stopping).await.unwrap();
    assert_eq!(stack.vendor().mint_count(), 0);
}

#[tokio::test]
async fn who_takes_his_request_back_while_it_waits_cancels_no_mint() {
    let (stack, mut send, _) = http2_of(Setup::new().provider("timeout = \"1m\"")).await;
    stack.vendor_does(Faults::hang());
    let wait = begin(&mut send, FACE_SCAN, &stack.token("ada"));
    stack.until_sessions(1).await;
    drop(wait);
    stack.vendor_does(Faults::default());
    let bearer = format!("Bearer {}", stack.token("ada"));
    assert_eq!(ask(&mut send, "GET", FACE_SCAN, &[("authorization", &bearer)], "").await.status, 302);
    assert_eq!(stack.vendor().mint_count(), 1);
}

#[tokio::test]
async fn a_connection_ends_when_it_has_been_idle_for_its_time_and_not_while_a_stream_waits() {
    let setup = Setup::new().real_time().server("idle_timeout = \"1s\"").provider("timeout = \"1m\"");
    let (stack, mut send, authority) = http2_of(setup).await;
    stack.vendor_does(Faults::hang());
    let began = Instant::now();
    let wait = begin(&mut send, FACE_SCAN, &stack.token("ada"));
    let bearer = format!("Bearer {}", stack.token("bob"));
    // Other connections live by the same time: this one has outlived it when one of them has ended.
    let (mut other, end) = connect(&authority, &stack).await;
    assert_eq!(ask(&mut other, "GET", "/nothing", &[("authorization", &bearer)], "").await.status, 404);
    let _ = in_time("the other's end", end).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(send.clone().ready().await.is_ok());
    stack.vendor_does(Faults::default());
    assert_eq!(in_time("an answer", wait).await.expect("an answer").status(), StatusCode::FOUND);
    in_time("its end", async {
        while send.clone().ready().await.is_ok() {
            tokio::task::yield_now().await
        }
    })
    .await;
}
