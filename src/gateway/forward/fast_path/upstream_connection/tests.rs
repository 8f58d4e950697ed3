//! Answers of apps, piece by piece.

use std::future::poll_fn;

use futures_util::FutureExt as _;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::*;

/// What became of an answer: its body, and whether the connection may carry another request.
type Outcome = Result<(String, bool), Cause>;

async fn wait(upstream: &mut UpstreamConnection, wanted: Wanted) -> Result<(), Cause> {
    poll_fn(|cx| upstream.poll(wanted, cx)).await
}

/// The whole body, once it is there.
async fn body(mut upstream: Box<UpstreamConnection>) -> Outcome {
    wait(&mut upstream, Wanted::Head).await?;
    upstream.begin_body(false);
    let mut whole = Vec::new();
    while !upstream.is_done() {
        wait(&mut upstream, Wanted::Piece(16)).await?;
        whole.extend_from_slice(upstream.piece().1);
    }
    Ok((String::from_utf8_lossy(&whole).into_owned(), upstream.reuse().is_some()))
}

/// An app that says this in pieces of `fits` bytes; it closes its connection behind that if `closes`.
async fn answer(said: &str, fits: usize, closes: bool) -> Outcome {
    let (mut app, ours) = tokio::io::duplex(fits);
    let said = async {
        let _ = app.write_all(said.as_bytes()).await;
        // The other end sees it when this is dropped.
        (!closes).then_some(app)
    };
    let (outcome, _) = tokio::join!(body(UpstreamConnection::new(Box::new(ours), false)), said);
    outcome
}

/// The same however it is split.
async fn outcome(said: &str, closes: bool) -> Outcome {
    let first = answer(said, 4096, closes).await;
    for fits in [1, 2, 3, 7] {
        assert_eq!(answer(said, fits, closes).await, first, "{said} in pieces of {fits}");
    }
    first
}

fn whole(body: &str, again: bool) -> Outcome {
    Ok((body.to_owned(), again))
}

#[tokio::test]
async fn a_body_ends_where_its_framing_says_and_the_connection_is_kept_where_that_is_safe() {
    for (said, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", whole("hello", true)),
        ("HTTP/1.1 200 OK\r\nContent-Length:0\r\n\r\n", whole("", true)),
        ("HTTP/1.1 204 No\r\n\r\n", whole("", true)),
        ("HTTP/1.1 304 No\r\ncontent-length: 9\r\n\r\n", whole("", true)),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3 \r\nabc\r\n2;x\r\nde\r\n0\r\nx: y\r\n\r\n",
            whole("abcde", true),
        ),
        ("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 1\r\n\r\nx", whole("x", false)),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\nx",
            whole("x", false),
        ),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", whole("x", false)),
        ("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 1\r\n\r\nx", whole("x", true)),
        (
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            whole("x", false),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            whole("x", false),
        ),
    ] {
        assert_eq!(outcome(said, false).await, expected, "{said}");
    }
    assert_eq!(outcome("HTTP/1.1 200 OK\r\n\r\nto the end", true).await, whole("to the end", false));
    // What was not asked for belongs to nobody.
    let behind = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(answer(behind, 4096, false).await, whole("x", false));
}

#[tokio::test]
async fn what_breaks_off_or_is_framed_twice_is_no_answer() {
    for (said, cause) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell", Cause::Broken),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", Cause::Broken),
        ("HTTP/1.1 200 OK\r\ncontent-le", Cause::Broken),
        ("", Cause::Broken),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX", Cause::NotHttp),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx", Cause::NotHttp),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\nx", Cause::NotHttp),
        ("HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\nx", Cause::NotHttp),
        ("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nx", Cause::NotHttp),
        ("HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\nx", Cause::NotHttp),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", Cause::NotHttp),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", Cause::NotHttp),
        ("SSH-2.0-x\r\n\r\n", Cause::NotHttp),
        ("HTTP/1.1 99 OK\r\n\r\n", Cause::NotHttp),
    ] {
        assert_eq!(outcome(said, true).await, Err(cause), "{said}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD));
    assert_eq!(answer(&endless, 1 << 20, false).await, Err(Cause::NotHttp));
}

#[test]
fn a_head_has_no_body_of_its_own_where_only_it_was_asked_for() {
    let (mut app, ours) = tokio::io::duplex(4096);
    let mut upstream = UpstreamConnection::new(Box::new(ours), false);
    let said = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    app.write_all(said).now_or_never().expect("room").expect("written");
    for status in [103, 200] {
        wait(&mut upstream, Wanted::Head).now_or_never().expect("there").expect("a head");
        assert_eq!(upstream.head().expect("a head").status(), status);
        if status == 103 {
            upstream.skip_head();
        }
    }
    upstream.begin_body(true);
    assert!(upstream.is_done() && upstream.reuse().is_some());
}

#[test]
fn while_nothing_comes_there_is_no_room_held() {
    let (mut app, ours) = tokio::io::duplex(4096);
    let mut upstream = UpstreamConnection::new(Box::new(ours), false);
    assert!(wait(&mut upstream, Wanted::Head).now_or_never().is_none());
    assert_eq!(upstream.buffer.capacity(), 0);
    app.write_all(b"HTTP/1.1 200 OK\r\n\r\nx").now_or_never().expect("room").expect("written");
    wait(&mut upstream, Wanted::Head).now_or_never().expect("there").expect("a head");
    upstream.begin_body(false);
    wait(&mut upstream, Wanted::Piece(1 << 20)).now_or_never().expect("there").expect("a piece");
    assert_eq!(upstream.piece().1, b"x");
    assert!(wait(&mut upstream, Wanted::Piece(1 << 20)).now_or_never().is_none());
    assert_eq!(upstream.buffer.capacity(), 0);
}

#[test]
fn an_idle_connection_that_ends_before_a_byte_of_an_answer_was_dead() {
    let ends = |said: &[u8], reused: bool| {
        let (mut app, ours): (DuplexStream, _) = tokio::io::duplex(64);
        app.write_all(said).now_or_never().expect("room").expect("written");
        drop(app);
        let mut upstream = UpstreamConnection::new(Box::new(ours), reused);
        assert_eq!(wait(&mut upstream, Wanted::Head).now_or_never(), Some(Err(Cause::Broken)));
        upstream.is_dead()
    };
    assert!(ends(b"", true));
    assert!(!ends(b"", false));
    assert!(!ends(b"H", true));
}
