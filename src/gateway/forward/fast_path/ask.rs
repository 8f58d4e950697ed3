//! An upstream is asked: picked, reached, sent a request's head, and tried once more where its idle connection turns out to be dead.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll};
use std::time::Duration;

use pingora_core::protocols::{ALPN, Stream};
use smallvec::SmallVec;

use crate::app::{Address, Picked, cause_of};
use crate::clock::Stopwatch;
use crate::gateway::forward::attempt::TRIES;
use crate::gateway::forward::fast_path::app_side::{AppSide, Sink, Wanted};
use crate::gateway::forward::fast_path::upload::Upload;
use crate::gateway::forward::fast_path::upstream_connection::UpstreamConnection;
use crate::gateway::forward::fast_path::{FastPath, FastPathContext, Stop};
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::http_client::Cause;
use crate::problem::Refusal;

/// The client that waits for an answer.
pub(super) trait Downstream {
    /// Ready when it has left.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The same, where that takes nothing of the body of its request: over HTTP/2.
    fn poll_reset(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// The body of its request, where there is one.
    fn upload(&mut self) -> Option<&mut Upload>;

    /// Ready when the app has all of that body, or takes no more of it.
    fn poll_upload(&mut self, app: &mut impl Sink, cx: &mut Context<'_>) -> Poll<Result<(), Stop>>;

    /// Ready when this much time has gone by since the last call with `anew`.
    fn poll_silence(&mut self, span: Duration, anew: bool, cx: &mut Context<'_>) -> Poll<()>;

    /// Sends the head of a request without a body on, in this time.
    async fn pass(&mut self, app: &mut Stream, head: &[u8], span: Duration) -> io::Result<()>;

    /// The answer is whole, and the rest of the request's body follows as long as the app takes it. Whether the app has all of it.
    async fn finish_upload(&mut self, app: &mut impl AppSide) -> bool {
        if let Some(upload) = self.upload()
            && upload.is_coming()
        {
            upload.be_patient(false);
            // The answer counts, whatever becomes of the body.
            let _ = poll_fn(|cx| match self.poll_upload(app.sink(), cx) {
                Poll::Pending => self.poll_reset(cx).map(Ok),
                sent => sent,
            })
            .await;
        }
        self.upload().is_none_or(|upload| upload.is_whole())
    }

    /// Waits for the app, while the client is there. Where the request has a body, that goes on meanwhile; from its end on the app may be silent for
    /// this long, each time, and before its beginning too where the client waits for the app's word.
    async fn wait(&mut self, app: &mut impl AppSide, span: Duration, wanted: Wanted) -> Result<(), Stop> {
        let mut heard = None;
        poll_fn(|cx| {
            let sent = self.poll_upload(app.sink(), cx)?;
            let given_up = self.upload().and_then(|upload| upload.given_up());
            if let Poll::Ready(done) = app.poll(wanted, cx) {
                return Poll::Ready(done.map_err(|cause| Stop::App(given_up.unwrap_or(cause))));
            }
            let upload = self.upload();
            let (moved, patient, coming) =
                upload.map_or((0, false, true), |upload| (upload.moved(), upload.is_patient(), upload.is_coming()));
            if sent.is_pending() && !patient {
                // Over HTTP/1 reading the body shows that the client has left.
                if self.poll_reset(cx).is_ready() {
                    return Poll::Ready(Err(Stop::Client));
                }
                if coming {
                    return Poll::Pending;
                }
            } else if given_up.is_none() && self.poll_left(cx).is_ready() {
                return Poll::Ready(Err(Stop::Client));
            }
            let now = Some((app.heard(), moved));
            let anew = std::mem::replace(&mut heard, now) != now;
            self.poll_silence(span, anew, cx).map(|()| {
                let late = match (patient, coming) {
                    // Both are silent: nobody is at fault, and it ends.
                    (true, _) => Stop::Refused(Refusal::TooSlow),
                    // The app's silence, but no reason to turn from it: any client could have it ejected by waiting for a word that it does not give.
                    (false, false) => Stop::Refused(Refusal::AppTimeout),
                    (false, true) => Stop::App(Cause::TimedOut),
                };
                Err(given_up.map_or(late, Stop::App))
            })
        })
        .await
    }
}

/// Upstreams that could not be reached.
pub(super) type Tried = SmallVec<[Address; TRIES]>;

impl FastPathContext {
    /// Picks the upstream that the request goes to now.
    pub(super) fn pick(&mut self, proxied: &ProxiedRequest, tried: &Tried) -> Result<&Picked, Stop> {
        let picked = proxied.forward.app().pick(proxied.forward.session(), &proxied.start.client, tried);
        self.asked = Some(Stopwatch::start());
        Ok(self.picked.insert(picked.ok_or(Stop::App(Cause::Dns))?))
    }

    /// That one could not be reached, and nothing was sent: the request may go elsewhere. `Err`: it was tried often enough.
    pub(super) fn unreachable(&mut self, error: &pingora::Error, tried: &mut Tried) -> Result<(), Stop> {
        let why = cause_of(error);
        if let Some(picked) = self.picked.take() {
            picked.failed(why);
            tried.push(picked.address());
        }
        if tried.len() == TRIES { Err(Stop::App(why)) } else { Ok(()) }
    }

    /// `bound`: what of the body was read is here, and can't go another way. That is no fault of the upstream, which was sent nothing.
    pub(super) fn bind(&mut self, stop: Stop, bound: bool) -> Stop {
        match stop {
            Stop::OtherVersion if bound => {
                self.picked = None;
                Stop::App(Cause::Broken)
            }
            stop => stop,
        }
    }
}

impl FastPath {
    /// Sends the head to an upstream and reads the head of its answer, or of one before its answer.
    pub(super) async fn ask(
        &self,
        client: &mut impl Downstream,
        head: &[u8],
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Result<Box<UpstreamConnection>, Stop> {
        let app = proxied.forward.app();
        let mut tried = Tried::new();
        // An idle connection may be dead without our knowing; a new one is tried then.
        let mut anew = false;
        loop {
            let connected = self.connect(proxied, context, &mut tried, anew).await;
            let bound = anew && client.upload().is_some();
            let (mut stream, reused) = connected.map_err(|stop| context.bind(stop, bound))?;
            if let Some(upload) = client.upload() {
                upload.begin(head, reused);
            } else {
                match client.pass(&mut stream, head, app.read_timeout).await {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::TimedOut => return Err(Stop::App(Cause::TimedOut)),
                    Err(_) if reused && proxied.idempotent => {
                        anew = true;
                        continue;
                    }
                    Err(_) => return Err(Stop::App(Cause::Broken)),
                }
            }
            let mut upstream = UpstreamConnection::new(stream, reused);
            let read = client.wait(&mut *upstream, app.read_timeout, Wanted::Head).await;
            match read {
                Ok(()) => {
                    if let Some(upload) = client.upload() {
                        upload.answered();
                    }
                    return Ok(upstream);
                }
                // What is idempotent may be asked again, and so may what the app has seen nothing of.
                Err(_)
                    if upstream.is_dead()
                        && client.upload().map_or(proxied.idempotent, |upload| upload.may_repeat()) =>
                {
                    anew = true;
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    /// A connection to an upstream, and whether it was used before.
    pub(super) async fn connect(
        &self,
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
        tried: &mut Tried,
        anew: bool,
    ) -> Result<(Stream, bool), Stop> {
        loop {
            let picked = context.pick(proxied, tried)?;
            // A WebSocket takes no idle one: those have the socket options of requests.
            let peer = if proxied.websocket { picked.websocket_peer() } else { picked.peer() };
            if !anew
                && !proxied.websocket
                && let Some(stream) = picked.take_idle()
            {
                return Ok((stream, true));
            }
            // Boxed: a request that finds an idle connection does not hold the room for opening one.
            let connected = Box::pin(self.connector.new_stream(peer)).await.map(|stream| (stream, false));
            let error = match connected {
                Ok((stream, _)) if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) => {
                    proxied.forward.app().note_http_2();
                    return Err(Stop::OtherVersion);
                }
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            context.unreachable(&error, tried)?;
        }
    }

    /// Keeps the connection for another request, if it can carry one.
    pub(super) fn give_back(&self, app: UpstreamConnection, context: &FastPathContext) {
        // Beyond the bound it is closed.
        let place = self.idle.clone().try_acquire_owned().ok();
        if let (Some(stream), Some(picked), Some(place)) = (app.reuse(), &context.picked, place) {
            picked.keep_idle(stream, place);
        }
    }
}
