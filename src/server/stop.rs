//! How a process ends: by itself, or because another has taken over.

use std::time::Duration;

use super::change::EdgeListener;
use super::{ServerHandle, Successor};
use crate::clock::Stopwatch;
use crate::lease::store::Written;

impl ServerHandle {
    /// Stops: readiness says no, answers close their connections, listeners close, what is under way ends. Returns when nothing is under
    /// way, or at `drain`.
    ///
    /// Dropped: connections are cut.
    pub async fn stop(self) {
        let live = &self.live;
        live.stopping.send_replace(true);
        // Nobody else puts a configuration in force from here on.
        let turn = live.turn.lock().await;
        // One that was about to serve when this process was told to end: the sockets are its, and to close them here would close them there.
        if let Some(successor) = live.hand_over.take() {
            drop(turn);
            successor.announce().await;
            return Box::pin(self.retire(successor)).await;
        }
        let generation = live.generation();
        let server = &generation.config.server;
        {
            let mut state = live.state.lock();
            if let Some(upgrade) = state.upgrade.take() {
                upgrade.leave();
            }
            state.health.drain();
            state.edges.iter().for_each(|edges| edges.serving.drain());
        }
        tokio::time::sleep(server.drain_delay.0).await;
        let began = Stopwatch::start();
        live.drain.lame_duck().await;
        let (listeners, edges) = {
            let mut state = live.state.lock();
            (std::mem::take(&mut state.listeners), state.edges.take())
        };
        futures_util::future::join_all(listeners.into_iter().map(|listener| listener.close(&live.front))).await;
        live.front.cleanup().await;
        let left = server.drain.0.saturating_sub(began.elapsed());
        let edges = async {
            if let Some(EdgeListener { handle, serving, .. }) = edges {
                // A socket that anybody holds goes on taking connections, which nobody would answer.
                drop(handle);
                serving.stop(left).await;
            }
        };
        tokio::join!(live.drain.finish(left), edges);
        live.leave();
        live.exporting.end().await;
    }

    /// Whether a successor can take over: there is a `server.upgrade_socket`.
    pub fn can_be_taken_over(&self) -> bool {
        self.live.state.lock().upgrade.is_some()
    }

    /// Returns when a successor has taken over: it accepts, and this process does not any more. Dropped: nothing is lost.
    pub async fn taken_over(&self) -> Successor {
        self.live.hand_over.done().await
    }

    /// Ends what is under way here, after a successor has taken over: answers close their connections, WebSockets and streams go on within `drain`. What
    /// a mint that lands here brings, and whoever is signed out meanwhile, the successor is told, and tells; a process before, which still drains, too.
    ///
    /// Dropped: connections are cut.
    pub async fn retire(self, successor: Successor) {
        let live = &self.live;
        let drain = live.generation().config.server.drain.0;
        let began = Stopwatch::start();
        let left = || drain.saturating_sub(began.elapsed());
        let Successor { listeners, edges, attending, .. } = successor;
        let gateway = async {
            live.drain.lame_duck().await;
            listeners.into_iter().for_each(super::listeners::Listener::end);
            live.front.cleanup().await;
            live.drain.finish(left()).await;
        };
        let edges = async {
            if let Some(edges) = edges {
                edges.leave(drain).await;
            }
        };
        // What is said between the process before and the one that has taken over goes through this one.
        let predecessor = async {
            let _ = tokio::time::timeout(drain, live.hand_over.predecessor_gone()).await;
        };
        tokio::join!(gateway, edges, predecessor);
        live.leave();
        if let Some(file) = &live.file {
            // What mints have brought at last is written by the successor.
            let _ = file.take(Written::default()).await;
        }
        attending.finish(LAST_WORDS).await;
        live.exporting.end().await;
    }
}

/// What the successor is told at last has this long.
const LAST_WORDS: Duration = Duration::from_secs(3);
