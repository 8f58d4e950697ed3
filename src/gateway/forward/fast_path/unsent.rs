//! The bound on what clients of HTTP/2 do not take: bytes of answers that were read from apps and are not on their way yet, over all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// In all.
const ALL: usize = 256 << 20;

/// What a stream holds while its client takes nothing: what is read from an app at once, and its own state.
pub(super) const STALLED: u32 = 32 * 1024;

/// The room for unsent bytes.
pub(in crate::gateway) struct Unsent {
    room: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Room that is taken until this is dropped.
pub(super) struct Held {
    _permit: OwnedSemaphorePermit,
}

impl Unsent {
    pub fn new() -> Arc<Self> {
        Self::of(ALL)
    }

    pub(super) fn of(bytes: usize) -> Arc<Self> {
        Arc::new(Self { room: Arc::new(Semaphore::new(bytes)), waiting: AtomicUsize::new(0) })
    }

    /// Somebody waits for room: whoever takes nothing has to make it.
    pub fn is_scarce(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Room for this many bytes, if it is there.
    pub(super) fn hold(&self, bytes: u32) -> Option<Held> {
        self.room.clone().try_acquire_many_owned(bytes).ok().map(|permit| Held { _permit: permit })
    }

    /// A copy of this piece, which takes room until it is written or given up.
    pub(super) async fn keep(&self, piece: &[u8]) -> Bytes {
        let size = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        let held = match self.hold(size) {
            Some(held) => Some(held),
            None => {
                let _waits = Waits::begin(&self.waiting);
                let permit = self.room.clone().acquire_many_owned(size).await;
                // The room is never closed.
                permit.ok().map(|permit| Held { _permit: permit })
            }
        };
        Bytes::from_owner(Piece { bytes: piece.into(), _held: held })
    }
}

/// One that waits, also if it is dropped meanwhile.
struct Waits<'u>(&'u AtomicUsize);

impl<'u> Waits<'u> {
    fn begin(waiting: &'u AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Piece {
    bytes: Box<[u8]>,
    _held: Option<Held>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_piece_takes_room_until_its_last_part_is_dropped_and_the_next_waits_for_it() {
        let unsent = Unsent::of(10);
        let mut piece = unsent.keep(b"12345678").await;
        let part = piece.split_to(4);
        drop(piece);
        assert!(unsent.hold(3).is_none());
        {
            let mut next = std::pin::pin!(unsent.keep(b"abc"));
            assert!(next.as_mut().now_or_never().is_none());
            assert!(unsent.is_scarce());
            drop(part);
            assert_eq!(next.await, &b"abc"[..]);
        }
        assert!(!unsent.is_scarce());
        assert!(unsent.hold(10).is_some());
        // One that gives up no longer counts.
        let all = unsent.hold(10);
        assert!(unsent.keep(b"x").now_or_never().is_none());
        assert!(!unsent.is_scarce());
        drop(all);
    }
}
