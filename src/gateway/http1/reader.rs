//! Reads one head from a connection: one deadline for all of it, a bound on its size, odd line ends refused as they arrive.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt;
use tokio::task::coop;
use tokio::time::{Instant, Sleep};

use crate::gateway::accept::shutdown_signal::ShutdownSignal;
use crate::gateway::http1::head::end_of_head;

/// Room for one read: a head with an 800-byte token and a browser's fields fits.
const ROOM: usize = 4096;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// How reading a head ended.
pub(in crate::gateway) enum Read {
    /// A whole head stands at the start of the buffer: this many bytes.
    Head(usize),
    /// The client is gone, or was idle for too long, or we stop.
    Gone,
    /// Not a line that HTTP/1.1 knows.
    Malformed,
    /// The request line is longer than its bound.
    LongTarget,
    /// The head is larger than its bound.
    TooLarge,
    /// The head was not there in time.
    TooSlow,
}

/// The connection's one timer and its sign to stop. Armed anew only when it fires: a request costs no timer.
pub(in crate::gateway) struct Deadline<'c> {
    due: Instant,
    /// Set, and not waited for yet: what is done at once reads no clock.
    set: Option<Duration>,
    sleep: Pin<&'c mut Sleep>,
    /// The task that the timer wakes; `None`: nobody has waited for it since it was armed.
    waiting: Option<Waker>,
    stop: ShutdownSignal<'c>,
}

impl<'c> Deadline<'c> {
    pub fn new(sleep: Pin<&'c mut Sleep>, stop: ShutdownSignal<'c>) -> Self {
        Self { due: Instant::now(), set: None, sleep, waiting: None, stop }
    }

    /// Due this long after it is first waited for.
    pub fn set(&mut self, span: Duration) {
        self.set = Some(span);
    }

    /// Makes it due this long from now. Whether the timer is under way, not at its end, and wakes the task of `cx`.
    fn begin(&mut self, span: Duration, cx: &Context<'_>) -> bool {
        let now = Instant::now();
        // A span that no clock reaches the end of is as good as a year.
        self.due = now.checked_add(span).unwrap_or(now + YEAR);
        if self.due < self.sleep.deadline() {
            self.arm();
        }
        now < self.sleep.deadline() && self.waiting.as_ref().is_some_and(|waiting| waiting.will_wake(cx.waker()))
    }

    fn arm(&mut self) {
        self.waiting = None;
        self.sleep.as_mut().reset(self.due);
    }

    /// Ready when it is due. With `heed_stop` also when the listener stops.
    pub fn poll(&mut self, cx: &mut Context<'_>, heed_stop: bool) -> Poll<()> {
        if heed_stop && self.stop.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // The timer need not be asked: it will wake this task.
        if let Some(span) = self.set.take()
            && self.begin(span, cx)
        {
            return Poll::Pending;
        }
        loop {
            // A task whose budget is used up is told to wait, and its timer nothing.
            let is_told = coop::has_budget_remaining();
            if self.sleep.as_mut().poll(cx).is_pending() {
                self.waiting = is_told.then(|| cx.waker().clone());
                return Poll::Pending;
            }
            if Instant::now() >= self.due {
                return Poll::Ready(());
            }
            self.arm();
        }
    }

    /// Due. With `heed_stop` also when the listener stops.
    pub async fn expires(&mut self, heed_stop: bool) {
        std::future::poll_fn(|cx| self.poll(cx, heed_stop)).await;
    }
}

/// Bounds of one head.
#[derive(Clone, Copy)]
pub(in crate::gateway) struct HeadLimits {
    pub idle: Duration,
    pub head: Duration,
    pub max_head: usize,
    pub max_line: usize,
}

/// Reads until a whole head is at the start of `buffer`. What follows it stays in the buffer.
pub(in crate::gateway) async fn head(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    deadline: &mut Deadline<'_>,
    limits: &HeadLimits,
) -> Read {
    let mut scanned = 0;
    let mut begun = false;
    deadline.set(limits.idle);
    loop {
        skip_empty_line(buffer, &mut scanned);
        if buffer.len() > scanned {
            let Ok(end) = end_of_head(buffer, scanned.saturating_sub(1)) else { return Read::Malformed };
            let seen = end.unwrap_or(buffer.len());
            // The line is measured first: a long target gets its own status.
            if seen > limits.max_line && memchr::memchr(b'\n', &buffer[..limits.max_line]).is_none() {
                return Read::LongTarget;
            }
            if seen > limits.max_head {
                return Read::TooLarge;
            }
            if let Some(end) = end {
                return Read::Head(end);
            }
            scanned = buffer.len();
            if !begun {
                // TLS on this port, say: no need to wait for a line end that never comes.
                if !buffer[0].is_ascii_alphabetic() {
                    return Read::Malformed;
                }
                begun = true;
                deadline.set(limits.head);
            }
        }
        if buffer.capacity() - buffer.len() < ROOM / 4 {
            buffer.reserve(ROOM);
        }
        let read = tokio::select! {
            biased;
            read = stream.read_buf(buffer) => read,
            // A head that has begun may end, even while we stop.
            () = deadline.expires(!begun) => return if begun { Read::TooSlow } else { Read::Gone },
        };
        match read {
            Ok(0) | Err(_) => return Read::Gone,
            Ok(_) => {}
        }
    }
}

/// RFC 9112, 2.2: one empty line before a request line is ignored.
fn skip_empty_line(buffer: &mut BytesMut, scanned: &mut usize) {
    if *scanned == 0 && buffer.starts_with(b"\r\n") {
        let _ = buffer.split_to(2);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::sync::watch;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_set_anew_before_its_timer_fires_is_met_to_the_millisecond() {
        let (_sender, never) = watch::channel(false);
        for spans in [&[70_u64][..], &[70, 70], &[70, 10, 70], &[10, 70, 10], &[0], &[70, 0], &[10, 10, 10, 10]] {
            // Pause: on the paused clock, where nothing waits.
            let sleep = pin!(tokio::time::sleep(Duration::from_secs(70)));
            let wait = pin!(std::future::pending());
            let mut deadline = Deadline::new(sleep, ShutdownSignal::new(&never, wait));
            let (last, first) = spans.split_last().unwrap();
            for span in first {
                deadline.set(Duration::from_secs(*span));
                // Pause: on the paused clock. Something else comes first, just before its end.
                let other = tokio::time::sleep(Duration::from_millis(span * 1000 - 1));
                tokio::select! {
                    () = deadline.expires(true) => panic!("{spans:?}: too early"),
                    () = other => {}
                }
            }
            deadline.set(Duration::from_secs(*last));
            let began = Instant::now();
            deadline.expires(true).await;
            let took = began.elapsed();
            let due = Duration::from_secs(*last);
            assert!((due..=due + Duration::from_millis(1)).contains(&took), "{spans:?}: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_whose_timer_fired_unheard_or_that_was_waited_for_without_budget_is_met_all_the_same() {
        let (_sender, never) = watch::channel(false);
        for without_budget in [false, true] {
            // Pause: on the paused clock, where nothing waits.
            let sleep = pin!(tokio::time::sleep(Duration::from_secs(70)));
            let wait = pin!(std::future::pending());
            let mut deadline = Deadline::new(sleep, ShutdownSignal::new(&never, wait));
            std::future::poll_fn(|cx| {
                while without_budget && let Poll::Ready(used) = coop::poll_proceed(cx) {
                    used.made_progress();
                }
                deadline.set(Duration::from_secs(70));
                assert!(deadline.poll(cx, false).is_pending());
                Poll::Ready(())
            })
            .await;
            // Something else comes first: with a new budget, or behind the timer's end.
            if without_budget {
                tokio::task::yield_now().await;
            } else {
                // Pause: on the paused clock.
                tokio::time::sleep(Duration::from_secs(75)).await;
            }
            deadline.set(Duration::from_secs(70));
            // Another timer wakes the task if this one does not, later.
            let began = Instant::now();
            let met = tokio::time::timeout(Duration::from_secs(80), deadline.expires(false)).await;
            assert!(met.is_ok() && began.elapsed() < Duration::from_secs(71), "{:?}", began.elapsed());
        }
    }
}
