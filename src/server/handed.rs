//! Sockets that somebody else has bound for us, by the names of listeners: systemd (`FileDescriptorName=`, sd_listen_fds(3)).

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// Sockets with their names.
#[derive(Default)]
pub struct Handed(Vec<(String, Socket)>);

/// One that listens.
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Handed {
    /// Those that systemd has passed to this process, if it has any. To be called once: they are taken.
    ///
    /// # Errors
    /// What was passed can't be understood, or a descriptor is no listening stream socket.
    pub fn from_systemd() -> io::Result<Self> {
        let names: Vec<String> = sd_notify::listen_fds_with_names()?.map(|(_, name)| name).collect();
        let mut passed = ListenFd::from_env();
        let mut handed = Vec::with_capacity(names.len());
        for (at, name) in names.into_iter().enumerate() {
            let socket = match passed.take_tcp_listener(at) {
                Ok(listener) => listener.map(Socket::Tcp),
                Err(_) => passed.take_unix_listener(at)?.map(Socket::Unix),
            };
            handed.extend(socket.map(|socket| (name, socket)));
        }
        Ok(Self(handed))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The first of this name.
    pub(super) fn take(&mut self, name: &str) -> Option<Socket> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }
}
