//! The process that takes over: it gives the other no reason to stop before it can serve itself.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::channel::{Channel, own_user};
use super::message::{Message, PROTOCOL};
use super::store::answer;
use super::{Missing, WORD, out_of_turn, receive, sent, taken};
use crate::config::Config;
use crate::files;
use crate::lease::store::FileStore;
use crate::lease::{Book, Policies};
use crate::server::bind::upgrade_socket;
use crate::server::handed::Handed;
use crate::server::start::{Built, start_with};
use crate::server::{Live, Options, ServerHandle, StartFault};
use crate::session::Revocation;

/// Keys of each issuer, and the store's first answer, are due in this time.
const READY: Duration = Duration::from_secs(10);

/// Whether they are there is looked at this often.
const LOOK: Duration = Duration::from_millis(20);

/// The other process reads all that it knows, and closes the file of leases.
const EVERYTHING: Duration = Duration::from_secs(60);

/// A file of leases that the other process has closed is free in this time.
const FREE: Duration = Duration::from_secs(5);

/// A process whose connection has ended is gone in this time, if it is going.
const GONE: Duration = Duration::from_secs(2);

/// See [`crate::server::take_over`].
pub(in crate::server) async fn take_over(
    config: Config,
    options: Options,
    handed: Handed,
    told_to_end: impl Future<Output = ()>,
) -> Result<ServerHandle, StartFault> {
    let prepared = tokio::select! {
        prepared = prepare(config, options, handed) => prepared?,
        // Until it accepts, the other process serves, and goes on when the connection ends. Behind that both would end.
        () = told_to_end => return Err(StartFault::Upgrade("told to end before it could serve: the process before goes on".to_owned())),
    };
    match prepared {
        Prepared::Alone(running) => Ok(*running),
        Prepared::Beside(beside) => beside.serve().await,
    }
}

/// What a process that is to take over has made ready.
enum Prepared {
    /// There was none before: it serves.
    Alone(Box<ServerHandle>),
    Beside(Box<Beside>),
}

/// All but to accept.
struct Beside {
    old: Old,
    built: Built,
    policies: Policies,
}

/// Dropped: the other process goes on.
async fn prepare(config: Config, options: Options, mut handed: Handed) -> Result<Prepared, StartFault> {
    let path = upgrade_socket(&config)
        .ok_or_else(|| StartFault::Upgrade("--upgrade needs server.upgrade_socket".to_owned()))?;
    let Some(old) = Old::find(Path::new(&path)).map_err(StartFault::Upgrade)? else {
        warn!(target: "valet", path, "nobody listens at server.upgrade_socket: this process starts by itself");
        return Ok(Prepared::Alone(Box::new(start_with(config, options, handed)?)));
    };
    let mut old = old.greet(&mut handed).await.map_err(StartFault::Upgrade)?;
    let place = config.places.leases.clone();
    let built = Built::new(config, options, handed, FileStore::later)?;
    built.look_after();
    let ready = wait_until_ready(&built.live).await;
    ready.map_err(|why| StartFault::Upgrade(format!("not ready after {} s: {why}", READY.as_secs())))?;
    let (live, policies) = (built.live.clone(), built.live.generation().policies(&built.live.around.metrics));
    old.hear_everything(&live, &policies).await.map_err(StartFault::Upgrade)?;
    if let Some(file) = live.file.clone() {
        let opened = tokio::task::spawn_blocking(move || file.open_now(FREE)).await;
        let opened = opened.unwrap_or_else(|_| {
            Err(crate::lease::store::OpenFault::Io(path.into(), io::Error::other("its opening panicked")))
        });
        opened.map_err(|fault| StartFault::Store(place, fault))?;
    }
    let built = built.take_over_revocations()?;
    old.wait_for_go().await.map_err(StartFault::Upgrade)?;
    Ok(Prepared::Beside(Box::new(Beside { old, built, policies })))
}

impl Beside {
    /// Accepts, and waits until the other does not any more.
    async fn serve(self) -> Result<ServerHandle, StartFault> {
        let Self { mut old, built, policies } = self;
        let live = built.live.clone();
        // Before anybody can be signed out here: what is noted while the other does not say that it has stopped it is told then.
        let (told, revoked) = mpsc::unbounded_channel();
        live.generation().components.sessions.tell_of_revocations(told);
        let running = built.open()?;
        old.say_serving().await;
        if let Some(channel) = old.channel {
            let ((tell, stopped), draining) = (oneshot::channel(), live.hand_over.predecessor());
            // From here on, and not from its last word on: what happens there until it accepts no more comes before that word.
            let attending = attend(channel, Arc::downgrade(&live), policies, revoked, tell);
            tokio::spawn(async move {
                attending.await;
                drop(draining);
            });
            // It accepts no more, or it is gone, or it does not say: this process serves in each case.
            if tokio::time::timeout(WORD, stopped).await.is_err() {
                warn!(target: "valet", process = old.process, "the process before does not say that it accepts no more");
            }
            info!(target: "valet", process = old.process, "taken over from the process before");
        }
        Ok(running)
    }
}

/// Until requests could be judged: why not, if it takes too long.
async fn wait_until_ready(live: &Live) -> Result<(), &'static str> {
    let health = live.state.lock().health.clone();
    let ready = async {
        while health.ready().is_err() {
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(READY, ready).await {
        Ok(()) => Ok(()),
        Err(_) => health.ready(),
    }
}

/// The process before.
struct Old {
    /// `None`: it has died on the way, and there is nobody to wait for.
    channel: Option<Channel>,
    process: u32,
    /// Becomes readable when the process has ended.
    life: Option<Arc<OwnedFd>>,
}

impl Old {
    /// Connects. `None`: there is no such process. `Err`: who listens there is not to be trusted.
    fn find(path: &Path) -> Result<Option<Self>, String> {
        let shown = path.display();
        let owner = match files::socket_owner(path) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
            owner => owner.map_err(|fault| format!("{shown}: {fault}"))?,
        };
        files::check_private_folder(path).map_err(|fault| format!("{shown}: {fault}"))?;
        match owner {
            None => return Err(format!("{shown} is no socket")),
            Some(owner) if owner != own_user() => return Err(format!("{shown} is another user's")),
            Some(_) => {}
        }
        let channel = match Channel::connect(path) {
            Err(fault) if fault.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            channel => channel.map_err(|fault| format!("{shown}: {fault}"))?,
        };
        if !channel.is_ours() {
            return Err(format!("another user's process listens at {shown}"));
        }
        let process = channel.peer.process;
        let number = i32::try_from(process).ok().and_then(Pid::from_raw);
        // Without it the end of the process is not told from that of its connection, and nothing goes on alone.
        let life = number.and_then(|number| pidfd_open(number, PidfdFlags::empty()).ok()).map(Arc::new);
        Ok(Some(Self { channel: Some(channel), process, life }))
    }

    /// Greets, and takes the sockets.
    async fn greet(mut self, handed: &mut Handed) -> Result<Self, String> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = Message::Hello { protocol: PROTOCOL, version };
        self.say(&hello).await?;
        match self.next(WORD).await? {
            Some(Message::Hello { .. }) | None => {}
            Some(_) => return Err(out_of_turn()),
        }
        while let Some(channel) = &self.channel {
            match tokio::time::timeout(WORD, channel.receive()).await {
                Ok(Ok(Some((Message::Socket { role, setting }, Some(socket))))) => handed.add(role, setting, socket),
                Ok(Ok(Some((Message::Sockets, None)))) => break,
                Ok(Ok(Some((Message::Refused { why }, _)))) => return Err(why),
                Ok(Ok(None)) => self.lost().await?,
                Ok(Ok(Some(_))) => return Err(out_of_turn()),
                Ok(Err(fault)) => return Err(format!("what the process before says can't be read: {fault}")),
                Err(_) => return Err("the process before hands over no sockets".to_owned()),
            }
        }
        Ok(self)
    }

    /// Says that this process can serve, and takes over what the other knows.
    async fn hear_everything(&mut self, live: &Live, policies: &Policies) -> Result<(), String> {
        self.say(&Message::Ready).await?;
        let book = live.generation().components.book.clone();
        loop {
            match self.next(EVERYTHING).await? {
                Some(Message::Everything) | None => return Ok(()),
                Some(Message::Revoked(what)) => live.listening.learn_from_before(*what),
                Some(message) => take(message, live, &book, policies)?,
            }
        }
    }

    /// The file of leases is open: from the other's word on this process accepts.
    async fn wait_for_go(&mut self) -> Result<(), String> {
        self.say(&Message::Open).await?;
        match self.next(WORD).await? {
            Some(Message::Go) | None => Ok(()),
            Some(_) => Err(out_of_turn()),
        }
    }

    /// Says that this process accepts.
    async fn say_serving(&mut self) {
        if let Err(why) = self.say(&Message::Serving).await {
            warn!(target: "valet", why, "the process before is not told that this one serves");
        }
    }

    async fn say(&mut self, message: &Message) -> Result<(), String> {
        let Some(channel) = &self.channel else { return Ok(()) };
        match sent(channel.send(message, None)).await {
            Ok(()) => Ok(()),
            // What it has said at last says why.
            Err(_) => match receive(channel, WORD).await {
                Err(Missing::Fault(why)) => Err(why),
                _ => self.lost().await,
            },
        }
    }

    /// The next message; `None`: the process has died, and its sockets are this one's alone.
    async fn next(&mut self, patience: Duration) -> Result<Option<Message>, String> {
        let Some(channel) = &self.channel else { return Ok(None) };
        match receive(channel, patience).await {
            Ok(message) => Ok(Some(message)),
            Err(Missing::Fault(why)) => Err(why),
            Err(Missing::Gone) => self.lost().await.map(|()| None),
        }
    }

    /// The connection has ended. If the process has, too, this one goes on without it; else it goes on, and this one must not.
    async fn lost(&mut self) -> Result<(), String> {
        let life = self.life.clone();
        let ended = move || life.is_some_and(|life| has_ended(&life));
        if !tokio::task::spawn_blocking(ended).await.unwrap_or(false) {
            return Err("the process before has broken the hand-over off, and goes on".to_owned());
        }
        warn!(target: "valet", process = self.process, "the process before has died on the way: this one goes on with what it has");
        self.channel = None;
        Ok(())
    }
}

/// Whether the process has ended, or does so within [`GONE`]. Blocks.
fn has_ended(life: &OwnedFd) -> bool {
    let patience = Timespec { tv_sec: GONE.as_secs().try_into().unwrap_or(1), tv_nsec: 0 };
    poll(&mut [PollFd::new(life, PollFlags::IN)], Some(&patience)).is_ok_and(|ended| ended > 0)
}

/// Takes over what a message says.
fn take(message: Message, live: &Live, book: &Arc<Book>, policies: &Policies) -> Result<(), String> {
    match message {
        Message::Tickets(keys) => live.generation().components.tickets.take_over(keys),
        Message::Revoked(what) => live.listening.revoke_from_before(*what),
        Message::Owner(owner) => book.leases().take_owner(*owner, policies),
        Message::Forgotten(owner) => drop(book.leases().forget_here(&owner)),
        Message::Refused { why } => return Err(why),
        _ => return Err(out_of_turn()),
    }
    Ok(())
}

/// Hears what still happens at the process before, and tells what happens here, until that one has ended; `accepts_no_more` is told when it says so.
async fn attend(
    channel: Channel,
    live: Weak<Live>,
    policies: Policies,
    mut revoked: mpsc::UnboundedReceiver<Arc<Revocation>>,
    accepts_no_more: oneshot::Sender<()>,
) {
    let (answers, mut answered) = mpsc::unbounded_channel();
    // Beside each other: two processes that each wait until the other takes a message, and hear none meanwhile, would wait for good.
    let telling = async {
        loop {
            let message = tokio::select! {
                Some(what) = revoked.recv() => Message::Revoked(Box::new(Revocation::clone(&what))),
                Some(message) = answered.recv() => message,
            };
            if let Err(why) = taken(channel.send(&message, None)).await {
                return why;
            }
        }
    };
    let hearing = async {
        let mut accepts_no_more = Some(accepts_no_more);
        loop {
            let heard = match (channel.receive().await, live.upgrade()) {
                (Ok(None), _) | (_, None) => return None,
                (Ok(Some((Message::Stopped, _))), Some(_)) => {
                    // Whoever waited may have waited long enough.
                    let _ = accepts_no_more.take().map(|told| told.send(()));
                    Ok(())
                }
                (Ok(Some((Message::Ask { id, ask }, _))), Some(live)) => {
                    let (file, answers) = (live.file.clone(), answers.clone());
                    tokio::spawn(async move { answers.send(Message::Answer { id, answer: answer(file, ask).await }) });
                    Ok(())
                }
                (Ok(Some((message, _))), Some(live)) => {
                    let book = live.generation().components.book.clone();
                    take(message, &live, &book, &policies)
                }
                (Err(fault), _) => Err(fault.to_string()),
            };
            if let Err(why) = heard {
                return Some(why);
            }
        }
    };
    let why = tokio::select! {
        why = telling => Some(why),
        why = hearing => why,
    };
    if let Some(why) = why {
        warn!(target: "valet", why, "no more is heard of the process before");
    }
    info!(target: "valet", "the process before has ended");
}
