//! A call's turn, where `rate` bounds how often the vendor is called.

use std::time::Duration;

use super::{Asking, Inner, note};
use crate::provider::MintFailure;
use crate::provider::admission::TRY_AGAIN;
use crate::provider::diagnosis::Diagnosis;
use crate::provider::outcome::Fault;

/// A call that follows its leave within this time is counted where it is made.
const AT_ONCE: Duration = Duration::from_millis(20);

const ALL_USED: &str = "the calls that `rate` allows are used up";

impl Inner {
    /// Takes leave for one call for a lease that still serves.
    pub(super) fn has_room_ahead(&self) -> bool {
        self.pace.as_ref().is_none_or(|pace| pace.take_ahead(self.admission.clock.tick()).is_ok())
    }

    /// Takes leave for a mint that is to begin without any.
    pub(super) fn take_leave(&self, asking: &Asking<'_>) -> Result<(), MintFailure> {
        if !self.has_room_ahead() {
            note(asking, Diagnosis::new("busy", ALL_USED));
            return Err(MintFailure::Busy(TRY_AGAIN));
        }
        *asking.prepaid.lock() = Some(self.admission.clock.tick());
        Ok(())
    }

    /// Waits until `rate` allows a call, unless that is later than the mint may take.
    pub(super) async fn turn(&self, asking: &Asking<'_>) -> Result<(), Fault> {
        let Some(pace) = &self.pace else { return Ok(()) };
        // A leave that was taken a while ago, before a token or a store was waited for, counts in another second.
        let taken = asking.prepaid.lock().take();
        if taken.is_some_and(|taken| self.admission.clock.tick().since(taken) < AT_ONCE) {
            return Ok(());
        }
        while let Err(wait) = pace.take(self.admission.clock.tick()) {
            note(asking, Diagnosis::new("busy", ALL_USED));
            if tokio::time::Instant::now() + wait >= asking.deadline {
                return Err(Fault::Busy(wait));
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }
}
