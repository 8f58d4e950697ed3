//! One message at a time, some with a socket, between two processes of one user on one machine.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use zeroize::Zeroizing;

use super::message::Message;
use crate::files;

/// The longest message: below what the kernel gives a socket by default.
const MAX_MESSAGE: usize = 160 * 1024;

/// A process that connects while another is served waits here.
const BACKLOG: i32 = 8;

/// The way to the other process. Messages keep their bounds: the socket is of the kind SEQPACKET, for which the types of std and tokio do as well as for a
/// stream.
pub(super) struct Channel {
    socket: UnixStream,
    /// The process at the other end, when it connected or began to listen.
    pub peer: Peer,
}

/// The process at the other end, as the kernel names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub user: u32,
    pub process: u32,
}

impl Channel {
    fn new(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::of(UnixStream::from_std(OwnedFd::from(socket).into())?)
    }

    fn of(socket: UnixStream) -> io::Result<Self> {
        // SO_PEERCRED
        let credentials = socket.peer_cred()?;
        let process = credentials.pid().and_then(|process| u32::try_from(process).ok()).unwrap_or(0);
        Ok(Self { peer: Peer { user: credentials.uid(), process }, socket })
    }

    /// To the process that listens there. Must be called on a tokio runtime.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Self::new(socket)
    }

    /// Whether the other process is of this one's user.
    pub fn is_ours(&self) -> bool {
        self.peer.user == own_user()
    }

    /// Sends one, with a socket if there is one. Dropped: it is sent or not.
    pub async fn send(&self, message: &Message, passed: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(message)?);
        if text.len() > MAX_MESSAGE {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too long a message"));
        }
        let passed: Vec<BorrowedFd<'_>> = passed.into_iter().collect();
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !passed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&passed)) {
                return Err(io::Error::other("no room for a socket"));
            }
            sendmsg(&self.socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
            Ok(())
        };
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    /// The next one, with the socket that came with it; `None`: the other process has closed, or is gone. Dropped: nothing is lost.
    ///
    /// # Errors
    /// What came is no message of ours.
    pub async fn receive(&self) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        let mut buffer = Zeroizing::new(vec![0; MAX_MESSAGE]);
        let receive = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let came =
                recvmsg(&self.socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let passed = control.drain().find_map(|part| match part {
                RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
                _ => None,
            });
            Ok((came.bytes, came.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC), passed))
        };
        let (length, torn, passed) = match self.socket.async_io(Interest::READABLE, receive).await {
            Err(fault) if fault.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            came => came?,
        };
        if length == 0 {
            return Ok(None);
        }
        let message = (!torn).then(|| serde_json::from_slice(&buffer[..length]).ok()).flatten();
        let message = message.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no message of ours"))?;
        Ok(Some((message, passed)))
    }
}

/// Where a successor connects.
pub(in crate::server) struct UpgradeSocket(Socket);

impl UpgradeSocket {
    /// Binds it: for this user alone, in a folder where nobody else can put anything.
    pub fn bind(path: &Path) -> io::Result<Self> {
        files::check_private_folder(path)?;
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        let address = SockAddr::unix(path)?;
        if let Err(fault) = socket.bind(&address) {
            let leftover = fault.kind() == io::ErrorKind::AddrInUse && is_leftover(path, &address);
            if !leftover {
                return Err(fault);
            }
            files::remove(path)?;
            socket.bind(&address)?;
        }
        files::let_nobody_else_connect(path)?;
        socket.listen(BACKLOG)?;
        Ok(Self(socket))
    }

    /// One that a predecessor has handed over.
    pub fn adopt(socket: OwnedFd) -> Self {
        Self(socket.into())
    }

    /// A second handle.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// To hand it over.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }

    /// Ready to accept. Must be called on a tokio runtime.
    pub fn listen(self) -> io::Result<Listening> {
        self.0.set_nonblocking(true)?;
        Ok(Listening(UnixListener::from_std(OwnedFd::from(self.0).into())?))
    }
}

/// The listening socket on a runtime.
pub(in crate::server) struct Listening(UnixListener);

impl Listening {
    /// The next that connects. Dropped: nobody is lost.
    pub(super) async fn accept(&self) -> io::Result<Channel> {
        Channel::of(self.0.accept().await?.0)
    }
}

/// A socket of ours that nobody listens on.
fn is_leftover(path: &Path, address: &SockAddr) -> bool {
    let ours = files::socket_owner(path).is_ok_and(|owner| owner == Some(own_user()));
    let alone = || Socket::new(Domain::UNIX, Type::SEQPACKET, None).is_ok_and(|probe| probe.connect(address).is_err());
    ours && alone()
}

pub(super) fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        (Channel::new(one).unwrap(), Channel::new(other).unwrap())
    }

    #[tokio::test]
    async fn a_socket_goes_over_with_its_message_and_serves_on_the_other_side() {
        let (one, other) = pair();
        assert!(one.is_ours() && one.peer.process == std::process::id());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        one.send(&Message::Sockets, Some(listener.as_fd())).await.unwrap();
        drop(listener);
        let (_, passed) = other.receive().await.unwrap().unwrap();
        let listener = std::net::TcpListener::from(passed.unwrap());
        let client = std::net::TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
        drop(client);
        drop(one);
        assert!(other.receive().await.unwrap().is_none(), "the end is no fault");
    }

    #[tokio::test]
    async fn what_is_no_message_is_a_fault_and_what_is_too_long_is_not_sent() {
        let (one, other) = pair();
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0", b"{\"hello\":{}}"] {
            one.socket.writable().await.unwrap();
            assert_eq!(one.socket.try_write(garbage).unwrap(), garbage.len());
            assert_eq!(other.receive().await.err().unwrap().kind(), io::ErrorKind::InvalidData, "{garbage:?}");
        }
        let why = "x".repeat(MAX_MESSAGE);
        assert_eq!(one.send(&Message::Refused { why }, None).await.err().unwrap().kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn a_socket_is_bound_for_its_user_in_a_private_folder_and_replaces_only_a_leftover() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let first = UpgradeSocket::bind(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(UpgradeSocket::bind(&path).err().unwrap().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(UpgradeSocket::bind(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        assert!(UpgradeSocket::bind(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"mine", "a file that is no socket stays");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let fault = UpgradeSocket::bind(&folder.path().join("other.sock")).err().unwrap().to_string();
        assert!(fault.contains("others can write into the folder"), "{fault}");
    }
}
