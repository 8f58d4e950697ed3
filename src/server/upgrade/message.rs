//! What the two processes say to each other. Each message is one JSON value; its order is told in docs/upgrade.md.

use serde::{Deserialize, Serialize};

use crate::lease::HandedOwner;
use crate::lease::store::Written;
use crate::server::tickets::HandedKey;
use crate::session::Revocation;

/// Changes with anything that an older or newer process would misunderstand. [`Message::Hello`] and [`Message::Refused`] stay as they are.
pub(super) const PROTOCOL: u32 = 1;

/// One message.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Message {
    /// Each begins with it.
    Hello { protocol: u32, version: String },
    /// Nothing is handed over, or no longer.
    Refused { why: String },
    /// Old: this socket, with its address as configured.
    Socket { role: Role, setting: String },
    /// Old: that was the last socket.
    Sockets,
    /// New: everything is built, and each issuer has keys.
    Ready,
    /// Either: a session has ended.
    Revoked(Box<Revocation>),
    /// Old: the keys of TLS tickets, the current one first.
    Tickets(Vec<HandedKey>),
    /// Old: what is known of an owner.
    Owner(Box<HandedOwner>),
    /// Either: an owner's leases were forgotten.
    Forgotten(#[serde(with = "crate::units::base64_bytes")] Vec<u8>),
    /// Old: that was everything, and the file of leases is closed.
    Everything,
    /// New: the file of leases is open.
    Open,
    /// Old: accept from now on.
    Go,
    /// New: it accepts.
    Serving,
    /// Old: it accepts no more.
    Stopped,
    /// Old, while it drains: a question to the file of leases.
    Ask { id: u64, ask: Ask },
    /// New: the answer. `None`: the file can't be asked.
    Answer { id: u64, answer: Option<Answer> },
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum Role {
    /// A `[[listener]]`.
    Listener,
    /// `admin.address`.
    Admin,
    /// `minter.address`.
    Minter,
    /// `server.upgrade_socket`.
    Upgrade,
}

/// A question to the file of leases.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// Write this.
    Write(Written),
    /// What is held in this place?
    Look(#[serde(with = "crate::units::base64_bytes")] Vec<u8>),
}

/// What the process that has the file answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// What was to be written is on disk.
    Written,
    /// Nothing is held.
    Nothing,
    /// This is held, sealed, until this end (Unix time in milliseconds).
    Held(i64, #[serde(with = "crate::units::base64_bytes")] Vec<u8>),
}
