//! While a store answers: what this node hears of it, and how it finds out that there is nothing to hear any more.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSubSink;
use redis::{Msg, RedisError};

use super::link::{Connection, Subscriptions, timed_out};
use super::{LOOK, RedisStore};
use crate::lease::store::revocations::News;
use crate::lease::store::{Backend as _, Notification};

/// Between two attempts to reach a cluster over new connections, at most.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A store that answers.
pub(super) struct Reached {
    /// Calls of all tasks go over it.
    pub calls: Connection,
    /// Revocations are read over it. In a cluster a second connection: over the first, calls to a server that hangs hold those to the others up while
    /// the slots are asked for.
    pub reading: Connection,
    pub subscriptions: Subscriptions,
    /// Whether each of its servers takes writes.
    pub whole: bool,
}

impl RedisStore {
    /// How long reaching the store may take: it is several calls. In a cluster one server that hangs is waited for among the addresses, among those that
    /// the others name, and when it is written to.
    pub(super) fn patience(&self) -> Duration {
        self.timeout * if self.way.is_cluster() { 4 } else { 2 }
    }

    /// Reaches the store, listens, and shows that it takes writes.
    pub(super) async fn connect(&self) -> Result<Reached, RedisError> {
        let connect = || Box::pin(self.way.connect(self.timeout));
        let (calls, reading) = if self.way.is_cluster() {
            tokio::try_join!(connect(), connect())?
        } else {
            let connection = connect().await?;
            (connection.clone(), connection)
        };
        let channels = ["wake", "drop", "revoke"].map(|kind| self.channel(kind));
        let listen = self.way.listen(self.timeout, &channels);
        let (whole, subscriptions) = tokio::try_join!(self.probe(&calls), listen)?;
        Ok(Reached { calls, reading, subscriptions, whole })
    }

    /// Listens until the store fails a look; whether it closed a connection, and may take the next one at once.
    pub(super) async fn stay(&self, reached: &mut Reached, news: &News<'_>, read: u64) -> bool {
        tokio::select! {
            closed = self.listen(reached, news, read) => closed,
            () = self.until_others_serve() => true,
        }
    }

    async fn listen(&self, reached: &mut Reached, news: &News<'_>, mut read: u64) -> bool {
        let Reached { calls, reading, subscriptions: Subscriptions { sink, stream, .. }, .. } = reached;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) => {
                        self.hear(&message, news);
                        continue;
                    }
                    None => return true,
                },
                _ = look.tick() => {}
                () = self.doubt.notified() => {}
            }
            let look = self.look((&*calls, reading, sink), news, &mut read);
            tokio::pin!(look);
            let looked = loop {
                tokio::select! {
                    looked = &mut look => break looked,
                    // Other servers have news while one that hangs is waited for.
                    message = stream.next() => match message {
                        Some(message) => self.hear(&message, news),
                        None => return true,
                    },
                }
            };
            match looked {
                Ok(whole) => self.degraded.set(i64::from(!whole)),
                Err(fault) => return fault.is_connection_dropped(),
            }
        }
    }

    /// Whether each server takes writes. `Err`: what other nodes do is not heard any more, neither told nor read. No part waits for another, so that this
    /// is known after one time-out, whichever server hangs.
    async fn look(
        &self,
        (calls, reading, sink): (&Connection, &Connection, &mut PubSubSink),
        news: &News<'_>,
        read: &mut u64,
    ) -> Result<bool, RedisError> {
        let (whole, ..) = tokio::try_join!(
            self.probe(calls),
            // A message may be lost.
            self.in_time(self.read_revocations(reading, news, read)),
            // From a server that hangs no message comes, and no end of its connection.
            self.in_time(sink.ping::<redis::Value>()),
        )?;
        Ok(whole)
    }

    /// Whether each server takes writes. One of a cluster that hangs is told of by this alone, for the store is of use without it.
    async fn probe(&self, calls: &Connection) -> Result<bool, RedisError> {
        match self.in_time(calls.probe(&self.scripts.probe, &self.prefix, &self.node)).await {
            Err(fault) if self.way.is_cluster() && fault.is_timeout() => Ok(false),
            probed => probed,
        }
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
        tokio::time::timeout(self.timeout, call).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Returns when a cluster that is degraded is well over new connections: those that are had go on asking a server that hangs when another has taken
    /// its place.
    async fn until_others_serve(&self) {
        if !self.way.is_cluster() {
            return std::future::pending().await;
        }
        let mut pause = LOOK;
        loop {
            tokio::time::sleep(pause).await;
            if self.is_well() {
                pause = LOOK;
                continue;
            }
            // Once more behind it: a look may have found the store well meanwhile.
            if self.try_out().await.is_ok() && !self.is_well() {
                return;
            }
            // Each attempt connects to every server, from each node.
            pause = MAX_PAUSE.min(2 * pause);
        }
    }

    fn hear(&self, message: &Msg, news: &News<'_>) {
        let payload = message.get_payload_bytes();
        let channel = message.get_channel_name();
        if channel.ends_with("wake") {
            let name = String::from_utf8_lossy(payload);
            if let Some(subscription) = self.subscriptions.get(&*name) {
                subscription.send_modify(|count| *count += 1);
            }
        } else if let Some(at) = payload.iter().position(|byte| *byte == b':') {
            let (node, rest) = payload.split_at(at);
            if node != self.node.as_bytes() {
                let rest = rest[1..].to_vec();
                news.tell(if channel.ends_with("revoke") {
                    Notification::Revoked(rest)
                } else {
                    Notification::Drop(rest)
                });
            }
        }
    }
}
