//! The listeners of browsers: they come and go with configurations, and a connection that waits at one that goes is served all the same.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::bind::{self, Bound};
use crate::gateway::{Acceptor, Front};

/// For this long answers on a listener that goes say that their connection closes; then idle ones are closed.
const LEAVE: Duration = Duration::from_secs(1);

/// One that accepts.
pub(super) struct Listener {
    /// As configured.
    pub setting: String,
    /// As bound.
    pub address: String,
    acceptor: Arc<ArcSwap<Acceptor>>,
    pub handle: bind::Handle,
    /// Pingora's accept loops, and what ends them.
    accepting: Option<(watch::Sender<bool>, JoinHandle<()>)>,
    /// Closes idle connections.
    stop: watch::Sender<bool>,
}

impl Listener {
    /// Accepts from now on. Each of `threads` tasks takes connections from it.
    pub fn start(setting: &str, bound: Bound, acceptor: Arc<Acceptor>, front: &Arc<Front>, threads: usize) -> Self {
        let ((full, filled), (stop, stopped)) = (watch::channel(false), watch::channel(false));
        let acceptor = Arc::new(ArcSwap::new(acceptor));
        let (address, fds, handle) = bound.into_parts();
        let app = FrontApp { front: front.clone(), acceptor: acceptor.clone(), stop: stopped };
        let mut service = Service::new("gateway".into(), app);
        bind::add(&mut service, &address);
        let service = tokio::spawn(async move { service.start_service(Some(fds), filled, threads).await });
        Self { setting: setting.to_owned(), address, acceptor, handle, accepting: Some((full, service)), stop }
    }

    /// From the next connection on they come in like this.
    pub fn set_acceptor(&self, acceptor: Arc<Acceptor>) {
        self.acceptor.store(acceptor);
    }

    /// Takes no more connections, and closes those that are idle. Those that the kernel took and nobody here did are served: closing the listener would
    /// reset them.
    ///
    /// Dropped: such connections are reset.
    pub async fn close(mut self, front: &Arc<Front>) {
        self.stop_accepting().await;
        self.stop.send_replace(true);
        while let Some(stream) = self.handle.accept() {
            let (front, acceptor, present) = (front.clone(), self.acceptor.load_full(), front.enter());
            let stop = self.stop.subscribe();
            tokio::spawn(async move { front.serve(Box::new(stream), &acceptor, present, &stop).await });
        }
    }

    /// Takes no more connections: what waits in the kernel is for whoever else has the socket.
    ///
    /// Dropped: as when it is done, a moment later.
    pub async fn stop_accepting(&mut self) {
        let Some((full, service)) = self.accepting.take() else { return };
        full.send_replace(true);
        // Pingora's accept loop ends; a panic of it is no reason to cut connections.
        let _ = service.await;
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
        let path = self.address.strip_prefix("unix:").map(std::path::PathBuf::from);
        self.close(&front).await;
        // Nobody else listens there: it could not have been bound.
        path.map(|path| crate::files::remove(&path));
    }
}

/// [`Front`] for Pingora.
struct FrontApp {
    front: Arc<Front>,
    acceptor: Arc<ArcSwap<Acceptor>>,
    /// Not the accept loop's, which may end earlier.
    stop: watch::Receiver<bool>,
}

#[async_trait::async_trait]
impl pingora_core::apps::ServerApp for FrontApp {
    async fn process_new(
        self: &Arc<Self>,
        session: pingora_core::protocols::Stream,
        _: &pingora_core::server::ShutdownWatch,
    ) -> Option<pingora_core::protocols::Stream> {
        let (front, acceptor, present) = (self.front.clone(), self.acceptor.load_full(), self.front.enter());
        let stop = self.stop.clone();
        // Pingora's own task has room for its TLS handshakes, 8 KiB that an idle connection would keep.
        tokio::spawn(async move { front.serve(session, &acceptor, present, &stop).await });
        None
    }
}
