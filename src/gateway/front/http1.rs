//! One connection of HTTP/1: a head is read, the request is judged, and it is answered here or forwarded to an app.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora_core::apps::HttpServerApp as _;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use tokio::io::AsyncWriteExt as _;

use super::{Front, Proxying};
use crate::gateway::accept::acceptor::Acceptor;
use crate::gateway::accept::peer::Peer;
use crate::gateway::accept::shutdown_signal::ShutdownSignal;
use crate::gateway::bounds::Limits;
use crate::gateway::forward::fast_path::{Client, Next, Upload};
use crate::gateway::forward::proxied_request::{ProxiedRequest, UpstreamHead, set_http_1_0};
use crate::gateway::forward::session_end;
use crate::gateway::http1::chunks::{ChunkJudge, JudgedBody};
use crate::gateway::http1::head::{BadHead, FEW_HEADERS, Head, MAX_HEADERS};
use crate::gateway::http1::reader::{self, Deadline, HeadLimits, Read};
use crate::gateway::http1::wire::{linger, skip, slim, write};
use crate::gateway::receive::{self, Disposition, Post};
use crate::gateway::request::ConnectionInfo;
use crate::problem::Refusal;
use crate::telemetry::Outcome;

/// A connection between two requests, and what it has read ahead.
pub(super) struct Http1Connection<'c> {
    front: &'c Front,
    acceptor: &'c Acceptor,
    stop: &'c ShutdownWatch,
    peer: Peer,
    tls: bool,
    deadline: Deadline<'c>,
    /// The end of the drain: whatever is under way is cut.
    abort: ShutdownSignal<'c>,
    limits: HeadLimits,
    /// `server.write_stall`, as the request under way began with it.
    write_stall: Duration,
    /// `server.body_stall`, likewise.
    body_stall: Duration,
    buffer: BytesMut,
    out: Vec<u8>,
}

impl<'c> Http1Connection<'c> {
    pub fn new(
        front: &'c Front,
        (acceptor, stop): (&'c Acceptor, &'c ShutdownWatch),
        (peer, tls): (Peer, bool),
        (deadline, abort): (Deadline<'c>, ShutdownSignal<'c>),
        limits: HeadLimits,
    ) -> Self {
        let (write_stall, body_stall) = (Duration::ZERO, Duration::ZERO);
        let (buffer, out) = (BytesMut::new(), Vec::new());
        Self { front, acceptor, stop, peer, tls, deadline, abort, limits, write_stall, body_stall, buffer, out }
    }

    /// Answers one request after the other until the connection ends.
    pub async fn serve(mut self, mut stream: Stream) {
        loop {
            slim(&mut self.buffer, &mut self.out);
            let read = reader::head(&mut stream, &mut self.buffer, &mut self.deadline, &self.limits).await;

            let mut disposition = match read {
                Read::Gone => return,
                // Boxed: an idle connection does not hold the room for a request.
                Read::Head(end) => Box::pin(self.judge(end)).await,
                Read::Malformed => self.reject(&Refusal::BadRequest),
                Read::LongTarget => self.reject(&Refusal::UriTooLong),
                Read::TooLarge => self.reject(&Refusal::HeaderTooLarge),
                Read::TooSlow => self.reject(&Refusal::TooSlow),
            };
            if let Disposition::Receive(mut post) = disposition {
                disposition = self.receive(&mut stream, &mut post).await;
            }

            let next = match disposition {
                Disposition::Forward(proxied, UpstreamHead::Wire(head)) => {
                    Box::pin(self.forward(stream, head, proxied)).await
                }
                answered => self.answer(stream, &answered).await,
            };
            match next {
                Some(back) => stream = back,
                None => return,
            }
        }
    }

    fn reject(&mut self, refusal: &Refusal) -> Disposition {
        self.front.gateway.load().reject(refusal, &self.peer, &mut self.out)
    }

    /// The answer to the request whose head is the first `end` bytes of the buffer, or that it goes to an app.
    async fn judge(&mut self, end: usize) -> Disposition {
        let gateway = self.front.gateway.load();
        let Limits { idle, write, body, .. } = *gateway.bounds();
        (self.limits.idle, self.write_stall, self.body_stall) = (idle, write, body);
        let lame = || self.front.drain.is_lame() || self.acceptor.is_leaving();
        let peer = self.peer.under(gateway.trusted());
        let connection =
            ConnectionInfo { raw: &self.buffer[..end], peer: &peer, tls: self.tls, http2: false, lame: &lame };
        // In one future: each that is made is moved once, whole.
        let mut few = [const { MaybeUninit::uninit() }; FEW_HEADERS];
        let mut many = Vec::new();
        let head = match Head::parse(connection.raw, &mut few, &gateway.own_host) {
            Err(BadHead::TooManyHeaders) => {
                many.resize_with(MAX_HEADERS, MaybeUninit::uninit);
                Head::parse(connection.raw, &mut many, &gateway.own_host)
            }
            read => read,
        };
        let disposition = match head {
            Ok(head) => gateway.answer(&head, &connection, &mut self.out, self.abort.received()).await,
            Err(BadHead::Malformed) => gateway.reject(&Refusal::BadRequest, connection.peer, &mut self.out),
            Err(BadHead::TooManyHeaders) => gateway.reject(&Refusal::HeaderTooLarge, connection.peer, &mut self.out),
        };
        self.buffer.advance(end);
        disposition
    }

    /// Reads the body of a request that the gateway takes itself, and answers it.
    async fn receive(&mut self, stream: &mut Stream, post: &mut Post) -> Disposition {
        self.deadline.set(self.limits.head);
        let body = receive::body(stream, &mut self.buffer, post, &mut self.deadline).await;
        let gateway = self.front.gateway.load_full();
        Box::pin(gateway.receive(post, body, &mut self.out)).await
    }

    /// Sends what was answered. The stream comes back if the client may send another request.
    async fn answer(&mut self, mut stream: Stream, disposition: &Disposition) -> Option<Stream> {
        self.deadline.set(self.limits.head);
        write(&mut stream, &self.out, &mut self.deadline).await.ok()?;
        match *disposition {
            Disposition::KeepAlive { body: 0 } => Some(stream),
            Disposition::KeepAlive { body } => {
                skip(&mut stream, &mut self.buffer, body, &mut self.deadline).await.then_some(stream)
            }
            Disposition::Close | Disposition::Forward(..) | Disposition::Receive(_) => {
                linger(stream).await;
                None
            }
        }
    }

    /// Sends a request to its app and the answer back, on the fast path where it fits. The stream comes back if the client may send another.
    async fn forward(
        &mut self,
        mut stream: Stream,
        mut head: BytesMut,
        proxied: Arc<ProxiedRequest>,
    ) -> Option<Stream> {
        let proxying = self.front.proxying.load_full()?;
        if !proxied.fits_fast_path() {
            return Box::pin(self.exchange(stream, head, proxied, &proxying)).await;
        }
        let client = Client {
            stream: &mut stream,
            ahead: &mut self.buffer,
            deadline: &mut self.deadline,
            out: &mut self.out,
            answered: false,
            write: self.write_stall,
            upload: Upload::new(&proxied, false, self.body_stall).map(Box::new),
        };
        match proxying.fast_path.exchange(client, &head, &proxied, &mut self.abort).await {
            Next::Http2 => {
                if !proxied.modern {
                    set_http_1_0(&mut head);
                }
                Box::pin(self.exchange(stream, head, proxied, &proxying)).await
            }
            Next::KeepAlive => Some(stream),
            Next::Close => {
                // It is over for the app.
                drop(proxied);
                linger(stream).await;
                None
            }
            Next::Abort => None,
        }
    }

    /// The same through Pingora's proxy: the head, and what was read behind it.
    ///
    /// Dropped: both connections are cut.
    async fn exchange(
        &mut self,
        mut stream: Stream,
        mut head: BytesMut,
        proxied: Arc<ProxiedRequest>,
        proxying: &Proxying,
    ) -> Option<Stream> {
        if proxied.chunked {
            let mut judge = ChunkJudge::new();
            if judge.take(&self.buffer).is_err() {
                self.refuse_body(stream, &proxied).await;
                return None;
            }
            stream = Box::new(JudgedBody::new(stream, judge, Arc::clone(&proxied)));
        }
        if !self.buffer.is_empty() {
            head.extend_from_slice(&self.buffer.split());
        }
        let mut session = ServerSession::new_http1(stream);
        session.set_connection_user_context(Some(Box::new(Arc::clone(&proxied))));
        // The head that Pingora reads is ours.
        session.set_pipelined_prefix(head);
        let served = proxying.proxy.process_new_http(session, self.stop);
        let back = tokio::select! {
            biased;
            back = served => back?,
            () = self.abort.received() => {
                self.front.gateway.load().log_dropped(&proxied, Outcome::Cut);
                return None;
            }
            () = session_end::revoked(&proxied, &self.front.gateway) => {
                self.front.gateway.load().log_dropped(&proxied, Outcome::SessionEnded);
                return None;
            }
        };
        let back = back.consume().0;
        if proxied.chunked { JudgedBody::unwrap(back) } else { Some(back) }
    }

    /// Answers a request whose body is framed wrongly from its first bytes on: nothing of it has gone to the app.
    async fn refuse_body(&mut self, mut stream: Stream, proxied: &ProxiedRequest) {
        let mut out = Vec::new();
        proxied.refuse(&Refusal::BadRequest, &mut out);
        let head = self.front.gateway.load().bounds().head;
        let written = tokio::time::timeout(head, stream.write_all(&out)).await;
        let row = Refusal::BadRequest.row();
        self.front.gateway.load().log_proxied(proxied, row.status, row.outcome, None, None);
        if matches!(written, Ok(Ok(()))) && stream.flush().await.is_ok() {
            linger(stream).await;
        }
    }
}
