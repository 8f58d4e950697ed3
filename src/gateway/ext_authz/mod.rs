//! `envoy.service.auth.v3.Authorization/Check`: Envoy, and what is built on it, asks about each request over gRPC.
//!
//! One unary call over hyper's HTTP/2: a message has five bytes before it, and the outcome of the call stands in the trailers
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

mod check;
mod messages;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use prost::Message as _;

use crate::gateway::accept::peer::Peer;
use crate::gateway::drain::Drain;
use crate::gateway::ext_authz::messages::{CheckRequest, CheckResponse};
use crate::gateway::in_force::InForce;

/// The one method.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A request's head, of 64 KiB at most in Envoy, and the beginning of a body that nobody here reads.
const MAX_MESSAGE: usize = 256 * 1024;

/// A message is a frame or two.
const MESSAGE: Duration = Duration::from_secs(5);

/// Checks of one connection at once: Envoy has one connection for each of its threads.
const MAX_STREAMS: u32 = 4096;

/// A check's own head is a path and a few fields.
const MAX_HEADER_LIST: u32 = 16 * 1024;

/// An Envoy that is gone without a word is noticed after this and half as long again.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// How a call ends (<https://grpc.io/docs/guides/status-codes/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallEnd {
    Ok = 0,
    InvalidArgument = 3,
    ResourceExhausted = 8,
    Unimplemented = 12,
}

type Body = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

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
    let (peer, mut abort) = (Arc::new(peer), drain.abort());
    let (gateway, drain) = (gateway.clone(), drain.clone());
    let service = service_fn(move |request| {
        let (gateway, drain, peer) = (gateway.clone(), drain.clone(), peer.clone());
        async move { Ok::<_, Infallible>(respond(&gateway, &drain, &peer, request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(SIGN_OF_LIFE)
        .keep_alive_timeout(SIGN_OF_LIFE / 2)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut stop = stop.clone();
    tokio::select! {
        // A proxy that broke off is no event.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    // GOAWAY: what is under way is answered.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        _ = abort.wait_for(|abort| *abort) => {}
    }
}

async fn respond(gateway: &InForce, drain: &Drain, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let is_grpc =
        request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if request.method() != Method::POST || !is_grpc || request.uri().path() != CHECK {
        return ended(CallEnd::Unimplemented);
    }
    let asked = match read(request).await {
        Ok(asked) => asked,
        Err(end) => return ended(end),
    };
    let answer: CheckResponse = gateway.load_full().check_request(asked, peer, drain).await;
    let mut message = BytesMut::with_capacity(5 + answer.encoded_len());
    message.put_u8(0);
    message.put_u32(u32::try_from(answer.encoded_len()).unwrap_or(u32::MAX));
    // There is room: it was measured.
    let _ = answer.encode(&mut message);
    let frames = vec![Ok(Frame::data(message.freeze())), Ok(Frame::trailers(status(CallEnd::Ok)))];
    response(HeaderMap::new(), frames)
}

/// The only message of a call.
async fn read(request: Request<Incoming>) -> Result<CheckRequest, CallEnd> {
    let body = Limited::new(request.into_body(), MAX_MESSAGE + 5).collect();
    let body = tokio::time::timeout(MESSAGE, body).await.map_err(|_| CallEnd::InvalidArgument)?;
    let mut body = body.map_err(|_| CallEnd::ResourceExhausted)?.to_bytes();
    if body.len() < 5 {
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

/// A call without an answer.
fn ended(end: CallEnd) -> Response<Body> {
    response(status(end), Vec::new())
}

fn status(end: CallEnd) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(end as u16))])
}

fn response(mut headers: HeaderMap, frames: Vec<Result<Frame<Bytes>, Infallible>>) -> Response<Body> {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut response = Response::new(StreamBody::new(stream::iter(frames)));
    *response.headers_mut() = headers;
    response
}
