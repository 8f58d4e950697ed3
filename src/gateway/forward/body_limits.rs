//! The bounds on a request's body on its way to an app: how large it may be, and how slow.

use std::time::Duration;

use tokio::time::Instant;

use crate::problem::Refusal;

/// A body comes at this rate at least, in bytes a second, once [`SLOW_AFTER`] has passed: who sends slower holds connections open.
const MIN_BODY_RATE: u64 = 256;

const SLOW_AFTER: Duration = Duration::from_secs(10);

/// What has come of a body so far.
#[derive(Default)]
pub(in crate::gateway) struct BodyMeter {
    bytes: u64,
    began: Option<Instant>,
}

impl BodyMeter {
    /// Whether nothing has come.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Counts a piece of a body that may take its time.
    pub fn add(&mut self, piece: usize, most: u64) -> Result<(), Refusal> {
        self.bytes += piece as u64;
        if self.bytes > most { Err(Refusal::BodyTooLarge) } else { Ok(()) }
    }

    /// From now on it may not: its rate is that from here.
    pub fn hurry(&mut self) {
        self.began = None;
    }

    /// Counts a piece. `stall`: what a client may take for one piece.
    pub fn take(&mut self, piece: usize, most: u64, stall: Duration) -> Result<(), Refusal> {
        self.add(piece, most)?;
        let began = *self.began.get_or_insert_with(Instant::now);
        let late = began.elapsed().saturating_sub(SLOW_AFTER.max(stall)).as_secs();
        if self.bytes < late.saturating_mul(MIN_BODY_RATE) {
            return Err(Refusal::TooSlow);
        }
        Ok(())
    }
}
