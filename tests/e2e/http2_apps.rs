//! Apps that speak HTTP/2 in the clear, as gRPC services do: what differs is inside of the gateway, and not what its clients may rely on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use http::{Request, Response};
use serde_json::json;
use tokio::net::TcpListener;

use crate::framing::{WRONG, post};
use crate::http2::http2_of;
use crate::kit::{HOST, Setup, Stack, in_time, until};

/// An app of HTTP/2 that answers at once, and to `/silent` sends a piece and nothing more.
struct Http2App {
    address: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// The heads that came.
    asked: AtomicUsize,
    /// Those of which a whole body came.
    whole: AtomicUsize,
    /// Those that were taken back.
    reset: AtomicUsize,
}

impl Http2App {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let app = Self { address, counts: Arc::default() };
        let counts = Arc::clone(&app.counts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counts = Arc::clone(&counts);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                    while let Some(Ok((request, answer))) = connection.accept().await {
                        tokio::spawn(answer_to(request, answer, Arc::clone(&counts)));
                    }
                });
            }
        });
        app
    }

    fn count(&self, which: impl FnOnce(&Counts) -> &AtomicUsize) -> usize {
        which(&self.counts).load(Ordering::Relaxed)
    }

    fn table(&self, lines: &str) -> String {
        format!("[[app]]\nname = \"portal\"\nupstreams = [\"h2c://{}\"]\n{lines}", self.address)
    }
}

async fn answer_to(request: Request<h2::RecvStream>, mut answer: SendResponse<Bytes>, counts: Arc<Counts>) {
    counts.asked.fetch_add(1, Ordering::Relaxed);
    let (head, mut body) = request.into_parts();
    while let Some(piece) = body.data().await {
        match piece {
            Ok(piece) => drop(body.flow_control().release_capacity(piece.len())),
            Err(_) => {
                counts.reset.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
    counts.whole.fetch_add(1, Ordering::Relaxed);
    let mut body = answer.send_response(Response::new(()), false).expect("sent");
    match head.uri.path() {
        "/silent" => {
            body.send_data(Bytes::from_static(b"hello"), false).expect("sent");
            let _ = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
            counts.reset.fetch_add(1, Ordering::Relaxed);
        }
        _ => body.send_data(Bytes::from_static(b"hello"), true).expect("sent"),
    }
}

fn get(path: &str, token: &str) -> Request<()> {
    let request = Request::get(format!("https://{HOST}{path}"));
    let request = if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) };
    request.body(()).expect("a request")
}

async fn begun(send: &mut SendRequest<Bytes>, path: &str, token: &str) -> h2::RecvStream {
    let (answer, _) = send.send_request(get(path, token), true).expect("sent");
    in_time("a head", answer).await.expect("a head").into_body()
}

async fn revoke(stack: &Stack, subject: &str) {
    let body = json!({ "issuer": stack.idp().issuer(), "subject": subject });
    stack.admin_post("/api/sessions/revoke", &body).await.assert_status(204);
}

#[tokio::test]
async fn a_stream_on_which_nobody_says_anything_ends_with_its_session() {
    let app = Http2App::start().await;
    let (stack, mut send, _authority) = http2_of(Setup::new().administered().tables(&app.table(""))).await;
    let (ada, bob) = (stack.token("ada"), stack.token("bob"));
    let mut ended = begun(&mut send, "/silent", &ada).await;
    let mut other = begun(&mut send, "/silent", &bob).await;
    for body in [&mut ended, &mut other] {
        assert_eq!(in_time("a piece", body.data()).await.expect("a piece").expect("a piece"), "hello");
    }
    revoke(&stack, "ada").await;
    let end = in_time("the end of it", ended.data()).await;
    assert!(matches!(end, Some(Err(_))), "{end:?}: it must not look whole");
    until("the app learns of it", || app.count(|counts| &counts.reset) == 1).await;
    until("it is told of", || stack.answered("session_ended") == 1).await;
    let line = &stack.lines.all(1).await[0];
    assert_eq!((&line["status"], &line["outcome"]), (&200.into(), &"session_ended".into()));
    assert_eq!(line["upstream"], app.address.as_str());
    // The other one's goes on, on the same two connections.
    drop(other);
    until("the app learns of it", || app.count(|counts| &counts.reset) == 2).await;
    assert_eq!(stack.answered("session_ended"), 1);
}

#[tokio::test]
async fn a_body_whose_chunks_are_none_is_never_whole_at_an_app_of_http_2() {
    let app = Http2App::start().await;
    let stack = Setup::new().tables(&app.table("session = \"none\"")).start().await;
    stack.until_ready().await;
    for (n, wrong) in WRONG.iter().enumerate() {
        // With the head, and after the app has it.
        let mut wire = stack.wire().await;
        wire.write(post("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n" + wrong).await;
        wire.answer().await.assert_problem(400, "bad-request").assert_field("connection", "close");
        let mut wire = stack.wire().await;
        wire.write(post("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n").await;
        until("the head at the app", || app.count(|counts| &counts.asked) == n + 1).await;
        wire.write(wrong).await;
        wire.answer().await.assert_problem(400, "bad-request").assert_field("connection", "close");
    }
    until("the app learns of it", || app.count(|counts| &counts.reset) == WRONG.len()).await;
    assert_eq!((app.count(|counts| &counts.asked), app.count(|counts| &counts.whole)), (WRONG.len(), 0));
    let mut wire = stack.wire().await;
    wire.write(post("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n").await;
    wire.answer().await.assert_status(200);
}
