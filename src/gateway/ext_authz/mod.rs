//! `envoy.service.auth.v3.Authorization/Check`: Envoy, and what is built on it, asks about each request over gRPC.
//!
//! One unary call over HTTP/2: a message has five bytes before it, and the outcome of the call stands in the trailers
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
//!
//! The h2 crate reads the frames, and the connection's own task answers the calls: those that came together leave in one write.

mod check;
mod messages;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason, RecvStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use prost::Message as _;
use tokio::time::{Instant, sleep, timeout};

use crate::gateway::accept::peer::Peer;
use crate::gateway::drain::{Drain, GOODBYE};
use crate::gateway::ext_authz::messages::{CheckRequest, CheckResponse};
use crate::gateway::in_force::InForce;

/// The one method.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A request's head, of 64 KiB at most in Envoy, and the beginning of a body that nobody here reads.
const MAX_MESSAGE: usize = 256 * 1024;

/// Before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A message with what stands before it.
const FRAMED: usize = MAX_MESSAGE + PREFIX;

/// A message is a frame or two.
const MESSAGE: Duration = Duration::from_secs(5);

/// Checks of one connection at once: Envoy has one connection for each of its threads.
const MAX_STREAMS: u32 = 4096;

/// What the calls of one connection may have sent and nobody has read yet, all together.
const MAX_UNREAD: u32 = 4 * 1024 * 1024;

/// A check's own head is a path and a few fields.
const MAX_HEADER_LIST: u32 = 16 * 1024;

/// An Envoy that is gone without a word is noticed after this and half as long again.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// How a call ends (<https://grpc.io/docs/guides/status-codes/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallEnd {
    Ok = 0,
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
}

/// Serves one connection, whose peer is trusted or on this machine, until it ends, or `stop` is true and what is under way is answered.
///
/// Dropped: it is cut.
pub(super) async fn serve(
    gateway: &Arc<InForce>,
    drain: &Arc<Drain>,
    stream: Stream,
    peer: Peer,
    stop: &ShutdownWatch,
) {
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        // A message never waits for a window of its own.
        .initial_window_size(FRAMED as u32)
        .initial_connection_window_size(MAX_UNREAD)
        .handshake(stream);
    let (mut stop, mut abort) = (stop.clone(), drain.abort());
    let opened = tokio::select! {
        opened = timeout(MESSAGE, handshake) => opened,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    // A proxy that broke off is no event.
    let Ok(Ok(mut connection)) = opened else { return };
    let mut stopping = false;
    let mut calls = FuturesUnordered::new();
    let mut told = std::pin::pin!(sleep(GOODBYE));
    let mut signs = std::pin::pin!(signs_of_life(connection.ping_pong()));
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => {
                let Some(Ok(call)) = accepted else { return };
                let answer = |(request, to)| answer(gateway, drain, &peer, request, to);
                calls.push(answer(call));
                // Those that came with it.
                while let Some(accepted) = connection.accept().now_or_never() {
                    let Some(Ok(call)) = accepted else { return };
                    calls.push(answer(call));
                }
            }
            Some(()) = calls.next() => while let Some(Some(())) = calls.next().now_or_never() {},
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                // GOAWAY: what is under way is answered.
                connection.graceful_shutdown();
                stopping = true;
                told.as_mut().reset(Instant::now() + GOODBYE);
            }
            () = &mut told, if stopping && calls.is_empty() => break,
            _ = abort.wait_for(|abort| *abort) => return,
            () = signs.as_mut() => return,
        }
    }
    connection.abrupt_shutdown(Reason::NO_ERROR);
    let _ = timeout(GOODBYE, poll_fn(|cx| connection.poll_closed(cx))).await;
}

/// Ends when the other side gives no sign of life.
async fn signs_of_life(pings: Option<PingPong>) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        sleep(SIGN_OF_LIFE).await;
        let pong = timeout(SIGN_OF_LIFE / 2, pings.ping(Ping::opaque())).await;
        if !matches!(pong, Ok(Ok(_))) {
            return;
        }
    }
}

/// Answers one call.
///
/// Dropped: nothing is answered.
async fn answer(
    gateway: &InForce,
    drain: &Drain,
    peer: &Peer,
    request: Request<RecvStream>,
    mut to: SendResponse<Bytes>,
) {
    let answered = match read(request).await {
        Ok(asked) => {
            let gateway = gateway.load_full();
            let peer = peer.under(gateway.trusted());
            if peer.may_ask() {
                Ok(gateway.check_request(asked, &peer, drain).await)
            } else {
                // A reload has taken it from the list while its connection stood.
                gateway.count_rejected();
                Err(CallEnd::PermissionDenied)
            }
        }
        Err(end) => Err(end),
    };
    // A proxy that no longer waits for it is no event.
    let _ = match answered {
        Ok(answer) => send(&mut to, &answer),
        // The outcome of a call without an answer stands in its head.
        Err(end) => to.send_response(head(status(end)), true).map(drop),
    };
}

fn send(to: &mut SendResponse<Bytes>, answer: &CheckResponse) -> Result<(), h2::Error> {
    let length = answer.encoded_len();
    let mut message = BytesMut::with_capacity(PREFIX + length);
    message.put_u8(0);
    message.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    answer.encode_raw(&mut message);
    let mut stream = to.send_response(head(HeaderMap::new()), false)?;
    stream.send_data(message.freeze(), false)?;
    stream.send_trailers(status(CallEnd::Ok))
}

/// The only message of a call.
async fn read(request: Request<RecvStream>) -> Result<CheckRequest, CallEnd> {
    let is_grpc =
        request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if request.method() != Method::POST || !is_grpc || request.uri().path() != CHECK {
        return Err(CallEnd::Unimplemented);
    }
    let mut whole = std::pin::pin!(whole(request.into_body()));
    let body = match whole.as_mut().now_or_never() {
        Some(body) => body,
        None => timeout(MESSAGE, whole).await.map_err(|_| CallEnd::InvalidArgument)?,
    };
    let mut body = body?;
    if body.len() < PREFIX {
        return Err(CallEnd::InvalidArgument);
    }
    // Compressed: nobody was told that it may be.
    if body.get_u8() != 0 {
        return Err(CallEnd::Unimplemented);
    }
    if usize::try_from(body.get_u32()).ok() != Some(body.len()) {
        return Err(CallEnd::InvalidArgument);
    }
    CheckRequest::decode(body).map_err(|_| CallEnd::InvalidArgument)
}

/// A call's whole body, within the bound.
async fn whole(mut body: RecvStream) -> Result<Bytes, CallEnd> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|_| CallEnd::InvalidArgument)?;
        let _ = body.flow_control().release_capacity(piece.len());
        if first.len().max(joined.len()) + piece.len() > FRAMED {
            return Err(CallEnd::ResourceExhausted);
        }
        if first.is_empty() {
            first = piece;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&piece);
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

fn status(end: CallEnd) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(end as u16));
    trailers
}

fn head(mut fields: HeaderMap) -> Response<()> {
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut head = Response::new(());
    *head.headers_mut() = fields;
    head
}
