//! Another process takes over while this one runs, without a request lost: `valet run --upgrade` (docs/upgrade.md).
//!
//! [`old`] is the side that hands over, [`new`] the side that takes over; what they say to each other is [`message`]'s, and goes over a [`channel`]. The old
//! side serves until the new one has said that it can, and until then nothing is given up: every way to fail leaves the old one serving.

mod channel;
mod message;
mod new;
mod old;
mod store;
mod successor;

use std::future::Future;
use std::io;
use std::time::Duration;

pub(super) use self::channel::UpgradeSocket;
pub(super) use self::message::Role;
pub(super) use self::new::take_over;
pub(super) use self::old::UpgradeListener;
pub(super) use self::successor::HandOver;
pub use self::successor::Successor;

use self::channel::Channel;
use self::message::Message;

/// A process that is well answers a word that needs no work in this time.
const WORD: Duration = Duration::from_secs(5);

/// One that has thousands of messages before it takes the next one in this time.
const BUSY: Duration = Duration::from_secs(60);

/// The next message within this time. Why there is none, for the log.
async fn receive(channel: &Channel, patience: Duration) -> Result<Message, Missing> {
    match tokio::time::timeout(patience, channel.receive()).await {
        Err(_) => Err(Missing::Fault(format!("the other process has said nothing for {} s", patience.as_secs()))),
        Ok(Err(fault)) => Err(Missing::Fault(format!("what the other process says can't be read: {fault}"))),
        Ok(Ok(None)) => Err(Missing::Gone),
        Ok(Ok(Some((Message::Refused { why }, _)))) => Err(Missing::Fault(why)),
        Ok(Ok(Some((message, _)))) => Ok(message),
    }
}

/// Why there is no message.
enum Missing {
    /// The other process has closed, or is gone.
    Gone,
    /// It has failed, or says so.
    Fault(String),
}

/// A message that comes out of turn.
fn out_of_turn() -> String {
    "the other process says something out of turn".to_owned()
}

/// Sends, or says why it can't be.
async fn sent(sending: impl Future<Output = io::Result<()>>) -> Result<(), String> {
    sent_within(WORD, sending).await
}

/// As [`sent`], when one of the two drains: the other may have much to do for each message.
async fn taken(sending: impl Future<Output = io::Result<()>>) -> Result<(), String> {
    sent_within(BUSY, sending).await
}

async fn sent_within(patience: Duration, sending: impl Future<Output = io::Result<()>>) -> Result<(), String> {
    let sent = tokio::time::timeout(patience, sending).await;
    let fault = |fault: &dyn std::fmt::Display| format!("the other process takes no message: {fault}");
    sent.map_err(|late| fault(&late))?.map_err(|cause| fault(&cause))
}
