//! The listeners of browsers: they come and go with configurations, and a connection that waits at one that goes is served all the same.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora_core::protocols::Stream;
use tokio::sync::watch;

use super::accept::{Accepting, Bound};
use crate::gateway::{Acceptor, Front};

/// For this long answers on a listener that goes say that their connection closes; then idle ones are closed.
const LEAVE: Duration = Duration::from_secs(1);

/// One that accepts.
pub(super) struct Listener {
    /// As configured.
    pub setting: String,
    pub accepting: Accepting,
    acceptor: Arc<ArcSwap<Acceptor>>,
    /// Closes idle connections.
    stop: watch::Sender<bool>,
}

impl Listener {
    /// Accepts from now on. Each of `threads` tasks takes connections from it.
    pub fn start(setting: &str, bound: Bound, acceptor: Arc<Acceptor>, front: &Arc<Front>, threads: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let acceptor = Arc::new(ArcSwap::new(acceptor));
        let accepting = bound.accept(threads, serve(front.clone(), acceptor.clone(), stopped));
        Self { setting: setting.to_owned(), accepting, acceptor, stop }
    }

    /// From the next connection on they come in like this.
    pub fn set_acceptor(&self, acceptor: Arc<Acceptor>) {
        self.acceptor.store(acceptor);
    }

    /// Takes no more connections, and closes those that are idle. Those that the kernel took and nobody here did are served: closing the listener would
    /// reset them.
    ///
    /// Dropped: such connections are reset.
    pub async fn close(self, front: &Arc<Front>) {
        self.stop.send_replace(true);
        self.accepting.close(serve(front.clone(), self.acceptor, self.stop.subscribe())).await;
    }

    /// Takes no more connections: what waits in the kernel is for whoever else has the socket.
    ///
    /// Dropped: as when it is done, a moment later.
    pub async fn stop_accepting(&mut self) {
        self.accepting.stop().await;
    }

    /// Closes the idle connections of one that accepts no more, because another process does.
    pub fn end(self) {
        self.stop.send_replace(true);
    }

    /// Closes this listener while others go on: first its answers say that their connections close.
    ///
    /// Dropped: as above.
    pub async fn leave(self, front: Arc<Front>) {
        self.acceptor.load().leave();
        tokio::time::sleep(LEAVE).await;
        self.close(&front).await;
    }
}

/// Serves a connection on a task of its own. It is counted before anybody else can look.
fn serve(
    front: Arc<Front>,
    acceptor: Arc<ArcSwap<Acceptor>>,
    stop: watch::Receiver<bool>,
) -> impl Fn(Stream) + Clone + Send + 'static {
    move |stream| {
        let (front, acceptor, present, stop) = (front.clone(), acceptor.load_full(), front.enter(), stop.clone());
        tokio::spawn(async move { front.serve(stream, &acceptor, present, &stop).await });
    }
}
