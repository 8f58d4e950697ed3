//! A request's body on its way to an app: read from the client no faster than the app takes it, with a framing of ours, beside the answer that may come meanwhile.

use std::fmt::Write as _;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::gateway::forward::body_limits::BodyMeter;
use crate::gateway::forward::fast_path::Stop;
use crate::gateway::forward::fast_path::app_side::Sink;
use crate::gateway::forward::fast_path::tunnel::{after, poll_timer};
use crate::gateway::forward::proxied_request::ProxiedRequest;
use crate::gateway::http1::chunks::ChunkJudge;
use crate::gateway::http1::head::Body;
use crate::http_client::Cause;
use crate::problem::Refusal;

/// The most that is read before the app must take it.
pub(super) const PIECE: usize = 16 * 1024;

/// What was sent is kept up to this size while it may have to be sent once more.
const MAX_REPLAY: usize = 32 * 1024;

/// The room for the line of a chunk: sixteen digits at most.
const CHUNK_LINE: usize = 18;

/// How the client frames the body, and how far it was read.
pub(super) enum Incoming {
    /// So many bytes are to come.
    Length(u64),
    /// Chunks of HTTP/1.
    Chunks(ChunkJudge),
    /// Frames of HTTP/2.
    Frames,
}

/// Where a body comes from.
pub(super) trait Source {
    /// Appends what there is of the body; whether that was all of it.
    fn poll_body(
        &mut self,
        incoming: &mut Incoming,
        data: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, Stop>>;
}

/// How far the app has it.
#[derive(Clone, Copy)]
enum State {
    Sending,
    /// All of it is on its way.
    Whole,
    /// The app takes no more; it may have answered before.
    GivenUp(Cause),
}

/// Whom it waits for.
#[derive(Clone, Copy, PartialEq)]
enum Waits {
    Client,
    App,
}

/// A body under way.
pub(in crate::gateway) struct Upload {
    incoming: Incoming,
    /// The app gets chunks.
    chunked: bool,
    state: State,
    /// What the app gets next, framed.
    piece: BytesMut,
    unflushed: bool,
    /// There is a connection to the app, behind whose head it goes.
    begun: bool,
    /// The client waits for a word of the app before it sends it. One of HTTP/1.0 knows none.
    expects_continue: bool,
    /// The client was told that the app waits for it.
    called: bool,
    /// What was sent is kept whatever the method.
    keeps: bool,
    /// The client may take its time.
    patient: bool,
    /// How often the app took something.
    moved: u64,
    /// The client has sent all of it.
    ended: bool,
    /// What of the body was framed so far, while it may be sent once more.
    replay: Option<BytesMut>,
    idempotent: bool,
    meter: BodyMeter,
    most: u64,
    /// A piece comes from the client in this time, and the app takes one in that.
    stall: Duration,
    app_stall: Duration,
    waits: Option<(Waits, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    /// `None`: there is no body. `stall`: what the client may take for a piece.
    pub fn new(proxied: &ProxiedRequest, http2: bool, stall: Duration) -> Option<Self> {
        let incoming = match proxied.body {
            Body::Empty => return None,
            _ if http2 => Incoming::Frames,
            Body::Length(length) => Incoming::Length(length),
            Body::Chunked => Incoming::Chunks(ChunkJudge::new()),
        };
        let app = proxied.forward.app();
        Some(Self {
            incoming,
            chunked: proxied.body == Body::Chunked,
            state: State::Sending,
            piece: BytesMut::new(),
            unflushed: false,
            begun: false,
            expects_continue: proxied.expects_continue && proxied.modern,
            called: false,
            keeps: false,
            patient: false,
            moved: 0,
            ended: false,
            replay: Some(BytesMut::new()),
            idempotent: proxied.idempotent,
            meter: BodyMeter::default(),
            most: app.max_body,
            stall,
            app_stall: app.read_timeout,
            waits: None,
            timer: None,
        })
    }

    /// The app speaks HTTP/2, whose frames say where a body ends. It can say that it has not begun with a request, so that what was sent is kept for any.
    pub fn in_frames(self) -> Self {
        Self { chunked: false, keeps: true, ..self }
    }

    /// The client may take its time: the app answers, and each says something when it has something to say. At the end of that no more.
    pub fn be_patient(&mut self, patient: bool) {
        (self.patient, self.waits) = (patient, None);
        if !patient {
            self.meter.hurry();
        }
    }

    /// How often the app took something of it.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether it waits for a client that may take its time. One of HTTP/2 that waits to be asked may: the app's word does not get to it.
    pub fn is_patient(&self) -> bool {
        let in_vain = matches!(self.incoming, Incoming::Frames) && !self.is_coming();
        (self.patient || in_vain) && matches!(self.waits, Some((Waits::Client, _)))
    }

    /// Whether the app has all of it.
    pub fn is_whole(&self) -> bool {
        matches!(self.state, State::Whole)
    }

    /// Why the app takes no more of it.
    pub fn given_up(&self) -> Option<Cause> {
        if let State::GivenUp(why) = self.state { Some(why) } else { None }
    }

    /// The client is told that the app waits for it (`100 Continue`). Its time begins.
    pub fn call(&mut self) {
        (self.called, self.waits) = (true, None);
    }

    /// Whether the client sends it. One that waits to be asked for it, and was not yet, sends none.
    pub fn is_coming(&self) -> bool {
        !self.expects_continue || self.called || !self.meter.is_empty()
    }

    /// Takes what has come already, before there is a connection to the app.
    pub(super) fn prepare(&mut self, source: &mut impl Source, cx: &mut Context<'_>) -> Result<(), Stop> {
        match self.poll_read(source, cx) {
            Poll::Ready(Err(stop)) => Err(stop),
            _ => Ok(()),
        }
    }

    /// The body is to go behind this head. `again`: the app may turn out to see nothing of it, so what goes out is kept for once more.
    pub fn begin(&mut self, head: &[u8], again: bool) {
        let mut first = BytesMut::with_capacity(head.len() + self.replay.as_ref().map_or(0, BytesMut::len));
        first.extend_from_slice(head);
        if let Some(sent) = &self.replay {
            first.extend_from_slice(sent);
        }
        (self.piece, self.state, self.unflushed, self.waits) = (first, State::Sending, false, None);
        self.begun = true;
        if !again {
            self.replay = None;
        }
    }

    /// The connection was dead: whether the request may be sent once more, from its beginning.
    pub fn may_repeat(&self) -> bool {
        self.replay.is_some()
    }

    /// The app has begun to answer: nothing is sent once more.
    pub fn answered(&mut self) {
        self.replay = None;
    }

    /// Ready when the app has all of it, or takes no more.
    pub(super) fn poll(
        &mut self,
        app: &mut impl Sink,
        source: &mut impl Source,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stop>> {
        while matches!(self.state, State::Sending) {
            let given = self.poll_give(app, cx);
            let given = given.map(|given| given.and_then(|()| if self.ended { app.end() } else { Ok(()) }));
            match given {
                Poll::Pending => return self.poll_stalled(Waits::App, cx),
                Poll::Ready(Err(error)) => {
                    let why = if error.kind() == io::ErrorKind::TimedOut { Cause::TimedOut } else { Cause::Broken };
                    self.state = State::GivenUp(why);
                    self.piece = BytesMut::new();
                    break;
                }
                Poll::Ready(Ok(())) => {}
            }
            if self.ended {
                self.state = State::Whole;
                break;
            }
            match self.poll_read(source, cx) {
                Poll::Pending => return self.poll_stalled(Waits::Client, cx),
                Poll::Ready(read) => read?,
            }
            self.waits = None;
        }
        self.timer = None;
        Poll::Ready(Ok(()))
    }

    /// Ready when all that was read is with the app.
    fn poll_give(&mut self, app: &mut impl Sink, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.piece.is_empty() {
            ready!(app.poll_send(&mut self.piece, self.ended, cx))?;
            (self.unflushed, self.waits) = (true, None);
            self.moved += 1;
            if !self.idempotent && !self.keeps {
                self.replay = None;
            }
        }
        if self.unflushed {
            ready!(app.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when there is a piece, or the end.
    fn poll_read(&mut self, source: &mut impl Source, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let mut data = std::mem::take(&mut self.piece);
        data.clear();
        let read = source.poll_body(&mut self.incoming, &mut data, cx);
        if !data.is_empty() {
            let taken = if self.patient {
                self.meter.add(data.len(), self.most)
            } else {
                self.meter.take(data.len(), self.most, self.stall)
            };
            taken.map_err(Stop::Refused)?;
        }
        // What came before a fault of the framing goes nowhere.
        let (ended, pending) = match read {
            Poll::Ready(ended) => (ended?, false),
            Poll::Pending => (false, true),
        };
        if pending && data.is_empty() {
            return Poll::Pending;
        }
        self.ended = ended;
        self.piece = if self.chunked { chunk(&data, ended) } else { data };
        if let Some(replay) = &mut self.replay {
            if replay.len() + self.piece.len() > MAX_REPLAY && self.begun {
                self.replay = None;
            } else {
                replay.extend_from_slice(&self.piece);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_stalled(&mut self, whom: Waits, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let since = match self.waits {
            Some((before, since)) if before == whom => since,
            _ => Instant::now(),
        };
        self.waits = Some((whom, since));
        // What a client holds back rightly (RFC 9110, section 10.1.1) is for the app to ask for: the silence is the app's.
        if self.is_patient() || (whom == Waits::Client && !self.is_coming()) {
            return Poll::Pending;
        }
        let (span, stop) = match whom {
            // The app waits no longer for it than for anything.
            Waits::Client => (self.stall.min(self.app_stall), Stop::Refused(Refusal::TooSlow)),
            Waits::App => (self.app_stall, Stop::App(Cause::TimedOut)),
        };
        let due = after(since, span);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        poll_timer(&mut timer.as_mut(), due, cx).map(|()| Err(stop))
    }
}

/// This as one chunk, and the last one behind it (RFC 9112, section 7.1).
fn chunk(data: &[u8], last: bool) -> BytesMut {
    let mut out = BytesMut::with_capacity(data.len() + CHUNK_LINE + 7);
    if !data.is_empty() {
        // A buffer takes all that is written.
        let _ = write!(out, "{:x}\r\n", data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
    if last {
        out.extend_from_slice(b"0\r\n\r\n");
    }
    out
}

/// A client's connection of HTTP/1.1, and what was read of it ahead.
pub(super) struct Http1Source<'s, S> {
    /// `None`: nothing more is read.
    pub stream: Option<&'s mut S>,
    pub ahead: &'s mut BytesMut,
}

impl<S: AsyncRead + Unpin> Source for Http1Source<'_, S> {
    fn poll_body(
        &mut self,
        incoming: &mut Incoming,
        data: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, Stop>> {
        match incoming {
            Incoming::Length(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(PIECE);
                if self.ahead.is_empty() {
                    ready!(poll_fill(self.stream.as_deref_mut(), data, most, cx))?;
                } else {
                    data.extend_from_slice(&self.ahead.split_to(most.min(self.ahead.len())));
                }
                *left -= data.len() as u64;
                Poll::Ready(Ok(*left == 0))
            }
            Incoming::Chunks(judge) => loop {
                let most = self.ahead.len().min(PIECE);
                let read = judge.read(&self.ahead[..most], |piece| data.extend_from_slice(piece));
                let read = read.map_err(|_| Stop::Refused(Refusal::BadRequest))?;
                self.ahead.advance(read);
                if judge.is_done() || !data.is_empty() {
                    return Poll::Ready(Ok(judge.is_done()));
                }
                if self.ahead.is_empty() {
                    ready!(poll_fill(self.stream.as_deref_mut(), self.ahead, PIECE, cx))?;
                }
            },
            Incoming::Frames => Poll::Ready(Err(Stop::Client)),
        }
    }
}

/// Ready when something has come: this much at most, and no more than [`PIECE`].
fn poll_fill(
    stream: Option<&mut (impl AsyncRead + Unpin)>,
    into: &mut BytesMut,
    most: usize,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Stop>> {
    let Some(stream) = stream else { return Poll::Pending };
    // On the stack: a body that does not come holds no room.
    let mut room = [MaybeUninit::uninit(); PIECE];
    let mut read = ReadBuf::uninit(&mut room[..most]);
    let polled = Pin::new(stream).poll_read(cx, &mut read);
    let got = read.filled();
    into.extend_from_slice(got);
    match ready!(polled) {
        Ok(()) if !got.is_empty() => Poll::Ready(Ok(())),
        // It ends before its body does.
        _ => Poll::Ready(Err(Stop::Client)),
    }
}

#[cfg(test)]
mod tests;
