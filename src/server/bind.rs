//! Addresses: all of them are bound before anything serves, so that one that is taken is one clear line.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::accept::{Bound, Socket};
use super::handed::Handed;
use super::upgrade::{Role, UpgradeSocket};
use crate::config::Config;
use crate::files;
use crate::lease::settings::StoreKind;
use crate::units::{ListenAddress, TcpAddress};

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
    /// The fault for a reader who wrote no configuration file.
    fn without_place(&self) -> impl std::fmt::Display {
        WithoutPlace(self)
    }

    /// Whether it says something of this machine, and not only of the user that asks: a service may listen on ports that its operator may not.
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
    /// One for each address.
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// The faults for a reader who wrote no configuration file.
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

/// What is bound already, by the addresses of the configuration.
#[derive(Default)]
pub(super) struct Held<'a> {
    pub listeners: Vec<&'a str>,
    pub admin: Option<&'a str>,
    pub minter: Option<&'a str>,
    pub upgrade: Option<&'a str>,
}

/// Every address that was not bound yet.
pub(super) struct Fresh {
    /// In the order of the configuration; `None`: it is held.
    pub listeners: Vec<Option<Bound>>,
    pub admin: Option<Bound>,
    pub minter: Option<TcpListener>,
    pub upgrade: Option<UpgradeSocket>,
}

/// Binds the listeners, the administration address and the minter's, as far as they are neither held nor handed over. Faults: all of them, and nothing is bound.
pub(super) fn all(config: &Config, held: &Held<'_>, mut handed: Handed) -> Result<Fresh, BindFaults> {
    let mut listeners = Vec::new();
    let mut faults = Vec::new();
    let mut kept = held.listeners.clone();
    let places = &config.places;
    for (listener, place) in config.listeners.iter().zip(&places.listeners) {
        if let Some(at) = kept.iter().position(|address| *address == listener.address.as_str()) {
            kept.swap_remove(at);
            listeners.push(None);
            continue;
        }
        let before = |handed: &mut Handed| {
            let socket = handed.take_over(Role::Listener, listener.address.as_str())?;
            Some(Socket::of(&listener.address, socket))
        };
        // The one of a name may be systemd's, which has it for longer than any process of ours.
        let (name, place) = (listener.name.as_ref(), (place.as_str(), listener.name.is_some()));
        let socket = name.and_then(|name| handed.take(name)).or_else(|| before(&mut handed));
        match socket.map_or_else(|| bind(&listener.address, place.0), |socket| adopt(socket, &listener.address, place))
        {
            Ok(bound) => listeners.push(Some(bound)),
            Err(fault) => faults.push(fault),
        }
    }
    let admin = config.admin.as_ref().filter(|admin| held.admin != Some(admin.address.as_str()));
    let admin = admin.map(|admin| match handed.take_over(Role::Admin, admin.address.as_str()) {
        Some(socket) => adopt(Socket::of(&admin.address, socket), &admin.address, (&places.admin, false)),
        None => bind(&admin.address, &places.admin),
    });
    let admin = admin.and_then(|bound| bound.map_err(|fault| faults.push(fault)).ok());
    let minter = config.minter.as_ref().filter(|minter| held.minter != Some(minter.address.as_str()));
    let minter = minter.map(|minter| match handed.take_over(Role::Minter, minter.address.as_str()) {
        Some(socket) => Ok(TcpListener::from(socket)),
        None => bind_tcp(&minter.address, &places.minter),
    });
    let minter = minter.and_then(|bound| bound.map_err(|fault| faults.push(fault)).ok());
    let path = upgrade_socket(config).filter(|path| held.upgrade != Some(path));
    let upgrade = path.map(|path| match handed.take_over(Role::Upgrade, &path) {
        Some(socket) => Ok(UpgradeSocket::adopt(socket)),
        None => UpgradeSocket::bind(Path::new(&path)).map_err(|cause| BindFault {
            place: places.upgrade_socket.clone(),
            address: format!("unix:{path}"),
            cause,
        }),
    });
    let upgrade = upgrade.and_then(|bound| bound.map_err(|fault| faults.push(fault)).ok());
    if !faults.is_empty() {
        return Err(BindFaults(faults));
    }
    Ok(Fresh { listeners, admin, minter, upgrade })
}

/// `server.upgrade_socket`, from the configuration's folder.
pub(super) fn upgrade_socket(config: &Config) -> Option<String> {
    let path = config.directory.join(config.server.upgrade_socket.as_ref()?);
    Some(path.to_string_lossy().into_owned())
}

/// What would stand in the way of a start on this machine, now: addresses that are taken, folders that are not there. A line each, which is
/// no fault of the configuration: the start may be elsewhere, or later. No file is made, and nothing that is there is touched.
pub fn obstacles(config: &Config) -> Vec<String> {
    let places = &config.places;
    let listeners = config.listeners.iter().map(|listener| &listener.address).zip(&places.listeners);
    let admin = config.admin.iter().map(|admin| (&admin.address, &places.admin));
    let is_taken = |address: &TcpAddress, place: &str| {
        bind_tcp(address, place).err().filter(BindFault::is_for_everybody).map(|fault| fault.to_string())
    };
    let mut found = Vec::new();
    for (address, place) in listeners.chain(admin) {
        found.extend(match address {
            ListenAddress::Unix(socket) => folder(socket.path()).map(|why| format!("{place}: {address}: {why}")),
            ListenAddress::Tcp(address) => is_taken(address, place),
        });
    }
    found.extend(config.minter.iter().filter_map(|minter| is_taken(&minter.address, &places.minter)));
    if let Some(path) = upgrade_socket(config) {
        let why = folder(Path::new(&path));
        found.extend(why.map(|why| format!("{}: unix:{path}: {why}", places.upgrade_socket)));
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

fn bind_tcp(address: &TcpAddress, place: &str) -> Result<TcpListener, BindFault> {
    let fault = |cause| BindFault { place: place.to_owned(), address: address.to_string(), cause };
    let listener = TcpListener::bind(address.socket_address()).map_err(fault)?;
    listener.set_nonblocking(true).map_err(fault)?;
    Ok(listener)
}

fn bind(address: &ListenAddress, place: &str) -> Result<Bound, BindFault> {
    let fault = |cause| BindFault { place: place.to_owned(), address: address.to_string(), cause };
    match address {
        ListenAddress::Tcp(address) => of_tcp(bind_tcp(address, place)?, false).map_err(fault),
        ListenAddress::Unix(socket) => {
            let listener = bind_unix(socket.path()).map_err(fault)?;
            Bound::new(address.to_string(), Socket::Unix(listener), false).map_err(fault)
        }
    }
}

/// A socket that listens already. `address` is what the configuration says, for a fault; `shared`: another process may have it too, for longer.
fn adopt(socket: Socket, address: &ListenAddress, (place, shared): (&str, bool)) -> Result<Bound, BindFault> {
    let fault = |cause| BindFault { place: place.to_owned(), address: address.to_string(), cause };
    match socket {
        Socket::Tcp(listener) => {
            listener.set_nonblocking(true).map_err(fault)?;
            of_tcp(listener, shared).map_err(fault)
        }
        Socket::Unix(listener) => {
            listener.set_nonblocking(true).map_err(fault)?;
            let bound = listener.local_addr().map_err(fault)?;
            let path = bound.as_pathname().and_then(Path::to_str);
            let path = path.ok_or_else(|| fault(io::Error::other("the socket handed over has no path")))?.to_owned();
            Bound::new(format!("unix:{path}"), Socket::Unix(listener), shared).map_err(fault)
        }
    }
}

fn of_tcp(listener: TcpListener, shared: bool) -> io::Result<Bound> {
    // Connections have it from their listener. A kernel without it serves all the same.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&listener).set_tcp_notsent_lowat(UNSENT);
    let address = listener.local_addr()?.to_string();
    Bound::new(address, Socket::Tcp(listener), shared)
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
            files::remove(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}
