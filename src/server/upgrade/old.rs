//! The process that runs hands over, and serves until another can.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{MutexGuard, mpsc, watch};
use tracing::{info, warn};

use super::channel::{Channel, Listening, UpgradeSocket};
use super::message::{Message, PROTOCOL, Role};
use super::store::RemoteFile;
use super::successor::{Attending, Successor};
use super::{Missing, WORD, out_of_turn, receive, sent, taken};
use crate::lease::OwnerEvent;
use crate::lease::store::{Heir, Listener as _};
use crate::server::Live;
use crate::server::listeners::Listener;
use crate::session::Revocation;

/// From the greeting until the new process can serve: it reads, builds, and waits for keys for ten seconds.
const PREPARING: Duration = Duration::from_secs(60);

/// The file of leases is opened, repaired if need be.
const OPENING: Duration = Duration::from_secs(30);

/// After a failed accept (no file descriptor is free) the next is tried after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a successor connects, while this process serves.
pub(in crate::server) struct UpgradeListener {
    /// The path of the socket file, as configured.
    pub setting: String,
    handle: UpgradeSocket,
    stop: watch::Sender<bool>,
}

impl UpgradeListener {
    /// Accepts from now on.
    pub fn start(setting: String, socket: UpgradeSocket, live: &Arc<Live>) -> std::io::Result<Self> {
        let handle = socket.try_clone()?;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(accept(socket.listen()?, Arc::downgrade(live), stopped));
        Ok(Self { setting, handle, stop })
    }

    /// Accepts no more, and takes the file away.
    pub fn leave(self) {
        self.stop.send_replace(true);
        // It may be gone already.
        let _ = crate::files::remove(std::path::Path::new(&self.setting));
    }

    /// Accepts no more; the file is the successor's.
    fn end(self) {
        self.stop.send_replace(true);
    }
}

async fn accept(listening: Listening, live: Weak<Live>, mut stopped: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listening.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        let Some(live) = live.upgrade() else { return };
        match accepted {
            Ok(channel) => drop(tokio::spawn(async move { live.hand_over(channel).await })),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// All is handed over, and the new process may accept.
struct Prepared<'l> {
    lending: Lending<'l>,
    events: Events,
    /// No other process takes over meanwhile, and no other configuration comes into force.
    turns: (MutexGuard<'l, ()>, MutexGuard<'l, ()>),
}

/// What happens here while another takes over.
struct Events {
    revoked: mpsc::UnboundedReceiver<Arc<Revocation>>,
    owners: mpsc::UnboundedReceiver<OwnerEvent>,
}

impl Live {
    async fn hand_over(self: Arc<Self>, channel: Channel) {
        let process = channel.peer.process;
        if !channel.is_ours() {
            warn!(target: "valet", process, user = channel.peer.user, "another user's process asked to take over, and gets nothing");
            return;
        }
        let mut stopping = self.stopping.subscribe();
        let prepared = tokio::select! {
            prepared = self.prepare_hand_over(&channel) => prepared,
            _ = stopping.wait_for(|stop| *stop) => Err("this process is draining".to_owned()),
        };
        let done = match prepared {
            Ok(prepared) => until_it_serves(&channel, stopping).await.map(|()| prepared),
            Err(why) => Err(why),
        };
        match done {
            Ok(Prepared { mut lending, events, turns }) => {
                lending.lent = false;
                self.clone().step_back(channel, events).await;
                // Whoever ends this process has waited for its turn, and finds the successor.
                drop(turns);
            }
            Err(why) => {
                warn!(target: "valet", process, why, "an upgrade has failed: this process goes on");
                let _ = sent(channel.send(&Message::Refused { why }, None)).await;
            }
        }
    }

    /// Everything up to the moment when the other process may accept. `Err`: why it goes no further; this process has given nothing up.
    ///
    /// Dropped: the same.
    async fn prepare_hand_over(&self, channel: &Channel) -> Result<Prepared<'_>, String> {
        match expect(channel, WORD).await? {
            Message::Hello { protocol: PROTOCOL, .. } => {}
            Message::Hello { protocol, version } => {
                return Err(format!(
                    "{version} speaks version {protocol} of the hand-over, and the process that runs version {PROTOCOL}: restart instead"
                ));
            }
            _ => return Err(out_of_turn()),
        }
        let one = self.hand_over.one.try_lock().map_err(|_| "another process is taking over already".to_owned())?;
        // No other configuration meanwhile.
        let turn = self.turn.lock().await;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        sent(channel.send(&Message::Hello { protocol: PROTOCOL, version }, None)).await?;
        for (role, setting, socket) in
            self.sockets().map_err(|fault| format!("a socket can't be handed over: {fault}"))?
        {
            let socket = std::os::fd::AsFd::as_fd(&socket);
            sent(channel.send(&Message::Socket { role, setting }, Some(socket))).await?;
        }
        sent(channel.send(&Message::Sockets, None)).await?;
        let process = channel.peer.process;
        info!(target: "valet", process, "another process prepares to take over");
        let Message::Ready = expect(channel, PREPARING).await? else { return Err(out_of_turn()) };
        // What is dropped before the end is taken back.
        let lending = Lending { live: self, lent: true };
        let events = self.tell_everything(channel).await?;
        let Message::Open = expect(channel, OPENING).await? else { return Err(out_of_turn()) };
        sent(channel.send(&Message::Go, None)).await?;
        Ok(Prepared { lending, events, turns: (one, turn) })
    }

    /// Every socket that listens here, as second handles.
    fn sockets(&self) -> std::io::Result<Vec<(Role, String, OwnedFd)>> {
        let state = self.state.lock();
        let mut sockets = Vec::new();
        for listener in &state.listeners {
            let handle = listener.accepting.socket.as_fd().try_clone_to_owned()?;
            sockets.push((Role::Listener, listener.setting.clone(), handle));
        }
        if let Some(admin) = &state.admin {
            sockets.push((Role::Admin, admin.setting.clone(), admin.accepting.socket.as_fd().try_clone_to_owned()?));
        }
        if let Some(edges) = &state.edges {
            sockets.push((Role::Minter, edges.setting.clone(), edges.handle.try_clone()?.into()));
        }
        if let Some(upgrade) = &state.upgrade {
            sockets.push((Role::Upgrade, upgrade.setting.clone(), upgrade.handle.as_fd().try_clone_to_owned()?));
        }
        Ok(sockets)
    }

    /// Sends what is only in this memory, and closes the file of leases. What happens from now on is in the events.
    async fn tell_everything(&self, channel: &Channel) -> Result<Events, String> {
        let generation = self.generation();
        let (sessions, book) = (&generation.components.sessions, &generation.components.book);
        let ((tell_revoked, revoked), (tell_owners, owners)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        sessions.tell_of_revocations(tell_revoked);
        book.leases().tell_of_owners(Some(tell_owners));
        let mut events = Events { revoked, owners };
        sent(channel.send(&Message::Tickets(generation.components.tickets.hand_over()), None)).await?;
        // Before the leases: none of the ended is taken over.
        for what in sessions.revocations() {
            sent(channel.send(&Message::Revoked(Box::new(Revocation::clone(&what))), None)).await?;
        }
        for owner in book.leases().owners() {
            self.tell_owner(channel, &owner).await?;
        }
        if let Some(file) = &self.file {
            file.close().await.map_err(|_| "the file of leases takes no writes".to_owned())?;
        }
        while let Ok(what) = events.revoked.try_recv() {
            sent(channel.send(&Message::Revoked(Box::new(Revocation::clone(&what))), None)).await?;
        }
        while let Ok(event) = events.owners.try_recv() {
            self.tell_event(channel, event).await?;
        }
        sent(channel.send(&Message::Everything, None)).await?;
        Ok(events)
    }

    async fn tell_owner(&self, channel: &Channel, owner: &[u8]) -> Result<(), String> {
        for part in self.generation().components.book.leases().hand_owner(owner) {
            sent(channel.send(&Message::Owner(Box::new(part)), None)).await?;
        }
        Ok(())
    }

    async fn tell_event(&self, channel: &Channel, event: OwnerEvent) -> Result<(), String> {
        match event {
            OwnerEvent::Changed(owner) => self.tell_owner(channel, &owner).await,
            OwnerEvent::Forgotten(owner) => sent(channel.send(&Message::Forgotten(owner.to_vec()), None)).await,
        }
    }

    /// The other process accepts: this one accepts no more, and asks it for the file of leases.
    async fn step_back(self: Arc<Self>, channel: Channel, events: Events) {
        // No other configuration, and nobody looks at files, from here on.
        self.stopping.send_replace(true);
        let (mut listeners, admin, edges, upgrade) = {
            let mut state = self.state.lock();
            (std::mem::take(&mut state.listeners), state.admin.take(), state.edges.take(), state.upgrade.take())
        };
        futures_util::future::join_all(listeners.iter_mut().map(Listener::stop_accepting)).await;
        if let Some(admin) = admin {
            admin.leave();
        }
        if let Some(upgrade) = upgrade {
            upgrade.end();
        }
        let (asks, asked) = mpsc::unbounded_channel();
        let remote = RemoteFile::new(asks);
        if let Some(file) = &self.file {
            file.hand_to(remote.clone() as Arc<dyn Heir>);
        }
        let (process, channel) = (channel.peer.process, Arc::new(channel));
        info!(target: "valet", process, "another process has taken over");
        let (stop, stopped) = watch::channel(false);
        let attending = self.clone().attend(channel.clone(), events, (remote, asked), stopped);
        let attending = Attending(stop, tokio::spawn(attending));
        let edges = edges.map(|edges| edges.serving);
        self.hand_over.set(Successor { process, channel, listeners, edges, attending });
    }

    /// Tells the successor what happens here, and hears what happens there, until it is gone or `stop` says so and everything is told.
    async fn attend(
        self: Arc<Self>,
        channel: Arc<Channel>,
        mut events: Events,
        (remote, mut asked): (Arc<RemoteFile>, mpsc::UnboundedReceiver<Message>),
        mut stop: watch::Receiver<bool>,
    ) {
        // Beside each other: see the other side.
        let telling = async {
            loop {
                let told = tokio::select! {
                    biased;
                    Some(what) = events.revoked.recv() => taken(channel.send(&Message::Revoked(Box::new(Revocation::clone(&what))), None)).await,
                    Some(event) = events.owners.recv() => self.tell_event(&channel, event).await,
                    Some(ask) = asked.recv() => taken(channel.send(&ask, None)).await,
                    () = stopped(&mut stop) => return None,
                };
                if let Err(why) = told {
                    return Some(why);
                }
            }
        };
        let hearing = async {
            loop {
                match channel.receive().await {
                    Ok(Some((Message::Revoked(what), _))) => self.listening.revoke(*what),
                    Ok(Some((Message::Answer { id, answer }, _))) => remote.answered(id, answer),
                    Ok(Some(_)) => return Some(out_of_turn()),
                    Ok(None) => return Some("the new process has ended".to_owned()),
                    Err(fault) => return Some(fault.to_string()),
                }
            }
        };
        let why = tokio::select! {
            why = telling => why,
            why = hearing => why,
        };
        if let Some(why) = why {
            warn!(target: "valet", why, "the process that has taken over hears no more of this one");
        }
        remote.gone();
    }
}

/// Until the new process accepts. However long it takes: this one accepts meanwhile. Not even one that is told to end goes before it is known which of
/// the two serves: one that ends closes the sockets of both to new connections.
async fn until_it_serves(channel: &Channel, mut stopping: watch::Receiver<bool>) -> Result<(), String> {
    loop {
        let is_stopping = *stopping.borrow();
        let received = tokio::select! {
            received = receive(channel, if is_stopping { WORD } else { PREPARING }) => received,
            () = stopped(&mut stopping), if !is_stopping => continue,
        };
        match received {
            Ok(Message::Serving) => return Ok(()),
            Ok(_) => return Err(out_of_turn()),
            Err(Missing::Gone) => return Err("the new process has ended before it served".to_owned()),
            Err(Missing::Fault(why)) if is_stopping => return Err(why),
            Err(Missing::Fault(why)) => {
                warn!(target: "valet", why, "the new process may serve, and has not said so yet")
            }
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone stops, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What was given up for a successor comes back unless it has taken over.
struct Lending<'l> {
    live: &'l Live,
    lent: bool,
}

impl Drop for Lending<'_> {
    fn drop(&mut self) {
        if !self.lent {
            return;
        }
        let generation = self.live.generation();
        generation.components.book.leases().tell_of_owners(None);
        if let Some(file) = &self.live.file {
            file.take_back();
        }
    }
}

/// The next message, or why there is none.
async fn expect(channel: &Channel, patience: Duration) -> Result<Message, String> {
    receive(channel, patience).await.map_err(|missing| match missing {
        Missing::Gone => "the new process has ended before it could serve".to_owned(),
        Missing::Fault(why) => why,
    })
}
