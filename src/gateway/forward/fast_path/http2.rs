//! A `GET` of HTTP/2 by the fast path: the answer is read from the app no faster than the client takes it (RFC 9113, section 5.2).

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::SendStream;
use http::Version;
use pingora::http::ResponseHeader;
use pingora::proxy::Session as Exchange;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::protocols::http::v2::server::HttpSession as Http2;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout};

use crate::app::{Picked, cause_of};
use crate::gateway::forward::attempt::{MAX_INTERIM, behind};
use crate::gateway::forward::fast_path::answer_head::is_possible;
use crate::gateway::forward::fast_path::ask::Downstream;
use crate::gateway::forward::fast_path::unsent::{STALLED, Unsent};
use crate::gateway::forward::fast_path::upload::Upload;
use crate::gateway::forward::fast_path::{FastPath, FastPathContext, Stop};
use crate::gateway::forward::headers::{self, HSTS, REQUEST_ID};
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::gateway::forward::session_end;
use crate::gateway::http2::exchange::write;
use crate::http_client::Cause;

/// While others wait for room, a client that takes nothing has this long.
pub(in crate::gateway) const SHORT: Duration = Duration::from_secs(1);

impl FastPath {
    /// One request, with its head as the app gets it, and its answer; `stall`: the client takes a piece of it in this time.
    pub async fn exchange_http2(
        &self,
        exchange: &mut Exchange,
        head: &[u8],
        proxied: &ProxiedRequest,
        stall: Duration,
    ) {
        let mut context = FastPathContext::default();
        let mut abort = self.drain.abort();
        let ServerSession::H2(client) = exchange.as_downstream_mut() else { return };
        let carried = tokio::select! {
            biased;
            carried = self.carry_http2(client, head, proxied, stall, &mut context) => carried,
            _ = abort.wait_for(|abort| *abort) => Err(Stop::Abort),
            () = session_end::revoked(proxied, &self.gateway) => Err(Stop::SessionEnd),
        };
        let (outcome, cause) = match carried {
            Ok(()) => ("forwarded", None),
            Err(Stop::Client | Stop::Refused(_)) => ("cancelled", None),
            Err(Stop::SessionEnd) => {
                if let ServerSession::H2(client) = exchange.as_downstream_mut() {
                    // Not to be taken for a whole answer.
                    client.shutdown();
                }
                ("session_ended", None)
            }
            Err(Stop::Abort) => ("cut", None),
            Err(Stop::App(why)) => {
                if let Some(picked) = &context.picked {
                    picked.failed(why);
                }
                let refusal = behind(why);
                if context.status == 0 {
                    let mut out = Vec::new();
                    proxied.refuse(&refusal, &mut out);
                    if write(exchange, &out).await.is_ok() {
                        context.status = refusal.row().status;
                    }
                } else if let ServerSession::H2(client) = exchange.as_downstream_mut() {
                    // Not to be taken for a whole answer.
                    client.shutdown();
                }
                (refusal.row().outcome, Some(why))
            }
        };
        self.gateway.load().log_proxied(
            proxied,
            context.status,
            outcome,
            context.picked.as_ref().map(Picked::label),
            cause,
        );
    }

    async fn carry_http2(
        &self,
        client: &mut Http2,
        head: &[u8],
        proxied: &ProxiedRequest,
        stall: Duration,
        context: &mut FastPathContext,
    ) -> Result<(), Stop> {
        let mut app = self.ask(client, head, proxied, context).await?;
        let mut interim = 0;
        let head = loop {
            let Some(answer) = app.resp_header().filter(|answer| is_possible(answer)) else {
                return Err(Stop::App(Cause::NotHttp));
            };
            if !answer.status.is_informational() {
                break clean(answer, proxied)?;
            }
            if interim == MAX_INTERIM {
                return Err(Stop::App(Cause::NotHttp));
            }
            // Pingora has no way for one over HTTP/2.
            interim += 1;
            client.wait(proxied.forward.app().read_timeout, app.read_response()).await?;
        };
        context.answered(&self.gateway.load(), proxied, head.status);
        let status = head.status.as_u16();
        let done = app.is_body_done();
        client.write_response_header(Box::new(head), done).map_err(|_| Stop::Client)?;
        context.status = status;
        if !done {
            self.body(client, &mut app, stall).await?;
        }
        self.give_back(app, context).await;
        Ok(())
    }

    /// The answer's body. Nothing more of it is read before the client has a window for it.
    async fn body(&self, client: &mut Http2, app: &mut HttpSession, stall: Duration) -> Result<(), Stop> {
        let Some(mut to) = client.take_response_body_writer() else { return Err(Stop::Client) };
        let unsent = &self.unsent;
        while !app.is_body_done() {
            room(&mut to, 1, stall, unsent).await?;
            let read = tokio::select! {
                biased;
                read = app.read_body_ref() => read.map_err(|error| Stop::App(cause_of(&error)))?,
                _ = std::future::poll_fn(|cx| to.poll_reset(cx)) => return Err(Stop::Client),
            };
            let mut piece = read.unwrap_or_default();
            while !piece.is_empty() {
                let size = room(&mut to, piece.len(), stall, unsent).await?.min(piece.len());
                let (now, later) = piece.split_at(size);
                let now = tokio::select! {
                    biased;
                    now = timeout(stall, unsent.keep(now)) => now.map_err(|_| Stop::Client)?,
                    _ = std::future::poll_fn(|cx| to.poll_reset(cx)) => return Err(Stop::Client),
                };
                to.send_data(now, false).map_err(|_| Stop::Client)?;
                piece = later;
            }
        }
        to.send_data(Bytes::new(), true).map_err(|_| Stop::Client)
    }
}

impl Downstream for Http2 {
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.idle().poll_unpin(cx).map(|_| ())
    }

    fn upload(&mut self) -> Option<&mut Upload> {
        None
    }

    fn poll_upload(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        Poll::Ready(Ok(()))
    }

    async fn pass(&mut self, app: &mut Stream, head: &[u8], span: Duration) -> io::Result<()> {
        let whole = async {
            app.write_all(head).await?;
            app.flush().await
        };
        timeout(span, whole).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Ends when the client takes a byte or more of this many that it is to get; with how many.
async fn room(to: &mut SendStream<Bytes>, wanted: usize, stall: Duration, unsent: &Unsent) -> Result<usize, Stop> {
    // No more than is there to be sent: other streams share the connection's window.
    to.reserve_capacity(wanted);
    if to.capacity() > 0 {
        return Ok(to.capacity());
    }
    // What is read for it already waits here. Where there is no room for that, who takes nothing makes some.
    let _held = unsent.hold(STALLED).ok_or(Stop::Client)?;
    let since = Instant::now();
    loop {
        let left = stall.saturating_sub(since.elapsed());
        if left.is_zero() || (unsent.is_scarce() && since.elapsed() >= SHORT) {
            return Err(Stop::Client);
        }
        match timeout(left.min(SHORT), std::future::poll_fn(|cx| to.poll_capacity(cx))).await {
            Ok(Some(Ok(0))) | Err(_) => {}
            Ok(Some(Ok(size))) => return Ok(size),
            Ok(_) => return Err(Stop::Client),
        }
    }
}

/// The head of an answer as a client of HTTP/2 gets it. Pingora takes out what is no field there.
fn clean(answer: &ResponseHeader, proxied: &ProxiedRequest) -> Result<ResponseHeader, Stop> {
    let mut head = answer.clone();
    headers::response(&mut head);
    headers::response_to(Version::HTTP_2, &mut head);
    head.insert_header(REQUEST_ID, proxied.start.id.text()).map_err(|_| Stop::App(Cause::NotHttp))?;
    if let Some(hsts) = proxied.hsts() {
        head.insert_header(HSTS, hsts).map_err(|_| Stop::App(Cause::NotHttp))?;
    }
    Ok(head)
}
