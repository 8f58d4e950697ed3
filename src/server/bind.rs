//! Addresses: all of them are bound before anything serves, so that one that is taken is one clear line.

use std::io;
use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::{GetSocketDigest, SocketDigest, UniqueID};
use pingora_core::server::{Fds, ListenFds};
use pingora_core::services::listening::Service;

use crate::config::Config;
use crate::lease::settings::StoreKind;

/// Bytes of an answer that the kernel holds and has not sent yet. More would only hide from us whether a slow client takes them: its buffer
/// grows to megabytes, and takes no more before a third of it is free.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;

/// An address that can't be had.
#[derive(Debug)]
pub struct BindFault {
    /// `valet.toml:12:11 listener.address`
    place: String,
    address: String,
    cause: io::Error,
}

impl std::fmt::Display for BindFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.without_place())
    }
}

impl BindFault {
    /// The same for whoever wrote no configuration file.
    fn without_place(&self) -> impl std::fmt::Display {
        WithoutPlace(self)
    }

    /// Whether it says something of this machine, and not only of who asks: a service may listen on ports that its operator may not.
    fn is_for_everybody(&self) -> bool {
        self.cause.kind() != io::ErrorKind::PermissionDenied
    }
}

/// All addresses that can't be had, a line each.
#[derive(Debug)]
pub struct BindFaults(Vec<BindFault>);

impl std::fmt::Display for BindFaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }
}

impl BindFaults {
    /// The same for whoever wrote no configuration file.
    pub fn without_place(&self) -> String {
        self.0.iter().map(|fault| fault.without_place().to_string()).collect::<Vec<_>>().join("; ")
    }
}

struct WithoutPlace<'f>(&'f BindFault);

impl std::fmt::Display for WithoutPlace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BindFault { address, cause, .. } = self.0;
        write!(f, "{address}: ")?;
        match (cause.kind(), address.strip_prefix("unix:").and_then(|path| Path::new(path).parent())) {
            (io::ErrorKind::AddrInUse, _) => f.write_str("the address is in use by another process"),
            (io::ErrorKind::AddrNotAvailable, _) => f.write_str("this machine has no such address"),
            (io::ErrorKind::PermissionDenied, Some(folder)) => {
                write!(f, "this user can't write into the folder {}", folder.display())
            }
            (io::ErrorKind::PermissionDenied, None) => {
                f.write_str("not permitted (ports below 1024 need CAP_NET_BIND_SERVICE)")
            }
            (io::ErrorKind::NotFound, Some(folder)) => write!(f, "there is no folder {}", folder.display()),
            _ => write!(f, "{cause}"),
        }
    }
}

/// Every address, bound.
pub(super) struct Bound {
    pub listeners: Vec<String>,
    pub admin: Option<String>,
    pub minter: Option<TcpListener>,
    pub fds: ListenFds,
    /// Second handles of the listeners: a listening socket closes with its last handle.
    pub backlog: Vec<Handle>,
}

/// A listener of ours beside Pingora's.
pub(super) enum Handle {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Handle {
    /// The next connection that waits; `None` if none does.
    pub fn accept(&self) -> Option<L4Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                Some(known(tokio::net::TcpStream::from_std(stream).ok()?.into()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                Some(known(tokio::net::UnixStream::from_std(stream).ok()?.into()))
            }
        }
    }
}

/// As Pingora's own accept leaves it: with a way to ask who is at the other end.
fn known(mut stream: L4Stream) -> L4Stream {
    stream.set_socket_digest(SocketDigest::from_raw_fd(stream.id()));
    stream
}

/// Binds the listeners, the administration address and the minter's. Faults: all of them.
pub(super) fn all(config: &Config) -> Result<Bound, BindFaults> {
    let mut fds = Fds::new();
    let mut backlog = Vec::new();
    let mut listeners = Vec::new();
    let mut faults = Vec::new();
    let places = &config.places;
    for (listener, place) in config.listeners.iter().zip(&places.listeners) {
        match bind(&listener.address, place, &mut fds) {
            Ok((text, handle)) => {
                listeners.push(text);
                backlog.push(handle);
            }
            Err(fault) => faults.push(fault),
        }
    }
    let admin = config.admin.as_ref().map(|admin| bind(&admin.address, &places.admin, &mut fds));
    let admin = admin.and_then(|bound| bound.map_err(|fault| faults.push(fault)).ok());
    let minter = config.minter.as_ref().map(|minter| bind_tcp(&minter.address, &places.minter));
    let minter = minter.and_then(|bound| bound.map_err(|fault| faults.push(fault)).ok());
    if !faults.is_empty() {
        return Err(BindFaults(faults));
    }
    let (admin, fds) = (admin.map(|(text, _)| text), Arc::new(parking_lot::Mutex::new(fds)));
    Ok(Bound { listeners, admin, minter, fds, backlog })
}

/// What would stand in the way of a start on this machine, now: addresses that are taken, folders that are not there. A line each, which is
/// no fault of the configuration: the start may be elsewhere, or later. No file is made, and nothing that is there is touched.
pub fn obstacles(config: &Config) -> Vec<String> {
    let places = &config.places;
    let listeners =
        config.listeners.iter().map(|listener| &*listener.address).zip(places.listeners.iter().map(|place| &**place));
    let admin = config.admin.iter().map(|admin| (&*admin.address, &*places.admin));
    let minter = config.minter.iter().map(|minter| (&*minter.address, &*places.minter));
    let mut found = Vec::new();
    for (address, place) in listeners.chain(admin).chain(minter) {
        match address.strip_prefix("unix:") {
            Some(path) => found.extend(folder(Path::new(path)).map(|why| format!("{place}: {address}: {why}"))),
            None => {
                let taken = bind_tcp(address, place).err().filter(BindFault::is_for_everybody);
                found.extend(taken.map(|fault| fault.to_string()));
            }
        }
    }
    if let (Some(path), StoreKind::File) = (&config.leases.path, config.leases.store) {
        let path = config.directory.join(path);
        found.extend(folder(&path).map(|why| format!("{}: {}: {why}", places.leases, path.display())));
    }
    found
}

/// Why no file can be made there, as far as its folder tells.
fn folder(path: &Path) -> Option<String> {
    use rustix::fs::{Access, access};
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.exists() {
        return Some(format!("there is no folder {}", folder.display()));
    }
    if !folder.is_dir() {
        return Some(format!("{} is no folder", folder.display()));
    }
    let may = access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    (!may).then(|| format!("this user can't write into the folder {}", folder.display()))
}

fn bind_tcp(address: &str, place: &str) -> Result<TcpListener, BindFault> {
    let fault = |cause| BindFault { place: place.to_owned(), address: address.to_owned(), cause };
    let listener = TcpListener::bind(address).map_err(fault)?;
    listener.set_nonblocking(true).map_err(fault)?;
    Ok(listener)
}

fn bind(address: &str, place: &str, fds: &mut Fds) -> Result<(String, Handle), BindFault> {
    let fault = |cause| BindFault { place: place.to_owned(), address: address.to_owned(), cause };
    if let Some(path) = address.strip_prefix("unix:") {
        let listener = bind_unix(Path::new(path)).map_err(fault)?;
        let handle = listener.try_clone().map_err(fault)?;
        fds.add(path.to_owned(), listener.into_raw_fd());
        return Ok((address.to_owned(), Handle::Unix(handle)));
    }
    let listener = bind_tcp(address, place)?;
    // Connections have it from their listener. A kernel without it serves all the same.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&listener).set_tcp_notsent_lowat(UNSENT);
    let text = listener.local_addr().map_err(fault)?.to_string();
    let handle = listener.try_clone().map_err(fault)?;
    fds.add(text.clone(), listener.into_raw_fd());
    Ok((text, Handle::Tcp(handle)))
}

/// A socket file that nobody listens on is a leftover, and is replaced; anything else stays.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    let listener = match UnixListener::bind(path) {
        Err(fault) if fault.kind() == io::ErrorKind::AddrInUse => {
            let leftover = path.symlink_metadata()?.file_type().is_socket() && UnixStream::connect(path).is_err();
            if !leftover {
                return Err(fault);
            }
            crate::files::remove(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Tells Pingora's service of an address that is bound.
pub(super) fn add<A>(service: &mut Service<A>, address: &str) {
    match address.strip_prefix("unix:") {
        Some(path) => service.add_uds(path, None),
        // We read into our own buffer: a second one would only take 64 KiB for each connection.
        None => service.add_listener(ListenerConfig::tcp(address).l4_buffer(L4BufferSettings::default().read(0))),
    }
}
