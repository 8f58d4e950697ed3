//! Idle connections to an upstream, kept for the next request (connection pooling): on the fast path. Each is looked at before it is used again, and
//! once a second while there is one: an app that has closed its side is not kept waiting for ours.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use pingora::protocols::Stream;
use tokio::io::AsyncReadExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

/// How often those that nobody uses are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Those to one upstream. With the upstream they go.
#[derive(Default)]
pub(super) struct IdleConnections {
    /// Held for moments: never while a connection is read or closed.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The one used last stands last.
    connections: VecDeque<Idle>,
    /// A task looks at them.
    watched: bool,
}

struct Idle {
    stream: Stream,
    until: Instant,
    /// Among all idle connections to apps.
    _place: OwnedSemaphorePermit,
}

impl Idle {
    /// Nothing has come: what comes now was not asked for, or is the end.
    fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        // A task that has done much would be told that nothing is there.
        Instant::now() < self.until && tokio::task::unconstrained(self.stream.read(&mut byte)).now_or_never().is_none()
    }
}

impl IdleConnections {
    /// One that the app has not closed, as far as can be known: the one used last.
    pub fn take(&self) -> Option<Stream> {
        loop {
            let mut last = self.kept.lock().connections.pop_back()?;
            if last.is_quiet() {
                return Some(last.stream);
            }
        }
    }

    /// Keeps it for so long.
    pub fn keep(self: &Arc<Self>, stream: Stream, span: Duration, place: OwnedSemaphorePermit) {
        let now = Instant::now();
        let idle = Idle { stream, until: now.checked_add(span).unwrap_or(now + LOOK), _place: place };
        let watched = {
            let mut kept = self.kept.lock();
            kept.connections.push_back(idle);
            std::mem::replace(&mut kept.watched, true)
        };
        if !watched {
            let connections = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    sleep(LOOK).await;
                    if connections.upgrade().is_none_or(|connections| !connections.sweep()) {
                        return;
                    }
                }
            });
        }
    }

    /// Closes those that are over; `false`: none is left, and nobody looks any more.
    fn sweep(&self) -> bool {
        // One after the other: a request that needs one meanwhile finds the rest.
        let mut left = self.kept.lock().connections.len();
        while left > 0 {
            left -= 1;
            let Some(mut first) = self.kept.lock().connections.pop_front() else { break };
            if first.is_quiet() {
                // Behind those that came meanwhile: an older one is taken a little earlier then, no more.
                self.kept.lock().connections.push_back(first);
            }
        }
        let mut kept = self.kept.lock();
        kept.watched = !kept.connections.is_empty();
        kept.watched
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::sync::Semaphore;

    use super::*;

    const SPAN: Duration = Duration::from_secs(4);

    fn keep(idle: &Arc<IdleConnections>, places: &Arc<Semaphore>) -> DuplexStream {
        let (app, ours) = duplex(64);
        idle.keep(Box::new(ours), SPAN, places.clone().try_acquire_owned().expect("a place"));
        app
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_used_last_is_used_next_and_one_that_has_ended_or_said_something_is_not() {
        let (idle, places) = (Arc::new(IdleConnections::default()), Arc::new(Semaphore::new(4)));
        let (mut first, second) = (keep(&idle, &places), keep(&idle, &places));
        let mut third = keep(&idle, &places);
        drop(second);
        third.write_all(b"HTTP/1.1 408 Too Slow\r\n").await.expect("written");
        let mut taken = idle.take().expect("the first");
        taken.write_all(b"x").await.expect("written");
        let mut byte = [0; 1];
        first.read_exact(&mut byte).await.expect("the same connection");
        assert!(idle.take().is_none());
        assert_eq!(places.available_permits(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_nobody_uses_is_closed_when_it_is_over_or_the_app_has_closed_it() {
        let (idle, places) = (Arc::new(IdleConnections::default()), Arc::new(Semaphore::new(4)));
        let (mut stays, gone) = (keep(&idle, &places), keep(&idle, &places));
        drop(gone);
        // Pause: of a clock that stands still; the look comes after a second of it.
        sleep(LOOK + LOOK / 2).await;
        assert_eq!(places.available_permits(), 3);
        let mut byte = [0; 1];
        assert_eq!(stays.read(&mut byte).await.expect("the end"), 0, "closed after its span");
        assert!(!idle.kept.lock().watched && idle.take().is_none());
        // The next one is looked at again.
        let later = keep(&idle, &places);
        assert!(idle.kept.lock().watched);
        drop((idle, later));
        // Pause: of the same clock.
        sleep(LOOK * 2).await;
        assert_eq!(places.available_permits(), 4, "gone with the upstream");
    }
}
