//! An upstream is asked: picked, reached, sent a request's head, and tried once more where its idle connection turns out to be dead.

use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use pingora::upstreams::peer::Peer as _;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::protocols::{ALPN, Stream};
use smallvec::SmallVec;
use tokio::time::Sleep;

use crate::app::{Address, cause_of};
use crate::clock::Stopwatch;
use crate::gateway::forward::attempt::TRIES;
use crate::gateway::forward::fast_path::shared::SharedStream;
use crate::gateway::forward::fast_path::tunnel::{after, poll_timer};
use crate::gateway::forward::fast_path::upload::Upload;
use crate::gateway::forward::fast_path::{FastPath, FastPathContext, Stop};
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::http_client::Cause;

/// The client that waits for an answer.
pub(super) trait Downstream {
    /// Ready when it has left.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The body of its request, where there is one.
    fn upload(&mut self) -> Option<&mut Upload>;

    /// Ready when the app has all of that body, or takes no more of it.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>>;

    /// Sends the head of a request without a body on, in this time.
    async fn pass(&mut self, app: &mut Stream, head: &[u8], span: Duration) -> io::Result<()>;

    /// The answer is whole, and the rest of the request's body follows as long as the app takes it. Whether the app has all of it.
    async fn finish_upload(&mut self, expects_continue: bool) -> bool {
        // A client that waited to be asked for the body, and got its answer instead, sends none.
        if self.upload().is_some_and(|upload| !(expects_continue && upload.is_unbegun())) {
            // The answer counts, whatever becomes of the body.
            let _ = std::future::poll_fn(|cx| self.poll_upload(cx)).await;
        }
        let Some(upload) = self.upload() else { return true };
        upload.release();
        upload.is_whole()
    }

    /// What the app's side of it comes to, while the client is there. Where the request has a body, that goes on meanwhile, and from its end on the
    /// app may be silent for this long; where it has none, `work` knows its own time.
    async fn wait<T>(&mut self, span: Duration, work: impl Future<Output = pingora::Result<T>>) -> Result<T, Stop> {
        let mut work = pin!(work);
        let mut silence: Option<Silence> = None;
        std::future::poll_fn(|cx| {
            let sent = self.poll_upload(cx)?;
            let given_up = self.upload().and_then(|upload| upload.given_up());
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done.map_err(|error| Stop::App(given_up.unwrap_or_else(|| cause_of(&error)))));
            }
            if sent.is_pending() {
                return Poll::Pending;
            }
            if given_up.is_none() && self.poll_left(cx).is_ready() {
                return Poll::Ready(Err(Stop::Client));
            }
            let Some(heard) = self.upload().map(|upload| upload.heard()) else { return Poll::Pending };
            if silence.as_ref().is_none_or(|silence| silence.heard != heard) {
                let due = after(tokio::time::Instant::now(), span);
                silence = Some(Silence { heard, due, sleep: Box::pin(tokio::time::sleep_until(due)) });
            }
            let Some(silence) = &mut silence else { return Poll::Pending };
            let over = poll_timer(&mut silence.sleep.as_mut(), silence.due, cx);
            over.map(|()| Err(Stop::App(given_up.unwrap_or(Cause::TimedOut))))
        })
        .await
    }
}

/// The wait for an app since it was last heard.
struct Silence {
    heard: u64,
    due: tokio::time::Instant,
    sleep: Pin<Box<Sleep>>,
}

/// Upstreams that could not be reached.
pub(super) type Tried = SmallVec<[Address; TRIES]>;

impl FastPath {
    /// Sends the head to an upstream and reads the head of its answer, or of one before its answer.
    pub(super) async fn ask(
        &self,
        client: &mut impl Downstream,
        head: &[u8],
        proxied: &ProxiedRequest,
        context: &mut FastPathContext,
    ) -> Result<HttpSession, Stop> {
        let app = proxied.forward.app();
        let mut tried = Tried::new();
        // An idle connection may be dead without our knowing; a new one is tried then.
        let mut anew = false;
        loop {
            let (mut stream, reused) = self.connect(proxied, context, &mut tried, anew).await?;
            let mut session = if let Some(upload) = client.upload() {
                HttpSession::new(upload.begin(stream, head, reused))
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
                let mut session = HttpSession::new(stream);
                session.read_timeout = Some(app.read_timeout);
                session
            };
            let read = async {
                match session.read_response().await {
                    Ok(_) => Ok(None),
                    // The app had closed it while it was idle; what is idempotent may be asked again (RFC 9110, section 9.2.2).
                    Err(mut error) if reused => {
                        error.retry.decide_reuse(reused);
                        if error.retry.retry() { Ok(Some(cause_of(&error))) } else { Err(error) }
                    }
                    Err(error) => Err(error),
                }
            };
            let dead = client.wait(app.read_timeout, read).await?;
            let repeats = match client.upload() {
                Some(upload) if dead.is_some() => upload.may_repeat(),
                Some(upload) => {
                    upload.answered();
                    false
                }
                None => proxied.idempotent,
            };
            match dead {
                None => return Ok(session),
                Some(_) if repeats => anew = true,
                Some(why) => return Err(Stop::App(why)),
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
            let picked = proxied.forward.app().pick(proxied.forward.session(), &proxied.start.client, tried);
            let picked = context.picked.insert(picked.ok_or(Stop::App(Cause::Dns))?);
            context.asked = Some(Stopwatch::start());
            // A WebSocket takes no idle one: those have the socket options of requests.
            let peer = if proxied.websocket { picked.websocket_peer() } else { picked.peer() };
            if !anew
                && !proxied.websocket
                && let Some(stream) = self.connector.reused_stream(peer).await
            {
                return Ok((stream, true));
            }
            // Boxed: a request that finds an idle connection does not hold the room for opening one.
            let connected = Box::pin(self.connector.new_stream(peer)).await.map(|stream| (stream, false));
            let error = match connected {
                Ok((stream, _)) if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) => {
                    proxied.forward.app().note_http_2();
                    return Err(Stop::Http2);
                }
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            // Nothing was sent: it may go elsewhere.
            let why = cause_of(&error);
            picked.failed(why);
            tried.push(picked.address());
            context.picked = None;
            if tried.len() == TRIES {
                return Err(Stop::App(why));
            }
        }
    }

    /// Keeps the connection for another request, if it can carry one.
    pub(super) async fn give_back(&self, mut app: HttpSession, context: &FastPathContext) {
        app.respect_keepalive();
        let stream = app.reuse().await.and_then(SharedStream::unwrap);
        if let (Some(stream), Some(picked)) = (stream, &context.picked) {
            let peer = picked.peer();
            self.connector.release_stream(stream, peer.reuse_hash(), peer.idle_timeout());
        }
    }
}
