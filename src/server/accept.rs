//! Sockets that listen: taking connections from them, and closing them without losing one that the kernel took.
//!
//! The accept loop is ours, not Pingora's: that one hands a connection to a task before anybody can count it, and a process that stops must not
//! overlook one.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::l4::listener::Listener as L4Listener;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::{GetSocketDigest as _, SocketDigest, Stream, UniqueID as _};
use socket2::SockRef;
use tokio::task::JoinSet;
use tracing::warn;

use crate::files;
use crate::units::ListenAddress;

/// How many connections the kernel may hold that nobody has accepted yet; it has its own bound beside (`net.core.somaxconn`).
const BACKLOG: i32 = 65535;

/// After an accept that failed for want of something (no file descriptor is free) the next is tried after this.
const PAUSE: Duration = Duration::from_millis(100);

/// A handshake that has begun when a listener closes has this long to end.
const HANDSHAKES: Duration = Duration::from_millis(50);

/// A socket that listens. It closes with its last handle.
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// A predecessor's, for this address of the configuration.
    pub fn of(setting: &ListenAddress, socket: OwnedFd) -> Self {
        match setting {
            ListenAddress::Unix(_) => Self::Unix(socket.into()),
            ListenAddress::Tcp(_) => Self::Tcp(socket.into()),
        }
    }

    /// To hand it over.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }

    /// On this runtime.
    fn listening(&self) -> io::Result<L4Listener> {
        Ok(match self {
            Self::Tcp(listener) => tokio::net::TcpListener::from_std(listener.try_clone()?)?.into(),
            Self::Unix(listener) => tokio::net::UnixListener::from_std(listener.try_clone()?)?.into(),
        })
    }

    /// The next connection that waits; `None` if none does.
    fn accept(&self) -> Option<L4Stream> {
        let mut stream: L4Stream = match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                tokio::net::TcpStream::from_std(stream).ok()?.into()
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                tokio::net::UnixStream::from_std(stream).ok()?.into()
            }
        };
        // As Pingora's accept leaves it: with a way to ask who is at the other end.
        stream.set_socket_digest(SocketDigest::from_raw_fd(stream.id()));
        Some(stream)
    }

    /// From now on nobody begins to connect, and handshakes under way go on. Whoever tries asks again after a second, and is refused by then.
    #[cfg(target_os = "linux")]
    fn turn_away(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => SockRef::from(listener).attach_filter(&NO_SYN),
            // Whoever has found the file has connected: there is no handshake.
            Self::Unix(listener) => {
                let bound = listener.local_addr()?;
                bound.as_pathname().map_or(Ok(()), files::remove)
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn turn_away(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Drops the segments that begin a connection: SYN without ACK ([RFC 9293, section 3.1](https://www.rfc-editor.org/rfc/rfc9293#section-3.1)). A
/// program of the [classic BPF](https://docs.kernel.org/networking/filter.html), to which a segment begins with its TCP header.
#[cfg(target_os = "linux")]
const NO_SYN: [socket2::SockFilter; 5] = {
    use socket2::SockFilter;
    let (load_byte, and, jump_if_equal, end) = (0x30, 0x54, 0x15, 0x06);
    let (flags_at, syn, ack, nothing, whole) = (13, 0x02, 0x10, 0, u32::MAX);
    [
        SockFilter::new(load_byte, 0, 0, flags_at),
        SockFilter::new(and, 0, 0, syn | ack),
        SockFilter::new(jump_if_equal, 0, 1, syn),
        SockFilter::new(end, 0, 0, nothing),
        SockFilter::new(end, 0, 0, whole),
    ]
};

/// An address, bound: it closes with this value as long as nobody has begun to accept, so that a configuration that is refused leaves none bound.
pub(super) struct Bound {
    /// As bound: a port 0 of the configuration is the real one here.
    pub address: String,
    pub socket: Socket,
    /// Another process may have the socket too, and for longer.
    shared: bool,
    listening: L4Listener,
}

impl Bound {
    /// One that is bound and listens. Must be called on a tokio runtime, whose tasks accept.
    ///
    /// # Errors
    /// This user may not say who connects to the socket file, or the runtime has no place for it.
    pub fn new(address: String, socket: Socket, shared: bool) -> io::Result<Self> {
        match &socket {
            Socket::Tcp(listener) => {
                let listener = SockRef::from(listener);
                listener.listen(BACKLOG)?;
                // That of a process before, which did not know that somebody has the socket for longer. There is none as a rule.
                #[cfg(target_os = "linux")]
                let _ = listener.detach_filter();
            }
            Socket::Unix(listener) => {
                SockRef::from(listener).listen(BACKLOG)?;
                address.strip_prefix("unix:").map_or(Ok(()), |path| files::let_everybody_connect(Path::new(path)))?;
            }
        }
        let listening = socket.listening()?;
        Ok(Self { address, socket, shared, listening })
    }

    /// Gives each connection to `serve`, from now on, in `tasks` tasks.
    pub fn accept(self, tasks: usize, serve: impl Fn(Stream) + Clone + Send + 'static) -> Accepting {
        let Self { address, socket, shared, listening } = self;
        let listening = Arc::new(listening);
        let mut loops = JoinSet::new();
        for _ in 0..tasks {
            loops.spawn(accept(listening.clone(), serve.clone()));
        }
        Accepting { address, socket, shared, loops }
    }
}

/// A socket from which connections are taken. Dropped: no more are, and those that the kernel holds are reset if nobody else has it.
pub(super) struct Accepting {
    /// As bound.
    pub address: String,
    pub socket: Socket,
    shared: bool,
    loops: JoinSet<()>,
}

impl Accepting {
    /// Takes no more: what waits in the kernel is for whoever else has the socket.
    ///
    /// Dropped: as when it is done, a moment later.
    pub async fn stop(&mut self) {
        // Between two connections, for each is given away in the same step in which it came.
        self.loops.shutdown().await;
    }

    /// Closes it. Those that the kernel took and nobody here did are given to `serve`: closing would reset them.
    ///
    /// Dropped: such connections are reset.
    pub async fn close(mut self, serve: impl Fn(Stream)) {
        // Not where another process goes on taking connections from it.
        let turned_away = !self.shared && self.socket.turn_away().is_ok();
        self.stop().await;
        let take_all = || {
            while let Some(stream) = self.socket.accept() {
                give(stream, &serve);
            }
        };
        take_all();
        if turned_away && matches!(self.socket, Socket::Tcp(_)) {
            tokio::time::sleep(HANDSHAKES).await;
            take_all();
        }
    }
}

async fn accept(listening: Arc<L4Listener>, serve: impl Fn(Stream)) {
    let mut fails = false;
    loop {
        let fault = match listening.accept().await {
            Ok(stream) => {
                fails = false;
                give(stream, &serve);
                continue;
            }
            // A client that has left again.
            Err(fault) if fault.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(fault) => fault,
        };
        if !std::mem::replace(&mut fails, true) {
            warn!(target: "valet", fault = %fault, "no connection can be accepted; tried again ten times a second");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn give(mut stream: L4Stream, serve: &impl Fn(Stream)) {
    // One that can't be set so is slower; a socket file has no such option.
    let _ = stream.set_nodelay();
    serve(Box::new(stream));
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn tcp(shared: bool) -> Bound {
        // An address of its own: nobody else takes the port once it is free.
        let listener = TcpListener::bind("127.83.7.1:0").unwrap();
        of(listener, shared)
    }

    fn of(listener: TcpListener, shared: bool) -> Bound {
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Bound::new(address, Socket::Tcp(listener), shared).unwrap()
    }

    /// Answers each connection with one byte.
    fn answer(mut stream: Stream) {
        tokio::spawn(async move {
            let _ = stream.write_all(b"1").await;
            let _ = stream.flush().await;
        });
    }

    fn is_answered(mut stream: impl io::Read) -> bool {
        let mut byte = [0];
        stream.read_exact(&mut byte).is_ok()
    }

    /// Eight clients that connect again and again while a listener closes: how many of them got an answer, and how many none.
    async fn closed_under_load() -> (usize, usize) {
        let accepting = tcp(false).accept(2, answer);
        let (answered, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (address, answered, lost) = (accepting.address.clone(), answered.clone(), lost.clone());
                std::thread::spawn(move || {
                    // One that was refused has nothing to lose.
                    while let Ok(stream) = TcpStream::connect(&address) {
                        if is_answered(stream) { &answered } else { &lost }.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        while answered.load(Ordering::Relaxed) < 100 {
            tokio::task::yield_now().await;
        }
        accepting.close(answer).await;
        tokio::task::spawn_blocking(|| clients.into_iter().for_each(|client| client.join().unwrap())).await.unwrap();
        (answered.load(Ordering::Relaxed), lost.load(Ordering::Relaxed))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_listener_that_closes_under_load_answers_whoever_got_through() {
        for _ in 0..5 {
            let (answered, lost) = closed_under_load().await;
            assert!(answered >= 100 && lost == 0, "{lost} of {} lost", answered + lost);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn those_that_wait_in_the_kernel_are_served_and_others_refused() {
        let accepting = tcp(false).accept(0, answer);
        let address = accepting.address.clone();
        let waiting: Vec<_> = (0..20).map(|_| TcpStream::connect(&address).unwrap()).collect();
        accepting.close(answer).await;
        let all = tokio::task::spawn_blocking(move || waiting.into_iter().all(is_answered)).await.unwrap();
        assert!(all);
        assert_eq!(TcpStream::connect(&address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_another_process_has_too_goes_on_there() {
        let before = tcp(true);
        let Socket::Tcp(listener) = &before.socket else { unreachable!() };
        let other = listener.try_clone().unwrap();
        before.accept(1, answer).close(answer).await;
        let waiting = TcpStream::connect(other.local_addr().unwrap()).unwrap();
        // And where a process before turned clients away, the next one takes them.
        SockRef::from(&other).attach_filter(&NO_SYN).unwrap();
        let next = of(other, true).accept(1, answer);
        let fresh = TcpStream::connect(&next.address).unwrap();
        let both = tokio::task::spawn_blocking(move || is_answered(waiting) && is_answered(fresh)).await.unwrap();
        assert!(both);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_socket_file_is_gone_before_it_closes_and_those_that_found_it_are_served() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("valet.sock");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let bound = Bound::new(format!("unix:{}", path.display()), Socket::Unix(listener), false).unwrap();
        let waiting = UnixStream::connect(&path).unwrap();
        bound.accept(0, answer).close(answer).await;
        assert!(tokio::task::spawn_blocking(move || is_answered(waiting)).await.unwrap());
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
