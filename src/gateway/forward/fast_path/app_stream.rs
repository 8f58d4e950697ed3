//! A stream of HTTP/2 to an app (RFC 9113): connections and their bounds are Pingora's, both directions of a stream go on at once.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora_core::connectors::http::v2::Connector;
use pingora_core::protocols::http::v2::client::Http2Session;

use crate::app::{cause_of, cause_of_stream};
use crate::gateway::forward::fast_path::app_side::{AppSide, Sink, Wanted};
use crate::http_client::Cause;

/// What an app may send on a stream before the client has taken it: the protocol's own default, and a byte.
pub(super) const WINDOW: u32 = 64 * 1024;

/// A stream, and what was read of its answer.
pub(super) struct AppStream {
    /// `None`: it is given back.
    session: Option<Http2Session>,
    to_app: ToApp,
    piece: Bytes,
    /// Nothing comes behind the piece but fields.
    over: bool,
    /// Not even those.
    whole: bool,
    /// Its connection has ended.
    closed: bool,
    heard: u64,
    /// Its connection has carried others.
    reused: bool,
    /// The app has seen nothing of this request.
    unseen: bool,
    /// It asks for HTTP/1.1 in place of this.
    wants_http_1: bool,
    connector: Arc<Connector>,
    peer: HttpPeer,
}

/// The request's way to the app.
pub(super) struct ToApp {
    stream: Option<SendStream<Bytes>>,
    ended: bool,
}

/// The windows of streams to an app: a client that takes nothing holds up no other on its connection.
pub(super) fn with_windows(peer: &HttpPeer) -> HttpPeer {
    let mut peer = peer.clone();
    let streams = u32::try_from(peer.options.max_h2_streams).unwrap_or(u32::MAX);
    peer.options.h2_stream_window_size = Some(WINDOW);
    peer.options.h2_connection_window_size = Some(WINDOW.saturating_mul(streams).min(i32::MAX as u32));
    peer
}

impl AppStream {
    /// Nothing is sent yet. `reused`: the connection has carried others, and the app may have closed it since.
    pub fn new(session: Http2Session, reused: bool, connector: &Arc<Connector>, peer: HttpPeer) -> Box<Self> {
        Box::new(Self {
            session: Some(session),
            to_app: ToApp { stream: None, ended: false },
            piece: Bytes::new(),
            over: false,
            whole: false,
            closed: false,
            heard: 0,
            reused,
            unseen: false,
            wants_http_1: false,
            connector: Arc::clone(connector),
            peer,
        })
    }

    /// Sends the head. `whole`: no body follows.
    pub fn begin(&mut self, head: RequestHeader, whole: bool) -> Result<(), Cause> {
        let session = self.session.as_mut().ok_or(Cause::Broken)?;
        if session.write_request_header(Box::new(head), whole).is_err() {
            // The connection takes no stream any more: nothing went out.
            self.unseen = true;
            return Err(Cause::Broken);
        }
        self.to_app = ToApp { stream: session.take_request_body_writer(), ended: whole };
        Ok(())
    }

    /// Whether the app answers this request over HTTP/1.1 alone, as IIS does where it is to know the client by NTLM.
    pub fn wants_http_1(&self) -> bool {
        self.wants_http_1
    }

    /// Whether the request may be sent once more: the app can't have begun with it (RFC 9113, sections 6.8 and 8.7), or had most likely closed the connection
    /// before it could know of it, and a second time does no harm (RFC 9110, section 9.2.2).
    pub fn may_repeat(&self, idempotent: bool) -> bool {
        self.unseen || (idempotent && self.reused && self.closed && self.heard == 0)
    }

    /// Whether it is one of TLS.
    pub fn is_tls(&self) -> bool {
        self.peer.is_tls()
    }

    /// The app was silent for too long: no other stream joins its connection, on which it may hang.
    pub fn leave(&self) {
        if let Some(session) = &self.session {
            session.conn.mark_shutdown();
        }
    }

    /// The head of the answer that was read.
    pub fn head(&self) -> Option<&ResponseHeader> {
        self.session.as_ref()?.response_header()
    }

    /// Where the request goes, and the fields behind the answer's body once they are there.
    pub fn trailers(&mut self) -> (&mut ToApp, impl Future<Output = Result<Option<HeaderMap>, Cause>> + '_) {
        let (session, to_app) = (self.session.as_mut(), &mut self.to_app);
        let trailers = async {
            match session {
                Some(session) => session.read_trailers().await.map_err(|fault| cause_of(&fault)),
                None => Ok(None),
            }
        };
        (to_app, trailers)
    }

    /// What was wrong with it, and what that tells of the request.
    fn failed(&mut self, fault: &h2::Error) -> Cause {
        let reset = |reason| fault.is_remote() && fault.is_reset() && fault.reason() == Some(reason);
        // A stream beyond the last that a GOAWAY takes.
        let beyond = fault.is_remote() && fault.is_go_away() && fault.reason() == Some(Reason::NO_ERROR);
        self.unseen |= (beyond || reset(Reason::REFUSED_STREAM)) && self.heard == 0;
        self.wants_http_1 |= reset(Reason::HTTP_1_1_REQUIRED) && self.heard == 0;
        self.closed |= fault.is_io() || fault.is_go_away();
        cause_of_stream(fault)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        let Some(session) = &mut self.session else { return Poll::Ready(Err(Cause::Broken)) };
        match ready!(session.poll_read_response_header(cx)) {
            Ok(()) => {
                self.heard += 1;
                // A head that ends the stream has no body behind it.
                self.end_if_over()
            }
            Err(fault) => Err(self.failed(&fault)),
        }
        .into()
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.piece = Bytes::new();
        loop {
            let Some(session) = &mut self.session else { return Poll::Ready(Err(Cause::Broken)) };
            match ready!(session.poll_read_response_body(cx)) {
                Some(Ok(piece)) => {
                    self.heard += 1;
                    self.piece = piece;
                    self.end_if_over()?;
                    // A frame may hold nothing.
                    if !self.piece.is_empty() || self.over {
                        return Poll::Ready(Ok(()));
                    }
                }
                Some(Err(fault)) => return Poll::Ready(Err(self.failed(&fault))),
                None => {
                    self.over = true;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Notes it where the app has ended the stream.
    fn end_if_over(&mut self) -> Result<(), Cause> {
        let ended = self.session.as_mut().map_or(Ok(false), Http2Session::check_response_end_or_error);
        let ended = ended.map_err(|fault| cause_of(&fault))?;
        (self.over, self.whole) = (self.over || ended, self.whole || ended);
        Ok(())
    }
}

impl AppSide for AppStream {
    type Sink = ToApp;

    fn sink(&mut self) -> &mut ToApp {
        &mut self.to_app
    }

    fn poll(&mut self, wanted: Wanted, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        match wanted {
            Wanted::Head => self.poll_head(cx),
            Wanted::Piece(_) => self.poll_body(cx),
        }
    }

    fn heard(&self) -> u64 {
        self.heard
    }

    fn piece(&mut self) -> (&mut ToApp, &[u8]) {
        (&mut self.to_app, &self.piece)
    }

    fn take_piece(&mut self) {
        self.piece = Bytes::new();
    }

    fn is_last_piece(&self) -> bool {
        self.whole
    }

    fn is_done(&self) -> bool {
        self.over && self.piece.is_empty()
    }
}

/// The connection carries on with its other streams, and waits for the next one for `idle_timeout`. A stream that has not ended is reset.
impl Drop for AppStream {
    fn drop(&mut self) {
        self.to_app.stream = None;
        // Pingora sets the connection's timer on this runtime, where one is left.
        if let (Some(session), Ok(_)) = (self.session.take(), tokio::runtime::Handle::try_current()) {
            self.connector.release_http_session(session, &self.peer, self.peer.options.idle_timeout);
        }
    }
}

impl Sink for ToApp {
    fn poll_send(&mut self, piece: &mut BytesMut, last: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(to) = &mut self.stream else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        to.reserve_capacity(piece.len());
        while to.capacity() == 0 {
            match ready!(to.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                // The app takes no more; its answer says why, if there is one.
                Some(Err(_)) | None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let size = to.capacity().min(piece.len());
        let last = last && size == piece.len();
        let sent = to.send_data(piece.split_to(size).freeze(), last);
        self.ended |= last;
        Poll::Ready(sent.map_err(io::Error::other))
    }

    /// The connection's own task writes.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn end(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let to = self.stream.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        to.send_data(Bytes::new(), true).map_err(io::Error::other)
    }
}
