//! Sockets that somebody else has bound for us: systemd, by the names of listeners (`FileDescriptorName=`, sd_listen_fds(3)); or a predecessor, by what
//! they are for and their addresses as configured.

use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;

use super::accept::Socket;
use super::upgrade::Role;

/// Sockets that listen already.
#[derive(Default)]
pub struct Handed {
    named: Vec<(String, Socket)>,
    predecessors: Vec<(Role, String, OwnedFd)>,
}

impl Handed {
    /// The sockets that systemd has passed to this process, if it has any. To be called once: they are taken.
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
        Ok(Self { named: handed, predecessors: Vec::new() })
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(name, _)| name.as_str())
    }

    /// The first of this name.
    pub(super) fn take(&mut self, name: &str) -> Option<Socket> {
        let at = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.remove(at).1)
    }

    /// Adds one that a predecessor had.
    pub(super) fn add(&mut self, role: Role, setting: String, socket: OwnedFd) {
        self.predecessors.push((role, setting, socket));
    }

    /// The one that a predecessor had for this, at this address as configured.
    pub(super) fn take_over(&mut self, role: Role, setting: &str) -> Option<OwnedFd> {
        let at = self.predecessors.iter().position(|(known, address, _)| *known == role && address == setting)?;
        Some(self.predecessors.remove(at).2)
    }
}
