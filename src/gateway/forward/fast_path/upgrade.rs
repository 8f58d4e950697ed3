//! The handshake of a WebSocket with an app (RFC 6455, section 4; RFC 9110, section 7.8): by our own reading, since what follows a `101` is no body.
//! An answer that declines goes back to the way of all answers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::{HeaderValue, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::HttpSession;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::time::timeout;

use crate::gateway::delegate::delegate_to_inner;
use crate::gateway::forward::attempt::MAX_INTERIM;
use crate::gateway::forward::fast_path::answer_head::write_head;
use crate::gateway::forward::fast_path::ask::{Downstream as _, Tried};
use crate::gateway::forward::fast_path::tunnel::{self, Patience};
use crate::gateway::forward::fast_path::{Client, FastPath, FastPathContext, Stop};
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::gateway::forward::session_end;
use crate::http_client::Cause;

/// Header lines of an answer: as many as Pingora reads.
const MAX_HEADERS: usize = 256;

/// The largest head of an answer: Pingora's too.
const MAX_HEAD: usize = 1 << 20;

const ROOM: usize = 4096;

impl FastPath {
    /// Asks an app for a WebSocket. A `101` goes to the client, and so does all that follows it; `None`: that tunnel has ended. An answer of which the
    /// head is read: the app declines, as it answers any request.
    pub(super) async fn upgrade(
        &self,
        client: &mut Client<'_, '_>,
        head: &[u8],
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Result<Option<HttpSession>, Stop> {
        let app = proxied.forward.app();
        let (mut stream, _) = self.connect(proxied, context, &mut Tried::new(), true).await?;
        client.pass(&mut stream, head, app.read_timeout).await.map_err(|error| {
            let late = error.kind() == io::ErrorKind::TimedOut;
            Stop::App(if late { Cause::TimedOut } else { Cause::Broken })
        })?;
        let mut upstream = UpstreamReader { inner: stream, ahead: BytesMut::new() };
        let mut interim = 0;
        loop {
            let (answer, length) = client.wait(app.read_timeout, upstream.head(app.read_timeout)).await?;
            if answer.status == StatusCode::SWITCHING_PROTOCOLS {
                if !is_websocket(&answer) {
                    return Err(Stop::App(Cause::NotHttp));
                }
                upstream.ahead.advance(length);
                context.status = answer.status.as_u16();
                write_head(&answer, proxied, true, client.out);
                client.send().await?;
                context.answered(&self.gateway.load(), proxied, answer.status);
                let patience = Patience { idle: app.websocket_timeout, client: client.write };
                let clock = self.gateway.load().clock.clone();
                // A silent tunnel holds no room for a head or an answer.
                *client.out = Vec::new();
                let sent = std::mem::take(client.ahead);
                // What may end a tunnel before its sides do stands here: whatever it is, it drops the tunnel and so both connections.
                return tokio::select! {
                    biased;
                    _ = tunnel::run((client.stream, sent), (&mut upstream.inner, upstream.ahead), &patience) => Ok(None),
                    () = session_end::of(proxied, &clock) => Err(Stop::SessionEnd),
                };
            }
            if !answer.status.is_informational() {
                let mut session = HttpSession::new(Box::new(upstream));
                session.read_timeout = Some(app.read_timeout);
                client.wait(app.read_timeout, session.read_response()).await?;
                return Ok(Some(session));
            }
            if interim == MAX_INTERIM {
                return Err(Stop::App(Cause::NotHttp));
            }
            interim += 1;
            upstream.ahead.advance(length);
            write_head(&answer, proxied, false, client.out);
            client.send().await?;
            client.answered = false;
        }
    }
}

/// Whether a `101` switches to what was asked for. A client fails the connection where it does not (RFC 6455, section 4.1).
fn is_websocket(answer: &ResponseHeader) -> bool {
    let mut protocols = answer.headers.get_all(header::UPGRADE).iter();
    let named = protocols.next().is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
    named && protocols.next().is_none() && answer.version == Version::HTTP_11
}

/// An app's connection, and what it has said that nobody has taken yet: that is read first.
#[derive(Debug)]
struct UpstreamReader {
    inner: Stream,
    ahead: BytesMut,
}

impl UpstreamReader {
    /// The next head that the app says, and its length; it stays where it is. Each gap in it is as long as this at most.
    async fn head(&mut self, gap: Duration) -> pingora::Result<(ResponseHeader, usize)> {
        loop {
            if let Some(head) = parse(&self.ahead)? {
                return Ok(head);
            }
            if self.ahead.len() > MAX_HEAD {
                return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
            }
            self.ahead.reserve(ROOM);
            match timeout(gap, self.inner.read_buf(&mut self.ahead)).await {
                Ok(Ok(n)) if n > 0 => {}
                Ok(Ok(_)) => return Err(Error::new_up(ErrorType::ConnectionClosed)),
                Ok(Err(error)) => return Err(Error::because(ErrorType::ReadError, "an answer to a handshake", error)),
                Err(_) => return Err(Error::new_up(ErrorType::ReadTimedout)),
            }
        }
    }
}

/// As lenient as Pingora is with apps.
fn parse(bytes: &[u8]) -> pingora::Result<Option<(ResponseHeader, usize)>> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut slots);
    let mut config = httparse::ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
    let invalid = || Error::new_up(ErrorType::InvalidHTTPHeader);
    let length = match config.parse_response(&mut answer, bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(invalid()),
    };
    let mut head = ResponseHeader::build(answer.code.unwrap_or_default(), Some(answer.headers.len()))?;
    head.set_version(if answer.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 });
    head.set_reason_phrase(answer.reason)?;
    for field in answer.headers {
        let value = HeaderValue::from_bytes(field.value).map_err(|_| invalid())?;
        head.append_header(field.name.to_owned(), value)?;
    }
    Ok(Some((head, length)))
}

impl AsyncRead for UpstreamReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, buffer);
        }
        let length = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead.split_to(length));
        if this.ahead.is_empty() {
            this.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

delegate_to_inner!(UpstreamReader);
