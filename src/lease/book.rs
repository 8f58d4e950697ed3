//! The lease book: one mint for any number of callers, owned by the book and not by a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::watch;

use crate::clock::{Clock, Moment};
use crate::lease::ground::{Ground, Shelves};
use crate::lease::index::Index;
use crate::lease::key::LeaseKey;
use crate::lease::record::{Landing, Lease, Record, Step, Ticket};
use crate::lease::rules::Rules;
use crate::provider::{Mint, MintFailure, MintInput};
use crate::telemetry::Metrics;

/// How often ended leases are cleared away.
const SWEEP: Duration = Duration::from_secs(1);

/// What the book knows of one plug-in.
pub struct Plan {
    /// Its time rules.
    pub rules: Rules,
    /// Its mint.
    pub mint: Arc<dyn Mint>,
    counts: Counts,
}

struct Counts {
    hit: IntCounter,
    minted: IntCounter,
    joined: IntCounter,
    ahead: IntCounter,
    ok: IntCounter,
    short: IntCounter,
    nonsense: IntCounter,
}

impl Plan {
    /// The plan of the plug-in `plugin`, minted by `provider`; the names are labels of metrics.
    pub fn new(plugin: &str, provider: &str, rules: Rules, mint: Arc<dyn Mint>, metrics: &Metrics) -> Self {
        let lease = |source: &str| metrics.leases.with_label_values(&[plugin, source]);
        let minted = |outcome: &str| metrics.mints.with_label_values(&[provider, outcome]);
        let counts = Counts {
            hit: lease("hit"),
            minted: lease("minted"),
            joined: lease("joined"),
            ahead: lease("ahead"),
            ok: minted("ok"),
            short: minted("short"),
            nonsense: minted("nonsense"),
        };
        Self { rules, mint, counts }
    }
}

/// Where a lease came from: the label `source` of `valet_leases_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was held.
    Hit,
    /// This request's mint.
    Minted,
    /// Another's mint.
    Joined,
}

impl Source {
    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Minted => "minted",
            Self::Joined => "joined",
        }
    }
}

/// Why there is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLease {
    /// The mint failed, now or a moment ago.
    Mint(MintFailure),
    /// `mints_per_subject` is used up for this long.
    Limited(Duration),
    /// Our own fault: the mint's task ended without an answer.
    Lost,
}

/// All leases of this process.
pub struct Book<G: Ground = Shelves> {
    ground: G,
    index: Index,
    clock: Clock,
    capacity: usize,
    /// Signed: a lease may be forgotten a moment before its landing has counted it.
    held: AtomicI64,
    ids: AtomicU64,
    gauges: Gauges,
}

struct Gauges {
    held: prometheus::IntGauge,
    evicted: IntCounter,
}

impl<G: Ground> Book<G> {
    /// An empty book that holds at most `capacity` leases.
    pub fn new(ground: G, capacity: usize, clock: Clock, metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            ground,
            index: Index::default(),
            clock,
            capacity,
            held: AtomicI64::new(0),
            ids: AtomicU64::new(0),
            gauges: Gauges { held: metrics.leases_held.clone(), evicted: metrics.leases_evicted.clone() },
        })
    }

    /// The warm path: the held lease, if it may be sent, and whether [`Book::ahead`] should be called.
    pub fn held(&self, plan: &Plan, key: &LeaseKey, now: Moment) -> Option<(Arc<Lease>, bool)> {
        let found = self.ground.look(key.owner(), |record| record.held(key.variant(), now)).flatten()?;
        plan.counts.hit.inc();
        Some(found)
    }

    /// The held lease, or the one mint that all who ask for this key wait for.
    ///
    /// Dropped while waiting: the mint goes on for the others, and its lease is held.
    pub async fn obtain(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let now = self.clock.moment();
        let id = self.next_id();
        let step = self.with(key, now, |record| record.ask(key.variant(), now, &plan.rules, id));
        self.follow(plan, key, step, input).await
    }

    /// "Scan again": forgets this owner's leases and answers with a mint that began after this call.
    ///
    /// Dropped while waiting: what was forgotten stays forgotten, the mint goes on.
    pub async fn renew(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let now = self.clock.moment();
        let id = self.next_id();
        let (step, dropped) = self.with(key, now, |record| record.renew(key.variant(), now, &plan.rules, id));
        dropped.iter().for_each(|lease| self.forgotten(lease));
        self.follow(plan, key, step, input).await
    }

    /// `reuse = "never"`: one mint for this request alone, neither joined nor kept.
    ///
    /// Dropped while waiting: the mint goes on, its URL is thrown away.
    pub async fn once(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        key: &LeaseKey,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        let now = self.clock.moment();
        let seq = self.next_id();
        if let Some(wait) = self.with(key, now, |record| record.limited(now.tick, &plan.rules)) {
            return Err(NoLease::Limited(wait));
        }
        let (landing, landed) = watch::channel(None);
        let (book, plan_there, key_there, input) = (self.clone(), plan.clone(), key.clone(), input());
        self.ground.spawn(async move {
            let (outcome, _) = book.mint(&plan_there, &input, seq).await;
            if outcome.is_ok() {
                let now = book.clock.moment();
                book.with(&key_there, now, |record| record.count_mint(now.tick));
            }
            landing.send_replace(Some(outcome));
        });
        let lease = wait(landed).await?;
        plan.counts.minted.inc();
        Ok((lease, Source::Minted))
    }

    /// Mints in the background for a held lease that has little life left. Does nothing if a mint is under way or failed lately.
    pub fn ahead(self: &Arc<Self>, plan: &Arc<Plan>, key: &LeaseKey, input: impl FnOnce() -> MintInput) {
        let now = self.clock.moment();
        let id = self.next_id();
        if let Some(ticket) = self.with(key, now, |record| record.ahead(key.variant(), now, &plan.rules, id)) {
            self.fly(plan, key, ticket, input(), true);
        }
    }

    /// Clears away what has ended, in small pieces.
    pub fn sweep(&self) {
        let now = self.clock.moment();
        loop {
            let ended = self.index.ended(now.wall);
            ended.iter().for_each(|(seq, owner)| {
                self.drop_lease(*seq, owner, now);
            });
            let due = self.index.due(now.tick);
            due.iter().for_each(|owner| {
                self.change(owner, now, Record::visited);
            });
            if ended.is_empty() && due.is_empty() {
                return;
            }
        }
    }

    /// Sweeps once a second until `stop` says so.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                _ = tick.tick() => self.sweep(),
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// How many leases are held.
    pub fn len(&self) -> usize {
        usize::try_from(self.held.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    async fn follow(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        key: &LeaseKey,
        step: Step,
        input: impl FnOnce() -> MintInput,
    ) -> Result<(Arc<Lease>, Source), NoLease> {
        match step {
            Step::Held(lease) => {
                plan.counts.hit.inc();
                Ok((lease, Source::Hit))
            }
            Step::Join(landed) => {
                let lease = wait(landed).await?;
                plan.counts.joined.inc();
                Ok((lease, Source::Joined))
            }
            Step::Start(ticket) => {
                let landed = ticket.landed.clone();
                self.fly(plan, key, ticket, input(), false);
                let lease = wait(landed).await?;
                plan.counts.minted.inc();
                Ok((lease, Source::Minted))
            }
            Step::Failed(failure) => Err(NoLease::Mint(failure)),
            Step::Limited(wait) => Err(NoLease::Limited(wait)),
        }
    }

    /// Starts the mint's own task.
    fn fly(self: &Arc<Self>, plan: &Arc<Plan>, key: &LeaseKey, ticket: Ticket, input: MintInput, ahead: bool) {
        let duty = Duty { book: self.clone(), key: key.clone(), id: ticket.id };
        let plan = plan.clone();
        self.ground.spawn(async move {
            if let Some(after) = ticket.after.clone() {
                // How the one before ended doesn't matter, only that it has.
                let _ = wait(after).await;
            }
            let (book, key) = (&duty.book, &duty.key);
            book.change(key.owner(), book.clock.moment(), |record| record.begin(key.variant(), ticket.id));
            let (landing, keep) = book.mint(&plan, &input, ticket.id).await;
            let kept = book.land(key, &ticket, &landing, keep);
            if ahead && kept {
                plan.counts.ahead.inc();
            }
            ticket.landing.send_replace(Some(landing));
        });
    }

    /// One call of the mint, judged: the landing, and whether its lease may be held.
    async fn mint(&self, plan: &Plan, input: &MintInput, seq: u64) -> (Landing, bool) {
        let began = self.clock.moment();
        let minted = match plan.mint.mint(input).await {
            Ok(minted) => minted,
            Err(failure) => return (Err(failure), false),
        };
        match plan.rules.judge(minted, began, self.clock.moment(), seq, fastrand::f64()) {
            Ok(judged) => {
                if judged.short { &plan.counts.short } else { &plan.counts.ok }.inc();
                (Ok(Arc::new(judged.lease)), !judged.short)
            }
            Err(failure) => {
                plan.counts.nonsense.inc();
                (Err(failure), false)
            }
        }
    }

    /// Writes a landing into the record and the index; whether its lease is held now.
    fn land(&self, key: &LeaseKey, ticket: &Ticket, landing: &Landing, keep: bool) -> bool {
        let now = self.clock.moment();
        let (landed, owner) = self.ground.with(key.owner(), |owner, record| {
            (record.land(key.variant(), ticket.id, ticket.generation, landing, keep, now), owner.clone())
        });
        if let Some(replaced) = landed.replaced {
            self.forgotten(&replaced);
        }
        if let (true, Ok(lease)) = (landed.kept, landing) {
            self.index.add(lease.end, lease.seq, owner);
            self.gauges.held.set(self.held.fetch_add(1, Ordering::Relaxed) + 1);
            self.evict(now);
        } else {
            self.change(&owner, now, |_| ());
        }
        landed.kept
    }

    /// At the bound those that end soonest go.
    fn evict(&self, now: Moment) {
        while self.len() > self.capacity {
            let Some((seq, owner)) = self.index.soonest() else { return };
            if self.drop_lease(seq, &owner, now) {
                self.gauges.evicted.inc();
            }
        }
    }

    fn drop_lease(&self, seq: u64, owner: &Arc<[u8]>, now: Moment) -> bool {
        let dropped = self.change(owner, now, |record| record.drop_lease(seq).is_some()).unwrap_or(false);
        if dropped {
            self.gauges.held.set(self.held.fetch_sub(1, Ordering::Relaxed) - 1);
        }
        dropped
    }

    /// A lease that has left its record by another way than [`Book::drop_lease`].
    fn forgotten(&self, lease: &Lease) {
        self.index.remove(lease.end, lease.seq);
        self.gauges.held.set(self.held.fetch_sub(1, Ordering::Relaxed) - 1);
    }

    /// Runs `act` on the record if it exists, and removes the record if nothing is left of it.
    fn change<R>(&self, owner: &[u8], now: Moment, act: impl FnOnce(&mut Record) -> R) -> Option<R> {
        let mut out = None;
        let mut visit = None;
        self.ground.remove_if(owner, |record| {
            out = Some(act(record));
            let alive = record.tidy(now.tick);
            visit = record.claim_visit(now.tick).filter(|_| alive);
            !alive
        });
        if let Some(after) = visit {
            self.index.visit(now.tick, after, self.next_id(), owner.into());
        }
        out
    }

    /// Runs `act` on the record, which is made if absent.
    fn with<R>(&self, key: &LeaseKey, now: Moment, act: impl FnOnce(&mut Record) -> R) -> R {
        let (out, visit) = self.ground.with(key.owner(), |owner, record| {
            let out = act(record);
            (out, record.claim_visit(now.tick).map(|after| (after, owner.clone())))
        });
        if let Some((after, owner)) = visit {
            self.index.visit(now.tick, after, self.next_id(), owner);
        }
        out
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

/// Waits for a landing. Dropped: only this waiter is gone.
async fn wait(mut landed: watch::Receiver<Option<Landing>>) -> Result<Arc<Lease>, NoLease> {
    let landing = landed.wait_for(Option::is_some).await.map_err(|_| NoLease::Lost)?.clone();
    landing.ok_or(NoLease::Lost)?.map_err(NoLease::Mint)
}

/// Whatever becomes of a mint's task, nobody waits for a mint that is gone.
struct Duty<G: Ground> {
    book: Arc<Book<G>>,
    key: LeaseKey,
    id: u64,
}

impl<G: Ground> Drop for Duty<G> {
    fn drop(&mut self) {
        // After a landing the flight is no longer there, and this forgets nothing.
        let now = self.book.clock.moment();
        self.book.change(self.key.owner(), now, |record| record.abandon(self.key.variant(), self.id));
    }
}
