//! Whether all revocations are known here: of a store that nodes share, a node may have missed some.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::Sessions;
use super::settings::RevocationsUnknown;

/// A store that is being asked answers in this time, or counts as lost: longer than its own time-outs for a connection and for the reading.
const PATIENCE: Duration = Duration::from_secs(5);

/// What this node knows of the revocations of all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// All that were written.
    Whole,
    /// The store is being asked: requests wait for its answer.
    Asking,
    /// The store can't be asked.
    Lost,
}

/// The revocations may not all be known, and the configuration says to refuse then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

pub(super) struct Known {
    state: watch::Sender<Knowledge>,
    /// The same as `state`, for each request to read.
    is_whole: AtomicBool,
}

impl Default for Known {
    fn default() -> Self {
        Self { state: watch::Sender::new(Knowledge::Whole), is_whole: AtomicBool::new(true) }
    }
}

impl Sessions {
    /// Says what is known of the revocations of other nodes. At first: all.
    pub fn set_knowledge(&self, knowledge: Knowledge) {
        // Requests that wait are let go only when the flag is set.
        self.known.is_whole.store(knowledge == Knowledge::Whole, Ordering::Release);
        self.known.state.send_replace(knowledge);
    }

    /// Whether a session may be judged by what is known.
    #[inline]
    pub(crate) fn knows_revocations(&self) -> bool {
        self.known.is_whole.load(Ordering::Acquire)
    }

    /// Waits while the store is being asked. Dropped: nothing.
    ///
    /// # Errors
    /// The store can't be asked, and `session.revocations_unknown` is `"refuse"`.
    pub(crate) async fn until_revocations_are_known(&self) -> Result<(), Unknown> {
        let mut state = self.known.state.subscribe();
        let answered = state.wait_for(|knowledge| *knowledge != Knowledge::Asking);
        let knowledge = tokio::time::timeout(PATIENCE, answered).await.map(|state| state.map(|known| *known));
        match (knowledge, self.revocations_unknown) {
            (Ok(Ok(Knowledge::Whole)), _) | (_, RevocationsUnknown::Serve) => Ok(()),
            (_, RevocationsUnknown::Refuse) => Err(Unknown),
        }
    }
}
