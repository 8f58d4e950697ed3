//! A request of HTTP/2 by the fast path: each side is read no faster than the other takes it (RFC 9113, section 5.2).

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use h2::SendStream;
use http::{HeaderMap, StatusCode};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v2::server::HttpSession as Http2;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, Sleep, timeout};

use crate::app::Picked;
use crate::gateway::forward::attempt::{MAX_INTERIM, behind};
use crate::gateway::forward::fast_path::app_side::{AppSide, Sink, Wanted};
use crate::gateway::forward::fast_path::ask::Downstream;
use crate::gateway::forward::fast_path::tunnel::{after, poll_timer};
use crate::gateway::forward::fast_path::unsent::{STALLED, Unsent};
use crate::gateway::forward::fast_path::upload::{Incoming, Source, Upload};
use crate::gateway::forward::fast_path::{Elsewhere, FastPath, FastPathContext, Stop};
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::gateway::forward::session_end;
use crate::gateway::http2::exchange::answer;
use crate::http_client::Cause;
use crate::problem::Refusal;
use crate::telemetry::Outcome;

/// While others wait for room, a client that takes nothing has this long.
pub(in crate::gateway) const SHORT: Duration = Duration::from_secs(1);

/// The most that is read of an answer before the client must take it: one frame, as most clients take them.
const PIECE: usize = 16 * 1024;

impl FastPath {
    /// One request to an app that speaks HTTP/1.1, with its head as the app gets it, and its answer. `stall`: the client takes a piece of it in this time,
    /// and sends one of its body in that.
    pub async fn exchange_http2(
        &self,
        stream: &mut Http2,
        head: &[u8],
        proxied: &ProxiedRequest,
        (stall, body_stall): (Duration, Duration),
    ) -> Result<(), Elsewhere> {
        let mut context = FastPathContext::default();
        let upload = Upload::new(proxied, true, body_stall).map(Box::new);
        let mut client = Client { stream: &mut *stream, sender: None, upload, stall, held: STALLED, silence: None };
        let carried = {
            let carried = pin!(self.carry_http2(&mut client, head, proxied, &mut context));
            self.unless_ended(proxied, carried).await
        };
        drop(client);
        self.settle(stream, carried, proxied, context, stall).await
    }

    /// What `carried` comes to, until the gateway stops or the session behind the request is revoked. Pinned by the caller: as an argument it would have
    /// room here once more.
    pub(super) async fn unless_ended(
        &self,
        proxied: &ProxiedRequest,
        carried: Pin<&mut impl Future<Output = Result<(), Stop>>>,
    ) -> Result<(), Stop> {
        let mut abort = self.drain.abort();
        tokio::select! {
            biased;
            carried = carried => carried,
            _ = abort.wait_for(|abort| *abort) => Err(Stop::Abort),
            () = session_end::revoked(proxied, &self.gateway) => Err(Stop::SessionEnd),
        }
    }

    /// What the client is told last, and the access line.
    pub(super) async fn settle(
        &self,
        stream: &mut Http2,
        carried: Result<(), Stop>,
        proxied: &ProxiedRequest,
        mut context: FastPathContext,
        stall: Duration,
    ) -> Result<(), Elsewhere> {
        let (outcome, cause) = match carried {
            Ok(()) => (Outcome::Forwarded, None),
            Err(Stop::OtherVersion) => return Err(Elsewhere { picked: context.picked }),
            Err(Stop::Client) => (Outcome::Cancelled, None),
            Err(Stop::Abort) => (Outcome::Cut, None),
            Err(Stop::SessionEnd) => {
                // What has gone out is not to be taken for a whole answer.
                stream.shutdown();
                (Outcome::SessionEnded, None)
            }
            // The app's answer is going out; that the rest of the request did not come then is no matter.
            Err(Stop::Refused(_)) if context.status != 0 => {
                stream.shutdown();
                (Outcome::Forwarded, None)
            }
            Err(Stop::Refused(refusal)) => {
                refuse(stream, &refusal, proxied, &mut context, stall).await;
                (refusal.row().outcome, None)
            }
            Err(Stop::App(why)) => {
                if let Some(picked) = &context.picked {
                    picked.failed(why);
                }
                let refusal = behind(why);
                if context.status == 0 {
                    refuse(stream, &refusal, proxied, &mut context, stall).await;
                } else {
                    stream.shutdown();
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
        Ok(())
    }

    async fn carry_http2(
        &self,
        client: &mut Client<'_>,
        head: &[u8],
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Result<(), Stop> {
        // Of what comes by frames nothing goes back: an app by TLS may turn out to speak HTTP/2.
        if proxied.forward.app().is_plain() {
            client.prepare().await?;
        }
        let mut app = self.ask(client, head, proxied, context).await?;
        let patience = proxied.forward.app().read_timeout;
        let mut interim = 0;
        let head = loop {
            let head = app.head().filter(|head| head.status() != StatusCode::SWITCHING_PROTOCOLS);
            let Some(head) = head else { return Err(Stop::App(Cause::NotHttp)) };
            if !head.status().is_informational() {
                break head.for_http2(proxied).map_err(|_| Stop::App(Cause::NotHttp))?;
            }
            if interim == MAX_INTERIM {
                return Err(Stop::App(Cause::NotHttp));
            }
            // Pingora has no way for one over HTTP/2.
            interim += 1;
            app.skip_head();
            client.wait(&mut *app, patience, Wanted::Head).await?;
        };
        context.answered(&self.gateway.load(), proxied, head.status);
        let status = head.status.as_u16();
        app.begin_body(proxied.method == "HEAD");
        let done = app.is_done();
        client.stream.write_response_header(Box::new(head), done).map_err(|_| Stop::Client)?;
        context.status = status;
        if !done {
            client.sender = Some(client.stream.take_response_body_writer().ok_or(Stop::Client)?);
            if !self.body(client, &mut *app, patience).await? {
                client.send(Bytes::new(), true)?;
            }
        }
        let whole = client.finish_upload(&mut *app).await;
        if whole {
            self.give_back(*app, context);
        }
        Ok(())
    }

    /// The answer's body. Nothing more of it is read before the client has a window for it.
    ///
    /// Whether the answer has ended with its last piece; else its end is still to be sent.
    pub(super) async fn body(
        &self,
        client: &mut Client<'_>,
        app: &mut impl AppSide,
        patience: Duration,
    ) -> Result<bool, Stop> {
        let unsent = &self.unsent;
        while !app.is_done() {
            client.room(1, app.sink(), unsent).await?;
            client.wait(app, patience, Wanted::Piece(PIECE)).await?;
            let mut left = app.piece().1.len();
            while left > 0 {
                let size = client.room(left, app.sink(), unsent).await?.min(left);
                let (stream, piece) = app.piece();
                let at = piece.len() - left;
                let (stall, now) = (client.stall, &piece[at..at + size]);
                let kept = client.beside(stream, timeout(stall, unsent.keep(now))).await?;
                left -= size;
                // The end goes with it: a frame of its own would cost as much again, and wait for a window that it does not need.
                let last = left == 0 && app.is_last_piece();
                client.send(kept.map_err(|_| Stop::Client)?, last)?;
                if last {
                    app.take_piece();
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Our answer in place of the app's.
async fn refuse(
    stream: &mut Http2,
    refusal: &Refusal,
    proxied: &ProxiedRequest,
    context: &mut FastPathContext,
    stall: Duration,
) {
    let mut out = Vec::new();
    proxied.refuse(refusal, &mut out);
    if answer(stream, out, stall).await.is_ok() {
        context.status = refusal.row().status;
    }
}

/// The client's side of the fast path: a stream of HTTP/2.
pub(super) struct Client<'c> {
    pub stream: &'c mut Http2,
    /// Of the answer's body, once its head is on its way.
    pub sender: Option<SendStream<Bytes>>,
    pub upload: Option<Box<Upload>>,
    /// It takes a piece of the answer in this time.
    pub stall: Duration,
    /// What is held for it while it takes nothing.
    pub held: u32,
    /// When the app has been silent for too long.
    pub silence: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Client<'_> {
    /// Reads what of the request's body is here.
    async fn prepare(&mut self) -> Result<(), Stop> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        poll_fn(|cx| Poll::Ready(upload.prepare(&mut Frames(self.stream), cx))).await
    }

    pub fn send(&mut self, piece: Bytes, last: bool) -> Result<(), Stop> {
        let to = self.sender.as_mut().ok_or(Stop::Client)?;
        to.send_data(piece, last).map_err(|_| Stop::Client)
    }

    /// Where the fields behind the body end, so does the stream.
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), Stop> {
        let to = self.sender.as_mut().ok_or(Stop::Client)?;
        to.send_trailers(trailers).map_err(|_| Stop::Client)
    }

    /// What `work` comes to, while the client is there and the body of its request goes on.
    pub async fn beside<T>(&mut self, app: &mut impl Sink, work: impl Future<Output = T>) -> Result<T, Stop> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if let Poll::Ready(Err(stop)) = self.poll_upload(app, cx) {
                return Poll::Ready(Err(stop));
            }
            self.poll_left(cx).map(|()| Err(Stop::Client))
        })
        .await
    }

    /// Ends when the client takes a byte or more of this many that it is to get; with how many.
    async fn room(&mut self, wanted: usize, app: &mut impl Sink, unsent: &Unsent) -> Result<usize, Stop> {
        let to = self.sender.as_mut().ok_or(Stop::Client)?;
        // No more than is there to be sent: other streams share the connection's window.
        to.reserve_capacity(wanted);
        if to.capacity() > 0 {
            return Ok(to.capacity());
        }
        // What is read for it already waits here. Where there is no room for that, who takes nothing makes some.
        let _held = unsent.hold(self.held).ok_or(Stop::Client)?;
        let since = Instant::now();
        loop {
            let left = self.stall.saturating_sub(since.elapsed());
            if left.is_zero() || (unsent.is_scarce() && since.elapsed() >= SHORT) {
                return Err(Stop::Client);
            }
            let opened = poll_fn(|cx| {
                match self.poll_upload(app, cx) {
                    // An app that waits for a client that takes nothing is not at fault.
                    Poll::Ready(Err(Stop::App(Cause::TimedOut))) => return Poll::Ready(Err(Stop::Client)),
                    Poll::Ready(Err(stop)) => return Poll::Ready(Err(stop)),
                    _ => {}
                }
                match self.sender.as_mut().map(|to| to.poll_capacity(cx)) {
                    Some(Poll::Pending) => Poll::Pending,
                    Some(Poll::Ready(Some(Ok(size)))) => Poll::Ready(Ok(size)),
                    _ => Poll::Ready(Err(Stop::Client)),
                }
            });
            match timeout(left.min(SHORT), opened).await {
                Ok(Ok(0)) | Err(_) => {}
                Ok(opened) => return opened,
            }
        }
    }
}

impl Downstream for Client<'_> {
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sender {
            Some(sender) => sender.poll_reset(cx).map(|_| ()),
            None => self.stream.idle().poll_unpin(cx).map(|_| ()),
        }
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_left(cx)
    }

    fn upload(&mut self) -> Option<&mut Upload> {
        self.upload.as_deref_mut()
    }

    fn poll_upload(&mut self, app: &mut impl Sink, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let Some(upload) = &mut self.upload else { return Poll::Ready(Ok(())) };
        upload.poll(app, &mut Frames(self.stream), cx)
    }

    fn poll_silence(&mut self, span: Duration, anew: bool, cx: &mut Context<'_>) -> Poll<()> {
        let due = match self.silence {
            Some((due, _)) if !anew => due,
            _ => after(Instant::now(), span),
        };
        let (set, sleep) = self.silence.get_or_insert_with(|| (due, Box::pin(tokio::time::sleep_until(due))));
        *set = due;
        poll_timer(&mut sleep.as_mut(), due, cx)
    }

    async fn pass(&mut self, app: &mut Stream, head: &[u8], span: Duration) -> io::Result<()> {
        let whole = async {
            app.write_all(head).await?;
            app.flush().await
        };
        timeout(span, whole).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The frames of a request's body. The client's window opens again by what was taken: it holds no more than one window here.
struct Frames<'s>(&'s mut Http2);

impl Source for Frames<'_> {
    fn poll_body(&mut self, _: &mut Incoming, data: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Result<bool, Stop>> {
        loop {
            match ready!(self.0.poll_read_body_bytes(cx)) {
                Some(Ok(piece)) => data.extend_from_slice(&piece),
                Some(Err(_)) => return Poll::Ready(Err(Stop::Client)),
                None => return Poll::Ready(Ok(true)),
            }
            let ended = self.0.is_body_done();
            // A frame without data ends nothing unless it says so.
            if ended || !data.is_empty() {
                return Poll::Ready(Ok(ended));
            }
        }
    }
}
