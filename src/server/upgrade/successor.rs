//! Who has taken over, as the process before knows it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;

use super::channel::Channel;
use super::message::Message;
use crate::minter::Serving;
use crate::server::listeners::Listener;

/// The state of handing over.
#[derive(Default)]
pub(in crate::server) struct HandOver {
    /// Held while one process takes over.
    pub(super) one: tokio::sync::Mutex<()>,
    successor: Mutex<Option<Successor>>,
    done: Notify,
    /// Held while the process before drains.
    predecessor: Arc<tokio::sync::Mutex<()>>,
}

impl HandOver {
    /// To be held while the process before drains. `None`: it is held.
    pub(super) fn predecessor(&self) -> Option<OwnedMutexGuard<()>> {
        self.predecessor.clone().try_lock_owned().ok()
    }

    /// Returns when the process before has ended. Dropped: nothing.
    pub async fn predecessor_gone(&self) {
        let _gone = self.predecessor.lock().await;
    }

    /// One has taken over.
    pub(super) fn set(&self, successor: Successor) {
        *self.successor.lock() = Some(successor);
        self.done.notify_one();
    }

    /// The successor, if one has taken over and nobody has been told of it.
    pub fn take(&self) -> Option<Successor> {
        self.successor.lock().take()
    }

    /// Returns when a successor has taken over. Dropped: nothing is lost.
    pub async fn done(&self) -> Successor {
        loop {
            let done = self.done.notified();
            if let Some(successor) = self.take() {
                return successor;
            }
            done.await;
        }
    }
}

/// A process that has taken over, and what is left to do here.
pub struct Successor {
    /// The number of the process that has taken over.
    pub process: u32,
    pub(super) channel: Arc<Channel>,
    /// They accept no more.
    pub(in crate::server) listeners: Vec<Listener>,
    pub(in crate::server) edges: Option<Serving>,
    pub(in crate::server) attending: Attending,
}

impl Successor {
    /// Tells it that this process accepts no more: it announces itself.
    ///
    /// Dropped: it announces itself some seconds later.
    pub async fn announce(&self) {
        // A process that is gone has told of its end by itself.
        let _ = self.channel.send(&Message::Stopped, None).await;
    }
}

/// The task that tells a successor what happens here, and hears what happens there.
pub(in crate::server) struct Attending(pub(super) watch::Sender<bool>, pub(super) JoinHandle<()>);

impl Attending {
    /// Tells what has not been told yet, and ends.
    pub async fn finish(self, patience: Duration) {
        let Self(stop, task) = self;
        stop.send_replace(true);
        let _ = tokio::time::timeout(patience, task).await;
    }
}
