//! A tunnel between a client and an app behind a `101`: bytes both ways, each way bounded by one piece that the other side has not taken yet.
//!
//! An empty tunnel holds no buffer. Backpressure goes through: from a side that is not read nothing more is taken.

use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The most that is read before it must be taken.
const PIECE: usize = 16 * 1024;

/// Pieces that one direction may move before the other has its turn.
const TURN: usize = 16;

/// Once one side has ended, the other is waited for as long as it goes on sending with no longer gaps than this, the first from that end on.
const HALF_CLOSED: Duration = Duration::from_secs(10);

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a tunnel may be silent. What ends one for a reason of its own, as its session, drops the future of [`run`].
pub(super) struct Patience {
    /// Neither side sends anything for this long, or the app takes nothing.
    pub idle: Duration,
    /// The client takes nothing for this long.
    pub client: Duration,
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have ended, or the connection of one is broken.
    Closed,
    /// Nobody sent anything for too long.
    Idle,
    /// A side took nothing for too long.
    Stalled,
}

/// Carries bytes between the two until the tunnel ends. With each side comes what it has sent already.
///
/// Dropped: what is under way is lost; the connections are the caller's.
pub(super) async fn run<C, A>(client: (&mut C, BytesMut), app: (&mut A, BytesMut), patience: &Patience) -> End
where
    C: AsyncRead + AsyncWrite + Unpin,
    A: AsyncRead + AsyncWrite + Unpin,
{
    let (client, sent) = client;
    let (app, sent_by_app) = app;
    let (mut up, mut down) = (Half::new(sent), Half::new(sent_by_app));
    let mut moved = Instant::now();
    let sleep = std::pin::pin!(tokio::time::sleep_until(patience.due(moved, &up, &down).0));
    let mut timer = sleep;
    std::future::poll_fn(|cx| {
        let before = up.moved + down.moved;
        let ended = (up.poll(client, app, cx), down.poll(app, client, cx));
        match ended {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Closed),
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(End::Closed),
            _ => {}
        }
        if up.moved + down.moved > before {
            moved = Instant::now();
        }
        let (due, why) = patience.due(moved, &up, &down);
        poll_timer(&mut timer, due, cx).map(|()| why)
    })
    .await
}

/// Ready when it is due. A time that has moved on costs nothing until the old one is over.
pub(super) fn poll_timer(timer: &mut Pin<&mut Sleep>, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
    if due < timer.deadline() {
        timer.as_mut().reset(due);
    }
    while timer.as_mut().poll(cx).is_ready() {
        if Instant::now() >= due {
            return Poll::Ready(());
        }
        timer.as_mut().reset(due);
    }
    Poll::Pending
}

impl Patience {
    /// What ends the tunnel first, if nothing happens.
    fn due(&self, moved: Instant, up: &Half, down: &Half) -> (Instant, End) {
        let idle = if up.ended || down.ended { self.idle.min(HALF_CLOSED) } else { self.idle };
        let mut first = (after(moved, idle), End::Idle);
        let others = [
            (up.blocked.map(|since| after(since, self.idle)), End::Stalled),
            (down.blocked.map(|since| after(since, self.client)), End::Stalled),
        ];
        for (due, why) in others {
            if let Some(due) = due.filter(|due| *due <= first.0) {
                first = (due, why);
            }
        }
        first
    }
}

/// A span that no clock reaches the end of is as good as a year.
pub(super) fn after(since: Instant, span: Duration) -> Instant {
    since.checked_add(span).unwrap_or(since + YEAR)
}

/// One direction.
struct Half {
    /// What was read and is not taken yet.
    piece: BytesMut,
    /// What was taken may still be in the writer's own buffer.
    unflushed: bool,
    /// The other side has been taking nothing since then.
    blocked: Option<Instant>,
    /// How often something was read or taken so far, its end included.
    moved: u64,
    /// Nothing more is read.
    ended: bool,
    /// Reading failed, which is the end of both directions.
    broken: bool,
    /// The other side knows of the end.
    done: bool,
}

impl Half {
    fn new(piece: BytesMut) -> Self {
        Self { piece, unflushed: false, blocked: None, moved: 0, ended: false, broken: false, done: false }
    }

    /// Ready when this direction has come to its end; with an error if the other has too.
    fn poll<F, T>(&mut self, from: &mut F, to: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            let given = self.poll_give(to, cx);
            if given.is_pending() {
                self.blocked.get_or_insert_with(Instant::now);
                return Poll::Pending;
            }
            self.blocked = None;
            if let Poll::Ready(Err(_)) = given {
                // It takes no more. What it has sent is still on its way to the other side, which has its time from here.
                self.moved += u64::from(!self.ended);
                (self.ended, self.done) = (true, true);
                self.piece = BytesMut::new();
                continue;
            }
            if self.broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            if self.ended {
                self.done = true;
                continue;
            }
            ready!(self.poll_take(from, cx));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready when all that was read is with the other side, and the end too.
    fn poll_give(&mut self, to: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.piece.is_empty() {
            let taken = ready!(Pin::new(&mut *to).poll_write(cx, &self.piece))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.piece.advance(taken);
            // Each byte that is taken begins the wait for the next one.
            (self.unflushed, self.blocked) = (true, None);
            self.moved += 1;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *to).poll_flush(cx))?;
            self.unflushed = false;
            self.piece = BytesMut::new();
        }
        if self.ended {
            ready!(Pin::new(to).poll_shutdown(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when there is a piece, or the end.
    fn poll_take(&mut self, from: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        // On the stack: a tunnel in which nothing moves holds no room.
        let mut room = [MaybeUninit::uninit(); PIECE];
        let mut read = ReadBuf::uninit(&mut room);
        let outcome = ready!(Pin::new(from).poll_read(cx, &mut read));
        self.broken = outcome.is_err();
        self.ended = read.filled().is_empty();
        self.piece.extend_from_slice(read.filled());
        // An end too: the other side has its time from then on, however silent both were before.
        self.moved += 1;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests;
