//! Redis or Valkey: one server, a cluster, or whoever the sentinels call master.

mod link;
mod listening;
mod revocations;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use dashmap::DashMap;
use prometheus::{IntCounterVec, IntGauge};
use redis::{FromRedisValue, ScriptInvocation};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

pub use self::link::Way;
use self::link::{Connection, failure};
use self::listening::Reached;
use self::scripts::{COUNTERS_MS, FENCES, Scripts, decimal, micros, millis};
use super::revocations::{Kept, News};
use super::seal::{NAME, text};
use super::{Acquired, Backend, Claim, Known, Lost, Name, Notification, RENEW};
use crate::http_client::Cause;
use crate::lease::record::FAILURE_MEMORY;
use crate::session::Knowledge;
use crate::telemetry::Metrics;

/// The `tracing` target of this module.
const TARGET: &str = "valet::store";

/// Between two looks at the store, and two tries to reach it: what is back is noticed within two seconds.
const LOOK: Duration = Duration::from_millis(500);

/// A turn that is not renewed ends after this.
const TURN: Duration = RENEW.saturating_mul(3);

/// A shared store.
pub struct RedisStore {
    way: Way,
    prefix: String,
    timeout: Duration,
    /// Tells this node's own notices from others'.
    node: String,
    scripts: Scripts,
    link: ArcSwapOption<Connection>,
    epoch: AtomicU32,
    /// Changes with each new connection, and with each that is not had.
    linked: watch::Sender<()>,
    /// A call has failed: look at once.
    doubt: Notify,
    subscriptions: DashMap<String, watch::Sender<u64>>,
    degraded: IntGauge,
    failures: IntCounterVec,
}

impl RedisStore {
    /// Not connected yet: [`Backend::run`] does that.
    pub fn new(way: Way, prefix: &str, timeout: Duration, metrics: &Metrics) -> Arc<Self> {
        let degraded = metrics.degraded.with_label_values(&["leases.store"]);
        degraded.set(1);
        for cause in Cause::ALL {
            metrics.store_failures.with_label_values(&[cause.label()]);
        }
        Arc::new(Self {
            way,
            prefix: prefix.to_owned(),
            timeout,
            node: uuid::Uuid::new_v4().simple().to_string(),
            scripts: Scripts::new(),
            link: ArcSwapOption::empty(),
            epoch: AtomicU32::new(0),
            linked: watch::Sender::new(()),
            doubt: Notify::new(),
            subscriptions: DashMap::new(),
            degraded,
            failures: metrics.store_failures.clone(),
        })
    }

    /// The keys of one lease: lease, claim, fence, generation, failure. One owner's are in one slot of a cluster.
    fn keys(&self, name: &Name) -> [String; 5] {
        let (owner, variant) = (name.owner_text(), name.variant_text());
        let of = |kind: &str| format!("{}{{{owner}}}:{kind}:{variant}", self.prefix);
        [of("l"), of("c"), of("n"), self.generation(&owner), of("f")]
    }

    fn generation(&self, owner: &str) -> String {
        format!("{}{{{owner}}}:g", self.prefix)
    }

    /// The key of the latest scan's number.
    fn scans(&self, owner: &str) -> String {
        format!("{}{{{owner}}}:s", self.prefix)
    }

    /// A notice, and whose it is.
    fn message(&self, notice: &[u8]) -> Vec<u8> {
        [self.node.as_bytes(), b":", notice].concat()
    }

    fn channel(&self, kind: &str) -> String {
        format!("{}{kind}", self.prefix)
    }

    /// One call, within the time-out. One that fails makes the keeper look.
    async fn call<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T, Lost> {
        let connection = self.link.load_full().ok_or(Lost)?;
        match tokio::time::timeout(self.timeout, self.invoke(connection, invocation)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) | Err(_) => {
                // Until the next look that finds it well.
                self.degraded.set(1);
                self.doubt.notify_one();
                Err(Lost)
            }
        }
    }

    /// A call that met a connection which the store had just closed is made once more over the next one: each step of the protocol does no harm if
    /// it is done twice.
    async fn invoke<T: FromRedisValue>(
        &self,
        connection: Arc<Connection>,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, redis::RedisError> {
        let mut epoch = self.linked.subscribe();
        epoch.mark_unchanged();
        let fault = match connection.invoke(invocation).await {
            Err(fault) if fault.is_connection_dropped() => fault,
            answer => return answer,
        };
        self.doubt.notify_one();
        let replaced =
            |link: &Option<Arc<Connection>>| link.as_ref().filter(|link| !Arc::ptr_eq(link, &connection)).cloned();
        loop {
            if let Some(next) = replaced(&self.link.load_full()) {
                return next.invoke(invocation).await;
            }
            if self.link.load().is_none() || epoch.changed().await.is_err() {
                return Err(fault);
            }
        }
    }
}

#[async_trait]
impl Backend for RedisStore {
    async fn begin(&self, name: &Name, life: Option<Duration>, known: &Known) -> Result<Acquired, Lost> {
        let keys = self.keys(name);
        let mut script = self.scripts.begin.prepare_invoke();
        for key in &keys {
            script.key(key);
        }
        script
            .arg(life.map_or(-1, |life| millis(life) as i64))
            .arg(millis(TURN))
            .arg(COUNTERS_MS)
            .arg(fastrand::u64(..FENCES))
            .arg(known.generation);
        script.arg(self.channel("drop")).arg(self.message(&known.notice));
        let (word, number, bytes, left): (String, u64, Vec<u8>, u64) = self.call(&script).await?;
        Ok(match word.as_str() {
            "held" => Acquired::Held(bytes, number, Duration::from_millis(left)),
            "turn" => Acquired::Claim(Claim { fence: number, generation: decimal(&bytes) }),
            "wait" => Acquired::Wait(Duration::from_millis(number)),
            _ => Acquired::Failed(u8::try_from(number).unwrap_or(0), decimal(&bytes)),
        })
    }

    async fn renew(&self, name: &Name, turn: Claim) -> Result<bool, Lost> {
        let [_, claim, fence, ..] = self.keys(name);
        let mut script = self.scripts.renew.prepare_invoke();
        self.call(script.key(fence).key(claim).arg(turn.fence).arg(millis(TURN))).await
    }

    async fn keep(&self, name: &Name, turn: Claim, life: Duration, sealed: Vec<u8>) -> Result<bool, Lost> {
        let [lease, claim, fence, generation, _] = self.keys(name);
        let mut script = self.scripts.keep.prepare_invoke();
        script.key(lease).key(claim).key(fence).key(generation);
        script.arg(turn.fence).arg(turn.generation).arg(millis(life)).arg(sealed);
        script.arg(self.channel("wake")).arg(name.variant_text()).arg(COUNTERS_MS);
        self.call(&script).await
    }

    async fn give_up(&self, name: &Name, turn: Claim, failure: Option<u8>) -> Result<(), Lost> {
        let [_, claim, fence, _, failed] = self.keys(name);
        let mut script = self.scripts.give_up.prepare_invoke();
        script.key(claim).key(fence).key(failed).arg(turn.fence).arg(failure.unwrap_or(0));
        // Everybody's for as long as it is its own node's.
        script.arg(millis(FAILURE_MEMORY));
        script.arg(self.channel("wake")).arg(name.variant_text());
        self.call(&script).await
    }

    async fn forget(&self, owner: &[u8; NAME], notice: Vec<u8>) -> Result<u64, Lost> {
        let (message, owner) = (self.message(&notice), text(owner));
        let mut script = self.scripts.forget.prepare_invoke();
        script.key(self.generation(&owner)).key(self.scans(&owner));
        script.arg(COUNTERS_MS).arg(micros()).arg(self.channel("drop")).arg(message);
        self.call(&script).await
    }

    async fn announce(&self, owner: &[u8; NAME]) -> Result<u64, Lost> {
        let owner = text(owner);
        let mut script = self.scripts.announce.prepare_invoke();
        self.call(script.key(self.generation(&owner)).key(self.scans(&owner)).arg(COUNTERS_MS).arg(micros())).await
    }

    async fn replace(
        &self,
        name: &Name,
        scan: u64,
        life: Duration,
        sealed: Vec<u8>,
        notice: Vec<u8>,
    ) -> Result<bool, Lost> {
        let [lease, claim, _, generation, _] = self.keys(name);
        let mut script = self.scripts.replace.prepare_invoke();
        script.key(lease).key(claim).key(generation).arg(scan).arg(millis(life)).arg(sealed).arg(COUNTERS_MS);
        script.arg(self.channel("drop")).arg(self.message(&notice));
        script.arg(self.channel("wake")).arg(name.variant_text());
        self.call(&script).await
    }

    fn subscription(&self, name: &Name) -> watch::Receiver<u64> {
        let subscription = self.subscriptions.entry(name.variant_text()).or_insert_with(|| watch::Sender::new(0));
        subscription.subscribe()
    }

    fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    fn is_well(&self) -> bool {
        self.degraded.get() == 0
    }

    fn was_well(&self) -> bool {
        self.epoch() > 0
    }

    async fn revoke(&self, kept: Kept) -> Result<(), Lost> {
        self.write_revocation(kept).await
    }

    async fn try_out(&self) -> Result<(), String> {
        match tokio::time::timeout(self.patience(), self.connect()).await {
            Ok(Ok(Reached { whole: true, .. })) => Ok(()),
            Ok(Ok(_)) => Err("a server of the cluster takes no writes".to_owned()),
            refused => Err(failure(refused).1),
        }
    }

    async fn run(&self, news: &News<'_>, mut stop: watch::Receiver<bool>) {
        let keep = async {
            let mut told = false;
            loop {
                // Behind it one page of revocations after the other, each within its own time-out: what comes meanwhile the subscription hears.
                let mut connected = tokio::time::timeout(self.patience(), self.connect()).await;
                let mut read = 0;
                if let Ok(Ok(Reached { reading, .. })) = &connected {
                    match self.reconcile(reading, news).await {
                        Ok(last) => read = last,
                        Err(fault) => connected = Ok(Err(fault)),
                    }
                }
                match connected {
                    Ok(Ok(mut reached)) => {
                        self.epoch.fetch_add(1, Ordering::Relaxed);
                        self.link.store(Some(Arc::new(reached.calls.clone())));
                        self.linked.send_replace(());
                        self.degraded.set(i64::from(!reached.whole));
                        info!(target: TARGET, "the lease store answers");
                        told = false;
                        news.tell(Notification::Known(Knowledge::Whole));
                        let closed = self.stay(&mut reached, news, read).await;
                        news.tell(Notification::Known(if closed { Knowledge::Asking } else { Knowledge::Lost }));
                        if !closed {
                            self.link.store(None);
                        }
                        self.degraded.set(1);
                        warn!(target: TARGET, "the lease store does not answer");
                    }
                    refused => {
                        self.link.store(None);
                        self.linked.send_replace(());
                        news.tell(Notification::Known(Knowledge::Lost));
                        let (cause, why) = failure(refused);
                        self.failures.with_label_values(&[cause]).inc();
                        if !std::mem::replace(&mut told, true) {
                            warn!(target: TARGET, cause, why, "the lease store can't be used");
                        }
                        tokio::time::sleep(LOOK).await;
                    }
                }
            }
        };
        let clear = async {
            loop {
                // Ears that nobody holds any more.
                tokio::time::sleep(10 * LOOK).await;
                self.subscriptions.retain(|_, subscription| subscription.receiver_count() > 0);
            }
        };
        tokio::select! {
            () = keep => {}
            () = clear => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}
